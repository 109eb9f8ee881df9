"""`python -m scripts.pretrain --out FOLDER`: go on with the pretraining for some minutes."""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ltx_core.autoencoder.audio import encode_mel, log_mel, mel_config
from ltx_core.autoencoder.video import encode_pixels
from ltx_core.checkpoint.keys import PREFIXES, UNUSED, to_original_keys
from ltx_core.io.tensors import write_tensors
from ltx_core.tiny import header
from ltx_core.tiny.model import build_modules
from ltx_core.tiny.weights import seeded
from ltx_core.tiny.world import caption
from scripts.pretrain import autoencoders, sizes
from scripts.pretrain.batches import Clips, Text, in_batches, known
from scripts.pretrain.denoiser import Cache, Geometry, Learner, denoiser_losses, make_cache
from scripts.pretrain.score import load_written, measure, psnr, render
from scripts.pretrain.training import Settings, Training, stored_step
from scripts.pretrain.vocoder import hear, start_vocoder, vocoder_losses

SEED = 0
STATISTICS_CLIPS = 1024
CHECKPOINT = "tiny-ltx2.safetensors"


@dataclass(frozen=True)
class Size:
    """How much is learnt from, full or to try the script.

    Attributes:
        steps: Of each phase.
        batches: Of each phase.
        cached: Clips that the transformer learns from.
        heard: Clips that the vocoder learns from.
        scored: Captions that are rendered.
    """

    steps: dict[str, int]
    batches: dict[str, int]
    cached: int
    heard: int
    scored: int
    statistics: int = STATISTICS_CLIPS


FULL = Size(
    steps={
        "video": 16_500,
        "audio": 4000,
        "vocoder": 20_000,
        "decoder": 14_000,
        "denoiser": 30_000,
        "long_text": 1500,
    },
    batches={"video": 64, "audio": 64, "vocoder": 16, "decoder": 64, "denoiser": 256, "long_text": 128},
    cached=60_000,
    heard=4096,
    scored=64,
)
TRIAL = Size(
    steps=dict.fromkeys(FULL.steps, 2),
    batches=dict.fromkeys(FULL.batches, 2),
    cached=4,
    heard=8,
    scored=2,
    statistics=4,
)
RATES = {"video": 1e-3, "audio": 1.5e-3, "vocoder": 1e-3, "decoder": 5e-4, "denoiser": 1.4e-3, "long_text": 2e-4}
TEXT_LENGTHS = {"denoiser": 128, "long_text": 1024}
"""Tokens that captions are padded to. The product renders at 1024, where a step costs three times as much."""


