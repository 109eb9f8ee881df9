"""Contents of the miniature footage: one declaration a file, for the writer and for tests that read it back."""

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

Broken = Literal["truncated", "empty", "too_short"]
FILM_RATE = Fraction(24_000, 1001)
NTSC_RATE = Fraction(30_000, 1001)
VARIABLE_STEPS = (1, 2, 1, 1, 3, 2)
"""Frame intervals of a file of variable rate, in units of its fastest interval, again and again."""


@dataclass(frozen=True)
class Audio:
    """The audio stream of a file."""

    codec: str
    """As ffmpeg names the codec."""
    layout: str
    """`mono`, `stereo` or `5.1`."""
    rate: int
    """Samples per second."""
    name: str
    """Name in `sounds.AUDIO_BY_NAME`."""

    @property
    def is_silent(self) -> bool:
        return self.name == "silence"


@dataclass(frozen=True, kw_only=True)
class Footage:
    """One file of the corpus: what it holds, and how it is stored."""

    name: str
    """Path below the footage folder, with forward slashes."""
    caption: str
    """Text of the caption file beside it."""
    scene: str
    """Name in `scenes.SCENES`."""
    muxer: Literal["mp4", "mov", "webm", "matroska"] = "mp4"
    video_codec: Literal["h264", "vp9"] = "h264"
    width: int
    """Displayed width in pixels, after rotation."""
    height: int
    frame_rate: Fraction = Fraction(25)
    """Frames per second; of a file of variable rate, the fastest."""
    num_frames: int
    is_variable_rate: bool = False
    rotation: Literal[0, 90] = 0
    """Clockwise degrees by which the stored frames are turned for display."""
    audio: Audio | None = None
    broken: Broken | None = None
    copy_of: str | None = None
    """Name of the file whose bytes this one has too."""

    @property
    def frame_steps(self) -> tuple[int, ...]:
        """When each frame begins, and last when the file ends, in units of 1 / `frame_rate` seconds."""
        steps = [0]
        for i in range(self.num_frames):
            steps.append(steps[-1] + (VARIABLE_STEPS[i % len(VARIABLE_STEPS)] if self.is_variable_rate else 1))
        return tuple(steps)

    @property
    def seconds(self) -> float:
        """From the first frame's start to the last frame's end."""
        return float(self.frame_steps[-1] / self.frame_rate)

    @property
    def coded_size(self) -> tuple[int, int]:
        """Width and height of the stored frames, before rotation."""
        return (self.height, self.width) if self.rotation else (self.width, self.height)


def aac(name: str, layout: str = "stereo", rate: int = 44_100) -> Audio:
    """An AAC stream."""
    return Audio("aac", layout, rate, name)


def opus(name: str, layout: str = "stereo") -> Audio:
    """An Opus stream; Opus is always 48 kHz."""
    return Audio("opus", layout, 48_000, name)


ROLLING = (
    "A red ball rolls from left to right over a dark floor while a low tone hums and clicks twice, moving from the "
    "left ear to the right."
)

