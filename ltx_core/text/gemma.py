"""Gemma as LTX-2 uses it: every layer's hidden states of one caption, no image tower, no next-token logits."""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from tokenizers import Tokenizer
from transformers import (
    AutoTokenizer,
    Gemma3Config,
    Gemma3TextModel,
    Gemma4UnifiedConfig,
    Gemma4UnifiedTextModel,
    PreTrainedTokenizerFast,
)

from ltx_core.checkpoint.architecture import wanted
from ltx_core.checkpoint.complete import compare_shapes
from ltx_core.checkpoint.model import Model
from ltx_core.checkpoint.read import filled
from ltx_core.checkpoint.stored import grouped
from ltx_core.checkpoint.text_encoder import StoredTextEncoder
from ltx_core.errors import CheckpointError
from ltx_core.text.assemble import LayerOffload, assemble, hold_in_int8
from ltx_core.text.packing import PACK_TOKENS, Pack, pack_captions
from ltx_core.transfer import Arriving, one_behind, to_device, to_host

MAX_TOKENS = 1024
"""Tokens of a caption, the first included; the rest is cut off, as Lightricks' inference does."""

CLASSES = {"gemma3": (Gemma3Config, Gemma3TextModel), "gemma4_unified": (Gemma4UnifiedConfig, Gemma4UnifiedTextModel)}


@dataclass(frozen=True)
class TextEncoder:
    """A tokenizer and the text part of Gemma."""

    tokenizer: Any
    model: Any
    device: torch.device
    """Where it computes; offloaded weights lie elsewhere."""

    @property
    def num_layers(self) -> int:
        """That give hidden states: the embedding and every block."""
        return int(self.model.config.num_hidden_layers) + 1

    def token_ids(self, text: str) -> list[int]:
        """Ids of the stripped text, BOS first, at most `MAX_TOKENS`; nothing is padded.

        LTX-2.5's tokenizer adds no BOS and Lightricks' inference does, so it is added here where it is missing.
        """
        bos = self.tokenizer.bos_token_id
        ids: list[int] = self.tokenizer(text.strip(), add_special_tokens=True)["input_ids"]
        return (ids if ids[:1] == [bos] else [bos, *ids])[:MAX_TOKENS]

    def hidden_states(self, text: str) -> torch.Tensor:
        """[S, D, L+1]: the embedding's output and that of each layer, for the valid tokens of one caption."""
        ids = self.token_ids(text)
        (states,) = self.packed_states([ids], Pack((0,), (len(ids),), len(ids)))
        return states

    @torch.no_grad()
    def packed_states(self, captions: Sequence[Sequence[int]], pack: Pack) -> Iterator[torch.Tensor]:
        """Run a pack and give the [S, D, L+1] of each of its captions in turn; `captions` are the ids of all.

        Positions are those that Lightricks' inference gives a caption by padding it on the left to `MAX_TOKENS`: in
        bfloat16 they show in the result.
        """
        ids = [token for place in pack.captions for token in captions[place]]
        positions = [position for length in pack.lengths for position in range(MAX_TOKENS - length, MAX_TOKENS)]
        filler = [0] * (pack.num_tokens - len(ids))
        output = self.model(
            inputs_embeds=self._embedded([*ids, *filler]),
            position_ids=to_device(torch.tensor([positions + filler]), self.device),
            attention_mask=dict.fromkeys(self.model.config.layer_types),  # none: the pack says who sees whom
            output_hidden_states=True,
            use_cache=False,
            runs=pack.runs,
        )
        start = 0
        for length in pack.lengths:
            layers = [layer[0, start : start + length] for layer in output.hidden_states]
            yield torch.stack(layers, dim=1).transpose(1, 2)  # rows are copied whole
            start += length

    def _embedded(self, ids: Sequence[int]) -> torch.Tensor:
        """[1, T, D], looked up where the embedding lies."""
        embedding = self.model.get_input_embeddings()
        lies_on = embedding.weight.device
        return to_device(embedding(to_device(torch.tensor([ids]), lies_on)), self.device)


