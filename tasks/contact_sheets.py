"""Pictures of what was cut: one sheet a dataset and split."""

from collections.abc import Sequence
from pathlib import Path

from datasets_spec import Clip
from ltx_core.media.contact_sheet import contact_sheet
from ltx_core.media.errors import MediaError
from ltx_core.media.whole_clip import some_frames
from tasks.file_reading import FileJob, read_files
from tasks.stage import Work

THUMBNAILS = 5


def draw_contact_sheets(clips: Sequence[Clip], work: Work) -> None:
    """Draw the first clips of each dataset and split, a row each, with caption and figures."""
    for name in sorted({(clip.dataset, clip.split) for clip in clips}):
        of_sheet = sorted((c for c in clips if (c.dataset, c.split) == name), key=lambda clip: clip.clip_id)
        chosen = {clip.clip_id: clip for clip in of_sheet[: work.config.contact_sheet_clips]}
        jobs = [FileJob(key, Path(clip.path), some_frames, (clip, _picked(clip))) for key, clip in chosen.items()]
        rows = []
        for key, frames in read_files(jobs, work, "drawing contact sheets"):
            if isinstance(frames, MediaError):
                work.progress.note(f"{key} is not on its contact sheet: {frames}")
            else:
                rows.append((_label(chosen[key]), frames))
        if rows:
            contact_sheet(rows, work.out / f"contact-sheet-{name[0]}-{name[1]}.png")


def _picked(clip: Clip) -> list[int]:
    return [round(i * (clip.num_frames - 1) / (THUMBNAILS - 1)) for i in range(THUMBNAILS)]


def _label(clip: Clip) -> str:
    sound = (
        f"{clip.audio} {clip.loudness_db:.0f} dB" if clip.audio not in ("none", "broken") else f"sound: {clip.audio}"
    )
    return (
        f"{clip.clip_id}  {clip.bucket}  {clip.frame_rate:g} fps  {sound}  motion {clip.motion:.3f}  |  {clip.caption}"
    )
