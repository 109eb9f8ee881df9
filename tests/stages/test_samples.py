"""Samples while a LoRA trains: what is rendered, and that it leaves no trace in what is trained."""

import random
import re
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch

from ltx_core.errors import DataError, Stopped
from ltx_core.io.atomic import find_whole
from ltx_core.io.digest import file_digest
from ltx_core.io.tensors import read_tensors, write_tensors
from ltx_core.media.probe import probe_media
from ltx_core.training.objective import Objective
from ltx_core.training.state import ADAPTER_FILE, LORA_FILE, OPTIMIZER_FILE
from tasks import stage_named
from tasks.runtime.launch import launch
from tasks.stages.render import phases
from tasks.stages.render.phases import load_decoders
from tasks.stages.samples.kept import kept_samples
from tasks.stages.samples.maker import TrainingSamples
from tests.processes import stage_process
from tests.stages.bench import PROMPT, Bench, copied, tree
from tests.stages.test_child import Listener

pytestmark = pytest.mark.whole
TRAINED = (LORA_FILE, ADAPTER_FILE, OPTIMIZER_FILE)


def sampling(bench: Bench, **options: object) -> Bench:
    options = {"every_steps": 1, "num_steps": 2} | options
    return bench.set(**{f"train_lora__samples__{name}": value for name, value in options.items()})


def trained(folder: Path) -> dict[str, str]:
    """Digests of all that training leaves behind."""
    files = [folder / LORA_FILE, folder / "metrics.parquet"]
    files += [path / name for path in sorted(folder.glob("checkpoints/step-*")) for name in TRAINED]
    return {file.relative_to(folder).as_posix(): file_digest(file) for file in files}


def pictures(folder: Path) -> dict[str, str]:
    """Digests of the samples."""
    return {sample.file.relative_to(folder).as_posix(): sample.values["digest"] for sample in kept_samples(folder)}


def state_of(transformer: Any) -> list[tuple[Any, ...]]:
    """Modes, weights and gradients, by name."""
    modes = [(name, module.training) for name, module in transformer.named_modules()]
    weights = transformer.named_parameters()
    return [*modes, *((n, p.requires_grad, p.grad is None, float(p.detach().double().sum())) for n, p in weights)]


def test_samples_change_nothing_that_is_trained(own: Bench) -> None:
    without = own.run("train_lora")["train_lora"]
    expected = trained(without.run.out)
    assert not (without.run.out / "samples").exists()
    again = sampling(own, every_steps=2).run("train_lora", force="train_lora")["train_lora"]
    assert again.run.out == without.run.out, "samples are no part of what names a LoRA"
    assert trained(again.run.out) == expected
    assert [(s.step, s.values["prompt"]) for s in kept_samples(again.run.out)] == [(0, PROMPT), (2, PROMPT)]


