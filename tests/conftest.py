"""Fixtures for all tests: real data where there is any, the shops (shop.py, content_shop.py), a small language model."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from jaxtyping import install_import_hook

CHECKED = ["penchant.fusion", "penchant.metrics"]
"""Packages whose shapes and types are checked while tests run."""
install_import_hook(CHECKED, "shape_checks.checked")
pytest_plugins = ["content_shop", "hand_made", "shop", "small_language_model"]
ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of real data sets; skip the test where it is absent."""
    folder = Path(os.environ.get("PENCHANT_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data: {folder} is absent (set PENCHANT_DATA)")
    return folder
