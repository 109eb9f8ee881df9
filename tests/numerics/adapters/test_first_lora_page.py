"""The code that docs/first-lora.md gives to users of diffusers, run as it stands but for the model and the sizes."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from transformers import AutoTokenizer, Gemma3ForConditionalGeneration

from ltx_core.adapters.lora import add_lora, lora_parameters, target_modules
from ltx_core.checkpoint.layouts import open_combined
from ltx_core.checkpoint.load import load_transformer
from ltx_core.media.probe import probe_media
from tests.fused_lora import save_lora
from tests.layouts import GOLDEN, write_diffusers

pytestmark = pytest.mark.numerics

PAGE = Path(__file__).parents[3] / "docs" / "first-lora.md"
SMALLER = {
    "width=768": "width=64",
    "height=512": "height=64",
    "num_frames=121": "num_frames=9",
    "num_inference_steps=30": "num_inference_steps=2",
    "pipeline.enable_model_cpu_offload()": "",  # for a GPU alone
}


def write_model(root: Path) -> Path:
    """A toy LTX-2.3 as `from_pretrained` wants it: the golden model with its text encoder, tokenizer and scheduler."""
    write_diffusers(root)
    encoder = GOLDEN / "2.3" / "text_encoder"
    Gemma3ForConditionalGeneration.from_pretrained(encoder).to(torch.bfloat16).save_pretrained(root / "text_encoder")
    AutoTokenizer.from_pretrained(encoder).save_pretrained(root / "tokenizer")
    FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, shift_terminal=0.1).save_pretrained(root / "scheduler")
    names = {
        "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
        "vae": ["diffusers", "AutoencoderKLLTX2Video"],
        "audio_vae": ["diffusers", "AutoencoderKLLTX2Audio"],
        "text_encoder": ["transformers", "Gemma3ForConditionalGeneration"],
        "tokenizer": ["transformers", "GemmaTokenizer"],
        "connectors": ["ltx2", "LTX2TextConnectors"],
        "transformer": ["diffusers", "LTX2VideoTransformer3DModel"],
        "vocoder": ["ltx2", "LTX2VocoderWithBWE"],
    }
    (root / "model_index.json").write_text(json.dumps({"_class_name": "LTX2Pipeline", **names}))
    return root


def write_lora(path: Path) -> None:
    """A LoRA with some effect, as a run writes it."""
    checkpoint = open_combined(GOLDEN / "2.3" / "checkpoint.safetensors")
    transformer = load_transformer(checkpoint, device="cpu", dtype=torch.float32)
    add_lora(transformer, target_modules(transformer, "audio+video"), rank=4, alpha=4, seed=0)
    generator = torch.Generator().manual_seed(0)
    for name, parameter in lora_parameters(transformer).items():
        if name.endswith("lora_B.weight"):
            parameter.data.normal_(0, 0.2, generator=generator)
    save_lora(path, transformer, {})


def run_page(strength: float) -> dict[str, Any]:
    """Everything that the code names, after it ran in the working directory."""
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S)
    for long, short in {**SMALLER, '"Lightricks/LTX-2"': '"model"', '"mine", 1.0': f'"mine", {strength}'}.items():
        assert code.count(long) == 1, long
        code = code.replace(long, short)
    names: dict[str, Any] = {}
    exec(code, names)
    return names


@pytest.mark.extra
def test_the_code_for_diffusers_renders_with_the_lora(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_model(tmp_path / "model")
    write_lora(tmp_path / "lora.safetensors")
    monkeypatch.chdir(tmp_path)
    found, without = run_page(1.0), run_page(0.0)
    for name in ("video", "audio"):
        changed, base = (torch.as_tensor(names[name][0]).float() for names in (found, without))
        assert changed.isfinite().all()
        assert (changed - base).abs().max() > 1e-3, f"the LoRA changes no {name}"
    info = probe_media(tmp_path / "zubo.mp4")
    assert (info.width, info.height, info.num_frames) == (64, 64, 9)
    assert info.audio_rate == found["rate"]
