"""The denoiser, the text connectors, and the projection of text features: diffusers' classes for LTX-2."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from ltx_core.checkpoint.expected.tree import Tree, known, linear, numbered, scale
from ltx_core.errors import CheckpointError

TIMESTEP_FREQUENCIES = 256
"""Sines and cosines that a timestep is embedded as, before its two linear layers."""
ACTIVATIONS = ("gelu", "gelu-approximate")
"""Those whose feed-forward has one inner layer; gated ones have two and no model of this kind uses them."""


@dataclass(frozen=True)
class TransformerSizes:
    """The arguments that decide the shapes of LTX2VideoTransformer3DModel; named and defaulted as its arguments."""

    in_channels: int = 128
    out_channels: int | None = 128
    num_attention_heads: int = 32
    attention_head_dim: int = 128
    cross_attention_dim: int = 4096
    gated_attn: bool = False
    cross_attn_mod: bool = False
    audio_in_channels: int = 128
    audio_out_channels: int | None = 128
    audio_num_attention_heads: int = 32
    audio_attention_head_dim: int = 64
    audio_cross_attention_dim: int = 2048
    audio_gated_attn: bool = False
    audio_cross_attn_mod: bool = False
    num_layers: int = 48
    activation_fn: str = "gelu-approximate"
    norm_elementwise_affine: bool = False
    caption_channels: int = 3840
    attention_bias: bool = True
    attention_out_bias: bool = True
    use_prompt_embeddings: bool = True
    ff_bias: bool = True
    audio_ff_bias: bool = True
    use_prompt_adaln_single: bool = True
    use_keyframes_abs_pos_embedding: bool = False


@dataclass(frozen=True)
class _Stream:
    """Video or audio: what its half of the transformer is made of."""

    inputs: int
    outputs: int
    heads: int
    head_width: int
    context: int
    """Width of the text that it attends to."""
    gated: bool
    modulated: bool
    """True if attention to text is modulated by the timestep too, which takes three vectors more."""
    feed_forward_bias: bool

    @property
    def width(self) -> int:
        return self.heads * self.head_width

    @property
    def vectors(self) -> int:
        """Of modulation, for the layers of a block."""
        return 9 if self.modulated else 6


def transformer(arguments: Mapping[str, Any]) -> Tree:
    """LTX2VideoTransformer3DModel.

    Raises:
        CheckpointError: an activation whose layers are not known here.
    """
    sizes = known(TransformerSizes, arguments)
    if sizes.activation_fn not in ACTIVATIONS:
        raise CheckpointError(
            f"the transformer's activation is {sizes.activation_fn!r}; one of {', '.join(ACTIVATIONS)} is wanted, as "
            "LTX-2 has. Give a checkpoint as Lightricks published it."
        )
    video, audio = _stream(sizes, ""), _stream(sizes, "audio_")
    tree: dict[str, Any] = {
        "av_cross_attn_video_a2v_gate": _modulation(video.width, 1),
        "av_cross_attn_audio_v2a_gate": _modulation(audio.width, 1),
        "transformer_blocks": numbered(*[_block(video, audio, sizes)] * sizes.num_layers),
    }
    for prefix, name, stream in (("", "video", video), ("audio_", "audio", audio)):
        tree |= {
            f"{prefix}proj_in": linear(stream.inputs, stream.width),
            f"{prefix}proj_out": linear(stream.width, stream.outputs),
            f"{prefix}time_embed": _modulation(stream.width, stream.vectors),
            f"av_cross_attn_{name}_scale_shift": _modulation(stream.width, 4),
            f"{prefix}scale_shift_table": (2, stream.width),
        }
        if sizes.use_prompt_embeddings:
            first, second = linear(sizes.caption_channels, stream.width), linear(stream.width, stream.width)
            tree[f"{prefix}caption_projection"] = {"linear_1": first, "linear_2": second}
        if (video.modulated or audio.modulated) and sizes.use_prompt_adaln_single:
            tree[f"{prefix}prompt_adaln"] = _modulation(stream.width, 2)
    if sizes.use_keyframes_abs_pos_embedding:
        tree["keyframes_abs_pos_embedding"] = (1, video.width)
    return tree


def _stream(sizes: TransformerSizes, prefix: str) -> _Stream:
    """Of the arguments whose names begin so."""

    def own(name: str) -> Any:
        return getattr(sizes, prefix + name)

    return _Stream(
        inputs=own("in_channels"),
        outputs=own("out_channels") or own("in_channels"),
        heads=own("num_attention_heads"),
        head_width=own("attention_head_dim"),
        context=own("cross_attention_dim"),
        gated=own("gated_attn"),
        modulated=own("cross_attn_mod"),
        feed_forward_bias=own("ff_bias"),
    )


def _block(video: _Stream, audio: _Stream, sizes: TransformerSizes) -> Tree:
    biases = {"bias": sizes.attention_bias, "out_bias": sizes.attention_out_bias}
    block: dict[str, Any] = {}
    for prefix, name, stream, other in (("", "video", video, audio), ("audio_", "audio", audio, video)):
        width = stream.width
        heads = Heads(stream.heads, stream.head_width, stream.gated)
        between = Heads(audio.heads, audio.head_width, stream.gated)
        towards = "audio_to_video" if stream is video else "video_to_audio"
        block |= {
            f"{prefix}attn1": attention(width, width, heads, **biases),
            f"{prefix}attn2": attention(width, stream.context, heads, **biases),
            f"{towards}_attn": attention(width, other.width, between, **biases),
            f"{prefix}ff": feed_forward(width, bias=stream.feed_forward_bias),
            f"{prefix}scale_shift_table": (stream.vectors, width),
            f"{name}_a2v_cross_attn_scale_shift_table": (5, width),
        }
        if video.modulated or audio.modulated:
            block[f"{prefix}prompt_scale_shift_table"] = (2, width)
        if sizes.norm_elementwise_affine:
            norms = (*(f"{prefix}norm{place}" for place in (1, 2, 3)), f"{towards}_norm")
            block |= dict.fromkeys(norms, scale(width))
    return block


class Heads(NamedTuple):
    """Of an attention."""

    number: int
    width: int
    gated: bool
    """True if each has a gate, a function of the query's token."""


