"""The command that aligns streams.

In: a TOML file with `[data.align]`. Out: the offset of every stream with its interval, and on request the aligned table.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from penchant.cli.options import AsJson
from penchant.cli.printing import print_answer, reported_errors
from penchant.core.errors import ConfigError


def align(
    config: Annotated[Path, typer.Argument(help="TOML file of a labelled task with [data.align].")],
    output: Annotated[Path | None, typer.Option(help="Write the aligned table: .parquet or .csv.")] = None,
    as_json: AsJson = False,
) -> None:
    """Print by how much the clocks of the streams differ, how sure that is, and what cannot be trusted."""
    from penchant.data.align.timeline import align_streams, offset_lines
    from penchant.data.read.samples import SamplesConfig
    from penchant.pipelines import tasks

    with reported_errors(as_json):
        settings = tasks.read_settings(config)
        data = getattr(settings, "data", None)
        if not isinstance(data, SamplesConfig) or data.align is None:
            raise ConfigError(
                "There is nothing to align.",
                where=config.name,
                fix="add [data.align] to a labelled task: see docs/tasks.md",
            )
        if output is not None and output.suffix not in (".parquet", ".csv"):
            raise ConfigError(
                f"A file ending in {output.suffix or 'nothing'!r} is not written.",
                where=str(output),
                fix="name it .parquet or .csv",
            )
        found = align_streams(data.align, data.path, data.media_folder)
        if output is not None:
            output.parent.mkdir(parents=True, exist_ok=True)
            (found.table.write_csv if output.suffix == ".csv" else found.table.write_parquet)(output)
        if as_json:
            offsets = [{"recording": o.recording, "stream": o.stream, **asdict(o.offset)} for o in found.offsets]
            print_answer({"offsets": offsets, "rows": found.table.height, "columns": found.table.columns}, as_json)
            return
        lines = [*offset_lines(found.offsets), f"{found.table.height:,} rows: {', '.join(found.table.columns)}"]
        lines += [f"warning: {one.check}: {one.advice}" for one in found.findings if one.severity == "warning"]
        print_answer([*lines, *([f"written {output}"] if output else [])], as_json)
