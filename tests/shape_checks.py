"""What jaxtyping's import hook checks functions with while the tests run: beartype, for every annotation that has a meaning of its own."""

from __future__ import annotations

import sys
import typing
from collections.abc import Callable
from typing import Any

from beartype import BeartypeConf, beartype


def checked(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function with its arguments and result checked.

    Annotations are read at the first call, when all names of the module exist. One that names what exists for type checkers alone, or in
    the body of a class alone, is not checked.
    """
    made: list[Callable[..., Any]] = []

    def run(*args: Any, **kwargs: Any) -> Any:
        if not made:
            function.__annotations__ = dict(_known(function))
            made.append(beartype(conf=BeartypeConf(is_pep484_tower=True))(function))
        return made[0](*args, **kwargs)

    return run


def _known(function: Callable[..., Any]) -> typing.Iterator[tuple[str, Any]]:
    names = vars(sys.modules[function.__module__])
    for argument, hint in function.__annotations__.items():
        if "Self" in str(hint):  # has a meaning only in a class that is decorated as a whole
            continue
        if isinstance(hint, str):
            try:
                hint = eval(hint, names)
            except (NameError, AttributeError):
                continue
        yield argument, hint
