"""CLIPScore with transformers' own CLIP: the formula, and what a folder must have."""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, CLIPImageProcessorPil, CLIPModel

from ltx_core.errors import CheckpointError
from ltx_core.io.digest import DigestMemo
from ltx_core.progress import SILENT
from ltx_core.vision.clip_score import clip_score, load_clip
from ltx_core.vision.folder import clip_identity, locate_clip, pending_clip
from tests.clip_model import NUM_POSITIONS, write_clip

PROMPTS = ("A ball rolls.", "Waves crash.", "A dog.", "zzz")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def frames() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (3, 40, 60, 3), dtype=np.uint8)


def reference(folder: Path, frames: np.ndarray, prompt: str) -> float:
    """Hessel's formula, a frame at a time, from the two encoders of the model."""
    model = CLIPModel.from_pretrained(folder).eval()
    tokens = AutoTokenizer.from_pretrained(folder)(prompt, return_tensors="pt")
    scores = []
    with torch.no_grad():
        text = model.text_projection(model.text_model(**tokens).pooler_output)[0]
        for frame in frames:
            pixels = CLIPImageProcessorPil.from_pretrained(folder)(frame, return_tensors="pt")["pixel_values"]
            picture = model.visual_projection(model.vision_model(pixels).pooler_output)[0]
            cosine = float(picture @ text / picture.norm() / text.norm())
            scores.append(100 * max(cosine, 0.0))
    return sum(scores) / len(scores)


def test_the_score_is_the_formula(folder: Path, frames: np.ndarray) -> None:
    scorer = load_clip(folder, "cpu")
    scores = [clip_score(scorer, frames, prompt) for prompt in PROMPTS]
    assert scores == pytest.approx([reference(folder, frames, prompt) for prompt in PROMPTS], abs=1e-3)
    assert len(set(scores)) == len(scores)
    assert all(0 <= score <= 100 for score in scores)


def test_negative_cosines_count_as_nothing(folder: Path, frames: np.ndarray) -> None:
    """Turned around, what was near is far: frames of a positive cosine now score 0."""
    scorer = load_clip(folder, "cpu")
    before = [clip_score(scorer, frame[None], PROMPTS[0]) for frame in frames]
    scorer.model.text_projection.weight.mul_(-1)
    after = [clip_score(scorer, frame[None], PROMPTS[0]) for frame in frames]
    assert any(before)
    assert all(min(pair) == 0.0 for pair in zip(before, after, strict=True))


def test_long_prompts_are_cut_where_the_model_ends(folder: Path, frames: np.ndarray) -> None:
    scorer = load_clip(folder, "cpu")
    kept = "a" * (NUM_POSITIONS - 2)  # the start and the end are tokens, too
    assert clip_score(scorer, frames, kept + "b" * 50) == clip_score(scorer, frames, kept + "c" * 9)


def test_the_identity_is_by_content(folder: Path, tmp_path: Path) -> None:
    memo = DigestMemo(tmp_path / "memo.parquet")
    assert clip_identity(write_clip(tmp_path / "same"), memo) == clip_identity(folder, memo)
    assert clip_identity(write_clip(tmp_path / "other", seed=1), memo) != clip_identity(folder, memo)


def test_folders_that_cannot_be_read(folder: Path, tmp_path: Path) -> None:
    assert locate_clip(str(folder), SILENT) == folder
    assert pending_clip(str(folder)) == ()
    with pytest.raises(CheckpointError, match=r"config\.json, .*model\.safetensors, tokenizer\.json missing"):
        pending_clip(str(tmp_path))
    pickled = write_clip(tmp_path / "pickled")
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"model\.safetensors missing.*not pickled weights"):
        locate_clip(str(pickled), SILENT)
    other = write_clip(tmp_path / "other")
    (other / "config.json").write_text('{"model_type": "siglip"}')
    with pytest.raises(CheckpointError, match="'siglip'; a CLIP model is wanted"):
        locate_clip(str(other), SILENT)
