"""The command line.

In: arguments. Out: readable answers on stdout, or JSON with `--json`; progress and errors on stderr.

Commands import what they need when they run: `--help` would otherwise wait for the libraries of all of them.
"""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer
import typer.core
import typer.main

import penchant
from penchant.cli import (
    aligning,
    comparing,
    compressing,
    courses,
    learning,
    listing,
    querying,
    service,
    speaking,
    starting,
    streaming,
    talking,
    training,
    trying,
)
from penchant.cli.printing import reported_errors


class SpeakingGroup(typer.core.TyperGroup):
    """The group of all commands; each of them takes its `--language`, too."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        language = next(option for option in self.params if speaking.OPTION in option.opts)
        waiting = [*self.commands.values()]
        while waiting:
            command = waiting.pop()
            command.params.append(language)
            waiting += getattr(command, "commands", {}).values()


app = typer.Typer(
    cls=SpeakingGroup,
    help="Learns what each user cares about from everything they touch.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _print_version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(f"penchant {penchant.__version__}")
        raise typer.Exit


def _speak(context: typer.Context, language: str | None) -> None:
    if language is None and context.parent is not None:
        return  # the one before the command stands
    with reported_errors(as_json=False):
        speaking.speak(language)


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
    language: Annotated[
        str | None,
        typer.Option(
            speaking.OPTION,
            help="Of answers, reports and help: en or zh.",
            callback=_speak,
            expose_value=False,
            is_eager=True,
        ),
    ] = None,
) -> None:
    """Options that stand before the name of a command; the language may follow it as well."""


app.command("init")(starting.init)
app.command("run")(training.run)
app.command("day-zero")(training.day_zero)
app.command("check")(training.check)
app.command("align")(aligning.align)
app.command("course")(courses.course)
app.command("predict")(querying.predict)
app.command("demo")(training.demo)
app.command("doctor")(training.doctor)
app.command("evaluate")(training.evaluate)
app.command("compare")(comparing.compare)
app.command("compress")(compressing.compress)
app.command("export")(compressing.export)
app.command("trial")(trying.trial)
app.command("served")(trying.served)
app.command("off-policy")(trying.off_policy)
app.command("recommend")(querying.recommend)
app.command("profile")(querying.profile)
app.command("explain")(querying.explain)
app.command("fairness")(querying.fairness)
app.command("rules")(querying.rules)
app.command("topics")(querying.topics)
app.command("chat")(talking.chat)
app.command("mcp")(talking.mcp)
app.command("serve")(service.serve)
app.command("consume")(streaming.consume)
app.add_typer(streaming.dead_letters, name="dead-letters")
app.command("update")(learning.update)
app.command("versions")(learning.versions)
app.command("promote")(learning.promote)
app.command("rollback")(learning.rollback)
app.command("erase")(service.erase)
app.command("list")(listing.list_names)
app.add_typer(service.keys, name="keys")


def main() -> None:
    """Run the command line; the entry point of `penchant`."""
    language = speaking.named_language(sys.argv[1:])
    if language == "en":
        app()
    else:
        speaking.with_help_in(typer.main.get_command(app), language)()
