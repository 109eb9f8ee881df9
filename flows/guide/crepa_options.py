"""Options of the guide for CREPA."""

from collections.abc import Callable
from typing import Any

from flows.guide.option import Draft, Option
from flows.guide.take import Parse, choice, flag, number, to, told, whole

MASTER = "crepa_enabled"
MAPPED = "tests/unit/guide/test_options.py::test_value_goes_where_the_table_says"
ENCODERS = {
    "dinov2_vitg14": "facebook/dinov2-giant",
    "dinov2_vitl14": "facebook/dinov2-large",
    "dinov2_vitb14": "facebook/dinov2-base",
    "dinov2_vits14": "facebook/dinov2-small",
}
"""Their names in torch hub, and the repositories with the same weights as safetensors."""
Take = Callable[[Draft, str, Any], None]


def _enabled(draft: Draft, _key: str, value: Any) -> None:
    if flag(value):
        draft.set("train_lora.crepa", {})


def with_crepa(take: Take) -> Take:
    """Takes the value where CREPA is on, and tells elsewhere that it has no effect."""

    def taken(draft: Draft, key: str, value: Any) -> None:
        if draft.get("train_lora.crepa") is None:
            draft.notice(key, f"has no effect without {MASTER}")
        else:
            take(draft, key, value)

    return taken


def _part(key: str, ours: str, parse: Parse, differs: str = "nothing") -> Option:
    return Option(key=key, take=with_crepa(to(ours, parse=parse)), does=f"`{ours}`.", differs=differs, test=MAPPED)


OPTIONS = (
    Option(
        key=MASTER,
        take=_enabled,
        does="`train_lora.crepa`, and with it the stage `embed_frames`.",
        differs="The encoder sees the clip's own frames, once before training, and not what the VAE decodes at every "
        "step. Its patches are laid over the latent grid in two dimensions; the guide's program lays rows end to end "
        "unless both are squares. Given frames are not aligned.",
        test="tests/numerics/methods/test_crepa_effect.py::test_states_come_nearer_to_the_features_than_without",
    ),
    _part("crepa_block_index", "train_lora.crepa.block_index", whole),
    _part("crepa_lambda", "train_lora.crepa.weight", number),
    _part("crepa_adjacent_distance", "train_lora.crepa.adjacent_distance", whole),
    _part("crepa_adjacent_tau", "train_lora.crepa.adjacent_tau", number),
    Option(
        key="crepa_encoder",
        take=with_crepa(choice("embed_frames.encoder", ENCODERS)),
        does=f"`embed_frames.encoder`: `dinov2_vitg14` is `{ENCODERS['dinov2_vitg14']}`, `dinov2_vits14` "
        f"`{ENCODERS['dinov2_vits14']}`.",
        differs="The same weights from the hub in transformers' layout, shown in the plan and downloaded before "
        "anything is computed; no code is downloaded.",
        test=MAPPED,
    ),
    _part(
        "crepa_encoder_image_size",
        "embed_frames.image_size",
        whole,
        "A size that is no multiple of the encoder's patches is refused.",
    ),
    Option(
        key="crepa_drop_vae_encoder",
        take=with_crepa(
            told("training holds no VAE at all: features are made in a stage before it", unless=(False, "false"))
        ),
        does="Accepted.",
        differs="Nothing is left to drop: training holds no part of the VAE, and the encoder of frames works "
        "in a stage of its own.",
        test="tests/unit/guide/test_options.py::test_told",
    ),
)
