"""Prodigy and Adafactor are what their libraries compute of the parameters one by one, and have the settings' words."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from prodigyopt import Prodigy
from pydantic import ValidationError

from ltx_core.io.tensors import read_tensors, write_tensors
from ltx_core.training.config import TrainSettings
from ltx_core.training.metrics import StepRecord, summarise
from ltx_core.training.optimizer import Optimizer, make_optimizer, restore_moments
from ltx_core.training.state import restore_adapter

SHAPES = {"attn1.lora_A": (3, 40), "audio_attn1.lora_A": (3, 24), "attn1.lora_B": (40, 3), "attn2.bias": (7,)}
STEPS, RATE = 80, 0.5
Parameters = dict[str, torch.nn.Parameter]


def made(settings: TrainSettings | None = None) -> tuple[Parameters, Optimizer]:
    generator = torch.Generator().manual_seed(0)
    parameters = {n: torch.nn.Parameter(torch.randn(s, generator=generator) * 0.1) for n, s in SHAPES.items()}
    return parameters, make_optimizer(parameters, settings or TrainSettings())


def learn(parameters: Parameters, step: Any, numbers: range = range(STEPS)) -> None:
    """Towards 1 from where they begin; those of audio have no gradient in every third step."""
    for number in numbers:
        for name, parameter in parameters.items():
            silent = name.startswith("audio") and number % 3 == 0
            parameter.grad = None if silent else (parameter.detach() - 1) * 0.1
        step(number)


def test_prodigy_is_the_librarys() -> None:
    falling: dict[str, Any] = {"scheduler": "linear", "final_learning_rate": 0.8, "steps": STEPS}
    settings = TrainSettings(optimizer="prodigy", weight_decay=0.01, **falling)
    assert settings.learning_rate == 1
    found, ours = made(settings)
    learn(found, ours.step)
    wanted, _ = made()
    library = Prodigy(wanted.values(), weight_decay=0.01, use_bias_correction=True, safeguard_warmup=True)

    def step(number: int) -> None:
        library.param_groups[0]["lr"] = settings.learning_rate_at(number)
        library.step()

    learn(wanted, step)
    d = library.param_groups[0]["d"]
    assert d > 1e-4, "it has grown from 1e-6"
    assert ours.figures() == {"d": pytest.approx(d, rel=1e-4)}
    for name in SHAPES:
        torch.testing.assert_close(found[name], wanted[name], rtol=1e-4, atol=1e-6)


def test_an_estimate_that_has_grown_goes_on_from_a_file(tmp_path: Path) -> None:
    settings = TrainSettings(optimizer="prodigy", steps=STEPS)
    whole, ours = made(settings)
    learn(whole, ours.step, range(STEPS // 2))
    assert (grown := ours.figures()["d"]) > 1e-5
    write_tensors(tmp_path / "moments", ours.state(), {})
    resumed, other = made(settings)
    restore_adapter(resumed, {name: one.detach().clone() for name, one in whole.items()})
    restore_moments(other, resumed, read_tensors(tmp_path / "moments")[0])
    for parameters, optimizer in ((whole, ours), (resumed, other)):
        learn(parameters, optimizer.step, range(STEPS // 2, STEPS))
    assert ours.figures() == other.figures()
    assert ours.figures()["d"] > 2 * grown
    assert all(torch.equal(resumed[name], whole[name]) for name in SHAPES)


def test_streams_with_a_rate_of_their_own_have_an_estimate_of_their_own() -> None:
    settings = TrainSettings(optimizer="prodigy", audio_learning_rate=RATE, steps=STEPS)
    found, ours = made(settings)
    learn(found, ours.step)
    estimates = ours.figures()
    assert set(estimates) == {"d/audio", "d/cross+video"} or set(estimates) == {"d/audio", "d/video"}
    assert len(set(estimates.values())) == 2
    wanted, _ = made()
    alone = {name: parameter for name, parameter in wanted.items() if name.startswith("audio")}
    library = Prodigy(alone.values(), lr=RATE, use_bias_correction=True, safeguard_warmup=True)
    library.param_groups[0]["weight_decay"] = settings.weight_decay
    learn(alone, lambda _: library.step())
    torch.testing.assert_close(found["audio_attn1.lora_A"], wanted["audio_attn1.lora_A"], rtol=1e-4, atol=1e-6)


def test_adafactor_is_pytorchs(monkeypatch: pytest.MonkeyPatch) -> None:
    """However few values are computed at once."""
    monkeypatch.setattr("ltx_core.training.optimizer.RUN_SIZE", 150)
    settings = TrainSettings(optimizer="adafactor", learning_rate=0.01, steps=STEPS, weight_decay=0.01)
    found, ours = made(settings)
    learn(found, ours.step)
    wanted, _ = made()
    library = torch.optim.Adafactor(wanted.values(), lr=0.01, eps=(None, 1.0), weight_decay=0.01)
    learn(wanted, lambda _: library.step())
    assert ours.figures() == {}
    assert all(torch.equal(found[name], wanted[name]) for name in SHAPES)


def test_what_it_estimates_is_a_metric() -> None:
    first, last = (StepRecord(1.0, {}, (), {}, {"d": value}) for value in (1e-6, 2e-5))
    assert summarise([first, last])["optimizer/d"] == 2e-5
    assert StepRecord.from_json(json.loads(json.dumps(last.to_json()))) == last
    assert "optimizer" not in StepRecord(1.0, {}, ()).to_json()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"optimizer": "prodigy", "learning_rate": 1e-4},
            "learning_rate is 0.0001 with optimizer 'prodigy'.*1 is meant",
        ),
        ({"optimizer": "prodigy", "audio_learning_rate": 1e-4}, "audio_learning_rate is 0.0001"),
        ({"optimizer": "adafactor", "betas": (0.9, 0.99)}, "leave out betas"),
    ],
)
def test_options_that_do_not_go_with_one_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TrainSettings.model_validate(settings)
