from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from penchant.core.errors import ConfigError
from penchant.core.schema import Content, Embeddings, Histories
from penchant.models.channels import centred_unit
from penchant.models.content import ContentKNN, ContentKNNConfig, ContentRegression, ContentRegressionConfig


def dense(histories: Histories) -> np.ndarray:
    out = np.zeros((len(histories), histories.num_items))
    out[histories.user_index(), histories.item_index] = 1
    return out


@pytest.fixture
def content() -> Content:
    rng = np.random.default_rng(1)
    channels = {}
    for name, missing in (("words", [2]), ("picture", [2, 5])):
        present = ~np.isin(np.arange(12), missing)
        channels[name] = Embeddings(name, "text", rng.normal(size=(12, 5)).astype(np.float32) + 2, present, name)
    return Content(channels)


def test_content_knn_keeps_the_nearest_of_each_item(random_histories, content) -> None:
    member = ContentKNN(ContentKNNConfig(channel="words", neighbours=3, sharpness=2)).fit(random_histories, content)
    rows = centred_unit(content.channels["words"].values, content.channels["words"].usable)
    similar = np.maximum(rows @ rows.T, 0) ** 2
    np.fill_diagonal(similar, 0)
    expected = np.where(similar >= np.sort(similar, 1)[:, -3:][:, :1], similar, 0)
    np.testing.assert_allclose(member.matrix.toarray(), expected, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("neighbours", [0, 3])
def test_content_knn_reread_with_another_sharpness_is_the_fit_with_it(random_histories, content, neighbours) -> None:
    settings = [ContentKNNConfig(channel="words", neighbours=neighbours, sharpness=power) for power in (4, 1, 12)]
    first, *others = (ContentKNN(one) for one in settings)
    first.fit(random_histories, content)
    before = first.score(random_histories)
    for other in others:
        fitted = ContentKNN(other.config).fit(random_histories, content)
        found = first.reread(other).score(random_histories)
        np.testing.assert_allclose(found, fitted.score(random_histories), rtol=1e-3, atol=1e-5)
    np.testing.assert_array_equal(first.score(random_histories), before)


def test_content_knn_divides_an_item_of_the_history_by_one_plus_the_sum_of_its_similarities(
    random_histories, content
) -> None:
    plain = ContentKNN(ContentKNNConfig(channel="words", neighbours=3)).fit(random_histories, content)
    shared = ContentKNN(ContentKNNConfig(channel="words", neighbours=3, source_exponent=0.5))
    matrix = plain.matrix.toarray()
    expected = dense(random_histories) @ (matrix / np.sqrt(1 + matrix.sum(1, keepdims=True)))
    found = plain.reread(shared).score(random_histories)
    known = content.channels["words"].usable
    np.testing.assert_allclose(found[:, known], expected[:, known], rtol=1e-4, atol=1e-6)


def test_content_knn_does_not_read_what_is_missing(random_histories, content) -> None:
    member = ContentKNN(ContentKNNConfig(channel="picture", neighbours=4)).fit(random_histories, content)
    matrix = member.matrix.toarray()
    assert not matrix[[2, 5]].any()
    assert not matrix[:, [2, 5]].any()


def test_content_regression_is_the_dual_kernel_ridge(random_histories, content) -> None:
    weights = {"picture": 0.5}
    member = ContentRegression(ContentRegressionConfig(regularisation=0.7, smoothing=4, weights=weights))
    found = member.fit(random_histories, content).score(random_histories)
    rows = {n: centred_unit(e.values, e.usable) for n, e in content.channels.items()}
    kernel = rows["words"] @ rows["words"].T + 0.5 * rows["picture"] @ rows["picture"].T
    x = dense(random_histories)
    known = np.delete(np.arange(12), 2)  # item 2 has no content at all
    gram = x.T @ x
    filled = x @ np.linalg.solve(gram + 4 * np.eye(12), gram)
    expected = filled[:, known] @ np.linalg.solve(kernel[np.ix_(known, known)] + 0.7 * np.eye(11), kernel[known])
    expected[:, 2] = expected[:, known].mean(1)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


def test_smoothing_by_iterations_is_that_of_the_factor(random_histories, content, monkeypatch) -> None:
    monkeypatch.setattr("penchant.models.content.SMOOTHED_COLUMNS", 3)  # several blocks, the last one smaller
    exact = ContentRegression(ContentRegressionConfig(smoothing=0.5)).fit(random_histories, content)
    iterated = ContentRegression(ContentRegressionConfig(smoothing=0.5, max_items=1))
    iterated.fit(random_histories, content)
    np.testing.assert_allclose(iterated.source, exact.source, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("cls", [ContentKNN, ContentRegression])
def test_no_content_at_all_says_what_to_add(random_histories, cls) -> None:
    with pytest.raises(ConfigError, match=r"no content channel(.|\n)*members\.like(.|\n)*add a \[content\."):
        cls(name="like").fit(random_histories, Content())


def test_fused_reads_every_channel(content) -> None:
    assert ContentKNN().channels(content) == ("words", "picture")
    assert ContentKNN(ContentKNNConfig(channel="words")).channels(content) == ("words",)
    assert ContentRegression(ContentRegressionConfig(channels=["fused"])).channels(content) == ("words", "picture")


def test_content_knn_is_taken_over_where_the_content_is_the_same_and_fitted_where_it_is_not(
    random_histories, content, monkeypatch
) -> None:
    config = ContentKNNConfig(channel="words", neighbours=3)
    first = ContentKNN(config, name="first").fit(random_histories, content)
    fits = []
    monkeypatch.setattr(ContentKNN, "fit", lambda self, train, content: fits.append(self) or first)
    again = ContentKNN(config, name="again").refit(random_histories, content, first)
    assert not fits
    assert again.name == "again"
    np.testing.assert_array_equal(again.score(random_histories), first.score(random_histories))
    changed = replace(content.channels["words"], values=content.channels["words"].values * 2)
    ContentKNN(config).refit(random_histories, Content({"words": changed}), first)
    ContentKNN(ContentKNNConfig(channel="words", neighbours=2)).refit(random_histories, content, first)
    assert len(fits) == 2
