"""Torch modules to ONNX files.

In: a module and an example of its inputs. Out: a file, or an error that names the operator ONNX lacks; and the same file with int8 weights.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from penchant.core.errors import EncoderError


def write_onnx(
    module: Any,
    inputs: Mapping[str, np.ndarray],
    file: Path,
    outputs: list[str],
    name: str,
    *,
    dynamic: tuple[str, ...],
) -> None:
    """Write a torch module as ONNX; the first axes of its inputs, as many as `dynamic` names, may have any length.

    Raises:
        EncoderError: It uses an operator that ONNX lacks.
    """
    import torch

    named = [torch.export.Dim(label, min=1) for label in dynamic]
    axes = {key: dict(enumerate(named[: array.ndim])) for key, array in inputs.items()}
    arguments = {key: torch.from_numpy(np.ascontiguousarray(array)) for key, array in inputs.items()}
    try:
        with _quiet(), torch.no_grad():
            program: Any = torch.onnx.export(
                module,
                (),
                kwargs=arguments,
                input_names=list(arguments),
                output_names=outputs,
                dynamic_shapes=axes,
                dynamo=True,
                verbose=False,
                external_data=False,
            )
        program.save(str(file))
    except Exception as error:  # the exporter's own errors, of torch.export and onnxscript
        raise EncoderError(
            f"{name!r} cannot be written as ONNX: {_first_cause(error)[:300]}",
            where=f"export of {name}",
            fix="serve it with Penchant itself, or choose another backbone or encoder; see docs/compression.md",
        ) from error


def _first_cause(error: BaseException) -> str:
    """Return the first line of what an error was caused by in the end: it names the operator."""
    while error.__cause__ is not None:
        error = error.__cause__
    return next(iter(str(error).splitlines()), "") or type(error).__name__


@contextmanager
def _quiet() -> Iterator[None]:
    """Leave out what the exporter tells about itself."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir", "torch.export")]
    levels = [one.level for one in loggers]
    for one in loggers:
        one.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for one, level in zip(loggers, levels, strict=True):
            one.setLevel(level)


def write_int8(file: Path) -> None:
    """Replace a model by the one with int8 weights; activations are quantised as they come."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    smaller = file.with_suffix(".int8")
    with _quiet():
        quantize_dynamic(str(file), str(smaller), weight_type=QuantType.QInt8, per_channel=True)
    smaller.replace(file)


def write_static_int8(file: Path, sample: Sequence[Mapping[str, np.ndarray]], **options: Any) -> None:
    """Replace a model by one with int8 weights and activations, whose scales are those that a sample of inputs gave.

    Convolutions with scales that come with each input run many times slower than in float32; sentence models lose more with fixed scales.

    Args:
        file: The model.
        sample: Batches of inputs.
        options: Of `quantize_static`.
    """
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Batches(CalibrationDataReader):  # type: ignore[misc]
        """The sample, batch by batch."""

        def __init__(self) -> None:
            self._left = iter(sample)

        def get_next(self) -> Mapping[str, np.ndarray] | None:
            return next(self._left, None)

    prepared, smaller = file.with_suffix(".prepared"), file.with_suffix(".int8")
    with _quiet():
        quant_pre_process(str(file), str(prepared), skip_symbolic_shape=True)
        quantize_static(
            str(prepared),
            str(smaller),
            Batches(),
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            # weights of 7 bits: processors without VNNI add pairs of products in 16 bits, which 8 bits overflow without a word
            reduce_range=True,
            **options,
        )
    prepared.unlink()
    smaller.replace(file)
