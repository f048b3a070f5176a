"""A hyperplane over frozen vectors, against scikit-learn's own."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl
import pytest
from sklearn.linear_model import LogisticRegression

from penchant.classifiers.classifier import ContentBatch
from penchant.classifiers.linear import LinearClassifier, LinearConfig
from penchant.core.errors import ConfigError
from penchant.core.schema import Catalog, Embeddings
from penchant.experiment.fit_classifiers import make_score_function
from penchant.experiment.imbalance import unweighted

from .conftest import Made, channel, training_set

AUC = make_score_function("auc")


def test_probabilities_equal_those_of_scikit_learn(make: Callable[..., Made]) -> None:
    samples, batch, parts = make("text")
    batch = ContentBatch(batch.catalog, {"vector": channel(samples)})
    model = LinearClassifier(LinearConfig(strength=[0.5]), name="vector")
    model.fit(batch, training_set(samples, parts.train), training_set(samples, parts.validation), AUC, seed=0)
    values = batch.channels["vector"].values
    mean, spread = values[parts.train].mean(0), values[parts.train].std(0)
    ready = (values - mean) / spread / np.sqrt(5)
    other = LogisticRegression(C=0.5, max_iter=500).fit(ready[parts.train], samples.labels()[parts.train])
    np.testing.assert_allclose(np.exp(model.log_probability(batch)), other.predict_proba(ready), atol=1e-4)


@pytest.mark.parametrize("loss", ["logistic", "squared_hinge"])
def test_it_learns_from_what_is_there_and_comes_back_equal(loss: str, make: Callable[..., Made]) -> None:
    samples, batch, parts = make("text")
    batch = ContentBatch(batch.catalog, {"vector": channel(samples, lacking=0.3)})
    model = LinearClassifier(LinearConfig(loss=loss), name="vector")
    model.fit(batch, training_set(samples, parts.train), training_set(samples, parts.validation), AUC, seed=0)
    model.refit(batch, training_set(samples, np.concatenate([parts.train, parts.validation])))
    has = model.present(batch)
    assert 0.5 < has.mean() < 0.9
    found = model.log_probability(batch)
    assert AUC(samples.labels()[has], found[has]) > 0.95
    again = LinearClassifier(model.config, name="vector").restore(model.arrays(), model.facts())
    np.testing.assert_array_equal(again.log_probability(batch), found)


def test_an_unknown_channel_names_its_neighbours(make: Callable[..., Made]) -> None:
    samples, batch, _ = make("text")
    batch = ContentBatch(batch.catalog, {"vector": channel(samples)})
    with pytest.raises(ConfigError, match="There is no channel 'vectr'") as caught:
        LinearClassifier(LinearConfig(channels=["vectr"]), name="x").modalities(batch)
    assert "vector" in caught.value.fix


def test_the_part_of_a_vector_that_tells_is_chosen_on_validation() -> None:
    rng, count = np.random.default_rng(0), 400
    labels = np.arange(count) % 2
    values = rng.standard_normal((count, 90)).astype(np.float32)
    values[:, 40] += 1.5 * labels  # of three parts the second tells, the others are noise
    table = Catalog(pl.DataFrame({"item_id": [f"s{n}" for n in range(count)]}))
    batch = ContentBatch(table, {"layers": Embeddings("layers", "audio", values, np.ones(count, bool), "test")})
    rows = np.arange(count)
    on, held = unweighted(rows[:150], labels[:150], 2), unweighted(rows[150:250], labels[150:250], 2)
    score = make_score_function("cross_entropy")

    def made(parts: int) -> LinearClassifier:
        config = LinearConfig(channels=["layers"], parts=parts, strength=[0.03, 0.3])
        return LinearClassifier(config, name="m").fit(batch, on, held, score, seed=0)

    one, all_of_it = made(3), made(1)
    assert (one.part, all_of_it.part) == (1, None)
    assert one.coefficients[0].shape == (2, 30)
    asked = batch.take(rows[250:])
    reached = [score(labels[250:], classifier.log_probability(asked)) for classifier in (one, all_of_it)]
    assert reached[0] > reached[1]
    again = LinearClassifier(one.config, name="m").restore(one.arrays(), one.facts())
    np.testing.assert_array_equal(again.log_probability(asked), one.log_probability(asked))
    settled = LinearClassifier(one.config, name="m").settle([one, one, all_of_it])
    assert settled.part == 1
    assert settled.refit(batch, on).coefficients[0].shape == (2, 30)
    with pytest.raises(ValueError, match="there is no part 3"):
        LinearClassifier(one.config, name="m").restore(one.arrays(), {**one.facts(), "part": 3})
    with pytest.raises(ConfigError, match="90 numbers do not divide into 4 equal parts"):
        made(4)
