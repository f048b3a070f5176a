"""Optical character recognition: text printed in images.

In: samples or items with pictures, and who reads. Out: the same with one more column of text, which joins the others.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from PIL import Image
from pydantic import Field

from penchant.core.artifacts import fingerprint
from penchant.core.config import Settings
from penchant.core.messages import message
from penchant.core.schema import Catalog, Dataset, Finding, Samples
from penchant.data.media import MediaLimits, load_image, resolve
from penchant.encoders.content import find_content
from penchant.encoders.text_extraction import ExtractedText, TextExtractor, check_free, put_into_words, with_words
from penchant.language.hub import package_folder, unloadable

MODEL = "rapidocr"
"""PP-OCR's detector and reader of lines in ONNX, inside RapidOCR's wheel (Apache-2.0): Chinese, English, other Latin letters, digits.

Source: Li et al., PP-OCRv3, arXiv 2206.03001, and its successors.
"""


class OcrConfig(Settings):
    """Who reads the words inside pictures: the `[ocr]` table."""

    into: str = "picture_text"
    """The new column of text."""
    min_confidence: float = Field(0.5, ge=0, le=1)
    """Lines that are read with less confidence are left out."""
    max_side: int = Field(1280, ge=64)
    """Larger pictures are shrunk to this many pixels; small print needs more."""
    search_side: int = Field(480, ge=32)
    """Pixels the shorter side is enlarged to where lines are looked for; fewer is faster and misses small print."""


class OcrReader:
    """A reader that always finds the same words in the same picture."""

    def __init__(self, config: OcrConfig) -> None:
        self.config = config

    @cached_property
    def provenance(self) -> dict[str, Any]:
        """What every text is stored with."""
        package_folder(MODEL, "ocr")
        config = self.config
        decoding = f"confidence {config.min_confidence}, sides {config.search_side} to {config.max_side}"
        none = {"prompt": "", "max_tokens": None, "seed": None}
        return {"model": MODEL, "weights": version(MODEL), "decoding": decoding, **none}

    @cached_property
    def _engine(self) -> Any:
        for package in (MODEL, "onnxruntime"):
            package_folder(package, "ocr")
        from rapidocr import RapidOCR

        settings = {
            "Global.log_level": "error",
            "Global.text_score": self.config.min_confidence,
            "Global.use_cls": False,  # whether a line stands on its head: rare, and a third of the time
            "Det.limit_type": "min",
            "Det.limit_side_len": self.config.search_side,
        }
        try:
            return RapidOCR(params=settings)
        except (
            Exception
        ) as error:  # a model file that is missing or damaged: each runtime has a class of its own for it
            raise unloadable(MODEL, error) from error

    def load(self) -> None:
        """Bring the models into memory.

        Raises:
            EncoderError: They cannot be loaded.
            MissingExtraError: The extra `ocr` is not installed.
        """
        _ = self._engine

    def read(self, picture: Image.Image) -> str:
        """Return the lines of a picture from top to bottom, "" where there are none."""
        found = self._engine(np.asarray(picture)[..., ::-1])  # it takes blue first, as OpenCV does
        return "\n".join(found.txts or ())


def read_samples_pictures(samples: Samples, config: OcrConfig | None, limits: MediaLimits, *, cache: Path) -> Samples:
    """Return the samples with a column of what stands written in their pictures; without pictures, as they are.

    Args:
        samples: Clean.
        config: None changes nothing.
        limits: Of media files.
        cache: Folder of what was read before.

    Raises:
        ConfigError: There is a column of that name already.
        EncoderError: The models cannot be loaded.
        ArtifactError: The cache cannot be written.
    """
    if config is None or "image" not in samples.media_columns:
        return samples
    check_free(samples.table.columns, config.into, "ocr")
    written, findings = read_pictures(samples.catalog(), OcrReader(config), limits, cache=cache)
    return with_words(samples, config.into, written, findings)


def read_items_pictures(dataset: Dataset, config: OcrConfig | None, limits: MediaLimits, *, cache: Path) -> Dataset:
    """Return the data with a column of what stands written in the pictures of its items, for any encoder of words.

    Raises:
        As `read_samples_pictures`.
    """
    catalog = dataset.catalog
    if config is None or "image" not in catalog.media_columns:
        return dataset
    check_free(catalog.table.columns, config.into, "ocr")
    written, findings = read_pictures(catalog, OcrReader(config), limits, cache=cache)
    table = catalog.table.with_columns(pl.Series(config.into, written, pl.String))
    catalog = replace(catalog, table=table, text_columns=(*catalog.text_columns, config.into))
    return replace(dataset, catalog=catalog, findings=(*dataset.findings, *findings))


def read_pictures(
    catalog: Catalog, reader: OcrReader, limits: MediaLimits, *, cache: Path | None
) -> tuple[list[str | None], list[Finding]]:
    """Return what stands written in each picture of a catalog, None where nothing does, and what was noticed.

    Args:
        catalog: Items with a column of pictures.
        reader: Who reads.
        limits: Of media files.
        cache: Folder of what was read before; None keeps nothing.
    """
    content = find_content(catalog, [], "image", limits, where="ocr")
    content = replace(content, load=lambda row: _larger(catalog, row, reader.config.max_side, limits))
    scribe = TextExtractor("read pictures", reader.provenance, reader.load, reader.read)
    words = put_into_words(content, scribe, cache=cache, mark=fingerprint(reader.provenance))
    return words.texts, _findings(words)


def _larger(catalog: Catalog, row: int, max_side: int, limits: MediaLimits) -> Image.Image:
    """Open a picture larger than encoders want it, since print is small."""
    relative = str(catalog.table[catalog.media_columns["image"]][row])
    return load_image(resolve(catalog.media_root or Path(), relative), limits, max_side=max_side)


def _findings(words: ExtractedText) -> list[Finding]:
    shown = tuple(text.replace("\n", " / ") for text in words.first())
    advice = message("what stands written in these pictures is read as words")
    found = [Finding("ocr.read", words.num_worded, words.num_files, "kept", shown, advice)]
    if words.failures:
        advice = message("they go on without their words; mend or remove the files")
        failed = len(words.failures)
        found.append(Finding("ocr.failed", failed, words.num_files, "masked", words.failures[:5], advice, "warning"))
    return found
