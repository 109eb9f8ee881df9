"""What a LoRA file says of where it comes from: nothing that differs between two runs of the same."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, fields
from typing import Any

from ltx_core.files.digest import text_digest
from ltx_core.lycoris.layout import NORM_OF_FROZEN
from ltx_core.training.config import FREE_TO_CHANGE, TrainSettings
from ltx_core.training.samples import SampleInfo

USUAL = {field.name: field.default for field in fields(SampleInfo) if field.default is not MISSING}
"""What most clips are, by field."""


def config_digest(settings: TrainSettings, samples: Sequence[SampleInfo], provenance: Mapping[str, str]) -> str:
    """Names everything that decides the LoRA: settings, data, and what `provenance` says of the base."""
    data = sorted((_named(sample, settings) for sample in samples), key=lambda sample: str(sample["clip_id"]))
    return text_digest(
        settings.digest(), json.dumps(data, sort_keys=True), json.dumps(dict(provenance), sort_keys=True)
    )


def _named(sample: SampleInfo, settings: TrainSettings) -> dict[str, Any]:
    """All that decides what a clip teaches. That it has sound, and all of it, is not said, so that such runs keep their
    names; where only video is trained it says nothing."""
    known = asdict(sample) | (USUAL if settings.modalities == "video" else {})
    return {name: value for name, value in known.items() if name not in USUAL or value != USUAL[name]}


def lora_metadata(settings: TrainSettings, step: int, digest: str, provenance: Mapping[str, str]) -> dict[str, str]:
    """Header strings of a LoRA file; no time, no path, no host."""
    chosen = settings.model_dump(mode="json", exclude=set(FREE_TO_CHANGE))
    return {
        **provenance,
        "format": "pt",
        **_adapter(settings),
        "ltx2.step": str(step),
        "ltx2.config_digest": digest,
        "ltx2.settings": json.dumps(chosen, sort_keys=True),
    }


def _adapter(settings: TrainSettings) -> dict[str, str]:
    """What kind it is."""
    if settings.lycoris is not None:
        kind = {"ltx2.lycoris": json.dumps(settings.lycoris.model_dump(mode="json"), sort_keys=True)}
        return kind | (NORM_OF_FROZEN if settings.lycoris.dora_wd else {})
    return {"ltx2.rank": str(settings.rank), "ltx2.alpha": f"{settings.lora_alpha:g}, folded into lora_B"}
