"""A training loop that can be left and taken up again: AdamW, a cosine of the learning rate, an average of the weights.

On a GPU, forward, backward and the optimizer's step are one CUDA graph: tiny layers are bound by the time that it takes
to start their kernels.
"""

import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from ltx_core.io.tensors import write_tensors

AVERAGED_STEPS = 1000
"""The average forgets over as many steps."""


@dataclass(frozen=True)
class Settings:
    """How a phase trains.

    Attributes:
        steps: Of the whole phase; the learning rate's course follows them.
        learning_rate: The highest.
        betas: AdamW's.
        weight_decay: AdamW's.
        clip: Largest norm of the gradient.
        warm_up: Fraction of the steps in which the learning rate rises.
    """

    steps: int
    learning_rate: float
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = 0.0
    clip: float = 1.0
    warm_up: float = 0.02


class Training:
    """One phase.

    Args:
        module: What learns.
        loss: Draws a batch and gives its losses; "loss" is the one that is descended. It must ask the device for
            nothing, or it cannot be captured.
        settings: How.
        generator: That `loss` draws from, so that a captured graph goes on with it.
    """

    def __init__(
        self,
        module: nn.Module,
        loss: Callable[[], Mapping[str, Tensor]],
        settings: Settings,
        generator: torch.Generator,
    ) -> None:
        self.module, self.loss, self.settings, self.generator = module, loss, settings, generator
        self.parameters = [p for p in module.parameters() if p.requires_grad]
        device = self.parameters[0].device
        self.on_gpu = device.type == "cuda"
        self.rate = torch.zeros((), device=device)
        self.optimizer = torch.optim.AdamW(
            self.parameters,
            lr=self.rate if self.on_gpu else 0.0,
            betas=settings.betas,
            weight_decay=settings.weight_decay,
            fused=self.on_gpu,
            capturable=self.on_gpu,
        )
        self.average = [p.detach().clone() for p in self.parameters]
        self.pull = torch.ones((), device=device)
        self.step = 0
        self._graph: torch.cuda.CUDAGraph | None = None
        self._seen: Mapping[str, Tensor] = {}

    def run(self, deadline: float, say: Callable[[str], None]) -> bool:
        """Train until the phase is finished (true) or the time is over (false)."""
        began, first, told = time.monotonic(), self.step, time.monotonic()
        while self.step < self.settings.steps and time.monotonic() < deadline:
            self._set_rates()
            seen = self._replayed() if self.on_gpu else self._once()
            self.step += 1
            if time.monotonic() - told > 15 or self.step == self.settings.steps:
                told = time.monotonic()
                values = {name: float(value) for name, value in seen.items()}
                if not math.isfinite(values["loss"]):
                    raise FloatingPointError(f"the loss is {values['loss']} at step {self.step}")
                pace = 1000 * (time.monotonic() - began) / (self.step - first)
                figures = " ".join(f"{name} {value:.4f}" for name, value in values.items())
                say(f"step {self.step} of {self.settings.steps}, {pace:.1f} ms a step: {figures}")
        return self.step >= self.settings.steps

    def save(self, path: Path) -> None:
        """Average and step in one file, and while the phase goes on weights and moments too."""
        tensors = {f"average.{i}": p for i, p in enumerate(self.average)}
        if self.step < self.settings.steps:
            tensors |= {f"weight.{i}": p for i, p in enumerate(self.parameters)}
            for i, parameter in enumerate(self.parameters):
                state = self.optimizer.state[parameter]
                tensors |= {f"{name}.{i}": state[name].reshape(-1) for name in ("exp_avg", "exp_avg_sq", "step")}
        cpu = {name: tensor.detach().float().cpu() for name, tensor in tensors.items()}
        write_tensors(path, cpu, {"state": json.dumps({"step": self.step})})

    @torch.no_grad()
    def load(self, path: Path, step: int) -> None:
        """What `save` wrote. The learning goes on; the noise that it draws is other noise."""
        stored, self.step = load_file(path), step
        for i, (parameter, average) in enumerate(zip(self.parameters, self.average, strict=True)):
            average.copy_(stored[f"average.{i}"].view_as(average))
            if step >= self.settings.steps:
                continue
            parameter.copy_(stored[f"weight.{i}"].view_as(parameter))
            moments = {
                name: stored[f"{name}.{i}"].view_as(parameter).to(parameter) for name in ("exp_avg", "exp_avg_sq")
            }
            count = stored[f"step.{i}"].reshape(())
            self.optimizer.state[parameter] = {**moments, "step": count.to(parameter.device) if self.on_gpu else count}
        self.generator.manual_seed(step)

    @torch.no_grad()
    def use_average(self) -> None:
        """Put the average in the weights' place."""
        for parameter, average in zip(self.parameters, self.average, strict=True):
            parameter.copy_(average)

    def _set_rates(self) -> None:
        done = self.step / self.settings.steps
        rise = min(1.0, (done + 1e-3) / self.settings.warm_up)
        rate = self.settings.learning_rate * rise * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done)))
        self.rate.fill_(rate)
        self.pull.fill_(max(1 / AVERAGED_STEPS, min(1.0, 20 / (self.step + 20))))
        if not self.on_gpu:
            for group in self.optimizer.param_groups:
                group["lr"] = rate

    def _once(self) -> Mapping[str, Tensor]:
        self.optimizer.zero_grad(set_to_none=True)
        losses = self.loss()
        losses["loss"].backward()
        nn.utils.clip_grad_norm_(self.parameters, self.settings.clip)
        self.optimizer.step()
        with torch.no_grad():
            way = torch._foreach_sub(self.parameters, self.average)
            torch._foreach_mul_(way, self.pull)  # and not lerp_, which would ask the GPU for the number
            torch._foreach_add_(self.average, way)
        return {name: value.detach() for name, value in losses.items()}

    def _replayed(self) -> Mapping[str, Tensor]:
        if self._graph is None:
            return self._captured()
        self._graph.replay()
        return self._seen

    def _captured(self) -> Mapping[str, Tensor]:
        """Three steps on a stream of their own, then the capture; only the first of the three is counted."""
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                seen = self._once()
        torch.cuda.current_stream().wait_stream(side)
        self.optimizer.zero_grad(set_to_none=True)
        self._graph = torch.cuda.CUDAGraph()
        self._graph.register_generator_state(self.generator)
        with torch.cuda.graph(self._graph):
            self._seen = self._once()
        return seen


def stored_step(path: Path) -> int:
    """The step that a file of `Training.save` was written at."""
    from ltx_core.io.safetensors import read_header

    return int(json.loads(read_header(path).metadata["state"])["step"])
