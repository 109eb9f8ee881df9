"""How fast `embed_text` embeds captions of 200 tokens with Gemma 3 12B, through the functions that it runs.

    python benchmarks/embed_stage.py --out results.jsonl       # about two minutes on one GPU
    python benchmarks/embed_stage.py --ways bf16_streamed      # the layers in 16 bits from the host
    python benchmarks/embed_stage.py --tiny                    # tries the script on a CPU

Random weights of the released sizes, features of LTX-2.0, hashed and packed as they are stored. `mixed` has captions of
80 to 320 tokens, 200 in the mean. Prints one JSON line. Needs torch, transformers and diffusers.
"""

import argparse
import hashlib
import sys
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from transformers import Gemma3TextConfig, Gemma3TextModel

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import released
from benchmarks.lines import say
from ltx_core.store.features import store_features
from ltx_core.text.assemble import PACKED, compile_layers, offload_layers, quantise_linears
from ltx_core.text.gemma import TextEncoder, TextProjection, embed_captions
from ltx_core.text.packing import PACK_TOKENS, pack_captions
from ltx_core.transfer import PACKING_THREADS

GIB = 2**30
CAPTION_TOKENS = 200
NUM_CAPTIONS = 400
TINY: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "intermediate_size": 64,
    "vocab_size": 1000,
}
WAYS = ("bf16", "mixed", "bf16_compiled", "mixed_compiled", "int8", "int8_streamed", "bf16_streamed")
"""In this order: each changes the model in place, so the last two exclude each other."""
DEFAULT_WAYS = WAYS[:6]

Features = dict[int, dict[str, torch.Tensor]]


@dataclass(frozen=True)
class Way:
    """One way to embed, measured."""

    way: str
    captions_per_s: float
    model_captions_per_s: float
    """Hidden states alone, nothing made of them."""
    first_seconds: float
    """Until the first pack was done: compiling."""
    peak_gib: float
    """Weights included."""
    mib_per_caption: float
    """As stored, without loss."""


def main() -> int:
    """Measure, print, and append to a file if asked."""
    given = arguments()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    encoder, projection = models(device, given.tiny)
    rows: list[Way] = []
    for way in given.ways:
        change(way, encoder)
        rows.append(measure(way, encoder, projection, given.captions))
        sys.stderr.write(f"{rows[-1]}\n")
    result = {
        "caption_tokens": CAPTION_TOKENS,
        "captions": given.captions,
        "same_bits_in_other_company": same_bits(encoder, projection),
        "rows": [asdict(row) for row in rows],
    }
    say("embed_stage", result, given.out)
    return 0


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiny", action="store_true", help="toy sizes; works on a CPU")
    parser.add_argument("--ways", nargs="+", choices=WAYS, help="default: all; with --tiny those not compiled")
    parser.add_argument("--captions", type=int, default=NUM_CAPTIONS)
    parser.add_argument("--out", type=Path, help="append the line here")
    given = parser.parse_args()
    if not given.tiny and not torch.cuda.is_available():
        parser.error("no GPU here; --tiny works on a CPU")
    given.ways = given.ways or [way for way in DEFAULT_WAYS if not (given.tiny and way.endswith("compiled"))]
    if {"int8", "bf16_streamed"} <= {*given.ways}:
        parser.error("bf16_streamed takes a run of its own")
    given.ways.sort(key=WAYS.index)
    return given


def models(device: torch.device, tiny: bool) -> tuple[TextEncoder, TextProjection]:
    """Gemma and LTX-2.0's projection with random weights; no tokenizer, since captions come as ids."""
    config = Gemma3TextConfig(**(released.GEMMA_3_12B | (TINY if tiny else {})), attn_implementation=PACKED)
    width = config.hidden_size
    torch.set_default_dtype(torch.bfloat16)
    with device:
        model = Gemma3TextModel(config).eval().requires_grad_(False)
        video = torch.nn.Linear(width * (config.num_hidden_layers + 1), width, bias=False).requires_grad_(False)
    torch.set_default_dtype(torch.float32)
    return TextEncoder(None, model, device), TextProjection(video, None, per_token_norm=False)


def change(way: str, encoder: TextEncoder) -> None:
    """Bring the model into a way's form."""
    if way.endswith("compiled"):
        compile_layers(encoder.model)
    if way == "int8":
        quantise_linears(encoder.model.layers)
    if way.endswith("streamed"):
        offload_layers(encoder.model.layers, encoder.device)
        encoder.model.get_input_embeddings().to("cpu")
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def measure(way: str, encoder: TextEncoder, projection: TextProjection, number: int) -> Way:
    """Captions a second from ids to packed samples, after two packs of warming up."""
    captions = captions_of(way, number, encoder.model.config.vocab_size)
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    begun = time.perf_counter()
    embed(encoder, projection, captions[:1])
    first = time.perf_counter() - begun
    embed(encoder, projection, captions[:30])
    begun = time.perf_counter()
    num_bytes = embed(encoder, projection, captions)
    seconds = time.perf_counter() - begun
    peak = torch.cuda.max_memory_allocated() / GIB if torch.cuda.is_available() else 0.0
    alone = number / model_seconds(encoder, captions)
    return Way(way, number / seconds, alone, first, peak, num_bytes / number / 2**20)


def embed(encoder: TextEncoder, projection: TextProjection, captions: Sequence[Sequence[int]]) -> int:
    """As the stage does it; bytes of all samples."""
    stored: list[Future[int]] = []
    with ThreadPoolExecutor(PACKING_THREADS) as store:
        for _, features in embed_captions(encoder, projection, captions):
            stored.append(store.submit(packed_bytes, features))
    return sum(future.result() for future in stored)


def packed_bytes(features: dict[str, torch.Tensor]) -> int:
    """Pack and hash one sample."""
    data = save(store_features(features))
    hashlib.sha256(data).hexdigest()
    return len(data)


def model_seconds(encoder: TextEncoder, captions: Sequence[Sequence[int]]) -> float:
    """All packs through the model."""
    begun = time.perf_counter()
    for pack in pack_captions([len(ids) for ids in captions]):
        next(encoder.packed_states(captions, pack))
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - begun


def captions_of(way: str, number: int, vocabulary: int) -> list[list[int]]:
    """Random ids; the same ones each time."""
    generator = torch.Generator().manual_seed(0)
    lengths = [CAPTION_TOKENS] * number
    if way.startswith("mixed"):
        lengths = torch.randint(80, 321, (number,), generator=generator).tolist()
    return [torch.randint(3, vocabulary, (length,), generator=generator).tolist() for length in lengths]


def same_bits(encoder: TextEncoder, projection: TextProjection) -> bool:
    """Whether captions have the same features alone and among others, bit for bit."""
    captions = captions_of("mixed", 40, encoder.model.config.vocab_size)
    together: Features = dict(embed_captions(encoder, projection, captions, pack_tokens=PACK_TOKENS))
    alone: list[Features] = [dict(embed_captions(encoder, projection, [captions[place]])) for place in (0, 7, 39)]
    return all(
        value.equal(features[0][name])
        for place, features in zip((0, 7, 39), alone, strict=True)
        for name, value in together[place].items()
    )


if __name__ == "__main__":
    sys.exit(main())
