"""The guide's `lora_type: lycoris`: its configuration lies in a file of its own."""

from pathlib import Path
from typing import Any

from flows.documents import exists, read_document
from flows.guide.option import Draft, Refused
from ltx_core.errors import ConfigError

TYPE, FILE = "lora_type", "lycoris_config"
DEFAULT_FILE = "config/lycoris_config.json"
DEFAULT_PRESET = {"target_module": ["Attention"]}
"""Where a file says neither: what the guide's program takes for this model."""


def is_lycoris(draft: Draft) -> bool:
    """Whether the file asks for one."""
    return bool(draft.flat.get(TYPE) == "lycoris")


def lora_type(_draft: Draft, _key: str, value: Any) -> None:
    """The adapter's kind; `read_lycoris` follows where it is `lycoris`."""
    if value not in ("standard", "lycoris"):
        raise Refused(f"is {value!r}; standard or lycoris is wanted")


def lycoris_config(draft: Draft, key: str, value: Any) -> None:
    """Without `lora_type: lycoris` the guide's program reads no such file; its example names one all the same."""
    if value and not is_lycoris(draft):
        draft.notice(
            key, "has no effect without lora_type: lycoris; a plain LoRA is trained, as by the guide's program"
        )


def read_lycoris(draft: Draft, root: Path) -> None:
    """Take the library's configuration, if the file asks for it, from where it says."""
    if not is_lycoris(draft):
        return
    path = root / str(draft.flat.get(FILE) or DEFAULT_FILE)
    if not exists(path):
        draft.faults.append(f"option {FILE!r} names {path}, which does not exist; lora_type: lycoris wants it")
        return
    try:
        found = read_document(path, f"option {FILE!r}:")
    except ConfigError as error:
        draft.faults.append(str(error))
        return
    if not isinstance(found, dict):
        draft.faults.append(f"option {FILE!r} names {path}, which is no JSON object; the library's configuration is")
        return
    draft.set("train_lora.lycoris", {"apply_preset": DEFAULT_PRESET, **found})
