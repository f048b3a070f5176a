"""What a recommendation run reads of users beside their events: content, circumstances, the profile in words.

In: clean tables and settings. Out: vectors by channel, and interactions that name the vector of each event.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from penchant.core.errors import ConfigError
from penchant.core.schema import (
    Catalog,
    Dataset,
    UserContent,
)
from penchant.data.context import ContextConfig, read_context
from penchant.encoders.catalog import (
    default_channels,
)
from penchant.encoders.user_content import (
    UserChannelConfig,
    default_user_channels,
    encode_user_content,
    unused_protected,
)
from penchant.explanation.profile_channel import CHANNEL, ProfileChannel
from penchant.explanation.topics import Topics
from penchant.models.channels import FUSED
from penchant.pipelines.recommendation_settings import RecommendationConfig
from penchant.recommender.new_items import ChannelEncoders

CONTEXT_MODEL = "context_popularity"
"""The model that reads the circumstances of a request."""


def user_channels(dataset: Dataset, config: RecommendationConfig) -> dict[str, UserChannelConfig]:
    """Return the channels of user content that a run reads."""
    if config.user_content is not None:
        return config.user_content
    return default_user_channels(dataset.interactions, dataset.users) if config.members is None else {}


def reads_context(config: RecommendationConfig) -> bool:
    """Return whether a member reads the circumstances of a request."""
    return config.members is None or any(t.get("model") == CONTEXT_MODEL for t in config.members.values())


def read_user_content(dataset: Dataset, config: RecommendationConfig) -> tuple[Dataset, UserContent]:
    """Return the vectors of what users wrote, showed and said, and of what they are, and interactions that name the vector of each event.

    Raises:
        ConfigError: A column or an encoder does not exist, or a channel has the name of one of the items'.
    """
    channels = user_channels(dataset, config)
    taken_names = {*(config.content or default_channels(dataset.catalog)), FUSED}
    if taken := sorted(set(channels) & taken_names):
        raise ConfigError(
            f"{taken[0]!r} is a channel of the items.", where=f"user_content.{taken[0]}", fix="choose another name"
        )
    dataset, content = encode_user_content(dataset, channels, cache=config.cache / "vectors", limits=config.media)
    named = config.data.context if reads_context(config) else []
    settings = config.context if reads_context(config) else ContextConfig(time=[])
    interactions, context, notes = read_context(dataset.interactions, named, settings)
    findings = (*dataset.findings, *unused_protected(dataset.users, channels), *notes)
    if taken := sorted(set(context) & {*content.embeddings, *taken_names}):
        raise ConfigError(
            f"{taken[0]!r} is a circumstance of the request and a channel.",
            where=f"user_content.{taken[0]}",
            fix="choose another name for the channel, or leave the circumstance out of [context]",
        )
    return (
        replace(dataset, interactions=interactions, findings=findings),
        replace(content, embeddings={**content.embeddings, **context}),
    )


def with_written_profile(
    user_content: UserContent,
    catalog: Catalog,
    topics: Topics,
    weight: np.ndarray,
    config: RecommendationConfig,
) -> UserContent:
    """Return the user content with the profile in words of each history as one more channel.

    Args:
        user_content: The channels there are.
        catalog: Items.
        topics: Content groups.
        weight: (items,) how much all users chose each item before validation.
        config: The settings of the run.

    Raises:
        ConfigError: There is a channel of this name, or the settings of the channel are wrong.
    """
    if config.written_profile is None:
        return user_content
    if CHANNEL in user_content.embeddings:
        raise ConfigError(
            f"{CHANNEL!r} is a channel of user content.",
            where=f"user_content.{CHANNEL}",
            fix="choose another name, or leave [written_profile] out",
        )
    config.written_profile.checked()
    made = ProfileChannel(
        catalog, topics, weight, config.written_profile, ChannelEncoders().load, cache=config.cache / "vectors"
    )
    return replace(user_content, derived={CHANNEL: made})
