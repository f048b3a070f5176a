"""Search of a bundle's files for the ids of erased users.

In: a folder, and whether a text is the id of an erased user; the ids themselves are not known any more, only their keyed hashes. Out: the files that
hold one. Every text of a file is a candidate, and so is every word of it.

An id that is a number, or the id of an item, cannot be told from other numbers and items: it is found only where user ids stand (the column `user_id`
of a table, `user` and `user_id` in JSON).
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from penchant.core.schema import MAX_ID

USER_FIELDS = ("user", "user_id", "user_ids")
CATALOG = "catalog.parquet"
_BETWEEN = re.compile(r"""[\s<>"'`,;=()\[\]{}|]+""")
_AROUND = ".:!?*_/&#-"
_ELEMENT = re.compile(r">([^<>]+)<")


def ids_in_folder(folder: Path, is_erased: Callable[[str], bool]) -> list[str]:
    """Return the files below a folder that name an erased user; what an interrupted write left beside the folder is searched too."""
    items = set(_table_values(folder / CATALOG, ("item_id",))) if (folder / CATALOG).is_file() else set()
    places = [folder, *(p for p in folder.parent.glob(f".{folder.name}.*") if p.is_dir())]
    found = []
    for file in sorted(p for place in places for p in place.rglob("*") if p.is_file()):
        users, others = _candidates(file)
        ordinary = {text for text in others - users if not _is_number(text) and text not in items}
        if any(0 < len(text) <= MAX_ID and _is_text(text) and is_erased(text) for text in users | ordinary):
            found.append(file.relative_to(folder.parent).as_posix())
    return found


def _candidates(file: Path) -> tuple[set[str], set[str]]:
    """Return the texts of a file that stand where user ids do, and all other texts."""
    if file.suffix == ".parquet":
        schema = pq.read_schema(file)
        texts = [f.name for f in schema if _holds_text(f.type) and f.name != "item_id"]
        users = set(_table_values(file, [name for name in texts if name in USER_FIELDS]))
        others = _table_values(file, [name for name in texts if name not in USER_FIELDS])
        return users, {part for text in others for part in _parts(text)}
    if file.suffix == ".safetensors":
        with file.open("rb") as opened:
            size = int.from_bytes(opened.read(8), "little")
            return set(), set(_parts(opened.read(min(size, 100_000_000)).decode("utf-8", "replace")))
    text = file.read_bytes().decode("utf-8", "replace")
    if file.suffix == ".json":
        try:
            users, others = set(), set()
            for is_user, value in _strings(json.loads(text)):
                users.add(value) if is_user else others.update(_parts(value))
        except ValueError:
            return set(), set(_parts(text))
        return users, others
    return set(), {*_parts(text), *_parts(html.unescape(text)), *_parts(text.replace("\\", ""))}


def _parts(text: str) -> Iterator[str]:
    """Yield a text, its lines, the texts of its elements, and its words with and without the marks around them."""
    yield text
    yield from (html.unescape(part).strip() for part in _ELEMENT.findall(text))
    yield from (line.strip() for line in text.splitlines())
    for word in _BETWEEN.split(text):
        yield word
        yield word.strip(_AROUND)


def _strings(value: Any, *, is_user: bool = False) -> Iterator[tuple[bool, str]]:
    """Yield every string of a JSON value, keys too, and whether it stands where a user id does."""
    if isinstance(value, str):
        yield is_user, value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield False, key
            yield from _strings(inner, is_user=key in USER_FIELDS)
    elif isinstance(value, list):
        for inner in value:
            yield from _strings(inner, is_user=is_user)


def _table_values(file: Path, columns: Any) -> set[str]:
    """Return the distinct texts of some columns, those of lists too."""
    found: set[str] = set()
    if not columns:
        return found
    with pq.ParquetFile(file) as table:
        for batch in table.iter_batches(columns=list(columns)):
            for column in batch.columns:
                flat = column.flatten() if pa.types.is_nested(column.type) else column
                found.update(value for value in flat.unique().to_pylist() if value is not None)
    return found


def _holds_text(kind: pa.DataType) -> bool:
    inner = kind.value_type if pa.types.is_list(kind) or pa.types.is_large_list(kind) else kind
    return bool(pa.types.is_string(inner) or pa.types.is_large_string(inner) or pa.types.is_string_view(inner))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _is_text(text: str) -> bool:
    """Return whether a text can be encoded, as every id can."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
