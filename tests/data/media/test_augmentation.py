"""Training samples, changed a little: what may change does, what may not does not, and a seed repeats it."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from penchant.data.media.augmentation import (
    OPERATIONS,
    AudioAugmentationConfig,
    ImageAugmentationConfig,
    SignalAugmentationConfig,
    TextAugmentationConfig,
    augment_image,
    augment_signal,
    change_speed,
    draw_mixup,
    drop_modalities,
    mask_spectrogram,
    mix,
    replace_words,
)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def picture() -> Image.Image:
    return Image.fromarray(rng().integers(0, 255, (40, 60, 3), dtype=np.uint8))


def test_picture_keeps_its_size_and_changes() -> None:
    before = picture()
    after = augment_image(before, ImageAugmentationConfig(), rng(3))
    assert after.size == before.size
    assert after.mode == "RGB"
    assert np.abs(np.asarray(after, float) - np.asarray(before, float)).mean() > 5


def test_picture_without_any_change_allowed_stays() -> None:
    config = ImageAugmentationConfig(min_area=1, flip=0, operations=0)
    np.testing.assert_array_equal(np.asarray(augment_image(picture(), config, rng())), np.asarray(picture()))


def test_picture_is_mirrored_for_certain() -> None:
    config = ImageAugmentationConfig(min_area=1, flip=1, operations=0)
    found = np.asarray(augment_image(picture(), config, rng()))
    np.testing.assert_array_equal(found, np.asarray(picture())[:, ::-1])


@pytest.mark.parametrize("number", range(len(OPERATIONS)))
def test_operation_of_no_strength_changes_nothing(number: int) -> None:
    np.testing.assert_array_equal(np.asarray(OPERATIONS[number](picture(), 0.0)), np.asarray(picture()))
    assert OPERATIONS[number](picture(), -1.0).size == (60, 40)


def test_spectrogram_is_masked_in_bands_and_stretches() -> None:
    mel = rng().random((40, 100)).astype(np.float32)
    out = mask_spectrogram(mel, AudioAugmentationConfig(masks=1, mask_share=0.5), rng(1))
    changed = out != mel
    assert changed.any()
    bands, frames = changed.all(1), changed.all(0)
    np.testing.assert_array_equal(changed, bands[:, None] | frames[None])


def test_signal_keeps_its_shape_its_gaps_and_its_ends() -> None:
    values = np.stack([np.sin(np.arange(200) / 9), np.arange(200) / 50], axis=1).astype(np.float32)
    values[50:60, 0] = np.nan
    out = augment_signal(values, SignalAugmentationConfig(), rng())
    assert out.dtype == np.float32
    assert out.shape == values.shape
    assert 5 <= np.isnan(out[:, 0]).sum() <= 18
    assert np.isfinite(out[:, 1]).all()
    assert np.corrcoef(out[:, 1], values[:, 1])[0, 1] > 0.98


def test_signal_without_any_change_allowed_stays() -> None:
    values = rng().random((30, 2)).astype(np.float32)
    np.testing.assert_array_equal(
        augment_signal(values, SignalAugmentationConfig(jitter=0, scale=0, warp=0), rng()), values
    )


def test_warp_moves_time_forward_only() -> None:
    ramp = np.arange(300, dtype=np.float32)[:, None]
    out = augment_signal(ramp, SignalAugmentationConfig(jitter=0, scale=0, warp=0.8), rng(5))[:, 0]
    assert (np.diff(out) > 0).all()
    assert out[[0, -1]] == pytest.approx([0, 299])
    assert np.abs(out - ramp[:, 0]).max() > 5


def test_no_sample_loses_every_modality() -> None:
    present = np.array([[True, True, False], [True, False, False], [False, False, False]]).repeat(500, 0)
    kept = drop_modalities(present, 0.9, rng())
    assert (kept <= present).all()
    np.testing.assert_array_equal(kept.any(1), present.any(1))
    assert 0.5 < kept[:500, :2].mean() < 0.6


def test_mixup_mixes_values_and_labels_alike() -> None:
    partner, share = draw_mixup(6, 0.4, rng())
    assert sorted(partner) == list(range(6))
    assert (share >= 0.5).all()
    values, labels = np.eye(6, dtype=np.float32), np.eye(6, dtype=np.float32)
    np.testing.assert_array_equal(mix(values, partner, share), mix(labels, partner, share))
    np.testing.assert_allclose(mix(labels, partner, share).sum(1), 1, rtol=1e-6)
    assert mix(np.zeros((6, 3, 2), np.float32), partner, share).shape == (6, 3, 2)
    assert draw_mixup(4, 0.0, rng())[1].tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize(
    "change",
    [
        lambda r: augment_image(picture(), ImageAugmentationConfig(), r).tobytes(),
        lambda r: augment_signal(np.ones((50, 2), np.float32), SignalAugmentationConfig(), r).tobytes(),
    ],
)
def test_equal_seeds_give_equal_samples(change) -> None:
    assert change(rng(7)) == change(rng(7))
    assert change(rng(7)) != change(rng(8))


def test_speed_changes_the_length_within_its_limit_and_keeps_the_course() -> None:
    ramp = np.repeat(np.arange(200, dtype=np.float32)[None], 3, axis=0)
    lengths = set()
    for seed in range(40):
        out = change_speed(ramp, AudioAugmentationConfig(speed=0.25), rng(seed))
        lengths.add(out.shape[1])
        np.testing.assert_allclose(out, np.repeat(np.linspace(0, 199, out.shape[1])[None], 3, axis=0), atol=1e-3)
    assert min(lengths) >= round(200 / 1.25)
    assert max(lengths) <= round(200 / 0.75)
    assert max(lengths) - min(lengths) > 60  # slower and faster ones are drawn
    np.testing.assert_array_equal(change_speed(ramp, AudioAugmentationConfig(speed=0), rng()), ramp)


def test_words_are_replaced_by_those_used_alike_as_often_as_asked() -> None:
    alike = np.array([[-1, -1], [2, 3], [-1, -1], [4, -1], [-1, -1]])
    words = np.tile([1, 2, 3], 2000)
    out = replace_words(words, alike, TextAugmentationConfig(synonym=0.5), rng())
    assert set(out[0::3]) == {1, 2, 3}
    assert set(out[1::3]) == {2}  # no word is used like it
    assert set(out[2::3]) == {3, 4}
    assert 0.45 < (out[0::3] != 1).mean() < 0.55
    assert 0.2 < (out[2::3] != 3).mean() < 0.3  # half of the draws find no second word
    np.testing.assert_array_equal(replace_words(words, alike, TextAugmentationConfig(), rng()), words)
