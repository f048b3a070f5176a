"""Erase a user, and verify the erasure.

In: an id. Out: at once nothing of them in store, caches and histories; after a refit nothing in the model either; a signed receipt.

Immediate: rows of the store (SQLite overwrites them), the user cache of every process, and the user's events in the bundle, which
no answer reads any more; within about a second their part in what is counted as of now (`service/moment_log.py`). With the next refit, started
in the background right away: what the members learned from them, the bundle's own history files, and their share in the averages over users. With the next `penchant run`: networks. Not reached: the
source tables of the run, older bundles, backups.
"""

from __future__ import annotations

import hmac
import json
import logging
import secrets
import tempfile
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from penchant.core.artifacts import REPORT, lock_of, locked
from penchant.core.schema import MAX_ID
from penchant.experiment.refit import refitted
from penchant.recommender.persistence import users_of
from penchant.recommender.recommender import Recommender
from penchant.recommender.versions import VersionStore
from penchant.reporting.written import WrittenReport
from penchant.service.bundle_search import ids_in_folder
from penchant.service.log_pages import texts_in_log
from penchant.service.security import Secret
from penchant.service.store import Store, StoredErasure, now
from penchant.service.times import iso_time

logger = logging.getLogger("penchant.service")
DUE, DONE, UNTOUCHED = "refit is due", "refitted without the user", "never learned from the user"
ERASED, HELD = "erased", "deleted; the write-ahead log is emptied as soon as a reader releases it"
"""States of the store's files."""


def erase(store: Store, secret: Secret, bundle: Recommender, user_id: str) -> dict[str, Any]:
    """Remove one user from the store and return a signed receipt without personal data.

    Where the bundle holds the user, the models are due for a refit: see `finish`.
    """
    receipt_id = secrets.token_hex(16)
    rows = store.erase(user_id, secret.subject(user_id), receipt_id, sign=secret.link)
    is_known = any(user_id in h.user_ids for h in (bundle.histories, bundle.fitted) if h is not None)
    is_known |= any(user_id in users for users in _versions(bundle.folder).values())
    is_empty = store.empty_log(waits=())  # `erase` has waited already
    receipt = _signed(secret, receipt_id, rows, DUE if is_known else UNTOUCHED, is_empty, bundle)
    store.sign_erasure(receipt_id, json.dumps(receipt), finished=is_empty and not is_known)
    return receipt


def needs_refit(erasure: StoredErasure, secret: Secret) -> bool:
    """Return whether the bundle may still hold the user.

    So it is too where the process ended before the receipt was signed, or where the receipt is not the erasure's own.
    """
    return erasure.finished_at is None and _own_receipt(erasure, secret).get("model", DUE) == DUE


def finish_log(store: Store, secret: Secret) -> bool:
    """Empty the store's log where an erasure waits for it, and sign those receipts anew; return whether nothing waits any more."""
    due = [(e, _own_receipt(e, secret)) for e in store.erasures() if e.finished_at is None]
    held = [(e, receipt) for e, receipt in due if receipt.get("store") == HELD]  # an altered one is not signed anew
    if not held:
        return True
    if not store.empty_log(waits=()):
        return False
    for e, receipt in held:
        body = {**receipt, "store": ERASED}
        del body["signature"]
        signed = {**body, "signature": signature(secret, body)}
        store.sign_erasure(e.receipt_id, json.dumps(signed), finished=not needs_refit(e, secret))
    return True


def finish(folder: Path, store: Store, secret: Secret) -> Recommender | None:
    """Refit every member without the erased users, and put the bundle in the place of the old one.

    One process at a time does it; a second one finds nothing left to do. Cost: that of fitting the members once.

    Returns:
        The new bundle; None where nothing was due.
    """
    with locked(lock_of(folder), waits=True):
        due = [e for e in store.erasures() if needs_refit(e, secret)]
        if not due:
            return None
        bundle = Recommender.load(folder)
        gone = erased_users(bundle, store, secret)
        if gone:
            logger.info("refit without %d users", len(gone))
            bundle = _save_with_report(refit(bundle.without(gone)), folder)
        forget_versions(VersionStore(folder), store, secret)
        is_empty = store.empty_log()
        for e in due:
            rows = _own_receipt(e, secret).get("rows", {})
            receipt = _signed(secret, e.receipt_id, rows, DONE, is_empty, bundle)
            store.sign_erasure(e.receipt_id, json.dumps(receipt), finished=is_empty)
    return bundle


def _save_with_report(bundle: Recommender, folder: Path) -> Recommender:
    """Save the bundle over its folder; its report comes along without the examples, which may show the erased user."""
    if not (folder / REPORT / "report.json").is_file():
        return bundle.save(folder)
    with tempfile.TemporaryDirectory() as scratch:
        WrittenReport.beside(folder).copy_without_examples(Path(scratch))
        return bundle.save(folder, report=Path(scratch))


