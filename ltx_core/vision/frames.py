"""The loop that embeds the frames of clips."""

from collections.abc import Iterable, Iterator

from torch import Tensor

from ltx_core.autoencoder.encoding import Decoded
from ltx_core.pool.transfer import one_behind, to_host
from ltx_core.vision.dinov2 import FrameEncoder


def embed_clips(clips: Iterable[Decoded], encoder: FrameEncoder) -> Iterator[tuple[Decoded, Tensor]]:
    """(clip, features [F, H, W, D]) in order, from clips of latent frames; the next clip is computed meanwhile."""
    for clip, made in one_behind(clips, lambda clip: to_host({"features": encoder.features(clip.frames)})):
        yield clip, made["features"]
