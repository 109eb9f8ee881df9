"""What conditions give in batches and in sampling: tokens, positions, times and loss as Lightricks' code has them.

`tests/golden/conditions.json` has what the `FlexibleStrategy` of Lightricks/LTX-2 at commit 400fd31 made of latents,
references and noise that are plain ramps: its `prepare_training_inputs` and `compute_loss` were called outside this
repository, with a sampler that gives one sigma and `randn_like` replaced by the ramp. `condition_states.json` has the
states that its inference starts from, by its conditioning items and its noiser. Values are rounded to six digits.
"""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from ltx_core.conditioning.kinds import FirstFrame, Keyframes, Suffix, Text
from ltx_core.conditioning.reference import Reference
from ltx_core.conditioning.state import SampleState, StreamState
from ltx_core.denoiser.tokens import pack_video
from ltx_core.errors import ConfigError
from ltx_core.flow_matching import carries_loss, sample_losses
from ltx_core.sampling.guidance import Guidance
from ltx_core.sampling.sampler import Prompts, Walk
from ltx_core.shapes import LatentShape
from ltx_core.training.batch import NoisyStream, TrainBatch, collate
from ltx_core.training.condition_settings import EXTENTS, Condition
from ltx_core.training.conditions import fewest_learnt
from ltx_core.training.config import TrainSettings
from ltx_core.training.draws import Draw, eval_draw, train_draw
from ltx_core.training.modalities import as_heard
from ltx_core.training.order import SampleOccurrence
from ltx_core.training.samples import ClipInfo

Clip = Callable[..., ClipInfo]
GOLDEN = Path(__file__).parents[2] / "golden"
CASES = json.loads((GOLDEN / "conditions.json").read_text())
STATES = {case["name"]: case for case in json.loads((GOLDEN / "condition_states.json").read_text())}


def ramp(start: float, step: float, *shape: int) -> Tensor:
    count = torch.Size(shape).numel()
    return (start + step * torch.arange(count, dtype=torch.float32)).reshape(shape)


def close(found: Tensor, case: dict[str, Any], name: str) -> None:
    torch.testing.assert_close(found, torch.tensor(case[name]).float().reshape(found.shape), atol=2e-6, rtol=1e-5)


def tensors_of(case: dict[str, Any]) -> dict[str, Tensor]:
    """Stored of the clip of a case."""
    if case["modality"] == "audio":
        found = {"video": torch.zeros(2, 2, 1, 1), "audio": ramp(0, 0.01, case["tokens"], 2)}
        return found | ({"audio_reference": ramp(-1, -0.01, 4, 2)} if "reference" in case["name"] else {})
    grid = (case["frames"], case["height"], case["width"])
    found = {"video": ramp(0, 0.01, 2, *grid)}
    if case["name"].startswith("mask"):
        kept = torch.zeros(4, 1, 2)
        kept[1, 0, 1], kept[3, 0, 0] = 1, 1
        found["mask"] = 1 - kept  # theirs is white where a place is given
    return found | ({"reference": ramp(-1, -0.01, 2, 3, 1, 2)} if case["name"].startswith("reference") else {})


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_a_batch_is_that_of_lightricks_trainer(
    case: dict[str, Any], clip: Clip, source_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "ltx_core.training.batch.draw_noise",
        lambda shape, _: torch.linspace(-1, 1, torch.Size(shape).numel()).reshape(shape),
    )
    tensors, heard = tensors_of(case), case["modality"] == "audio"
    reference = LatentShape(*tensors["reference"].shape[1:]) if "reference" in tensors else None
    sample = clip(
        "a",
        frame_rate=case.get("frame_rate", 25.0),
        has_sound=heard,
        has_mask="mask" in tensors,
        reference=reference,
        audio_reference=len(tensors.get("audio_reference", ())),
    )
    source = source_of([sample])
    source.changed["a"] = tensors
    draw = eval_draw(sample, case["sigma"], TrainSettings(**case["settings"]))
    draw = replace(draw, conditions=tuple(replace(one, start=0.3) for one in draw.conditions))  # of the third token on
    batch = collate([sample], source, lambda *_: draw, audio_channels=2 if heard else None)
    stream = getattr(batch, case["modality"])
    assert isinstance(stream, NoisyStream)
    own = case.get("tokens") or batch.shape.tokens
    beside = stream.noisy.shape[1] - own

    def as_theirs(tokens: Tensor) -> Tensor:
        return tokens.roll(beside, dims=0)  # which has those of the reference first

    close(as_theirs(stream.noisy[0]), case, "latent")
    times = stream.timesteps if stream.timesteps.ndim == 2 else stream.timesteps[:, None].expand(1, own)
    close(as_theirs(times[0]), case, "timesteps")
    close(as_theirs(stream.positions[0].transpose(0, 1)).transpose(0, 1), case, "positions")
    close(as_theirs(stream.weight[0]), case, "loss_mask")
    close(stream.target[0, :own], case, "targets")
    assert stream.sigma.tolist() == pytest.approx([case["sigma"]])
    count = stream.noisy[0].numel()
    prediction = torch.linspace(0.5, -0.5, count).reshape(-1, 2).roll(-beside, dims=0)[None]
    close(sample_losses(prediction, stream.target, stream.weight), case, "loss")


