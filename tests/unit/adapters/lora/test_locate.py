"""Adapters by file, folder and hub, and what their headers alone say."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from ltx_core.adapters.locate import DIFFUSERS_NAME, HubAdapter, hub_adapter, locate_adapter
from ltx_core.adapters.lora_layout import check_fits, header_shapes
from ltx_core.errors import CheckpointError
from ltx_core.hub.repository import Repository
from tests.loopback_hub import COMMIT, serving, settings

MODULE = "diffusion_model.transformer_blocks.0.attn1.to_q"
DISTILLED = "Lightricks/LTX-2-19b-distilled-lora-384:ltx-2-19b-distilled-lora-384.safetensors"


def write_pair(path: Path, rank: int = 2, out: int = 6, into: int = 4, module: str = MODULE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    halves = {f"{module}.lora_A.weight": torch.ones(rank, into), f"{module}.lora_B.weight": torch.ones(out, rank)}
    save_file(halves, path)
    return path


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (DISTILLED, HubAdapter(Repository(DISTILLED.split(":", maxsplit=1)[0]), DISTILLED.split(":")[1])),
        ("owner/name:loras/a.safetensors", HubAdapter(Repository("owner/name"), "loras/a.safetensors")),
        ("owner/name", HubAdapter(Repository("owner/name"), DIFFUSERS_NAME)),
        ("loras/mine.safetensors", HubAdapter(Repository("loras/mine.safetensors"), DIFFUSERS_NAME)),
        ("/absolute/file.safetensors", None),
        ("owner/name:weights.bin", None),
        ("C:\\loras\\a.safetensors", None),
    ],
)
def test_names_on_the_hub(text: str, found: HubAdapter | None) -> None:
    assert hub_adapter(text) == found


def test_files_and_folders(tmp_path: Path) -> None:
    path = write_pair(tmp_path / "one" / "any-name.safetensors")
    assert locate_adapter(path) == locate_adapter(path.parent) == path
    second = write_pair(tmp_path / "one" / "other.safetensors")
    with pytest.raises(CheckpointError, match=r"has any-name\.safetensors, other\.safetensors; give the path of one"):
        locate_adapter(path.parent)
    second.rename(second.with_name(DIFFUSERS_NAME))
    assert locate_adapter(path.parent).name == DIFFUSERS_NAME
    with pytest.raises(CheckpointError, match=r"absent\.safetensors does not exist; give a \.safetensors file"):
        locate_adapter(tmp_path / "absent.safetensors")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match=r"has no \.safetensors file"):
        locate_adapter(tmp_path / "empty")


ASK = """
import json, sys
from ltx_core.errors import LtxError
from ltx_core.adapters.locate import hub_adapter, locate_adapter, pending_adapter
from ltx_core.progress import Silent

class Told(Silent):
    def advance(self, done, total, unit):
        answers["told"] = unit

answers = {}
for text in sys.argv[1:]:
    try:
        place = hub_adapter(text)
        waiting = [file.name for file in pending_adapter(place)]
        answers[text] = str(locate_adapter(place, Told()))
        assert not pending_adapter(place) and locate_adapter(hub_adapter(text, here_only=True))
        answers["pending"] = waiting
    except LtxError as error:
        answers[text] = f"{type(error).__name__}: {error}"
print(json.dumps(answers))
"""


def test_hub(tmp_path: Path) -> None:
    """The hub's client in a process of its own, which has its settings from the environment."""
    repository, _, name = DISTILLED.partition(":")
    wanted = write_pair(tmp_path / "hub" / repository / name)
    with serving(tmp_path / "hub") as endpoint:
        asked = [DISTILLED, f"{repository}:typo.safetensors", "absent/name:a.safetensors", "gated/name:a.safetensors"]
        command = [sys.executable, "-c", ASK, *asked]
        environment = settings(endpoint, tmp_path / "home")
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    answers = json.loads(done.stdout)
    assert answers["pending"] == [name]
    assert COMMIT in answers[DISTILLED]
    assert Path(answers[DISTILLED]).read_bytes() == wanted.read_bytes()
    assert "has no file typo.safetensors" in answers[asked[1]]
    assert "absent/name is not on the hub, or private" in answers[asked[2]]
    assert "gated/name is gated" in answers[asked[3]]
    assert answers["told"]


def test_headers_say_what_changes(tmp_path: Path) -> None:
    path = write_pair(tmp_path / "a.safetensors")
    (module,) = shapes = header_shapes(path)
    assert shapes == {"transformer_blocks.0.attn1.to_q": (6, 4)}
    check_fits(path, shapes, {module: (6, 4), "other": (1, 1)})
    with pytest.raises(CheckpointError, match=r"as a \[6, 4\] layer, which is of shape \[6, 8\]"):
        check_fits(path, shapes, {module: (6, 8)})
    with pytest.raises(CheckpointError, match="changes 1 modules that are missing"):
        check_fits(path, shapes, {"other": (6, 4)})


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({f"{MODULE}.lora_A.weight": torch.ones(2, 4)}, "only one of lora_A and lora_B"),
        (
            {f"{MODULE}.lora_A.weight": torch.ones(2, 4), f"{MODULE}.lora_B.weight": torch.ones(6, 3)},
            r"\[rank, in\] and \[out, rank\] with equal ranks",
        ),
        (
            {
                f"{MODULE}.lora_A.weight": torch.ones(2, 4, dtype=torch.int8),
                f"{MODULE}.lora_B.weight": torch.ones(6, 2),
            },
            "lora_A I8",
        ),
        ({"lm_head.weight": torch.ones(2, 2)}, "a plain LoRA is wanted"),
    ],
)
def test_headers_of_something_else_are_refused(tmp_path: Path, tensors: dict[str, torch.Tensor], message: str) -> None:
    save_file(tensors, tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError, match=message):
        header_shapes(tmp_path / "a.safetensors")
