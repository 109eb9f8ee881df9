"""Options of one dataset in the guide's `multidatabackend.json`: its sections `video` and `audio`."""

from flows.guide.option import Option
from flows.guide.take import choice, number, switch, to, told, whole

CUT = "tests/unit/guide/test_datasets.py::test_the_printed_datasets"
GOES = "tests/unit/guide/test_datasets.py::test_values_go_where_the_table_says"
TOLD = "tests/unit/guide/test_datasets.py::test_told"
BUCKETS = {name: name for name in ("aspect_ratio", "resolution_frames")}

OPTIONS = (
    Option(
        key="video.num_frames",
        take=to("video.num_frames", parse=whole),
        does="`datasets[].video.num_frames`; floored to 8k+1 with a notice: 61 becomes 57.",
        differs="The guide's rule, 4k+1, is not the VAE's. Clips are cut one after another from a long file.",
        test="tests/numerics/expectations/test_defects.py::test_d01_frames_are_8k_plus_1",
    ),
    Option(
        key="video.min_frames",
        take=to("video.min_frames", parse=whole),
        does="`datasets[].video.min_frames`: shorter footage is set aside, with a reason.",
        differs="Counted at `frame_rate`; may be lower than `num_frames` with `resolution_frames`.",
        test=CUT,
    ),
    Option(
        key="video.max_frames",
        take=to("video.max_frames", parse=whole),
        does="`datasets[].video.max_frames`: longer footage is set aside, with a reason.",
        differs="Counted at `frame_rate`.",
        test=GOES,
    ),
    Option(
        key="video.frame_rate",
        take=to("video.frame_rate", parse=number),
        does="`datasets[].video.frame_rate`: clips are resampled to it by time; left out: each file's own.",
        differs="The guide's program never reads it and resamples nothing.",
        test="tests/numerics/expectations/test_defects.py::"
        "test_d08_d21_frame_rate_is_a_number_that_frames_and_positions_follow",
    ),
    Option(
        key="video.bucket_strategy",
        take=choice("video.bucket_strategy", BUCKETS),
        does="`datasets[].video.bucket_strategy`: `aspect_ratio` or `resolution_frames`.",
        differs="nothing",
        test=GOES,
    ),
    Option(
        key="video.frame_interval",
        take=to("video.frame_interval", parse=whole),
        does="`datasets[].video.frame_interval`, with `resolution_frames`.",
        differs="Lengths are floored to a multiple of it plus one, since the VAE takes 8k+1.",
        test=GOES,
    ),
    Option(
        key="video.is_i2v",
        take=told("has no effect; first frames are given with train_lora.first_frame_probability"),
        does="A notice: `train_lora.first_frame_probability` gives first frames.",
        differs="The guide's program does not use it for LTX-2 either.",
        test=TOLD,
    ),
    Option(
        key="audio.auto_split",
        take=switch("audio.auto_split", on=True, off=False),
        does="`datasets[].audio.auto_split`: sound of the same seconds as the clip's frames. On by default.",
        differs="On also without an `audio` section, as the guide says and its program does not do.",
        test="tests/numerics/expectations/test_defects.py::test_d07_sound_is_on_unless_switched_off",
    ),
    Option(
        key="audio.sample_rate",
        take=told("sound is always resampled to 16000 Hz, which the audio VAE takes", unless=(16000, "16000")),
        does="16000 is what the audio VAE takes; another gets a notice.",
        differs="No other rate can be asked for.",
        test=TOLD,
    ),
    Option(
        key="audio.channels",
        take=to("audio.channels", parse=whole),
        does="`datasets[].audio.channels`: 1 down-mixes to mono, then fills both channels that the VAE takes.",
        differs="1 works; in the guide's program it fails.",
        test="tests/numerics/expectations/test_defects.py::"
        "test_d06_mono_sound_becomes_the_two_channels_that_the_vae_takes",
    ),
    Option(
        key="audio.duration_interval",
        take=told("has no effect: sound has exactly the seconds of its clip's frames, so there is nothing to round"),
        does="A notice: sound has exactly the seconds of its clip's frames.",
        differs="No buckets by duration are needed, and picture and sound cannot drift apart.",
        test=TOLD,
    ),
)
