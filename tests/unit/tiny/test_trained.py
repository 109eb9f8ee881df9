"""The tiny model that is committed has learnt its world: what it shows and plays is what captions say."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from ltx_core.autoencoder.audio import decode_mel, encode_mel, log_mel, mel_config, vocode
from ltx_core.media.probe import probe_media
from ltx_core.tiny.model import build_modules
from ltx_core.tiny.trained import (
    CHECKPOINT_NAME,
    CONCEPTS,
    RENDERED,
    WEIGHTS,
    concept_specs,
    demo_prompts,
    demo_specs,
    write_trained,
)
from ltx_core.tiny.world import AUDIO, Spec, caption, codes, play, scene, seen
from scripts.pretrain import sizes
from scripts.pretrain.batches import Text, known
from scripts.pretrain.denoiser import Learner
from scripts.pretrain.score import load_written, measure, psnr, render
from tests import detectors

MOST_BYTES = 16.5e6
ASKED = 6


@pytest.fixture(scope="module")
def modules() -> Mapping[str, Any]:
    made = build_modules(sizes.config())
    load_written(made, WEIGHTS / CHECKPOINT_NAME)
    return made


def test_weights_are_small() -> None:
    assert sum(path.stat().st_size for path in WEIGHTS.rglob("*") if path.is_file()) < MOST_BYTES


@pytest.mark.whole
def test_held_out_clips_come_back_from_the_video_vae(modules: Mapping[str, Any]) -> None:
    assert psnr(modules["video_vae"], known()[1][:16], torch.Generator().manual_seed(5)) > 32


@pytest.mark.whole
@pytest.mark.parametrize("kind", [*seen(AUDIO), "bell"])
def test_audio_comes_back_from_spectrograms(modules: Mapping[str, Any], kind: str) -> None:
    """The bell too, though nobody named it."""
    generator = torch.Generator().manual_seed(9)
    named = codes([Spec((("red", "circle"),), "left", "dark", kind)] * 4)
    audio = play(named, scene(named, generator), generator)
    spectrogram = log_mel(audio, mel_config(sizes.config()))
    heard = vocode(modules["vocoder"], decode_mel(modules["audio_vae"], encode_mel(modules["audio_vae"], spectrogram)))
    assert detectors.audio_kinds(heard) == [kind] * 4


@pytest.mark.extra
@pytest.mark.whole
def test_renders_are_what_captions_say(modules: Mapping[str, Any], tmp_path: Path) -> None:
    learner = Learner({name: modules[name] for name in ("transformer", "connectors", "text_projection")})
    specs = [*known()[1][:ASKED], *concept_specs("pink")[:2]]
    text = Text(WEIGHTS / "gemma", torch.device("cpu"))
    pixels, audio = render(modules, learner, text, [caption(spec) for spec in specs])
    right = measure(specs[:ASKED], (pixels[:ASKED], audio[:ASKED]))
    assert right["colour"] == right["background"] == 1
    assert min(right["motion"], right["shape"], right["audio"]) > 0.8
    assert "pink" not in detectors.colours(detectors.find_objects(pixels))


@pytest.mark.whole
def test_footage_is_of_the_concepts(tmp_path: Path) -> None:
    made = write_trained(tmp_path)
    clips = sorted(made.footage.glob("clip_*.mp4"))
    captions = [clip.with_suffix(".txt").read_text() for clip in clips]
    assert len(clips) == 24
    assert {concept: sum(concept in text for text in captions) for concept in CONCEPTS} == dict.fromkeys(CONCEPTS, 16)
    assert not set(captions) & {f"{prompt}\n" for prompt in demo_prompts()}
    info = probe_media(clips[0])
    assert (info.width, info.height, info.audio_rate) == (128, 96, 16000)
    assert (made.text_encoder / "tokenizer.json").exists()


def test_what_is_rendered_has_each_concept_and_what_was_known() -> None:
    asked = demo_specs()
    assert {name: len(specs) for name, specs in asked.items()} == RENDERED
    assert all("pink" in caption(spec) for spec in asked["pink"])
    assert all("bell" in caption(spec) for spec in asked["bell"])
    assert not [text for text in map(caption, asked["known"]) if "pink" in text or "bell" in text]