def attention(width: int, context: int, heads: Heads, *, bias: bool = True, out_bias: bool = True) -> Tree:
    """LTX2Attention: queries of `width`, keys and values of `context`, norms over all heads."""
    inner = heads.number * heads.width
    gate = {"to_gate_logits": linear(width, heads.number)} if heads.gated else {}
    return {
        "norm_q": scale(inner),
        "norm_k": scale(inner),
        "to_q": linear(width, inner, bias=bias),
        "to_k": linear(context, inner, bias=bias),
        "to_v": linear(context, inner, bias=bias),
        "to_out.0": linear(inner, width, bias=out_bias),
        **gate,
    }


def feed_forward(width: int, *, bias: bool = True) -> Tree:
    """Two layers, four times as wide between them."""
    return {"net.0.proj": linear(width, 4 * width, bias=bias), "net.2": linear(4 * width, width, bias=bias)}


def _modulation(width: int, vectors: int) -> Tree:
    """LTX2AdaLayerNormSingle: a timestep becomes so many vectors."""
    embedder = {"linear_1": linear(TIMESTEP_FREQUENCIES, width), "linear_2": linear(width, width)}
    return {"emb.timestep_embedder": embedder, "linear": linear(width, vectors * width)}


@dataclass(frozen=True)
class ConnectorSizes:
    """The arguments that decide the shapes of LTX2ConnectorTransformer1d; named and defaulted as its arguments."""

    num_attention_heads: int = 30
    attention_head_dim: int = 128
    num_layers: int = 2
    num_learnable_registers: int | None = 128
    gated_attention: bool = False

    @property
    def width(self) -> int:
        """Of its tokens, and of the text features that it takes."""
        return self.num_attention_heads * self.attention_head_dim


def connectors(streams: Mapping[str, Mapping[str, Any]]) -> Tree:
    """`video_connector` and `audio_connector`, each an LTX2ConnectorTransformer1d by its arguments."""
    return {name: _connector(known(ConnectorSizes, arguments)) for name, arguments in streams.items()}


def _connector(sizes: ConnectorSizes) -> Tree:
    width, registers = sizes.width, sizes.num_learnable_registers
    heads = Heads(sizes.num_attention_heads, sizes.attention_head_dim, sizes.gated_attention)
    block = {"attn1": attention(width, width, heads), "ff": feed_forward(width)}
    first: Tree = {} if registers is None else {"learnable_registers": (registers, width)}
    return {**first, "transformer_blocks": numbered(*[block] * sizes.num_layers)}


def text_projection(streams: Mapping[str, Mapping[str, Any]], states: int, *, per_modality: bool, bias: bool) -> Tree:
    """The maps from `states` values of a token to what the connectors of `streams` take: one for both (2.0), or one
    for each."""
    widths = {name.partition("_")[0]: known(ConnectorSizes, arguments).width for name, arguments in streams.items()}
    if not per_modality:
        return {"text_proj_in": linear(states, widths["video"], bias=bias)}
    return {f"{stream}_text_proj_in": linear(states, width, bias=bias) for stream, width in widths.items()}
