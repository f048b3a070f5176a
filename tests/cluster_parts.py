"""Functions that tests run on nodes; nodes import this file by its name."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np

from penchant.core.storage import Storage


def folder_and_square(number: int) -> tuple[str, int]:
    return str(Path.cwd()), number * number


def slow_square(number: int, seconds: float) -> int:
    time.sleep(seconds)
    return number * number


def heavy_sum(number: int, shared: np.ndarray) -> float:
    """Return a number that depends on all of what is shared, and on a large array made here."""
    own = np.full(2_000_000, number, np.float64)
    return float(own.sum() + shared.sum())


def large(number: int, megabytes: int) -> np.ndarray:
    return np.full(megabytes * 2**17, number, np.float64)


def kills_itself(number: int, victim: int) -> int:
    if number == victim:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def killed_pieces(numbers: list[int]) -> list[int]:
    if 5 in numbers:
        os.kill(os.getpid(), signal.SIGKILL)
    return numbers


def spin(number: int, rounds: int) -> float:
    """Work for a while on one core."""
    total, values = 0.0, np.arange(20_000, dtype=np.float64) + number
    for _ in range(rounds):
        total += float(np.sqrt(values).sum())
    return total


def fails(number: int) -> Any:
    """Raise an error; that of the first number comes last."""
    time.sleep(0 if number else 2)
    raise ValueError(f"number {number}")


def fetched(number: int, storage: Storage) -> int:
    return storage.fetch("media/a", Path.cwd() / f"copy{number}")


POISONED_DECODER = """
import io, os
from PIL import Image

_open = Image.open

def poisoned(file, *args, **options):
    raw = file.getvalue() if isinstance(file, io.BytesIO) else b""
    if raw.endswith(b"POISON"):
        os.abort()
    return _open(file, *args, **options)

Image.open = poisoned
"""
"""A `sitecustomize.py` with which the decoder of pictures ends its process at a certain file, as one with a fault does."""


def sleeps(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


def pid_of(number: int) -> int:
    return os.getpid()
