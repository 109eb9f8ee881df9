"""Judge how odd footage is read, on files that this makes: `python scripts/media_cases.py [FOLDER] [NAMES...]`.

Each case is a small file such as cameras, discs, phones and capture cards leave, with a known truth: interlaced and
telecined frames, HDR and wide colours, frame rates, AVI without presentation times, audio with wobbling times,
transparency, several tracks, long streams without an index, clocks that jump, lost frames, and a folder of odd names
and of what is no file. It is probed, cut into clips and decoded as a run does; a table says what came out, and
whether it is right. Exits with 1 if anything is wrong. `--other` takes a second set, of other parameters.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Mapping
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np
from media_file_cases import file_cases
from media_judges import (
    Case,
    Read,
    Verdict,
    has_colors,
    in_order,
    is_black_where_transparent,
    is_scanned,
    read,
)
from media_makers import (
    AUDIO_RATE,
    BT709,
    BT2020,
    FIELDS_264,
    FILM,
    INTERLACED,
    NTSC,
    X264,
    beeps,
    fields,
    graded,
    in_2020,
    in_hlg,
    in_p3,
    in_pq,
    pcm,
    plain,
    telecined,
    transparent,
    write,
)
from media_other_cases import other_cases

from ltx_core.media.errors import MediaError


def files() -> list[Case]:
    """All cases."""
    return [*interlaced(), *colors(), *rates(), *avi(), *audio_cases(), *others(), *file_cases()]


def interlaced() -> list[Case]:
    """Frames in fields, and ones that only seem so."""
    tff, bff, film = partial(fields, 40), partial(fields, 40, top_first=False), partial(telecined, 64)
    advanced = partial(telecined, 64, top_first=False, pattern=(2, 3, 3, 2))
    mpeg, x264 = {"codec": "mpeg2video", "options": INTERLACED}, {"options": X264}
    return [
        Case("tff.mpg", lambda p: write(p, tff, 25, **mpeg), is_scanned("interlaced_tff", 2)),
        Case("bff.mov", lambda p: write(p, bff, NTSC, **x264), is_scanned("interlaced_bff", 2)),
        Case("flagged.ts", lambda p: write(p, tff, 25, options=FIELDS_264), is_scanned("interlaced_tff", 2)),
        Case("unflagged.mp4", lambda p: write(p, tff, 25, **x264), is_scanned("interlaced_tff", 2)),
        Case("film.mpg", lambda p: write(p, film, NTSC, **mpeg), is_scanned("telecined_tff", 1)),
        Case("film.mp4", lambda p: write(p, film, NTSC, **x264), is_scanned("telecined_tff", 1)),
        Case("advanced.mkv", lambda p: write(p, advanced, NTSC, **x264), is_scanned("telecined_bff", 1)),
        Case("psf.mpg", lambda p: write(p, partial(plain, 40), 25, **mpeg), is_scanned("progressive", 1)),
        Case("plain.mp4", lambda p: write(p, partial(plain, 40), 25, **x264), is_scanned("progressive", 1)),
    ]


def colors() -> list[Case]:
    """HDR and wide colours."""
    deep = {"codec": "ffv1", "pix_fmt": "yuv444p10le", "options": {"level": "3"}}
    hevc = {"codec": "libx265", "pix_fmt": "yuv420p10le", "options": {"crf": "8", "x265-params": "log-level=none"}}
    kinds = {
        "pq": (partial(graded, in_pq, BT2020), (9, 16, 9)),
        "hlg": (partial(graded, in_hlg, BT2020), (9, 18, 9)),
        "wide": (partial(graded, in_2020, BT2020), (9, 14, 9)),
        "p3": (partial(graded, in_p3, BT709), (12, 1, 1)),
    }
    made = []
    for name, (frames, tags) in kinds.items():
        kind = "wide" if name == "p3" else name
        made.append(Case(f"{name}.mkv", partial(write, frames=frames, colors=tags, **deep), has_colors(kind, 6)))
    for name in ("pq", "hlg"):
        frames, tags = kinds[name]
        made.append(Case(f"{name}.mp4", partial(write, frames=frames, colors=tags, **hevc), has_colors(name, 6)))
    frames, tags = kinds["hlg"]  # ProRes as editors write it: the container alone says which colours it has
    prores = {"codec": "prores_ks", "pix_fmt": "yuv422p10le", "options": {"profile": "3"}}
    made.append(Case("hlg.mov", partial(write, frames=frames, colors=tags, **prores), has_colors("hlg", 6)))
    made.append(Case("sdr.mp4", lambda p: write(p, partial(plain, 24), options=X264), has_colors("sdr", 8)))
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
            make = partial(write, frames=partial(plain, 20 * step), rate=Fraction(rate), options=X264)
            made.append(Case(f"rate{name}.{suffix}", make, in_order(wanted, step)))
    wobble = [n / 30 + 0.004 * ((n * 7) % 5 - 2) * (n > 0) for n in range(40)]
    pulldown = [n // 2 * 5 / 60 + n % 2 * 3 / 60 for n in range(40)]
    for name, stamps, wanted in (("phone.mp4", wobble, 30), ("softfilm.mkv", pulldown, 24)):
        make = partial(write, frames=partial(plain, 40), rate=60, stamps=stamps, options=X264)
        made.append(Case(name, make, in_order(wanted)))
    return made


def avi() -> list[Case]:
    """Files whose frames have no times of their own, with audio."""
    made = []
    for name, codec, options in (
        ("bframes264.avi", "libx264", X264 | {"bf": "3"}),
        ("plain264.avi", "libx264", X264 | {"bf": "0"}),
        ("bframes4.avi", "mpeg4", {"qscale": "2", "bf": "2"}),
        ("plain4.avi", "mpeg4", {"qscale": "2"}),
    ):
        make = partial(write, frames=partial(plain, 60), codec=codec, options=options, audio=pcm(beeps(2.4)))
        made.append(Case(name, make, in_order(25, most_lag_ms=1)))
    for name, codec, options in (("raw.h264", "libx264", X264 | {"bf": "3"}), ("raw.m4v", "mpeg4", {"qscale": "2"})):
        made.append(Case(name, partial(write, frames=partial(plain, 60), codec=codec, options=options), in_order(25)))
    return made


def audio_cases() -> list[Case]:
    """Audio whose times are not quite where its samples are."""

    def captured(n: int) -> float:
        return n * 0.05 + (0.018 if n % 2 else -0.021) * (n > 0)

    def paused(n: int) -> float:
        return n * 0.05 + 0.3 * (n >= 42)

    gapped = beeps(4.3)
    gapped = np.concatenate([gapped[:, : round(2.1 * AUDIO_RATE)], gapped[:, round(2.4 * AUDIO_RATE) :]], axis=1)
    made: Mapping[str, tuple[Any, Callable[[int], float] | None, float]] = {
        "even.mkv": (beeps(4), None, 1),
        "wobble.mkv": (beeps(4), captured, 3),
        "skew.mkv": (beeps(4, 1.004), lambda n: n * 0.05 * 1.004, 3),
        "gap.mkv": (gapped, paused, 1),
    }
    return [
        Case(
            name,
            partial(write, frames=partial(plain, 100), options=X264, audio=pcm(audio, stamp)),
            in_order(25, 1, most),
        )
        for name, (audio, stamp, most) in made.items()
    ]


def others() -> list[Case]:
    """Transparent frames."""
    ffv1 = {"codec": "ffv1", "pix_fmt": "bgra", "options": {"level": "3"}}
    prores = {"codec": "prores_ks", "pix_fmt": "yuva444p10le", "options": {"profile": "4444"}}
    vp9 = {"codec": "libvpx-vp9", "pix_fmt": "yuva420p", "options": {"crf": "10", "b": "0", "auto-alt-ref": "0"}}
    return [
        Case(name, partial(write, frames=partial(transparent, 24), **how), is_black_where_transparent)
        for name, how in (("ffv1.mkv", ffv1), ("prores.mov", prores), ("vp9.webm", vp9))
    ]


def main() -> int:
    """Make, read and judge; print a row each."""
    wanted = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    wanted.add_argument("folder", nargs="?", type=Path, help="where files are made; one that is new if left out")
    wanted.add_argument("names", nargs="*", help="cases; all if left out")
    wanted.add_argument("--other", action="store_true", help="the second set, of other parameters")
    given = wanted.parse_intermixed_args()
    folder = given.folder or Path(tempfile.mkdtemp(prefix="media-cases-"))
    folder.mkdir(parents=True, exist_ok=True)
    verdicts = []
    for case in other_cases() if given.other else files():
        if given.names and case.name not in given.names:
            continue
        right, figures = judged(case, folder)
        verdicts.append(right)
        sys.stdout.write(f"{'right' if right else 'WRONG':6} {case.name:16} {figures}\n")
        sys.stdout.flush()
    sys.stdout.write(f"{sum(verdicts)} right, {verdicts.count(False)} wrong\n")
    return not all(verdicts)


def judged(case: Case, folder: Path) -> Verdict:
    """Whether a case is right, with its figures; footage that is set aside is wrong, if that is not what is judged."""
    try:
        made = case.make(folder / case.name)
    except av.FFmpegError as error:
        return False, f"not made: {error}"
    try:
        found = (case.read or read)(made)
    except MediaError as error:
        return False, f"set aside: {error}"
    if isinstance(found, Read) and not found.clips:
        return False, f"set aside: {', '.join(found.aside)}"
    return case.judge(found)


if __name__ == "__main__":
    sys.exit(main())
