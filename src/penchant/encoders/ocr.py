"""Optical character recognition: text printed in images.

In: samples or items with images, and settings. Out: the same with a further text column.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pydantic import Field

from penchant.core.artifacts import fingerprint
from penchant.core.config import Settings
from penchant.core.messages import message
from penchant.core.schema import Catalog, Dataset, Finding, Samples
from penchant.data.media import MediaLimits, load_image, resolve
from penchant.encoders.content import find_content
from penchant.encoders.text_extraction import TextExtractor, extract_texts, items_with_text, with_text_column
from penchant.language.hub import package_folder, unloadable

MODEL = "rapidocr"
"""PP-OCR's text detector and recogniser in ONNX, inside RapidOCR's wheel (Apache-2.0): Chinese, English, other Latin letters, digits.

Source: Li et al., PP-OCRv3, arXiv 2206.03001, and its successors.
"""


class OcrConfig(Settings):
    """Recognition of text in images: the `[ocr]` table."""

    into: str = "picture_text"
    """The new column of text."""
    min_confidence: float = Field(0.5, ge=0, le=1)
    """Lines recognised with less confidence are left out."""
    max_side: int = Field(1280, ge=64)
    """Longer side in pixels that larger images are shrunk to; small print needs more."""
    search_side: int = Field(480, ge=32)
    """Shorter side in pixels that an image is enlarged to for line detection; fewer is faster and misses small print."""


class OcrReader(TextExtractor):
    """Text recognition in images."""

    title = "read images"

    def __init__(self, config: OcrConfig) -> None:
        self.config = config

    @cached_property
    def provenance(self) -> dict[str, Any]:
        package_folder(MODEL, "ocr")
        config = self.config
        decoding = f"confidence {config.min_confidence}, sides {config.search_side} to {config.max_side}"
        none = {"prompt": "", "max_tokens": None, "seed": None}
        return {"model": MODEL, "weights": version(MODEL), "decoding": decoding, **none}

    @cached_property
    def _loaded(self) -> Any:
        for package in (MODEL, "onnxruntime"):
            package_folder(package, "ocr")
        from rapidocr import RapidOCR

        settings = {
            "Global.log_level": "error",
            "Global.text_score": self.config.min_confidence,
            "Global.use_cls": False,  # detects upside-down lines: rare, and a third of the time
            "Det.limit_type": "min",
            "Det.limit_side_len": self.config.search_side,
        }
        try:
            return RapidOCR(params=settings)
        except Exception as error:  # a missing or damaged model file: each runtime has its own error class
            raise unloadable(MODEL, error) from error

    def extract(self, content: Image.Image) -> str:
        """Return the lines of an image from top to bottom, "" where there are none."""
        result = self._loaded(np.asarray(content)[..., ::-1])  # blue comes first, as in OpenCV
        return "\n".join(result.txts or ())


def read_samples_pictures(samples: Samples, config: OcrConfig | None, limits: MediaLimits, *, cache: Path) -> Samples:
    """Return the samples with a column of the text in their images; without images, as they are.

    Args:
        samples: Clean.
        config: None changes nothing.
        limits: Of media files.
        cache: Folder of earlier texts.

    Raises:
        ConfigError: There is a column of that name already.
        EncoderError: The models cannot be loaded.
        ArtifactError: The cache cannot be written.
    """
    if config is None or "image" not in samples.media_columns:
        return samples
    reader = OcrReader(config)
    return with_text_column(
        samples, config.into, "ocr", lambda catalog: read_pictures(catalog, reader, limits, cache=cache)
    )


def read_items_pictures(dataset: Dataset, config: OcrConfig | None, limits: MediaLimits, *, cache: Path) -> Dataset:
    """Return the data with a column of the text in the images of its items, for any text encoder.

    Raises:
        As `read_samples_pictures`.
    """
    if config is None or "image" not in dataset.catalog.media_columns:
        return dataset
    reader = OcrReader(config)
    return items_with_text(
        dataset, config.into, "ocr", lambda catalog: read_pictures(catalog, reader, limits, cache=cache)
    )


def read_pictures(
    catalog: Catalog, reader: OcrReader, limits: MediaLimits, *, cache: Path | None
) -> tuple[list[str | None], list[Finding]]:
    """Return the text in each image of a catalog, None where there is none, and findings.

    Args:
        catalog: Items with a column of images.
        reader: The recogniser.
        limits: Of media files.
        cache: Folder of earlier texts; None stores nothing.
    """
    content = find_content(catalog, [], "image", limits, where="ocr")
    paths, root = catalog.table[catalog.media_columns["image"]], catalog.media_root or Path()

    def load(row: int) -> Image.Image:  # larger than for encoders, since print is small
        return load_image(resolve(root, str(paths[row])), limits, max_side=reader.config.max_side)

    text = extract_texts(replace(content, load=load), reader, cache=cache, mark=fingerprint(reader.provenance))
    advice = message("text in these images is read as a text column")
    without_media = message("they are used without the text in them; repair or remove the files")
    return text.texts, text.findings("ocr.read", "ocr.failed", advice, without_media)
