"""What the guide says of hardware, of steps and of trouble, and what each is here."""

from flows.guide.option import Tip

CHILD = "tests/stages/test_child.py::test_it_reports_and_returns_the_counts"
GUIDE = "tests/unit/guide/test_files.py::test_the_printed_config_is_read_unchanged"
GUIDANCE = "tests/unit/flows/test_render_options.py::test_guidance_out_of_the_usual_range_gets_a_notice"
CONFIGURE = "tests/unit/guide/test_configure.py::test_every_question_has_a_flag"
HUB = "tests/unit/lora/test_locate.py::test_hub"

STEPS: dict[str, tuple[Tip, ...]] = {
    "Hardware and figures": (
        Tip(
            what="Text encoder, VAEs and a transformer of 19B",
            does="Each is loaded by the stage that needs it, alone, and gone with that stage's process.",
            differs="They never share a GPU, so no option is needed for that.",
            test=CHILD,
        ),
        Tip(
            what="Caching by the VAE may need more VRAM than training",
            does="`memory.vae_chunk_frames: auto` cuts a clip's time where it does not fit, exact to rounding.",
            differs="Automatic; predicted before it runs.",
            test="tests/numerics/expectations/test_expectations.py::test_e05_time_chunks_give_what_the_whole_clip_gives",
        ),
        Tip(
            what="One GPU: batch size 1 and group offload",
            does="`train_lora.batch_size` is 1 by default; `train_lora.streamed_blocks: auto` offloads the rest.",
            differs="Chosen by a prediction of the memory, which `plan` shows.",
            test="tests/unit/flows/test_plan_memory.py::test_the_guides_smallest_configuration_fits_a_card_of_16_gib",
        ),
        Tip(
            what="Several GPUs: FSDP2",
            does="`memory.num_gpus` shares a step's batches; `memory.sharding: full` cuts the base (FSDP2).",
            differs="Two GPUs train the same LoRA as one does.",
            test="tests/numerics/training/test_ranks.py::test_two_ranks_train_as_one_does",
        ),
        Tip(
            what="64 GB of RAM; peaks of 34 and 46 GB while loading",
            does="Weights go from the file to the device, piece by piece; docs/benchmarks.md has the host's peak.",
            differs="Less is needed: a model is never whole in host memory unless its blocks wait there.",
            test="tests/repo/test_benchmarks.py::test_page_is_made_from_the_results",
        ),
        Tip(
            what="480p, 17 frames, batch 2: 13 GB with RamTorch, 30 GB int8, 48 GB bf16; 8 s a step on an A100",
            does="docs/benchmarks.md has what was measured here, on an H200.",
            differs="Other hardware; none of these figures is repeated as ours.",
            test="tests/repo/test_benchmarks.py::test_page_is_made_from_the_results",
        ),
    ),
    "Steps": (
        Tip(
            what="Python 3.12; `pip install`",
            does="Python 3.11 to 3.13; `make install` from pinned versions.",
            differs="Pins, so that what was tested is what runs.",
            test="tests/repo/test_project.py::test_constraints_pin_every_dependency",
        ),
        Tip(
            what="`simpletuner server`, the web interface",
            does="`ltx2-lora up`: Prefect's interface with a form for runs, and MLflow's with figures and renders.",
            differs="Two known interfaces instead of one of its own.",
            test="tests/unit/flows/test_small_parts.py::test_the_form_of_a_run_shows_every_section",
        ),
        Tip(
            what="`simpletuner configure`",
            does="`ltx2-lora configure`: footage, GPU memory, goal; writes an annotated configuration.",
            differs="Every question is also an option of the command; no file is overwritten. "
            "`--guide config.json` writes a file of the guide in our terms.",
            test=CONFIGURE,
        ),
        Tip(
            what="Copy `config.json.example` and edit it",
            does="`ltx2-lora miniature DIR` writes one that runs at once; docs/config.md lists all options.",
            differs="The guide's own `config.json` is read as it is.",
            test=GUIDE,
        ),
        Tip(
            what="Videos (.mp4, .mov) with captions (.txt) of the same name in `datasets/videos`",
            does="The same, in any folder, searched recursively; all usual containers.",
            differs="A file that cannot be used is set aside with a reason and stops nothing.",
            test="tests/unit/guide/test_datasets.py::test_the_printed_datasets",
        ),
        Tip(
            what="`wandb login`",
            does="With `tracking.wandb`, as usual; MLflow needs no account.",
            differs="Where no account is known the run ends before anything is computed, in a terminal too.",
            test="tests/unit/flows/test_wandb_mirror.py::test_in_a_terminal_nobody_is_asked_for_an_account",
        ),
        Tip(
            what="`huggingface-cli login`",
            does="Works as usual where a repository wants an account; local files need none.",
            differs="What would be downloaded is shown by `ltx2-lora plan` first.",
            test="tests/stages/test_sources.py::test_what_is_nowhere_on_the_hub_is_one_message",
        ),
        Tip(
            what="`simpletuner train`",
            does="`ltx2-lora train [CONFIG]`: says what differs, then runs; without CONFIG `ltx2-lora.yaml` or "
            "`config/config.json`.",
            differs="Run again, it goes on where it stopped, or says that nothing is to do.",
            test="tests/unit/guide/test_train.py::test_what_differs_is_told_before_anything_runs",
        ),
    ),
    "Trouble": (
        Tip(
            what="Out of memory: lower the resolution to 480p",
            does="`datasets[].resolution: 480`. `plan` predicts what training takes, chooses what fits, and refuses "
            "what cannot; a full device names what to lower.",
            differs="Told before anything is computed.",
            test="tests/unit/flows/test_plan_memory.py::test_what_cannot_fit_is_refused_before_anything_is_computed",
        ),
        Tip(
            what="Out of memory: 33 or 49 frames",
            does="`datasets[].video.num_frames` and `render_validation.num_frames`.",
            differs="Both are 8k+1, so they are taken as they are. Renders that do not fit stream the blocks from the "
            "host; what cannot fit even so is refused by `plan`.",
            test="tests/unit/flows/test_plan_memory.py::"
            "test_renders_that_do_not_fit_are_streamed_and_what_cannot_fit_is_refused",
        ),
        Tip(
            what="Out of memory: see that group offload is on",
            does="`train_lora.streamed_blocks: all`.",
            differs="nothing",
            test="tests/unit/engine/test_policies.py::test_where_and_when_blocks_are_computed_changes_no_bit",
        ),
        Tip(
            what="Black or noisy validation videos: guidance above 6 or below 2; keep 5",
            does="`plan` warns of guidance outside 2 to 6, and the stage when it starts.",
            differs="1 with the distilled schedule gets no warning, because it is meant.",
            test=GUIDANCE,
        ),
        Tip(
            what="Motion jitters: the frame rate of footage and model differ",
            does="Clips are resampled in time; `plan` warns of datasets at another rate than the renders'.",
            differs="Footage of another rate is not played faster or slower.",
            test="tests/unit/flows/test_training_notices.py::test_frame_rates_that_differ_are_told",
        ),
        Tip(
            what="Videos stand still: prompts that describe motion",
            does="`plan` hints at prompts without a word of motion.",
            differs="A hint only: words of motion are many.",
            test="tests/unit/flows/test_training_notices.py::test_prompts_without_motion_are_hinted_at",
        ),
        Tip(
            what="Batch size above 1 only on an A100 or H100",
            does="`plan` warns of it where `memory.gpu_gib` is below 40, or blocks are streamed by order.",
            differs="Told from the configuration, so also on a machine without a GPU.",
            test="tests/unit/flows/test_training_notices.py::test_batches_on_small_cards_are_told",
        ),
    ),
}
