"""Cases of the same kinds as `media_cases.py` with other containers, codecs, rates, orders, jumps and stamps: a second
set, that nothing was tuned by when it was first judged (docs/footage.md has how it came out)."""

from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np
from media_file_cases import begun_amid, joined, long_stream, preview, stamped, without
from media_judges import (
    Case,
    has_colors,
    in_order,
    is_black_where_transparent,
    is_scanned,
    is_set_aside,
    joins_a_pause,
    reason,
)
from media_makers import (
    AUDIO_RATE,
    BT709,
    BT2020,
    FIELDS_264,
    INTERLACED,
    NTSC,
    X264,
    beeps,
    coded,
    fields,
    graded,
    in_2020,
    in_hlg,
    in_p3,
    in_pq,
    pcm,
    plain,
    several,
    telecined,
    tone,
    transparent,
    video_track,
    write,
)

PRORES = {"codec": "prores_ks", "pix_fmt": "yuv422p10le", "options": {"profile": "3"}}
MPEG2 = {"codec": "mpeg2video", "options": INTERLACED}
H264 = {"options": X264}
AV1 = {"codec": "libsvtav1", "pix_fmt": "yuv420p10le", "options": {"crf": "8", "preset": "8"}}


def other_cases() -> list[Case]:
    """All of them."""
    return [*interlaced(), *colors(), *rates(), *audio_cases(), *tracks(), *jumps(), *losses(), *others()]


def interlaced() -> list[Case]:
    """Other rates, orders, codecs and patterns."""
    film = partial(telecined, 64)
    made = (
        ("tff30.mkv", partial(fields, 40), 30, {"options": FIELDS_264}, "interlaced_tff", 2),
        (
            "bff25.mpg",
            partial(fields, 40, top_first=False),
            25,
            MPEG2 | {"options": INTERLACED | {"top": "0"}},
            "interlaced_bff",
            2,
        ),
        ("tff.prores.mov", partial(fields, 30), 25, PRORES, "interlaced_tff", 2),
        ("bff.mxf", partial(fields, 40, top_first=False), NTSC, MPEG2 | {"pix_fmt": "yuv422p"}, "interlaced_bff", 2),
        ("film_bff.ts", partial(film, top_first=False), NTSC, H264, "telecined_bff", 1),
        ("film24.mkv", film, 30, H264, "telecined_tff", 1),
        ("film3223.mpg", partial(film, pattern=(3, 2, 2, 3)), NTSC, MPEG2, "telecined_tff", 1),
        ("film2332.mov", partial(film, pattern=(2, 3, 3, 2)), NTSC, PRORES, "telecined_tff", 1),
    )
    cases = [
        Case(name, partial(write, frames=woven, rate=rate, **how), is_scanned(scan, step))
        for name, woven, rate, how, scan, step in made
    ]
    psf = partial(write, frames=partial(plain, 40), rate=NTSC, options=FIELDS_264)
    return [*cases, Case("psf.ts", psf, is_scanned("progressive", 1))]


def colors() -> list[Case]:
    """Other codecs, ranges of bits and rates."""
    x264 = {"codec": "libx264", "pix_fmt": "yuv422p10le", "options": {"crf": "6"}}
    hevc = {"codec": "libx265", "pix_fmt": "yuv420p10le", "options": {"crf": "8", "x265-params": "log-level=none"}}
    made = (
        ("pq.webm", in_pq, BT2020, (9, 16, 9), AV1, "pq"),
        ("pq422.mkv", in_pq, BT2020, (9, 16, 9), x264, "pq"),
        ("hlg.mov", in_hlg, BT2020, (9, 18, 9), PRORES, "hlg"),
        ("hlg.ts", in_hlg, BT2020, (9, 18, 9), hevc, "hlg"),
        ("wide.av1.mp4", in_2020, BT2020, (9, 14, 9), AV1, "wide"),
        ("p3.mov", in_p3, BT709, (12, 1, 1), PRORES, "wide"),
    )
    return [
        Case(
            name, partial(write, frames=partial(graded, grade, luma), rate=24, colors=tags, **how), has_colors(kind, 6)
        )
        for name, grade, luma, tags, how, kind in made
    ]


