"""Cases of whole files for `media_cases.py`: tracks, long streams, jumps of the clock, lost frames, odd names."""

import os
import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np
from media_judges import (
    FRAMES,
    Case,
    Verdict,
    costs_no_more_late,
    in_order,
    is_set_aside,
    joins_a_pause,
    keeps_shape,
    reason,
)
from media_makers import (
    AUDIO_RATE,
    HEIGHT,
    ROUND_SECONDS,
    X264,
    beeps,
    coded,
    numbered,
    pcm,
    plain,
    rgb_frame,
    several,
    tone,
    video_track,
    write,
)

from flows.config import load_config
from flows.plan import Selection
from flows.run import run_stages
from tasks import STAGES
from tasks.runtime.execute import execute, read_quarantine
from tasks.runtime.launch import reuse_or_build

SHORT_GOPS = X264 | {"g": "25", "x264-params": "scenecut=0"}
TS_PACKET = 188


def file_cases() -> list[Case]:
    """All of them."""
    return [*tracks(), *long_streams(), *jumps(), *losses(), Case("names", odd_folder, as_named, run_on)]


def preview(count: int) -> list[Any]:
    """Something else than numbered frames."""
    return [rgb_frame(np.full((96, 128, 3), (190, 20, 20), dtype=np.uint8))] * count


def tracks() -> list[Case]:
    """Several tracks of a kind: the one that is marked as default is taken, else the first; a cover never is."""
    main, other, shown = beeps(2.4), tone(2.4), partial(plain, 60)
    x264: dict[str, Any] = {"options": X264}
    cover = {"codec": "mjpeg", "pix_fmt": "yuvj420p", "is_cover": True}
    second = several(pcm(other, default=False), pcm(main, default=True))
    judge = in_order(25, 1, 1)
    coded_judge = in_order(25, 1, 30, most_lost=0.2)
    preview_first = several(video_track(shown, default=True, **x264), pcm(main))
    aac = several(coded(other, default=False), coded(main, default=True))
    return [
        Case("sound2.mkv", partial(write, frames=shown, audio=second, **x264), judge),
        Case("sound2.mov", partial(write, frames=shown, audio=second, **x264), judge),
        Case("sound2.mp4", partial(write, frames=shown, audio=aac, **x264), coded_judge),
        Case("sound1.mkv", partial(write, frames=shown, audio=several(pcm(main), pcm(other)), **x264), judge),
        Case("sound1.avi", partial(write, frames=shown, audio=several(pcm(main), pcm(other)), **x264), judge),
        Case(
            "video2.mkv", partial(write, frames=partial(preview, 60), default=False, audio=preview_first, **x264), judge
        ),
        Case(
            "video2.mov", partial(write, frames=partial(preview, 60), default=False, audio=preview_first, **x264), judge
        ),
        Case(
            "cover.mp4",
            partial(write, frames=shown, audio=video_track(partial(preview, 1), **cover), **x264),
            in_order(25),
        ),
    ]


def long_streams() -> list[Case]:
    """Streams without an index, of which the audio of a late clip once took a minute and gigabytes."""
    return [
        long_stream("long.mpg", "mpeg1video", {"qscale": "6"}, "mp2"),
        long_stream("long.vob", "mpeg2video", {"qscale": "6", "bf": "2"}, "ac3"),
        long_stream("long.ogv", "libvpx", {"b": "1M", "deadline": "realtime", "cpu-used": "8"}, "libopus"),
        long_stream("long.ts", "libx264", X264 | {"preset": "ultrafast"}, "aac"),
    ]


