"""What ten chats cost the lists of a service, and how fast a language model on this machine writes.

In: a bundle. Out: latency of recommendations alone and while chats run, in turns within one run, and their ratio; tokens a second.

    python benchmarks/talking.py lists runs/demo --engine template local
    python benchmarks/talking.py tokens
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from pathlib import Path

import numpy as np

from load import Connection, Server, report, spread
from penchant.language.engine import EngineConfig, Prompt
from penchant.language.local_engine import LocalEngine
from penchant.recommender.recommender import Recommender

CHATS = 10
MESSAGES = (
    "something about lighthouses under 10, but no trains",
    "something like the last one",
    "a short story",
    "cheaper",
)
STATEMENT = "- 40% of your 25 events are bread, for all users 12%; for example “Bread and Butter”, “The Oven”."


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("lists", "tokens"))
    parser.add_argument("bundle", type=Path, nargs="?", default=Path("runs/demo"))
    parser.add_argument("--engine", nargs="+", default=["template"], choices=("template", "local"))
    parser.add_argument("--seconds", type=float, default=10, help="of each turn")
    parser.add_argument("--turns", type=int, default=4, help="alone, and as many with chats")
    parser.add_argument("--rate", type=float, default=20, help="lists asked for in a second")
    parser.add_argument("--reasons", action="store_true", help="ask for lists with reasons")
    parser.add_argument("--inside", action="store_true", help="let the service itself talk, for comparison")
    given = parser.parse_args()
    if given.what == "tokens":
        _tokens()
        return
    for engine in given.engine:
        _lists(given, engine)


def _lists(given: argparse.Namespace, engine: str) -> None:
    users = Recommender.load(given.bundle).histories.user_ids
    with tempfile.TemporaryDirectory() as folder:
        language = {"engine": engine, "limits": {"per_minute": None}, "is_apart": not given.inside}
        server = Server(given.bundle, Path(folder), "", 1, 8901, language=language)
        try:
            server.wait()
            asyncio.run(_turns(given, engine, server.port, users))
        finally:
            server._process.terminate()
            server._process.wait()


async def _turns(given: argparse.Namespace, engine: str, port: int, users: list[str]) -> None:
    while (
        await _chatting(port, users, until=time.perf_counter() + 1, count=1) == 0
    ):  # loads the encoder of the search, and the model
        pass
    await _asked(given, port, users)
    found: dict[str, list[list[float]]] = {"alone": [], "chats": []}
    answered = 0
    for _ in range(given.turns):
        found["alone"].append(await _asked(given, port, users))
        until = time.perf_counter() + given.seconds
        chats, seconds = await asyncio.gather(
            _chatting(port, users, until=until, count=CHATS), _asked(given, port, users)
        )
        found["chats"].append(seconds)
        answered += chats
    for what, turns in found.items():
        report(f"{engine}: lists {what}", spread(np.concatenate(turns)))
    report(f"{engine}: answers of {CHATS} chats", f"{answered} in {given.turns * given.seconds:.0f} s")
    ratios = [np.percentile(b, 99) / np.percentile(a, 99) for a, b in zip(*found.values(), strict=True)]
    whole = np.percentile(np.concatenate(found["chats"]), 99) / np.percentile(np.concatenate(found["alone"]), 99)
    each = ", ".join(f"{ratio:.2f}" for ratio in ratios)
    report(
        f"{engine}: p99 with chats / alone", f"median of turns {np.median(ratios):.2f} ({each}), over all {whole:.2f}"
    )


async def _asked(given: argparse.Namespace, port: int, users: list[str]) -> list[float]:
    """Return the seconds of lists that are asked for at a steady rate, each counted from when it was due."""
    connections: list[Connection] = []
    began, seconds, tasks = time.perf_counter(), list[float](), []

    async def one(number: int, due: float) -> None:
        if not connections:
            connection = Connection(port)
            await connection.open()
        else:
            connection = connections.pop()
        reasons = "&reasons=true" if given.reasons else ""
        status, _ = await connection.request(
            "GET", f"/v1/users/{users[number % len(users)]}/recommendations?k=10{reasons}"
        )
        assert status == 200, status
        seconds.append(time.perf_counter() - due)
        connections.append(connection)

    for number in range(int(given.seconds * given.rate)):
        due = began + number / given.rate
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        tasks.append(asyncio.create_task(one(number, due)))
    await asyncio.gather(*tasks)
    for connection in connections:
        connection.close()
    return seconds


async def _chatting(port: int, users: list[str], *, until: float, count: int) -> int:
    """Return how many answers so many users got that talk without a pause."""

    async def talk(user: str) -> int:
        connection, answers = Connection(port), 0
        await connection.open()
        while time.perf_counter() < until:
            body = json.dumps({"user_id": user, "message": MESSAGES[answers % len(MESSAGES)]}).encode()
            status, _ = await connection.request("POST", "/v1/chat", body)
            if status == 503:  # the assistant's process is starting
                await asyncio.sleep(0.2)
                continue
            assert status == 200, status
            answers += 1
        connection.close()
        return answers

    return sum(await asyncio.gather(*[talk(user) for user in users[:count]]))


def _tokens() -> None:
    """Print tokens in a second of the processor, which other work on the machine does not change, in two rounds."""
    prompts = [
        Prompt("Write three short sentences.", "\n".join([STATEMENT] * n) + f"\nWrite number {n}.") for n in range(1, 9)
    ]
    engines = {
        name: LocalEngine(EngineConfig(engine="local", max_tokens=24, precision=name))
        for name in ("float32", "bfloat16", "int8")
    }
    for engine in engines.values():
        engine.write(prompts[:1])
    for _ in range(2):
        for name, engine in engines.items():
            report(f"SmolLM2, {name}, one", f"{_rate(engine, prompts[1:2]):.1f} tokens a CPU second")
            report(f"SmolLM2, {name}, eight", f"{_rate(engine, prompts):.1f} tokens a CPU second")


def _rate(engine: LocalEngine, prompts: list[Prompt]) -> float:
    began = time.process_time()
    tokens = sum(len(engine.parts[0](text)["input_ids"]) for text in engine.write(prompts))
    return tokens / (time.process_time() - began)


if __name__ == "__main__":
    main()