class Pretraining:
    """All phases over one folder."""

    def __init__(self, folder: Path, size: Size, deadline: float) -> None:
        self.folder, self.size, self.deadline = folder, size, deadline
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.generator = torch.Generator(self.device).manual_seed(SEED)
        self.config = sizes.config()
        with seeded(SEED):
            self.modules = build_modules(self.config)
            autoencoders.start_video(self.modules["video_vae"])
            autoencoders.by_images(self.modules["video_vae"])
            autoencoders.start_audio(self.modules["audio_vae"])
            start_vocoder(self.modules["vocoder"])
        for module in self.modules.values():
            module.to(self.device)
        self.clips = Clips(self.generator)
        self.text = Text(folder / "gemma", self.device)
        self.cache: Cache | None = None
        self.learner = Learner({name: self.modules[name] for name in ("transformer", "connectors", "text_projection")})

    def run(self, names: Sequence[str]) -> bool:
        """These phases in their order; false if the time was over before the end."""
        return all(self.phase(name, *self.learnt(name)) for name in names)

    def learnt(self, name: str) -> tuple[nn.Module, Callable[[], autoencoders.Losses]]:
        """What learns in a phase, and how its losses begin."""
        batch, sound = self.size.batches[name], self.modules["audio_vae"]
        vae: Any = self.modules["video_vae"]
        if name == "video":
            self.compile(vae.encoder, vae.decoder)
            return vae, lambda: autoencoders.video_losses(vae, self.clips, batch)
        if name == "decoder":
            self.compile(vae.encoder, vae.decoder)
            return vae.decoder, lambda: autoencoders.decoder_losses(vae, self.clips, batch)
        if name == "audio":
            return sound, lambda: autoencoders.audio_losses(sound, self.clips, self.config, batch)
        if name == "vocoder":
            return self.modules["vocoder"], lambda: self.vocoder(batch)
        blocks = [self.modules["transformer"].transformer_blocks]
        blocks += [connector.transformer_blocks for connector in self.modules["connectors"].values()]
        self.compile(*(block for stack in blocks for block in stack))
        return self.learner, lambda: self.denoiser(batch, TEXT_LENGTHS[name])

    def compile(self, *modules: nn.Module) -> None:
        """Fuse small kernels on a GPU: a step of the video VAE takes 26 ms and not 60."""
        if self.device.type == "cuda":
            for module in modules:
                module.compile(dynamic=False)

    def phase(self, name: str, module: nn.Module, losses: Callable[[], autoencoders.Losses]) -> bool:
        """Take one phase up where it was left; afterwards its module is frozen, with averaged weights."""
        path = self.folder / f"{name}.safetensors"
        done = path.exists() and stored_step(path) >= self.size.steps[name]
        module.train().requires_grad_(True)
        betas = (0.8, 0.99) if name == "vocoder" else (0.9, 0.98)
        decay = 0.01 if name in TEXT_LENGTHS else 0.0
        settings = Settings(self.size.steps[name], RATES[name], betas, decay, 5.0 if name == "vocoder" else 1.0)
        training = Training(module, (dict) if done else losses(), settings, self.generator)
        if path.exists():
            training.load(path, stored_step(path))
        if not done:
            training.run(self.deadline, lambda line: say(f"{name} {line}"))
            if training.step:
                training.save(path)
        if training.step < self.size.steps[name]:
            say(f"{name}: left at step {training.step}; run the script again")
            return False
        training.use_average()
        module.eval().requires_grad_(False)
        if name in ("video", "audio"):
            self.set_statistics(name)
        if name == "decoder":
            self.say_psnr(name)
        return True

    @torch.no_grad()
    def set_statistics(self, name: str) -> None:
        """Mean and spread of latents, by channel, as released VAEs carry them."""
        specs, latents = known()[0][: self.size.statistics], []
        generator = torch.Generator(self.device).manual_seed(SEED)  # the same clips whenever the phase ended
        module: Any = self.modules["video_vae" if name == "video" else "audio_vae"]
        module.latents_mean.zero_()
        module.latents_std.fill_(1)
        for pixels, audio in in_batches(specs, generator, 64):
            if name == "video":
                latents.append(encode_pixels(module, pixels))
            else:
                latents.append(encode_mel(module, log_mel(audio, mel_config(self.config))))
        over = (0, 2, 3, 4) if name == "video" else (0, 1)
        spread = torch.cat(latents).std(over)
        module.latents_mean.copy_(torch.cat(latents).mean(over))
        module.latents_std.copy_(spread.clamp(min=0.05 * float(spread.median())))
        if name == "video":
            self.say_psnr(name)

    def say_psnr(self, name: str) -> None:
        """How well the video VAE gives held-out clips again."""
        generator = torch.Generator(self.device).manual_seed(SEED)
        value = psnr(self.modules["video_vae"], known()[1][: self.size.scored], generator)
        say(f"{name}: PSNR {value:.2f} dB on held-out clips")

    def vocoder(self, batch: int) -> autoencoders.Losses:
        """The losses of the vocoder over spectrograms that are made once."""
        count, mel = self.size.heard, mel_config(self.config)
        heard = hear(self.modules["audio_vae"], self.clips, self.config, count, min(32, count))
        return vocoder_losses(self.modules["vocoder"], heard, mel.hop, batch, self.generator)

    def denoiser(self, batch: int, text_length: int) -> autoencoders.Losses:
        """The losses of the transformer over freshly encoded clips."""
        if self.cache is None:
            count = self.size.cached
            self.cache = make_cache(self.modules, self.config, self.text.embed, self.clips, count, min(256, count))
            say(f"denoiser: {len(self.cache.video)} clips, {len(self.cache.lengths)} captions")
        geometry = Geometry(self.device)
        return denoiser_losses(self.learner, self.cache, geometry, batch, text_length, self.generator)

    def write(self) -> Path:
        """The checkpoint in Lightricks' layout, bfloat16."""
        tensors = {}
        for component, module in self.modules.items():
            tensors |= to_original_keys(component, module.state_dict())
        for name in UNUSED["video_vae"]:
            tensors[PREFIXES["video_vae"] + name] = torch.ones(sizes.LATENT_CHANNELS)
        path = self.folder / CHECKPOINT
        rounded = {name: tensor.to(torch.bfloat16).cpu() for name, tensor in tensors.items()}
        write_tensors(path, rounded, header.metadata_of(self.config, sizes.GENERATION))
        return path

    def score(self) -> dict[str, float]:
        """Held-out captions, rendered with the weights as they are written."""
        load_written(self.modules, self.folder / CHECKPOINT)
        specs = known()[1][: self.size.scored]
        rendered = render(self.modules, self.learner, self.text, [caption(spec) for spec in specs])
        return measure(specs, rendered)


def say(line: str) -> None:
    """One line of the log, with the time."""
    sys.stdout.write(f"{time.strftime('%H:%M:%S')} {line}\n")
    sys.stdout.flush()


def main() -> int:
    """Exit code 0: finished and scored. 3: run it again."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=8.5, help="of training; then the state is written")
    parser.add_argument("--phases", default=",".join(FULL.steps), help="of this call, in this order")
    parser.add_argument("--trial", action="store_true", help="two steps of each phase, to see that everything works")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    size = TRIAL if arguments.trial else FULL
    pretraining = Pretraining(arguments.out, size, time.monotonic() + 60 * arguments.minutes)
    names = arguments.phases.split(",")
    if not pretraining.run(names):
        return 3
    if names != list(FULL.steps):
        return 0
    path = pretraining.write()
    say(f"{path}: {path.stat().st_size / 1e6:.2f} MB")
    say(" ".join(f"{name} {value:.3f}" for name, value in pretraining.score().items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
