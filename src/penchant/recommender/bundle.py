"""A trained recommender on disk, and what can be asked of it.

In: a folder written by `penchant run`. Out: recommendations with reasons, profiles, exact explanations.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Float32
from safetensors.numpy import load_file, save_file

from penchant.core.artifacts import open_artifact, write_artifact
from penchant.core.errors import DataError, nearest
from penchant.core.schema import Catalog, Content, Embeddings, Histories, Vocabulary
from penchant.explanation.attribution import Explanation, channel_shares, explain
from penchant.explanation.profile import Profile, Profiler
from penchant.explanation.topics import Topics
from penchant.fusion.late import Weights
from penchant.models.channels import FUSED
from penchant.models.ensemble import Stack
from penchant.models.factory import make_member

KIND = "bundle"
FITTED_FILES = ("fitted-users.parquet", "fitted.safetensors")


@dataclass(frozen=True)
class Suggestion:
    """One recommended item.

    Attributes:
        item_id: The item.
        title: What to call it.
        score: As the stack gave it.
        rank: 1 is best.
        reasons: Past events that speak for it; empty where reasons were not asked for.
    """

    item_id: str
    title: str
    score: float
    rank: int
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class Bundle:
    """Everything a trained recommender needs to answer.

    Attributes:
        catalog: Items.
        histories: What is known of every user.
        stack: Members and weights.
        tables: The settings of each member.
        topics: Content groups.
        facts: What the manifest says: run, seed, versions.
        folder: Where it was read from; None before it was written.
        content: The channels the members read; empty where the bundle was written without.
        fitted: The events the members learned from; None where the bundle was written without.
    """

    catalog: Catalog
    histories: Histories
    stack: Stack
    tables: Mapping[str, Mapping[str, Any]]
    topics: Topics
    facts: Mapping[str, Any]
    folder: Path | None = None
    content: Content = field(default_factory=Content)
    fitted: Histories | None = None

    def without(self, user_ids: Collection[str]) -> Bundle:
        """Return the bundle with nobody of these ids in its histories; what the members learned is as it was."""
        fitted = None if self.fitted is None else _without(self.fitted, user_ids)
        return replace(self, histories=_without(self.histories, user_ids), fitted=fitted)

    def history(self, user_id: str) -> Histories:
        """Return one user's events.

        Raises:
            DataError: Nobody of that id is known.
        """
        try:
            row = self.histories.user_ids.index(user_id)
        except ValueError:
            raise DataError(
                f"There is no user {user_id!r}.",
                where="the bundle's histories",
                fix=f"{nearest(user_id, self.histories.user_ids[:2000])} For a new user give their items: --history",
            ) from None
        return self.histories.rows(row, row + 1)

    def history_of(self, item_ids: Sequence[str], user_id: str = "new user") -> Histories:
        """Return the history of somebody nobody has met, oldest item first.

        Raises:
            DataError: An item is unknown.
        """
        items = Vocabulary(self.catalog.item_ids)
        rows = [self._row(items, item) for item in item_ids]
        count = np.array([0, len(rows)], np.int64)
        return Histories(
            [user_id], count, np.array(rows, np.int32), np.arange(len(rows)), np.ones(len(rows), np.float32), len(items)
        )

    def scores(self, histories: Histories) -> Float32[np.ndarray, "users items"]:
        """Return a score for every item."""
        return self.stack.score(histories)

    def recommend(self, who: str | Histories, k: int = 10, *, reasons: bool = True) -> list[Suggestion]:
        """Return the k best items of one user, known by id or by history; items of the history are left out."""
        history = self.history(who) if isinstance(who, str) else who
        found = self.stack.recommend(history, k)
        titles, ids = self.catalog.titles(), self.catalog.item_ids
        suggestions = []
        for rank, (row, score) in enumerate(zip(found.item_index[0], found.score[0], strict=True), start=1):
            if row < 0:
                break
            said = tuple(explain(self.stack, self.catalog, history, int(row)).reasons()) if reasons else ()
            suggestions.append(Suggestion(ids[row], titles[row], float(score), rank, said))
        return suggestions

    def profile(self, who: str | Histories, *, limit: int = 12) -> Profile:
        """Return what one user cares about, with the events behind it."""
        history = self.history(who) if isinstance(who, str) else who
        best = self.stack.recommend(history, 10).item_index[0]
        shares = channel_shares([explain(self.stack, self.catalog, history, int(row)) for row in best if row >= 0])
        return Profiler(self.catalog, self.histories, self.topics).profile(history, modalities=shares, limit=limit)

    def explain(self, who: str | Histories, item_id: str) -> Explanation:
        """Return the exact additive reasons of one score."""
        history = self.history(who) if isinstance(who, str) else who
        return explain(self.stack, self.catalog, history, self._row(Vocabulary(self.catalog.item_ids), item_id))

    def save(self, folder: Path, *, report: Path | None = None) -> Bundle:
        """Write the bundle in one step; a report is copied beside it."""

        def write(staging: Path) -> None:
            self.catalog.table.write_parquet(staging / "catalog.parquet")
            (staging / "catalog.json").write_text(json.dumps(_catalog_facts(self.catalog)), encoding="utf-8")
            _save_histories(self.histories, staging, "users.parquet", "histories.safetensors")
            if self.fitted is not None:
                _save_histories(self.fitted, staging, *FITTED_FILES)
            _save_content(self.content, staging)
            save_file(_contiguous(self.stack.arrays()), staging / "stack.safetensors")
            save_file({"labels": self.topics.labels}, staging / "topics.safetensors")
            facts = {
                "weights": dict(self.stack.weights),
                "bands": {"starts": self.stack.weights.starts, "weights": [dict(w) for w in self.stack.weights.bands]},
                "channels": {name: list(c) for name, c in self.stack.channels.items()},
                "members": {name: dict(self.tables[name]) for name in self.stack.weights},
                "topics": self.topics.names,
            }
            (staging / "stack.json").write_text(json.dumps(facts, ensure_ascii=False, indent=2), encoding="utf-8")
            if report is not None:
                for file in sorted(report.iterdir()):
                    (staging / "report").mkdir(exist_ok=True)
                    (staging / "report" / file.name).write_bytes(file.read_bytes())

        write_artifact(folder, write, kind=KIND, facts=dict(self.facts))
        return load(folder)

    def _row(self, items: Vocabulary, item_id: str) -> int:
        if item_id not in items:
            raise DataError(
                f"There is no item {item_id!r}.", where="the bundle's catalog", fix=nearest(item_id, items.ids[:5000])
            )
        return items.index(item_id)


def load(folder: str | Path) -> Bundle:
    """Return a bundle; its scores equal those of the run that wrote it.

    Raises:
        ArtifactError: It is missing, half-written or altered.
    """
    folder = Path(folder)
    manifest = open_artifact(folder, kind=KIND)
    facts = json.loads((folder / "stack.json").read_text(encoding="utf-8"))
    members = {name: make_member(name, table) for name, table in facts["members"].items()}
    channels = {name: tuple(c) for name, c in facts["channels"].items()}
    bands = facts.get("bands", {"starts": (), "weights": ()})
    weights = Weights(facts["weights"], tuple(bands["starts"]), tuple(bands["weights"]))
    stack = Stack(members, weights, channels).restore(load_file(folder / "stack.safetensors"))
    about = json.loads((folder / "catalog.json").read_text(encoding="utf-8"))
    table = pl.read_parquet(folder / "catalog.parquet")
    root = about.pop("media_root")
    catalog = Catalog(
        table,
        about["title_column"],
        tuple(about["text_columns"]),
        about["media_columns"],
        tuple(about["attribute_columns"]),
        Path(root) if root else None,
    )
    histories = _load_histories(folder, "users.parquet", "histories.safetensors", len(catalog))
    has_fitted = (folder / FITTED_FILES[0]).exists()
    fitted = _load_histories(folder, *FITTED_FILES, len(catalog)) if has_fitted else None
    topics = Topics(load_file(folder / "topics.safetensors")["labels"], facts["topics"])
    return Bundle(
        catalog,
        histories,
        stack,
        facts["members"],
        topics,
        manifest["facts"],
        folder,
        content=_load_content(folder),
        fitted=fitted,
    )


def _catalog_facts(catalog: Catalog) -> dict[str, Any]:
    return {
        "title_column": catalog.title_column,
        "text_columns": list(catalog.text_columns),
        "media_columns": dict(catalog.media_columns),
        "attribute_columns": list(catalog.attribute_columns),
        "media_root": str(catalog.media_root.absolute()) if catalog.media_root else None,
    }


def _save_histories(histories: Histories, folder: Path, users: str, events: str) -> None:
    pl.DataFrame({"user_id": histories.user_ids}, {"user_id": pl.String}).write_parquet(folder / users)
    names = ("offsets", "item_index", "at", "weight")
    save_file(_contiguous({name: getattr(histories, name) for name in names}), folder / events)


def _load_histories(folder: Path, users: str, events: str, num_items: int) -> Histories:
    user_ids = pl.read_parquet(folder / users)["user_id"].to_list()
    return Histories(user_ids, **load_file(folder / events), num_items=num_items)


def _without(histories: Histories, user_ids: Collection[str]) -> Histories:
    gone = set(user_ids)
    return histories.take(np.flatnonzero([user not in gone for user in histories.user_ids]))


def _save_content(content: Content, folder: Path) -> None:
    """Write every channel, and their fusion under its own name, with what describes them."""
    channels = {**content.channels, **({FUSED: content.fused} if content.fused is not None else {})}
    arrays: dict[str, np.ndarray] = {}
    for name, e in channels.items():
        arrays |= {f"{name}/values": e.values, f"{name}/present": e.present}
        if e.imputed is not None:
            arrays[f"{name}/imputed"] = e.imputed
    about = {name: {"modality": e.modality, "encoder": e.encoder} for name, e in channels.items()}
    save_file(_contiguous(arrays), folder / "content.safetensors")
    (folder / "content.json").write_text(json.dumps(about, ensure_ascii=False, indent=2), encoding="utf-8")


def _load_content(folder: Path) -> Content:
    """Return the channels; none for a bundle of before they were kept."""
    if not (folder / "content.json").exists():
        return Content()
    about = json.loads((folder / "content.json").read_text(encoding="utf-8"))
    arrays = load_file(folder / "content.safetensors")
    channels = {
        name: Embeddings(
            name,
            facts["modality"],
            arrays[f"{name}/values"],
            arrays[f"{name}/present"],
            facts["encoder"],
            arrays.get(f"{name}/imputed"),
        )
        for name, facts in about.items()
    }
    fused = channels.pop(FUSED, None)
    return Content(channels, fused)


def _contiguous(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Safetensors writes memory as it lies: a transposed array would come back shuffled."""
    return {name: np.ascontiguousarray(array) for name, array in arrays.items()}
