"""Where one scene ends and the next begins."""

from collections import deque

import numpy as np
import numpy.typing as npt

from ltx_core.media.measure import frame_luma

THUMBNAIL = (8, 8)
"""Cells of luma, rows and columns, that frames are compared by: coarse, so that small movements do not count."""
HISTOGRAM_BINS = 16
LOOKAHEAD = 3
"""Frames for which a cut's old picture stood and its new one stays. A flash or a damaged frame is gone before."""
MIN_CHANGE = 0.06
"""Changes under this are never cuts."""
TIMES_NEIGHBOURS = 3.0
"""A cut changes at least this many times as much as the frames around it do, so that shaking is no cut."""
NEIGHBOURHOOD = 6
"""Frames on either side that count as around."""


class ChangeMeter:
    """Takes frames in order and keeps how much each differs from the ones 1, 2 and 3 before it."""

    def __init__(self) -> None:
        self._recent: deque[npt.NDArray[np.float32]] = deque(maxlen=LOOKAHEAD)
        self._changes: list[tuple[float, ...]] = []

    def add(self, frame: npt.NDArray[np.uint8]) -> None:
        """Add a frame [H, W] of luma, or [H, W, 3]."""
        self._compare(_signature(frame))

    def _compare(self, signature: npt.NDArray[np.float32]) -> None:
        changes = [_difference(signature, earlier) for earlier in reversed(self._recent)]
        self._changes.append((*changes, *([0.0] * (LOOKAHEAD - len(changes)))))
        self._recent.append(signature)

    def repeat(self) -> None:
        """Add the frame before once more."""
        self._compare(self._recent[-1])

    def cuts(self) -> list[int]:
        """Frames that begin a new scene, the first frame left out, in order.

        Frame n begins one if the last frame before it differs from n, n+1 and n+2, and n from n-2 and n-3 too, all by
        at least `MIN_CHANGE`, and by `TIMES_NEIGHBOURS` times the mean step between the frames around n.

        Not found: fades and dissolves, so a clip may hold one; cuts between pictures of equal brightness everywhere.
        """
        changes = np.array(self._changes, dtype=np.float64).reshape(-1, LOOKAHEAD)
        found: list[int] = []
        for n in range(1, len(changes)):
            if changes[n, 0] < MIN_CHANGE:
                continue
            stays = min(changes[n + k, k] for k in range(LOOKAHEAD) if n + k < len(changes))
            stayed = float(changes[n, : min(n, LOOKAHEAD)].min())
            low, high = max(n - NEIGHBOURHOOD, 1), n + NEIGHBOURHOOD + 1
            around = np.delete(changes[low:high, 0], n - low)
            usual = float(np.sort(around)[: -1 if len(around) > 3 else None].mean()) if len(around) else 0.0
            if min(stays, stayed) >= max(MIN_CHANGE, TIMES_NEIGHBOURS * usual):
                found.append(n)
        return found


def _signature(frame: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Mean luma of each cell and the square roots of the luma histogram's shares, one vector."""
    luma = frame_luma(frame)
    rows, columns = (_edges(edge, cells) for edge, cells in zip(luma.shape, THUMBNAIL, strict=True))
    sums = np.add.reduceat(np.add.reduceat(luma, rows[:-1], axis=0), columns[:-1], axis=1)
    counts = np.outer(np.diff(rows), np.diff(columns))
    levels = np.minimum(luma * HISTOGRAM_BINS, HISTOGRAM_BINS - 1).astype(np.intp)
    shares = np.bincount(levels.ravel(), minlength=HISTOGRAM_BINS) / luma.size
    return np.concatenate([(sums / counts).ravel(), np.sqrt(shares)]).astype(np.float32)


def _edges(length: int, cells: int) -> npt.NDArray[np.intp]:
    return np.linspace(0, length, cells + 1).astype(np.intp)


def _difference(a: npt.NDArray[np.float32], b: npt.NDArray[np.float32]) -> float:
    """Mean of two distances in [0, 1]: of the cells' luma, and of the histograms (Hellinger)."""
    cells = THUMBNAIL[0] * THUMBNAIL[1]
    luma = float(np.abs(a[:cells] - b[:cells]).mean())
    histogram = float(np.sqrt(np.square(a[cells:] - b[cells:]).sum() / 2))
    return (luma + histogram) / 2