def long_stream(name: str, codec: str, options: dict[str, str], audio_codec: str, seconds: int = 240) -> Case:
    """A stream of so many seconds, which shows each number for some time."""

    def make(path: Path) -> Path:
        once = plain(256)
        frames = [once[n // shown_for] for n in range(seconds * 25)]
        audio = coded(beeps(ROUND_SECONDS), audio_codec, rounds=seconds // ROUND_SECONDS)
        return write(path, frames, codec=codec, options=options, audio=audio)

    shown_for = -(-seconds * 25 // 256)
    return Case(name, make, costs_no_more_late(shown_for, seconds), lambda path: path)


def jumps() -> list[Case]:
    """Joined recordings, clocks that start again or begin anywhere, pauses."""
    judge = in_order(25, 1, 30, most_lost=0.2)
    mpeg2 = {"codec": "mpeg2video", "options": {"qscale": "2", "g": "12"}}
    made = [
        Case("restart.ts", partial(joined, begin=0.0), judge),
        Case("ahead.ts", partial(joined, begin=3600.0), judge),
        Case("overlap.ts", partial(joined, begin=1.92), judge),
        Case("restart.flv", partial(joined, begin=0.0), judge),
        Case("ahead.flv", partial(joined, begin=3600.0), judge),
        Case("restart.mpg", partial(joined, begin=0.0, audio_codec="mp2", **mpeg2), judge),
        Case("shape.ts", two_shapes, keeps_shape),
        Case("midgop.ts", begun_amid, in_order(25, 1, 30, first=25, most_lost=0.2)),
        Case("pause.mkv", partial(stamped, times=[n / 25 + 600 * (n >= 50) for n in range(100)]), joins_a_pause),
    ]
    for name, begin in (("hour.mkv", 3600.0), ("wrap.ts", 2**33 / 90_000 - 2), ("ten hours.ts", 36_000.0)):
        audio = coded(beeps(4), begin=begin) if name.endswith("ts") else None
        make = partial(stamped, times=[begin + n / 25 for n in range(100)], audio=audio)
        made.append(Case(name, make, judge if audio else in_order(25)))
    return made


def stamped(path: Path, times: Sequence[float], **how: Any) -> Path:
    """Numbered frames at these times."""
    return write(path, plain(len(times)), stamps=times, **({"options": X264} | how))


def joined(path: Path, begin: float, each: int = 50, audio_codec: str = "aac", **how: Any) -> Path:
    """Two recordings of so many frames one after another; the clock of the second begins at `begin` seconds. Of
    Flash, the second without its header, as servers append."""
    whole, data = beeps(2 * each / 25), b""
    for first, start in ((0, 0.0), (each, begin)):
        half = path.with_name(f"half {path.name}")
        times = {"stamps": [start + n / 25 for n in range(each)]} if how.get("codec", "libx264") == "libx264" else {}
        piece = whole[:, first * AUDIO_RATE // 25 : (first + each) * AUDIO_RATE // 25]
        audio = coded(piece, audio_codec, begin=start)
        write(half, plain(each, first), audio=audio, **({"options": X264} | times | how))
        data += half.read_bytes()[13 if first and path.suffix == ".flv" else 0 :]
        half.unlink()
    path.write_bytes(data)
    return path


def two_shapes(path: Path) -> Path:
    """Frames of 256x160, then the same between black bars, 256x240."""
    bars = np.zeros(((240 - HEIGHT) // 2, 256, 3), dtype=np.uint8)
    framed = [rgb_frame(np.concatenate([bars, numbered(n), bars])) for n in range(40, 80)]
    data = b""
    for frames, start in ((plain(40), 0.0), (framed, 1.6)):
        write(path, frames, stamps=[start + n / 25 for n in range(40)], options=X264)
        data += path.read_bytes()
    path.write_bytes(data)
    return path


def begun_amid(path: Path) -> Path:
    """A recording that lacks its beginning: its first whole frame is number 25."""
    write(path, plain(120), options=SHORT_GOPS | {"bf": "0"}, audio=coded(beeps(4.8)))
    data = path.read_bytes()
    with av.open(str(path)) as container:
        places = [packet.pos for packet in container.demux(video=0) if packet.size]
    path.write_bytes(data[: 3 * TS_PACKET] + data[places[12] :])
    return path


def losses() -> list[Case]:
    """H.264 that lacks a frame is set aside: decoders make up what follows."""
    made = []
    for suffix, lost in (("mkv", 25), ("mp4", 50), ("ts", 30), ("flv", 25)):
        make = partial(without, lost=lost)
        made.append(Case(f"lost{lost}.{suffix}", make, is_set_aside("decode_error"), reason))
    return made


def without(path: Path, lost: int, **how: Any) -> Path:
    """A recording without one of its packets."""
    whole = write(path.with_name(f"whole {path.name}"), plain(75), **({"options": SHORT_GOPS | {"bf": "0"}} | how))
    with av.open(str(whole)) as source, av.open(str(path), "w") as container:
        stream = container.add_stream_from_template(source.streams.video[0])
        for n, packet in enumerate(packet for packet in source.demux(video=0) if packet.size):
            if n != lost:
                packet.stream = stream
                container.mux(packet)
    whole.unlink()
    return path


ODD_NAMES = (b"new\nline", "日本語 🎬".encode(), b"100%d #1? & 'quotes'", b"\x1b[1mescape", b"-dash", b"x" * 240)
"""Of videos that are footage; each has a caption NAME.TXT beside NAME.MP4."""
NO_FOOTAGE = {
    r"caf\xe9.mp4": "unreadable",
    "device.mp4": "unreadable",
    "link to a pipe.mp4": "unreadable",
    "nowhere.mp4": "unreadable",
    "piped caption.mp4": "bad_caption",
    "caption is a folder.mp4": "bad_caption",
}
"""What is set aside, and why. A pipe itself is passed over."""


def odd_folder(folder: Path) -> Path:
    """Footage with odd names, and what is no file."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for n, name in enumerate((*ODD_NAMES, b"caf\xe9", b"piped caption", b"caption is a folder")):
        path = Path(os.fsdecode(os.fsencode(folder) + b"/" + name))
        write(path.with_suffix(".MP4" if name in ODD_NAMES else ".mp4"), plain(20, 20 * n), options=X264)
        if name in ODD_NAMES:
            path.with_suffix(".TXT").write_text(f"Picture {n}.")
    os.mkfifo(folder / "piped caption.txt")
    (folder / "caption is a folder.txt").mkdir()
    os.mkfifo(folder / "pipe.mp4")
    (folder / "device.mp4").symlink_to("/dev/zero")
    (folder / "link to a pipe.mp4").symlink_to(folder / "pipe.mp4")
    (folder / "nowhere.mp4").symlink_to("/nowhere.mp4")
    return folder


def run_on(folder: Path) -> Any:
    """The rows of `probe` and `split` of a folder of footage, and what they set aside."""
    workspace = folder.with_name(f"{folder.name} workspace")
    shutil.rmtree(workspace, ignore_errors=True)
    video = {"num_frames": FRAMES}
    dataset = {"id": "set", "instance_data_dir": str(folder), "resolution": 160, "resolution_type": "pixel"}
    values = {
        "workspace": str(workspace),
        "datasets": [dataset | {"eval_fraction": 0, "video": video}],
        "model": {"checkpoint": "none.safetensors"},
        "prompts": {"validation": ["A test."]},
        "limits": {"max_quarantined_fraction": 0.9},
        "memory": {"device": "cpu", "cpu_threads": 1},
    }
    done = run_stages(
        load_config(values, {"split.remove_duplicates": False}),
        Selection(STAGES[:2], frozenset()),
        lambda run: reuse_or_build(run, execute),
    )
    reasons = {row.source: row.reason.value for result in done for row in read_quarantine(result.manifest)}
    return [list(result.manifest) for result in done], reasons


def as_named(found: Any) -> Verdict:
    """Every video is a row with its caption, and everything else a reason."""
    (media, clips), reasons = found
    wanted = {os.fsdecode(name) + ".MP4": f"Picture {n}." for n, name in enumerate(ODD_NAMES)}
    right = {row.relpath: row.caption for row in media} == wanted and len(clips) == len(wanted)
    return right and reasons == NO_FOOTAGE, f"{len(media)} videos, {len(clips)} clips, set aside: {reasons}"
