"""Options of the guide that say what is trained, and on which weights."""

from typing import Any

from flows.guide.lycoris import is_lycoris, lora_type, lycoris_config
from flows.guide.option import Draft, Option, Take
from flows.guide.take import Parse, choice, flag, number, whole

PRECISIONS = {
    "no_change": "native",
    "bf16": "native",
    "int8-quanto": "int8",
    "int8-torchao": "int8",
    "fp8-quanto": "fp8",
    "fp8-torchao": "fp8",
}
MULTIPLIED = "fp8-torchao"
"""The one whose inputs are rounded to 8 bits too, in the guide's program; the others hold weights alone in them."""
EMA_DECAY = 0.995
MAPPED = "tests/unit/guide/test_options.py::test_value_goes_where_the_table_says"


def _precision(draft: Draft, key: str, value: Any) -> None:
    choice("train_lora.base_precision", PRECISIONS)(draft, key, value)
    precision = draft.get("train_lora.base_precision")
    draft.set("render_validation.base_precision", precision)
    if precision != "native" and value != MULTIPLIED:
        draft.set("train_lora.low_precision", "weights")


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


def _of_plain_lora(name: str, parse: Parse) -> Take:
    """LyCORIS has its own, in its own file."""

    def take(draft: Draft, key: str, value: Any) -> None:
        if is_lycoris(draft):
            draft.notice(key, "has no effect with lora_type: lycoris, which has its own file")
        else:
            draft.set(name, parse(value))

    return take


OPTIONS = (
    Option(
        key="lora_rank",
        take=_of_plain_lora("train_lora.rank", whole),
        does="`train_lora.rank`; left out: 16, the default of the guide's program.",
        differs="nothing",
        test="tests/unit/lora/test_files.py::test_file_reloads_to_the_same_output_with_alpha_folded",
    ),
    Option(
        key="lora_alpha",
        take=_of_plain_lora("train_lora.alpha", number),
        does="`train_lora.alpha`; left out: the rank.",
        differs="Folded into the exported weights, so that every loader agrees on it.",
        test="tests/unit/lora/test_files.py::test_file_reloads_to_the_same_output_with_alpha_folded",
    ),
    Option(
        key="lora_dropout",
        take=_of_plain_lora("train_lora.dropout", number),
        does="`train_lora.dropout`: the share of the values of a layer's input that its LoRA does not see.",
        differs="Left out it is 0; the guide's program takes 0.1. Masks are a function of seed, visit and layer, so "
        "that a resumed run, recomputed blocks and CUDA graphs see the same.",
        test="tests/numerics/training/test_dropout.py::test_recompute_and_graphs_see_the_same_masks",
    ),
    Option(
        key="lora_type",
        take=lora_type,
        does="`standard`: a plain LoRA; `lycoris`: `train_lora.lycoris`, from the file that `lycoris_config` names.",
        differs="LyCORIS trains beside 8-bit and streamed weights too; `plan` counts its weights.",
        test="tests/numerics/training/test_lycoris.py::test_learns_on_a_base_in_8_bits_that_is_streamed",
    ),
    Option(
        key="lycoris_config",
        take=lycoris_config,
        does="`train_lora.lycoris`, under the same names: `algo` (`lora`, `locon`, `loha`, `lokr`), `multiplier`, "
        "`linear_dim`, `linear_alpha`, `factor`, `full_matrix`, `decompose_both`, `dora_wd`, `apply_preset`. Without "
        "`lora_type: lycoris` it has no effect, which a notice says: the guide's file names one and trains a plain "
        "LoRA, there as here.",
        differs="Written under the names that ComfyUI has for this model, with scale and multiplier folded in. Other "
        "algorithms and options are refused.",
        test="tests/unit/guide/test_lycoris.py::test_the_librarys_configuration_is_taken_as_it_is",
    ),
    Option(
        key="base_model_precision",
        take=_precision,
        does="`train_lora.base_precision` and `render_validation.base_precision`: "
        + ", ".join(f"`{name}`" for name in PRECISIONS)
        + ". 8 bits hold weights alone (`train_lora.low_precision: weights`) but for `fp8-torchao`, which is `auto`: "
        "products in 8 bits where a comparison with full precision finds that they lose little.",
        differs="One scale a row. Others are refused.",
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
