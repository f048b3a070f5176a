import numpy as np
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.metrics import auc, precision_recall_curve, roc_auc_score, roc_curve
from sklearn.svm import LinearSVC

from penchant.core.errors import DataError
from penchant.core.seeds import generator
from penchant.metrics import interest
from penchant.metrics.interest import fit_platt
from penchant.metrics.intervals import IntervalConfig, draw_counts


def pairs(count: int = 600, users: int = 60, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    group = rng.integers(0, users, count)
    score = rng.normal(size=count) + rng.normal(size=users)[group]
    label = rng.uniform(size=count) < 1 / (1 + np.exp(-1.5 * score))
    return label, (1 / (1 + np.exp(-1.5 * score))).round(2), group


def test_scores_equal_those_counted_by_hand():
    label = np.array([True, True, False, False, False])
    found = interest.evaluate_answers("x", label, np.array([0.9, 0.4, 0.6, 0.2, 0.1]), np.arange(5), threshold=0.5)
    assert (found.accuracy, found.precision, found.recall, found.f1) == (0.6, 0.5, 0.5, 0.5)
    assert found.auc.mean == pytest.approx(5 / 6)
    assert found.average_precision == pytest.approx(1 / 2 * 1 + 1 / 2 * 2 / 3)
    assert (found.num_pairs, found.num_groups, found.share_positive) == (5, 5, 0.4)


def test_areas_under_the_curves_equal_the_scores():
    label, probability, group = pairs()
    found = interest.evaluate_answers("x", label, probability, group, config=IntervalConfig(resamples=10))
    assert auc(found.roc.x, found.roc.y) == pytest.approx(found.auc.mean, abs=1e-9)
    assert list(found.precision_recall.x) == sorted(found.precision_recall.x)


def test_a_long_curve_is_thinned_and_keeps_its_ends():
    label, _, _ = pairs(5000)
    curve = interest.roc(label, np.random.default_rng(0).uniform(size=5000))
    assert len(curve.x) <= interest.MAX_POINTS
    assert (curve.x[0], curve.y[0], curve.x[-1], curve.y[-1]) == (0, 0, 1, 1)


def test_reliability_of_a_true_probability_is_small_and_of_a_bold_one_is_not():
    rng = np.random.default_rng(1)
    probability = rng.uniform(size=20_000)
    label = rng.uniform(size=20_000) < probability
    assert interest.reliability(label, probability).error < 0.02
    bold = (probability > 0.5).astype(float)
    found = interest.reliability(label, bold)
    assert found.error == pytest.approx(0.25, abs=0.02)
    assert (found.probability, sum(found.count)) == ((0.0, 1.0), 20_000)


def test_best_threshold_is_best_of_all():
    label, probability, _ = pairs()
    chosen = interest.best_threshold(label, probability)
    best = max(((probability >= t) == label).mean() for t in np.unique(probability))
    assert ((probability >= chosen) == label).mean() == pytest.approx(best)


def platt(line: tuple[float, float], score: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-(line[0] * score + line[1])))


def test_platt_equals_scikit_learn():
    rng = np.random.default_rng(2)
    x = rng.normal(size=(400, 1))
    label = rng.uniform(size=400) < 1 / (1 + np.exp(-2 * x[:, 0] + 0.5))
    svm = LinearSVC().fit(x, label)
    from sklearn.frozen import FrozenEstimator

    theirs = CalibratedClassifierCV(FrozenEstimator(svm), method="sigmoid").fit(x, label)
    score = svm.decision_function(x)
    ours = platt(fit_platt(label, score), score)
    assert ours == pytest.approx(theirs.predict_proba(x)[:, 1], abs=2e-3)


def test_platt_takes_scores_of_any_scale():
    label, probability, _ = pairs()
    logit = np.log((probability + 0.01) / (1.01 - probability))
    small = platt(fit_platt(label, logit), logit)
    assert small == pytest.approx(platt(fit_platt(label, logit * 1e6 + 3e6), logit * 1e6 + 3e6), abs=1e-6)
    assert ((small > 0) & (small < 1)).all()


def test_platt_of_equal_scores_gives_the_share_of_positives():
    label = np.array([True] * 30 + [False] * 70)
    assert platt(fit_platt(label, np.ones(100)), np.ones(1))[0] == pytest.approx(0.3, abs=0.01)


def test_auc_under_drawn_users_equals_scikit_learn_with_weights():
    label, probability, group = pairs(200, 20)
    counts = np.random.default_rng(0).integers(0, 3, (4, 20)).astype(float)
    ours = interest.RankOrder.of(label, probability, group).areas(counts)
    theirs = [roc_auc_score(label, probability, sample_weight=row[group]) for row in counts]
    assert ours == pytest.approx(theirs)


def test_auc_interval_is_wider_when_the_pairs_of_a_user_are_alike():
    label, probability, _ = pairs(400)
    config = IntervalConfig(resamples=300)
    alone = interest.auc_interval(label, probability, np.arange(400), config)
    clustered = interest.auc_interval(
        np.repeat(label, 5), np.repeat(probability, 5), np.repeat(np.arange(400), 5), config
    )
    assert alone.low < roc_auc_score(label, probability) < alone.high
    assert clustered.high - clustered.low == pytest.approx(alone.high - alone.low, rel=0.05)


def test_few_users_get_no_auc_interval():
    label, probability, group = pairs(100, 5)
    assert np.isnan(interest.auc_interval(label, probability, group).low)


