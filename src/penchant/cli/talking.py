"""Commands that talk: the assistant in the terminal, and tools for agents.

In: a bundle, or the address of a service. Out: a conversation, or an MCP server.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from penchant.cli.options import (
    AsJson,
    BundlePath,
    EngineName,
    Items,
    SpeechModel,
    UserId,
    language_config,
    speech_config,
)
from penchant.cli.printing import out, print_answer, reported_errors
from penchant.cli.querying import loaded, user_or_history

if TYPE_CHECKING:
    from penchant.assistant.dialogue import Reply


def chat(
    bundle: BundlePath,
    user: UserId = None,
    history: Items = None,
    message: Annotated[
        list[str] | None, typer.Option(help="Say this and end; repeatable. Left out: talk in the terminal.")
    ] = None,
    image: Annotated[
        Path | None, typer.Option(help="A picture that comes with the first message: what the list shall be like.")
    ] = None,
    audio: Annotated[Path | None, typer.Option(help="A spoken first message.")] = None,
    speech: SpeechModel = None,
    k: Annotated[int, typer.Option("-k", min=1, max=50, help="Length of lists.")] = 5,
    engine: EngineName = "template",
    as_json: AsJson = False,
) -> None:
    """Talk about what to choose, in English or Chinese; nothing is stored."""
    from penchant.assistant.dialogue import Assistant, Conversation
    from penchant.assistant.files import SpokenWords, items_like
    from penchant.assistant.wording import AnswerWriter
    from penchant.classifiers.output_screen import make_screen
    from penchant.data.media import MediaLimits
    from penchant.language.engine import make_engine
    from penchant.recommender.lists import Edit

    with reported_errors(as_json):
        trained = loaded(bundle)
        known = user_or_history(trained, user, history) if user or history else trained.history("", ())
        own = trained.history(known) if isinstance(known, str) else known
        config = language_config(engine)
        writer = AnswerWriter(trained, make_engine(config), make_screen(config.moderation))
        assistant, conversation, edits = Assistant(trained), Conversation(), list[Edit]()
        like = items_like(trained, image, MediaLimits()) if image else []
        spoken = [SpokenWords(speech_config(speech))(audio, MediaLimits())] if audio else [""] if image else []
        for text in [*spoken, *message] if message else spoken or _typed():
            reply = assistant.reply(text, own, conversation=conversation, edits=edits, k=k, like=like)
            like = []
            conversation = reply.conversation
            edits += reply.confirmed
            worded = " ".join(writer.sentences(reply))
            print_answer(_answer(reply, worded) if as_json else _lines(reply, worded), as_json)


def mcp(
    address: Annotated[str, typer.Option(help="Of the running service.")] = "http://127.0.0.1:8000",
    key: Annotated[str | None, typer.Option(envvar="PENCHANT_KEY", help="API key, where the service has keys.")] = None,
    transport: Annotated[Literal["stdio", "streamable-http"], typer.Option(help="How agents connect.")] = "stdio",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Of streamable-http, on this machine.")] = 8765,
    is_personal: Annotated[bool, typer.Option("--personal", help="Offer tools that read about users.")] = False,
    may_write: Annotated[bool, typer.Option("--write", help="Offer tools that store events and edits.")] = False,
) -> None:
    """Offer search, recommendation and explanation to agents (Model Context Protocol), with the rights of the key."""
    with reported_errors(False):
        from penchant.agent_tools import make_server  # of an extra

        server = make_server(address, key=key, is_personal=is_personal, may_write=may_write)
        if transport == "stdio":
            server.run("stdio")
        else:
            out.print(f"http://127.0.0.1:{port}/mcp", markup=False)
            server.run("streamable-http", host="127.0.0.1", port=port)


def _typed() -> Iterator[str]:
    """Yield the lines that are typed, until an empty one or the end."""
    if sys.stdin.isatty():
        out.print("What are you looking for? An empty line ends. 你在找什么？空行结束。")
    for line in sys.stdin:
        if not line.strip():
            return
        yield line.strip()


def _lines(reply: Reply, text: str) -> list[str]:
    items = reply.items.items if reply.items is not None else ()
    cards = [f"{item.rank:3}. {item.title}  [{item.item_id}]  {'; '.join(item.reasons)}" for item in items]
    return [text, *cards]


def _answer(reply: Reply, text: str) -> dict[str, object]:
    items = reply.items.items if reply.items is not None else ()
    return {
        "text": text,
        "items": [{"item_id": i.item_id, "title": i.title, "reasons": list(i.reasons)} for i in items],
        "proposed": [asdict(edit) for edit in reply.proposed],
    }
