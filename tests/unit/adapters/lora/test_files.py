"""LoRA files: layout, strength, strictness, bytes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import LTX2Pipeline
from safetensors import safe_open
from safetensors.torch import save_file

from ltx_core.adapters import lora_files
from ltx_core.adapters.lora import add_lora, lora_layers, lora_parameters, target_modules
from ltx_core.adapters.lora_files import export_tensors, fill_lora, load_lora
from ltx_core.adapters.lora_layout import stream_of
from ltx_core.adapters.trained import check_export
from ltx_core.errors import CheckpointError
from ltx_core.io.digest import file_digest
from ltx_core.io.tensors import read_tensors, write_tensors
from ltx_core.training.config import TrainSettings
from ltx_core.training.run import put_on
from tests.fused_lora import save_lora

pytestmark = pytest.mark.whole

Forward = Callable[[Any], torch.Tensor]
HEADER = {"base": "tiny", "dataset": "none", "zeta": "1", "alpha": "2"}


@pytest.fixture
def trained(build: Callable[..., Any], pretend_training: Callable[[Any], None]) -> Any:
    """A transformer with a LoRA of rank 4 and alpha 8."""
    transformer = build()
    add_lora(transformer, target_modules(transformer, "audio+video"), rank=4, alpha=8, seed=0)
    pretend_training(transformer)
    return transformer


def test_file_reloads_to_the_same_output_with_alpha_folded(
    trained: Any, build: Callable[..., Any], run_forward: Forward, tmp_path: Path
) -> None:
    wanted = run_forward(trained)
    save_lora(tmp_path / "lora.safetensors", trained, HEADER)
    fresh = build()
    base = run_forward(fresh)
    header = load_lora(tmp_path / "lora.safetensors", fresh)
    assert header["base"] == "tiny"
    error = (run_forward(fresh) - wanted).norm() / (wanted - base).norm()
    assert error < 0.02  # alpha not folded would be an error of about one half


def test_layout_is_the_portable_one(trained: Any, tmp_path: Path) -> None:
    save_lora(tmp_path / "lora.safetensors", trained, HEADER)
    with safe_open(tmp_path / "lora.safetensors", framework="pt") as file:
        names = set(file.keys())
        metadata = file.metadata()
        down = file.get_tensor("diffusion_model.transformer_blocks.0.attn1.to_q.lora_A.weight")
        up = file.get_tensor("diffusion_model.transformer_blocks.0.attn1.to_q.lora_B.weight")
    assert len(names) == 2 * 48
    assert not any("alpha" in name or "base_layer" in name or "default" in name for name in names)
    assert (down.shape, up.shape, down.dtype) == ((4, 32), (32, 4), torch.bfloat16)
    assert metadata == {"format": "pt", **HEADER}
    layer = lora_layers(trained)["transformer_blocks.0.attn1.to_q"]
    assert torch.equal(up, (layer.lora_B["default"].weight * 2).bfloat16())


def test_diffusers_loads_the_file_itself(
    trained: Any, build: Callable[..., Any], run_forward: Forward, tmp_path: Path
) -> None:
    """diffusers' own loader, as its LTX-2 pipelines call it, gives what ours gives."""
    save_lora(tmp_path / "lora.safetensors", trained, HEADER)
    ours, theirs = build(), build()
    load_lora(tmp_path / "lora.safetensors", ours)
    state = LTX2Pipeline.lora_state_dict(tmp_path / "lora.safetensors")
    theirs.load_lora_adapter({name: tensor.float() for name, tensor in state.items()}, prefix="transformer")
    assert torch.allclose(run_forward(theirs), run_forward(ours), atol=1e-6)


