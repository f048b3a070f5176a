"""What others wrote gives a result or a `PenchantError`, whatever it holds: a few examples of every reader.

The long form is `make attack ATTACK="fuzz --minutes 8"`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings

from fuzz_targets import GENERATED, Target, check, readers, requests

EXAMPLES = {"bundles": 4, "requests": 40, "sounds": 8, "videos": 8, "settings": 10}
USUAL_EXAMPLES = 15
NAMES = [
    "tables",
    "columns",
    "settings",
    "toml",
    "service settings",
    "pictures",
    "sounds",
    "videos",
    "meshes",
    "signals",
    "vectors",
    "word vectors",
    "bundles",
    "addresses",
    "links",
    "hosts",
    "authorization",
    "key files",
    "receipts",
    "write-ahead logs",
    "paths",
    "uploads",
    "requests",
    "queries",
]


@pytest.fixture(scope="module")
def targets(tmp_path_factory: pytest.TempPathFactory, shop: Path) -> Iterator[dict[str, Target]]:
    folder = tmp_path_factory.mktemp("fuzz")
    with requests(folder, shop) as asked:
        yield {**readers(folder, shop), **asked}


def test_every_target_is_run(targets: dict[str, Target]):
    assert sorted(targets) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_reader_answers_or_refuses(targets: dict[str, Target], name: str):
    target = targets[name]

    @settings(GENERATED, max_examples=EXAMPLES.get(name, USUAL_EXAMPLES), derandomize=True)
    @given(target.values)
    def run(value: object) -> None:
        check(target, value)

    run()
