"""Compute one batch in full precision and in 8 bits, layer by layer and over the whole model, and choose what to keep.

Blocks are loaded in turn, so that it fits wherever training in 8 bits does. First in full precision: each layer is also
computed in 8 bits from the same input and gradient. Then in 8 bits, layers as chosen by that: the loss, and the
gradients of a LoRA, are those of the whole model.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ltx_core.denoiser.blocks import set_runner
from ltx_core.engine.assemble import BLOCKS
from ltx_core.engine.low_precision import (
    SMALLEST_INT8_ROWS,
    Format,
    FrozenProduct,
    LowPrecision,
    QuantisedLinear,
    is_quantisable,
    quantise_rows,
    supported,
)
from ltx_core.engine.options import EngineOptions, LayerChoice
from ltx_core.engine.precision_choice import Comparison, LayerLoss, Whole, chosen, kind_of, worst_of
from ltx_core.engine.runner import Felt, LoadedInTurn
from ltx_core.rng import named_generator

OUTLYING = 6.0
"""A column is an outlier if it is so many times as large as the middle one."""
RANK = 8
"""Of the LoRA whose gradients are compared: its B is zero, so they are those of B."""
Fill = Callable[[int, EngineOptions], torch.nn.Module]
"""A block by its index, with its weights as the options say."""


def compare(
    transformer: Any,
    fill: Fill,
    loss: Callable[[], Tensor],
    kind: Format,
    *,
    clip: str,
    low_backward: bool,
    device: torch.device,
) -> Comparison:
    """Choose how the layers are held and multiplied. `loss` runs one batch through `transformer`, whose blocks are
    filled by `fill`; it is called a few times and must give the same each time.

    Raises:
        CheckpointError: a block cannot be read.
    """
    native = _Native(kind, low_backward=low_backward, products=supported(kind, device))
    exact_loss = _run(transformer, loss, LoadedInTurn(lambda i: fill(i, EngineOptions()), native.see, is_quantisable))
    products, kept = chosen(native.losses)
    kinds = len({kind_of(loss.layer) for loss in native.losses})

    def whole(choice: LayerChoice) -> Whole:
        options = EngineOptions(
            precision=kind, products=choice.products, native_layers=choice.native, low_backward=low_backward
        )
        beside = _Beside(native.gradients)
        found = _run(transformer, loss, LoadedInTurn(lambda i: fill(i, options), beside.see, _is_watched))
        return beside.found(found, exact_loss)

    first, rejected = whole(LayerChoice(frozenset(products), frozenset(kept))), None
    if products and not first.is_harmless:
        products, rejected = (), first
        first = whole(LayerChoice("none", frozenset(kept)))
    return Comparison(
        version=1,
        precision=kind,
        clip=clip,
        products=products,
        native=kept,
        kinds=kinds,
        worst=worst_of(native.losses),
        whole=first,
        rejected=rejected,
    )


def _run(transformer: Any, loss: Callable[[], Tensor], runner: LoadedInTurn) -> float:
    set_runner(transformer, runner)
    found = loss()
    found.backward()
    return float(found.detach())


def _is_watched(module: torch.nn.Module) -> bool:
    return isinstance(module, QuantisedLinear) or is_quantisable(module)


class _Native:
    """Sees the blocks in full precision: what each layer would lose, and what a LoRA's gradients are."""

    def __init__(self, kind: Format, *, low_backward: bool, products: bool) -> None:
        self.losses: list[LayerLoss] = []
        self.gradients: dict[str, Tensor] = {}
        held = LowPrecision(kind, low_backward=False, low_forward=False)
        self._ways = (held, LowPrecision(kind, low_backward=low_backward)) if products else (held,)

    def see(self, index: int, layers: Mapping[str, Felt]) -> None:
        """As the runner says. Layers that so few rows go through are not judged: the single token that stands in for
        a stream that is absent says nothing."""
        for name, felt in layers.items():
            full = f"{BLOCKS}.{index}.{name}"
            self.gradients[full] = lora_gradient(full, felt).cpu()
            if felt.x.shape[0] >= SMALLEST_INT8_ROWS:
                held, *products = layer_losses(felt, self._ways)
                self.losses.append(LayerLoss(layer=full, products=products[0] if products else None, weights=held))


