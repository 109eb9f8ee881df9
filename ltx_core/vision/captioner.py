"""Ask a model of transformers that takes images or videos, and audio where it can, about clips."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from transformers import AutoModelForImageTextToText, AutoProcessor
from transformers.utils import logging

from ltx_core.errors import CheckpointError
from ltx_core.vision.captioning import AUDIO_RATE, ClipView, StoredCaptioner, default_prompt

THINKING = "enable_thinking"
"""Name of the variable by which a chat template lets a model think before it answers."""


@dataclass(frozen=True)
class Manner:
    """The request to a model, and the way in which it answers."""

    prompt: str | None
    """The request; None: the built-in one for what is shown."""
    max_tokens: int
    temperature: float
    """0: the likeliest token each time."""


@dataclass(frozen=True)
class Answer:
    """The text that a model wrote."""

    text: str
    is_cut: bool
    """True if it did not end within so many tokens."""


class Captioner:
    """A model and its processor on a device."""

    def __init__(self, model: Any, processor: Any, manner: Manner) -> None:
        self.model, self.processor, self.manner = model, processor, manner

    @property
    def takes_video(self) -> bool:
        """True if several frames are shown as a video, with their times; else they are shown as images."""
        return getattr(self.processor, "video_processor", None) is not None

    @property
    def hears(self) -> bool:
        """True if it takes audio at 16 kHz."""
        extractor = getattr(self.processor, "feature_extractor", None)
        return getattr(extractor, "sampling_rate", None) == AUDIO_RATE

    @torch.inference_mode()
    def answers(self, views: Sequence[ClipView], seed: int = 0) -> list[Answer]:
        """Its answers about clips, all of as many frames, and all with audio or none; in their order.

        `seed` decides what is drawn, where the temperature is above 0. Answers of clips that are asked about together
        may differ from those one by one where two words are equally likely up to rounding.
        """
        heard = [view if self.hears else view._replace(audio=None) for view in views]
        inputs = self._inputs(heard).to(self.model.device, dtype=self.model.dtype)
        torch.manual_seed(seed)
        drawn = {"do_sample": True, "temperature": self.manner.temperature} if self.manner.temperature else _GREEDY
        tokens = self.model.generate(**inputs, max_new_tokens=self.manner.max_tokens, num_beams=1, **drawn)
        if not self.model.config.is_encoder_decoder:
            tokens = tokens[:, inputs["input_ids"].shape[1] :]
        return [self._answer(row) for row in tokens]

    def _answer(self, tokens: torch.Tensor) -> Answer:
        ends = self.model.generation_config.eos_token_id
        ended = (
            bool(torch.isin(tokens, torch.as_tensor(ends, device=tokens.device)).any()) if ends is not None else False
        )
        text: str = self.processor.batch_decode(tokens[None], skip_special_tokens=True)[0]
        return Answer(text, is_cut=not ended and len(tokens) >= self.manner.max_tokens)

    def _inputs(self, views: Sequence[ClipView]) -> Any:
        """Tensors of a batch, padded on the left, where an answer is to go on from its request."""
        as_video = self.takes_video and len(views[0].frames) > 1
        shown: dict[str, Any] = {"videos" if as_video else "images": [self._shown(view, as_video) for view in views]}
        if as_video:
            shown |= {"do_sample_frames": False, "video_metadata": [_metadata(view) for view in views]}
        if views[0].audio is not None:
            shown |= {"audio": [view.audio for view in views], "sampling_rate": AUDIO_RATE}
        texts = [self._request(view, as_video) for view in views]
        self.processor.tokenizer.padding_side = "left"
        return self.processor(text=texts, padding=True, return_tensors="pt", **shown)

    def _shown(self, view: ClipView, as_video: bool) -> Any:
        return view.frames if as_video else list(view.frames)

    def _request(self, view: ClipView, as_video: bool) -> str:
        seen = [{"type": "video"}] if as_video else [{"type": "image"}] * len(view.frames)
        audio = [] if view.audio is None else [{"type": "audio"}]
        text = {"type": "text", "text": self.manner.prompt or default_prompt(view)}
        template = str(self.processor.chat_template)
        quiet = {THINKING: False} if THINKING in template else {}
        written: str = self.processor.apply_chat_template(
            [{"role": "user", "content": [*seen, *audio, text]}], add_generation_prompt=True, tokenize=False, **quiet
        )
        return written


_GREEDY = {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}
"""Settings that replace those of the folder about drawing tokens."""


def _metadata(view: ClipView) -> dict[str, Any]:
    """The time at which each frame is shown, for models that read it."""
    count = len(view.frames)
    return {
        "total_num_frames": count,
        "fps": count / view.seconds,
        "duration": view.seconds,
        "frames_indices": np.arange(count),
        "height": view.frames.shape[1],
        "width": view.frames.shape[2],
    }


def load_captioner(stored: StoredCaptioner, manner: Manner, *, device: str, dtype: torch.dtype) -> Captioner:
    """The frozen model on a device, and its processor. Code that lies in the folder is never run.

    Raises:
        CheckpointError: it is no model that takes images or videos and writes text, or files are damaged or missing.
    """
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        processor = AutoProcessor.from_pretrained(stored.folder, local_files_only=True, trust_remote_code=False)
        model, found = AutoModelForImageTextToText.from_pretrained(
            stored.folder,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            dtype=dtype,
            device_map=device,
            output_loading_info=True,
        )
    except (ImportError, KeyError, OSError, RuntimeError, SafetensorError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{stored.folder} of type {stored.kind} cannot be loaded as a model that takes images and writes text: "
            f"{error}"
        ) from error
    finally:
        if shown:
            logging.enable_progress_bar()
    if missing := sorted(found["missing_keys"]):
        raise CheckpointError(f"{stored.folder} lacks {len(missing)} tensors, such as {missing[0]}; download it again")
    return Captioner(model.requires_grad_(False).eval(), processor, manner)
