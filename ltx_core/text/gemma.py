"""Gemma as LTX-2 uses it: every layer's hidden states of one caption, no image tower, no next-token logits."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
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

from ltx_core.checkpoint.complete import compare_shapes
from ltx_core.checkpoint.quantised.group import grouped
from ltx_core.checkpoint.text_encoder import StoredTextEncoder, open_text_encoder
from ltx_core.errors import CheckpointError
from ltx_core.pool.transfer import to_device
from ltx_core.text.assemble import assemble
from ltx_core.text.int8 import quantise_linears
from ltx_core.text.packing import Pack
from ltx_core.text.streaming import LayerStream

MAX_TOKENS = 1024
"""Tokens of a caption, the first included; the rest is cut off, as Lightricks' inference does."""

CLASSES = {"gemma3": (Gemma3Config, Gemma3TextModel), "gemma4_unified": (Gemma4UnifiedConfig, Gemma4UnifiedTextModel)}


@dataclass(frozen=True)
class TextEncoder:
    """A tokenizer and the text part of Gemma."""

    tokenizer: Any
    model: Any
    device: torch.device
    """Where it computes; streamed weights lie elsewhere."""

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
    path: Path, *, device: str, dtype: torch.dtype, int8: bool = False, streamed: bool = False
) -> TextEncoder:
    """Load tokenizer and text model, frozen, from a Hugging Face folder or LTX-2.5's packed file.

    Args:
        path: The folder or the file.
        device: Where it computes.
        dtype: Of the weights, and of the products in any case.
        int8: Keep the layers' weights in 8 bits.
        streamed: Keep the layers' weights on the host, and the embedding's, and bring each layer when it is needed.

    Raises:
        CheckpointError: files or tensors are missing or mis-shaped, or it is no Gemma that LTX-2 knows.
    """
    stored = open_text_encoder(path)
    config_class, kind = CLASSES[stored.kind]
    config = config_class.from_dict(stored.config).text_config
    weights = grouped(stored.weights)
    with torch.device("meta"):
        expected = {name: tuple(tensor.shape) for name, tensor in kind(config).state_dict().items()}
    compare_shapes(f"the text encoder in {path}", weights, expected)
    stream = LayerStream(torch.device(device)) if streamed else None

    def finish(layer: torch.nn.Module) -> None:
        if int8:
            quantise_linears(layer)
        if stream is not None:
            stream.adopt(layer)

    model = assemble(kind, config, weights, device=device, dtype=dtype, finish=finish)
    if streamed:
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
