"""Whole runs: what is learnt, what is written, what is told."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from ltx_core.adapters.lora_files import load_lora
from ltx_core.errors import CheckpointError, ConfigError, DataError
from ltx_core.io.tensors import read_tensors
from ltx_core.progress import Silent
from ltx_core.training.run import TrainJob, train_lora

pytestmark = pytest.mark.numerics
JobOf = Callable[..., TrainJob]
TIMES = {"step_seconds", "tokens_per_second", "data/wait_seconds", "data/wait_share"}


class Listener(Silent):
    """Progress that remembers."""

    def __init__(self) -> None:
        self.values: dict[int, dict[str, float]] = {}
        self.notes: list[str] = []
        self.advanced: list[tuple[int, int, str]] = []

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        self.values.setdefault(step, {}).update(values)

    def note(self, message: str) -> None:
        self.notes.append(message)

    def advance(self, done: int, total: int, unit: str) -> None:
        self.advanced.append((done, total, unit))


def test_eval_loss_falls_for_both_streams_and_the_file_does_it(job_of: JobOf, tmp_path: Path) -> None:
    listener = Listener()
    at_the_end = {"eval_interval": 60, "checkpoint_interval": 60}
    job = job_of(tmp_path, steps=60, learning_rate=1e-2, rank=4, gradient_accumulation_steps=1, **at_the_end)
    result = train_lora(job, listener)
    assert result.eval_loss is not None
    assert result.base_eval_loss is not None
    assert result.eval_loss < 0.7 * result.base_eval_loss
    for stream in ("eval/loss_video", "eval/loss_audio"):
        assert listener.values[60][stream] < 0.85 * listener.values[0][stream]
    tensors, _ = read_tensors(result.lora_path)
    ups = {name: tensor for name, tensor in tensors.items() if name.endswith("lora_B.weight")}
    assert sum(".audio_attn" in name for name in ups) == 2 * 2 * 4
    assert all(bool(tensor.any()) for tensor in ups.values())
    load_lora(result.lora_path, job.load_transformer())


def test_video_alone_leaves_no_audio_in_the_file(job_of: JobOf, tmp_path: Path) -> None:
    listener = Listener()
    result = train_lora(job_of(tmp_path, modalities="video", steps=2), listener)
    tensors, _ = read_tensors(result.lora_path)
    assert len(tensors) == 2 * 2 * 2 * 4
    assert not any("audio" in name for name in tensors)
    told = {name for values in listener.values.values() for name in values}
    assert {"loss/video", "eval/loss_video", "grad_norm/video"} <= told
    assert not any("audio" in name for name in told)


def test_audio_targets_leave_the_video_stream_alone(job_of: JobOf, tmp_path: Path) -> None:
    result = train_lora(job_of(tmp_path, targets="audio", steps=2), Silent())
    tensors, _ = read_tensors(result.lora_path)
    assert tensors
    assert all(".audio_attn" in name for name in tensors)


def test_metrics_are_told_and_kept(job_of: JobOf, tmp_path: Path) -> None:
    listener = Listener()
    result = train_lora(job_of(tmp_path), listener)
    assert sorted(listener.values) == [0, 2, 4, 6, 7]
    expected = {"loss", "loss/video", "loss/audio", "grad_norm/all", "grad_norm/video", "grad_norm/audio"}
    expected |= {"grad_norm/cross", "learning_rate"} | TIMES
    assert expected <= listener.values[2].keys()
    assert any(name.startswith("loss/video/sigma_q") for name in listener.values[2])
    assert {"eval/loss", "eval/loss_video", "eval/loss_audio"} <= listener.values[4].keys()
    kept = {(row.step, row.name): row.value for row in result.metrics}
    told = {(step, name): value for step, values in listener.values.items() for name, value in values.items()}
    timing = {key for key in told if key[1] in TIMES}
    assert kept == {key: value for key, value in told.items() if key not in timing}
    assert listener.advanced[-1] == (7, 7, "steps")
    assert result.base_eval_loss == listener.values[0]["eval/loss"]
    assert [saved.step for saved in result.saved] == [3, 6, 7]
    assert all(saved.path.is_file() for saved in result.saved)


def test_best_checkpoints_outlive_newer_ones(job_of: JobOf, tmp_path: Path) -> None:
    listener = Listener()
    changes = {"learning_rate": 0.2, "checkpoint_interval": 1, "eval_interval": 1, "keep_checkpoints": 1}
    result = train_lora(job_of(tmp_path, keep_best=2, scheduler="constant", warmup_steps=0, **changes), listener)
    losses = sorted((listener.values[step]["eval/loss"], step) for step in range(1, 8))
    assert [saved.step for saved in result.saved] == sorted({7, losses[0][1], losses[1][1]})
    assert [saved.eval_loss for saved in result.saved] == [listener.values[s.step]["eval/loss"] for s in result.saved]


def test_header_says_where_it_comes_from_and_not_when_or_where(job_of: JobOf, tmp_path: Path) -> None:
    paths = [train_lora(job_of(tmp_path / name, steps=2), Silent()).lora_path for name in ("one", "two")]
    assert paths[0].read_bytes() == paths[1].read_bytes()
    _, header = read_tensors(paths[0])
    assert header["base"] == "tiny 2.5"
    assert header["ltx2.step"] == "2"
    assert json.loads(header["ltx2.settings"])["learning_rate"] == 5e-3
    assert str(tmp_path).encode() not in paths[0].read_bytes()


def test_other_seed_or_data_is_another_lora(job_of: JobOf, source_of: Any, tmp_path: Path) -> None:
    one = train_lora(job_of(tmp_path / "one", steps=2), Silent()).lora_path
    two = train_lora(job_of(tmp_path / "two", steps=2, seed=1), Silent()).lora_path
    fewer = source_of([s for s in source_of().samples if s.clip_id != "b"])
    three = train_lora(job_of(tmp_path / "three", fewer, steps=2), Silent()).lora_path
    assert len({path.read_bytes() for path in (one, two, three)}) == 3


def test_sound_nowhere_gives_no_audio_loss(job_of: JobOf, source_of: Any, clip: Any, tmp_path: Path) -> None:
    listener = Listener()
    clips = [clip("silent a"), clip("silent b"), clip("silent held", split="eval")]
    train_lora(job_of(tmp_path, source_of(clips), steps=2), listener)
    told = {name for values in listener.values.values() for name in values}
    assert "loss/video" in told
    assert not told & {"loss/audio", "eval/loss_audio"}


def test_no_held_out_clip_is_said(job_of: JobOf, source_of: Any, clip: Any, tmp_path: Path) -> None:
    listener = Listener()
    result = train_lora(job_of(tmp_path, source_of([clip("a")]), steps=2), listener)
    assert (result.eval_loss, result.base_eval_loss) == (None, None)
    assert "no clip is held out" in listener.notes[0]


def test_nan_stops_before_the_step_and_names_the_clip(job_of: JobOf, source_of: Any, tmp_path: Path) -> None:
    source = source_of(video_scale={"b": 1e30})
    with pytest.raises(DataError, match=r"not finite for b \(video, sigma"):
        train_lora(job_of(tmp_path, source, batch_size=1, gradient_accumulation_steps=1), Silent())
    assert not (tmp_path / "lora.safetensors").exists()


def test_modes_and_bf16_train(job_of: JobOf, source_of: Any, tmp_path: Path) -> None:
    source = source_of()
    job = job_of(
        tmp_path,
        source,
        steps=3,
        dtype="bf16",
        activation_checkpointing=1.0,
        first_frame_probability=0.5,
        caption_dropout=0.5,
        independent_sigmas=False,
        scheduler="constant",
        warmup_steps=0,
        alpha=7,
    )
    result = train_lora(job, Silent())
    assert "" in source.asked
    assert torch.isfinite(torch.tensor([row.value for row in result.metrics])).all()


def test_missing_empty_caption_shows_before_training(job_of: JobOf, source_of: Any, tmp_path: Path) -> None:
    class WithoutEmpty(type(source_of())):  # type: ignore[misc]  # the fixture's class
        def text(self, caption: str) -> dict[str, torch.Tensor]:
            if not caption:
                raise DataError("the empty caption is not embedded")
            return super().text(caption)  # type: ignore[no-any-return]  # as above

    source = WithoutEmpty(source_of().samples)
    with pytest.raises(DataError, match="empty caption"):
        train_lora(job_of(tmp_path, source, caption_dropout=0.01), Silent())
    assert not source.asked


def test_wrong_dtype_is_refused(job_of: JobOf, tmp_path: Path) -> None:
    job = job_of(tmp_path)
    settings = job.settings.model_copy(update={"dtype": "bf16"})
    with pytest.raises(ConfigError, match=r"loaded as torch\.float32"):
        train_lora(replace(job, settings=settings), Silent())


def test_checkpoint_of_other_settings_is_refused(job_of: JobOf, tmp_path: Path) -> None:
    train_lora(job_of(tmp_path, steps=2), Silent())
    with pytest.raises(CheckpointError, match="another output folder"):
        train_lora(job_of(tmp_path, steps=2, learning_rate=1e-3), Silent())
    again = train_lora(job_of(tmp_path, steps=2, keep_checkpoints=1, activation_checkpointing=1.0), Silent())
    assert again.resumed_from_step == 2
