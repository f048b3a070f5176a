"""The page of blocked and doubtful images; no image is shown unblurred.

In: classified pictures, each already blurred. Out: report.html (one file, no network, no script), report.md and report.json.
"""

from __future__ import annotations

import base64
import io
import json
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from penchant.core.messages import Translator, message
from penchant.reporting.report import page_templates

CELLS = 10
"""Patches along the longer side: shapes of bodies and faces are removed, and no sharpening restores them."""
SIDE = 160
"""Longer side of a preview, pixels."""
MOST = 60
"""Maximum number of pictures in a section of the page."""


@dataclass(frozen=True)
class ScreenedImage:
    """One picture that was blocked or is doubtful.

    Attributes:
        name: Its path, as the data has it.
        score: Of the category, 0 to 1.
        threshold: Score from which on it is blocked.
        is_readable: Whether it could be opened; otherwise a reviewer decides.
        regions: Label and score of each detection, the highest score first.
        preview: `data:` address of the blurred picture; empty where there is none.
    """

    name: str
    score: float
    threshold: float
    is_readable: bool = True
    regions: tuple[tuple[str, float], ...] = ()
    preview: str = ""


@dataclass(frozen=True)
class ModerationResults:
    """The results of a moderation run.

    Attributes:
        name: The run.
        category: Name of the class.
        num_pictures: Of the run.
        blocked: The highest score first.
        doubtful: The highest score first.
        protocol: Paragraphs: detector, threshold, review range, limits.
    """

    name: str
    category: str
    num_pictures: int
    blocked: tuple[ScreenedImage, ...]
    doubtful: tuple[ScreenedImage, ...]
    protocol: tuple[str, ...]

    @property
    def num_unread(self) -> int:
        return sum(not row.is_readable for row in self.doubtful)

    @property
    def summary(self) -> str:
        """The run in one sentence."""
        counts = {
            "pictures": f"{self.num_pictures:,}",
            "blocked": f"{len(self.blocked):,}",
            "doubtful": f"{len(self.doubtful):,}",
        }
        if self.num_unread:
            return message(
                "{pictures} pictures: {blocked} blocked, {doubtful} for review, {unread} of them unreadable. Every preview is blurred beyond recognition.",
                **counts,
                unread=f"{self.num_unread:,}",
            )
        return message(
            "{pictures} pictures: {blocked} blocked, {doubtful} for review. Every preview is blurred beyond recognition.",
            **counts,
        )


def blurred(picture: Image.Image) -> Image.Image:
    """Return a small picture that keeps only the mean colours of a few patches.

    Patches are averaged before the picture is enlarged, so that the detail is removed, not hidden.
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


def write_screening(data: ModerationResults, folder: Path, translate: Translator) -> None:
    """Write report.html, report.md and report.json into a folder; the pages in the translator's language, the values in English."""
    folder.mkdir(parents=True, exist_ok=True)
    template = page_templates().get_template("screening.html.jinja")
    page = template.render(data=data, most=MOST, _=translate, said=translate.said, lang=translate.lang)
    (folder / "report.html").write_text(page, encoding="utf-8")
    lines = [f"# {data.name}", *map(translate.said, (data.summary, *data.protocol))]
    (folder / "report.md").write_text("\n\n".join(lines) + "\n", encoding="utf-8")
    numbers = {
        "category": data.category,
        "num_pictures": data.num_pictures,
        "num_blocked": len(data.blocked),
        "num_doubtful": len(data.doubtful),
        "num_unread": data.num_unread,
        "protocol": list(data.protocol),
    }
    text = json.dumps({"screening": numbers}, ensure_ascii=False, indent=2)
    (folder / "report.json").write_text(text, encoding="utf-8")