def load_gemma(
    stored: StoredTextEncoder, *, device: str, dtype: torch.dtype, int8: bool = False, offloaded: bool = False
) -> TextEncoder:
    """Load tokenizer and text model, frozen.

    Args:
        stored: An opened folder or file.
        device: Where it computes.
        dtype: Of the weights, and of the products in any case.
        int8: Keep the layers' weights in 8 bits.
        offloaded: Keep the layers' weights on the host, and the embedding's, and bring each layer when it is needed.

    Raises:
        CheckpointError: tensors are missing or mis-shaped.
    """
    config_class, kind = CLASSES[stored.kind]
    config = config_class.from_dict(stored.config).text_config
    weights = grouped(stored.weights)
    with torch.device("meta"):
        expected = {name: tuple(tensor.shape) for name, tensor in kind(config).state_dict().items()}
    compare_shapes(f"the text encoder in {stored.path}", weights, expected)
    layers_offload = LayerOffload(torch.device(device)) if offloaded else None

    def finish(layer: torch.nn.Module) -> None:
        if int8:
            hold_in_int8(layer)
        if layers_offload is not None:
            layers_offload.adopt(layer)

    model = assemble(kind, config, weights, device=device, dtype=dtype, finish=finish)
    if offloaded:
        model.get_input_embeddings().to("cpu")
    return TextEncoder(_tokenizer(stored), model, torch.device(device))


def _tokenizer(stored: StoredTextEncoder) -> Any:
    if stored.folder is not None:
        return AutoTokenizer.from_pretrained(stored.folder.tokenizer[0].parent, local_files_only=True)
    try:
        described = (
            json.loads(stored.asset("tokenizer_config.json")) if "tokenizer_config.json" in stored.assets else {}
        )
        core = Tokenizer.from_str(json.dumps(json.loads(stored.asset("tokenizer.json"))))
    except ValueError as error:  # tokenizers itself raises none of its own, so JSON is parsed here first
        raise CheckpointError(f"the tokenizer inside {stored.path} is damaged ({error}); download it again") from error
    bos = described.get("bos_token") or core.id_to_token(stored.text_config["bos_token_id"])
    return PreTrainedTokenizerFast(tokenizer_object=core, bos_token=bos)


@dataclass(frozen=True)
class TextProjection:
    """The linear maps from stacked hidden states to features."""

    video: torch.nn.Linear
    """2.0: the only map, shared by both streams."""
    audio: torch.nn.Linear | None
    """2.3 and later."""
    per_token_norm: bool
    """Normalise each token on its own (2.3 and later) or over all valid tokens of a caption (2.0)."""


def load_text_projection(model: Model, *, device: str, dtype: torch.dtype) -> TextProjection:
    """The feature extractor's linear maps.

    Raises:
        CheckpointError: tensors are missing, unknown or mis-shaped, or they are no projection that LTX-2 has.
    """
    shapes = model.shapes("text_projection")

    def build() -> torch.nn.ModuleDict:
        names = sorted({name.rpartition(".")[0] for name in shapes})
        return torch.nn.ModuleDict({name: _linear(shapes, name) for name in names})

    maps = filled(build, model, "text_projection", device, dtype)
    norm = str(model.config["transformer"].get("text_encoder_norm_type", "")).lower()
    if set(maps) == {"text_proj_in"} and not norm:
        return TextProjection(maps["text_proj_in"], None, per_token_norm=False)
    if set(maps) == {"video_text_proj_in", "audio_text_proj_in"} and norm == "per_token_rms":
        return TextProjection(maps["video_text_proj_in"], maps["audio_text_proj_in"], per_token_norm=True)
    raise CheckpointError(
        f"{model.path} has the text projections {sorted(maps)} with norm {norm or 'of 2.0'}; one shared map "
        "(2.0), or one for video and one for audio with per_token_rms (2.3 and later), are wanted"
    )


def _linear(shapes: dict[str, tuple[int, ...]], name: str) -> torch.nn.Linear:
    out_features, in_features = wanted(shapes, f"{name}.weight")
    return torch.nn.Linear(in_features, out_features, bias=f"{name}.bias" in shapes)


