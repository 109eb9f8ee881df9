"""Judge how odd footage is read, on files that this makes: `python scripts/media_cases.py [FOLDER] [NAMES...]`.

Each case is a small file such as cameras, discs, phones and capture cards leave, with a known truth: interlaced and
telecined pictures, HDR and wide colours, frame rates, AVI without presentation times, sound with wobbling times,
transparency. It is probed, cut into clips and decoded as a run does; a table says what came out, and whether it is
right. Exits with 1 if anything is wrong.
"""

import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np
from media_makers import (
    SOUND_RATE,
    beeps,
    combing,
    deep_frame,
    fields,
    in_2020,
    in_hlg,
    in_p3,
    in_pq,
    number_in,
    numbered,
    patch_errors,
    pcm,
    rgb_frame,
    telecined,
    write,
)

from datasets_spec import Clip, DatasetSpec, Media
from ltx_core.files.digest import file_digest
from ltx_core.media.clip import clip_frames, clip_sound
from ltx_core.media.errors import MediaError
from ltx_core.media.probe import probe_media
from ltx_core.media.quality import QualityThresholds
from ltx_core.media.split import split_media

BT709, BT2020 = (0.2126, 0.7152, 0.0722), (0.2627, 0.6780, 0.0593)
FRAMES, MADE = 17, 24
"""Of a clip, and of the shorter files."""


@dataclass(frozen=True)
class Case:
    """One file: how it is made, and what is wrong with what was read from it, with the figures found."""

    name: str
    make: Callable[[Path], Path]
    judge: Callable[["Read"], tuple[bool, str]]


@dataclass(frozen=True)
class Read:
    """What a run reads from a file: its row, its clips with their pictures, and why it is set aside."""

    media: Media
    clips: list[Clip]
    aside: list[str]

    @property
    def pictures(self) -> list[Any]:
        """Of all clips."""
        return [frame for clip in self.clips for frame in clip_frames(clip)]

    @property
    def numbers(self) -> list[int]:
        """Of all pictures."""
        return [number_in(picture) for picture in self.pictures]

    def wanted(self, step: int) -> list[int]:
        """Numbers that pictures should have if every `step`th is shown, once."""
        starts = [round(clip.start_seconds * clip.frame_rate) for clip in self.clips]
        return [
            (start + n) * step for start, clip in zip(starts, self.clips, strict=True) for n in range(clip.num_frames)
        ]


def read(path: Path, **video: Any) -> Read:
    """Probe and cut a file into clips of 17 frames at its own size and rate."""
    info = probe_media(path)
    media = Media(
        media_id=f"set/{path.name}",
        media_key=file_digest(path),
        dataset="set",
        relpath=path.name,
        path=str(path),
        caption="a test",
        **vars(info),
    )
    spec = DatasetSpec.model_validate(
        {"id": "set", "instance_data_dir": str(path.parent), "resolution": 160, "resolution_type": "pixel"}
        | {"video": {"num_frames": FRAMES, **video}}
    )
    clips, aside = split_media(media, spec, QualityThresholds())
    return Read(media, clips, [row.reason.value for row in aside])


def is_scanned(scan: str, step: int, most_combing: float = 0.006) -> Callable[[Read], tuple[bool, str]]:
    """Pictures are whole, each `step` numbers after the one before, and the file is known for what it is."""

    def judge(found: Read) -> tuple[bool, str]:
        combed, numbers = max(map(combing, found.pictures), default=1.0), found.numbers
        right = numbers == found.wanted(step) and len(numbers) >= FRAMES
        figures = f"{found.media.scan}, {found.media.usual_rate:.3f} fps, combed {combed:.4f}, numbers {numbers[:4]}"
        return right and combed <= most_combing and found.media.scan == scan, figures

    return judge


