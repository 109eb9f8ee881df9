"""Each optimizer learns, forgets nothing between runs, and rounds without bias."""

from pathlib import Path
from typing import Any

import pytest
import torch

from ltx_core.errors import CheckpointError
from ltx_core.io.tensors import read_tensors, write_tensors
from ltx_core.training import low_precision_adamw as low_precision
from ltx_core.training.config import TrainSettings
from ltx_core.training.low_precision_adamw import BlockwiseMoment, dynamic_table, step_generator, stochastic_bf16
from ltx_core.training.optimizer import Optimizer, make_optimizer, restore_moments
from ltx_core.training.state import restore_adapter

Parameters = dict[str, torch.nn.Parameter]
ADAMW = ["adamw", "adamw_bf16", "adamw8bit"]
ALL = [*ADAMW, "prodigy", "adafactor"]
RISING: dict[str, Any] = {"learning_rate": 0.1, "scheduler": "constant_with_warmup", "warmup_steps": 100}
"""Rates of 1e-3 a step more."""
SHAPES = {"a": (3, 7), "b": (20, 16), "late": (5,)}


def fresh(optimizer: Any, **changes: Any) -> tuple[Parameters, Optimizer]:
    generator = torch.Generator().manual_seed(0)
    parameters = {n: torch.nn.Parameter(torch.randn(s, generator=generator) * 0.1) for n, s in SHAPES.items()}
    rising = RISING | ({"learning_rate": 1.0} if optimizer == "prodigy" else {})
    return parameters, make_optimizer(parameters, TrainSettings(optimizer=optimizer, **(rising | changes)))


def steps(parameters: Parameters, optimizer: Optimizer, numbers: range) -> None:
    """Gradients by step number; `late` has none before step 3."""
    for number in numbers:
        generator = torch.Generator().manual_seed(number)
        for name, parameter in parameters.items():
            gradient = torch.randn(parameter.shape, generator=generator).to(parameter.dtype)
            parameter.grad = None if name == "late" and number < 3 else gradient
        optimizer.step(number)


@pytest.mark.parametrize("optimizer", ALL)
@pytest.mark.parametrize("cut", [1, 4, 5])
def test_goes_on_from_a_file_to_the_same_bits(optimizer: str, cut: int, tmp_path: Path) -> None:
    whole, made = fresh(optimizer)
    steps(whole, made, range(cut))
    write_tensors(tmp_path / "weights", {n: p.detach() for n, p in whole.items()}, {})
    write_tensors(tmp_path / "moments", made.state(), {})
    steps(whole, made, range(cut, 8))
    resumed, other = fresh(optimizer)
    restore_adapter(resumed, read_tensors(tmp_path / "weights")[0])
    restore_moments(other, resumed, read_tensors(tmp_path / "moments")[0])
    steps(resumed, other, range(cut, 8))
    assert all(torch.equal(resumed[name], whole[name]) for name in SHAPES)


STREAMS = {"attn1.w": 1.0, "audio_attn1.w": 0.25, "audio_to_video_attn.w": 2.0, "crepa_projector.w": 1.0}
"""Parameters, and their learning rates beside the run's."""


@pytest.mark.parametrize("optimizer", [*ADAMW, "adafactor"])
def test_streams_have_learning_rates_of_their_own(optimizer: Any, tmp_path: Path) -> None:
    """At every step of the schedule, and after a resume; Adam's first step is as long as its learning rate."""
    own = {"learning_rate": 0.04, "audio_learning_rate": 0.01, "cross_learning_rate": 0.08}
    rising = {"scheduler": "linear", "warmup_steps": 4, "steps": 8, "weight_decay": 0.0, "optimizer": optimizer}
    settings = TrainSettings.model_validate(own | rising)

    def begun() -> tuple[Parameters, Optimizer]:
        parameters = {name: torch.nn.Parameter(torch.zeros(300)) for name in STREAMS}
        return parameters, make_optimizer(parameters, settings)

    whole, made = begun()
    steps(whole, made, range(1))
    for name, factor in STREAMS.items():
        torch.testing.assert_close(whole[name].abs().float(), torch.full((300,), factor * 0.01), rtol=0.02, atol=0)
    write_tensors(tmp_path / "weights", {n: p.detach() for n, p in whole.items()}, {})
    write_tensors(tmp_path / "moments", made.state(), {})
    steps(whole, made, range(1, 3))
    resumed, other = begun()
    restore_adapter(resumed, read_tensors(tmp_path / "weights")[0])
    restore_moments(other, resumed, read_tensors(tmp_path / "moments")[0])
    steps(resumed, other, range(1, 3))
    assert all(torch.equal(resumed[name], whole[name]) for name in STREAMS)


@pytest.mark.parametrize("optimizer", ALL)
def test_parameters_without_gradient_have_no_state(optimizer: str) -> None:
    parameters, made = fresh(optimizer)
    before = parameters["late"].detach().clone()
    steps(parameters, made, range(2))
    assert torch.equal(parameters["late"], before)
    assert {name.split(".")[0] for name in made.state()} == {"a", "b"}


def regression(optimizer: str) -> float:
    """Loss left after fitting a linear map with noise for 400 steps."""
    generator = torch.Generator().manual_seed(3)
    inputs, truth = torch.randn(256, 24, generator=generator), torch.randn(24, 8, generator=generator)
    targets = inputs @ truth + 0.1 * torch.randn(256, 8, generator=generator)
    parameters = {"w": torch.nn.Parameter(torch.zeros(24, 8))}
    settings: dict[str, Any] = {"learning_rate": 0.05, "scheduler": "linear", "steps": 400, "weight_decay": 0.0}
    falling = TrainSettings(optimizer=optimizer, **settings)  # type: ignore[arg-type]  # by test
    made = make_optimizer(parameters, falling)
    for step in range(400):
        loss = (inputs @ parameters["w"].float() - targets).square().mean()
        parameters["w"].grad = None
        loss.backward()
        made.step(step)
    return (inputs @ parameters["w"].detach().float() - targets).square().mean().item()


