"""A written report, for Python and notebooks.

In: the folder of a result written by `penchant run`. Out: the paths of its report, the values in it, and the page inside a notebook.
"""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from penchant.core.artifacts import REPORT
from penchant.core.errors import ArtifactError

EXAMPLES = re.compile(r"<!-- examples -->.*?<!-- /examples -->\n?", re.DOTALL)
"""The marks that the templates put around the examples of users."""


def without_examples(page: str) -> str:
    """Return a page of a report without its examples of users."""
    return EXAMPLES.sub("", page)


@dataclass(frozen=True)
class WrittenReport:
    """The report of one result.

    Attributes:
        folder: Holds report.html, report.md and report.json.
    """

    folder: Path

    @classmethod
    def beside(cls, result: Path | None) -> WrittenReport:
        """Return the report of a result.

        Args:
            result: Its folder; None where it was not written yet.

        Raises:
            ArtifactError: It has no report.
        """
        found = cls(Path() if result is None else result / REPORT)
        if result is None or not found.json.is_file():
            raise ArtifactError("There is no report.", where=str(result or "memory"), fix="make it with `penchant run`")
        return found

    @property
    def html(self) -> Path:
        """One page that needs no network."""
        return self.folder / "report.html"

    @property
    def markdown(self) -> Path:
        return self.folder / "report.md"

    @property
    def json(self) -> Path:
        """Every value of the report."""
        return self.folder / "report.json"

    def read(self) -> dict[str, Any]:
        """Return every value of the report."""
        found: dict[str, Any] = json.loads(self.json.read_text(encoding="utf-8"))
        return found

    @property
    def has_unmarked_examples(self) -> bool:
        """Whether the pages hold examples of users that `without_examples` cannot find: an earlier version wrote them."""
        return bool(self.read().get("examples")) and not EXAMPLES.search(self.html.read_text(encoding="utf-8"))

    def copy_without_examples(self, folder: Path) -> None:
        """Copy the files into a folder without the examples of users and the metrics of single lists; a page whose examples are not marked is left out."""
        is_unmarked = self.has_unmarked_examples
        for file in sorted(self.folder.iterdir()):
            if file == self.json:
                facts = {**self.read(), "examples": []}
                (folder / file.name).write_text(json.dumps(facts, ensure_ascii=False, indent=2), encoding="utf-8")
            elif file.suffix == ".parquet":  # a row for each user of the test, the erased one included
                continue
            elif file.suffix not in (".html", ".md"):
                shutil.copyfile(file, folder / file.name)
            elif not is_unmarked:
                page = without_examples(file.read_text(encoding="utf-8"))
                (folder / file.name).write_text(page, encoding="utf-8")

    def _repr_html_(self) -> str:
        """Return the page in an iframe, so that its styles do not change the notebook."""
        page = escape(self.html.read_text(encoding="utf-8"))
        return f'<iframe srcdoc="{page}" sandbox style="width: 100%; height: 40em; border: 0"></iframe>'
