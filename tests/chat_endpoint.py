"""A local server that speaks OpenAI's chat protocol, well or badly.

In: what it shall say, and how. Out: its address, and the requests that it was sent.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Endpoint:
    """What the server says: a text for the messages it gets.

    Attributes:
        say: Messages to a text.
        way: "stream", "whole", "nonsense", "hang" or "endless".
        failures: Requests that are answered with an error first.
        requests: Bodies and headers so far.
        address: Base address.
    """

    say: Callable[[list[dict[str, str]]], str]
    way: str = "stream"
    failures: list[int] = field(default_factory=list)
    requests: list[tuple[dict[str, Any], dict[str, str]]] = field(default_factory=list)
    address: str = ""


@contextmanager
def endpoint(say: Callable[[list[dict[str, str]]], str], **options: Any) -> Iterator[Endpoint]:
    """Serve until the block ends."""
    state = Endpoint(say, **options)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            state.requests.append((body, {name.lower(): value for name, value in self.headers.items()}))
            if state.failures:
                self.send_error(state.failures.pop(0))
                return
            text = state.say(body["messages"])
            usage = {"total_tokens": 10 + len(text.split())}
            if state.way == "hang":
                time.sleep(3)
                return
            if state.way == "nonsense":
                self._send("application/json", b'{"unexpected": true}')
            elif state.way == "whole":
                answer = {"choices": [{"message": {"content": text}}], "usage": usage}
                self._send("application/json", json.dumps(answer).encode())
            else:
                self._stream(text, usage)

        def _stream(self, text: str, usage: dict[str, int]) -> None:
            self.send_response(200)
            self.send_header("content-type", "text/event-stream")
            self.end_headers()
            try:
                while True:
                    for word in text.split(" "):
                        self._event({"choices": [{"delta": {"content": word + " "}}]})
                    if state.way != "endless":
                        break
                self._event({"choices": [], "usage": usage})
                self.wfile.write(b"data: [DONE]\n\n")
            except OSError:
                pass  # the client went away

        def _event(self, event: dict[str, Any]) -> None:
            self.wfile.write(b"data: " + json.dumps(event).encode() + b"\n\n")

        def _send(self, kind: str, body: bytes) -> None:
            self.send_response(200)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    state.address = f"http://127.0.0.1:{server.server_address[1]}/v1"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
