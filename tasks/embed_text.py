"""Gemma features for each distinct caption and validation prompt, valid tokens only."""

from collections.abc import Generator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from datasets_spec import Text
from ltx_core.engine.footprint import GIB
from ltx_core.engine.plan import usable_bytes
from ltx_core.files.digest import DigestMemo, text_digest
from ltx_core.pool.index import Entry
from ltx_core.text.packing import PACK_TOKENS
from ltx_core.text.room import needed_bytes
from tasks.device import planned_card
from tasks.encode_missing import Encoded, Refused, encode_missing
from tasks.loading import loading
from tasks.shards import SHARD_OPTIONS, ShardConfig
from tasks.shared import PromptConfig, Shared
from tasks.stage import Inputs, Observed, Outcome, Stage
from tasks.stage_run import StageRun
from tasks.weights import component_identities, encoder_identities, open_weights
from tasks.workspace import Workspace

if TYPE_CHECKING:
    from ltx_core.checkpoint.text_projection import TextProjection
    from ltx_core.text.gemma import TextEncoder


class EmbedTextConfig(ShardConfig):
    """How texts are embedded."""

    dtype: str = Field(
        default="bf16",
        pattern="^(bf16|fp32|int8)$",
        description="Precision of the text encoder. `int8`: its weights in 8 bits, half the memory of bf16, features "
        "within about a per cent.",
    )
    pack_tokens: int = Field(
        default=PACK_TOKENS,
        ge=1024,
        le=65536,
        description="Tokens computed at once, captions end to end; more takes more memory and is faster where weights "
        "are streamed. Changes features by rounding only.",
    )
    compile: Literal["auto"] | bool = Field(
        default="auto",
        description="Compile the encoder's feed-forward and norms; changes features by rounding only. `auto`: on a "
        "GPU, if there are so many tokens to embed that it saves more than it costs.",
    )


def embed_text(run: StageRun) -> Outcome:
    """Embed what the pool lacks; a caption used twice is embedded once."""
    encoder = _encoder_key(run, run.memo)
    texts = sorted({clip.caption for clip in run.inputs["split"]} | prompt_texts(run.shared.prompts))
    keys = {text: text_digest(encoder, text) for text in texts}
    samples = encode_missing(
        run,
        run.workspace.pool / "text" / encoder[:16],
        {key: text for text, key in keys.items()},
        partial(_embed, run),
        total=len(texts),
        unit="texts",
    )
    rows = [_row(text, samples.entries[keys[text]], run) for text in texts]
    return Outcome(
        rows=rows,
        num_in=len(texts),
        num_out=len(rows),
        computed=samples.computed,
        reused=len(rows) - samples.computed,
        unit="texts",
        figures={"tokens": sum(row.num_tokens for row in rows)},
    )


def prompt_texts(prompts: PromptConfig) -> set[str]:
    """Every text that validation and caption dropout need: prompts, the negative prompt, the empty caption."""
    return prompts.texts() | {""}


def _embed(
    run: StageRun, missing: Mapping[str, str], _known: Mapping[str, Entry], _refused: Refused
) -> Generator[Encoded, None, None]:
    with loading():
        from ltx_core.text.compiled import compile_layers, worth_compiling
        from ltx_core.text.features import embed_captions
        from ltx_core.text.storage import store_features

    encoder, projection = _models(run)
    keys, texts = list(missing), list(missing.values())
    captions = [encoder.token_ids(text) for text in texts]
    if worth_compiling(sum(map(len, captions)), run.config.compile, encoder.device):
        run.progress.note("text encoder compiled, which takes a while at its first captions")
        compile_layers(encoder.model)
    for place, features in embed_captions(encoder, projection, captions, pack_tokens=run.config.pack_tokens):
        info = {"text": texts[place], "num_tokens": len(captions[place])}
        yield Encoded(keys[place], partial(store_features, features), info)


def _models(run: StageRun) -> "tuple[TextEncoder, TextProjection]":
    """The text encoder, as it fits the device, and the checkpoint's projection."""
    with loading():
        from ltx_core.autoencoder.device_memory import free_bytes
        from ltx_core.checkpoint.text_projection import load_text_projection
        from ltx_core.text.gemma import load_gemma
        from ltx_core.text.room import must_stream
        from tasks.device import prepare_device, torch_dtype

    weights, device = open_weights(run.shared.model), prepare_device(run.shared.memory)
    int8 = run.config.dtype == "int8"
    dtype = torch_dtype("bf16" if int8 else run.config.dtype)
    projection = load_text_projection(weights.checkpoint, device=device, dtype=dtype)
    streamed = run.shared.memory.stream_text_encoder
    if streamed == "auto":
        left = (
            free_bytes(projection.video.weight.device) - projection.video.weight.nbytes
        )  # it is there twice, in turns
        tokens = run.config.pack_tokens
        streamed = must_stream(weights.text_encoder, left, dtype=dtype, int8=int8, pack_tokens=tokens)
    if streamed:
        run.progress.note("the text encoder's layers are streamed from host memory")
    encoder = load_gemma(weights.text_encoder, device=device, dtype=dtype, int8=int8, streamed=streamed)
    run.memo.check()
    return encoder, projection


def _row(text: str, entry: Entry, run: StageRun) -> Text:
    return Text(
        text_key=entry.key,
        text=text,
        num_tokens=entry.info["num_tokens"],
        sha256=entry.sha256,
        shard=run.workspace.relative(entry.shard),
        offset=entry.offset,
        size=entry.size,
    )


def _encoder_key(run: StageRun, memo: DigestMemo) -> str:
    """Digest of everything but the text that features depend on; names the pool folder."""
    return text_digest(*_observed(run.shared, memo).values(), run.config.dtype, run.version)


def _observed(shared: Shared, memo: DigestMemo) -> dict[str, str]:
    projection = component_identities(shared.model, memo, "text_projection")
    return encoder_identities(shared.model, memo) | projection


def memory_lines(config: EmbedTextConfig, shared: Shared, _inputs: Inputs, _workspace: Workspace) -> Sequence[str]:
    """What the text encoder takes of the card that is planned for, and whether its layers will be streamed."""
    gpu_gib = planned_card(shared.memory)
    if gpu_gib is None:
        return ()
    item_bytes = 4 if config.dtype == "fp32" else 2
    encoder = open_weights(shared.model).text_encoder
    needed = needed_bytes(encoder, item_bytes=item_bytes, int8=config.dtype == "int8", pack_tokens=config.pack_tokens)
    asked = shared.memory.stream_text_encoder
    streamed = needed > usable_bytes(gpu_gib) if asked == "auto" else asked
    how = "its layers are streamed from host memory" if streamed else "it stays on the card"
    return (f"{gpu_gib:g} GiB card: the text encoder takes {needed / GIB:.1f} GiB; {how}",)


def observe(_config: EmbedTextConfig, shared: Shared, memo: DigestMemo) -> Observed:
    """The encoder, its tokenizer, the projection, and the texts of the prompts."""
    prompts = sorted(prompt_texts(shared.prompts))
    return _observed(shared, memo) | {"prompts": prompts}


STAGE = Stage(
    name="embed_text",
    summary=__doc__,
    version=2,
    config=EmbedTextConfig,
    needs=("split",),
    makes=Text,
    run=embed_text,
    observe=observe,
    device="gpu",
    needs_weights=True,
    not_in_key=SHARD_OPTIONS | {"pack_tokens", "compile"},
    memory=memory_lines,
)
