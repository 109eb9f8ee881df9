"""Pictures of what was cut: one sheet a dataset and split."""

from collections.abc import Mapping, Sequence

from datasets_spec import Clip
from ltx_core.media.clip import clip_files, clip_seconds
from ltx_core.media.contact_sheet import contact_sheet
from ltx_core.media.errors import MediaError
from ltx_core.media.rates import resampled
from ltx_core.media.whole_clip import some_frames
from tasks.file_reading import FileJob, read_files
from tasks.stage_run import StageRun

THUMBNAILS = 5


def draw_contact_sheets(clips: Sequence[Clip], rates: Mapping[str, float], run: StageRun) -> None:
    """Draw the first clips of each dataset and split, a row each, with caption and figures.

    `rates`: the usual frame rate of each file, by its id.
    """
    for name in sorted({(clip.dataset, clip.split) for clip in clips}):
        of_sheet = sorted((c for c in clips if (c.dataset, c.split) == name), key=lambda clip: clip.clip_id)
        chosen = {clip.clip_id: clip for clip in of_sheet[: run.config.contact_sheet_clips]}
        jobs = [FileJob(key, clip_files(clip), some_frames, (clip, _picked(clip))) for key, clip in chosen.items()]
        rows = []
        for key, frames in read_files(jobs, run, "drawing contact sheets"):
            if isinstance(frames, MediaError):
                run.progress.note(f"{key} is not on its contact sheet: {frames}")
            else:
                rows.append((_label(chosen[key], rates[chosen[key].media_id]), frames))
        if rows:
            contact_sheet(rows, run.out / f"contact-sheet-{name[0]}-{name[1]}.png")


def _picked(clip: Clip) -> list[int]:
    return [round(i * (clip.num_frames - 1) / (THUMBNAILS - 1)) for i in range(THUMBNAILS)]


def _label(clip: Clip, usual_rate: float) -> str:
    sound = (
        f"{clip.audio} {clip.loudness_db:.0f} dB" if clip.audio not in ("none", "broken") else f"sound: {clip.audio}"
    )
    changed = resampled(usual_rate, clip.frame_rate, clip_seconds(clip)) if clip.phase_seconds == 0 else ""
    rate = f"{clip.frame_rate:g} fps" + (f" ({changed})" if changed else "")
    return f"{clip.clip_id}  {clip.bucket}  {rate}  {sound}  motion {clip.motion:.3f}  |  {clip.caption}"
