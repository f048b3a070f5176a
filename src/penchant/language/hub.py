"""Models by hub id or folder.

In: a hub id and revision, or a folder. Out: its loaded parts and the identity of its weights, or an `EncoderError` with the reason.

Nothing is fetched unless the settings name a hub id, and nothing is set for the whole process.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from penchant.core.artifacts import checksum, fingerprint
from penchant.core.errors import EncoderError, MissingExtraError

HUB_SECONDS = 10.0
"""Time limit of the hub for the commit of a revision."""


def hub_commit(model: str, revision: str) -> str:
    """Return the commit of a hub model: the one downloaded before, else the hub's answer.

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
    """Return the error for a model that neither a folder nor the hub provides."""
    reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return EncoderError(
        f"The model {model!r} cannot be loaded: {reason.rstrip('.')}.",
        where=f"model = {model!r}",
        fix="check the name, download it once where there is a network, or give the folder of a downloaded model",
    )


def load_part(loader: Any, source: str, commit: str | None, *, name: str, **options: Any) -> Any:
    """Load a tokenizer, processor or network of transformers; code that comes with a model is never run.

    Args:
        loader: Class of transformers with `from_pretrained`.
        source: Hub id, or a folder.
        commit: Of the hub; None for a folder.
        name: Of the model, for messages.
        options: For the loader.

    Raises:
        EncoderError: It cannot be loaded.
    """
    try:
        return loader.from_pretrained(source, revision=commit or "main", trust_remote_code=False, **options)
    except Exception as error:  # a folder of something else makes a loader raise nearly anything
        raise unloadable(name, error) from error


def load_network(
    loader: Any, source: str, commit: str | None, *, name: str, optional: Sequence[str], noun: str, **options: Any
) -> tuple[Any, list[str]]:
    """Load a network for inference, and return it with the names of the weights that its files lack.

    Args:
        loader, source, commit, name, options: As in `load_part`.
        optional: Parts of names of weights that may be missing.
        noun: Kind of model to suggest where weights are missing.

    Raises:
        EncoderError: It cannot be loaded, or other weights are missing: the library would draw them at random.
    """
    model, report = load_part(loader, source, commit, name=name, output_loading_info=True, **options)
    missing = sorted(report["missing_keys"])
    needed = [weight for weight in missing if not any(part in weight for part in optional)]
    if needed:
        raise EncoderError(
            f"The model {name!r} lacks {len(needed)} of its weights, first {needed[0]!r}.",
            where=f"model = {name!r}",
            fix=f"give a {noun} that was saved whole; random weights would carry no information",
        )
    return model.eval(), missing


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
