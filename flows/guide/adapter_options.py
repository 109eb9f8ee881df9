"""Options of the guide that say what is trained, and on which weights."""

from typing import Any

from flows.guide.option import NOT_BUILT, Draft, Option, Refused
from flows.guide.take import choice, flag, number, to, whole

PRECISIONS = {
    "no_change": "native",
    "bf16": "native",
    "int8-quanto": "int8",
    "int8-torchao": "int8",
    "fp8-quanto": "fp8",
    "fp8-torchao": "fp8",
}
EMA_DECAY = 0.995
MAPPED = "tests/unit/guide/test_options.py::test_value_goes_where_the_table_says"


def _ema(draft: Draft, _key: str, value: Any) -> None:
    if flag(value):
        draft.set("train_lora.ema_decay", number(draft.flat.get("ema_decay", EMA_DECAY)))


def _ema_decay(draft: Draft, key: str, _value: Any) -> None:
    if draft.get("train_lora.ema_decay") is None:
        draft.notice(key, "has no effect without use_ema")


def _dynamo(draft: Draft, key: str, value: Any) -> None:
    if value in ("no", "disabled", "eager"):
        draft.set("train_lora.compile_blocks", "off")
    elif value:
        draft.set("train_lora.compile_blocks", "on")
        draft.notice(key, f"blocks are compiled by inductor; {value!r} itself has no meaning here")


def _lycoris(draft: Draft, key: str, value: Any) -> None:
    """Without `lora_type: lycoris` the guide's program reads no such file; its example names one all the same."""
    if value and draft.flat.get("lora_type", "standard") == "standard":
        draft.notice(
            key, "has no effect without lora_type: lycoris; a plain LoRA is trained, as by the guide's program"
        )


def _lora_type(_draft: Draft, _key: str, value: Any) -> None:
    if value != "standard":
        raise Refused(f"is {value!r}, and that is {NOT_BUILT}; leave it out for a plain LoRA")


OPTIONS = (
    Option(
        key="lora_rank",
        take=to("train_lora.rank", parse=whole),
        does="`train_lora.rank`; left out: 16, the default of the guide's program.",
        differs="nothing",
        test="tests/unit/lora/test_files.py::test_file_reloads_to_the_same_output_with_alpha_folded",
    ),
    Option(
        key="lora_alpha",
        take=to("train_lora.alpha", parse=number),
        does="`train_lora.alpha`; left out: the rank.",
        differs="Folded into the exported weights, so that every loader agrees on it.",
        test="tests/unit/lora/test_files.py::test_file_reloads_to_the_same_output_with_alpha_folded",
    ),
    Option(
        key="lora_type",
        take=_lora_type,
        does="`standard` is what is trained.",
        differs=f"`lycoris` is {NOT_BUILT}: refused.",
        test="tests/unit/guide/test_options.py::test_refused",
    ),
    Option(
        key="lycoris_config",
        take=_lycoris,
        does="Without `lora_type: lycoris` it has no effect, which a notice says.",
        differs=f"LyCORIS (LoKr, LoHa, DoRA) is {NOT_BUILT}: with `lora_type: lycoris` refused. The guide's file "
        "names one and trains a plain LoRA, there as here.",
        test="tests/unit/guide/test_files.py::test_the_printed_config_is_read_unchanged",
    ),
    Option(
        key="base_model_precision",
        take=choice("train_lora.base_precision", PRECISIONS),
        does="`train_lora.base_precision`: " + ", ".join(f"`{name}`" for name in PRECISIONS) + ".",
        differs="One scale a row, products in 8 bits where the GPU has them. Others are refused.",
        test=MAPPED,
    ),
    Option(
        key="dynamo_mode",
        take=_dynamo,
        does="`train_lora.compile_blocks`: `no` switches it off, empty leaves `auto`, anything else switches it on.",
        differs="Compiling is the default on a GPU, because it is faster there.",
        test="tests/unit/engine/test_policies.py::test_fused_projections_equal_to_rounding",
    ),
    Option(
        key="use_ema",
        take=_ema,
        does="`train_lora.ema_decay`: the average of the LoRA over steps is measured, rendered and exported.",
        differs="In float32, in the checkpoint, with a warm-up of its own; a resumed run has the same bytes.",
        test="tests/numerics/training/test_average.py::test_a_run_that_was_stopped_ends_with_the_same_bytes",
    ),
    Option(
        key="ema_decay",
        take=_ema_decay,
        does="`train_lora.ema_decay`, with `use_ema`; left out: 0.995, the default of the guide's program.",
        differs="Without `use_ema` it has no effect, which a notice says.",
        test="tests/numerics/training/test_average.py::test_the_average_is_the_formula",
    ),
)
