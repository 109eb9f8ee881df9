"""The contract of training methods, over all of them: each by itself, and all at once.

A method that is added to `MethodOptions` is tested here with its `example`, and with nothing to write.
"""

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from ltx_core.progress import Silent
from ltx_core.training import run as runs
from ltx_core.training import step as backward
from ltx_core.training.config import TrainSettings
from ltx_core.training.evaluation import eval_loss
from ltx_core.training.loop import Run
from ltx_core.training.methods.method import TrainingMethod
from ltx_core.training.methods.registry import METHODS
from ltx_core.training.metrics import History
from ltx_core.training.order import SampleOccurrence
from ltx_core.training.out_of_memory import largest_batch
from ltx_core.training.run import TrainResult, prepare, train_lora
from ltx_core.training.step import EagerBackward, GraphedBackward, backward_step
from tests.numerics.methods.conftest import everything_job
from tests.numerics.training.test_precisions import POLICIES
from tests.numerics.training.test_ranks import check_alike, train_two
from tests.numerics.training.test_resume import KilledAt, in_child

pytestmark = pytest.mark.numerics
EACH: dict[str, dict[str, Any]] = {name: {method.option: method.example} for name, method in METHODS.items()}
ALL: dict[str, Any] = {option: value for options in EACH.values() for option, value in options.items()}
CONDITIONING: dict[str, Any] = {
    "caption_dropout": 0.3,
    "first_frame_probability": 0.3,
    "prefix_probability": 0.3,
    "prefix_latent_frames": 1,
    "audio_conditioning_probability": 0.3,
    "audio_loss_weight": 0.5,
}
CASES = EACH | {"all": ALL | {"optimizer": "adamw8bit"}}
FOR_RESUMING: dict[str, Any] = {"optimizer": "adamw_bf16", "base_precision": "int8", "log_interval": 2}
"""Weights that are rounded stochastically, and a base in 8 bits."""
Trained = Callable[[str], TrainResult]
every_case = pytest.mark.parametrize(
    "case", [pytest.param(case, marks=() if case == "all" else pytest.mark.extra) for case in CASES]
)
"""Every method is in `all`, and each by itself in the longest tests."""


def settings_of(case: str, **changes: Any) -> dict[str, Any]:
    return CONDITIONING | changes | CASES[case]


