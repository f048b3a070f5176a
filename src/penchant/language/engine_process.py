"""A language model of this machine in a process of its own.

In: prompts, as lines of JSON to the process. Out: texts, or one piece by piece, as lines of JSON from it.

Beside a service, writing must not delay lists: the process has its own interpreter, few threads and a lower priority, so that the system takes the cores
away from it whenever the service needs them. It starts with the first text and ends with its parent.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import Any

from penchant.core.errors import EncoderError, PenchantError
from penchant.language.engine import Engine, EngineConfig, Prompt
from penchant.language.local_engine import LocalEngine

NICENESS = 10
"""Lower priority of the process: one tenth of a core's time against a process that wants the same core."""
PROGRAM = "from penchant.language.engine_process import main; main()"


class ProcessEngine(Engine):
    """A local engine in another process, which answers one request at a time.

    Args:
        config: Which model.
        threads: Cores that it computes on at most.
    """

    def __init__(self, config: EngineConfig, threads: int = 1) -> None:
        self._config, self._threads = config, threads
        self._local = LocalEngine(config)  # never loaded: it knows the model's name, weights and languages
        self.languages = self._local.languages
        self._process: subprocess.Popen[str] | None = None
        self._lock = threading.Lock()

    @property
    def provenance(self) -> dict[str, Any]:
        return self._local.provenance

    @property
    def process_id(self) -> int | None:
        """Number of the process; None before it started."""
        return None if self._process is None else self._process.pid

    def write(self, prompts: Sequence[Prompt]) -> list[str]:
        with self._lock:
            self._send({"write": [[p.system, p.user] for p in prompts]})
            return list(self._received()["texts"])

    def stream(self, prompt: Prompt) -> Iterator[str]:
        with self._lock:
            self._send({"stream": [prompt.system, prompt.user]})
            is_done = False
            try:
                while not is_done:
                    try:
                        answer = self._received()
                    except EncoderError:
                        is_done = True  # an error is the last line of a request: to wait for "end" would never return
                        raise
                    is_done = "end" in answer
                    if not is_done:
                        yield answer["piece"]
            finally:
                if not is_done and self._process is not None:
                    self._send({"stop": True})
                    with contextlib.suppress(PenchantError):
                        while "end" not in self._received():
                            pass

    def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()

    def _send(self, request: dict[str, Any]) -> None:
        if self._process is None or self._process.poll() is not None:
            self.close()
            self._process = subprocess.Popen(  # noqa: S603 - this interpreter and this module
                [sys.executable, "-c", PROGRAM],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                encoding="utf-8",
                env={**os.environ, "OMP_NUM_THREADS": str(self._threads)},
            )
            self._put(
                self._config.model_dump_json(include=set(EngineConfig.model_fields))
            )  # a service's settings have more
        self._put(json.dumps(request))

    def _put(self, line: str) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # `_received` says so
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()

    def _received(self) -> dict[str, Any]:
        """Return the next answer.

        Raises:
            EncoderError: The engine failed, or its process ended; the next request starts another one.
        """
        assert self._process is not None
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            code = self._process.wait()
            self.close()
            raise EncoderError(
                f"The process of the language model ended with {code}.",
                where=f"model = {self._config.model!r}",
                fix="see the log of the service; the next request starts it again",
            )
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            what, where, fix = answer["error"]
            raise EncoderError(what, where=where, fix=fix)
        return answer


def main() -> None:
    """Answer the requests of standard input until it ends."""
    os.nice(NICENESS)
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever libraries print goes to the log
    engine = LocalEngine(EngineConfig.read(json.loads(sys.stdin.readline()), where="standard input"))
    requests: queue.Queue[dict[str, Any] | None] = queue.Queue()
    is_stopped = threading.Event()

    def read() -> None:
        for line in sys.stdin:
            request = json.loads(line)
            if "stop" in request:
                is_stopped.set()
            else:
                is_stopped.clear()
                requests.put(request)
        os._exit(0)  # the parent is gone; a text that is being written has no reader

    threading.Thread(target=read, daemon=True).start()
    while (request := requests.get()) is not None:
        try:
            for answer in _answers(engine, request, is_stopped):
                print(json.dumps(answer), file=answers, flush=True)
        except PenchantError as error:
            print(json.dumps({"error": [error.message, error.where, error.fix]}), file=answers, flush=True)
        except Exception as error:  # whatever a library raises, the parent gets one kind of error
            what = f"The language model stopped: {type(error).__name__}: {error}".splitlines()[0]
            told = [what, "the process of the language model", "shorten the request, or choose another model"]
            print(json.dumps({"error": told}), file=answers, flush=True)


def _answers(engine: Engine, request: dict[str, Any], is_stopped: threading.Event) -> Iterator[dict[str, Any]]:
    if "write" in request:
        yield {"texts": engine.write([Prompt(*prompt) for prompt in request["write"]])}
        return
    pieces = engine.stream(Prompt(*request["stream"]))
    for piece in pieces:
        yield {"piece": piece}
        if is_stopped.is_set():
            break
    pieces.close()  # type: ignore[attr-defined]
    yield {"end": True}
