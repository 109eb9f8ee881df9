"""Compute Gemma's features for each distinct caption and validation prompt, for valid tokens only."""

from collections.abc import Generator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from datasets_spec import Text
from ltx_core.checkpoint.model import Model
from ltx_core.io.digest import text_digest
from ltx_core.memory.encoders import text_encoder_memory
from ltx_core.memory.plan import GIB, Estimate, usable_bytes
from ltx_core.store.shards import Entry
from ltx_core.text.packing import PACK_TOKENS
from tasks.runtime.device import loading, planned_card
from tasks.runtime.shared import PromptConfig
from tasks.runtime.stage import Observed, Outcome, Stage, StageRun
from tasks.runtime.weights import component_identities
from tasks.stages.parts.caption_texts import captioned
from tasks.stages.parts.encode_missing import EncodedItem, Refused, ShardConfig, encode_missing, stored_at

if TYPE_CHECKING:
    from ltx_core.text.gemma import TextEncoder, TextProjection


class EmbedTextConfig(ShardConfig):
    """Options for embedding texts."""

    dtype: str = Field(
        default="bf16",
        pattern="^(bf16|fp32|int8)$",
        description="Precision of the text encoder. `int8`: weights in 8 bits, which take half the memory of bf16 "
        "and change the features by about one per cent.",
    )
    pack_tokens: int = Field(
        default=PACK_TOKENS,
        ge=1024,
        le=65536,
        description="Tokens that are computed at once, with captions placed end to end. A larger number takes more "
        "memory, and is faster if the layers are in host memory. It changes features only by rounding.",
    )
    compile: Literal["auto"] | bool = Field(
        default="auto",
        description="Compile the encoder's feed-forward layers and norms; this changes features only by rounding. "
        "`auto`: on a GPU, if there are enough tokens that it saves more time than it costs.",
    )


class EmbedText(Stage[EmbedTextConfig, Text]):
    """Embeds what the store lacks; a caption used twice is embedded once."""

    name = "embed_text"
    items = "text/*/*.tar"
    config = EmbedTextConfig
    needs = ("split",)
    uses = ("caption",)
    makes = Text
    version = 2
    device = "gpu"
    imports = ("torch", "ltx_core.text.assemble", "ltx_core.text.gemma", "ltx_core.store.features")
    needs_weights = True
    not_in_key = frozenset(ShardConfig.model_fields) | {"pack_tokens", "compile"}

    def observe(self, run: StageRun[EmbedTextConfig]) -> Observed:
        """The encoder, its tokenizer, the projection, and the texts of the prompts."""
        return _weights(run) | {"prompts": sorted(prompt_texts(run.shared.prompts))}

    def memory(self, run: StageRun[EmbedTextConfig]) -> Sequence[str]:
        """Memory that the text encoder takes of the GPU that is planned for, and where its layers will lie."""
        gpu_gib, asked = planned_card(run.shared.memory), run.shared.memory.offload_text_encoder
        if gpu_gib is None:
            return ()
        memory = _encoder_memory(run.config, run.model)
        offloaded = not memory.fits(usable_bytes(gpu_gib)) if asked == "auto" else asked
        how = "its layers are copied from host memory one by one" if offloaded else "it stays on the card"
        return (f"{gpu_gib:g} GiB card: the text encoder takes {memory.needed_bytes / GIB:.1f} GiB; {how}",)

    def run(self, run: StageRun[EmbedTextConfig]) -> Outcome:
        """Features of each distinct text."""
        encoder = text_digest(*_weights(run).values(), run.config.dtype, run.version)
        captions = {caption for clip in captioned(run.inputs) for caption in clip.captions}
        texts = sorted(captions | prompt_texts(run.shared.prompts))
        keys = {text: text_digest(encoder, text) for text in texts}
        stored = encode_missing(
            run,
            run.workspace.store / "text" / encoder[:16],
            {key: text for text, key in keys.items()},
            partial(_embed, run),
            total=len(texts),
            unit="texts",
        )
        rows = [_row(text, stored.entries[keys[text]], run) for text in texts]
        return Outcome(
            rows=rows,
            num_in=len(texts),
            num_out=len(rows),
            computed=stored.computed,
            unit="texts",
            figures={"tokens": sum(row.num_tokens for row in rows)},
        )


def _weights(run: StageRun[EmbedTextConfig]) -> dict[str, str]:
    """Digests of the encoder, its tokenizer and the projection."""
    return component_identities(run.shared.model, run.memo, "text_encoder", "tokenizer", "text_projection")


def _encoder_memory(config: EmbedTextConfig, model: Model) -> Estimate:
    """The device memory of the text encoder with all its layers, and of its work on a pack."""
    item_bytes, int8 = 4 if config.dtype == "fp32" else 2, config.dtype == "int8"
    return text_encoder_memory(model.encoder, item_bytes=item_bytes, int8=int8, pack_tokens=config.pack_tokens)


def prompt_texts(prompts: PromptConfig) -> set[str]:
    """Every text that validation and caption dropout need: prompts, the negative prompt, the empty caption."""
    return prompts.texts() | {""}


def _embed(
    run: StageRun[EmbedTextConfig], missing: Mapping[str, str], _stored: Mapping[str, Entry], _refused: Refused
) -> Generator[EncodedItem, None, None]:
    with loading():
        from ltx_core.store.features import store_features
        from ltx_core.text.assemble import compile_layers, worth_compiling
        from ltx_core.text.gemma import embed_captions

    encoder, projection = _models(run)
    keys, texts = list(missing), list(missing.values())
    captions = [encoder.token_ids(text) for text in texts]
    if worth_compiling(sum(map(len, captions)), run.config.compile, encoder.device):
        run.progress.note("text encoder compiled, which takes a while at its first captions")
        compile_layers(encoder.model)
    for place, features in embed_captions(encoder, projection, captions, pack_tokens=run.config.pack_tokens):
        info = {"text": texts[place], "num_tokens": len(captions[place])}
        yield EncodedItem(keys[place], partial(store_features, features), info)


def _models(run: StageRun[EmbedTextConfig]) -> "tuple[TextEncoder, TextProjection]":
    """The text encoder, as it fits the device, and the checkpoint's projection."""
    with loading():
        from ltx_core.memory.plan import free_bytes
        from ltx_core.text.gemma import load_gemma, load_text_projection
        from tasks.runtime.device import prepare_device, torch_dtype

    model, device = run.model, prepare_device(run.shared.memory)
    int8 = run.config.dtype == "int8"
    dtype = torch_dtype("bf16" if int8 else run.config.dtype)
    projection = load_text_projection(model, device=device, dtype=dtype)
    offloaded = run.shared.memory.offload_text_encoder
    if offloaded == "auto":
        weight = projection.video.weight  # it is there twice, in turns
        offloaded = not _encoder_memory(run.config, model).fits(free_bytes(weight.device) - weight.nbytes)
    if offloaded:
        run.progress.note("the text encoder's layers are copied from host memory one by one")
    encoder = load_gemma(model.encoder, device=device, dtype=dtype, int8=int8, offloaded=offloaded)
    run.memo.check()
    return encoder, projection


def _row(text: str, entry: Entry, run: StageRun[EmbedTextConfig]) -> Text:
    return Text(
        text_key=entry.key,
        text=text,
        num_tokens=entry.info["num_tokens"],
        **stored_at(entry, run),
    )
