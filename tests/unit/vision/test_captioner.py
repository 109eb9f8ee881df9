"""Answers of models of images, of videos and of audio, tiny and random: in a batch as alone, and by what is shown."""

from pathlib import Path

import numpy as np
import pytest
import torch

from ltx_core.errors import CheckpointError
from ltx_core.vision.captioner import Captioner, Manner, load_captioner
from ltx_core.vision.captioning import ClipView, open_captioner
from tests.captioner import write_captioner, write_omni

pytestmark = pytest.mark.whole


def view(seed: int, frames: int = 4, *, audio: bool = False) -> ClipView:
    draw = np.random.default_rng(seed)
    pixels = draw.integers(200 * seed, 200 * seed + 55, (frames, 64, 96, 3), dtype=np.uint8)
    return ClipView(pixels, 2.0, 0.1 * draw.normal(size=32_000).astype(np.float32) if audio else None)


def loaded(folder: Path, *, prompt: str | None = None, temperature: float = 0.0) -> Captioner:
    manner = Manner(prompt, 12, temperature)
    return load_captioner(open_captioner(folder), manner, device="cpu", dtype=torch.float32)


def test_images(tmp_path: Path) -> None:
    folder = write_captioner(tmp_path)
    model = loaded(folder)
    assert (model.takes_video, model.hears) == (False, False)
    views = [view(0, audio=True), view(1)]
    alone = [model.answers([one])[0] for one in views]
    assert model.answers(views) == alone
    assert alone[0].text != alone[1].text
    assert all(answer.is_cut for answer in alone)
    assert model.answers([view(0, frames=1)])[0].text
    assert loaded(folder, prompt="Say it.").answers(views[:1]) != alone[:1]
    drawing = loaded(folder, temperature=1.5)
    assert drawing.answers(views[:1], 1) == drawing.answers(views[:1], 1) != drawing.answers(views[:1], 2)


def test_another_kind_of_model_is_refused(tmp_path: Path) -> None:
    folder = write_captioner(tmp_path)
    config = (folder / "config.json").read_text()
    (folder / "config.json").write_text(config.replace('"gemma3"', '"bert"'))
    with pytest.raises(CheckpointError, match="of type bert cannot be loaded as a model that takes images"):
        loaded(folder)


@pytest.mark.extra
def test_videos_and_audio(tmp_path: Path) -> None:
    pytest.importorskip("torchvision", reason="transformers' video processors need it")
    model = loaded(write_omni(tmp_path))
    assert (model.takes_video, model.hears) == (True, True)
    views = [view(0, audio=True), view(1, audio=True)]
    alone = [model.answers([one])[0] for one in views]
    assert model.answers(views) == alone
    assert model.answers([views[0]._replace(audio=None)])[0] != alone[0]
    assert model.answers([view(0, frames=1)])[0].text