@pytest.mark.parametrize(
    ("label", "score", "message"),
    [
        ([True], [0.1, 0.2], "There are 1 labels and 2 scores"),
        ([True, False], [0.1, np.nan], "The score nan is not a number"),
        ([True, True], [0.1, 0.2], "All 2 labels are 'yes'"),
    ],
)
def test_pairs_that_cannot_be_judged_are_refused(label, score, message):
    with pytest.raises(DataError, match=message):
        interest.evaluate_answers("x", np.array(label), np.array(score), np.zeros(len(score), int))


def test_scores_at_a_threshold_count_equality_as_yes():
    label = np.array([True, False, True, False])
    found = interest.evaluate_answers("x", label, np.array([0.5, 0.5, 0.4, 0.1]), np.array([0, 0, 1, 1]), threshold=0.5)
    assert (found.name, found.threshold) == ("x", 0.5)
    assert (found.accuracy, found.precision, found.recall, found.f1) == (0.5, 0.5, 0.5, 0.5)
    assert (found.num_groups, found.auc.num_users) == (2, 2)


def test_without_a_yes_answer_precision_is_zero():
    found = interest.evaluate_answers("x", np.array([True, False]), np.array([0.2, 0.1]), np.arange(2), threshold=0.9)
    assert (found.precision, found.recall, found.f1) == (0, 0, 0)


def test_curves_are_those_of_scikit_learn():
    label, probability, _ = pairs(120)
    x, y, _ = roc_curve(label, probability)
    precision, recall, _ = precision_recall_curve(label, probability, drop_intermediate=True)
    assert interest.roc(label, probability) == interest.Curve(tuple(x.tolist()), tuple(y.tolist()))
    found = interest.precision_recall(label, probability)
    assert found == interest.Curve(tuple(recall[::-1].tolist()), tuple(precision[::-1].tolist()))


def test_thinning_keeps_evenly_spaced_points():
    x = np.arange(1000.0)
    curve = interest._thinned(x, -x)
    assert len(curve.x) == interest.MAX_POINTS
    assert set(np.diff(curve.x)) == {2.0, 3.0}
    assert curve.y == tuple(-value for value in curve.x)


def test_reliability_of_four_pairs_by_hand():
    found = interest.reliability(np.array([True, False, True, False]), np.array([0.05, 0.12, 0.18, 1.0]))
    assert found.probability == pytest.approx((0.05, 0.15, 1.0))
    assert (found.share, found.count) == ((1.0, 0.5, 0.0), (1, 2, 1))
    assert found.error == pytest.approx((0.95 + 2 * 0.35 + 1.0) / 4)
    halves = interest.reliability(np.array([True, False]), np.array([0.1, 0.4]), bins=2)
    assert (halves.count, halves.share, halves.error) == ((2,), (0.5,), pytest.approx(0.25))


def test_of_equally_good_thresholds_the_lowest_is_taken():
    label = np.array([True, False, True, False])
    probability = np.array([0.9, 0.8, 0.7, 0.6])
    assert interest.best_threshold(label, probability) == 0.7
    assert interest.best_threshold(np.array([True, False, False]), np.array([0.5, 0.5, 0.1])) == 0.5


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_where_no_to_every_pair_is_right_most_often_no_pair_is_answered_yes(dtype: type):
    label, probability = np.array([False, False, True, False]), np.array([1.0, 0.8, 0.7, 0.6], dtype)
    chosen = interest.best_threshold(label, probability)
    assert not (probability >= chosen).any()
    assert chosen == pytest.approx(1.0)


def test_auc_interval_is_that_of_drawn_users_by_scikit_learn():
    label, probability, group = pairs(150, 15)
    found = interest.auc_interval(label, probability, group, IntervalConfig(resamples=40, confidence=0.8, seed=2))
    counts = draw_counts(generator(2, "bootstrap.auc"), 40, 15)
    areas = [roc_auc_score(label, probability, sample_weight=row[group]) for row in counts]
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(areas, [0.1, 0.9])))
    assert (found.mean, found.num_users) == (pytest.approx(roc_auc_score(label, probability)), 15)


def test_small_batches_of_draws_keep_the_auc_interval(monkeypatch):
    label, probability, group = pairs(100, 20)
    whole = interest.auc_interval(label, probability, group, IntervalConfig(resamples=31))
    monkeypatch.setattr(interest, "BATCH_CELLS", 250)
    assert interest.auc_interval(label, probability, group, IntervalConfig(resamples=31)) == whole


def test_a_draw_without_both_labels_has_no_area():
    order = interest.RankOrder.of(np.array([True, False]), np.array([0.9, 0.1]), np.array([0, 1]))
    areas = order.areas(np.array([[1.0, 1.0], [2.0, 0.0]]))
    assert areas[0] == 1
    assert np.isnan(areas[1])


def test_platt_holds_back_by_the_number_of_pairs():
    label = np.array([True, True, False])
    separated = fit_platt(label, np.array([5.0, 5.0, -5.0]))
    assert platt(separated, np.array([5.0, -5.0])) == pytest.approx([3 / 4, 1 / 3], abs=1e-3)


def test_no_pair_at_all_is_refused():
    with pytest.raises(DataError, match="All 0 labels are 'no'"):
        interest.best_threshold(np.zeros(0, bool), np.zeros(0))