def test_streams_have_ranks_of_their_own(
    build: Callable[..., Any], pretend_training: Callable[[Any], None], run_forward: Forward, tmp_path: Path
) -> None:
    """One scale for all; the file loads here and in diffusers."""
    made = build()
    put_on(made, TrainSettings(rank=8, alpha=16, audio_rank=4, cross_rank=2))
    pretend_training(made)
    found = {(stream_of(name), layer.r["default"]) for name, layer in lora_layers(made).items()}
    assert found == {("video", 8), ("audio", 4), ("cross", 2)}
    assert {layer.scaling["default"] for layer in lora_layers(made).values()} == {2.0}
    save_lora(tmp_path / "lora.safetensors", made, HEADER)
    ours, theirs = build(), build()
    load_lora(tmp_path / "lora.safetensors", ours)
    state = LTX2Pipeline.lora_state_dict(tmp_path / "lora.safetensors")
    theirs.load_lora_adapter({name: tensor.float() for name, tensor in state.items()}, prefix="transformer")
    torch.testing.assert_close(run_forward(theirs), run_forward(ours), atol=1e-6, rtol=0)
    effect = run_forward(made) - run_forward(build())
    assert (run_forward(ours) - run_forward(made)).norm() < 0.02 * effect.norm()


def test_strength_scales_the_change(trained: Any, build: Callable[..., Any], tmp_path: Path) -> None:
    save_lora(tmp_path / "lora.safetensors", trained, {})
    half = build()
    load_lora(tmp_path / "lora.safetensors", half, strength=0.5)
    assert {layer.scaling["default"] for layer in lora_layers(half).values()} == {0.5}


def test_bytes_depend_on_content_alone(tmp_path: Path) -> None:
    """The library's own writer orders header strings by a salted hash, so equal content gets unequal bytes."""
    for number, names in enumerate(("abcdefgh", "hgfedcba")):
        path = tmp_path / f"{number}.safetensors"
        write_tensors(path, {name: torch.ones(3) for name in names}, {name: name * 2 for name in names})
    assert file_digest(tmp_path / "0.safetensors") == file_digest(tmp_path / "1.safetensors")
    tensors, metadata = read_tensors(path)
    assert metadata == {name: name * 2 for name in "abcdefgh"}
    assert torch.equal(tensors["c"], torch.ones(3))


def test_odd_shapes_and_types_survive_the_writer(tmp_path: Path) -> None:
    tensors = {
        "scalar": torch.tensor(3.5),
        "bf16": torch.randn(3, 5).bfloat16(),
        "strided": torch.arange(6.0).reshape(2, 3).T,
        "empty": torch.zeros(0, 2),
    }
    write_tensors(tmp_path / "t.safetensors", tensors, {})
    found, metadata = read_tensors(tmp_path / "t.safetensors")
    assert metadata == {}
    assert all(torch.equal(found[name], tensors[name]) for name in tensors)
    assert found.keys() == tensors.keys()


def test_gate_passes_the_true_file_and_leaves_the_model_as_it_was(
    trained: Any, run_forward: Forward, tmp_path: Path
) -> None:
    path = tmp_path / "lora.safetensors"
    save_lora(path, trained, {})
    before = run_forward(trained)
    check_export(path, trained, lambda: run_forward(trained))
    assert torch.equal(run_forward(trained), before)
    assert all(parameter.requires_grad for parameter in lora_parameters(trained).values())


def test_gate_refuses_a_file_that_is_not_the_adapter(trained: Any, run_forward: Forward, tmp_path: Path) -> None:
    path = tmp_path / "lora.safetensors"
    tensors = export_tensors(trained)
    name = "diffusion_model.transformer_blocks.0.attn1.to_q.lora_B.weight"
    write_tensors(path, {**tensors, name: tensors[name] * 2}, {})
    with pytest.raises(CheckpointError, match=r"differs.*to_q\.lora_B"):
        check_export(path, trained, lambda: run_forward(trained))


