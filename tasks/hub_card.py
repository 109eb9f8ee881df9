"""The card of a LoRA on the hub: the registered card below the facts that the hub's pages read."""

from collections.abc import Iterable, Sequence
from typing import Any

import yaml

from datasets_spec import Render
from ltx_core.checkpoint.location import is_repository
from tasks.shared import ModelConfig

TAGS = ("lora", "ltx-2", "ltx-video", "text-to-video")


def shown_renders(rows: Iterable[Render], most: int) -> list[Render]:
    """The LoRA's renders that were made from text alone, those without other adapters first.

    Others begin with pictures or sounds of the footage, which are not ours to show.
    """
    own = [row for row in rows if row.variant == "candidate" and row.mode == "t2v"]
    return sorted(own, key=lambda row: (row.adapters, row.prompt, row.seed))[:most]


def base_model(model: ModelConfig) -> str | None:
    """The repository that the base model is of; None of local files, whose paths concern no one else."""
    return model.checkpoint if is_repository(model.checkpoint) else None


def hub_card(card: str, model: ModelConfig, renders: Sequence[tuple[str, str]]) -> str:
    """Markdown with the hub's YAML header; `renders`: name in the repository and prompt of each."""
    facts: dict[str, Any] = {"library_name": "diffusers", "pipeline_tag": "text-to-video", "tags": list(TAGS)}
    if base := base_model(model):
        facts["base_model"] = base
    if renders:
        facts["widget"] = [{"text": prompt, "output": {"url": name}} for name, prompt in renders]
    return f"---\n{yaml.safe_dump(facts, sort_keys=True, allow_unicode=True)}---\n\n{card}"