def refit(bundle: Recommender) -> Recommender:
    """Return the bundle with its members fitted on the bundle's own events; weights and settings stay.

    Networks, which take minutes, stay as they are until the next `penchant run`; receipts name them.

    Raises:
        ArtifactError: A member reads channels, and the bundle was written without.
    """
    events = bundle.histories if bundle.fitted is None else bundle.fitted
    return refitted(bundle, events)[0]


def networks_due(store: Store, secret: Secret) -> set[str]:
    """Return the networks that, by the receipts, may have learned from an erased user."""
    return {name for e in store.erasures() for name in _own_receipt(e, secret).get("until_the_next_run", ())}


def sign_networks(store: Store, secret: Secret, names: Collection[str], bundle: str) -> None:
    """Sign the receipts anew that wait for networks, which were trained without the erased users since.

    Args:
        store: Holds the receipts.
        secret: Signs them.
        names: Of the networks.
        bundle: Fingerprint of the bundle that holds them.
    """
    for e in store.erasures():
        receipt = _own_receipt(e, secret)
        waiting = receipt.get("until_the_next_run", [])
        done = sorted(set(waiting) & set(names))
        if not done:
            continue
        body = {name: value for name, value in receipt.items() if name != "signature"}
        body["until_the_next_run"] = sorted(set(waiting) - set(done))
        body["networks"] = {"trained_without_the_user": done, "at": iso_time(now()), "bundle": bundle}
        signed = {**body, "signature": signature(secret, body)}
        store.sign_erasure(e.receipt_id, json.dumps(signed), finished=e.finished_at is not None)


def erased_users(bundle: Recommender, store: Store, secret: Secret) -> list[str]:
    """Return the erased users that the bundle still holds."""
    subjects = {e.subject for e in store.erasures()}
    if not subjects:
        return []
    held = {*bundle.histories.user_ids, *(bundle.fitted.user_ids if bundle.fitted is not None else [])}
    return sorted(user for user in held if secret.subject(user) in subjects)


def forget_versions(versions: VersionStore, store: Store, secret: Secret) -> list[int]:
    """Delete the files of versions that learned from an erased user, and return their numbers; the served bundle is another matter (`finish`)."""
    subjects = {e.subject for e in store.erasures()}
    held = _versions(versions.bundle) if subjects else {}
    found = [n for n, users in held.items() if any(secret.subject(user) in subjects for user in users)]
    for number in found:
        versions.remove(number)
        logger.info("version %d learned from an erased user: its files are deleted", number)
    return found


def _versions(folder: Path | None) -> dict[int, set[str]]:
    """Return the users of each version of a bundle whose files are kept."""
    if folder is None:
        return {}
    versions = VersionStore(folder)
    return {r.number: users_of(versions.place(r.number)) for r in versions.records() if versions.has_files(r.number)}


@dataclass(frozen=True)
class ErasureCheck:
    """Whether every erased user is gone.

    Attributes:
        num_erased: Erasures on record.
        num_due: Of these, those whose refit is not done, or for which SQLite's log could not be emptied yet.
        num_in_bundle: Erased users the bundle still holds.
        num_in_store: Erased users of whom the store holds something from before the erasure.
        num_in_log: Erased users whose id is in SQLite's write-ahead log; one who came back to the store is not counted.
        max_difference: Largest difference between the members' arrays and those of a refit, done now, without them.
        files: Files of the bundle, and of unfinished folders beside it, that name an erased user.
        num_bad_signatures: Receipts that are missing, of another erasure, or whose signature is not valid.
        num_missing: Erasures that are missing from the chain of all, or whose place in it is not theirs.
    """

    num_erased: int
    num_due: int
    num_in_bundle: int
    num_in_store: int
    num_in_log: int
    max_difference: float
    num_bad_signatures: int
    files: tuple[str, ...] = ()
    num_missing: int = 0

    @property
    def is_clean(self) -> bool:
        """Whether nothing was found; the same machine and thread count give a difference of exactly 0."""
        found = self.num_due + self.num_in_bundle + self.num_in_store + self.num_in_log
        found += self.num_bad_signatures + self.num_missing
        return found == 0 and not self.files and self.max_difference <= 1e-4

    def lines(self) -> list[str]:
        """Return the result as lines of text."""
        return [
            f"{self.num_erased} erasures, {self.num_due} of them wait for their refit or for the store's log",
            f"{self.num_in_bundle} erased users are in the bundle's histories, {self.num_in_store} in the store, "
            f"{self.num_in_log} in its write-ahead log",
            f"{len(self.files)} files of the bundle name erased users{': ' * bool(self.files)}{', '.join(self.files)}",
            f"the model differs from a refit without them by at most {self.max_difference:.2g}",
            f"{self.num_bad_signatures} receipts were altered",
            f"{self.num_missing} erasures are missing or altered",
            "clean" if self.is_clean else "NOT CLEAN",
        ]


