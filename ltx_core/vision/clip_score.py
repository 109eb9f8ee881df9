"""CLIPScore of a video: how near its frames are to its prompt, as a CLIP model sees both."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from transformers import AutoTokenizer, CLIPImageProcessorPil, CLIPModel

from ltx_core.errors import CheckpointError
from ltx_core.io.tensors import not_finite

SCALE = 100.0


@dataclass(frozen=True)
class ClipScorer:
    """A CLIP model with what prepares text and images for it."""

    model: CLIPModel
    tokenizer: Any
    processor: Any


def load_clip(folder: Path, device: str) -> ClipScorer:
    """The model in float32, frozen.

    Raises:
        CheckpointError: weights are missing, or not finite.
    """
    model, info = CLIPModel.from_pretrained(
        folder, local_files_only=True, use_safetensors=True, dtype=torch.float32, output_loading_info=True
    )
    if info["missing_keys"]:
        raise CheckpointError(
            f"{folder} lacks weights of the CLIP model: {', '.join(sorted(info['missing_keys'])[:4])}"
        )
    if broken := not_finite(model.named_parameters()):
        raise CheckpointError(f"{folder} holds NaN or infinity in {broken[0]}; download it again")
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    processor = CLIPImageProcessorPil.from_pretrained(folder, local_files_only=True)
    return ClipScorer(model.to(device).eval().requires_grad_(False), tokenizer, processor)


def clip_score(scorer: ClipScorer, frames: npt.NDArray[np.uint8], prompt: str) -> float:
    """Mean over frames of 100 max(cos(image, text), 0), from 0 to 100; fitting text has some 25 to 35.

    Hessel et al. 2021, "CLIPScore", with w = 100 as torchmetrics has it; their own w = 2.5 is this divided by 40. The
    mean over frames is CLIPSIM of Wu et al. 2021, "GODIVA".

    Args:
        scorer: of `load_clip`.
        frames: uint8 [F, H, W, 3] RGB; scaled and cropped to the middle as the model was trained.
        prompt: cut at the tokens that the model takes, 77 of the published ones.
    """
    device = scorer.model.device
    tokens = scorer.tokenizer(
        prompt, truncation=True, max_length=scorer.model.config.text_config.max_position_embeddings, return_tensors="pt"
    )
    pixels = scorer.processor(list(frames), return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        out = scorer.model(
            input_ids=tokens["input_ids"].to(device),
            attention_mask=tokens["attention_mask"].to(device),
            pixel_values=pixels.to(device),
        )
    cosines = torch.nn.functional.cosine_similarity(out.image_embeds, out.text_embeds, dim=-1)  # [F, D] and [1, D]
    return float(SCALE * cosines.clamp(min=0).mean())
