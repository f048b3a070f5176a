"""Pretrained models by hub id or folder.

In: a hub id and revision, or a folder. Out: loaded parts with complete weights; or an `EncoderError` with the reason.

Nothing is fetched unless the settings name a hub id, and nothing is set for the whole process.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

from typing_extensions import TypeVar

from penchant.core.artifacts import fingerprint
from penchant.core.config import Settings
from penchant.encoders.encoder import Encoder
from penchant.language.hub import folder_weights, hub_commit, load_network, load_part

OPTIONAL_WEIGHTS = ("pooler", "masked_spec_embed", "position_ids")
"""Parts a checkpoint may lack: they are used only where present, or only in training."""


class PretrainedConfig(Settings):
    """Settings of any model from a hub or a folder."""

    model: str
    """Hub id, or a folder."""
    revision: str = "main"
    """Branch, tag or commit on the hub; a commit that was downloaded once is kept until this changes."""


PretrainedT_co = TypeVar("PretrainedT_co", bound=PretrainedConfig, default=PretrainedConfig, covariant=True)


class Pretrained(Encoder[PretrainedT_co]):
    """An encoder whose model the settings name; equal files in any folder have equal fingerprints."""

    licence = "the model's own"
    extra = "text"
    """The optional part of Penchant that holds transformers."""

    def weights(self) -> Any:
        return folder_weights(Path(self.config.model)) if self.commit is None else [self.config.model, self.commit]

    def fingerprint(self) -> str:
        settings = self.config.model_dump(mode="json", exclude={"model", "revision"})
        return fingerprint(type(self).__name__, self.version, settings, self.weights())

    @cached_property
    def commit(self) -> str | None:
        """The hub's commit; None for a folder."""
        return None if Path(self.config.model).is_dir() else hub_commit(self.config.model, self.config.revision)

    def part(self, loader: Any, **options: Any) -> Any:
        """Load a tokenizer or processor, as `load_part` does."""
        return load_part(loader, self.config.model, self.commit, name=self.config.model, **options)

    def network(self, loader: Any) -> tuple[Any, bool]:
        """Load a model for inference, and return it with whether its pooler was trained.

        A checkpoint of a classifier has no pooler; the library would draw one at random at every start.

        Raises:
            EncoderError: It cannot be loaded, or weights are missing.
        """
        name = self.config.model
        model, missing = load_network(loader, name, self.commit, name=name, optional=OPTIONAL_WEIGHTS, noun="model")
        return model, not any("pooler" in weight for weight in missing)
