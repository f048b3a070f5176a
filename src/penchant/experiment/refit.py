"""Members of a bundle fitted again on other events, with the settings and weights they have.

In: a recommender and the events to learn from. Out: the recommender that learned from these; equal fits are made once.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from time import perf_counter

from penchant.core.errors import ArtifactError
from penchant.core.schema import BEHAVIOUR, Content, Histories
from penchant.experiment.fit_cache import FitCache
from penchant.models.member import FittedItems, Member, make_member
from penchant.recommender.recommender import Recommender


def refitted(
    bundle: Recommender,
    events: Histories,
    content: Content | None = None,
    *,
    kept: Collection[str] | None = None,
    anew: Collection[str] = (),
    fits: FitCache | None = None,
) -> tuple[Recommender, dict[str, float]]:
    """Return a bundle whose members learned from these events, and the seconds of each fit; weights and settings stay.

    Args:
        bundle: The bundle; its own events do not count.
        events: Of all users, over the bundle's catalog.
        content: Channels over the same catalog; None takes those of the bundle.
        kept: Members that stay as they are; None keeps those that take minutes to fit.
        anew: Members that learn from nothing before: what they learned from is not to be continued.
        fits: Holds results that members share; None begins without.

    Raises:
        ArtifactError: A member reads channels, and the bundle was written without.
    """
    content = bundle.content if content is None else content
    members: dict[str, Member] = {}
    seconds: dict[str, float] = {}
    fits = FitCache() if fits is None else fits
    for name, member in bundle.ensemble.members.items():
        if member.is_costly if kept is None else name in kept:
            members[name] = member
            continue
        check_channels_of(bundle, name, content)
        began = perf_counter()
        members[name], _ = fits.fit(
            make_member(name, bundle.tables[name]), events, content, None if name in anew else plain(member)
        )
        seconds[name] = perf_counter() - began
    ensemble = replace(bundle.ensemble, members=members)
    return replace(bundle, ensemble=ensemble), seconds


def check_channels_of(bundle: Recommender, name: str, content: Content) -> None:
    """Refuse to fit a member whose channels are missing.

    Raises:
        ArtifactError: The bundle was written without one of them.
    """
    known = {*content.channels, *content.user_channels, BEHAVIOUR}
    needs = [c for c in bundle.ensemble.channels[name] if c not in known]
    if needs:
        raise ArtifactError(
            f"The bundle was written without the channel {needs[0]!r}, which {name!r} reads.",
            where=str(bundle.folder),
            fix="run `penchant run` again without the user in its data",
        )


def plain(member: Member) -> Member:
    """Return the member that was fitted, without what scores items that came after its fit."""
    return member.member if isinstance(member, FittedItems) else member
