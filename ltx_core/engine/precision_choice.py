"""The result of comparing 8 bits with full precision for one checkpoint, and the choice of layers. No torch.

A layer's loss is the largest of these relative errors: of its result and of its input's gradient, and of the rounded
weight, input and gradient without their outlying columns. Those columns are what adaLN makes: one that is 30 times as
large as the others shares its rows' scale with them and leaves them 7 % of noise, which the error of the whole result,
nearly all of it the outlier's, does not show.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict

from ltx_core.engine.options import LayerChoice

VERSION = 1
"""Counts up when losses are measured, or chosen by, another way."""
LAYER_BOUND = 0.05
"""A layer is not multiplied in 8 bits if that loses more, and is not held in 8 bits if that does. Gaussian values lose
1.3 % in int8 products, 3.8 % in fp8 products, and 0.9 and 2.6 % as weights alone."""
GRADIENT_BOUND = 0.10
"""No layer is multiplied in 8 bits if a LoRA's gradients over the whole model are off by more."""
LOSS_BOUND = 0.01
"""Nor if the loss is, relative."""
MOST_NAMED = 5


class LayerLoss(BaseModel):
    """The loss of one layer, as a fraction."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")

    layer: str
    """Its name in the transformer."""
    products: float | None
    """None where the device has no 8-bit products."""
    weights: float


class Whole(BaseModel):
    """The whole model in 8 bits, layers as chosen, beside full precision."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")

    loss: float
    native_loss: float
    gradient_error: float
    """Of a LoRA's gradients, relative."""
    worst_block: int
    worst_block_error: float

    @property
    def is_harmless(self) -> bool:
        """True if it is within the bounds."""
        off = abs(self.loss - self.native_loss)
        return self.gradient_error <= GRADIENT_BOUND and off <= LOSS_BOUND * abs(self.native_loss)


class Comparison(BaseModel):
    """The findings and the choice."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")

    version: Literal[1]
    precision: Literal["int8", "fp8"]
    clip: str
    products: tuple[str, ...]
    """Kinds of layers (names in a block) that multiply in 8 bits, in all blocks alike, so that one is compiled."""
    native: tuple[str, ...]
    """Layers that are not held in 8 bits, by their names in the transformer."""
    kinds: int
    """Kinds of layers that 8 bits can hold."""
    worst: tuple[LayerLoss, ...]
    """Those that lose most in products, and those that lose most as weights."""
    whole: Whole
    rejected: Whole | None = None
    """With products where layers alone allow them, if that lost too much over the whole model."""

    @property
    def choice(self) -> LayerChoice:
        """For the engine."""
        return LayerChoice(frozenset(self.products), frozenset(self.native))

    def lines(self) -> list[str]:
        """For people."""
        whole = self.whole
        found = [
            f"{self.precision} beside full precision on clip {self.clip}: loss {whole.loss:.4f} and "
            f"{whole.native_loss:.4f}, gradients of a LoRA {whole.gradient_error:.1%} off, most in block "
            f"{whole.worst_block} ({whole.worst_block_error:.1%})",
            f"of {self.kinds} kinds of layers {len(self.products)} multiply in 8 bits"
            + (f" ({', '.join(self.products)})" if 0 < len(self.products) < self.kinds else "")
            + f" and {self.kinds - len(self.products)} hold weights alone in them; "
            + (f"{len(self.native)} layers stay in full precision: {', '.join(self.native)}" if self.native else "")
            + ("" if self.native else f"no layer loses more than {LAYER_BOUND:.0%} and stays in full precision"),
        ]
        if self.rejected is not None:
            found.append(
                f"products were given up: with them loss {self.rejected.loss:.4f}, gradients "
                f"{self.rejected.gradient_error:.1%} off"
            )
        if not whole.is_harmless:
            found.append(
                f"this is more than the bounds of {LOSS_BOUND:.0%} of the loss and {GRADIENT_BOUND:.0%} of the "
                f"gradients; train with base_precision: native if the GPU has room"
            )
        return [*found, "layers that lose most: " + "; ".join(map(_told, self.worst))]


def _told(loss: LayerLoss) -> str:
    products = "" if loss.products is None else f"{loss.products:.1%} multiplied, "
    return f"{loss.layer} {products}{loss.weights:.1%} as weights"


def chosen(losses: list[LayerLoss]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Kinds of layers to multiply, and layers to keep as they are."""
    worst: dict[str, float] = {}
    for loss in losses:
        kind = kind_of(loss.layer)
        worst[kind] = max(worst.get(kind, 0.0), float("inf") if loss.products is None else loss.products)
    products = tuple(sorted(kind for kind, loss in worst.items() if loss <= LAYER_BOUND))
    native = tuple(loss.layer for loss in losses if not loss.weights <= LAYER_BOUND)
    return products, native


def worst_of(losses: list[LayerLoss]) -> tuple[LayerLoss, ...]:
    """Those that lose most either way, each once."""
    by_products = sorted(losses, key=lambda loss: -(loss.products or 0.0))[:MOST_NAMED]
    by_weights = sorted(losses, key=lambda loss: -loss.weights)[:MOST_NAMED]
    return tuple(dict.fromkeys([*by_products, *by_weights]))


def kind_of(layer: str) -> str:
    """`attn1.to_q` of `transformer_blocks.3.attn1.to_q`."""
    return layer.split(".", 2)[2]