@pytest.fixture(scope="module")
def resident(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A case in 8 bits with its base on the device and nothing that interrupts it, trained once."""
    found: dict[str, TrainResult] = {}

    def train(case: str) -> TrainResult:
        if case not in found:
            folder = tmp_path_factory.mktemp(case)
            found[case] = train_lora(everything_job(folder, **settings_of(case, **FOR_RESUMING)), Silent())
        return found[case]

    return train


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> TrainResult:
    """What is trained without any method."""
    return train_lora(everything_job(tmp_path_factory.mktemp("plain"), **CONDITIONING, **FOR_RESUMING), Silent())


def run_of(folder: Path, **changes: Any) -> Run:
    """A run at its start, its adapter not idle."""
    run = prepare(everything_job(folder, **changes), folder, "digest", History(), Silent())
    for number, (name, parameter) in enumerate(run.parameters.items()):
        if "lora_B" in name:
            parameter.data.normal_(0, 0.1, generator=torch.Generator().manual_seed(number))
    return run


def occurrences(run: Run, *names: str, number: int = 0) -> list[SampleOccurrence]:
    return [SampleOccurrence(s, number) for name in names for s in run.plan.samples if s.clip_id == name]


def step(run: Run, batches: list[list[SampleOccurrence]], **changes: Any) -> tuple[Any, dict[str, torch.Tensor]]:
    """The figures of a step, and its gradients."""
    found = backward_step(run.objective, batches, **changes)
    gradients = {name: p.grad.clone() for name, p in run.parameters.items() if p.grad is not None}
    for parameter in run.parameters.values():
        parameter.grad = None
    return found, gradients


def equal(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    return left.keys() == right.keys() and all(left[name].equal(right[name]) for name in left)


def checkpoint(result: TrainResult) -> dict[str, bytes]:
    """The files of the last checkpoint."""
    return {path.name: path.read_bytes() for path in result.saved[-1].path.parent.iterdir()}


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_a_method_is_an_option_that_is_off_by_default(method: type[TrainingMethod]) -> None:
    field = TrainSettings.model_fields[method.option]
    on = TrainSettings(**{method.option: method.example})
    assert field.description
    assert getattr(on, method.option) != field.default
    assert on.digest() != TrainSettings().digest() == TrainSettings(**{method.option: field.default}).digest()
    assert METHODS[method.name] is method
    assert method.name not in ("video", "audio", "proj", "transformer", "term", "measure")


def test_off_is_bit_equal_to_a_trainer_without_methods(
    plain: TrainResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the clips bring for them lies there, and nobody asks for it."""
    monkeypatch.setattr(runs, "make_methods", lambda _: ())
    without = train_lora(everything_job(tmp_path, **CONDITIONING, **FOR_RESUMING), Silent())
    assert without.metrics == plain.metrics
    assert checkpoint(without) == checkpoint(plain)


@every_case
def test_on_it_changes_the_lora(case: str, plain: TrainResult, resident: Trained) -> None:
    assert resident(case).lora_path.read_bytes() != plain.lora_path.read_bytes()
    assert resident(case).base_eval_loss == plain.base_eval_loss


@every_case
def test_killed_with_offloaded_blocks_and_run_again_it_ends_with_the_same_bytes(
    case: str, resident: Trained, tmp_path: Path
) -> None:
    """Block offload and activation checkpointing, too, against a base that stays where it is and no interruption."""
    job = everything_job(tmp_path, **settings_of(case, **FOR_RESUMING), **POLICIES)
    assert in_child(lambda: train_lora(job, KilledAt(4))) == -signal.SIGKILL
    again, whole = train_lora(job, Silent()), resident(case)
    assert again.resumed_from_step == 3
    assert again.metrics == whole.metrics
    assert checkpoint(again) == checkpoint(whole)


@every_case
def test_two_ranks_train_as_one_does(case: str, tmp_path: Path) -> None:
    changes = settings_of(case, steps=3, log_interval=1) | {"optimizer": "adamw"}
    alone = train_lora(everything_job(tmp_path / "one", **changes), Silent())
    job = everything_job(tmp_path / "two", **changes)
    assert train_two(job) == {}
    check_alike(train_lora(job, Silent()), alone)  # nothing left to do: reads what the two wrote


@every_case
def test_gradients_and_figures_do_not_depend_on_how_a_step_is_cut(case: str, tmp_path: Path) -> None:
    run = run_of(tmp_path, **settings_of(case))
    for number in range(3):
        clips = occurrences(run, "a", "b", "silent", number=number)
        together, gradients = step(run, [clips])
        apart, others = step(run, [clips[:1], clips[1:]])
        torch.testing.assert_close(gradients, others, rtol=1e-4, atol=1e-6)
        assert together.methods.keys() == apart.methods.keys()
        for name, figures in together.methods.items():
            assert figures == pytest.approx(apart.methods[name], rel=1e-5)


@every_case
def test_a_graph_of_a_step_has_all_of_it_as_inputs(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is replayed with other samples than it was captured with; batches of one shape have one form."""
    seen: list[dict[str, torch.Tensor]] = []

    def graphs(work: Any, *_: object) -> Any:
        def run(inputs: dict[str, torch.Tensor]) -> Any:
            seen.append(inputs)
            return work(inputs)

        return run

    monkeypatch.setattr(backward, "StepGraphs", graphs)  # the real one wants a GPU
    always: dict[str, Any] = {"first_frame_probability": 1.0, "prefix_probability": None, "prefix_latent_frames": None}
    run = run_of(tmp_path, **settings_of(case, **POLICIES) | always)
    graphed, eager = GraphedBackward(run.objective, list(run.parameters.values())), EagerBackward(run.objective)
    for number in range(2):
        clips = [occurrences(run, "large", "large2", number=number)]
        found, gradients = step(run, clips, backward=graphed)
        wanted, others = step(run, clips, backward=eager)
        assert found == wanted
        torch.testing.assert_close(gradients, others)
    forms = [{name: (tensor.shape, tensor.dtype) for name, tensor in inputs.items()} for inputs in seen]
    assert forms[0] == forms[1]


@every_case
def test_eval_knows_nothing_of_it(case: str, tmp_path: Path) -> None:
    on, off = run_of(tmp_path / "on", **settings_of(case)), run_of(tmp_path / "off", **CONDITIONING)
    assert eval_loss(on.objective, on.held_out, Silent()) == eval_loss(off.objective, off.held_out, Silent())


@every_case
def test_video_alone_is_trained_with_it_too(case: str, tmp_path: Path) -> None:
    run = run_of(tmp_path, **CASES[case], modalities="video")
    _, gradients = step(run, [list(largest_batch(run.objective, run.plan))])
    assert gradients
    assert all(bool(gradient.isfinite().all()) for gradient in gradients.values())


@pytest.mark.parametrize(
    "name", [name for name, method in METHODS.items() if method.strength is not TrainingMethod.strength]
)
def test_at_strength_0_a_method_does_nothing(name: str, tmp_path: Path) -> None:
    on, off = run_of(tmp_path / "on", **EACH[name]), run_of(tmp_path / "off")
    clips = [occurrences(on, "large", "large2")]
    found, gradients = step(on, clips, strengths={name: 0.0})
    wanted, others = step(off, clips)
    assert found == wanted
    assert equal(gradients, others)