def started(case: dict[str, Any]) -> SampleState:
    """At sigma 1, the ramp of noise going on over what is appended."""
    grid, total = LatentShape(case["frames"], case["height"], case["width"]), len(case["timesteps"])
    noise = torch.linspace(-1, 1, 2 * total).reshape(1, total, 2)
    text = Text(torch.zeros(1, 1, 6), torch.zeros(1, 1, 6))

    def beside(place: str, shape: Any) -> Tensor:
        start = int(place.partition("/")[2])
        return noise[:, start : start + shape[1]]

    streams = (StreamState.noise(noise[:, : grid.tokens]), StreamState.noise(torch.zeros(1, 9, 2)))
    return text.apply(SampleState(*streams, grid, beside))


@pytest.mark.parametrize("name", STATES)
def test_sampling_starts_as_lightricks_inference_does(name: str) -> None:
    case = STATES[name]
    rate, state = case["frame_rate"], started(case)
    if name == "keyframes":
        state = FirstFrame(ramp(2, 0.1, 2, 1, 1, 2), 0.8).apply(state)
        state = Keyframes(ramp(3, 0.1, 2, 1, 1, 2), (7,), rate).apply(state)
        state = Keyframes(ramp(4, 0.1, 2, 1, 1, 2), (16,), rate, 0.75).apply(state)
    else:
        state = Suffix(ramp(0, 0.01, 2, 3, 1, 2)[:, 2:], 0.5).apply(state)
        state = Reference(ramp(-1, -0.1, 2, 2, 1, 2), rate, 0.9).apply(state)
    video, _ = Walk(None, Prompts(Text(state.video.context, state.audio.context)), Guidance(), rate).streams(  # type: ignore[arg-type]
        state, case["sigma"]
    )
    assert video.keyframes is not None
    close(state.video.tokens, case, "latent")
    close(video.timesteps, case, "timesteps")
    close(video.positions, case, "positions")
    close(video.keyframes, case, "keyframes")


ALL = {f"{kind}_probability": 0.5 for kind in EXTENTS}


def drawn_of(sample: ClipInfo, settings: TrainSettings, count: int) -> list[Draw]:
    return [train_draw(SampleOccurrence(sample, number), settings, 4, 9) for number in range(count)]


