"""The average of the adapter over steps: its formula, and what is made of it. Resuming: methods/test_contract.py."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from ltx_core.io.tensors import read_tensors
from ltx_core.progress import Silent
from ltx_core.training.methods.ema import Ema
from ltx_core.training.run import TrainJob, train_lora
from ltx_core.training.state import ADAPTER_FILE, checkpoint_folder, checkpoints

pytestmark = pytest.mark.numerics
JobOf = Callable[..., TrainJob]


def started(parameters: dict[str, torch.nn.Parameter], decay: float) -> Ema:
    average = Ema(parameters, decay)
    average.start()
    return average


def test_the_average_is_the_formula() -> None:
    """v <- d v + (1 - d) p, with d no more than (1 + n) / (10 + n) at step n."""
    parameter = torch.nn.Parameter(torch.zeros(3, dtype=torch.bfloat16))
    average, wanted = started({"p": parameter}, 0.3), 0.0
    for step in range(20):
        parameter.data.fill_(step + 1.0)
        average.after_step(step, {}, {})
        decay = min(0.3, (1 + step) / (10 + step))
        wanted = decay * wanted + (1 - decay) * (step + 1)
    assert average.state()["p"].dtype == torch.float32
    assert average.state()["p"].tolist() == pytest.approx([wanted] * 3, rel=1e-5)
    assert parameter.tolist() == [20.0] * 3, "what trains is left alone"


def test_parameters_have_it_for_a_while_at_their_addresses() -> None:
    parameter = torch.nn.Parameter(torch.zeros(2))
    average, address = started({"p": parameter}, 0.5), parameter.data_ptr()
    parameter.data.fill_(3.0)
    with average.exported():
        assert parameter.tolist() == [0.0, 0.0]
        assert parameter.data_ptr() == address
    assert parameter.tolist() == [3.0, 3.0]


def test_the_average_is_what_is_exported_and_measured(job_of: JobOf, tmp_path: Path) -> None:
    plain = train_lora(job_of(tmp_path / "plain"), Silent())
    averaged = train_lora(job_of(tmp_path / "averaged", ema_decay=0.9), Silent())
    folders = [checkpoint_folder(tmp_path / name / "checkpoints", plain.steps) for name in ("plain", "averaged")]
    raw = [read_tensors(folder / ADAPTER_FILE)[0] for folder in folders]
    assert all(torch.equal(raw[0][name], raw[1][name]) for name in raw[0]), "training itself does not feel it"
    mean, _ = read_tensors(folders[1] / Ema.state_file)
    exported, _ = read_tensors(averaged.lora_path)
    downs = sorted(tuple(t.flatten().tolist()[:2]) for name, t in exported.items() if "lora_A" in name)
    kept = sorted(tuple(t.bfloat16().flatten().tolist()[:2]) for name, t in mean.items() if "lora_A" in name)
    assert downs == kept
    assert averaged.eval_loss != plain.eval_loss
    assert averaged.base_eval_loss == plain.base_eval_loss
    assert not (folders[0] / Ema.state_file).exists()


def test_a_checkpoint_without_its_average_is_passed_over(job_of: JobOf, tmp_path: Path) -> None:
    job = job_of(tmp_path, ema_decay=0.9)
    first = train_lora(job, Silent()).lora_path.read_bytes()
    newest, *older = checkpoints(tmp_path / "checkpoints")
    assert older
    (newest / Ema.state_file).unlink()
    again = train_lora(job, Silent())
    assert again.resumed_from_step is not None
    assert again.resumed_from_step < again.steps
    assert again.lora_path.read_bytes() == first
