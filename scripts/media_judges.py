"""What is right of what a run reads from a file, for `media_cases.py`."""

import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from media_makers import ROUND_SECONDS, beeps, combing, number_in, patch_errors

from datasets_spec import Clip, DatasetSpec, Media
from ltx_core.io.digest import file_digest
from ltx_core.media.audio import decode_audio
from ltx_core.media.clip import clip_audio, clip_frames
from ltx_core.media.errors import MediaError
from ltx_core.media.frames import decode_frames
from ltx_core.media.probe import probe_media
from ltx_core.media.quality import QualityThresholds
from ltx_core.media.split import split_media
from ltx_core.shapes import AUDIO_RATE

Verdict = tuple[bool, str]
MOST_COMBING = 0.006
FRAMES = 17
"""Of a clip."""


@dataclass(frozen=True)
class Case:
    """One file: how it is made, and what is wrong with what was read from it, with the figures found."""

    name: str
    make: Callable[[Path], Path]
    judge: Callable[[Any], Verdict]
    read: Callable[[Path], Any] | None = None
    """What is judged, if not the clips that a run would cut."""


@dataclass(frozen=True)
class Read:
    """What a run reads from a file: its row, its clips with their frames, and why it is set aside."""

    media: Media
    clips: list[Clip]
    aside: list[str]

    @property
    def frames(self) -> list[Any]:
        """Of all clips."""
        return [frame for clip in self.clips for frame in clip_frames(clip)]

    @property
    def numbers(self) -> list[int]:
        """Of all frames."""
        return [number_in(frame) for frame in self.frames]

    def wanted(self, step: int) -> list[int]:
        """Numbers that frames should have if every `step`th is shown, once."""
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


def reason(path: Path) -> str:
    """Why a file is set aside; an empty string if it is not."""
    try:
        return "" if (found := read(path)).clips else ", ".join(found.aside)
    except MediaError as error:
        return error.reason.value


def is_set_aside(wanted: str) -> Callable[[str], Verdict]:
    """It is set aside for this reason."""
    return lambda found: (found == wanted, f"set aside: {found or 'no'}")


def is_scanned(scan: str, step: int) -> Callable[[Read], Verdict]:
    """Frames are whole, each `step` numbers after the one before, and the file is known for what it is."""

    def judge(found: Read) -> Verdict:
        combed, numbers = max(map(combing, found.frames), default=1.0), found.numbers
        right = numbers == found.wanted(step) and len(numbers) >= FRAMES
        figures = f"{found.media.scan}, {found.media.usual_rate:.3f} fps, combed {combed:.4f}, numbers {numbers[:4]}"
        return right and combed <= MOST_COMBING and found.media.scan == scan, figures

    return judge


def has_colors(kind: str, most: float) -> Callable[[Read], Verdict]:
    """Patches are within `most` of 255 of those that were graded."""

    def judge(found: Read) -> Verdict:
        errors = np.stack([patch_errors(frame) for frame in found.frames])
        worst, mean = float(np.abs(errors.mean(axis=0)).max()), float(np.abs(errors.mean(axis=(0, 1))).max())
        return worst <= most and found.media.colors == kind, f"{found.media.colors}, {worst:.1f} off, mean {mean:.2f}"

    return judge


def in_order(
    rate: float, step: int = 1, most_lag_ms: float | None = None, *, first: int = 0, most_lost: float = 0.02
) -> Callable[[Read], Verdict]:
    """Clips at `rate` show every `step`th frame once, from number `first` on; their audio is within `most_lag_ms` of
    them, and no more than a share of its energy is lost."""

    def judge(found: Read) -> Verdict:
        numbers = found.numbers
        figures = f"{found.clips[0].frame_rate:.3f} fps, numbers {numbers[:5]}, {len(numbers)} in all"
        right = len(numbers) >= FRAMES and numbers == [first + n for n in found.wanted(step)]
        right = right and abs(found.clips[0].frame_rate - rate) < 1e-4
        if most_lag_ms is not None:
            worst, lost = sound_faults(found, first / rate)
            figures += f", audio {worst:.1f} ms off, {lost:.0%} lost"
            right = right and worst <= most_lag_ms and lost <= most_lost
        return right, figures

    return judge