def has_colors(kind: str, most: float) -> Callable[[Read], tuple[bool, str]]:
    """Patches are within `most` of 255 of those that were graded."""

    def judge(found: Read) -> tuple[bool, str]:
        errors = np.stack([patch_errors(picture) for picture in found.pictures])
        worst, mean = float(np.abs(errors.mean(axis=0)).max()), float(np.abs(errors.mean(axis=(0, 1))).max())
        return worst <= most and found.media.colors == kind, f"{found.media.colors}, {worst:.1f} off, mean {mean:.2f}"

    return judge


def in_order(rate: float, step: int = 1, most_lag_ms: float | None = None) -> Callable[[Read], tuple[bool, str]]:
    """Clips at `rate` show every `step`th picture once; their sound is within `most_lag_ms` of them."""

    def judge(found: Read) -> tuple[bool, str]:
        numbers = found.numbers
        figures = f"{found.clips[0].frame_rate if found.clips else 0:.3f} fps, numbers {numbers[:5]}"
        right = bool(numbers) and numbers == found.wanted(step)
        right = right and abs(found.clips[0].frame_rate - rate) < 1e-4
        if most_lag_ms is not None and found.clips:
            worst, lost = sound_faults(found)
            figures += f", sound {worst:.1f} ms off, {lost:.0%} lost"
            right = right and worst <= most_lag_ms and lost <= 0.02
        return right, figures

    return judge


