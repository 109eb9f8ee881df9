import numpy as np
import numpy.typing as npt
import pytest

from ltx_core.media.measure import loudness_db, motion, perceptual_hash, sharpness

Pixels = npt.NDArray[np.uint8]


def stripes(width: int) -> Pixels:
    row = (np.arange(64) // width % 2 * 255).astype(np.uint8)
    return np.broadcast_to(row[None, :, None], (48, 64, 3)).copy()


def test_sharpness() -> None:
    """Stripes of 0 and 1 two pixels wide have a Laplacian of +1 and -1 throughout: variance 1."""
    assert sharpness(stripes(2)[None]) == pytest.approx(1, abs=0.01)
    assert sharpness(stripes(16)[None]) < 0.2
    assert sharpness(np.full((3, 48, 64, 3), 90, dtype=np.uint8)) == pytest.approx(0, abs=1e-9)
    assert sharpness(stripes(2)[None, :, :, 0]) == pytest.approx(1, abs=0.01)


def test_motion() -> None:
    frames = np.stack([np.full((8, 8, 3), level, dtype=np.uint8) for level in (0, 51, 0)])
    assert motion(frames) == pytest.approx(0.2)
    assert motion(frames[:1]) == 0


def test_loudness() -> None:
    assert loudness_db(None) == -120
    assert loudness_db(np.zeros((2, 100), dtype=np.float32)) == -120
    assert loudness_db(np.ones((2, 100), dtype=np.float32)) == pytest.approx(0)
    assert loudness_db(np.full((2, 100), 0.1, dtype=np.float32)) == pytest.approx(-20, abs=1e-4)


def test_hash() -> None:
    source = np.random.default_rng(0)
    coarse = source.integers(0, 255, (8, 9), dtype=np.uint8)
    picture: Pixels = np.repeat(np.kron(coarse, np.ones((8, 8), dtype=np.uint8))[..., None], 3, axis=2)
    larger: Pixels = np.kron(picture, np.ones((3, 3, 1), dtype=np.uint8))
    assert len(perceptual_hash(picture)) == 16
    assert perceptual_hash(picture) == perceptual_hash(larger)
    assert perceptual_hash(np.ascontiguousarray(picture[:, ::-1])) != perceptual_hash(picture)
    bits = (coarse[:, :-1] > coarse[:, 1:]).ravel().astype(np.uint8)
    assert perceptual_hash(picture) == np.packbits(bits).tobytes().hex()
