"""The recommender's bundle: its folder on disk.

In: a `Recommender`, or a folder. Out: the folder, written in one step; or the fields of the recommender that wrote it, bit for bit.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from safetensors.numpy import save_file

from penchant.core.arrays import mapped_arrays
from penchant.core.artifacts import MANIFEST, copy_report, fingerprint, open_artifact, read_artifact, write_artifact
from penchant.core.compact_embeddings import CompactEmbeddings, VectorCodes
from penchant.core.errors import DataError, PenchantError
from penchant.core.schema import Catalog, Content, Embeddings, Histories, HistoryReader, UserChannel, UserEmbeddings
from penchant.data.read.tables import read_parquet
from penchant.explanation.profile_channel import CHANNEL, ProfileChannel, WrittenProfileConfig
from penchant.explanation.topics import Topics
from penchant.fusion.late import EnsembleWeights
from penchant.language.engine import TEMPLATE
from penchant.models.channels import FUSED
from penchant.models.ensemble import Ensemble
from penchant.models.interest_change import InterestChange
from penchant.models.member import make_member
from penchant.recommender.bundle_checks import (
    check_band_kind,
    check_catalog,
    check_change_probability,
    check_content,
    check_histories,
    check_members,
    check_topics,
    check_user_channels,
    check_weights,
    damaged,
)
from penchant.recommender.new_items import ChannelEncoders

if TYPE_CHECKING:
    from penchant.recommender.recommender import Recommender

KIND = "bundle"
FITTED_FILES = ("fitted-users.parquet", "fitted.safetensors")
WRITTEN_PROFILES = "written_profile.safetensors"
HISTORY_ARRAYS = ("offsets", "item_index", "at", "weight")
"""Arrays of `Histories` that are written for all users."""


def write_bundle(recommender: Recommender, folder: Path, *, report: Path | None = None) -> None:
    """Write a recommender in one step; the files of the folder `report` are copied beside it."""

    def write(staging: Path) -> None:
        recommender.catalog.table.write_parquet(staging / "catalog.parquet")
        (staging / "catalog.json").write_text(json.dumps(_catalog_facts(recommender.catalog)), encoding="utf-8")
        _save_histories(recommender.histories, staging, "users.parquet", "histories.safetensors")
        if recommender.fitted is not None:
            _save_histories(recommender.fitted, staging, *FITTED_FILES)
        _save_user_content(recommender.histories, recommender.fitted, staging)
        _save_written_profile(recommender, staging)
        _save_content(recommender.content, staging)
        save_file(_contiguous(recommender.ensemble.arrays()), staging / "ensemble.safetensors")
        topics = recommender.topics
        typical = {} if topics.typical is None else {"typical": topics.typical}
        save_file({"labels": topics.labels, **typical}, staging / "topics.safetensors")
        facts = {
            "weights": dict(recommender.ensemble.weights),
            "bands": {
                "by": recommender.ensemble.weights.by,
                "starts": recommender.ensemble.weights.starts,
                "weights": [dict(w) for w in recommender.ensemble.weights.bands],
            },
            "change_probability": 0.0
            if recommender.ensemble.change is None
            else recommender.ensemble.change.probability,
            "channels": {name: list(c) for name, c in recommender.ensemble.channels.items()},
            "members": {name: dict(recommender.tables[name]) for name in recommender.ensemble.weights},
            "topics": topics.names,
            "topic_translations": dict(topics.translations),
        }
        (staging / "ensemble.json").write_text(json.dumps(facts, ensure_ascii=False, indent=2), encoding="utf-8")
        copy_report(report, staging)

    write_artifact(folder, write, kind=KIND, facts=dict(recommender.facts))


def read_bundle(folder: Path) -> dict[str, Any]:
    """Return the fields of the `Recommender` that wrote a folder; its scores equal those of the run that wrote it.

    Raises:
        ArtifactError: It is missing, half-written, altered, or holds what no run writes.
    """
    return read_artifact(folder, lambda: _read_checked(folder))


def _read_checked(folder: Path) -> dict[str, Any]:
    manifest = open_artifact(folder, kind=KIND, exact=True)
    try:
        return _read(folder, manifest)
    except DataError as error:
        raise damaged(error.message.rstrip("."), folder) from error
    except PenchantError:
        raise
    except (
        Exception,
        pl.exceptions.PanicException,
    ) as error:  # whatever the files hold, the caller gets one kind of error
        lines = str(error).splitlines() or [""]
        raise damaged(f"{type(error).__name__}: {lines[0][:200]}", folder) from error


def _read(folder: Path, manifest: Mapping[str, Any]) -> dict[str, Any]:
    facts = json.loads((folder / "ensemble.json").read_text(encoding="utf-8"))
    members = {name: make_member(name, table) for name, table in facts["members"].items()}
    channels = {name: tuple(c) for name, c in facts["channels"].items()}
    bands = {"by": "length", **facts.get("bands", {"starts": (), "weights": ()})}
    check_band_kind(bands["by"], folder / "ensemble.json")
    weights = EnsembleWeights(facts["weights"], tuple(bands["starts"]), tuple(bands["weights"]), bands["by"])
    check_weights(weights, channels, members, folder / "ensemble.json")
    ensemble = Ensemble(members, weights, channels).restore(_shared(mapped_arrays(folder / "ensemble.safetensors")))
    about = json.loads((folder / "catalog.json").read_text(encoding="utf-8"))
    table = read_parquet(folder / "catalog.parquet")
    root = about.pop("media_root")
    catalog = Catalog(
        table,
        about["title_column"],
        tuple(about["text_columns"]),
        about["media_columns"],
        tuple(about["attribute_columns"]),
        Path(root) if root else None,
    )
    check_catalog(catalog, folder / "catalog.parquet")
    check_members(ensemble, len(catalog), folder / "ensemble.safetensors")
    histories = _load_histories(folder, "users.parquet", "histories.safetensors", len(catalog))
    has_fitted = (folder / FITTED_FILES[0]).exists()
    fitted = _load_histories(folder, *FITTED_FILES, len(catalog)) if has_fitted else None
    if fitted is not None:
        fitted = _sharing(fitted, histories)
    histories, fitted = _with_user_content(histories, fitted, folder)
    grouped = mapped_arrays(folder / "topics.safetensors")
    topics = Topics(grouped["labels"], facts["topics"], facts.get("topic_translations", {}), grouped.get("typical"))
    check_topics(topics, len(catalog), folder / "topics.safetensors")
    probability = float(facts.get("change_probability", 0.0))
    check_change_probability(probability, folder / "ensemble.json")
    if probability:
        ensemble = replace(ensemble, change=InterestChange(topics.labels, probability))
    encoders = ChannelEncoders()
    derived = _load_written_profile(folder, manifest["facts"], catalog, topics, encoders)
    histories = replace(histories, derived=derived)
    fitted = None if fitted is None else replace(fitted, derived=derived)
    content = replace(_load_content(folder), user_channels=histories.encoders())
    check_content(content, len(catalog), folder / "content.safetensors")
    return {
        "catalog": catalog,
        "histories": histories,
        "ensemble": ensemble,
        "tables": facts["members"],
        "topics": topics,
        "facts": manifest["facts"],
        "folder": folder,
        "content": content,
        "fitted": fitted,
        "mark": fingerprint((folder / MANIFEST).read_bytes()),
        "encoders": encoders,
    }


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
    save_file(_contiguous({name: getattr(histories, name) for name in HISTORY_ARRAYS}), folder / events)


def users_of(folder: Path) -> set[str]:
    """Return the users that a bundle holds, its other files not read."""
    names = ("users.parquet", FITTED_FILES[0])
    found = [read_parquet(folder / name)["user_id"].cast(pl.String) for name in names if (folder / name).exists()]
    return {user for users in found for user in users}


def _load_histories(folder: Path, users: str, events: str, num_items: int) -> Histories:
    user_ids = read_parquet(folder / users)["user_id"].cast(pl.String).to_list()
    arrays = mapped_arrays(folder / events)
    if set(arrays) != set(HISTORY_ARRAYS):
        raise damaged(f"histories hold the arrays {', '.join(sorted(arrays))}", folder / events)
    offsets, item_index, at, weight = (arrays[name] for name in HISTORY_ARRAYS)
    histories = Histories(user_ids, offsets, item_index, at, weight, num_items)
    check_histories(histories, folder / events)
    return histories


def _sharing(fitted: Histories, histories: Histories) -> Histories:
    """Return the histories that members learned from, sharing those arrays that are equal: in most bundles, all are."""
    same = {n: one for n in HISTORY_ARRAYS if np.array_equal(one := getattr(histories, n), getattr(fitted, n))}
    return replace(fitted, **same)


def _save_user_content(histories: Histories, fitted: Histories | None, folder: Path) -> None:
    """Write the vectors that some history refers to, and the rows of both; nothing of a user who is in neither."""
    if not histories.user_channels:
        return
    arrays: dict[str, np.ndarray] = {}
    for name, channel in histories.user_channels.items():
        rows = [channel.row] if fitted is None else [channel.row, fitted.user_channels[name].row]
        embeddings, number = channel.embeddings.compacted(rows)
        arrays[f"{name}/values"] = embeddings.values
        arrays |= {f"{name}/learned/{key}": one for key, one in channel.embeddings.learned.items()}
        for key, own in zip(("histories", "fitted"), rows, strict=False):
            arrays[f"{name}/{key}"] = number[own]
    about = {
        name: {
            "modality": c.embeddings.modality,
            "of": c.embeddings.of,
            "encoder": c.embeddings.encoder,
            "has_signs": c.embeddings.has_signs,
            "labels": c.embeddings.labels,
            "languages": c.embeddings.languages,
        }
        for name, c in histories.user_channels.items()
    }
    save_file(_contiguous(arrays), folder / "user_content.safetensors")
    (folder / "user_content.json").write_text(json.dumps(about, ensure_ascii=False, indent=2), encoding="utf-8")


def _with_user_content(
    histories: Histories, fitted: Histories | None, folder: Path
) -> tuple[Histories, Histories | None]:
    """Return the histories with the channels that were saved beside them."""
    if not (folder / "user_content.json").exists():
        return histories, fitted
    about = json.loads((folder / "user_content.json").read_text(encoding="utf-8"))
    arrays = mapped_arrays(folder / "user_content.safetensors")
    embeddings = {
        name: UserEmbeddings(
            name,
            values=arrays[f"{name}/values"],
            learned={k.removeprefix(p): a for k, a in arrays.items() if k.startswith(p := f"{name}/learned/")},
            **{**facts, "labels": tuple(facts["labels"]), "languages": tuple(facts.get("languages", ()))},
        )
        for name, facts in about.items()
    }

    def having(one: Histories, key: str) -> Histories:
        channels = {name: UserChannel(e, arrays[f"{name}/{key}"]) for name, e in embeddings.items()}
        with_channels = replace(one, user_channels=channels)
        check_user_channels(with_channels, folder / "user_content.safetensors")
        return with_channels

    return having(histories, "histories"), None if fitted is None else having(fitted, "fitted")


def _save_written_profile(recommender: Recommender, folder: Path) -> None:
    """Write what the channel of written profiles needs, and the vectors of those that a language model wrote."""
    channel = recommender.histories.derived.get(CHANNEL)
    if not isinstance(channel, ProfileChannel):
        return
    arrays = {"weight": channel.weight}
    if channel.config.engine != TEMPLATE:
        histories = [recommender.histories, *([] if recommender.fitted is None else [recommender.fitted])]
        said = {key: vector for key, vector in channel.known(*histories).items() if len(vector)}
        if said:
            keys = np.frombuffer(b"".join(said), np.uint8).reshape(len(said), -1)
            arrays |= {"keys": keys, "values": np.stack(list(said.values()))}
    save_file(_contiguous(arrays), folder / WRITTEN_PROFILES)


def _load_written_profile(
    folder: Path, facts: Mapping[str, Any], catalog: Catalog, topics: Topics, encoders: ChannelEncoders
) -> dict[str, HistoryReader]:
    """Return the channel of written profiles; none for a run without."""
    if CHANNEL not in facts:
        return {}
    config = WrittenProfileConfig.read(dict(facts[CHANNEL]), where="the bundle's facts")
    arrays = mapped_arrays(folder / WRITTEN_PROFILES)
    if arrays["weight"].shape != (len(catalog),):
        raise damaged(f"{len(arrays['weight'])} weights for {len(catalog)} items", folder / WRITTEN_PROFILES)
    channel = ProfileChannel(catalog, topics, arrays["weight"], config, encoders.load, waits=False)
    if "keys" in arrays:
        channel.knowing({key.tobytes(): v for key, v in zip(arrays["keys"], arrays["values"], strict=True)})
    return {CHANNEL: channel}


def _save_content(content: Content, folder: Path) -> None:
    """Write every channel, and their fusion under its own name, with what describes them."""
    channels = {**content.channels, **({FUSED: content.fused} if content.fused is not None else {})}
    arrays: dict[str, np.ndarray] = {}
    for name, e in channels.items():
        vectors = e.codes.arrays() if isinstance(e, CompactEmbeddings) else {"values": e.values}
        arrays |= {f"{name}/{key}": array for key, array in {**vectors, "present": e.present}.items()}
        if e.imputed is not None:
            arrays[f"{name}/imputed"] = e.imputed
    about = {name: {"modality": e.modality, "encoder": e.encoder, **_codes_facts(e)} for name, e in channels.items()}
    save_file(_contiguous(arrays), folder / "content.safetensors")
    (folder / "content.json").write_text(json.dumps(about, ensure_ascii=False, indent=2), encoding="utf-8")


def _codes_facts(embeddings: Embeddings) -> dict[str, Any]:
    if not isinstance(embeddings, CompactEmbeddings):
        return {}
    return {"codes": {"kind": embeddings.codes.kind, "is_unit": embeddings.codes.is_unit}}


def _load_content(folder: Path) -> Content:
    """Return the channels; none for a bundle written without."""
    if not (folder / "content.json").exists():
        return Content()
    about = json.loads((folder / "content.json").read_text(encoding="utf-8"))
    arrays = mapped_arrays(folder / "content.safetensors")
    channels = {name: _channel(name, facts, arrays) for name, facts in about.items()}
    fused = channels.pop(FUSED, None)
    return Content(channels, fused)


def _channel(name: str, facts: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Embeddings:
    start = f"{name}/"
    own = {key.removeprefix(start): array for key, array in arrays.items() if key.startswith(start)}
    vectors = np.zeros((0, 0), np.float32) if "codes" in facts else own["values"]
    plain = Embeddings(name, facts["modality"], vectors, own["present"], facts["encoder"], own.get("imputed"))
    if "codes" not in facts:
        return plain
    codes = VectorCodes.restored(facts["codes"]["kind"], own, facts["codes"]["is_unit"])
    return CompactEmbeddings(plain, codes)


def _shared(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the arrays with equal ones held once: every member that counts events holds the log of all."""
    first: dict[tuple[Any, ...], np.ndarray] = {}
    kept = {}
    for name, array in arrays.items():
        key = (array.dtype.str, array.shape, fingerprint(array.tobytes()))
        kept[name] = first.setdefault(key, array)
    return kept


def _contiguous(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Safetensors writes memory in its order: a transposed array would be read back permuted."""
    return {name: np.ascontiguousarray(array) for name, array in arrays.items()}
