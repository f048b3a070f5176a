"""A trial: how served lists explore, and which variant of them each user gets.

In: a TOML file, a user's id. Out: the variant of the user, always the same, and what it changes of a list.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from penchant.core.config import Settings, read_toml
from penchant.core.errors import ConfigError
from penchant.recommender.lists import ExplorationConfig, RankingOptions
from penchant.service.schemas import Kind

Label = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_.-]+$")]
ALL = "all"
"""The only variant of a trial that names none."""
REQUEST_OPTIONS = frozenset({"k", "context", "circumstances", "reasons"})
"""Ranking options that belong to the request, not to a variant."""


class VariantConfig(Settings):
    """A variant of served lists."""

    share: Annotated[float, Field(gt=0)] = 1.0
    """Its users, relative to the other variants' shares."""
    bundle: Path | None = None
    """A bundle of the same catalog that ranks in place of the served one."""
    ranking: dict[str, Any] = {}
    """Ranking options such as `diversity = 0.3`; what a request asks for itself comes first."""
    exploration: ExplorationConfig | None = None
    """How its lists explore; missing: as the trial's."""

    @property
    def options(self) -> RankingOptions:
        """The ranking options, checked."""
        return RankingOptions.read(self.ranking, where="variants: ranking")


class TrialMetricConfig(Settings):
    """What is counted of each user of a trial."""

    kinds: Annotated[list[Kind], Field(min_length=1)] = ["purchase"]
    """Kinds of event that count."""
    hours: Annotated[float, Field(gt=0)] = 24.0
    """Events within so long after the user's first list of the trial count; users are compared once that time has passed."""
    counts: Literal["users", "events"] = "users"
    """`users`: 1 for a user with such an event; `events`: how many a user has, at most `most`."""
    most: Annotated[int, Field(ge=1)] = 20
    """Events of one user that count at most, so that no single user decides."""


class GuardrailConfig(Settings):
    """A bound that ends a variant."""

    metric: Label
    """Name of a metric of the trial."""
    worse_by: Annotated[float, Field(ge=0)] = 0.0
    """A variant ends once its interval lies so far below that of the first variant, in units of the metric."""


class TrialConfig(Settings):
    """Settings of a trial: exploration and variants of served lists."""

    name: Label = "trial"
    """Another name draws the users anew."""
    exploration: ExplorationConfig = ExplorationConfig()
    """How lists explore, of every variant without a setting of its own."""
    variants: dict[Label, VariantConfig] = {}
    """The first one is what the others are compared with, and where users of an ended variant go; none: everybody gets the same."""
    metrics: dict[Label, TrialMetricConfig] = {"bought": TrialMetricConfig()}
    """What the variants are compared by."""
    guardrails: list[GuardrailConfig] = []
    """Bounds that end a variant."""
    max_lists: Annotated[int, Field(ge=100)] = 200_000
    """Served lists that are kept; the oldest ones go."""
    check_seconds: Annotated[float, Field(gt=0)] = 60.0
    """How often the metrics are counted again and the guardrails checked."""

    @classmethod
    def read_file(cls, path: Path) -> Self:
        """Return the trial of a TOML file; paths of bundles are relative to it.

        Raises:
            ConfigError: A setting is wrong.
        """
        found = cls.read(read_toml(path), where=str(path))
        variants = {
            name: v if v.bundle is None else v.model_copy(update={"bundle": (path.parent / v.bundle).absolute()})
            for name, v in found.variants.items()
        }
        return found.model_copy(update={"variants": variants})

    @model_validator(mode="after")
    def _known_names(self) -> Self:
        for variant in self.variants.values():
            assert variant.options is not None  # reads and checks them
        unknown = [rail.metric for rail in self.guardrails if rail.metric not in self.metrics]
        if unknown:
            raise ValueError(f"a guardrail names the metric {unknown[0]!r}, and there is none")
        for name, variant in self.variants.items():
            belong = REQUEST_OPTIONS & set(variant.ranking)
            if belong:
                raise ValueError(f"the variant {name!r} sets {sorted(belong)[0]!r}, which belongs to the request")
        return self

    @property
    def names(self) -> list[str]:
        """Variants, the one that others are compared with first."""
        return list(self.variants) or [ALL]

    def variant(self, name: str) -> VariantConfig:
        """Return a variant by name."""
        return self.variants.get(name, VariantConfig())

    def exploration_of(self, name: str) -> ExplorationConfig:
        """Return how the lists of a variant explore."""
        own = self.variant(name).exploration
        return self.exploration if own is None else own

    def assigned(self, share: float) -> str:
        """Return the variant of a user.

        Args:
            share: The user's number from 0 to below 1 (`Secret.share`).
        """
        total = sum(self.variant(name).share for name in self.names)
        reached = 0.0
        for name in self.names:
            reached += self.variant(name).share / total
            if share < reached:
                return name
        return self.names[-1]


def with_variant(options: RankingOptions, variant: VariantConfig) -> RankingOptions:
    """Return a request's options with those of the variant that the request does not set itself."""
    own = variant.options
    missing = {name: getattr(own, name) for name in own.model_fields_set if name not in options.model_fields_set}
    return options.model_copy(update=missing) if missing else options


def check_same_catalog(served: set[str], other: set[str], where: str) -> None:
    """Refuse a variant's bundle that shares too few items with the served one.

    Raises:
        ConfigError: It is of another catalog.
    """
    shared = len(served & other)
    if shared < 0.5 * max(len(served), 1):
        raise ConfigError(
            f"The variant's bundle has {shared:,} of the {len(served):,} served items.",
            where=where,
            fix="name a bundle that a run of the same catalog wrote",
        )
