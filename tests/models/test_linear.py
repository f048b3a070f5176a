from __future__ import annotations

import logging

import numpy as np
import pytest
from scipy import sparse

from penchant.core.errors import ConfigError
from penchant.core.schema import Content, Embeddings, Histories
from penchant.models.channels import centred_unit
from penchant.models.linear import EASE, EASEConfig, gram_of, solve


def dense(histories: Histories) -> np.ndarray:
    out = np.zeros((len(histories), histories.num_items))
    out[histories.user_index(), histories.item_index] = 1
    return out


def textbook(gram: np.ndarray, penalty: np.ndarray | float) -> np.ndarray:
    inverse = np.linalg.inv(gram + penalty * np.eye(len(gram)))
    weights = inverse / -np.diag(inverse)
    np.fill_diagonal(weights, 0)
    return weights


def channel(num_items: int, missing: list[int]) -> Embeddings:
    values = np.random.default_rng(3).normal(size=(num_items, 4)).astype(np.float32)
    present = ~np.isin(np.arange(num_items), missing)
    return Embeddings("words", "text", values, present, "test")


def test_ease_is_the_textbook_formula(random_histories) -> None:
    member = EASE(EASEConfig(regularisation=5)).fit(random_histories, Content())
    x = dense(random_histories)
    np.testing.assert_allclose(member.matrix, textbook(x.T @ x, 5), rtol=1e-3, atol=1e-5)


def test_user_exponent_scales_the_rows(random_histories) -> None:
    member = EASE(EASEConfig(regularisation=2, user_exponent=0.5)).fit(random_histories, Content())
    x = dense(random_histories)
    x /= np.sqrt(x.sum(1, keepdims=True))
    np.testing.assert_allclose(member.matrix, textbook(x.T @ x, 2), rtol=1e-3, atol=1e-5)


def test_strength_log_counts_repeats_with_a_mean_of_one_for_each_user(make_histories) -> None:
    plays = make_histories([[0, 1, 1, 1, 2], [1, 2], [0, 2, 2], [3]], 4, [[1, 2, 3, 1, 4], [0.5, 1], [2, 1, -3], [-1]])
    member = EASE(EASEConfig(regularisation=2, strength="log")).fit(plays, Content())
    x = np.log1p([[1, 6, 4, 0], [0, 0.5, 1, 0], [2, 0, 0, 0], [0, 0, 0, 0]])
    x[:3] /= np.array([x[0].sum() / 3, x[1].sum() / 2, x[2].sum()])[:, None]
    np.testing.assert_allclose(member.matrix, textbook(x.T @ x, 2), rtol=1e-3, atol=1e-5)
    once = EASE(EASEConfig(regularisation=2)).fit(plays, Content())
    assert not np.allclose(member.matrix, once.matrix)
    weighted = plays.matrix() @ member.matrix  # reading a history is not affected
    np.testing.assert_allclose(member.score(plays), weighted, rtol=1e-5)


def test_dropout_is_a_penalty_on_popular_items(random_histories) -> None:
    member = EASE(EASEConfig(regularisation=2, dropout=0.5)).fit(random_histories, Content())
    x = dense(random_histories)
    gram = x.T @ x
    np.testing.assert_allclose(member.matrix, textbook(gram + np.diag(np.diag(gram)), 2), rtol=1e-3, atol=1e-5)


def test_content_is_more_rows_of_interactions(random_histories) -> None:
    words = channel(12, missing=[4])
    member = EASE(EASEConfig(regularisation=5, content_weight=3))
    member.fit(random_histories, Content({"words": words}))
    features = centred_unit(words.values, words.usable)
    x = np.concatenate([dense(random_histories), np.sqrt(3) * features.T])
    np.testing.assert_allclose(member.matrix, textbook(x.T @ x, 5), rtol=1e-3, atol=1e-5)


def test_above_max_items_the_most_touched_take_part(random_histories, caplog) -> None:
    member = EASE(EASEConfig(regularisation=5, max_items=6), name="ease")
    with caplog.at_level(logging.INFO, "penchant"):
        member.fit(random_histories, Content())
    assert "ease: the 6 most touched of 12 items take part" in caplog.text
    x = dense(random_histories)
    kept = np.sort(np.argsort(-x.sum(0), kind="stable")[:6])
    assert member.kept.tolist() == kept.tolist()
    np.testing.assert_allclose(member.matrix, textbook((x.T @ x)[np.ix_(kept, kept)], 5), rtol=1e-3, atol=1e-5)


def test_a_cold_item_keeps_its_column_when_rare_items_are_favoured(make_histories) -> None:
    given = make_histories([[0, 1], [1, 2], [0, 2]], 4)
    member = EASE(EASEConfig(regularisation=1, content_weight=1, target_exponent=0.5))
    member.fit(given, Content({"words": channel(4, missing=[])}))
    assert np.abs(member.matrix[:, 3]).max() > 0


def test_solve_falls_back_to_double_precision() -> None:
    column = np.linspace(1, 2, 30)
    gram = (np.outer(column, column) * 1e4).astype(np.float32)  # rank one: float32 cannot factorise it
    exact = gram.astype(np.float64)
    np.fill_diagonal(exact, gram.diagonal() + np.float32(1e-2))
    np.testing.assert_allclose(solve(gram, 1e-2), textbook(exact, 0), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("cells", [30, 16_000_000])
def test_gram_and_inverse_in_blocks_equal_those_at_once(monkeypatch, random_histories, cells: int) -> None:
    monkeypatch.setattr("penchant.models.products.BLOCK_CELLS", cells)
    rng = np.random.default_rng(0)
    x = (rng.random((200, 70)) < 0.2).astype(np.float32)
    gram = gram_of(sparse.csr_array(x))
    np.testing.assert_array_equal(gram, x.T @ x)
    np.testing.assert_allclose(solve(gram, 20), textbook(x.T @ x, 20), rtol=1e-3, atol=1e-5)


def test_an_unknown_channel_names_the_nearest(random_histories) -> None:
    member = EASE(EASEConfig(content_weight=1, channels=["word"]), name="ease")
    with pytest.raises(ConfigError, match=r"no content channel 'word'(.|\n)*members\.ease(.|\n)*mean 'words'"):
        member.fit(random_histories, Content({"words": channel(12, missing=[])}))
