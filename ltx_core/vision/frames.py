"""Which frames of a clip are embedded, and the loop that embeds them."""

from collections.abc import Iterable, Iterator

from torch import Tensor

from ltx_core.autoencoder.encoding import Decoded
from ltx_core.errors import ShapeError
from ltx_core.pool.transfer import one_behind, to_host
from ltx_core.shapes import TIME_STRIDE
from ltx_core.vision.dinov2 import FrameEncoder


def latent_frames(frames: Tensor) -> Tensor:
    """Of a clip's frames [8(F-1)+1, ...] the last one that each latent frame stands for: [F, ...].

    These are numbers 0, 8, 16, ...: latent frame 0 is pixel frame 0 alone, latent frame f is 8f-7 to 8f. They are also
    the F frames at even distances from the first to the last.

    Raises:
        ShapeError: that is no clip which the VAE takes.
    """
    if len(frames) % TIME_STRIDE != 1:
        raise ShapeError(f"{len(frames)} frames; 8k+1 are wanted")
    return frames[::TIME_STRIDE]


def embed_clips(clips: Iterable[Decoded], encoder: FrameEncoder) -> Iterator[tuple[Decoded, Tensor]]:
    """(clip, features [F, H, W, D]) in order, from clips of latent frames; the next clip is computed meanwhile."""
    for clip, made in one_behind(clips, lambda clip: to_host({"features": encoder.features(clip.frames)})):
        yield clip, made["features"]
