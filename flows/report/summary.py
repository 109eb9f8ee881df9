"""The result of a run: its LoRA, its losses and scores, what it cost, and what could not be used."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import Any

from datasets_spec import Checkpoint, Clip, Manifest, Quarantined, Registered
from flows.config import RunConfig
from flows.listeners import spoken
from ltx_core.report.page import Badge, Cell
from ltx_core.training.plan_settings import most_ranks
from tasks.runtime.device import visible_gpus
from tasks.runtime.execute import read_quarantine
from tasks.runtime.launch import StageResult
from tasks.stages.parts.caption_texts import captioned
from tasks.stages.render.jobs import final_checkpoint

STAGE_HEADERS = (
    "stage",
    "result",
    "in",
    "out",
    "quarantined",
    "computed",
    "reused",
    "unit",
    "seconds",
    "GPU hours",
    "key",
)
QUARANTINE_HEADERS = ("stage", "item", "reason", "detail")
MOST_NAMED = 10
"""Quarantined items that the terminal names; the report names all."""
HOUR = 3600.0
MIB = 2**20


@dataclass(frozen=True, kw_only=True)
class FinishedRun:
    """The figures of one run that ended well. Stages that it does not cover leave their figures None."""

    name: str
    folder: Path
    """`runs/NAME` of the workspace."""
    results: Sequence[StageResult]
    seconds: float
    """From the first stage's start to the last one's end, as a clock on the wall has it."""
    num_gpus: int
    """GPUs that a stage may have; 0 on the CPU."""

    def result(self, stage: str) -> StageResult | None:
        """Result of a stage, if the run covers it."""
        return next((one for one in self.results if one.run.stage.name == stage), None)

    def manifest(self, stage: str) -> Manifest[Any] | None:
        """The rows of a stage that the run covers, or that a stage of it reads."""
        if (own := self.result(stage)) is not None:
            return own.manifest
        return next((one.run.inputs[stage] for one in self.results if stage in one.run.inputs), None)

    @cached_property
    def checkpoint(self) -> Checkpoint | None:
        """The LoRA after the last step."""
        manifest = self.manifest("train_lora")
        return None if manifest is None else final_checkpoint(manifest)

    @property
    def lora(self) -> Path | None:
        """Its file."""
        if self.checkpoint is None:
            return None
        return self.results[0].run.workspace.root / self.checkpoint.file

    @cached_property
    def registered(self) -> Registered | None:
        """Its version in the registry."""
        manifest = self.manifest("register")
        return None if manifest is None else next(iter(manifest), None)

    @property
    def champion_eval_loss(self) -> float | None:
        """Eval loss of the champion that it was compared with."""
        found = self.result("register")
        return None if found is None else found.summary.figures.get("champion_eval_loss")

    @cached_property
    def scores(self) -> dict[str, tuple[float, float]]:
        """Mean score of the base model's renders and of the LoRA's, by the score's name."""
        rows = list(self.manifest("render_validation") or ())
        means = []
        for variant in ("base", "candidate"):
            known = [row.clip_score for row in rows if row.variant == variant and row.clip_score is not None]
            means.append(fmean(known) if known else None)
        base, own = means
        return {} if base is None or own is None else {"CLIP score": (base, own)}

    @property
    def gallery(self) -> Path | None:
        """The page of renders."""
        found = self.result("render_validation")
        page = None if found is None else found.run.out / "gallery.html"
        return page if page is not None and page.is_file() else None

    @cached_property
    def quarantined(self) -> list[tuple[str, Quarantined]]:
        """Stage and item, of everything that could not be used."""
        return [(one.run.stage.name, item) for one in self.results for item in read_quarantine(one.manifest)]

    @property
    def num_clips(self) -> int | None:
        """Clips that are trained on or held out."""
        return None if self.clips is None else len(self.clips)

    @cached_property
    def clips(self) -> list[Clip] | None:
        """The clips with their captions; None for a run that reads none."""
        found = {name: manifest for name in ("split", "caption") if (manifest := self.manifest(name)) is not None}
        return captioned(found) if "split" in found else None

    def gpu_hours(self, result: StageResult) -> float:
        """Hours in which a stage had GPUs to itself in this run, times their number."""
        stage = result.run.stage
        if stage.device == "cpu" or not result.built or not self.num_gpus:
            return 0.0
        wanted = result.run.shared.memory.num_gpus
        if not stage.has_ranks:
            count = 1
        elif wanted == "auto":
            count = most_ranks(result.run.config, self.num_gpus)
        else:
            count = wanted
        return count * result.summary.seconds / HOUR

    @property
    def all_gpu_hours(self) -> float:
        """Of all stages."""
        return sum(self.gpu_hours(result) for result in self.results)

    @property
    def figures(self) -> dict[str, float]:
        """Figures that compare over runs, by the names that MLflow and `run.json` have."""
        found: dict[str, float | None] = {
            "result/clips": self.num_clips,
            "result/quarantined": len(self.quarantined),
            "result/eval_loss": self.checkpoint.eval_loss if self.checkpoint else None,
            "result/base_eval_loss": self.checkpoint.base_eval_loss if self.checkpoint else None,
            "result/champion_eval_loss": self.champion_eval_loss,
            "cost/seconds": self.seconds,
            "cost/gpu_hours": self.all_gpu_hours,
        }
        for name, (base, own) in self.scores.items():
            slug = name.lower().replace(" ", "_")
            found |= {f"scores/{slug}": own, f"scores/base_{slug}": base}
        for result in self.results:
            if result.built:
                found[f"cost/{result.run.stage.name}_seconds"] = result.summary.seconds
        return {name: float(value) for name, value in found.items() if value is not None}

    def facts(self) -> dict[str, str]:
        """The result first: what people want to know, in their words."""
        shown: dict[str, str] = {}
        if self.checkpoint is not None and self.lora is not None:
            shown["LoRA"] = f"{self.lora} ({_size(self.lora)}, {self.checkpoint.step} steps)"
        if self.registered is not None:
            shown["registered"] = (
                f"{self.registered.model_name} version {self.registered.version}, the {self.registered.alias}"
            )
        if losses := self._losses():
            shown["eval loss"] = losses
        for name, (base, own) in self.scores.items():
            shown[name] = f"{own:.2f} this LoRA, {base:.2f} base model"
        shown["took"] = f"{spoken(self.seconds)}, {self._gpus()}"
        return shown

    def _losses(self) -> str:
        row = self.checkpoint
        if row is None or row.eval_loss is None:
            return ""
        parts = [f"{row.eval_loss:.4f} this LoRA"]
        if row.base_eval_loss:
            parts.append(f"{row.base_eval_loss:.4f} base model ({row.eval_loss / row.base_eval_loss - 1:+.0%})")
        if self.champion_eval_loss is not None:
            parts.append(f"{self.champion_eval_loss:.4f} champion until now")
        return ", ".join(parts)

    def _gpus(self) -> str:
        return f"{self.all_gpu_hours:.2f} GPU hours" if self.num_gpus else "no GPU"

    def quarantine_lines(self) -> list[str]:
        """The number of items that could not be used, then each with its reason and what to do, up to `MOST_NAMED`."""
        if not self.quarantined:
            return []
        lines = [f"quarantined  {len(self.quarantined)}; mend the files and run again:"]
        for stage, item in self.quarantined[:MOST_NAMED]:
            lines.append(f"  {item.source} ({stage}, {item.reason.value}): {item.detail}")
        if len(self.quarantined) > MOST_NAMED:
            lines.append(f"  and {len(self.quarantined) - MOST_NAMED} more, which the report names")
        return lines

    def markdown(self) -> str:
        """The same for MLflow's and Prefect's pages."""
        facts = [f"- **{name}**: {_literal(text)}" for name, text in self.facts().items()]
        if not self.quarantined:
            return "\n".join(facts)
        head, *items = (_literal(line.strip()) for line in self.quarantine_lines())
        return "\n".join([*facts, "", head, "", *(f"- {item}" for item in items)])

    def lines(self) -> list[str]:
        """All of it for a terminal."""
        facts = [f"{name:<12} {text}" for name, text in self.facts().items()]
        if self.gallery is not None:
            facts.append(f"{'gallery':<12} {self.gallery}")
        return [*facts, *self.quarantine_lines()]