def sound_faults(found: Read) -> tuple[float, float]:
    """How far the sound of any clip is off in milliseconds, and which share of its energy is not there."""
    worst = lost = 0.0
    for clip in found.clips:
        heard = clip_sound(clip)
        if heard is None:
            return 1e9, 1.0
        whole = beeps(20)[0][::3]
        start = round(clip.start_seconds * 16_000)
        wanted = whole[start : start + heard.shape[1]]
        size = 2 * len(wanted)
        lags = np.fft.irfft(np.conj(np.fft.rfft(wanted, size)) * np.fft.rfft(heard.mean(axis=0), size))
        lag = int(np.argmax(lags))
        worst = max(worst, abs(lag - size if lag > size // 2 else lag) / 16)
        lost = max(lost, 1 - float(np.square(heard.mean(axis=0)).sum() / np.square(wanted).sum()))
    return worst, lost


def is_black_where_transparent(found: Read) -> tuple[bool, str]:
    """The left quarter, which is transparent, is black, and what is opaque as it was."""
    picture = found.pictures[0].astype(float)
    left, right = picture[:, :56].mean(), np.abs(patch_errors(found.pictures[0])[3:]).max()
    return found.media.has_alpha and left < 2 and right < 8, f"left {left:.1f}, opaque {right:.1f} off"


def plain(count: int) -> list[Any]:
    """Numbered pictures as they are."""
    return [rgb_frame(numbered(n)) for n in range(count)]


def graded(grade: Callable[[Any], Any], luma: tuple[float, float, float]) -> list[Any]:
    """Numbered pictures, graded."""
    return [deep_frame(grade(numbered(n)), luma) for n in range(MADE)]


def transparent(count: int) -> list[Any]:
    """Numbered pictures whose left quarter is transparent."""
    opaque = np.full((160, 256, 1), 255, dtype=np.uint8)
    opaque[:, :64] = 0
    pictures = [np.concatenate([numbered(n), opaque], axis=-1) for n in range(count)]
    return [av.VideoFrame.from_ndarray(picture, format="rgba") for picture in pictures]


INTERLACED = {"flags": "+ilme+ildct", "top": "1", "qscale": "2", "g": "12"}
X264 = {"crf": "8", "preset": "veryfast"}
FIELDS_264 = X264 | {"flags": "+ilme+ildct"}
FFV1 = {"level": "3"}
NTSC, FILM = Fraction(30000, 1001), Fraction(24000, 1001)


def files() -> list[Case]:
    """All cases."""
    return [*interlaced(), *colors(), *rates(), *avi(), *sounds(), *others()]


def interlaced() -> list[Case]:
    """Pictures in fields, and ones that only seem so."""
    tff, bff, film = fields(40), fields(40, top_first=False), telecined(64)
    frames = {name: [rgb_frame(f) for f in made] for name, made in (("tff", tff), ("bff", bff), ("film", film))}
    advanced = [rgb_frame(f) for f in telecined(64, top_first=False, pattern=(2, 3, 3, 2))]
    mpeg, x264 = {"codec": "mpeg2video", "options": INTERLACED}, {"options": X264}
    return [
        Case("tff.mpg", lambda p: write(p, frames["tff"], 25, **mpeg), is_scanned("interlaced_tff", 2)),
        Case("bff.mov", lambda p: write(p, frames["bff"], NTSC, **x264), is_scanned("interlaced_bff", 2)),
        Case("flagged.ts", lambda p: write(p, frames["tff"], 25, options=FIELDS_264), is_scanned("interlaced_tff", 2)),
        Case("unflagged.mp4", lambda p: write(p, frames["tff"], 25, **x264), is_scanned("interlaced_tff", 2)),
        Case("film.mpg", lambda p: write(p, frames["film"], NTSC, **mpeg), is_scanned("telecined_tff", 1)),
        Case("film.mp4", lambda p: write(p, frames["film"], NTSC, **x264), is_scanned("telecined_tff", 1)),
        Case("advanced.mkv", lambda p: write(p, advanced, NTSC, **x264), is_scanned("telecined_bff", 1)),
        Case("psf.mpg", lambda p: write(p, plain(40), 25, **mpeg), is_scanned("progressive", 1)),
        Case("plain.mp4", lambda p: write(p, plain(40), 25, **x264), is_scanned("progressive", 1)),
    ]


def colors() -> list[Case]:
    """HDR and wide colours."""
    deep = {"codec": "ffv1", "pix_fmt": "yuv444p10le", "options": FFV1}
    hevc = {"codec": "libx265", "pix_fmt": "yuv420p10le", "options": {"crf": "8", "x265-params": "log-level=none"}}
    kinds = {
        "pq": (graded(in_pq, BT2020), (9, 16, 9)),
        "hlg": (graded(in_hlg, BT2020), (9, 18, 9)),
        "wide": (graded(in_2020, BT2020), (9, 14, 9)),
        "p3": (graded(in_p3, BT709), (12, 1, 1)),
    }
    made = []
    for name, (frames, tags) in kinds.items():
        kind = "wide" if name == "p3" else name
        made.append(Case(f"{name}.mkv", partial(write, frames=frames, colors=tags, **deep), has_colors(kind, 6)))
    for name in ("pq", "hlg"):
        frames, tags = kinds[name]
        made.append(Case(f"{name}.mp4", partial(write, frames=frames, colors=tags, **hevc), has_colors(name, 6)))
    made.append(Case("sdr.mp4", lambda p: write(p, plain(MADE), options=X264), has_colors("sdr", 8)))
    return made


def rates() -> list[Case]:
    """Rates that cameras and phones have."""
    made = []
    for name, rate, wanted, step in (
        *(("24", 24, 24, 1), ("23.976", FILM, float(FILM), 1), ("29.97", NTSC, float(NTSC), 1), ("30", 30, 30, 1)),
        *(
            ("50", 50, 25, 2),
            ("59.94", 2 * NTSC, float(NTSC), 2),
            ("120", 120, 30, 4),
            ("47.952", 2 * FILM, float(FILM), 2),
        ),
    ):
        for suffix in ("mkv", "mp4"):
            make = partial(write, frames=plain(20 * step), rate=Fraction(rate), options=X264)
            made.append(Case(f"rate{name}.{suffix}", make, in_order(wanted, step)))
    wobble = [n / 30 + 0.004 * ((n * 7) % 5 - 2) * (n > 0) for n in range(40)]
    pulldown = [n // 2 * 5 / 60 + n % 2 * 3 / 60 for n in range(40)]
    for name, stamps, wanted in (("phone.mp4", wobble, 30), ("softfilm.mkv", pulldown, 24)):
        make = partial(write, frames=plain(40), rate=60, stamps=stamps, options=X264)
        made.append(Case(name, make, in_order(wanted)))
    return made


def avi() -> list[Case]:
    """Files whose pictures have no times of their own, with sound."""
    made = []
    for name, codec, options in (
        ("bframes264.avi", "libx264", X264 | {"bf": "3"}),
        ("plain264.avi", "libx264", X264 | {"bf": "0"}),
        ("bframes4.avi", "mpeg4", {"qscale": "2", "bf": "2"}),
        ("plain4.avi", "mpeg4", {"qscale": "2"}),
    ):
        make = partial(write, frames=plain(60), codec=codec, options=options, sound=pcm(beeps(2.4)))
        made.append(Case(name, make, in_order(25, most_lag_ms=1)))
    for name, codec, options in (("raw.h264", "libx264", X264 | {"bf": "3"}), ("raw.m4v", "mpeg4", {"qscale": "2"})):
        made.append(Case(name, partial(write, frames=plain(60), codec=codec, options=options), in_order(25)))
    return made


def sounds() -> list[Case]:
    """Sound whose times are not quite where its samples are."""

    def captured(n: int) -> float:
        return n * 0.05 + (0.018 if n % 2 else -0.021) * (n > 0)

    def paused(n: int) -> float:
        return n * 0.05 + 0.3 * (n >= 42)

    gapped = beeps(4.3)
    gapped = np.concatenate([gapped[:, : round(2.1 * SOUND_RATE)], gapped[:, round(2.4 * SOUND_RATE) :]], axis=1)
    made: Mapping[str, tuple[Any, Callable[[int], float] | None, float]] = {
        "even.mkv": (beeps(4), None, 1),
        "wobble.mkv": (beeps(4), captured, 3),
        "skew.mkv": (beeps(4, 1.004), lambda n: n * 0.05 * 1.004, 3),
        "gap.mkv": (gapped, paused, 1),
    }
    return [
        Case(name, partial(write, frames=plain(100), options=X264, sound=pcm(sound, stamp)), in_order(25, 1, most))
        for name, (sound, stamp, most) in made.items()
    ]


def others() -> list[Case]:
    """Transparent pictures."""
    ffv1 = {"codec": "ffv1", "pix_fmt": "bgra", "options": FFV1}
    prores = {"codec": "prores_ks", "pix_fmt": "yuva444p10le", "options": {"profile": "4444"}}
    vp9 = {"codec": "libvpx-vp9", "pix_fmt": "yuva420p", "options": {"crf": "10", "b": "0", "auto-alt-ref": "0"}}
    return [
        Case(name, partial(write, frames=transparent(MADE), **how), is_black_where_transparent)
        for name, how in (("ffv1.mkv", ffv1), ("prores.mov", prores), ("vp9.webm", vp9))
    ]


def main() -> int:
    """Make, read and judge; print a row each."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(tempfile.mkdtemp(prefix="media-cases-"))
    folder.mkdir(parents=True, exist_ok=True)
    wrong = 0
    for case in files():
        if sys.argv[2:] and case.name not in sys.argv[2:]:
            continue
        right, figures = judged(case, folder)
        wrong += not right
        sys.stdout.write(f"{'right' if right else 'WRONG':6} {case.name:16} {figures}\n")
        sys.stdout.flush()
    sys.stdout.write(f"{wrong} wrong\n")
    return wrong > 0


def judged(case: Case, folder: Path) -> tuple[bool, str]:
    """Whether a case is right, with its figures; footage that is set aside is wrong."""
    try:
        found = read(case.make(folder / case.name))
    except MediaError as error:
        return False, f"set aside: {error}"
    if not found.clips:
        return False, f"set aside: {', '.join(found.aside)}"
    return case.judge(found)


if __name__ == "__main__":
    sys.exit(main())
