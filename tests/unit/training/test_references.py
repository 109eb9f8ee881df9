"""References in batches: tokens, positions, times and loss as Lightricks' trainer has them, and who leaves them out.

`tests/golden/reference_conditioning.json` has what the `VideoToVideoStrategy` of Lightricks/LTX-2 at commit 400fd31
made of latents, references and noise that are plain ramps: its `prepare_training_inputs` and `compute_loss` were called
outside this repository, with a sampler that gives one sigma and `randn_like` replaced by the ramp; the values are
rounded to six digits. It puts the reference's tokens first.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from ltx_core.adapters.reference_header import reference_header, scale_of
from ltx_core.conditioning.reference import reference_scale
from ltx_core.denoiser.blocks import TokenRoute
from ltx_core.denoiser.forward import HiddenStateHook
from ltx_core.errors import CheckpointError, DataError, ShapeError
from ltx_core.flow_matching import sample_losses
from ltx_core.io.tensors import write_tensors
from ltx_core.shapes import LatentShape, ReferenceScale
from ltx_core.training.batch import TrainBatch, collate
from ltx_core.training.config import TrainSettings
from ltx_core.training.draws import eval_draw, train_draw
from ltx_core.training.methods.crepa import FEATURES, Crepa, make_projector
from ltx_core.training.methods.method import BatchLosses, Forward
from ltx_core.training.methods.settings import BlockRoute
from ltx_core.training.methods.tread import num_skipping, tokens_kept
from ltx_core.training.order import EpochPlan, SampleOccurrence
from ltx_core.training.samples import ClipInfo

Clip = Callable[..., ClipInfo]
CASES = json.loads((Path(__file__).parents[2] / "golden" / "reference_conditioning.json").read_text())
SMALL = LatentShape(2, 1, 2)


def ramp(start: float, step: float, *shape: int) -> Tensor:
    count = torch.Size(shape).numel()
    return (start + step * torch.arange(count, dtype=torch.float32)).reshape(shape)


@pytest.mark.parametrize("case", CASES, ids=["full_size", "half_size_after_a_first_frame"])
def test_a_batch_is_that_of_lightricks_trainer(
    case: dict[str, Any], clip: Clip, source_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid, factor = LatentShape(case["frames"], case["height"], case["width"]), case["factor"]
    small = LatentShape(grid.frames, grid.height // factor, grid.width // factor)
    noise = torch.linspace(-1, 1, 2 * grid.tokens).reshape(grid.tokens, 2)
    monkeypatch.setattr("ltx_core.training.batch.draw_noise", lambda *_: noise)
    sample = clip("mute", frame_rate=case["frame_rate"], reference=small)
    source = source_of([sample])
    source.changed["mute"] = {"video": ramp(0, 0.01, 2, *grid), "reference": ramp(-1, -0.01, 2, *small)}
    settings = TrainSettings(first_frame_probability=float(case["first_frame"]))
    draw = eval_draw(sample, case["sigma"], settings)
    video = collate([sample], source, lambda *_: draw, audio_channels=None).video

    def as_theirs(tokens: Tensor) -> Tensor:
        return tokens.roll(small.tokens, dims=0)

    def close(found: Tensor, name: str) -> None:
        torch.testing.assert_close(found, torch.tensor(case[name]).float().reshape(found.shape), atol=2e-6, rtol=1e-5)

    close(as_theirs(video.noisy[0]), "latent")
    close(as_theirs(video.timesteps[0]), "timesteps")
    close(as_theirs(video.positions[0].transpose(0, 1)).transpose(0, 1), "positions")
    close(as_theirs(video.weight[0]), "loss_mask")
    close(video.target[0, : grid.tokens], "targets")
    assert video.sigma.tolist() == [case["sigma"]]
    count = video.noisy[0].numel()
    prediction = torch.linspace(0.5, -0.5, count).reshape(-1, 2).roll(-small.tokens, dims=0)[None]
    close(sample_losses(prediction, video.target, video.weight), "loss")
    assert video.keyframes is not None
    assert video.keyframes[0, grid.tokens :].sum() == 0


def with_references(source: Any, reference: LatentShape = SMALL) -> Any:
    """The same clips, all with a reference."""
    for sample in source.samples:
        tensors = source.load(sample.clip_id)
        source.changed[sample.clip_id] = tensors | {"reference": ramp(0, 0.1, 4, *reference)}
    return source


def batch_of(source: Any, settings: TrainSettings, occurrence: int = 0) -> TrainBatch:
    occurrences = [SampleOccurrence(sample, occurrence) for sample in source.samples]
    return collate(source.samples, source, lambda i, t, a: train_draw(occurrences[i], settings, t, a), audio_channels=8)


def test_a_dropped_reference_leaves_nothing_behind(clip: Clip, source_of: Any) -> None:
    """The batch is then, to the bit, that of clips which have none; about as often as asked, for all of a batch."""
    plain = source_of([clip("a"), clip("b")])
    source = with_references(source_of([clip("a", reference=SMALL), clip("b", reference=SMALL)]))
    settings = TrainSettings(reference_dropout=0.3)
    kept = 0
    for number in range(60):
        found = batch_of(source, settings, number).video
        if found.noisy.shape[1] > SMALL.tokens:
            kept += 1
        else:
            bare = batch_of(plain, settings, number).video
            assert all(torch.equal(x, y) for x, y in zip(tensors_of(found), tensors_of(bare), strict=True))
    assert 32 < kept < 52


def tensors_of(stream: Any) -> list[Tensor]:
    return [stream.noisy, stream.target, stream.weight, stream.sigma, stream.timesteps, stream.positions]


def test_settings_without_dropout_are_named_as_before() -> None:
    assert "reference_dropout" not in TrainSettings().kept()
    assert "reference_dropout" in TrainSettings(reference_dropout=0.1).kept()


def test_batches_hold_references_of_one_shape_or_none(clip: Clip, source_of: Any) -> None:
    other = LatentShape(2, 1, 1)
    samples = [clip(f"{n}", reference=shape) for n, shape in enumerate((SMALL, None, other, SMALL, None, other))]
    plan = EpochPlan(tuple(samples), batch_size=6, seed=1)
    groups = [{o.sample.reference for o in batch} for batch in plan.epoch(0)]
    assert sorted(map(len, groups)) == [1, 1, 1]
    mixed = source_of([clip("a"), clip("b")])
    mixed.changed["a"] = mixed.load("a") | {"reference": ramp(0, 0.1, 4, *SMALL)}
    with pytest.raises(DataError, match="with and without them: a, b"):
        batch_of(mixed, TrainSettings())


def test_a_route_keeps_every_token_of_a_reference(clip: Clip, source_of: Any) -> None:
    source = with_references(source_of([clip("a", reference=SMALL)]))
    settings = TrainSettings()
    batch = batch_of(source, settings)
    (kept,) = tokens_kept([BlockRoute(0, 1, 0.5)], [SampleOccurrence(source.samples[0], 0)], batch, settings)
    assert kept.shape[1] == 2 * SMALL.tokens - num_skipping(batch.shape, 0.5, settings)
    assert kept[0, -SMALL.tokens :].tolist() == list(range(SMALL.tokens, 2 * SMALL.tokens))


@pytest.mark.parametrize("routed", [False, True])
def test_alignment_looks_at_the_video_alone(routed: bool, clip: Clip, source_of: Any) -> None:
    """Hidden states of the reference's tokens change nothing."""
    settings = TrainSettings(crepa={"block_index": 0})
    crepa = Crepa(settings, make_projector(6, 5, seed=1, device="cpu"))
    plain, sample = clip("mute"), clip("mute", reference=SMALL)
    streams = [
        batch_of(source_of([plain]), settings).video,
        batch_of(with_references(source_of([sample])), settings).video,
    ]
    generator = torch.Generator().manual_seed(0)
    hidden, features = torch.randn(1, 8, 6, generator=generator), torch.randn(1, 2, 2, 5, generator=generator)
    scores = []
    for stream in streams:
        forward = Forward(None, stream, None, {FEATURES: features})
        count = stream.noisy.shape[1]
        kept = torch.tensor([[1, 2, *range(4, count)]]) if routed else torch.arange(count)[None]
        forward.routes = [TokenRoute(0, 1, kept)] if routed else []
        forward.hooks = [HiddenStateHook(0, hidden[:, kept[0]])]
        scores.append(crepa.losses(forward, BatchLosses(torch.zeros(1), None)).terms["crepa"])
    assert torch.equal(*scores)


