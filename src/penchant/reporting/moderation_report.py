"""The page of held-back and doubtful images; no image is shown unblurred.

In: judged pictures, each already blurred. Out: report.html (one file, no network, no script), report.md and report.json.
"""

from __future__ import annotations

import base64
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from penchant.reporting.report import page_templates

CELLS = 10
"""Patches left along the longer side: shapes of bodies and faces are gone, and no sharpening brings them back."""
SIDE = 160
"""Longer side of a preview, pixels."""
MOST = 60
"""Pictures a part of the page shows."""


@dataclass(frozen=True)
class ScreenedImage:
    """One picture that was held back or is doubtful.

    Attributes:
        name: Its path, as the data has it.
        score: Of the category, 0 to 1.
        threshold: From which on it is held back.
        is_readable: Whether it could be opened; else a person must.
        places: What was seen, and how sure the detector is; the surest first.
        preview: `data:` address of the blurred picture; empty where there is none.
    """

    name: str
    score: float
    threshold: float
    is_readable: bool = True
    places: tuple[tuple[str, float], ...] = ()
    preview: str = ""


@dataclass(frozen=True)
class ModerationResults:
    """A whole run.

    Attributes:
        name: The run.
        category: What was looked for.
        num_pictures: All that were given.
        held: The surest first.
        doubtful: The surest first.
        how: Paragraphs: detector, threshold, border of doubt, what was not measured.
    """

    name: str
    category: str
    num_pictures: int
    held: tuple[ScreenedImage, ...]
    doubtful: tuple[ScreenedImage, ...]
    how: tuple[str, ...]

    @property
    def num_unread(self) -> int:
        return sum(not row.is_readable for row in self.doubtful)

    @property
    def summary(self) -> str:
        """The run in one sentence."""
        unread = f", {self.num_unread:,} of them unreadable" if self.num_unread else ""
        return (
            f"{self.num_pictures:,} pictures: {len(self.held):,} held back, {len(self.doubtful):,} for a person to judge{unread}. "
            "Every preview is blurred beyond recognition."
        )


def blurred(picture: Image.Image) -> Image.Image:
    """Return a small picture of which nothing but the colours of a few patches is left.

    What a patch showed is averaged before anything is enlarged, so that the detail is not hidden but gone.
    """
    longer = max(picture.size)
    few = [max(1, round(side * CELLS / longer)) for side in picture.size]
    shown = [max(1, round(side * SIDE / longer)) for side in picture.size]
    return picture.convert("RGB").resize(few, Image.Resampling.BOX).resize(shown, Image.Resampling.BILINEAR)


def preview_address(picture: Image.Image) -> str:
    """Return a blurred picture as a `data:` address."""
    out = io.BytesIO()
    blurred(picture).save(out, "JPEG", quality=70)
    return f"data:image/jpeg;base64,{base64.b64encode(out.getvalue()).decode()}"


def write_screening(data: ModerationResults, folder: Path) -> None:
    """Write report.html, report.md and report.json into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    page = page_templates().get_template("screening.html.jinja").render(data=data, most=MOST)
    (folder / "report.html").write_text(page, encoding="utf-8")
    lines = [f"# {data.name}", data.summary, *data.how]
    (folder / "report.md").write_text("\n\n".join(lines) + "\n", encoding="utf-8")
    text = json.dumps({"screening": _plain(data)}, ensure_ascii=False, indent=2)
    (folder / "report.json").write_text(text, encoding="utf-8")


def _plain(data: ModerationResults) -> dict[str, Any]:
    """Return the numbers without previews."""
    return {
        "category": data.category,
        "num_pictures": data.num_pictures,
        "num_held": len(data.held),
        "num_doubtful": len(data.doubtful),
        "num_unread": data.num_unread,
        "how": list(data.how),
    }
