"""Pictures of what was cut: one sheet a dataset and split."""

from collections.abc import Sequence
from pathlib import Path

from datasets_spec import Clip
from ltx_core.media.clip import clip_frames
from ltx_core.media.contact_sheet import contact_sheet
from ltx_core.progress import Progress, stop_if_asked

THUMBNAILS = 5


def draw_contact_sheets(clips: Sequence[Clip], folder: Path, num_clips: int, progress: Progress) -> None:
    """Draw the first `num_clips` clips of each dataset and split, a row each, with caption and figures."""
    for name in sorted({(clip.dataset, clip.split) for clip in clips}):
        chosen = sorted((c for c in clips if (c.dataset, c.split) == name), key=lambda clip: clip.clip_id)[:num_clips]
        rows = []
        for clip in chosen:
            stop_if_asked(progress, "drawing contact sheets")
            frames = clip_frames(clip)
            picked = frames[[round(i * (len(frames) - 1) / (THUMBNAILS - 1)) for i in range(THUMBNAILS)]]
            rows.append((_label(clip), picked))
        if rows:
            contact_sheet(rows, folder / f"contact-sheet-{name[0]}-{name[1]}.png")


def _label(clip: Clip) -> str:
    sound = (
        f"{clip.audio} {clip.loudness_db:.0f} dB" if clip.audio not in ("none", "broken") else f"sound: {clip.audio}"
    )
    return (
        f"{clip.clip_id}  {clip.bucket}  {clip.frame_rate:g} fps  {sound}  motion {clip.motion:.3f}  |  {clip.caption}"
    )