@pytest.mark.whole
def test_conditions_are_drawn_by_themselves(clip: Clip) -> None:
    """But for a prefix, which shares the number of the first frame, and parts of audio that is given as a whole."""
    settings = TrainSettings(**ALL | {"first_frame_probability": 0.3, "audio_conditioning_probability": 0.2})
    sample = clip("a", has_mask=True, keyframes=(4,), reference=LatentShape(2, 1, 2))
    for drawn in (
        [d.conditions for d in drawn_of(sample, settings, 1000)],
        [eval_draw(replace(sample, clip_id=f"{n}"), 0.5, settings).conditions for n in range(1000)],
    ):
        kinds = [{condition.kind for condition in conditions} for conditions in drawn]
        shares = {kind: count / 1000 for kind, count in Counter(kind for one in kinds for kind in one).items()}
        expected = dict.fromkeys(EXTENTS, 0.5) | dict.fromkeys(("audio_prefix", "audio_suffix", "audio_inpaint"), 0.4)
        assert shares == pytest.approx(expected | {"first_frame": 0.3, "audio": 0.2, "reference": 1.0}, abs=0.05)
        assert not any({"first_frame", "prefix"} <= one for one in kinds)
        assert not any("audio" in one and one & {"audio_prefix", "audio_suffix", "audio_inpaint"} for one in kinds)
        both = sum({"suffix", "first_frame"} <= one for one in kinds) / 1000
        assert both == pytest.approx(0.15, abs=0.03)


def test_an_image_and_a_clip_without_sound_or_mask_are_given_what_they_have(clip: Clip) -> None:
    settings = TrainSettings(**dict.fromkeys(ALL, 1.0) | {"first_frame_probability": 0.0})
    assert [c.kind for c in eval_draw(clip("mute", bucket="64x64@1"), 0.5, settings).conditions] == ["outpaint"]
    whole = eval_draw(clip("a", has_mask=True, keyframes=(4,)), 0.5, settings)
    assert {c.kind for c in whole.conditions} == EXTENTS.keys() - {"first_frame"}


def batch_of(source: Any, settings: TrainSettings, occurrence: int = 0, **changes: Any) -> TrainBatch:
    def draw(i: int, video_tokens: int, audio_tokens: int) -> Draw:
        made = train_draw(SampleOccurrence(source.samples[i], occurrence), settings, video_tokens, audio_tokens)
        return replace(made, **changes)

    return collate(source.samples, source, draw, audio_channels=8)


@pytest.mark.parametrize("strength", [0.25, 1.0])
def test_conditioning_below_strength_1_has_a_part_of_noise_and_loss(
    strength: float, clip: Clip, source_of: Any
) -> None:
    source = source_of([clip("a", reference=LatentShape(2, 1, 2))])
    source.changed["a"] = source.load("a") | {"reference": ramp(0, 0.1, 4, 2, 1, 2)}
    free = batch_of(source, TrainSettings()).video
    settings = TrainSettings(
        first_frame_probability=1, first_frame_strength=strength, reference_strength=strength, seed=TrainSettings().seed
    )
    found = batch_of(source, settings).video
    sigma, clean = found.sigma.item(), pack_video(source.load("a")["video"][None])
    times = [sigma * (1 - strength)] * 2 + [sigma] * 2 + [sigma * (1 - strength)] * 4
    torch.testing.assert_close(found.timesteps, torch.tensor([times]))
    torch.testing.assert_close(found.weight, torch.tensor([[1 - strength] * 2 + [1.0] * 2 + [0.0] * 4]))
    torch.testing.assert_close(found.noisy[:, :2], clean[:, :2] + sigma * (1 - strength) * free.target[:, :2])
    assert torch.equal(found.noisy[:, 2:4], free.noisy[:, 2:4])
    reference = pack_video(source.load("a")["reference"][None])
    spread = (found.noisy[:, 4:] - reference).std().item()
    assert spread == pytest.approx(sigma * (1 - strength), rel=0.5)


