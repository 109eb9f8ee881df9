"""From a component's tensors to its weights: which scales belong to which values, told by names and dtypes."""

from collections.abc import Iterable, Mapping
from typing import Literal

from ltx_core.checkpoint.quantised import fp8, nvfp4, plain
from ltx_core.checkpoint.quantised.fp8 import Fp8Weight, fp8_weight
from ltx_core.checkpoint.quantised.nvfp4 import Nvfp4Weight, nvfp4_weight
from ltx_core.checkpoint.quantised.plain import PlainWeight
from ltx_core.checkpoint.quantised.reader import Weight
from ltx_core.checkpoint.stored import StoredTensor
from ltx_core.errors import CheckpointError

SCALE, TENSOR_SCALE, INPUT_SCALE = "_scale", "_scale_2", ".input_scale"
"""What scales are called beside `<module>.weight`: `weight_scale`, `weight_scale_2` and `input_scale`."""


def grouped(tensors: Mapping[str, StoredTensor]) -> dict[str, Weight]:
    """Weights by the name of their values. Scales of quantised weights are part of them and have no name of their own.

    A scale beside a weight that is not quantised stays, and is found unknown when the module is filled.

    Raises:
        CheckpointError: a tensor is of a kind that no scheme here reads; names it.
    """
    quantised = [name for name, stored in tensors.items() if stored.dtype in (fp8.DTYPE, nvfp4.DTYPE)]
    scales = {scale for name in quantised for scale in _scales(name) if scale in tensors}
    return {name: _weight(name, tensors) for name in tensors if name not in scales}


Scheme = Literal["unquantised", "fp8", "fp4"]


def scheme_of(weights: Iterable[Weight]) -> Scheme:
    """How a component is stored, by its smallest weights; a quantised one has unquantised weights too."""
    kinds = {type(weight) for weight in weights}
    return "fp4" if Nvfp4Weight in kinds else "fp8" if Fp8Weight in kinds else "unquantised"


def _scales(name: str) -> tuple[str, ...]:
    if not name.endswith(".weight"):
        return ()
    return name + SCALE, name + TENSOR_SCALE, name.removesuffix(".weight") + INPUT_SCALE


def _weight(name: str, tensors: Mapping[str, StoredTensor]) -> Weight:
    values, scale, tensor_scale = tensors[name], tensors.get(name + SCALE), tensors.get(name + TENSOR_SCALE)
    if values.dtype in plain.DTYPES:
        return PlainWeight(values)
    if values.dtype == fp8.DTYPE and tensor_scale is None:
        return fp8_weight(values, scale)
    if values.dtype == nvfp4.DTYPE and scale is not None and tensor_scale is not None:
        return nvfp4_weight(values, scale, tensor_scale)
    raise CheckpointError(
        f"{values.path} has the tensor {values.name} as {values.dtype}, which no supported scheme explains: bf16, "
        "fp8 (e4m3, with one `weight_scale` or none) and nvfp4 (with `weight_scale` and `weight_scale_2`) can be "
        "read. Give the bf16 file of this model."
    )