def verify(folder: Path, store: Store, secret: Secret) -> ErasureCheck:
    """Look for every erased user, and compare the model with one fitted without them."""
    bundle, erasures = Recommender.load(folder), store.erasures()
    in_bundle = erased_users(bundle, store, secret)
    held, fresh = bundle.ensemble.arrays(), refit(bundle.without(in_bundle)).ensemble.arrays()
    last = {e.subject: e.erased_at for e in erasures}
    present = store.user_ids()
    in_store = [u for u in present if (store.first_received(u) or np.inf) < last.get(secret.subject(u), -np.inf)]
    in_log = {u for u in _log_ids(store) if secret.subject(u) in last} - (set(present) - set(in_store))
    return ErasureCheck(
        len(erasures),
        sum(e.finished_at is None for e in erasures),
        len(in_bundle),
        len(in_store),
        len(in_log),
        max((_difference(held[name], fresh[name]) for name in held), default=0.0),
        bad_receipts(erasures, secret),
        tuple(
            name
            for place in (folder, *VersionStore(folder).places())
            for name in ids_in_folder(place, lambda text: secret.subject(text) in last)
        ),
        chain_breaks(store, secret),
    )


def bad_receipts(erasures: Sequence[StoredErasure], secret: Secret) -> int:
    """Return how many receipts were emptied, exchanged or altered; an erasure whose refit is due may have none yet."""
    return sum(not _own_receipt(e, secret) for e in erasures if e.receipt or e.finished_at is not None)


def _own_receipt(stored: StoredErasure, secret: Secret) -> dict[str, Any]:
    """Return an erasure's receipt; empty where it is missing, altered, another's, or from before the erasure was finished."""
    try:
        receipt = json.loads(stored.receipt)
    except ValueError:
        return {}
    if not isinstance(receipt, dict) or not is_genuine(secret, receipt):
        return {}
    is_stale = stored.finished_at is not None and (receipt.get("model") == DUE or receipt.get("store") == HELD)
    return receipt if receipt.get("receipt_id") == stored.receipt_id and not is_stale else {}


def chain_breaks(store: Store, secret: Secret) -> int:
    """Return how many erasures are missing from the chain or altered; the newest ones too, as the store counts them apart."""
    erasures, count, last = store.erasure_chain()
    by_number = {e.number: e for e in erasures if e.number is not None}
    before: str | None = ""
    breaks = len(erasures) - len(by_number)
    for number in range(1, max([count, *by_number]) + 1):
        found = by_number.get(number)
        if found is None:
            breaks += 1
            before = None  # the link after a gap cannot be checked; the gap itself is counted
            continue
        is_own = before is None or hmac.compare_digest(found.link or "", secret.link(found.linked(before)))
        breaks += not is_own or number > count
        before = found.link or ""
    is_end_own = before is None or hmac.compare_digest(before, last)
    return breaks + (not is_end_own)


def is_genuine(secret: Secret, receipt: dict[str, Any]) -> bool:
    """Return whether a receipt was signed with this secret and not altered since."""
    body = {name: value for name, value in receipt.items() if name != "signature"}
    return hmac.compare_digest(str(receipt.get("signature")).encode(), signature(secret, body).encode())


def signature(secret: Secret, body: dict[str, Any]) -> str:
    """Return the signature of a receipt without one."""
    return secret.sign(_canonical(body))


def _log_ids(store: Store) -> set[str]:
    texts = set() if store.log_file is None else texts_in_log(store.log_file)
    return {text for text in texts if len(text) <= MAX_ID}


def _signed(
    secret: Secret, receipt_id: str, rows: dict[str, int], status: str, is_empty: bool, bundle: Recommender
) -> dict[str, Any]:
    members = bundle.ensemble.members
    networks = sorted(name for name, member in members.items() if member.is_costly)
    body = {
        "receipt_id": receipt_id,
        "rows": rows,
        "store": ERASED if is_empty else HELD,
        "model": status,
        "members": sorted(set(members) - set(networks)),
        "until_the_next_run": networks if status != UNTOUCHED else [],
        "bundle": bundle.mark,
    }
    return {**body, "signature": signature(secret, body)}


def _canonical(body: dict[str, Any]) -> str:
    return json.dumps(body, sort_keys=True, separators=(",", ":"))


def _difference(held: np.ndarray, fresh: np.ndarray) -> float:
    if held.shape != fresh.shape:
        return float("inf")
    return float(np.abs(held.astype(np.float64) - fresh.astype(np.float64)).max(initial=0))
