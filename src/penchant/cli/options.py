"""Options that several commands share.

In: nothing. Out: types with the names and help texts.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Answer in JSON.")]
BundlePath = Annotated[Path, typer.Argument(metavar="BUNDLE", help="Folder written by `penchant run`.")]
UserId = Annotated[str | None, typer.Option("--user", help="Id of a user.")]
Items = Annotated[
    str | None, typer.Option("--history", help="Item ids, oldest first, separated by commas: a new user.")
]
Database = Annotated[
    str | None, typer.Option(help="postgresql://USER@HOST/DATABASE; left out: an SQLite file in the service's folder.")
]
StateFolder = Annotated[
    Path | None, typer.Option(help="The service's own folder: store, secret, uploads. Left out: BUNDLE-service.")
]