DECLARED: tuple[Footage, ...] = (
    Footage(
        name="ball_rolls.mp4",
        scene="rolling_ball",
        width=320,
        height=180,
        num_frames=50,
        caption=ROLLING,
        audio=aac("hum_and_clicks"),
    ),
    Footage(
        name="ball_rolls_again.mov",
        scene="rolling_ball",
        muxer="mov",
        width=192,
        height=144,
        num_frames=40,
        caption=ROLLING,
        audio=aac("hum_and_clicks", rate=48_000),
    ),
    Footage(
        name="ball_bounces.mp4",
        scene="bouncing_ball",
        width=240,
        height=180,
        frame_rate=NTSC_RATE,
        num_frames=66,
        caption="An orange ball bounces on a wooden floor in a bright room; every bounce lands with a dull thud.",
        audio=aac("thuds", "mono"),
    ),
    Footage(
        name="ball_bounces_copy.mp4",
        scene="bouncing_ball",
        width=240,
        height=180,
        frame_rate=NTSC_RATE,
        num_frames=66,
        caption="The same orange ball bounces up and down, thudding on the floor.",
        copy_of="ball_bounces.mp4",
        audio=aac("thuds", "mono"),
    ),
    Footage(
        name="bar_turns.mp4",
        scene="turning_bar",
        width=128,
        height=128,
        frame_rate=Fraction(60),
        num_frames=96,
        caption="A blue bar with a yellow tip turns clockwise inside a grey ring while a motor whirrs.",
        audio=aac("whirr", rate=48_000),
    ),
    Footage(
        name="bubbles_rise.mp4",
        scene="rising_bubbles",
        width=108,
        height=192,
        frame_rate=Fraction(30),
        num_frames=54,
        caption="Pale bubbles leave the bottom one after another and rise through dark blue water with soft blubs.",
        audio=aac("blubs"),
    ),
    Footage(
        name="hills_pass.mkv",
        scene="passing_hills",
        muxer="matroska",
        width=256,
        height=144,
        frame_rate=FILM_RATE,
        num_frames=48,
        audio=aac("wind", "5.1", 48_000),
        caption="The camera pans to the right past green hills and bare trunks; near ones pass faster, and wind blows.",
    ),
    Footage(
        name="tunnel.webm",
        scene="zooming_tunnel",
        muxer="webm",
        video_codec="vp9",
        width=160,
        height=120,
        num_frames=40,
        audio=opus("rising_sweep"),
        caption="The camera flies into a tunnel of orange and violet rings while a tone sweeps upwards.",
    ),
    Footage(
        name="face_talks.mp4",
        scene="talking_face",
        width=192,
        height=192,
        num_frames=60,
        caption="A round cartoon face looks at the camera and says four vowels, pauses, and goes on in a low voice.",
        audio=aac("voice", "mono", 16_000),
    ),
    Footage(
        name="pendulum.mov",
        scene="swinging_pendulum",
        muxer="mov",
        width=160,
        height=160,
        num_frames=50,
        caption="A brass pendulum swings between left and right in a dark wooden room and ticks at either end.",
        audio=Audio("pcm_s16le", "stereo", 48_000, "ticking"),
    ),
    Footage(
        name="rain.mkv",
        scene="falling_rain",
        muxer="matroska",
        video_codec="vp9",
        width=144,
        height=96,
        frame_rate=Fraction(24),
        num_frames=36,
        audio=opus("hiss"),
        caption="Rain falls straight down on a grey street and hisses evenly.",
    ),
    Footage(
        name="sunset.mp4",
        scene="sinking_sun",
        width=320,
        height=180,
        num_frames=60,
        caption="The sun sinks into a calm dark sea while the sky turns from orange to violet; nothing is heard.",
    ),
    Footage(
        name="squares_cross.mp4",
        scene="crossing_squares",
        width=192,
        height=108,
        frame_rate=Fraction(24),
        num_frames=40,
        audio=aac("silence"),
        caption="A green square moves right and a magenta square moves left below it, in complete silence.",
    ),
    Footage(
        name="clouds_drift.mp4",
        scene="drifting_clouds",
        width=256,
        height=144,
        frame_rate=Fraction(50),
        num_frames=60,
        is_variable_rate=True,
        audio=aac("birds"),
        caption="White clouds drift to the right over a blue sky while a bird chirps on the right.",
    ),
    Footage(
        name="kite_upright.mov",
        scene="flying_kite",
        muxer="mov",
        width=108,
        height=192,
        frame_rate=Fraction(30),
        num_frames=54,
        rotation=90,
        audio=aac("fluttering"),
        caption="A red kite on a string swings left and right in a blue sky above a meadow, its cloth fluttering.",
    ),
    Footage(
        name="four_scenes.mp4",
        scene="four_scenes",
        width=160,
        height=90,
        num_frames=300,
        audio=aac("four_sounds"),
        caption="A red ball rolls to the right, clouds drift over a blue sky, bubbles rise in dark water, and a blue "
        "bar turns; a hum, a bird, blubs and a motor are heard in turn.",
    ),
    Footage(
        name="ventana de la niña 窓.mp4",
        scene="waving_curtain",
        width=160,
        height=120,
        num_frames=40,
        caption="A red curtain waves at the left of a bright window with the wind that blows in.",
        audio=aac("wind"),
    ),
    Footage(
        name="takes/lighthouse.mov",
        scene="turning_lighthouse",
        muxer="mov",
        width=144,
        height=192,
        num_frames=45,
        caption="At night the beam of a white lighthouse turns clockwise over the sea while a fog horn swells.",
        audio=aac("fog_horn", "mono", 48_000),
    ),
    Footage(
        name="TRAIN.MP4",
        scene="passing_train",
        width=256,
        height=144,
        frame_rate=NTSC_RATE,
        num_frames=60,
        caption="A green train passes from right to left under a grey sky, its wheels clacking over the joints.",
        audio=aac("train_clacks", rate=48_000),
    ),
    Footage(
        name="firefly.webm",
        scene="blinking_firefly",
        muxer="webm",
        video_codec="vp9",
        width=96,
        height=64,
        num_frames=35,
        audio=opus("crickets", "mono"),
        caption="A yellow-green firefly glows and fades as it wanders through a dark meadow full of crickets.",
    ),
    Footage(
        name="cut_off.mp4",
        scene="passing_train",
        width=192,
        height=144,
        num_frames=50,
        broken="truncated",
        caption="A train passes from right to left, but the file ends in the middle.",
        audio=aac("train_clacks"),
    ),
    Footage(
        name="empty.mp4",
        scene="sinking_sun",
        width=320,
        height=180,
        num_frames=0,
        broken="empty",
        caption="Nothing was written to this file.",
    ),
    Footage(
        name="three_frames.mp4",
        scene="rolling_ball",
        width=160,
        height=96,
        num_frames=3,
        broken="too_short",
        caption="A red ball begins to roll, for three frames.",
        audio=aac("hum_and_clicks"),
    ),
)
"""The whole corpus, the broken files last."""
