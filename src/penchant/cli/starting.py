"""The command that writes the settings of a first run.

In: a folder of tables. Out: a TOML file with what was recognised and why, in the reader's language.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from penchant.cli.options import AsJson
from penchant.cli.printing import print_answer, reported_errors, shell_word, toml_text
from penchant.cli.speaking import spoken_language
from penchant.cli.starting_labelled import labelled_settings
from penchant.cli.toml_comments import array, comment, head, inline, media_files, said
from penchant.core.errors import ConfigError, DataError
from penchant.core.messages import Message, Translator, message

if TYPE_CHECKING:
    from penchant.data.read.guessing import Guess, GuessedTable

USUAL_KINDS = {
    "view": ("浏览", "查看", "曝光"),
    "click": ("点击",),
    "cart": ("加购", "加入购物车", "购物车"),
    "purchase": ("购买", "下单", "支付", "成交", "buy", "order", "pay"),
    "like": ("喜欢", "收藏", "点赞", "关注", "favorite", "favourite", "fav", "wishlist"),
    "play": ("播放", "观看", "watch", "listen"),
    "rating": ("评分", "打分"),
    "review": ("评论", "评价", "comment"),
    "skip": ("跳过",),
    "dislike": ("不喜欢", "踩", "点踩", "差评", "不感兴趣"),
    "return": ("退货", "退款", "returned", "refund", "refunded"),
}
"""Kind of event with a weight to what it is called elsewhere; the settings then name the weight."""


def init(
    data: Annotated[
        Path,
        typer.Argument(
            help="Folder of your tables, the one file of events, or labelled samples: a table, or a folder for each class."
        ),
    ],
    output: Annotated[
        Path | None, typer.Option(help="The file to write; left out: the folder's name with .toml.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it is there.")] = False,
    as_json: AsJson = False,
) -> None:
    """Guess tables, columns, separators and times of a folder, or its labels, and write the settings of a first run with comments."""
    with reported_errors(as_json):
        language = spoken_language()
        say, name = Translator(language), _name(data)
        file = output or Path(f"{name}.toml")
        if file.exists() and not force:
            raise ConfigError(
                f"{file.name!r} is there already.",
                where=str(file),
                fix="give --output ANOTHER.toml, or --force to replace it",
            )
        counted = _write(data, name, file, say, language)
        steps = [f"penchant {command} {shell_word(file)}" for command in ("check", "doctor", "run")]
        if as_json:
            print_answer({"file": str(file), "next": steps}, as_json)
            return
        typer.echo(say(counted))
        typer.echo(
            say(message("written: {file}; its comments say what was recognised, and what to correct", file=str(file)))
        )
        for step in steps:
            typer.echo(f"  {step}")


def _write(data: Path, name: str, file: Path, say: Translator, language: str) -> Message:
    """Write the settings of a first run and read the data with them; return what there is of it.

    Raises:
        DataError: There are neither events nor labelled samples.
    """
    from penchant.data.read.guessing import guess
    from penchant.data.read.guessing_samples import guess_samples

    try:
        found = guess(data)
    except DataError:
        labelled = guess_samples(data) if data.exists() else None
        if labelled is None:
            raise
        _save(file, labelled_settings(labelled, name, file, say, language))
        return _read_labelled(file)
    _save(file, starting_settings(found, name, file, say, language))
    return _read_shop(file)


def _save(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")


def _read_labelled(file: Path) -> Message:
    from penchant.data.read.samples import read_samples
    from penchant.pipelines.classification import ClassificationConfig

    samples = read_samples(ClassificationConfig.from_toml(file).data)
    return message("{samples} samples of {classes} classes", samples=f"{len(samples):,}", classes=len(samples.classes))


def _read_shop(file: Path) -> Message:
    from penchant.data.read.sources import read
    from penchant.data.split.interactions import split
    from penchant.pipelines.recommendation_settings import RecommendationConfig

    config = RecommendationConfig.from_toml(file)
    dataset = read(config.data)  # what is written is read: an error names the row to correct
    split(dataset.interactions, config.split, config.seed)
    events = dataset.interactions.table
    return message(
        "{events} events of {users} users, {items} items",
        events=f"{len(events):,}",
        users=f"{events['user_id'].n_unique():,}",
        items=f"{len(dataset.catalog):,}",
    )


def starting_settings(found: Guess, name: str, file: Path, say: Translator, language: str) -> str:
    """Return the settings of a first run as TOML with comments.

    Args:
        found: What the tables are taken for.
        name: Of the run.
        file: Where the settings will be: paths in them start there.
        say: For the comments.
        language: Of the report.
    """
    return "\n".join([*head(name, file, say), *_data(found, file, say), *_rest(found, say, language), ""])


def _data(found: Guess, file: Path, say: Translator) -> Iterator[str]:
    events, items, users = found.events, found.items, found.users
    relative = Path(os.path.relpath(found.folder.absolute(), file.parent.absolute()))
    yield from ("", "[data]", f"path = {toml_text(relative.as_posix())}")
    yield from _table("interactions", "columns", events, say)
    if found.time_example is not None:
        yield comment(
            say(
                message("times: {text} is read as {time} (UTC)", text=found.time_example[0], time=found.time_example[1])
            )
        )
    if found.time_format is not None:
        yield comment(
            say(
                message(
                    "CHECK THIS: no value says whether the day or the month is first; the day was supposed. Month first: %m before %d"
                )
            )
        )
        yield f"time_format = {toml_text(found.time_format)}"
    if events.unused:
        yield comment(say(message("not read: {columns}", columns=", ".join(events.unused))))
        yield comment(
            say(
                message(
                    "such of them as describe the request, not the item chosen (device, channel, place), may be read as its circumstances:"
                )
            )
        )
        yield f"# context = {array(events.unused[:1])}"
    if found.has_values:
        yield comment(
            say(message("with ratings, leave out what was not liked; without this line each event counts the same:"))
        )
        yield "# min_value = 4"
    if items is None:
        yield comment(
            say(
                message(
                    "no table of items was found: they are known by their ids alone, and new ones cannot be recommended"
                )
            )
        )
    else:
        yield from _table("items", "item_columns", items, say)
        yield from _contents(found, say)
    if users is not None:
        yield from _table("users", "user_columns", users, say)
    if found.others:
        names = ", ".join(path.name for path in found.others)
        yield comment(say(message("files that were not understood and are not read: {files}", files=names)))


def _table(noun: str, setting: str, table: GuessedTable, say: Translator) -> Iterator[str]:
    yield ""
    yield comment(say(message("{rows} rows", rows=f"{table.rows:,}")))
    for finding in table.findings:
        for text in (finding.advice, *finding.examples[:2]):
            yield comment(say.said(text))
    yield f"{noun} = {toml_text(table.file.name)}"
    pairs = {ours: theirs for ours, theirs in table.columns.items() if ours != theirs}
    if pairs:
        yield f"{setting} = {inline(pairs)}"


def _contents(found: Guess, say: Translator) -> Iterator[str]:
    items = found.items
    own = {} if items is None else items.columns
    roles = {
        message("text: {columns}", columns=", ".join(own.get(c, c) for c in found.text)): found.text,
        message("media: {columns}", columns=", ".join(f"{c} ({m})" for m, c in found.media.items())): found.media,
        message("attributes: {columns}", columns=", ".join(found.attributes)): found.attributes,
        message("not used: {columns}", columns=", ".join(items.unused if items else ())): items.unused if items else (),
    }
    yield from said(roles, say)
    if found.lists:
        yield comment(say(message("several values in one cell")))
        yield f"lists = {inline(found.lists)}"
    yield from media_files(found.media_folder, found.missing_media, say)


def _rest(found: Guess, say: Translator, language: str) -> Iterator[str]:
    has_times = "at" in found.events.columns
    yield from ("", "[split]")
    if has_times:
        yield comment(
            say(
                message(
                    "the last events of each user are the test; closest to a shop in service is rolling_time, which takes longer"
                )
            )
        )
    else:
        yield comment(
            say(
                message(
                    "no column of times was recognised, so a random part of each user's events is the test; name one: columns = { at = ... }"
                )
            )
        )
    yield f'kind = "{"user_time" if has_times else "random"}"'
    yield from _kinds(found, say)
    yield ""
    yield comment(
        say(
            message(
                "without [content] and [members], every kind of content is read by an encoder that needs no download, and the default members are fitted"
            )
        )
    )
    yield from ("", "[evaluation]", f"language = {toml_text(language)}")


def _kinds(found: Guess, say: Translator) -> Iterator[str]:
    from penchant.data.event_weights import KIND_WEIGHTS

    if not found.kinds:
        return
    known = {name: kind for kind, names in USUAL_KINDS.items() for name in names}
    named = {kind: KIND_WEIGHTS[known[kind]] for kind in found.kinds if kind in known}
    shown = ", ".join(f"{kind} {named.get(kind, KIND_WEIGHTS.get(kind, 1.0)):g}" for kind in found.kinds)
    yield from ("", "[histories]")
    yield comment(
        say(
            message(
                "what an event of each kind weighs; negative means dislike, 0 leaves the kind out: {kinds}", kinds=shown
            )
        )
    )
    unknown = [kind for kind in found.kinds if kind not in named and kind not in KIND_WEIGHTS]
    if unknown:
        yield comment(say(message("CHECK THIS: not known, and so 1: {kinds}", kinds=", ".join(unknown))))
    weights = {**named, **dict.fromkeys(unknown, 1.0)}
    if weights:
        yield f"kinds = {{ {', '.join(f'{toml_text(kind)} = {weight}' for kind, weight in weights.items())} }}"


def _name(data: Path) -> str:
    """Return a name for the run from the folder's, or the file's."""
    place = data.absolute()
    return place.name if place.is_dir() else place.name.partition(".")[0] or "run"
