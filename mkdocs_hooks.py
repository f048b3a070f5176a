"""Hooks of the documentation site: pages that stand elsewhere in the repository, links between them, and the reference of each table.

In: docs/, README.md and its siblings, the tables of names in src/. Out: pages for MkDocs; a link to a file that is no page leads to the repository.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).parent
ELSEWHERE = {
    "README.md": "index.md",
    "README.zh-CN.md": "zh/index.md",
    "ARCHITECTURE.md": "ARCHITECTURE.md",
    "CONTRIBUTING.md": "CONTRIBUTING.md",
    "CHANGELOG.md": "CHANGELOG.md",
    **{
        f"benchmarks/{name}.md": f"benchmarks/{name}.md"
        for name in (
            *("README", "RESULTS", "LOG"),
            *("networks", "user-content", "labelled", "language", "learning", "scale", "explanations"),
        )
    },
    ".build/cli.md": "cli.md",
}
"""Page in the repository to its place in the site; pages of docs/ keep theirs. `make site` writes .build/cli.md from the commands themselves."""
TABLES = {
    "models": ("Models", "`[members.NAME] model`, or `from penchant.models import EASE`."),
    "encoders": ("Encoders", "`[content.NAME] encoder`, or `from penchant.encoders import MiniLM`."),
    "metrics": ("Metrics", "Functions of hits, the number of true items and k; `from penchant.metrics import ndcg`."),
}
ENTRY = re.compile(r'^\s+"(\w+)": "(penchant[\w.]+):(\w+)"', re.MULTILINE)
LINK = re.compile(r"(\]\()([^()\s]+)(\))|(<img[^>]+src=\")([^\"]+)(\")")


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that stand outside docs/ and the pages of tables."""
    for source, page in ELSEWHERE.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text(encoding="utf-8")))
    for package, (title, about) in TABLES.items():
        table = (ROOT / "src" / "penchant" / package / "__init__.py").read_text(encoding="utf-8")
        parts = [f"# {title}\n\n{about}\n"]
        parts += [f"## {name}\n\n::: {module}.{entry}\n" for name, module, entry in ENTRY.findall(table)]
        files.append(File.generated(config, f"reference/{package}.md", content="\n".join(parts)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Let links lead to pages of the site, or else to files of the repository."""
    place = page.file.src_uri
    source = next((s for s, target in ELSEWHERE.items() if target == place), f"docs/{place}")

    def led(found: re.Match[str]) -> str:
        before, link, after = found.group(1, 2, 3) if found.group(1) else found.group(4, 5, 6)
        return before + _led(link, source, place, config["repo_url"], files) + after

    return LINK.sub(led, markdown)


def _led(link: str, source: str, place: str, repository: str, files: Any) -> str:
    """Return the address of a link in the site; one that leads nowhere stays, and MkDocs warns about it."""
    path, mark, anchor = link.partition("#")
    if not path or "://" in path or path.startswith("mailto:"):
        return link
    target = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
    page = ELSEWHERE.get(target, target.removeprefix("docs/"))
    if files.get_file_from_path(page) is not None and (target in ELSEWHERE or target.startswith("docs/")):
        return posixpath.relpath(page, posixpath.dirname(place) or ".") + mark + anchor
    if (ROOT / target).exists():
        return f"{repository}/blob/main/{target}{mark}{anchor}"
    return link