def _literal(text: str) -> str:
    """Markdown that shows the text as it is."""
    return re.sub(r"[\\`*<>\[\]~]|(?<![^\W_])_|_(?![^\W_])", r"\\\g<0>", text)


def _size(file: Path) -> str:
    if not file.is_file():
        return "gone"
    size = file.stat().st_size
    return f"{size / MIB:.1f} MiB" if size >= MIB else f"{size / 2**10:.0f} KiB"


def summarise(config: RunConfig, name: str, results: Sequence[StageResult], seconds: float) -> FinishedRun:
    """The figures of a run that has just ended."""
    num_gpus = 0 if config.memory.device == "cpu" else len(visible_gpus())
    return FinishedRun(
        name=name, folder=config.place().runs / name, results=results, seconds=seconds, num_gpus=num_gpus
    )


def stage_rows(summary: FinishedRun) -> list[list[Cell]]:
    """One row a stage: what it did, with its counts; the time of a stage that was reused is that of an earlier run."""
    rows: list[list[Cell]] = []
    for result in summary.results:
        s = result.summary
        badge = Badge(result.state_name, "good" if result.built else "plain")
        computed, reused = (s.computed, s.reused) if result.built else (0, s.num_out)
        counts: list[Cell] = [s.num_in, s.num_out, s.num_quarantined, computed, reused, s.unit]
        cost: list[Cell] = [s.seconds, round(summary.gpu_hours(result), 4)] if result.built else [None, None]
        rows.append([s.stage, badge, *counts, *cost, s.key])
    return rows


def terminal_rows(summary: FinishedRun) -> list[list[str]]:
    """The same in the few columns that fit a terminal."""
    rows = []
    for result in summary.results:
        s = result.summary
        unit = s.unit.removesuffix("s") if s.num_in == 1 else s.unit
        items = f"{s.num_out} {unit}" if s.num_in == s.num_out else f"{s.num_out} of {s.num_in} {unit}"
        hours = f"{summary.gpu_hours(result):.2f}" if summary.num_gpus and result.built else "-"
        rows.append([s.stage, result.state_name, items, spoken(s.seconds) if result.built else "-", hours])
    return rows


def quarantine_rows(summary: FinishedRun) -> list[list[Cell]]:
    """One row for each item that was quarantined, by any stage."""
    return [[stage, item.item, item.reason.value, item.detail] for stage, item in summary.quarantined]
