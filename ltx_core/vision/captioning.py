"""A model that writes captions: its folder, the memory that it takes, its view of a clip, the text of its answers. No
torch."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from datasets_spec import Clip
from ltx_core.checkpoint.stored import tensors_of
from ltx_core.errors import CheckpointError
from ltx_core.io.atomic import find_whole
from ltx_core.io.digest import DigestMemo
from ltx_core.io.json_file import model_config
from ltx_core.media.clip import clip_audio, clip_seconds, image_key, keyed, some_frames
from ltx_core.memory.plan import Estimate
from ltx_core.vision.folder import weight_files

FILES = ("*.json", "*.jinja", "*.txt", "*.model", "*.safetensors")
"""Files of a repository that are downloaded, and that decide its answers."""
IGNORED = ("*/*", "consolidated*")
"""Folders are left, and a second copy of the weights in another layout."""
PROCESSORS = ("processor_config.json", "preprocessor_config.json")
TEMPLATES = ("chat_template.jinja", "chat_template.json")
VIDEO_PROCESSOR = "video_preprocessor_config.json"

PIXELS_A_TOKEN = 28**2
LEAST_TOKENS = 256
"""Tokens of a frame, at least: many models turn a frame of any size into so many."""
PROMPT_TOKENS = 512
KEPT_WIDTHS = 12
"""Values of a token in a layer at its fullest, in model widths, beside the feed-forward's."""


@dataclass(frozen=True)
class StoredCaptioner:
    """A model in a folder, by its configuration and the headers of its weights."""

    folder: Path
    config: Mapping[str, Any]
    num_weights: int

    @property
    def kind(self) -> str:
        """Type of model, as transformers calls it."""
        return str(self.config.get("model_type"))

    def memory(self, *, item_bytes: int, frames: int, edge: int, max_tokens: int, batch_size: int) -> Estimate:
        """Device memory, by arithmetic: weights, what is kept of the tokens so far, and one layer's work.

        Args:
            item_bytes: Bytes of a weight and of a value.
            frames: Shown of each clip.
            edge: Longer edge of a frame, in pixels.
            max_tokens: Of an answer.
            batch_size: Clips at once.
        """
        text = self.config.get("text_config", self.config)
        width, layers = int(text.get("hidden_size", 0)), int(text.get("num_hidden_layers", 0))
        heads = int(text.get("num_attention_heads") or 1)
        kept_heads, head = int(text.get("num_key_value_heads") or heads), int(text.get("head_dim") or width // heads)
        tokens = frames * max(LEAST_TOKENS, edge**2 // PIXELS_A_TOKEN) + PROMPT_TOKENS + max_tokens
        values = batch_size * tokens * item_bytes
        terms = {
            "weights": self.num_weights * item_bytes,
            "tokens so far": 2 * layers * kept_heads * head * values,
            "one layer's work": (KEPT_WIDTHS * width + 3 * int(text.get("intermediate_size") or 4 * width)) * values,
        }
        return Estimate(terms, frozenset({"weights"}))


def open_captioner(folder: Path) -> StoredCaptioner:
    """Open a folder of transformers; weights are not read.

    Raises:
        CheckpointError: files are missing or damaged, it cannot be talked to, or a library is missing that it needs.
    """
    config = _object(folder / "config.json")
    if not any((folder / name).is_file() for name in PROCESSORS):
        raise CheckpointError(
            f"{folder} has no {PROCESSORS[0]}: a {config.get('model_type')} model without a processor sees no frames; "
            f"a model of images and text, or of videos and text, is wanted"
        )
    if not _has_template(folder):
        raise CheckpointError(
            f"{folder} has no chat template, so it takes no request; a model that was tuned to follow instructions is "
            f"wanted, whose name often ends in -Instruct or -it"
        )
    if _has_video_processor(folder) and find_spec("torchvision") is None:
        raise CheckpointError(
            f"the processor of {folder} takes videos, for which transformers needs torchvision; install the release "
            f"that goes with the installed torch: pip install torchvision"
        )
    num_weights = sum(prod(tensor.shape) for tensor in tensors_of(*weight_files(folder)).values())
    return StoredCaptioner(folder, config, num_weights)


def captioner_identity(folder: Path, memo: DigestMemo) -> str:
    """Digest of every file that decides its answers, by content."""
    read = {path for pattern in FILES for path in find_whole(folder, pattern)}
    read -= {path for path in read if path.match(IGNORED[1])}
    return memo.of_model(sorted(read))


def _object(path: Path) -> dict[str, Any]:
    return model_config(
        path,
        "a transformers folder of a model of images and text is wanted, with config.json, its processor, a chat "
        "template and weights in safetensors",
    )


def _has_template(folder: Path) -> bool:
    named = [folder / name for name in (*PROCESSORS, "tokenizer_config.json")]
    return any((folder / name).is_file() for name in TEMPLATES) or any(
        "chat_template" in _object(path) for path in named if path.is_file()
    )


def _has_video_processor(folder: Path) -> bool:
    processor = folder / PROCESSORS[0]
    return (folder / VIDEO_PROCESSOR).is_file() or (processor.is_file() and "video_processor" in _object(processor))


AUDIO_RATE = 16_000
"""Samples a second of the audio that is shown."""


class ClipView(NamedTuple):
    """The part of a clip that a model is shown."""

    frames: npt.NDArray[np.uint8]
    """[F, H, W, 3], at equal distances from the first to the last."""
    seconds: float
    """From the first frame's beginning to the last one's end."""
    audio: npt.NDArray[np.float32] | None
    """[N], mono at 16 kHz; None where there is none, or none is wanted."""


def clip_view(clip: Clip, num_frames: int, edge: int, with_audio: bool) -> ClipView:
    """Decode what a model is shown of a clip.

    Args:
        clip: The clip.
        num_frames: So many frames, or all if the clip has fewer.
        edge: Longer edge in pixels; larger frames are scaled down.
        with_audio: Take the audio too, if any is heard.

    Raises:
        MediaError: a file cannot be read or decoded.
    """
    count = min(num_frames, clip.num_frames)
    picked = [round(n * (clip.num_frames - 1) / max(count - 1, 1)) for n in range(count)]
    frames = some_frames(clip, picked)
    scale = edge / max(clip.width, clip.height)
    if scale < 1:
        size = max(round(clip.width * scale), 1), max(round(clip.height * scale), 1)
        frames = np.stack(
            [np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.LANCZOS)) for frame in frames]
        )
    heard = clip_audio(clip) if with_audio and clip.is_heard else None
    audio = None if heard is None else np.ascontiguousarray(heard.mean(axis=0, dtype=np.float32))
    return ClipView(frames, clip_seconds(clip), audio)