@pytest.mark.whole
def test_low_precision_converges_as_float32_does() -> None:
    """The noise alone is 0.01; bfloat16 weights of size 1 resolve 2^-8, which over 24 inputs costs some 3e-5."""
    exact = regression("adamw")
    assert exact == pytest.approx(0.0091, abs=4e-4)
    assert regression("adamw8bit") < exact + 1e-4
    assert regression("adamw_bf16") < exact + 5e-4


def test_bf16_without_chance_would_stand_still() -> None:
    """Updates of 1e-5 on weights of 1: nearest rounding loses every one."""
    parameters = {"w": torch.nn.Parameter(torch.ones(4096))}
    made = make_optimizer(parameters, TrainSettings(optimizer="adamw_bf16", weight_decay=0.0, learning_rate=1e-5))
    for number in range(50):
        parameters["w"].grad = torch.ones(4096, dtype=torch.bfloat16)
        made.step(number)
    assert parameters["w"].dtype == torch.bfloat16
    assert 1 - parameters["w"].detach().float().mean().item() == pytest.approx(50e-5, rel=0.2)


def test_low_precision_agrees_with_float32_for_a_step() -> None:
    wanted, exact = fresh("adamw")
    steps(wanted, exact, range(3))
    found, made = fresh("adamw8bit")
    steps(found, made, range(3))
    for name in SHAPES:
        assert torch.allclose(found[name], wanted[name], atol=6e-4)  # of updates of 1e-3 to 3e-3


@pytest.mark.parametrize("optimizer", ["adamw_bf16", "adamw8bit"])
def test_memory_is_what_is_said(optimizer: str) -> None:
    parameters = {"w": torch.nn.Parameter(torch.ones(64, 256))}
    made = make_optimizer(parameters, TrainSettings(optimizer=optimizer))  # type: ignore[arg-type]  # by test
    parameters["w"].grad = torch.ones_like(parameters["w"])
    made.step(0)
    held = [*made.state().values(), parameters["w"], parameters["w"].grad]
    each = sum(tensor.numel() * tensor.element_size() for tensor in held) / parameters["w"].numel()
    assert each == pytest.approx({"adamw_bf16": 8, "adamw8bit": 10}[optimizer], abs=0.05)


def test_weights_do_not_depend_on_how_parameters_are_laid_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing is rounded: the arithmetic is by value."""
    whole, made = fresh("adamw8bit")
    monkeypatch.setattr(low_precision, "RUN_SIZE", 256)
    apart, other = fresh("adamw8bit")
    steps(whole, made, range(1))
    steps(apart, other, range(1))
    assert all(torch.equal(whole[name], apart[name]) for name in SHAPES)


def test_rounding_is_fair_and_a_function_of_seed_and_step() -> None:
    values = torch.full((20_000,), 1.0 + 2**-10)
    device = values.device
    rounded = stochastic_bf16(values, step_generator(1, 5, device))
    assert set(rounded.tolist()) == {1.0, 1.0 + 2**-7}
    assert rounded.float().mean().item() == pytest.approx(1.0 + 2**-10, abs=1e-4)
    assert torch.equal(stochastic_bf16(-values, step_generator(1, 5, device)), -rounded)
    assert torch.equal(stochastic_bf16(values, step_generator(1, 5, device)), rounded)
    assert not torch.equal(stochastic_bf16(values, step_generator(1, 6, device)), rounded)
    assert not torch.equal(stochastic_bf16(values, step_generator(2, 5, device)), rounded)


@pytest.mark.parametrize("signed", [True, False])
def test_eight_bits_keep_the_value_on_the_mean(signed: bool) -> None:
    table = dynamic_table(signed=signed)
    assert (len(table), len(set(table.tolist())), table.max().item()) == (256, 256, 1.0)
    values = torch.randn(256, generator=torch.Generator().manual_seed(0)) * 1e-3
    values = values if signed else values.square()
    moment = BlockwiseMoment(256, values.device, signed=signed)
    assert not moment.read(slice(0, 256)).any()
    mean = torch.zeros(256)
    for step in range(200):
        moment.write(slice(0, 256), values, step_generator(0, step, values.device))
        mean += moment.read(slice(0, 256)) / 200
    assert torch.allclose(mean, values, rtol=0.02, atol=values.abs().max().item() * 1e-3)


def test_second_moment_above_zero_stays_there() -> None:
    values = torch.full((256,), 1e-12)
    values[0] = 1.0
    moment = BlockwiseMoment(256, values.device, signed=False)
    moment.write(slice(0, 256), values, step_generator(0, 0, values.device))
    assert bool((moment.read(slice(0, 256)) > 0).all())


@pytest.mark.parametrize("optimizer", ALL)
def test_state_of_others_is_refused(optimizer: str) -> None:
    parameters, made = fresh(optimizer)
    with pytest.raises(CheckpointError, match="'c"):
        restore_moments(made, parameters, {"c.exp_avg": torch.ones(2)})
    with pytest.raises(CheckpointError, match="only"):
        restore_moments(made, parameters, {f"a.{made.moments[0]}": torch.ones(2)})
