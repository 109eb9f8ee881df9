"""Options of the guide that trade time for memory."""

from flows.guide.option import Draft, Option, Refused
from flows.guide.take import accepted, flag, only, switch, told, whole
from ltx_core.autoencoder.memory import PATCH_CONV, TEMPORAL_ROLL

BLOCKS = "tests/unit/engine/test_policies.py::test_where_and_when_blocks_are_computed_changes_no_bit"
VAE = "tests/stages/test_encoding_options.py::test_exact_options_leave_latents_and_keys_as_they_are"
TILE_PIXELS, TILE_OVERLAP = 512, 64
"""The guide's program cuts frames into tiles of this edge and overlap."""


def _swap(draft: Draft, _key: str, value: object) -> None:
    blocks = whole(value)
    if blocks:
        draft.set("train_lora.streamed_blocks", blocks)


def _interval(draft: Draft, _key: str, value: object) -> None:
    blocks = whole(value)
    if blocks < 0:
        raise Refused(f"is {blocks}; 0 or more blocks are wanted")
    if blocks and flag(draft.flat.get("gradient_checkpointing", True)):
        draft.set("train_lora.recompute", 1 / blocks)


def _to_disk(draft: Draft, key: str, value: object) -> None:
    if value:
        draft.set("train_lora.stream_from", "disk")
        draft.notice(key, "streamed blocks lie in the folder of the training stage, in the workspace, and not there")


def _tile(draft: Draft, key: str, value: object) -> None:
    if flag(value):
        draft.set("encode_latents.tile_size", TILE_PIXELS)
        draft.set("encode_latents.tile_overlap", TILE_OVERLAP)
        draft.notice(
            key,
            "tiles change latents, since a tile does not see its neighbours; memory.vae_chunk_frames saves more memory "
            "and changes nothing, so leave tiles out unless it is not enough",
        )


OPTIONS = (
    Option(
        key="offload_during_startup",
        take=accepted,
        does="Always so: each stage is a process of its own, and text encoder, VAEs and transformer never share a GPU.",
        differs="Cannot be switched off, because nothing would be gained.",
        test="tests/stages/test_child.py::test_it_reports_and_returns_the_counts",
    ),
    Option(
        key="enable_group_offload",
        take=switch("train_lora.streamed_blocks", on="all"),
        does="`train_lora.streamed_blocks: all`: the frozen blocks wait in host memory and are copied when their turn "
        "comes.",
        differs="The same bits as without; works with recompute, 8-bit weights and ramtorch's option, too. False "
        "leaves `auto`: streamed if training does not fit.",
        test=BLOCKS,
    ),
    Option(
        key="group_offload_type",
        take=told("blocks are streamed whole; single layers would be copied more often", unless=("block_level",)),
        does="`block_level` is what streaming does; `leaf_level` gets a notice.",
        differs="No streaming of single layers: it is slower and saves little more.",
        test="tests/unit/guide/test_options.py::test_told",
    ),
    Option(
        key="group_offload_blocks_per_group",
        take=told("one block is copied while one computes, which needs the least memory", unless=(1, "1")),
        does="1 is what streaming does; more gets a notice.",
        differs="No larger groups: they take more memory and hide no more of the copying.",
        test="tests/unit/guide/test_options.py::test_told",
    ),
    Option(
        key="group_offload_use_stream",
        take=told("copies always run beside the computation", unless=(True, "true")),
        does="Always so on a GPU: the next block is copied while one computes.",
        differs="Holds with recomputation as well, where the guide's program switches it off.",
        test=BLOCKS,
    ),
    Option(
        key="group_offload_to_disk_path",
        take=_to_disk,
        does="`train_lora.stream_from: disk`.",
        differs="The files lie in the workspace, and are gone with the process; a notice says so.",
        test="tests/unit/engine/test_policies.py::test_weights_stream_from_files_too",
    ),
    Option(
        key="ramtorch",
        take=switch("train_lora.streamed_blocks", on="all"),
        does="`train_lora.streamed_blocks: all`.",
        differs="Whole blocks are copied ahead, not each layer at its call; may stand beside group offload.",
        test=BLOCKS,
    ),
    Option(
        key="ramtorch_text_encoder",
        take=switch("memory.stream_text_encoder", on=True),
        does="`memory.stream_text_encoder: true`: the text encoder's layers come from host memory one by one.",
        differs="False leaves `auto`: streamed if it does not fit.",
        test="tests/stages/test_embedding_options.py::test_streamed_features_are_the_same_bits",
    ),
    Option(
        key="musubi_blocks_to_swap",
        take=_swap,
        does="`train_lora.streamed_blocks`: so many blocks.",
        differs="Each leaves the device again in the backward as well, where the guide's program lets them pile up.",
        test=BLOCKS,
    ),
    Option(
        key="musubi_block_swap_device",
        take=only("cpu", refusal="blocks wait in host memory (`cpu`), or on disk with `train_lora.stream_from`"),
        does="`cpu` is where streamed blocks wait.",
        differs="Another device is refused; `train_lora.stream_from: disk` is the alternative.",
        test="tests/unit/engine/test_policies.py::test_weights_stream_from_files_too",
    ),
    Option(
        key="gradient_checkpointing",
        take=switch("train_lora.recompute", on=1.0, off=0.0),
        does="`train_lora.recompute`: 1 if true, 0 if false.",
        differs="A share between is possible, and the same bits either way.",
        test=BLOCKS,
    ),
    Option(
        key="gradient_checkpointing_interval",
        take=_interval,
        does="`train_lora.recompute`: one in so many blocks is computed again; 1 is all of them.",
        differs="Left out, the memory plan chooses the least that fits.",
        test=BLOCKS,
    ),
    Option(
        key="vae_enable_patch_conv",
        take=switch("memory.vae_chunk_frames", on=PATCH_CONV),
        does=f"`memory.vae_chunk_frames: {PATCH_CONV}`: the video VAE works on {PATCH_CONV} latent frames at once.",
        differs="Every frame survives and latents are those of the whole clip to rounding; the guide's program loses "
        "frames or stops. Also the default, `auto`, once a clip does not fit.",
        test="tests/numerics/expectations/test_defects.py::"
        "test_d03_the_two_ways_of_chunking_are_two_and_every_latent_frame_survives",
    ),
    Option(
        key="vae_enable_temporal_roll",
        take=switch("memory.vae_chunk_frames", on=TEMPORAL_ROLL),
        does=f"`memory.vae_chunk_frames: {TEMPORAL_ROLL}`: one latent frame at once; wins over the patch convolution.",
        differs="As there: less memory, more time. The two switches are two sizes of the same exact method.",
        test="tests/numerics/expectations/test_expectations.py::test_e05_time_chunks_give_what_the_whole_clip_gives",
    ),
    Option(
        key="vae_enable_tiling",
        take=_tile,
        does=f"`encode_latents.tile_size: {TILE_PIXELS}`, `tile_overlap: {TILE_OVERLAP}`, when latents are made.",
        differs="A notice says that tiles change latents and what to try first.",
        test="tests/stages/test_encoding_options.py::test_tiles_change_latents_and_their_keys",
    ),
    Option(
        key="vae_enable_slicing",
        take=switch("memory.vae_slicing", on=True),
        does="`memory.vae_slicing: true`: one clip of a batch at a time in the video VAE.",
        differs="False leaves `auto`: sliced if a batch does not fit.",
        test=VAE,
    ),
)
