"""Exported networks rank as ours, exported encoders give our vectors, and what cannot be exported is named."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import nn
from typer.testing import CliRunner

from penchant.cli import app as commands
from penchant.compression import onnx_export
from penchant.compression.onnx_export import export, windows, write_encoder
from penchant.core.errors import ConfigError, EncoderError
from penchant.encoders.onnx_text import session
from penchant.fusion.late import EnsembleWeights
from penchant.models.compressed import Compressed
from penchant.models.ensemble import Ensemble
from penchant.models.member import Member, make_member
from penchant.recommender.recommender import Recommender

NETWORK = {
    "model": "sequence",
    "dim": 16,
    "layers": 2,
    "epochs": 8,
    "learning_rate": 0.01,
    "max_length": 8,
    "channels": [],
}


def with_network(shop: Path, table: dict[str, Any]) -> Recommender:
    """Return the shop with one more member, fitted."""
    plain = Recommender.load(shop)
    member = make_member("net", table).fit(plain.histories, plain.content)
    members: dict[str, Member] = {**plain.ensemble.members, "net": member}
    weights = EnsembleWeights({**plain.ensemble.weights, "net": 0.3})
    tables = {**plain.tables, "net": table}
    return replace(plain, ensemble=Ensemble.build(members, weights, plain.content), tables=tables)


@pytest.mark.parametrize(
    "table",
    [
        {**NETWORK, "backbone": "mean"},
        {"model": "graph_network", "dim": 16, "epochs": 8, "neighbours": 8, "batch_users": 10, "channels": []},
        *(
            pytest.param(table, marks=pytest.mark.slow)
            for table in (
                {"model": "compressed", "of": {**NETWORK, "backbone": "mean"}},
                *(
                    {**NETWORK, "backbone": backbone}
                    for backbone in ("transformer", "ligr", "gru", "lstm", "rnn", "cnn")
                ),
            )
        ),
    ],
    ids=lambda table: str(table.get("backbone", table["model"])),
)
def test_an_exported_network_ranks_as_ours(shop: Path, tmp_path: Path, table: dict[str, Any]) -> None:
    recommender = with_network(shop, table)
    (found,) = export(recommender, tmp_path, member="net")
    assert found.equal >= 0.999
    assert found.compared == len(recommender.histories)
    member = recommender.ensemble.members["net"]
    inner = member.member if isinstance(member, Compressed) else member
    limit = json.loads((found.folder / "facts.json").read_text())["events"]
    some = recommender.histories.rows(3, 8)
    scores = session(found.folder / "model.onnx")(windows(some, limit))
    np.testing.assert_allclose(scores, inner.score(some), rtol=1e-4, atol=1e-6)


def test_other_scores_are_not_called_equal(shop: Path) -> None:
    recommender = with_network(shop, {**NETWORK, "backbone": "mean"})
    member = recommender.ensemble.members["net"]
    turned = onnx_export._equal_lists(
        member,
        lambda inputs: member.score(recommender.histories.rows(0, len(inputs["lengths"])))[:, ::-1],
        recommender.histories,
        8,
    )
    assert not turned.any()


class Unexportable(nn.Module):
    """A network with an operator that ONNX does not have."""

    def forward(self, items: Any, weight: Any, gap: Any, lengths: Any) -> Any:
        return torch.special.bessel_j0(weight) + items + gap + lengths[:, None]


def test_an_operator_that_onnx_lacks_is_named(shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recommender = with_network(shop, {**NETWORK, "backbone": "mean"})
    monkeypatch.setattr(onnx_export, "_module_of", lambda member: (Unexportable(), 8))
    with pytest.raises(EncoderError, match=r"'net' cannot be written as ONNX: .*bessel_j0"):
        export(recommender, tmp_path / "out", member="net")
    assert not (tmp_path / "out" / "net").exists()


def test_what_the_bundle_does_not_have_is_refused(shop: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="The bundle has no network 'ease'") as error:
        export(shop, tmp_path, member="ease")
    assert "sequence" in error.value.fix
    with pytest.raises(ConfigError, match="The bundle has no network and no encoder that can be exported"):
        export(shop, tmp_path)
    with pytest.raises(ConfigError, match="no content channel whose encoder can be exported 'sound'"):
        export(shop, tmp_path, channel="sound")
    found = CliRunner().invoke(commands, ["export", str(shop), "--output", str(tmp_path / "out"), "--member", "ease"])
    assert found.exit_code == 1


def test_an_int8_picture_encoder_has_the_scales_of_the_catalog(tmp_path: Path) -> None:
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv2d(3, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3))
    encoder: Any = SimpleNamespace(modality="image", network=SimpleNamespace(extract_features=layers.forward))
    pictures = list(np.random.default_rng(0).normal(size=(9, 16, 16, 3)).astype(np.float32))
    found, sizes = {}, {}
    for int8 in (False, True):
        folder = tmp_path / str(int8)
        write_encoder("photo", "efficientnet", encoder, pictures, folder, int8=int8)
        found[int8] = session(folder / "model.onnx")({"pixels": np.stack(pictures).transpose(0, 3, 1, 2)})
        sizes[int8] = (folder / "model.onnx").stat().st_size
        assert {file.name for file in folder.iterdir()} == {"facts.json", "manifest.json", "model.onnx"}
    weights = [
        numpy_helper.to_array(one)
        for one in onnx.load(tmp_path / "True" / "model.onnx").graph.initializer
        if one.data_type == onnx.TensorProto.INT8
    ]
    assert max(np.abs(one.astype(int)).max() for one in weights) == 64, "7 bits: 8 overflow without VNNI instructions"
    assert sizes[True] < sizes[False] / 2
    norms = [np.linalg.norm(one, axis=1) for one in found.values()]
    cosine = (found[False] * found[True]).sum(1) / norms[0] / norms[1]
    assert 0.99 < cosine.min() < 1 - 1e-6
