"""A table of settings names a fusion, and the fusion gives the table back."""

from __future__ import annotations

from penchant.fusion.concat import Concat, ConcatConfig
from penchant.fusion.fusion import make_fusion


def test_a_table_without_a_kind_is_concat_and_stays_as_it_is() -> None:
    table = {"dim": 5}
    made = make_fusion(table, where="here")
    assert isinstance(made, Concat)
    assert (made.kind, made.config) == ("concat", ConcatConfig(dim=5))
    assert made.table() == {"kind": "concat", "dim": 5, "whiten": False}
    assert table == {"dim": 5}
    assert make_fusion(made.table(), where="here").table() == made.table()


def test_a_fusion_made_by_hand_has_the_defaults_and_the_name_of_its_class() -> None:
    assert (Concat().kind, Concat().config) == ("concat", ConcatConfig())
    assert Concat(ConcatConfig(dim=3), kind="another").table()["kind"] == "another"
    assert Concat(ConcatConfig(dim=3)).config.dim == 3
