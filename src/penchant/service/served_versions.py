"""Which version of a bundle is served, and what became of the others: for the learner, the command line and the studio.

In: the versions of a bundle and the store of its service. Out: another version in the place of the bundle, never one that holds an erased user.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from penchant.core.errors import ArtifactError
from penchant.core.messages import Message, message
from penchant.recommender.recommender import Recommender
from penchant.recommender.versions import VersionRecord, VersionStore, mark_of
from penchant.service import erasure
from penchant.service.security import Secret
from penchant.service.store import Store, now

logger = logging.getLogger("penchant.learning")


@dataclass(frozen=True)
class ServedVersions:
    """Promotes versions and rolls them back.

    Attributes:
        versions: Of the bundle.
        store: Of its service, which knows who was erased.
        secret: Of its service.
    """

    versions: VersionStore
    store: Store
    secret: Secret

    def promote(self, number: int) -> VersionRecord:
        """Serve a version.

        Raises:
            NotFoundError: There is no such version, or its files are gone.
            ArtifactError: It holds an erased user, or is of another catalog.
        """
        found = self.versions.promote(number, at=now(), refuse=self._refuse_erased)
        logger.info("version %d is served", number)
        if found.reason == "erasure":
            forgot = [name for name, how in found.members.items() if how in ("added", "refitted")]
            erasure.sign_networks(self.store, self.secret, forgot, mark_of(self.versions.bundle))
        return found

    def rollback(self) -> VersionRecord:
        """Serve the parent of the served version again; errors as those of `promote`."""
        return self.versions.rollback(at=now(), refuse=self._refuse_erased)

    def _refuse_erased(self, version: Recommender) -> None:
        gone = erasure.erased_users(version, self.store, self.secret)
        if gone:
            raise ArtifactError(
                f"The version learned from {len(gone)} users who were erased since.",
                where=str(version.folder),
                fix="make a new one: `penchant update BUNDLE`",
            )


def state_of(record: VersionRecord, *, is_served: bool, is_kept: bool) -> Message:
    """Return what became of a version in a word or two."""
    if is_served:
        return message("served")
    if not is_kept:
        return message("files deleted")
    if record.outcome == "waiting":
        return message("waits")
    if record.outcome == "rejected":
        return message("not promoted")
    return message("rolled back") if record.outcome == "rolled_back" else message("kept")


def shown_scores(report: Mapping[str, Any]) -> dict[str, str] | None:
    """Return the figures of a version's comparison with its parent: metric, version, parent, difference, popularity; None before there is one."""
    gap = report.get("difference")
    if not gap:
        return None
    scores = {name: f"{one['mean']:.4f}" for name, one in report["scores"].items()}
    difference = f"{gap['mean']:+.4f} [{gap['low']:.4f}, {gap['high']:.4f}]"
    return {"metric": str(report["metric"]), "difference": difference, **scores}


def too_few_requests(report: Mapping[str, Any]) -> Message | None:
    """Return that comparisons end before a version as good as the served one would be shown to be so; None where they do not, or nothing is known."""
    needed, last = report.get("needed"), report.get("last_look", 0)
    if needed is None or needed <= last:
        return None
    return message(
        "A version as good as the served one needs about {needed} requests to be shown no worse; comparisons end after {last}. "
        "Raise `looks` and `max_requests`, or `margin`, of [learning] judging, or promote at once.",
        needed=f"{float(f'{needed:.2g}'):,.0f}",
        last=f"{last:,}",
    )
