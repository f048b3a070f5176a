"""The settings of a recommendation run: the whole TOML file.

In: tables of a TOML file. Out: `RecommendationConfig`, each part beside the code that it sets, and the fusion of channels.
"""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import model_validator

from penchant.classifiers.reviews import ReviewsConfig
from penchant.core.config import Settings
from penchant.core.errors import ConfigError
from penchant.data.context import ContextConfig
from penchant.data.event_weights import HistoriesConfig
from penchant.data.read.sources import DataConfig
from penchant.data.split.interactions import SplitConfig
from penchant.encoders.user_content import (
    UserChannelConfig,
)
from penchant.experiment.evaluate import EvaluationConfig
from penchant.experiment.fit import FitConfig
from penchant.experiment.search import SearchConfig
from penchant.explanation.profile_channel import WrittenProfileConfig
from penchant.language.descriptions import DescribeConfig
from penchant.pipelines.frame import (
    LearningSettings,
)
from penchant.reporting.inside import ReportConfig


class FusionConfig(Settings):
    """Feature-level fusion; several values are tried on validation."""

    kind: str = "concat"
    """How the channels become one vector: concat, or a name that another package adds."""
    dim: list[int] = [64, 128]
    """Of concat: directions kept of each channel."""
    whiten: list[bool] = [False, True]
    """Of concat: whether they get the same spread."""
    options: dict[str, Any] = {}
    """Settings of another kind; of a list each value is tried on validation."""
    impute: bool = True
    """Impute missing content from items that share users."""

    def tables(self) -> list[dict[str, Any]]:
        """Return every kind and settings to compare on validation.

        Raises:
            ConfigError: A setting of concat is given to another kind.
        """
        own = {"dim": self.dim, "whiten": self.whiten}
        if self.kind != "concat":
            if extra := sorted(self.model_fields_set & set(own)):
                raise ConfigError(
                    f"fusion.{extra[0]} is a setting of concat, not of {self.kind!r}.",
                    where=f"fusion.{extra[0]}",
                    fix="put the settings of another kind under [fusion.options]",
                )
            own = {}
        grid = {n: v if isinstance(v, list) else [v] for n, v in {**own, **self.options}.items()}
        return [{"kind": self.kind, **dict(zip(grid, values, strict=True))} for values in product(*grid.values())]


class RecommendationConfig(LearningSettings):
    """Settings of a recommendation run: the whole TOML file."""

    task: Literal["recommendation"] = "recommendation"
    """Kind of run."""
    data: DataConfig = DataConfig()
    """Where the data is."""
    reviews: ReviewsConfig = ReviewsConfig()
    """Classifiers of users' reviews; unhappy ones count against the item. Without a classifier, reviews are not read."""
    split: SplitConfig = SplitConfig()
    """Train, validation, test."""
    histories: HistoriesConfig = HistoriesConfig()
    """Weights of events."""
    user_content: dict[str, UserChannelConfig] | None = None
    """Channels of what users wrote, showed and said, and of what they are. None takes one for each kind there is, without protected
    attributes, where the members are the default ones, and none where they are named; an empty table reads none."""
    context: ContextConfig = ContextConfig()
    """Circumstances of the request that are read, besides the columns of [data] context."""
    written_profile: WrittenProfileConfig | None = None
    """The profile in words of each history as a channel of the person; None reads none."""
    describe: DescribeConfig | None = None
    """A column of text that a language model writes from each item's own content; None writes none."""
    fusion: FusionConfig = FusionConfig()
    """Channels to one vector."""
    model: Literal["auto"] | None = None
    """"auto" chooses members and a network on validation under the budget of [search]; None takes `members`."""
    members: dict[str, dict[str, Any]] | None = None
    """Members of the ensemble by name; None takes the default members, which fit in seconds."""
    search: SearchConfig = SearchConfig()
    """Budget of model = "auto"."""
    fit: FitConfig = FitConfig()
    """Selection of settings and ensemble weights."""
    evaluation: EvaluationConfig = EvaluationConfig()
    """Settings of the evaluation."""
    report: ReportConfig = ReportConfig()
    """What the report shows of the inside of the models."""

    @model_validator(mode="after")
    def _evaluated_length_is_measured(self) -> Self:
        if self.evaluation.cutoff not in self.evaluation.ks:
            raise ConfigError(
                f"evaluation.cutoff = {self.evaluation.cutoff} is not among evaluation.ks = {self.evaluation.ks}.",
                where="evaluation.cutoff",
                fix="add it to evaluation.ks, or set evaluation.cutoff to one of them",
            )
        return self

    def below(self, home: Path) -> Self:
        return super().below(home).model_copy(update={"reviews": self.reviews.below(home)})