class _Beside:
    """Sees the blocks in 8 bits: how far a LoRA's gradients are from those in full precision."""

    def __init__(self, exact: Mapping[str, Tensor]) -> None:
        self._exact = exact
        self._squares: dict[int, tuple[float, float]] = {}

    def see(self, index: int, layers: Mapping[str, Felt]) -> None:
        """As the runner says."""
        away = whole = 0.0
        for name, felt in layers.items():
            full = f"{BLOCKS}.{index}.{name}"
            exact = self._exact[full]
            away += float((lora_gradient(full, felt).cpu() - exact).square().sum())
            whole += float(exact.square().sum())
        self._squares[index] = (away, whole)

    def found(self, loss: float, exact_loss: float) -> Whole:
        """Over all blocks."""
        errors = {index: _share(*squares) for index, squares in self._squares.items()}
        worst = max(errors, key=lambda index: errors[index])
        away, whole = (sum(squares[i] for squares in self._squares.values()) for i in (0, 1))
        return Whole(
            loss=loss,
            native_loss=exact_loss,
            gradient_error=_share(away, whole),
            worst_block=worst,
            worst_block_error=errors[worst],
        )


def lora_gradient(name: str, felt: Felt) -> Tensor:
    """[N, RANK] float32: of the B of a LoRA whose B is zero and whose A is drawn by the layer's name."""
    width = felt.x.shape[1]
    down = torch.randn(width, RANK, generator=named_generator("compared", 0, name)) / math.sqrt(width)
    return felt.gradient.float().t() @ (felt.x.float() @ down.to(felt.x.device))


def layer_losses(felt: Felt, ways: Sequence[LowPrecision]) -> list[float]:
    """The largest relative error of each way, all of one format, as `ltx_core.engine.precision_choice` says; infinite
    where one is not a number."""
    weight, kind = felt.layer.weight, ways[0].kind
    assert isinstance(weight, Tensor)
    values, scale = quantise_rows(weight, kind)
    exact, held = _computed(felt, weight, None, None), _without_outliers(values.float() * scale, weight)
    losses = []
    for way in ways:
        found = _computed(felt, values, scale, way)
        errors = [held, *(_relative(left, right) for left, right in zip(found, exact, strict=True))]
        if way.low_forward:
            errors.append(_rounded(felt.x, kind))
        if way.low_backward and felt.reaches_input:
            errors.append(_rounded(felt.gradient.float() * scale.t(), kind))
        losses.append(max(error if math.isfinite(error) else math.inf for error in errors))
    return losses


def _computed(felt: Felt, weight: Tensor, scale: Tensor | None, precision: LowPrecision | None) -> list[Tensor]:
    """The result, and the input's gradient where one is wanted."""
    x = felt.x.detach().requires_grad_(felt.reaches_input)
    with torch.enable_grad():
        made: Tensor = FrozenProduct.apply(x, weight, scale, precision, True)
        if not felt.reaches_input:
            return [made.detach()]
        made.backward(felt.gradient.float())
    assert x.grad is not None
    return [made.detach(), x.grad]


def _rounded(rows: Tensor, kind: Format) -> float:
    values, scale = quantise_rows(rows, kind)
    return _without_outliers(values.float() * scale, rows)


def _without_outliers(found: Tensor, exact: Tensor) -> float:
    """Relative error without columns that are outliers."""
    away, whole = _squares(found, exact)
    sizes = whole.sqrt()
    usual = sizes <= OUTLYING * sizes.median()
    return _share(float(away[usual].sum()), float(whole[usual].sum()))


def _relative(found: Tensor, exact: Tensor) -> float:
    away, whole = _squares(found, exact)
    return _share(float(away.sum()), float(whole.sum()))


def _squares(found: Tensor, exact: Tensor) -> tuple[Tensor, Tensor]:
    """Of the difference and of the exact values, summed over the rows: [N] float32 each."""
    wide = exact.float()
    return (found.float() - wide).square_().sum(dim=0), wide.square().sum(dim=0)


def _share(away: float, whole: float) -> float:
    """Root of the one over the other; of nothing, nothing."""
    return 0.0 if away == 0 else math.sqrt(away / whole) if whole else math.inf