def view_key(clip: Clip, with_audio: bool) -> str:
    """Key of a clip's content that is shown: without its mask and its reference."""
    if with_audio and clip.is_heard:
        return keyed(clip.model_copy(update={"mask_key": None, "reference": None}))
    return image_key(clip)


ABOUT_VIDEO = (
    "Describe this video in one paragraph of plain prose, for someone who cannot see it. Say who and what is there and "
    "what it looks like, what happens from beginning to end, how things and people move, how the camera is placed and "
    "how it moves, and the place, the light and the colours."
)
ABOUT_IMAGE = (
    "Describe this image in one paragraph of plain prose, for someone who cannot see it. Say who and what is there and "
    "what it looks like, how it is framed, and the place, the light and the colours."
)
ABOUT_AUDIO = (
    " Say what is heard: speech, word for word in its own language, and the tone of voice; music; other sounds."
)
HOW = (
    " Name only what is there, and say nothing of what is absent. Begin with the subject itself, without a sentence "
    "about the task, headings, lists or quotation marks around the whole."
)


def default_prompt(view: ClipView) -> str:
    """The request about a clip where the configuration has none: about its audio only if that is shown too."""
    about = ABOUT_VIDEO if len(view.frames) > 1 else ABOUT_IMAGE
    return about + (ABOUT_AUDIO if view.audio is not None else "") + HOW


THOUGHTS_END = "</think>"
PREAMBLE = re.compile(
    r"^\W*((sure|certainly|of course|absolutely|okay|ok|here('s| is| are)|as an ai|i('m| am) (sorry|unable)|"
    r"i can(no|')t)\b|(caption|description)\W*:)",
    re.IGNORECASE,
)


def text_of(answer: str) -> str:
    """The text of an answer: what follows the model's thoughts, if it wrote any, without white space around it. Empty
    if it did not come to an end of its thoughts, or wrote zero bytes, which no text has."""
    if THOUGHTS_END in answer:
        answer = answer.rpartition(THOUGHTS_END)[2]
    return "" if answer.lstrip().startswith("<think>") or "\0" in answer else answer.strip()


def talks(text: str) -> bool:
    """Return whether a text seems to begin with words about the task, such as "Sure, here is a caption:"."""
    return PREAMBLE.search(text) is not None or text.startswith(("{", "```"))