def sound_faults(found: Read, begin: float = 0.0) -> tuple[float, float]:
    """How far the audio of any clip is off in milliseconds, and which share of its energy is not there; `begin`: the
    seconds of the beeps at which the file begins."""
    worst = lost = 0.0
    for clip in found.clips:
        heard = clip_audio(clip)
        if heard is None:
            return 1e9, 1.0
        lag, missing = compared(heard.mean(axis=0), begin + clip.start_seconds)
        worst, lost = max(worst, abs(lag)), max(lost, missing)
    return worst, lost


def compared(heard: Any, start: float) -> tuple[float, float]:
    """By how many milliseconds audio is late against the beeps from `start` seconds on, and which share of their
    energy it lacks."""
    whole = np.tile(beeps(ROUND_SECONDS)[0][::3], 1 + int(start // ROUND_SECONDS) + 1)
    begin = round(start * AUDIO_RATE)
    wanted = whole[begin : begin + len(heard)]
    size = 2 * len(wanted)
    lags = np.fft.irfft(np.conj(np.fft.rfft(wanted, size)) * np.fft.rfft(heard, size))
    lag = int(np.argmax(lags))
    energy = float(np.square(heard).sum() / np.square(wanted).sum())
    return (lag - size if lag > size // 2 else lag) * 1000 / AUDIO_RATE, 1 - energy


def joins_a_pause(found: Read) -> Verdict:
    """A long pause is one row that is set aside; clips on either side show every frame once, the one before the pause
    and what is seen of it excepted."""
    clips = np.reshape(found.numbers, (-1, FRAMES))
    steps = np.diff(clips)
    whole = clips[(steps == 1).all(axis=1)]
    right = bool(np.isin(steps, (0, 1)).all()) and found.aside == ["frozen"] and len(clips) - len(whole) <= 2
    figures = f"set aside: {found.aside}, clips begin at {clips[:, 0]}, {len(whole)} of {len(clips)} without the pause"
    return right and clips[0][0] == 0 and whole[-1][0] > whole[0][-1], figures


def keeps_shape(found: Read) -> Verdict:
    """Each half of a file that changes its shape is cut by its own shape, not squeezed: the second is square."""
    shapes = [f"{clip.width}x{clip.height}" for clip in found.clips]
    right = found.numbers == found.wanted(1) and shapes == 2 * ["256x160"] + 2 * ["160x160"]
    return right, f"clips of {shapes}, numbers {found.numbers[::FRAMES]}"


def costs_no_more_late(shown_for: int, seconds: float) -> Callable[[Path], Verdict]:
    """Frames and audio of a second near the end of a long file take little more time, and no more memory, than one
    near its beginning. Each number is shown for so many frames."""

    def judge(path: Path) -> Verdict:
        probe_media(path)
        spent, wrong = [], 0
        for start in (3.0, seconds - 5):
            begin, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            frames = list(decode_frames(path, [start + (n + 0.5) / 25 for n in range(25)]))
            heard = decode_audio(path, start, 1.0)
            grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
            spent.append((time.perf_counter() - begin, grown))
            numbers = [(round(start * 25) + n) // shown_for for n in range(25)]
            wrong += sum(a != b for a, b in zip(map(number_in, frames), numbers, strict=True))
            lag, lost = (1e9, 1.0) if heard is None else compared(heard.mean(axis=0), start)
            wrong += abs(lag) > 30 or lost > 0.2
        (early, _), (late, grown) = spent
        figures = f"{early:.2f} s at 3 s, {late:.2f} s and {grown:.0f} MiB more at {seconds - 5:.0f} s, {wrong} wrong"
        return not wrong and late <= 3 * early + 2 and grown <= 100, figures

    return judge


def is_black_where_transparent(found: Read) -> Verdict:
    """The left quarter, which is transparent, is black, and what is opaque as it was."""
    frame = found.frames[0].astype(float)
    left, right = frame[:, :56].mean(), np.abs(patch_errors(found.frames[0])[3:]).max()
    return found.media.has_alpha and left < 2 and right < 8, f"left {left:.1f}, opaque {right:.1f} off"