def test_samples_leave_no_trace(own: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Modes of modules, gradients, weights and global generators are as they were, dropout and average being on."""
    seen: list[int] = []
    make = TrainingSamples.make

    def watched(self: TrainingSamples, step: int, objective: Objective, *rest: Any) -> None:
        objective.transformer.transformer_blocks[0].train(step > 0)  # modes that differ from one another
        before = state_of(objective.transformer)
        make(self, step, objective, *rest)
        assert state_of(objective.transformer) == before
        seen.append(step)

    def greedy(*arguments: Any, **options: Any) -> Any:
        """As libraries may do that draw from the global generators."""
        torch.rand(1)
        np.random.rand()
        random.random()
        return load_decoders(*arguments, **options)

    monkeypatch.setattr(phases, "load_decoders", greedy)
    monkeypatch.setattr(TrainingSamples, "make", watched)
    dropped = {"train_lora__dropout": 0.2, "train_lora__ema_decay": 0.9}
    generators = (
        torch.get_rng_state().tolist(),
        np.random.get_state(legacy=False)["state"]["key"].tolist(),
        random.getstate(),
    )
    sampling(own.set(**dropped)).run("train_lora")
    assert seen == [0, 1, 2]
    assert (
        torch.get_rng_state().tolist(),
        np.random.get_state(legacy=False)["state"]["key"].tolist(),
        random.getstate(),
    ) == generators


def test_a_killed_run_goes_on_to_the_same_bytes_and_renders_nothing_twice(
    own: Bench, forked_children: None, tmp_path: Path
) -> None:
    options = {"train_lora__steps": 3, "train_lora__checkpoint_interval": 3, "train_lora__eval_interval": 3}
    bench = sampling(own.set(**options))
    whole = bench.but(workspace=copied(own.workspace, tmp_path / "whole")).run("train_lora")["train_lora"].run.out
    run = bench.due(stage_named("train_lora"), bench.run("embed_frames"))

    class Killer(Listener):
        def noted(self, stage: str, message: str) -> None:
            if "step 1 was rendered" in message:
                stage_process(psutil.Process()).kill()

    with pytest.raises(Stopped):
        launch(run, Killer())
    assert not (run.out / LORA_FILE).exists()
    before = tree(run.out / "samples")
    assert [sample.step for sample in kept_samples(run.out)] == [0, 1]
    shown: list[tuple[str, bool]] = []

    class Watcher(Listener):
        def shown(self, stage: str, page: Path) -> None:
            shown.append((page.relative_to(run.out).as_posix(), (run.out / LORA_FILE).exists()))

    launch(run, Watcher())
    assert [page for page, _ in shown] == ["samples.html"] * 2, "of steps 2 and 3"
    assert not shown[0][1], "the page is there before the training ends"
    assert trained(run.out) == trained(whole)
    after = tree(run.out / "samples")
    assert {name: after[name] for name in before} == before
    assert pictures(run.out) == pictures(whole)
    assert [sample.step for sample in kept_samples(run.out)] == [0, 1, 2, 3]


@pytest.mark.extra
def test_two_ranks_render_what_one_renders(own: Bench, forked_children: None, tmp_path: Path) -> None:
    """The second rank waits at every sampling step."""
    bench = sampling(own.set(train_lora__gradient_accumulation_steps=2), every_steps=2)
    alone = bench.but(workspace=copied(own.workspace, tmp_path / "alone")).run("train_lora")["train_lora"].run.out
    both = bench.set(memory__num_gpus=2)
    run = both.due(stage_named("train_lora"), both.run("embed_frames"))
    launch(run, Listener())
    assert trained(run.out) == trained(alone)
    assert pictures(run.out) == pictures(alone)


def test_a_base_that_renders_nothing_stops_the_run_before_it_trains(own: Bench, tmp_path: Path) -> None:
    """A decoder whose last layer is empty makes grey of everything; asked again, the run says it again."""
    grey = tmp_path / "grey.safetensors"
    tensors, metadata = read_tensors(Path(own.checkpoint))
    for name in tensors:
        if name.startswith("vae.decoder.conv_out"):
            tensors[name] = torch.zeros_like(tensors[name])
    write_tensors(grey, tensors, metadata)
    bench = sampling(own.but(checkpoint=grey))
    for _ in range(2):
        with pytest.raises(DataError, match=r"base model renders nothing of use: .*step_000000.*of one colour") as told:
            bench.run("train_lora")
        assert "allow_broken_base: true" in str(told.value)
        assert not find_whole(bench.workspace, "stages/train_lora/*/checkpoints/step-*")
    result = sampling(bench, allow_broken_base=True).run("train_lora")["train_lora"]
    assert [sample.step for sample in kept_samples(result.run.out)] == [0, 1, 2]


def test_a_finished_lora_is_not_trained_again_for_samples(bench: Bench) -> None:
    assert not sampling(bench).run("train_lora")["train_lora"].built


def test_samples_are_results_like_others(own: Bench) -> None:
    result = sampling(own, max_prompts=5, seeds=[1, 2], every_steps=2).run("train_lora")["train_lora"]
    samples = kept_samples(result.run.out)
    assert [(s.values["seed"], s.step) for s in samples] == [(1, 0), (1, 2), (2, 0), (2, 2)]
    info = probe_media(samples[0].file)
    assert (info.width, info.height, info.num_frames) == (64, 64, 9), "the clips that are trained on are like that"
    assert info.audio_rate
    digests = result.summary.files
    assert all(digests[s.file.relative_to(result.run.out).as_posix()] == file_digest(s.file) for s in samples)
    assert "samples.html" in digests


def test_the_gallery_shows_samples_over_the_steps(own: Bench) -> None:
    done = sampling(own).run("render_validation")
    folder, training = done["render_validation"].run.out, done["train_lora"].run.out
    page = (folder / "gallery.html").read_text()
    assert page.index("Samples over steps") < page.index("Renders</h2>")
    sources = re.findall(r'<video src="(samples/[^"]+)"', page)
    assert [source.split("/")[1] for source in sources] == ["step_000000", "step_000001", "step_000002"]
    assert all((folder / source).samefile(training / source) for source in sources)
    assert set(sources) <= done["render_validation"].summary.files.keys()
    live = (training / "samples.html").read_text()
    assert re.findall(r'<video src="(samples/[^"]+)"', live) == sources
    assert re.findall(r'class="variant">([^<]+)<', live) == ["base", "step 1", "step 2"]