def rates() -> list[Case]:
    """Other rates, and stamps that wobble otherwise."""
    vp8 = {"codec": "libvpx", "options": {"b": "6M", "crf": "4"}}
    mjpeg = {"codec": "mjpeg", "pix_fmt": "yuvj420p", "options": {"qscale": "2"}}
    wmv = {"codec": "wmv2", "options": {"qscale": "2"}}
    made: tuple[tuple[str, Fraction | int, float, int, dict[str, Any]], ...] = (
        ("12.webm", 12, 12, 1, vp8),
        ("15.flv", 15, 15, 1, H264),
        ("14.985.mov", NTSC / 2, float(NTSC) / 2, 1, mjpeg),
        ("20.wmv", 20, 20, 1, wmv),
        ("72.mp4", 72, 24, 3, H264),
        ("90.mkv", 90, 30, 3, H264),
        ("100.ts", 100, 25, 4, H264),
        ("119.88.mov", 4 * NTSC, float(NTSC), 4, H264),
        ("144.mp4", 144, 28.8, 5, H264),
    )
    cases = [
        Case(name, partial(write, frames=partial(plain, 24 * step), rate=rate, **how), in_order(wanted, step))
        for name, rate, wanted, step, how in made
    ]
    wobbles = [n / 24 + 0.006 * ((n * 5) % 7 - 3) / 3 * (n > 0) for n in range(60)]
    film = [n // 2 * 5 / 60 + n % 2 * 2 / 60 for n in range(60)]
    return [
        *cases,
        Case("wobble24.mkv", partial(stamped, times=wobbles, rate=24), in_order(24)),
        Case("softfilm32.mp4", partial(stamped, times=film, rate=60), in_order(24)),
    ]


def audio_cases() -> list[Case]:
    """AVI with other codecs; audio with other wobbles, slides and gaps."""
    mp3, main = coded(beeps(4), "libmp3lame"), beeps(4)
    ut = {"codec": "utvideo", "options": {}}
    gapped = np.concatenate([main[:, : AUDIO_RATE * 21 // 20], main[:, AUDIO_RATE * 29 // 20 :]], axis=1)
    shaken = partial(pcm, main, lambda n: n * 0.05 + (0.03 if n % 3 == 0 else -0.015) * (n > 0))
    slow = partial(pcm, beeps(4, 0.997), lambda n: n * 0.05 * 0.997)
    made: tuple[tuple[str, Fraction | int, dict[str, Any], Any, float, float], ...] = (
        ("asp_mp3.avi", 25, {"codec": "mpeg4", "options": {"qscale": "2", "bf": "1"}}, mp3, 5, 0.1),
        ("bf5.avi", 24, {"options": X264 | {"bf": "5", "b-pyramid": "normal"}}, pcm(main), 1, 0.02),
        ("ut.avi", 30, ut, pcm(main), 1, 0.02),
        ("shaken.mkv", 25, H264, shaken(), 4, 0.02),
        ("slow.mkv", 25, H264, slow(), 3, 0.02),
        ("gap400.mkv", 30, H264, pcm(gapped, lambda n: n * 0.05 + 0.4 * (n >= 21)), 1, 0.02),
        ("opus.webm", 30, {"codec": "libvpx", "options": {"b": "6M", "crf": "4"}}, coded(main, "libopus"), 8, 0.1),
    )
    cases = [
        Case(
            name,
            partial(write, frames=partial(plain, 100), rate=rate, audio=audio, **how),
            in_order(rate, 1, lag, most_lost=lost),
        )
        for name, rate, how, audio, lag, lost in made
    ]
    hevc = {"codec": "libx265", "options": {"crf": "8", "x265-params": "log-level=none:bframes=3"}}
    return [*cases, Case("raw.hevc", partial(write, frames=partial(plain, 60), **hevc), in_order(25))]


def tracks() -> list[Case]:
    """More tracks, other containers."""
    main, other = beeps(2.4), tone(2.4)
    three = several(pcm(other, default=False), pcm(other / 2, default=False), pcm(main, default=True))
    after = several(video_track(partial(preview, 72), 30, default=False, **H264), pcm(main))
    two = several(coded(main), coded(other))
    return [
        Case("sound3.mkv", partial(write, frames=partial(plain, 60), audio=three, **H264), in_order(25, 1, 1)),
        Case(
            "sound1.ts",
            partial(write, frames=partial(plain, 60), audio=two, **H264),
            in_order(25, 1, 30, most_lost=0.2),
        ),
        Case(
            "sound1.mp4",
            partial(write, frames=partial(plain, 60), audio=two, **H264),
            in_order(25, 1, 30, most_lost=0.2),
        ),
        Case("video1.mp4", partial(write, frames=partial(plain, 72), rate=30, audio=after, **H264), in_order(30, 1, 1)),
        Case(
            "video1.ts",
            partial(
                write, frames=partial(plain, 72), rate=30, audio=video_track(partial(preview, 72), 30, **H264), **H264
            ),
            in_order(30),
        ),
    ]


def jumps() -> list[Case]:
    """Other containers, lengths and distances; long streams of other codecs."""
    judge = in_order(25, 1, 30, most_lost=0.2)
    mpeg2 = {"codec": "mpeg2video", "options": {"qscale": "2", "g": "15", "bf": "2"}}
    negative = {"times": [-0.6 + n / 25 for n in range(80)], "muxer": {"avoid_negative_ts": "disabled"}}
    pause = [n / 30 + 2400 * (n >= 70) for n in range(140)]
    return [
        Case("restart.m2ts", partial(joined, begin=0.0, each=75), judge),
        Case("day.ts", partial(joined, begin=80_000.0, each=40), judge),
        Case("back.ts", partial(joined, begin=0.8, each=60), judge),
        Case("minute.flv", partial(joined, begin=60.0, each=60), judge),
        Case("restart.vob", partial(joined, begin=0.0, each=60, audio_codec="ac3", **mpeg2), judge),
        Case("restart2.ts", partial(joined, begin=0.0, each=60, audio_codec="mp2", **mpeg2), judge),
        Case("midgop.m2ts", begun_amid, in_order(25, 1, 30, first=25, most_lost=0.2)),
        Case("pause.mp4", partial(stamped, times=pause), joins_a_pause),
        Case("hour.mov", partial(stamped, times=[3600 + n / 24 for n in range(60)], rate=24), in_order(24)),
        Case("negative.mkv", partial(stamped, **negative), in_order(25)),
        long_stream("long.m2ts", "mpeg2video", {"qscale": "6"}, "ac3", 160),
        long_stream("long.flv", "libx264", X264 | {"preset": "ultrafast"}, "aac", 160),
    ]


def losses() -> list[Case]:
    """Frames lost from other streams; and frames that the camera left out, which is no loss."""
    left_out = [(n + 4 * (n > 30) + 7 * (n > 61)) / 30 for n in range(90)]
    hevc = {"codec": "libx265", "options": {"crf": "8", "x265-params": "keyint=25:scenecut=0:log-level=none:bframes=0"}}
    pyramid = {"options": X264 | {"g": "25", "x264-params": "scenecut=0:bframes=3:open-gop=0"}}
    made = (
        ("pyramid.mov", partial(without, lost=25, **pyramid), "decode_error"),
        ("fields.ts", partial(without, lost=30, options=FIELDS_264 | {"g": "25", "bf": "0"}), "decode_error"),
        ("refs.mkv", partial(without, lost=40, options=X264 | {"g": "60", "refs": "4", "bf": "0"}), "decode_error"),
        ("hevc.mp4", partial(without, lost=30, **hevc), "decode_error"),
        ("hevc key.mkv", partial(without, lost=25, **hevc), "decode_error"),
        ("left out.mkv", partial(stamped, times=left_out), ""),
    )
    return [Case(name, make, is_set_aside(wanted), reason) for name, make, wanted in made]


def others() -> list[Case]:
    """Transparency in other codecs."""
    vp8 = {"codec": "libvpx", "pix_fmt": "yuva420p", "options": {"b": "6M", "crf": "4", "auto-alt-ref": "0"}}
    made = (
        ("png.mov", {"codec": "png", "pix_fmt": "rgba"}),
        ("qtrle.mov", {"codec": "qtrle", "pix_fmt": "argb"}),
        ("vp8.webm", vp8),
    )
    return [
        Case(name, partial(write, frames=partial(transparent, 24), **how), is_black_where_transparent)
        for name, how in made
    ]
