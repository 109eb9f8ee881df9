"""What is taken for an encoder, and what is told of anything else. No torch is needed to know."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from transformers import Dinov2ForImageClassification

from ltx_core.errors import CheckpointError, ConfigError
from ltx_core.io.digest import DigestMemo
from ltx_core.vision.folder import check_image_size, open_encoder
from tests.vision import WIDTH, write_dinov2


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dinov2(tmp_path_factory.mktemp("dinov2"))


@pytest.mark.whole
def test_importing_it_does_not_load_torch() -> None:
    code = "import sys, ltx_core.vision.folder, tasks.stages.embed_frames; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_sizes_are_those_of_the_config_and_headers(folder: Path) -> None:
    found = open_encoder(folder)
    assert (found.patch_size, found.width) == (14, WIDTH)
    assert 4 * found.num_weights < (folder / "model.safetensors").stat().st_size < 4 * found.num_weights + 8192


def test_a_classifiers_file_has_the_same_body(folder: Path, tmp_path: Path) -> None:
    other = open_encoder(write_dinov2(tmp_path, Dinov2ForImageClassification))
    assert other.weights.keys() == open_encoder(folder).weights.keys()


def test_other_models_and_broken_folders_are_told(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"config.json cannot be read.*facebook/dinov2-giant"):
        open_encoder(tmp_path)
    config = json.loads((folder / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "pytorch_model.bin").touch()
    with pytest.raises(CheckpointError, match=r"lacks model.safetensors.*they can run code"):
        open_encoder(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({**config, "model_type": "dinov2_with_registers"}))
    with pytest.raises(CheckpointError, match="holds a dinov2_with_registers model; dinov2 is wanted"):
        open_encoder(tmp_path)


@pytest.mark.parametrize(("size", "near"), [(500, "490 or 504"), (10, "14 or 14"), (519, "518 or 532")])
def test_sizes_that_are_no_whole_patches_are_told(size: int, near: str, folder: Path) -> None:
    with pytest.raises(ConfigError, match=f"no multiple of the encoder's patches of 14 pixels; set {near}"):
        check_image_size(open_encoder(folder), size)
    check_image_size(open_encoder(folder), 28)


def test_the_identity_is_that_of_the_bytes(folder: Path, tmp_path: Path) -> None:
    same, other = write_dinov2(tmp_path / "same"), write_dinov2(tmp_path / "other", layer_norm_eps=1e-5)
    names = [DigestMemo(tmp_path / "memo").of_model(open_encoder(f).files) for f in (folder, same, other)]
    assert names[0] == names[1] != names[2]