EPSILON = 1e-6


def embed_captions(
    encoder: TextEncoder,
    projection: TextProjection,
    captions: Sequence[Sequence[int]],
    *,
    pack_tokens: int = PACK_TOKENS,
) -> Iterator[tuple[int, dict[str, torch.Tensor]]]:
    """(place, features) of each caption, given by its token ids; shortest first, in bfloat16 on the CPU as stored.

    See `text_features` for names and shapes, and `ltx_core.text.packing` for why they do not depend on the other
    captions. While one pack's features are given, the next pack is computed.
    """

    ordered = columns_by_layer(projection, encoder.num_layers)

    def launch(pack: Pack) -> Arriving:
        made = {}
        for place, states in zip(pack.captions, encoder.packed_states(captions, pack), strict=True):
            for name, value in text_features(ordered, states, by_layer=True).items():
                made[place, name] = value.to(torch.bfloat16)
        return to_host(made)

    for pack, made in one_behind(pack_captions([len(ids) for ids in captions], pack_tokens), launch):
        features: dict[int, dict[str, torch.Tensor]] = {place: {} for place in pack.captions}
        for (place, name), value in made.items():
            features[place][name] = value
        yield from features.items()


def embed_text(encoder: TextEncoder, projection: TextProjection, text: str) -> dict[str, torch.Tensor]:
    """Features of one caption, as `embed_captions` gives them."""
    ((_, features),) = embed_captions(encoder, projection, [encoder.token_ids(text)])
    return features


@torch.no_grad()
def text_features(
    projection: TextProjection, hidden_states: torch.Tensor, *, by_layer: bool = False
) -> dict[str, torch.Tensor]:
    """Normalise and project the hidden states [S, D, L+1] of one caption's valid tokens.

    2.0: `features` [S, D], used by both streams. 2.3 and later: `video_features` and `audio_features`, each scaled by
    sqrt(width / D) before its map. Lightricks' formulas, computed in float32 and mapped in the weights' dtype.
    `by_layer`: the projection is of `columns_by_layer`.
    """
    states = hidden_states.float()
    if not projection.per_token_norm:
        return {"features": _mapped(projection.video, _caption_norm(states), by_layer)}
    assert projection.audio is not None  # load_text_projection saw to it
    states = states * torch.rsqrt(states.square().mean(dim=1, keepdim=True) + EPSILON)
    return {
        name: _mapped(linear, states * math.sqrt(linear.out_features / states.shape[1]), by_layer)
        for name, linear in (("video_features", projection.video), ("audio_features", projection.audio))
    }


@torch.no_grad()
def columns_by_layer(projection: TextProjection, num_layers: int) -> TextProjection:
    """The same maps for states whose layers follow one another in memory, and not the values of one channel.

    Layers are then copied in whole rows where they would be interleaved; sums have another order, to rounding the same.
    """

    def reordered(linear: torch.nn.Linear) -> torch.nn.Linear:
        columns = linear.weight.unflatten(1, (-1, num_layers)).transpose(1, 2).flatten(1)
        result = torch.nn.Linear(linear.in_features, linear.out_features, bias=False, device="meta")
        result.weight, result.bias = torch.nn.Parameter(columns, requires_grad=False), linear.bias
        return result

    audio = None if projection.audio is None else reordered(projection.audio)
    return TextProjection(reordered(projection.video), audio, per_token_norm=projection.per_token_norm)


def _caption_norm(states: torch.Tensor) -> torch.Tensor:
    """8 (x - mean) / (max - min), each layer over all valid tokens of the caption."""
    count = states.shape[0] * states.shape[1]
    mean = states.sum(dim=(0, 1), keepdim=True) / (count + EPSILON)
    span = states.amax(dim=(0, 1), keepdim=True) - states.amin(dim=(0, 1), keepdim=True)
    return 8 * (states - mean) / (span + EPSILON)


def _mapped(linear: torch.nn.Linear, states: torch.Tensor, by_layer: bool) -> torch.Tensor:
    columns = states.transpose(1, 2) if by_layer else states
    return linear(columns.flatten(1).to(linear.weight))
