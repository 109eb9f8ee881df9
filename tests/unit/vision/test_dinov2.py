"""Features are transformers' own, at the places of the latent grid, whatever company a clip is in."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional
from transformers import Dinov2Model

from ltx_core.autoencoder.encoding import Decoded
from ltx_core.errors import CheckpointError, ShapeError
from ltx_core.media.clip import latent_frames
from ltx_core.vision.dinov2 import FrameEncoder, embed_clips, load_frame_encoder
from ltx_core.vision.folder import open_encoder
from tests.vision import WIDTH, write_dinov2


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dinov2(tmp_path_factory.mktemp("dinov2"))


def loaded(folder: Path, image_size: int = 28, frames_at_once: int = 16) -> FrameEncoder:
    return load_frame_encoder(
        open_encoder(folder),
        image_size=image_size,
        frames_at_once=frames_at_once,
        device="cpu",
        dtype=torch.float32,
    )


def pixels(frames: int, height: int, width: int) -> Tensor:
    generator = torch.Generator().manual_seed(frames)
    return torch.randint(0, 256, (frames, height, width, 3), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize(("grid", "edge"), [((2, 2), 28), ((4, 4), 56), ((2, 2), 56), ((4, 2), 28), ((1, 3), 42)])
def test_they_are_transformers_own_in_the_latent_grid(grid: tuple[int, int], edge: int, folder: Path) -> None:
    frames = pixels(3, 32 * grid[0], 32 * grid[1])
    found = loaded(folder, edge).features(frames)
    mean, deviation = (torch.tensor(values) for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    scaled = frames.movedim(-1, 1) / 255
    resized = functional.interpolate(scaled, (edge, edge), mode="bilinear", antialias=True)
    pictures = (resized - mean[:, None, None]) / deviation[:, None, None]
    with torch.no_grad():
        output = Dinov2Model.from_pretrained(folder).eval()(pictures).last_hidden_state
    side = edge // 14
    patches = output[:, 1:].reshape(3, side, side, WIDTH)
    assert found.shape == (3, *grid, WIDTH)
    assert found.dtype == torch.float16
    if grid == (side, side):
        torch.testing.assert_close(found, patches.half(), atol=1e-3, rtol=1e-3)
    elif grid == (2, 2):  # four rows of patches to two of places: a tent over four, weights 1 3 3 1 where all are there
        rows = torch.tensor([[3.0, 3, 1, 0], [0, 1, 3, 3]]) / 7
        wanted = torch.einsum("ip,jq,fpqd->fijd", rows, rows, patches)
        torch.testing.assert_close(found, wanted.half(), atol=1e-3, rtol=1e-3)


def test_each_place_shows_what_is_there(folder: Path) -> None:
    """White in one quarter of a grey frame: the features of that quarter change most."""
    grey = torch.full((1, 64, 64, 3), 128, dtype=torch.uint8)
    marked = grey.clone()
    marked[:, 32:, :32] = 255
    encoder = loaded(folder)
    change = (encoder.features(marked).float() - encoder.features(grey).float()).norm(dim=-1)[0]
    assert change.argmax().item() == 2  # row 1, column 0


@pytest.mark.whole
def test_a_clips_features_do_not_depend_on_how_frames_are_cut_or_who_is_beside(folder: Path) -> None:
    clip = pixels(5, 64, 32)
    whole = loaded(folder).features(clip)
    torch.testing.assert_close(loaded(folder, frames_at_once=2).features(clip), whole)
    clips = [Decoded("a", clip, None), Decoded("b", pixels(2, 32, 32), None), Decoded("c", clip, None)]
    made = {one.key: features for one, features in embed_clips(clips, loaded(folder))}
    assert list(made) == ["a", "b", "c"]
    assert made["a"].equal(whole)
    assert made["c"].equal(whole)


def test_frames_are_the_last_that_each_latent_frame_stands_for() -> None:
    numbers = np.arange(17, dtype=np.uint8)
    assert latent_frames(numbers).tolist() == [0, 8, 16]
    assert latent_frames(numbers).tolist() == torch.linspace(0, 16, 3).tolist()
    assert latent_frames(numbers[:1]).tolist() == [0]
    with pytest.raises(ShapeError, match=r"16 frames; 8k\+1 are wanted"):
        latent_frames(numbers[:16])


@pytest.mark.whole
def test_a_file_without_the_mask_token_is_whole_and_one_without_a_layer_is_not(folder: Path, tmp_path: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    del tensors["embeddings.mask_token"]
    save_file(tensors, tmp_path / "model.safetensors")
    clip = pixels(1, 64, 64)
    assert loaded(tmp_path).features(clip).equal(loaded(folder).features(clip))
    del tensors["encoder.layer.1.norm1.weight"]
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"vision encoder in .* lacks \['encoder.layer.1.norm1.weight'\]"):
        loaded(tmp_path)
