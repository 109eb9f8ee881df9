import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from ltx_core.checkpoint.text_encoder import open_text_encoder
from ltx_core.errors import CheckpointError
from ltx_core.text.gemma import MAX_TOKENS, TextEncoder, load_gemma


def test_ids_start_with_one_bos_and_ignore_outer_space(encoder: TextEncoder) -> None:
    ids = encoder.token_ids("  a robot dancing \n")
    assert ids == encoder.token_ids("a robot dancing")
    assert ids.count(encoder.tokenizer.bos_token_id) == 1
    assert ids[0] == encoder.tokenizer.bos_token_id


def test_long_captions_are_cut_at_the_end(encoder: TextEncoder) -> None:
    text = "a robot " * 2000
    ids = encoder.token_ids(text)
    assert len(ids) == MAX_TOKENS
    assert ids[:9] == encoder.token_ids("a robot " * 20)[:9]
    assert encoder.hidden_states(text).shape == (MAX_TOKENS, 32, 5)


def test_every_layer_is_given_and_only_valid_tokens(encoder: TextEncoder) -> None:
    states = encoder.hidden_states("a robot dancing")
    assert states.shape == (len(encoder.token_ids("a robot dancing")), 32, 5)
    assert states.isfinite().all()
    assert encoder.hidden_states("").shape == (1, 32, 5)


def test_positions_are_those_of_left_padding(folder: Path) -> None:
    """In bfloat16 rotary angles round differently at other positions: 1.2e-2 away if counted from zero."""
    encoder = load_gemma(open_text_encoder(folder), device="cpu", dtype=torch.bfloat16)
    text = "The woman says hello there. Ambient room tone and distant birds, " * 4
    ids = encoder.token_ids(text)
    padding = MAX_TOKENS - len(ids)
    found = encoder.hidden_states(text).float()
    encoder.model.set_attn_implementation("sdpa")
    with torch.no_grad():
        padded = encoder.model(
            input_ids=torch.tensor([[0] * padding + ids]),
            attention_mask=torch.tensor([[0] * padding + [1] * len(ids)]),
            output_hidden_states=True,
            use_cache=False,
        )
    expected = torch.stack(padded.hidden_states, dim=-1)[0, padding:].float()
    assert (found - expected).norm() / expected.norm() < 4e-3


def test_neither_image_tower_nor_logits_are_kept(encoder: TextEncoder) -> None:
    names = [name for name, _ in encoder.model.named_modules()]
    assert not any("vision" in name or "lm_head" in name for name in names)
    assert not any(parameter.requires_grad for parameter in encoder.model.parameters())


def test_missing_weights_are_named(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "gemma"
    shutil.copytree(folder, copy)
    weights = load_file(copy / "model.safetensors")
    gone = next(name for name in weights if "mlp" in name and "language_model" in name)
    del weights[gone]
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"the text encoder in .* lacks layers\.\d\.mlp"):
        load_gemma(open_text_encoder(copy), device="cpu", dtype=torch.float32)


def test_another_model_is_refused(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "gemma"
    shutil.copytree(folder, copy)
    (copy / "config.json").write_text(json.dumps({"model_type": "gemma4"}))
    with pytest.raises(CheckpointError, match="a gemma4 model; gemma3 or gemma4_unified is wanted"):
        load_gemma(open_text_encoder(copy), device="cpu", dtype=torch.float32)
