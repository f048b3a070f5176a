"""The commands that make a bundle smaller, and that export its networks and encoders.

In: a folder written by `penchant run`, and a budget. Out: a smaller bundle with the measured trade-off in its report, and the same on stdout; ONNX files.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from penchant.cli.options import AsJson, BundlePath
from penchant.cli.printing import columns_table, out, print_answer, reported_errors
from penchant.cli.speaking import spoken_language

SHOWN = ("memory", "request", "NDCG@10", "change", "way")
"""Columns of the page that are printed: those that fit into 80 characters, the one whose cells may take several lines last."""


def compress(
    bundle: BundlePath,
    output: Annotated[Path, typer.Option(help="Folder of the smaller bundle.")],
    memory_mb: Annotated[
        float | None, typer.Option(help="Megabytes that the arrays of the bundle may hold; left out: no bound.")
    ] = None,
    latency_ms: Annotated[
        float | None, typer.Option(help="Milliseconds that a median request may take here; left out: no bound.")
    ] = None,
    max_loss: Annotated[
        float, typer.Option(help="Without a budget: the smallest point that loses at most this share of NDCG@10.")
    ] = 0.02,
    users: Annotated[int, typer.Option(help="Users whose last events are held out to measure, at most.")] = 3000,
    distill: Annotated[
        bool, typer.Option("--distill", help="Also try one small network that is taught the lists; takes minutes.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Write a smaller bundle: the best of many measured ways within a budget of memory and time."""
    from penchant.compression.compress import CompressConfig
    from penchant.compression.compress import compress as write_smaller
    from penchant.core.messages import Translator
    from penchant.reporting.compression_report import COLUMNS

    with reported_errors(as_json):
        spoken = spoken_language()
        given = {
            "memory_mb": memory_mb,
            "latency_ms": latency_ms,
            "max_loss": max_loss,
            "users": users,
            "distill": distill,
        }
        config = CompressConfig.read({**given, "language": spoken}, where="compress")
        results = write_smaller(bundle, output, config).results
        if as_json:
            print_answer(results.as_dict(), as_json)
            return
        translate = Translator(spoken)
        places = [[str(column) for column in COLUMNS].index(name) for name in SHOWN]
        table = columns_table("", *(translate(COLUMNS[place]) for place in places))
        for number, row in enumerate(results.rows()):
            table.add_row("→" if number == results.chosen else "", *(translate.said(row[place]) for place in places))
        out.print(table)
        for line in (results.summary, results.checked):
            out.print(translate(line), markup=False)
        out.print(f"{output / 'report' / 'compression.html'}", markup=False)


def export(
    bundle: BundlePath,
    output: Annotated[Path, typer.Option(help="Folder of the ONNX files, one folder below it for each.")],
    member: Annotated[str | None, typer.Option(help="Only this network of the ensemble.")] = None,
    channel: Annotated[str | None, typer.Option(help="Only the encoder of this channel.")] = None,
    int8: Annotated[
        bool, typer.Option("--int8", help="Encoders of texts and pictures as int8: a quarter of the size.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Write networks and encoders of a bundle as ONNX, and say how equal their answers are."""
    from penchant.compression.onnx_export import export as write_onnx

    with reported_errors(as_json):
        found = write_onnx(bundle, output, member=member, channel=channel, int8=int8)
        if as_json:
            print_answer([one.as_dict() for one in found], as_json)
            return
        table = columns_table("name", "folder", "MB", "compared", "equal")
        for one in found:
            table.add_row(
                one.name, str(one.folder), f"{one.num_bytes / 1e6:.1f}", f"{one.compared:,}", f"{one.equal:.4f}"
            )
        out.print(table)