def test_gate_refuses_another_output(
    trained: Any, run_forward: Forward, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file whose tensors are right, and which the reader scales wrongly."""
    path = tmp_path / "lora.safetensors"
    save_lora(path, trained, {})
    before, parameters = run_forward(trained), lora_parameters(trained)
    read = lora_files._scale
    monkeypatch.setattr(lora_files, "_scale", lambda *words: 2 * read(*words))
    with pytest.raises(CheckpointError, match="another output"):
        check_export(path, trained, lambda: run_forward(trained))
    assert torch.equal(run_forward(trained), before)
    assert all(parameter is parameters[name] for name, parameter in lora_parameters(trained).items())


def test_a_file_of_other_layers_does_not_fill_the_adapter(build: Callable[..., Any], tmp_path: Path) -> None:
    small, large = build(), build()
    for transformer, targets in ((small, ["attn1.to_q"]), (large, "video")):
        add_lora(transformer, target_modules(transformer, targets), rank=2, alpha=2, seed=0)
        for parameter in lora_parameters(transformer).values():
            torch.nn.init.ones_(parameter)
    save_lora(tmp_path / "lora.safetensors", small, {})
    with pytest.raises(CheckpointError, match="they differ in"):
        fill_lora(tmp_path / "lora.safetensors", large)


def test_broken_or_idle_lora_is_not_written(build: Callable[..., Any], tmp_path: Path) -> None:
    transformer = build()
    add_lora(transformer, target_modules(transformer, "video"), rank=2, alpha=2, seed=0)
    with pytest.raises(CheckpointError, match="every lora_B is zero"):
        save_lora(tmp_path / "lora.safetensors", transformer, {})
    next(iter(lora_parameters(transformer).values())).data[0, 0] = float("nan")
    with pytest.raises(CheckpointError, match="NaN"):
        save_lora(tmp_path / "lora.safetensors", transformer, {})
    assert list(tmp_path.iterdir()) == []


def rename(tensors: dict[str, torch.Tensor], old: str, new: str) -> dict[str, torch.Tensor]:
    return {name.replace(old, new): tensor for name, tensor in tensors.items()}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: rename(t, "diffusion_model.", "text_encoder."), "text_encoder"),
        (lambda t: {**t, "diffusion_model.transformer_blocks.0.attn1.to_q.dora_scale": torch.ones(1)}, "dora_scale"),
        (lambda t: {**t, "diffusion_model.transformer_blocks.0.attn1.to_q.alpha": torch.ones(2)}, "one finite number"),
        (lambda t: {**t, "transformer_blocks.0.attn1.to_q.lora_A.weight": torch.ones(4, 32)}, "two adapters"),
        (lambda t: {n: v.to(torch.int64) for n, v in t.items()}, "float16 are wanted"),
        (lambda t: {n: v * float("nan") for n, v in t.items()}, "NaN"),
        (lambda t: {n: v for n, v in t.items() if "0.attn1.to_q.lora_B" not in n}, "only one of"),
        (lambda t: rename(t, "transformer_blocks.1.", "transformer_blocks.7."), "missing in this transformer"),
        (lambda t: {n: v[:2] if "0.attn1.to_q.lora_A" in n else v for n, v in t.items()}, "ranks"),
        (lambda t: {n: v[:, :8].contiguous() if "lora_A" in n else v for n, v in t.items()}, "of shape"),
        (lambda t: {}, "no tensors"),
    ],
)
def test_foreign_files_are_refused(
    change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]],
    message: str,
    trained: Any,
    build: Callable[..., Any],
    tmp_path: Path,
) -> None:
    path = tmp_path / "lora.safetensors"
    save_file({n: v.contiguous() for n, v in change(export_tensors(trained)).items()}, path)
    fresh = build()
    with pytest.raises(CheckpointError, match=message):
        load_lora(path, fresh)
    assert lora_layers(fresh) == {}


def test_torn_file_is_named(trained: Any, build: Callable[..., Any], tmp_path: Path) -> None:
    path = tmp_path / "lora.safetensors"
    save_lora(path, trained, {})
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(CheckpointError, match="is torn"):
        load_lora(path, build())
    with pytest.raises(CheckpointError, match="is no file"):
        load_lora(tmp_path / "absent.safetensors", build())
