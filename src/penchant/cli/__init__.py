"""The command line.

In: arguments. Out: readable answers on stdout, or JSON with `--json`; progress and errors on stderr.
"""

from __future__ import annotations

import typer

from penchant.cli import listing, querying, service, talking, training

app = typer.Typer(
    help="Learns what each user cares about from everything they touch.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.command("run")(training.run)
app.command("check")(training.check)
app.command("predict")(querying.predict)
app.command("demo")(training.demo)
app.command("doctor")(training.doctor)
app.command("evaluate")(training.evaluate)
app.command("recommend")(querying.recommend)
app.command("profile")(querying.profile)
app.command("explain")(querying.explain)
app.command("topics")(querying.topics)
app.command("chat")(talking.chat)
app.command("mcp")(talking.mcp)
app.command("serve")(service.serve)
app.command("erase")(service.erase)
app.command("list")(listing.list_names)
app.add_typer(service.keys, name="keys")


def main() -> None:
    """Run the command line; the entry point of `penchant`."""
    app()