def test_factors_are_whole(clip: Clip) -> None:
    assert reference_scale(LatentShape(3, 4, 8), LatentShape(3, 2, 4)) == (2, 1)
    assert reference_scale(LatentShape(5, 4, 8), LatentShape(3, 4, 8)) == (1, 2)
    for wrong in ((3, 3, 6), (4, 4, 8), (5, 2, 8), (5, 8, 16), (5, 0, 0), (6, 4, 8)):
        with pytest.raises(ShapeError, match="smaller by one whole number"):
            reference_scale(LatentShape(5, 4, 8), LatentShape(*wrong))


def test_a_header_says_the_factor(tmp_path: Path) -> None:
    def written(metadata: dict[str, str]) -> Path:
        path = tmp_path / "lora.safetensors"
        write_tensors(path, {"a": torch.zeros(1)}, metadata)
        return path

    assert scale_of(written(reference_header(ReferenceScale(2)))) == (2, 1)
    assert scale_of(written(reference_header(ReferenceScale(2, 4)))) == (2, 4)
    assert scale_of(written({"reference_downscale_factor": "1"})) == (1, 1)
    assert scale_of(written({"reference_spatial_scale_factor": "3"})) == (3, 1)
    assert scale_of(written({"reference_temporal_scale_factor": "4"})) == (1, 4)
    assert scale_of(written({})) is None
    for wrong in ({"reference_downscale_factor": "x"}, {"reference_temporal_scale_factor": "0"}):
        with pytest.raises(CheckpointError, match="in its header"):
            scale_of(written(wrong))