def test_conditions_that_would_leave_nothing_to_learn_are_left_out(clip: Clip, source_of: Any) -> None:
    source = source_of([clip("a", has_mask=True)])
    source.changed["a"] = source.load("a") | {"mask": torch.tensor([1.0, 1.0, 0.0, 0.0]).view(2, 1, 2)}
    settings = TrainSettings(
        first_frame_probability=1, inpaint_probability=1, audio_prefix_probability=1, audio_suffix_probability=1
    )
    batch = batch_of(source, settings)
    assert batch.audio is not None
    assert batch.video.weight.tolist() == [[1.0, 1.0, 0.0, 0.0]]  # the first frame is all that the mask counts
    assert batch.video.clean.tolist() == [[False, False, True, True]]
    assert carries_loss(batch.audio.weight).all()
    assert not batch.audio.clean.any()  # a second is longer than the clip
    both = TrainSettings(prefix_probability=1, suffix_probability=1)
    assert batch_of(source_of([clip("a")]), both).video.clean.tolist() == [[True, True, False, False]]


def test_keyframes_are_given_to_a_batch_or_not(clip: Clip, source_of: Any) -> None:
    source = source_of([clip(name, keyframes=(4, 8)) for name in ("a", "b")])
    for name in ("a", "b"):
        source.changed[name] = source.load(name) | {"keyframes": ramp(0, 0.1, 4, 2, 1, 2)}
    given = (Condition("keyframe"),)
    found = batch_of(source, TrainSettings(), conditions=given).video
    assert found.noisy.shape[1] == 8
    assert torch.equal(found.noisy[0, 4:], pack_video(ramp(0, 0.1, 4, 2, 1, 2)[None])[0])
    assert found.positions[0, 0, 4:, 0].tolist() == pytest.approx([4 / 24] * 2 + [8 / 24] * 2)
    assert found.weight[:, 4:].sum() == 0
    assert batch_of(source, TrainSettings()).video.noisy.shape[1] == 4


def test_routes_set_aside_what_every_sample_has() -> None:
    grid = LatentShape(5, 4, 4)
    settings = TrainSettings(prefix_probability=0.5, suffix_probability=0.5, suffix_latent_frames=1)
    assert fewest_learnt(settings, grid) == 2 * 16
    assert fewest_learnt(settings.model_copy(update={"outpaint_probability": 0.5}), grid) == 2 * 12
    with pytest.raises(ConfigError, match=r"inpaint_probability is .* with routes"):
        fewest_learnt(TrainSettings(inpaint_probability=0.5), grid)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"suffix_latent_frames": 3}, "gives no suffix"),
        ({"keyframe_strength": 0.5}, "gives no keyframe"),
        ({"audio_inpaint_seconds": 2}, "gives no audio inpaint"),
        ({"outpaint_probability": 1, "outpaint_region": (0.5, 0, 0.5, 1)}, "left < right"),
        ({"outpaint_probability": 1, "outpaint_region": (0, 0, 1, 1)}, "leaves nothing to learn"),
        ({"suffix_probability": 1, "suffix_strength": 0}, "greater than 0"),
        ({"audio_suffix_probability": 0.5, "modalities": "video"}, "which has no audio"),
    ],
)
def test_settings_that_cannot_work_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TrainSettings(**changes)


def test_without_sound_its_conditions_are_left_out(clip: Clip) -> None:
    settings = TrainSettings(audio_inpaint_probability=0.5, audio_inpaint_seconds=2, suffix_probability=0.5)
    heard = as_heard(settings, [clip("mute")])
    assert heard.settings.audio_inpaint_probability == 0
    assert heard.settings.suffix_probability == 0.5
    assert "audio_inpaint_probability 0" in heard.why


def test_settings_at_their_defaults_are_named_as_before() -> None:
    kept = TrainSettings(first_frame_probability=0.5).kept()
    assert not [name for name in kept if name.startswith(("suffix", "inpaint", "outpaint", "keyframe"))]
    assert not [name for name in kept if name.endswith("_strength")]
