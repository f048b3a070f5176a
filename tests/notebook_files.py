"""The notebooks of this repository: scripts in the percent format, and the .ipynb files made from them.

`python tests/notebook_files.py` writes every .ipynb again, without outputs (`make notebooks`).
"""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parents[1] / "notebooks"
MARK = re.compile(r"^# %%(.*)$", re.MULTILINE)


def cells_of(script: str) -> list[tuple[str, str]]:
    """Return the kind ("markdown" or "code") and the source of each cell."""
    parts = MARK.split(script)[1:]
    found = []
    for head, body in zip(parts[::2], parts[1::2], strict=True):
        kind = "markdown" if "[markdown]" in head else "code"
        text = body.strip("\n")
        if kind == "markdown":
            text = "\n".join(line.removeprefix("#").removeprefix(" ") for line in text.splitlines())
        found.append((kind, text))
    return found


def notebook_of(script: str) -> dict[str, Any]:
    """Return a notebook of format 4.5 without outputs."""
    cells = []
    for number, (kind, text) in enumerate(cells_of(script)):
        cell: dict[str, Any] = {"cell_type": kind, "id": f"cell-{number}", "metadata": {}}
        cell["source"] = text.splitlines(keepends=True)
        cells.append(cell | ({"execution_count": None, "outputs": []} if kind == "code" else {}))
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    about = {"kernelspec": kernel, "language_info": {"name": "python"}}
    return {"cells": cells, "metadata": about, "nbformat": 4, "nbformat_minor": 5}


def as_file(script: str) -> str:
    """Return the text of the .ipynb."""
    return json.dumps(notebook_of(script), ensure_ascii=False, indent=1) + "\n"


def run(script: str, name: str) -> dict[str, Any]:
    """Run every code cell as Jupyter does; what a cell ends with is shown, so its `_repr_html_` is called. Return the variables."""
    variables: dict[str, Any] = {"__name__": name}
    for number, (kind, text) in enumerate(cells_of(script)):
        if kind != "code":
            continue
        tree = ast.parse(text, filename=f"{name}, cell {number}")
        last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, f"{name}, cell {number}", "exec"), variables)
        if last is not None:
            shown = eval(compile(ast.Expression(last.value), f"{name}, cell {number}", "eval"), variables)
            page = getattr(shown, "_repr_html_", None)
            assert page is None or page(), f"{name}, cell {number} shows nothing"
    return variables


if __name__ == "__main__":
    for file in sorted(FOLDER.glob("*.py")):
        file.with_suffix(".ipynb").write_text(as_file(file.read_text(encoding="utf-8")), encoding="utf-8")
