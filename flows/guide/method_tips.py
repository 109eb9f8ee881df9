"""What the guide says of methods and of validation, and what each is here."""

from flows.guide.option import NOT_BUILT, Tip

HUB = "tests/unit/lora/test_locate.py::test_hub"
PUBLISHED = tuple(
    f"LTX-2-19b-{name}"
    for name in (
        "IC-LoRA-Canny-Control",
        "IC-LoRA-Depth-Control",
        "IC-LoRA-Detailer",
        "IC-LoRA-Pose-Control",
        "LoRA-Camera-Control-Dolly-In",
        "LoRA-Camera-Control-Dolly-Out",
        "LoRA-Camera-Control-Dolly-Left",
        "LoRA-Camera-Control-Dolly-Right",
        "LoRA-Camera-Control-Jib-Down",
        "LoRA-Camera-Control-Jib-Up",
        "LoRA-Camera-Control-Static",
    )
)


def _published(name: str) -> Tip:
    control = name.startswith("LTX-2-19b-IC-LoRA")
    return Tip(
        what=f"`Lightricks/{name}` in validation",
        does=f"`Lightricks/{name}:{name.lower()}.safetensors` in `render_validation.adapters`.",
        differs=f"The adapter is applied; giving it a control video is {NOT_BUILT}." if control else "nothing",
        test=HUB,
    )


METHODS: dict[str, tuple[Tip, ...]] = {
    "Methods": (
        Tip(
            what="Block swap (Musubi), 4 to 8 blocks",
            does="`train_lora.streamed_blocks: 4` to `8`.",
            differs="nothing",
            test="tests/unit/engine/test_policies.py::test_where_and_when_blocks_are_computed_changes_no_bit",
        ),
        Tip(
            what="TREAD, 25 to 40 % faster at ratio 0.5",
            does="`train_lora.tread_routes`, in training alone; eval loss and renders run all tokens.",
            differs="Measured: 46 % of a step at 512x768x121 on one H200 (docs/benchmarks.md, 2026-11-28).",
            test="tests/unit/engine/test_routing.py::"
            "test_a_routes_blocks_compute_what_they_would_if_no_other_token_were_there",
        ),
        Tip(
            what="CREPA with DINOv2",
            does="`train_lora.crepa`, `{}` for its defaults; `embed_frames.encoder` and `image_size` for the encoder.",
            differs="Frames are embedded once and kept in the pool, and training loads neither encoder nor VAE.",
            test="tests/stages/test_frames.py::test_every_trained_clip_has_the_encoders_features_of_its_own_frames",
        ),
        Tip(
            what="Scheduled sampling (rollout)",
            does="`train_lora.rollout`: visits trained on states that the model reached itself; docs/rollout.md.",
            differs="Sound is rolled out with the picture, and the target is right off the straight path.",
            test="tests/numerics/methods/test_rollout_effect.py::test_errors_on_its_own_states_fall",
        ),
    ),
    "Validation": (
        Tip(
            what="T2V: text to video",
            does="`prompts.validation`, rendered by the base model and by the LoRA at the same seeds.",
            differs="nothing",
            test="tests/stages/test_generations.py::test_footage_to_a_registered_lora",
        ),
        Tip(
            what="I2V: image to video",
            does="`render_validation.image_to_video_clips`, or `prompts.pictures` for pictures of one's own.",
            differs="Training can give first frames as well (`train_lora.first_frame_probability`).",
            test="tests/stages/test_renders.py::test_pictures_and_sounds_of_ones_own",
        ),
        Tip(
            what="S2V: sound to video",
            does="`render_validation.sound_to_video_clips`, or `prompts.sounds` for sounds of one's own.",
            differs="The sound is the condition and is kept; the guide's program makes it anew.",
            test="tests/numerics/expectations/test_defects.py::"
            "test_d12_given_sound_is_the_condition_in_training_and_sampling",
        ),
        Tip(
            what="Adapters of Lightricks by `repo_id:weight_name`",
            does="The same text in `render_validation.adapters`.",
            differs="Downloaded before anything is computed; one that does not fit the model is refused by its header.",
            test="tests/unit/lora/test_locate.py::test_names_on_the_hub",
        ),
        *(_published(name) for name in PUBLISHED),
        Tip(
            what="Fast validation: distilled LoRA 384, guidance 1, 8 steps",
            does="The same three options; the run also gets the distilled schedule.",
            differs="Lightricks' own eight sigmas, which the guide's program does not use.",
            test="tests/unit/guide/test_options.py::test_the_fast_recipe_gets_its_schedule",
        ),
    ),
}
