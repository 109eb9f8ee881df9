"""The text models of Gemma 3 and 4, as transformers builds them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ltx_core.checkpoint.expected.tree import Tree, known, linear, numbered, scale

FULL, SLIDING = "full_attention", "sliding_attention"
PATTERN = 6
"""Without a list of kinds every sixth layer of Gemma 4 sees all tokens."""


@dataclass(frozen=True)
class Gemma3Sizes:
    """The arguments that decide the shapes of Gemma3TextModel; named and defaulted as its config."""

    vocab_size: int = 262_208
    hidden_size: int = 2304
    intermediate_size: int = 9216
    num_hidden_layers: int = 26
    num_attention_heads: int = 8
    num_key_value_heads: int = 4
    head_dim: int = 256
    attention_bias: bool = False


def gemma3(arguments: Mapping[str, Any]) -> Tree:
    """Gemma3TextModel."""
    sizes = known(Gemma3Sizes, arguments)
    layer = {
        "self_attn": _attention(
            sizes.hidden_size,
            sizes.num_attention_heads,
            sizes.num_key_value_heads,
            sizes.head_dim,
            bias=sizes.attention_bias,
        ),
        "mlp": _feed_forward(sizes.hidden_size, sizes.intermediate_size),
        **_norms(sizes.hidden_size),
    }
    return _model(sizes.vocab_size, sizes.hidden_size, [layer] * sizes.num_hidden_layers)


@dataclass(frozen=True)
class Gemma4Sizes(Gemma3Sizes):
    """The arguments that decide the shapes of Gemma4UnifiedTextModel; named and defaulted as its config."""

    vocab_size: int = 262_144
    num_hidden_layers: int = 30
    layer_types: Sequence[str] | None = None
    attention_k_eq_v: bool = False
    num_kv_shared_layers: int = 0
    use_double_wide_mlp: bool = False
    global_head_dim: int = 512
    num_global_key_value_heads: int | None = None
    per_layer_config: Mapping[str, Mapping[str, int]] | None = None


def gemma4(arguments: Mapping[str, Any]) -> Tree:
    """Gemma4UnifiedTextModel. Layers that see all tokens have heads of their own width and number, and may use their
    keys as values; the last `num_kv_shared_layers` use keys and values of layers before them."""
    sizes = known(Gemma4Sizes, arguments)
    kinds = list(
        sizes.layer_types or [SLIDING if (place + 1) % PATTERN else FULL for place in range(sizes.num_hidden_layers)]
    )
    kinds[-1] = FULL
    wide = {"head_dim": sizes.global_head_dim}
    if sizes.attention_k_eq_v and sizes.num_global_key_value_heads is not None:
        wide["num_key_value_heads"] = sizes.num_global_key_value_heads
    layers: list[Tree] = []
    for place, kind in enumerate(kinds):
        own = (
            (wide if kind == FULL else {})
            if sizes.per_layer_config is None
            else sizes.per_layer_config.get(str(place), {})
        )
        is_shared = place >= sizes.num_hidden_layers - sizes.num_kv_shared_layers
        attention = _attention(
            sizes.hidden_size,
            sizes.num_attention_heads,
            0 if is_shared else own.get("num_key_value_heads", sizes.num_key_value_heads),
            own.get("head_dim", sizes.head_dim),
            bias=sizes.attention_bias,
            values=not (sizes.attention_k_eq_v and kind != SLIDING),
        )
        width = sizes.intermediate_size * (2 if sizes.use_double_wide_mlp and is_shared else 1)
        feed_forward = _feed_forward(sizes.hidden_size, width)
        layers.append({"self_attn": attention, "mlp": feed_forward, "layer_scalar": (1,), **_norms(sizes.hidden_size)})
    return _model(sizes.vocab_size, sizes.hidden_size, layers)


def _model(vocab_size: int, width: int, layers: Sequence[Tree]) -> Tree:
    return {"embed_tokens.weight": (vocab_size, width), "layers": numbered(*layers), "norm": scale(width)}


def _attention(
    width: int, heads: int, key_value_heads: int, head_width: int, *, bias: bool, values: bool = True
) -> Tree:
    """`key_value_heads` 0: keys and values are another layer's."""
    found: dict[str, Tree] = {
        "q_proj": linear(width, heads * head_width, bias=bias),
        "q_norm": scale(head_width),
        "o_proj": linear(heads * head_width, width, bias=bias),
    }
    if key_value_heads:
        found |= {"k_proj": linear(width, key_value_heads * head_width, bias=bias), "k_norm": scale(head_width)}
        if values:
            found["v_proj"] = found["k_proj"]
    return found


def _feed_forward(width: int, inner: int) -> Tree:
    up = linear(width, inner, bias=False)
    return {"gate_proj": up, "up_proj": up, "down_proj": linear(inner, width, bias=False)}


def _norms(width: int) -> dict[str, Tree]:
    around = ("attention", "feedforward")
    names = ("input_layernorm", "pre_feedforward_layernorm", *(f"post_{name}_layernorm" for name in around))
    return {name: scale(width) for name in names}
