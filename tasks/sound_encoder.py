"""Clips whose pictures were encoded before, with another sound or mask: only these are made. Needs torch."""

from collections.abc import Generator, Sequence

import torch
from torch import Tensor

from datasets_spec import Clip
from ltx_core.autoencoder.audio import encode_audio
from ltx_core.autoencoder.mel import mel_config
from ltx_core.checkpoint.load import load_audio_vae
from ltx_core.media.clip import clip_files
from ltx_core.media.errors import MediaError
from ltx_core.media.whole_clip import beside_pictures
from ltx_core.pool.index import Entry
from ltx_core.pool.samples import ShardReader
from tasks.device import prepare_device
from tasks.file_reading import read_file
from tasks.stage_run import StageRun
from tasks.weights import open_weights


def resounded(
    clips: Sequence[tuple[str, Clip, Entry]], run: StageRun, refused: dict[str, MediaError]
) -> Generator[tuple[str, dict[str, Tensor]], None, None]:
    """Each (key, clip) with the video latent of an earlier sample of the same picture, which its own would equal.

    What cannot be decoded goes to `refused`, by key.
    """
    if not clips:
        return
    run.progress.note(f"{len(clips)} clips have known pictures and another sound or mask: only these are encoded")
    checkpoint, device = open_weights(run.shared.model).checkpoint, prepare_device(run.shared.memory)
    audio_vae, mel = load_audio_vae(checkpoint, device=device, dtype=torch.float32), mel_config(checkpoint.config)
    run.memo.check()
    reader = ShardReader(run.workspace.root)
    for key, clip, entry in clips:
        try:
            sound, mask = read_file(run, "decoding sounds", clip_files(clip), beside_pictures, clip)
        except MediaError as error:
            refused[key] = error
            continue
        before = reader.read(run.workspace.relative(entry.shard), entry.offset, entry.size, entry.sha256)
        made = {"video": before["video"].clone()}
        if sound is not None:
            made["audio"] = encode_audio(audio_vae, torch.from_numpy(sound).to(device), mel).float().cpu()
        if mask is not None:
            made["mask"] = torch.from_numpy(mask)
        yield key, made
