"""Models by hub id or folder.

In: a hub id and revision, or a folder. Out: which weights that is, or an `EncoderError` that says why there are none.

Nothing is fetched unless the settings name a hub id, and nothing is set for the whole process.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

from penchant.core.artifacts import checksum, fingerprint
from penchant.core.errors import EncoderError, MissingExtraError

HUB_SECONDS = 10.0
"""How long the hub may take to say which commit a revision is."""


def hub_commit(model: str, revision: str) -> str:
    """Return the commit of a hub model: the one downloaded before, else what the hub says.

    Raises:
        EncoderError: There is neither.
    """
    package_folder("huggingface_hub", "text")
    from huggingface_hub import HfApi, try_to_load_from_cache

    if model.startswith(("/", "./", "../", "~")):
        raise EncoderError(f"There is no folder {model!r}.", where=f"model = {model!r}", fix="correct the path")
    try:
        stored = try_to_load_from_cache(model, "config.json", revision=revision)
        if isinstance(stored, str):
            return Path(stored).parent.name
        return str(HfApi().model_info(model, revision=revision, timeout=HUB_SECONDS).sha)
    except Exception as error:  # no network, a proxy, an unknown name, a gated model: the library has a class for each
        raise unloadable(model, error) from error


def unloadable(model: str, error: Exception) -> EncoderError:
    """Return the error for a model that is neither a usable folder nor to be had from the hub."""
    reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return EncoderError(
        f"The model {model!r} cannot be loaded: {reason.rstrip('.')}.",
        where=f"model = {model!r}",
        fix="check the name, download it once where there is a network, or give the folder of a downloaded model",
    )


def folder_weights(folder: Path) -> str:
    """Identify a model by the names and bytes of its files."""
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return fingerprint([[p.relative_to(folder).as_posix(), checksum(p)] for p in files])


def package_folder(name: str, extra: str) -> Path:
    """Return the folder of an installed package.

    Raises:
        MissingExtraError: It is not installed.
    """
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise MissingExtraError(name, extra)
    return Path(spec.origin).parent
