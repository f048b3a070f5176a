"""Pretrained models by hub id or folder.

In: a hub id and revision, or a folder. Out: loaded parts whose weights are known and all there; or an `EncoderError` that says why not.

Nothing is fetched unless the settings name a hub id, and nothing is set for the whole process.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

from typing_extensions import TypeVar

from penchant.core.artifacts import fingerprint
from penchant.core.config import Settings
from penchant.core.errors import EncoderError
from penchant.encoders.encoder import Encoder
from penchant.language.hub import folder_weights, hub_commit, unloadable

OPTIONAL_WEIGHTS = ("pooler", "masked_spec_embed", "position_ids")
"""Parts a checkpoint may lack: they are only used when they are there, or only in training."""


class PretrainedConfig(Settings):
    """Settings of any model from a hub or a folder."""

    model: str
    """Hub id, or a folder."""
    revision: str = "main"
    """Branch, tag or commit on the hub; a commit that was downloaded once is kept until this changes."""


PretrainedT_co = TypeVar("PretrainedT_co", bound=PretrainedConfig, default=PretrainedConfig, covariant=True)


class Pretrained(Encoder[PretrainedT_co]):
    """An encoder whose model the settings name; the same files give the same fingerprint wherever they lie."""

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
        """Load a tokenizer or processor."""
        try:
            return loader.from_pretrained(
                self.config.model, revision=self.commit or "main", trust_remote_code=False, **options
            )
        except Exception as error:  # a folder of something else makes a loader raise nearly anything
            raise unloadable(self.config.model, error) from error

    def network(self, loader: Any) -> tuple[Any, bool]:
        """Load a model, ready to infer, and say whether its pooler was trained.

        A checkpoint of a classifier has no pooler; the library would make one up at random, other at every start.

        Raises:
            EncoderError: It cannot be loaded, or weights are missing.
        """
        model, report = self.part(loader, output_loading_info=True)
        missing = sorted(report["missing_keys"])
        needed = [name for name in missing if not any(word in name for word in OPTIONAL_WEIGHTS)]
        if needed:
            raise EncoderError(
                f"The model {self.config.model!r} lacks {len(needed)} of its weights, first {needed[0]!r}.",
                where=f"model = {self.config.model!r}",
                fix="give a model that was saved whole; random weights would say nothing",
            )
        return model.eval(), not any("pooler" in name for name in missing)
