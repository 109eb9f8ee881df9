import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from ltx_core.checkpoint import model
from ltx_core.checkpoint.keys import COMPONENTS
from ltx_core.checkpoint.layouts import open_combined
from ltx_core.checkpoint.text_encoder import open_text_encoder
from ltx_core.errors import ChangedError, CheckpointError
from ltx_core.io import digest as digest_module
from ltx_core.io.digest import DigestMemo

pytestmark = pytest.mark.whole

Tensors = dict[str, torch.Tensor]
Changed = Callable[[Callable[[Tensors, dict[str, str]], None]], Path]


def differing(one: dict[str, str], other: dict[str, str]) -> set[str]:
    return {name for name in one if one[name] != other[name]}


def test_every_component_has_its_own_digest(whole: Path, memo: DigestMemo) -> None:
    found = open_combined(whole).identities(memo)
    assert tuple(found) == COMPONENTS
    assert len(set(found.values())) == len(COMPONENTS)


@pytest.mark.parametrize(
    ("name", "component"),
    [
        pytest.param("model.diffusion_model.proj_out.bias", "transformer", marks=pytest.mark.extra),
        pytest.param(
            "model.diffusion_model.video_embeddings_connector.learnable_registers",
            "connectors",
            marks=pytest.mark.extra,
        ),
        ("text_embedding_projection.video_aggregate_embed.bias", "text_projection"),
        ("vae.per_channel_statistics.mean-of-means", "video_vae"),
        pytest.param("audio_vae.per_channel_statistics.std-of-means", "audio_vae", marks=pytest.mark.extra),
        pytest.param("vocoder.vocoder.conv_pre.bias", "vocoder", marks=pytest.mark.extra),
    ],
)
def test_one_changed_value_changes_its_component_alone(
    whole: Path, changed: Changed, memo: DigestMemo, name: str, component: str
) -> None:
    path = changed(lambda tensors, metadata: tensors[name].view(-1)[0].add_(1))
    assert differing(open_combined(whole).identities(memo), open_combined(path).identities(memo)) == {component}


def test_order_and_other_tensors_do_not_matter(whole: Path, changed: Changed, memo: DigestMemo) -> None:
    def shift(tensors: Tensors, metadata: dict[str, str]) -> None:
        tensors["duration_head.mlp.bias"] = torch.zeros(1000)
        metadata["license"] = "another"

    path = changed(shift)
    assert path.read_bytes()[:100] != whole.read_bytes()[:100]
    assert open_combined(path).identities(memo) == open_combined(whole).identities(memo)


def test_a_changed_config_changes_what_it_builds(whole: Path, changed: Changed, memo: DigestMemo) -> None:
    def edit(tensors: Tensors, metadata: dict[str, str]) -> None:
        config = json.loads(metadata["config"])
        config["vae"]["spatial_padding_mode"] = "reflect"
        metadata["config"] = json.dumps(config)

    path = changed(edit)
    assert differing(open_combined(whole).identities(memo), open_combined(path).identities(memo)) == {"video_vae"}


def test_unchanged_files_are_read_once(
    whole: Path, tmp_path: Path, memo: DigestMemo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(digest_module, "GRANULARITY_NS", -1)  # as if the file had been written long ago
    path = tmp_path / "copy.safetensors"
    shutil.copyfile(whole, path)
    found, stat = open_combined(path).identities(memo), path.stat()
    memo.save()
    with monkeypatch.context() as patch:
        patch.setattr(model, "tensors_digest", lambda *_, **__: pytest.fail("it is read again"))
        assert open_combined(path).identities(DigestMemo(memo.store)) == found
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert open_combined(path).identities(DigestMemo(memo.store)) != found, "of the same size and time"


def test_a_file_replaced_after_its_header_was_read_has_no_identity(
    whole: Path, tmp_path: Path, memo: DigestMemo
) -> None:
    """The places of the old file's tensors say nothing of the new one's."""
    path = tmp_path / "copy.safetensors"
    shutil.copyfile(whole, path)
    opened = open_combined(path)
    tensors = load_file(whole)
    with safe_open(whole, "pt") as file:
        save_file(tensors | {"aaa": torch.zeros(8)}, path, metadata=file.metadata())
    with pytest.raises(ChangedError, match="run again"):
        opened.identities(memo)


@pytest.mark.parametrize(
    ("file", "part"),
    [("config.json", "text_encoder"), ("model.safetensors", "text_encoder"), ("tokenizer.json", "tokenizer")],
)
def test_text_encoder_and_tokenizer_are_told_apart(
    gemma: Path, tmp_path: Path, memo: DigestMemo, file: str, part: str
) -> None:
    folder = tmp_path / "gemma"
    shutil.copytree(gemma, folder)
    before = open_text_encoder(folder).identities(memo)
    assert before == open_text_encoder(gemma).identities(memo)
    content = (folder / file).read_bytes()
    changed = content[:-1] + bytes([content[-1] ^ 1]) if file.endswith(".safetensors") else content + b" "
    (folder / file).write_bytes(changed)
    assert differing(before, open_text_encoder(folder).identities(memo)) == {part}


@pytest.mark.parametrize("file", ["config.json", "model.safetensors", "tokenizer.json"])
def test_an_incomplete_folder_names_what_is_missing(gemma: Path, tmp_path: Path, memo: DigestMemo, file: str) -> None:
    folder = tmp_path / "gemma"
    shutil.copytree(gemma, folder)
    (folder / file).unlink()
    with pytest.raises(CheckpointError, match=f"lacks {file};"):
        open_text_encoder(folder).identities(memo)


def test_a_missing_shard_is_named(gemma: Path, tmp_path: Path, memo: DigestMemo) -> None:
    folder = tmp_path / "gemma"
    shutil.copytree(gemma, folder)
    (folder / "model.safetensors").rename(folder / "model-1.safetensors")
    weights = {"a": "model-1.safetensors", "b": "model-2.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weights}))
    with pytest.raises(CheckpointError, match=r"lacks model-2\.safetensors;"):
        open_text_encoder(folder).identities(memo)


def test_nothing_of_this_needs_torch() -> None:
    code = (
        "import sys, ltx_core.checkpoint.model, ltx_core.checkpoint.source, ltx_core.text.packing;"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
