"""What members see, what weights are fitted on, and what is fitted again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hand_made import Told, Witness, channel, histories
from penchant.core.errors import ConfigError
from penchant.core.schema import BEHAVIOUR, Content, Histories
from penchant.experiment import fit as fitting
from penchant.experiment.defaults import BASELINES
from penchant.experiment.fit import OURS, WITHOUT_BANDS, WITHOUT_NETWORKS, FitConfig, FittedRecommenders, HoldOut, fit
from penchant.experiment.pool import MemberPool
from penchant.experiment.selection import ValidationScorer
from penchant.experiment.weighting import WeightRule
from penchant.fusion import late
from penchant.fusion.concat import Concat, ConcatConfig
from penchant.models.member import MemberTables

pytestmark = pytest.mark.usefixtures("hand_made")
ITEMS = 6
TRAIN = histories([[0, 1], [1, 2, 0], [3, 1], [4, 0]], ITEMS)
TRUTH = histories([[2], [3], [5], [1]], ITEMS)
BOTH = histories([[0, 1, 2], [1, 2, 0, 3], [3, 1, 5], [4, 0, 1]], ITEMS)
LIFTED = {"plot": 3, "still": 4, "poster": 5}  # the item each channel lifts


def content() -> Content:
    channels = {}
    for name, item in LIFTED.items():
        values = np.random.default_rng(item).normal(size=(ITEMS, 3))
        values[:, 0] = np.arange(ITEMS) == item
        channels[name] = channel(name, "text" if name == "plot" else "image", values.tolist())
    return Content(channels, Concat(ConcatConfig(dim=2))(channels))


BASELINE_NAMES = (*BASELINES, "Content kNN")
TABLES: MemberTables = {
    "popularity": {"model": "popularity"},
    "mixed": {"model": "witness"},
    "alike": {"model": "content_witness"},
    "like_plot": {"model": "content_witness", "reads": ["plot"]},
    "slow": {"model": "costly_witness"},
}


def learn(
    tables: MemberTables = TABLES,
    *,
    validation: HoldOut | None = None,
    final: Histories = BOTH,
    known: Content | None = None,
    cache: Path | None = None,
    **settings: Any,
) -> FittedRecommenders:
    stage = HoldOut(TRAIN, TRUTH) if validation is None else validation
    return fit(
        tables,
        stage,
        final,
        known or content(),
        Concat(ConcatConfig(dim=2)),
        FitConfig(**settings),
        cutoff=3,
        cache=cache,
    )


def witness(pool: MemberPool, name: str) -> Witness:
    member = pool.members[name]
    assert isinstance(member, Witness)
    return member


@pytest.mark.parametrize("networks", [False, True])
def test_mutant_arms_see_every_channel_dies(networks: bool) -> None:
    pool = learn(ablate_networks=networks).before
    arms = {
        "mixed [plot]": {"plot"},
        "mixed [poster, still]": {"still", "poster"},
        "alike [plot]": {"plot"},
        "alike [poster, still]": {"still", "poster"},
    }
    if networks:
        arms |= {"slow [plot]": {"plot"}, "slow [poster, still]": {"still", "poster"}, "slow [no content]": set()}
    for name, allowed in arms.items():
        member = witness(pool, name)
        assert member.saw == allowed
        assert member.fused == ("+".join(c for c in LIFTED if c in allowed) or None)  # fused anew from what is left
        scores = member.score(TRAIN)[0]  # a channel that was seen lifts its item
        assert {c for c, item in LIFTED.items() if scores[item] > scores[0]} == allowed
    assert {name for name in pool.members if "[" in name} == set(arms)
    for name in ("mixed", "alike", "like_plot", "slow"):
        assert witness(pool, name).saw == set(LIFTED)
        assert witness(pool, name).fused == "plot+still+poster"


def test_an_arm_without_behaviour_has_no_member_that_learns_from_it() -> None:
    trained = learn()
    for row in trained.rows:
        if row.role == "ablation" and BEHAVIOUR not in row.uses:
            assert not any(trained.pool.members[name].learns_from_behaviour for name in row.weights)


def test_rows_are_named_by_what_they_use() -> None:
    trained = learn()
    roles = {row.name: row.role for row in trained.rows}
    assert trained.rows[0] is trained.ours
    assert (trained.ours.name, trained.ours.role) == (OURS, "ours")
    assert trained.ours.uses == {BEHAVIOUR, "text", "image"}
    ablation = {name for name, role in roles.items() if role == "ablation"}
    assert ablation == {"behaviour", "behaviour, text", "behaviour, image", "image, text", "image", "text"}
    without = next(row for row in trained.rows if row.name == WITHOUT_NETWORKS)
    assert (without.role, without.uses) == ("member", trained.ours.uses)
    assert not any("slow" in name for name in without.weights)
    assert {row.name for row in trained.rows if row.role == "baseline"} == set(BASELINE_NAMES)
    for row in trained.rows:
        if row.role == "baseline" or (row.role == "member" and not row.uses):
            assert dict(row.weights) == {row.name: 1.0}
    assert {row.name for row in trained.rows if row.role == "member" and not row.uses} == set(trained.ours.weights)


def test_without_ablation_no_arm_is_fitted() -> None:
    trained = learn(ablation=False)
    assert set(trained.before.members) == {*TABLES, *BASELINE_NAMES}
    assert {row.role for row in trained.rows} == {"ours", "baseline", "member"}


def test_refit_sees_train_and_validation_and_the_member_before() -> None:
    trained = learn()
    used = {name for row in trained.rows for name in row.weights}
    assert set(trained.pool.members) == used
    for name, member in trained.pool.members.items():
        if isinstance(member, Witness):
            assert member.events == BOTH.item_index.tolist()
            assert member.before is trained.before.members[name]
            assert member.saw == witness(trained.before, name).saw
            assert member.fused == witness(trained.before, name).fused
    for member in trained.before.members.values():
        if isinstance(member, Witness):
            assert member.events == TRAIN.item_index.tolist()
            assert member.before is None
    assert set(trained.seconds) == used


def test_without_refit_the_members_are_those_of_train() -> None:
    trained = learn(refit=False)
    assert trained.pool.members is trained.before.members
    assert all(m.events == TRAIN.item_index.tolist() for m in trained.pool.members.values() if isinstance(m, Witness))


@pytest.mark.parametrize("refit", [True, False])
def test_the_time_of_scoring_in_validation_is_no_cost_of_the_test(refit: bool) -> None:
    trained = learn(refit=refit)
    assert trained.before.seconds
    assert trained.pool.seconds == {}
    trained.pool.rank({OURS: trained.ours.weights}, TRAIN, 3)
    asked = dict(trained.pool.seconds)
    assert set(asked) == set(trained.ours.weights)
    trained.before.rank({OURS: trained.ours.weights}, TRAIN, 3)  # as whether changes of interest are noticed is decided
    assert trained.pool.seconds == asked


def test_validation_decides_weights_and_settings_but_is_learned_by_no_member_before_refit() -> None:
    tables = {
        "popularity": {"model": "popularity"},
        "ease": {"model": "ease", "regularisation": 2},
        "mixed": {"model": "witness"},
    }
    one = learn(tables)
    other = learn(tables, validation=HoldOut(TRAIN, histories([[5], [4], [4], [3]], ITEMS)))
    assert dict(one.ours.weights) != dict(other.ours.weights)
    for name in tables:
        for pool in ("before", "pool"):
            if name in getattr(one, pool).members and name in getattr(other, pool).members:
                first, second = (getattr(t, pool).members[name].score(TRAIN) for t in (one, other))
                assert (first == second).all()


def test_validation_scores_are_those_of_members_fitted_on_train() -> None:
    trained = learn(ablation=False)
    scorer = ValidationScorer.sample(TRAIN, TRUTH, 3, 2000, None)
    for name in BASELINE_NAMES:
        assert trained.validation[name] == scorer(trained.before, late.EnsembleWeights({name: 1.0}))
    assert trained.validation[OURS] == scorer(trained.before, trained.ours.weights)


def test_candidates_of_validation_reach_scores_and_weights() -> None:
    allowed = np.array([False, False, True, True, False, True])
    trained = learn(ablation=False, validation=HoldOut(TRAIN, TRUTH, allowed))
    scorer = ValidationScorer.sample(TRAIN, TRUTH, 3, 2000, allowed)
    assert trained.validation[OURS] == scorer(trained.before, trained.ours.weights)
    names = sorted(TABLES)
    moments = trained.before.moments(names, TRAIN, TRUTH, late.EnsembleConfig(), candidates=allowed)
    wanted = dict(zip(names, late.fit_weights(moments.total(), late.EnsembleConfig()), strict=True))
    assert dict(trained.ours.weights) == pytest.approx({n: w for n, w in wanted.items() if w > 0}, abs=1e-6)


def world_of_groups(seed: int = 0) -> tuple[Histories, Histories, Content]:
    """Return users who choose items of one small group and hits that everyone chooses, and content that tells the groups apart.

    What is left of a group is what its users choose next. If it is new, only content tells, and the other hits stand above it.
    """
    rng = np.random.default_rng(seed)
    groups, size, hits = 40, 8, 12
    items = groups * size + hits
    earlier, later = [], []
    for user in range(800):
        own = user % groups * size + rng.permutation(size)
        earlier.append([*own[:6].tolist(), *(groups * size + rng.permutation(hits)[:4]).tolist()])
        later.append(own[6:].tolist())
    values = np.zeros((items, groups))
    values[np.arange(groups * size), np.arange(groups * size) // size] = 1
    channels = {"plot": channel("plot", "text", (values + 0.25 * rng.normal(size=values.shape)).tolist())}
    return histories(earlier, items), histories(later, items), Content(channels)


def test_items_added_later_are_lifted_as_hidden_items_had_to_be_on_validation() -> None:
    train, truth, known = world_of_groups()
    tables: MemberTables = {
        "item_knn": {"model": "item_knn"},
        "like": {"model": "content_knn", "channel": "plot", "neighbours": 299},
    }
    objective = late.EnsembleConfig(objective="least_squares", bands=1)
    settings = {"validation": HoldOut(train, truth), "final": train, "known": known, "ensemble": objective}
    plain = learn(tables, lift_new_items=False, **settings)
    lifted = learn(tables, **settings)
    weight = lifted.ours.weights["new_items"]
    assert weight > 0
    assert {n: w for n, w in lifted.ours.weights.items() if n != "new_items"} == dict(plain.ours.weights)
    assert "new_items" not in [row.name for row in lifted.rows]
    known_only = {row.name: row.weights for row in (plain.ours,)}
    before = plain.pool.rank(known_only, train, 5)[OURS].item_index
    np.testing.assert_array_equal(lifted.pool.rank({OURS: lifted.ours.weights}, train, 5)[OURS].item_index, before)
    shipped = lifted.refitted(train, known, Concat(ConcatConfig(dim=2)))
    assert shipped.weights["new_items"] == weight
    assert dict(learn({"item_knn": {"model": "item_knn"}}, **settings).ours.weights) == {"item_knn": 1.0}


NEW = np.array([False, False, False, False, True, True])
EARLIER, CHOSE_NEW = histories([[0, 1], [1, 2, 0], [3, 1], [2, 0]], ITEMS), histories([[4], [5], [5], [4]], ITEMS)


def test_where_new_items_alone_are_ranked_only_members_and_baselines_that_tell_them_apart_are_fitted() -> None:
    tables = {**TABLES, "item_knn": {"model": "item_knn"}, "mix": {"model": "ease", "content_weight": [0, 5]}}
    trained = learn(tables, validation=HoldOut(EARLIER, CHOSE_NEW, NEW), ablation=False)
    assert trained.left_out == ("popularity", "item_knn")
    assert set(trained.tables) == {"mixed", "alike", "like_plot", "slow", "mix"}
    assert [r.name for r in trained.rows if r.role == "baseline"] == ["Content kNN", "Content ridge", "Random order"]
    some_have_events = NEW | (np.arange(ITEMS) == 0)
    assert learn(tables, validation=HoldOut(EARLIER, CHOSE_NEW, some_have_events), ablation=False).left_out == ()


def test_for_users_without_events_no_baseline_repeats_the_list_of_popular_items() -> None:
    strangers = histories([[0, 1], [1, 2, 0], [], []], ITEMS)
    chosen = histories([[], [], [5], [1]], ITEMS)

    def baselines(truth: Histories) -> set[str]:
        rows = learn(validation=HoldOut(strangers, truth), ablation=False).rows
        return {row.name for row in rows if row.role == "baseline"}

    assert baselines(chosen) == {"Popularity", "Recent popularity"}
    assert baselines(TRUTH) > {"Popularity", "ItemKNN", "EASE", "Recent popularity"}


def test_new_items_alone_and_no_member_that_reads_content_is_refused() -> None:
    stage = HoldOut(EARLIER, CHOSE_NEW, NEW)
    with pytest.raises(ConfigError, match=r"No member reads content(.|\n)*content_regression"):
        learn({"popularity": {"model": "popularity"}}, validation=stage)


def checkpoints(trained: FittedRecommenders) -> tuple[str, str]:
    """Return where the costly member keeps its epochs on train, and when fitted again."""
    before, after = (pool.members["slow"].checkpoint for pool in (trained.before, trained.pool))
    assert before is not None
    assert after is not None
    return before.name, after.name


def test_checkpoints_are_of_these_events_settings_and_encoders_only(tmp_path: Path) -> None:
    tables: MemberTables = {"slow": {"model": "costly_witness"}}
    first = checkpoints(learn(tables, cache=tmp_path))
    assert len(set(first)) == 2
    assert checkpoints(learn(tables, cache=tmp_path)) == first
    other_validation = HoldOut(TRAIN, histories([[5], [3], [5], [1]], ITEMS))
    assert checkpoints(learn(tables, cache=tmp_path, validation=other_validation)) == first
    later = Histories(**{**vars(BOTH), "at": BOTH.at + 1})
    moved = checkpoints(learn(tables, cache=tmp_path, final=later))
    assert moved[0] == first[0]
    assert moved[1] != first[1]
    for part, value in {
        "weight": TRAIN.weight / 2,
        "at": TRAIN.at + 1,
        "item_index": TRAIN.item_index[::-1].copy(),
    }.items():
        stage = HoldOut(Histories(**{**vars(TRAIN), part: value}), TRUTH)
        changed = checkpoints(learn(tables, cache=tmp_path, validation=stage))
        assert changed[0] != first[0], part
        assert changed[1] == first[1], part
    longer = HoldOut(Histories(**{**vars(TRAIN), "offsets": np.array([0, 3, 5, 7, 9])}), TRUTH)
    assert checkpoints(learn(tables, cache=tmp_path, validation=longer))[0] != first[0]
    assert not set(checkpoints(learn({"slow": {"model": "costly_witness", "lift": 2.0}}, cache=tmp_path))) & set(first)
    encoded = content()
    still = Content({**encoded.channels, "still": channel("still", "image", [[0.0]] * ITEMS)})
    same_encoder = checkpoints(learn(tables, cache=tmp_path, known=still))
    assert same_encoder == first
    fewer = Content({name: e for name, e in encoded.channels.items() if name != "still"})
    assert not set(checkpoints(learn(tables, cache=tmp_path, known=fewer))) & set(first)


def test_each_arm_has_a_checkpoint_of_its_own_and_quick_members_have_none(tmp_path: Path) -> None:
    trained = learn(cache=tmp_path, ablate_networks=True)
    slow = [m.checkpoint for name, m in trained.before.members.items() if name.startswith("slow")]
    assert len(slow) == len(set(slow)) == 4
    assert all(folder is not None and folder.parent == tmp_path for folder in slow)
    assert all(m.checkpoint is None for name, m in trained.before.members.items() if not name.startswith("slow"))
    assert learn().before.members["slow"].checkpoint is None


def bands_world(long_want: int) -> tuple[MemberPool, HoldOut]:
    """Return short histories that want what "early" says and long ones that want what "late" (0) or "early" (1) says."""
    rng, rows, truth, said = np.random.default_rng(0), [], [], {"early": {}, "late": {}}
    for user in range(800):
        length = 2 if user % 2 else 8
        rows.append(list(range(length)))
        scores = {name: rng.normal(size=20) for name in said}
        for name, own in scores.items():
            said[name][f"u{user}"] = own.tolist()
        wanted = scores["early" if length == 2 or long_want else "late"]
        truth.append([8 + int(np.argmax(wanted[8:]))])
    return MemberPool({name: Told(own) for name, own in said.items()}), HoldOut(
        histories(rows, 20), histories(truth, 20)
    )


@pytest.mark.parametrize("long_want", [0, 1])
def test_bands_are_used_where_long_histories_want_something_else(long_want: int) -> None:
    pool, stage = bands_world(long_want)
    scorer = ValidationScorer.sample(stage.histories, stage.truth, 5, 2000, None)
    plan = fitting.AblationArm(frozenset({BEHAVIOUR}), ("early", "late"))
    rows, scores, rule, _ = fitting._weigh([plan], pool, stage, FitConfig(), scorer)
    score = scores[OURS]
    assert score == max(scorer(pool, row.weights) for row in rows)
    assert rule == WeightRule(bands=None if long_want else "length")
    if long_want:
        assert [row.name for row in rows] == [OURS]
        assert rows[0].weights.bands == ()
        assert rows[0].weights["early"] > 0.95
    else:
        assert [row.name for row in rows] == [OURS, WITHOUT_BANDS]
        assert rows[0].weights.starts == (8,)
        assert rows[0].weights.bands[0]["early"] > 0.9
        assert rows[0].weights.bands[1]["late"] > 0.9
        assert rows[1].weights.bands == ()
        assert score > scorer(pool, rows[1].weights)


def test_bands_of_gaps_are_used_where_a_return_wants_something_else() -> None:
    """Half of the users come back after a day and want what "late" says; all histories are of one length."""
    rng, hour = np.random.default_rng(0), 3_600_000_000
    said: dict[str, dict[str, list[float]]] = {"early": {}, "late": {}}
    truth, asked = [], []
    for user in range(800):
        scores = {name: rng.normal(size=20) for name in said}
        for name, own in scores.items():
            said[name][f"u{user}"] = own.tolist()
        truth.append([2 + int(np.argmax(scores["late" if user % 2 else "early"][2:]))])
        asked.append(24 * hour if user % 2 else int(rng.integers(1, hour)))
    known = histories([[0, 1]] * 800, 20)
    known = replace(known, at=np.full_like(known.at, 48 * hour)).requested(48 * hour + np.array(asked))
    pool, stage = MemberPool({name: Told(own) for name, own in said.items()}), HoldOut(known, histories(truth, 20))
    scorer = ValidationScorer.sample(stage.histories, stage.truth, 5, 2000, None)
    plan = fitting.AblationArm(frozenset({BEHAVIOUR}), ("early", "late"))
    config = FitConfig(ensemble=late.EnsembleConfig(bands=2))
    rows, scores, rule, _ = fitting._weigh([plan], pool, stage, config, scorer)
    assert rule == WeightRule(bands="gap")
    weights = rows[0].weights
    assert weights.by == "gap"
    assert weights.starts == (0, 24 * hour)
    unknown, short, long = weights.bands
    assert short["early"] > 0.9
    assert long["late"] > 0.9
    assert unknown == weights.overall
    assert rows[1].name == WITHOUT_BANDS
    assert scores[OURS] > scorer(pool, rows[1].weights)
    hidden = HoldOut(known.requested(0), stage.truth)
    assert fitting._weigh([plan], pool, hidden, config, scorer)[2].bands is None
