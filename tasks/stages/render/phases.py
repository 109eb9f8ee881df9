"""Rendering on the GPU: the transformer samples latents, and the VAEs and the vocoder decode them to pixels and audio,
beside it or when it is gone. Needs torch when imported."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Any

import numpy as np
import torch
from torch import Tensor

from datasets_spec import Clip
from ltx_core.adapters.lora_layout import Adapter
from ltx_core.adapters.trained import stacked
from ltx_core.autoencoder.audio import encode_audio, mel_config
from ltx_core.autoencoder.video import encode_video
from ltx_core.checkpoint.load import load_audio_vae, load_connectors, load_video_vae, load_vocoder
from ltx_core.checkpoint.model import Model
from ltx_core.conditioning.kinds import Conditioning, FirstFrame, Mask, Prefix, Sound, kept_places, outside
from ltx_core.conditioning.reference import Reference
from ltx_core.conditioning.whole_video import WholeVideo
from ltx_core.engine.assemble import block_offload, set_policies
from ltx_core.engine.compiling import compiled_here
from ltx_core.engine.load import load_denoiser
from ltx_core.errors import ConfigError, DataError
from ltx_core.io.digest import is_vouched, vouch
from ltx_core.media.audio import decode_sound
from ltx_core.media.image import read_picture
from ltx_core.media.workers import read_unchanged
from ltx_core.memory.plan import free_bytes, plan
from ltx_core.memory.transformer import SamplingOptions
from ltx_core.memory.video_vae import VaeOptions, VaeWork
from ltx_core.progress import Silent, stop_if_asked
from ltx_core.sampling.decoding import Decoders, SampledLatents, load_latents, save_latents
from ltx_core.sampling.request import RenderRequest
from ltx_core.sampling.sampler import Prompts, refine, sample
from ltx_core.sampling.upscaling import Upsampler, load_upsampler
from ltx_core.shapes import PixelShape
from ltx_core.training.conditions import LONGER, conditioning
from ltx_core.training.samples import StoreSource
from tasks.runtime.device import prepare_device, torch_dtype
from tasks.runtime.stage import StageRun
from tasks.stages.parts.low_precision import quantised_folder
from tasks.stages.parts.memory import vae_options
from tasks.stages.render.adapters import upsampler_file
from tasks.stages.render.compile_ahead import Spares, start_compiling
from tasks.stages.render.config import RenderValidationConfig, image_crf
from tasks.stages.render.file_parts import audio_seconds, of_file_part
from tasks.stages.render.finishing import DecodedRender
from tasks.stages.render.given import Given
from tasks.stages.render.halves import Halves, halved_clips
from tasks.stages.render.jobs import RenderJob, by_weights
from tasks.stages.render.memory import decoders_fit, sampling_options
from tasks.stages.render.prompts import alone, encoded_prompts
from tasks.stages.render.references import control_frames, given_frames

FileLatents = dict[tuple[str, int, int, float], Tensor]


def encode_files(
    jobs: Sequence[RenderJob], checkpoint: Any, *, crf: int, asked: VaeOptions, device: str, dtype: torch.dtype
) -> FileLatents:
    """Latents of every image [C, 1, H, W], audio [A, D], video and reference [C, F, H, W] that the jobs start from as
    files;
    the VAEs are gone after. Images are compressed at `crf` first, but not at 0.

    Raises:
        DataError: a file cannot be read.
    """
    wanted = {
        _place(part, job.request): (part, job.request)
        for job in jobs
        if job.given is not None
        for part in job.given.single
        if part.file
    }
    found: FileLatents = {}
    encoders: dict[str, Callable[[Given, RenderRequest], Tensor]] = {}
    for place, (part, request) in sorted(wanted.items(), key=lambda item: item[0]):
        mode = part.mode
        if mode not in encoders:
            makers: dict[str, Callable[..., Callable[[Given, RenderRequest], Tensor]]] = {
                "i2v": partial(_image_encoder, crf=crf),
                "s2v": _audio_encoder,
                "reference": partial(_reference_encoder, asked=asked),
                "v2a": partial(_reference_encoder, asked=asked),
            }
            encoders[mode] = makers[mode](checkpoint, device=device, dtype=dtype)
        found[place] = encoders[mode](part, request).cpu()
    return found


def conditionings(
    job: RenderJob, source: StoreSource | Halves, file_latents: FileLatents, run: StageRun[RenderValidationConfig]
) -> list[Conditioning]:
    """The conditioning of the job's mode, beside the text."""
    given, request = job.given, job.request
    if given is None:
        return []
    if given.clip is not None:
        tensors = source.load(given.clip.clip_id)
        if given.conditions:
            return _composed(given, given.clip, request, tensors)
        return [_of_clip(given, request, tensors, run)]
    if given.parts:
        ordered = sorted(given.parts, key=lambda part: part.conditions[0].kind in LONGER)
        return [of_file_part(part, request, file_latents[_place(part, request)]) for part in ordered]
    return [_of_file(given, request, file_latents[_place(given, request)], run)]


def _of_file(
    given: Given, request: RenderRequest, latent: Tensor, run: StageRun[RenderValidationConfig]
) -> Conditioning:
    match given.mode:
        case "i2v":
            return FirstFrame(latent, run.config.image_strength)
        case "reference":
            return Reference(latent, request.frame_rate)
        case "v2a":
            return WholeVideo(latent)
        case _:
            return Sound(latent)


def _of_clip(
    conditioning: Given, request: RenderRequest, tensors: Mapping[str, Tensor], run: StageRun[RenderValidationConfig]
) -> Conditioning:
    """Return the conditioning by a held-out clip, whose stored tensors these are."""
    video, config = tensors["video"].float(), run.config
    match conditioning.mode:
        case "s2v":
            return Sound(tensors["audio"].float())
        case "v2a":
            return WholeVideo(video)
        case "reference":
            return Reference(tensors["reference"].float(), request.frame_rate)
        case "i2v":
            return FirstFrame(video[:, :1], config.image_strength)
        case "extend":
            return Prefix(video[:, : config.extend_latent_frames])
        case _:
            return Mask(video, _kept(request, run))


def _composed(given: Given, clip: Clip, request: RenderRequest, tensors: Mapping[str, Tensor]) -> list[Conditioning]:
    """The conditions of a held-out clip, in the order in which training applies it."""
    whole = {name: tensor.float() for name, tensor in tensors.items()}
    ordered = sorted(given.conditions, key=lambda condition: condition.kind in LONGER)
    found = []
    for condition in ordered:
        before = max((one.frames for one in ordered if one.kind in ("first_frame", "prefix")), default=0)
        kind = conditioning(
            condition, whole, request.grid, keyframes=clip.keyframes, frame_rate=request.frame_rate, given_frames=before
        )
        if kind is None:
            raise ConfigError(
                f"{condition.kind} of render_validation.composed leaves nothing to generate of {clip.clip_id}; keep "
                f"less of it"
            )
        found.append(kind)
    return found


def _kept(request: RenderRequest, run: StageRun[RenderValidationConfig]) -> Tensor:
    """Return the mask [F, H, W] of the clip: 1 where it is kept, 0 where it is generated anew."""
    config: RenderValidationConfig = run.config
    if config.inpaint_mask is None:
        return outside(config.inpaint_region, request.grid)
    picture = torch.from_numpy(read_picture(config.inpaint_mask, (request.width, request.height)))
    run.memo.check(config.inpaint_mask)
    return kept_places(picture.float().mean(dim=-1) / 255, request.grid)


def _place(given: Given, request: RenderRequest) -> tuple[str, int, int, float]:
    """Return everything that a file's latent depends on besides the VAEs."""
    if given.mode == "i2v":
        return given.key, request.width, request.height, 0.0
    if given.mode in ("reference", "v2a"):
        return given.key, request.width, request.height, request.seconds
    return given.key, 0, 0, request.seconds


def _image_encoder(
    checkpoint: Any, *, crf: int, device: str, dtype: torch.dtype
) -> Callable[[Given, RenderRequest], Tensor]:
    vae = load_video_vae(checkpoint, device=device, dtype=dtype)

    def encode(given: Given, request: RenderRequest) -> Tensor:
        assert given.file is not None
        picture = read_picture(given.file, (request.width, request.height), crf=crf)
        return encode_video(vae, torch.from_numpy(picture)[None])

    return encode


def _reference_encoder(
    checkpoint: Any, *, asked: VaeOptions, device: str, dtype: torch.dtype
) -> Callable[[Given, RenderRequest], Tensor]:
    vae = load_video_vae(checkpoint, device=device, dtype=dtype)

    def encode(control: Given, request: RenderRequest) -> Tensor:
        frames = torch.from_numpy(control_frames(control, request))
        work = VaeWork.of(vae, PixelShape(*frames.shape[:3]), decodes=False, asked=asked)
        return encode_video(vae, frames, memory=plan(work, free_bytes(vae.device)).options)

    return encode


def _audio_encoder(checkpoint: Any, *, device: str, dtype: torch.dtype) -> Callable[[Given, RenderRequest], Tensor]:
    """The audio VAE is always in float32, as for footage."""
    vae = load_audio_vae(checkpoint, device=device, dtype=torch.float32)
    mel = mel_config(checkpoint.config)

    def encode(given: Given, request: RenderRequest) -> Tensor:
        assert given.file is not None
        sound = decode_sound(given.file, given.start_seconds, audio_seconds(given, request))
        if sound is None:
            raise DataError(f"{given.file} has no audio; give another file to prompts.audio")
        return encode_audio(vae, torch.from_numpy(sound), mel)

    return encode


def unsampled(jobs: Sequence[RenderJob], run: StageRun[RenderValidationConfig]) -> list[RenderJob]:
    """Those whose latents the store lacks."""
    return [job for job in jobs if run.force or not is_vouched(job.latents)]


def rendered(
    jobs: Sequence[RenderJob], todo: Sequence[RenderJob], run: StageRun[RenderValidationConfig], *, done: int
) -> Iterator[DecodedRender]:
    """Pixels and audio of every job, once those of `todo` are sampled: one by one where the decoders fit beside the
    transformer, and otherwise when all are sampled and the transformer is gone. Those of one set of adapters come
    together, the base model's first. `done` renders were there before."""
    if not todo:
        yield from decoded(jobs, run)
        return
    firsts = unsampled([job.first for job in todo if job.first], run)
    sampler, total = _load_sampler([*firsts, *todo], run), done + len(jobs)
    for stack, group in groupby(sorted(firsts, key=by_weights), key=lambda job: job.stack):
        with sampler.adapted(stack):
            for job in group:
                sampler.sample(job)
    decode = _Decoder(run) if decoders_fit(jobs, run, sampler.options, sampler.device) else None
    wanted, finished = {job.key for job in todo}, total - len(todo)
    for stack, group in groupby(sorted(jobs if decode else todo, key=by_weights), key=lambda job: job.stack):
        alike = list(group)
        with sampler.adapted(stack) if any(job.key in wanted for job in alike) else nullcontext():
            for job in alike:
                if job.key in wanted:
                    sampler.sample(job)
                    finished += 1
                    run.progress.advance(finished, total, "renders")
                if decode:
                    yield decode(job)
    if decode is None:
        del sampler  # and with it the transformer
        yield from decoded(jobs, run)


@dataclass(frozen=True)
class _Sampler:
    """The transformer, and all that its renders are given."""

    run: StageRun[RenderValidationConfig]
    transformer: Any
    options: SamplingOptions
    prompts: dict[str, Prompts]
    source: StoreSource
    halves: Halves
    """Where first halves of two-stage renders take the latents of held-out clips from."""
    file_latents: FileLatents
    device: str
    compiling: Spares
    upsampler: Upsampler | None = None

    @contextmanager
    def adapted(self, stack: Sequence[Adapter]) -> Iterator[None]:
        """The transformer with these adapters."""
        with stacked(self.transformer, stack), compiled_here(self.options.engine.compiled):
            self.run.memo.check(*(adapter.path for adapter in stack))
            if (spare := self.compiling.get(tuple(stack))) is not None:
                spare.wait(self.run.progress, "compiling")
            yield

    def sample(self, job: RenderJob) -> None:
        """Sample a render's latents and keep them."""
        stop_if_asked(self.run.progress, "rendering")
        made = self._sampled(job) if job.first is None else self._refined(job, job.first)
        save_latents(job.latents, made)
        vouch(job.latents)

    def _sampled(self, job: RenderJob) -> SampledLatents:
        in_half = self.upsampler is not None and job.request.mode != "v2a"  # which has one stage
        source = self.halves if in_half else self.source
        prompts = self.prompts[job.request.prompt]
        return sample(
            self.transformer,
            prompts if job.request.needs_negative else alone(prompts),
            job.request,
            _Stoppable(self.run),
            conditionings=conditionings(job, source, self.file_latents, self.run),
            together=self.options.together,
        )

    def _refined(self, job: RenderJob, first: RenderJob) -> SampledLatents:
        assert self.upsampler is not None, "a render of two stages has an upsampler"
        made = load_latents(first.latents)
        return refine(
            self.transformer,
            self.prompts[job.request.prompt].positive,
            job.request,
            SampledLatents(self.upsampler(made.video), made.audio),
            _Stoppable(self.run),
            conditionings=conditionings(job, self.source, self.file_latents, self.run),
        )


def _load_sampler(todo: Sequence[RenderJob], run: StageRun[RenderValidationConfig]) -> _Sampler:
    device = prepare_device(run.shared.memory)
    dtype = torch_dtype(run.config.dtype)
    checkpoint = run.model
    source = StoreSource(run.inputs["encode_latents"], run.inputs["embed_text"], run.workspace.root)
    prompts = encoded_prompts(todo, run, source, load_connectors(checkpoint, device=device, dtype=dtype), device)
    crf = image_crf(run.config, run.shared)
    asked = vae_options(run.shared.memory)
    file_latents = encode_files(todo, checkpoint, crf=crf, asked=asked, device=device, dtype=dtype)
    options = sampling_options(todo, run, device)
    compiling: Spares = {}
    if options.engine.compiled:
        compiling = start_compiling(todo, run, together=options.together, device=device)
    cache = quantised_folder(run, options.engine, dtype)
    halves = halved_clips(todo, source, checkpoint, asked=asked, device=device, dtype=dtype)
    upsampler = None
    if run.config.upscaling is not None:
        upsampler = load_upsampler(upsampler_file(run.config.upscaling), checkpoint, device=device, dtype=dtype)
    transformer = load_denoiser(checkpoint, options.engine, device=device, dtype=dtype, cache=cache)
    run.memo.check()
    set_policies(transformer, options.engine, block_offload(transformer))
    return _Sampler(run, transformer, options, prompts, source, halves, file_latents, device, compiling, upsampler)


class _Stoppable(Silent):
    """Steps are too many to report; only the wish to stop is passed on."""

    def __init__(self, run: StageRun[RenderValidationConfig]) -> None:
        self._run = run

    @property
    def stopping(self) -> bool:  # type: ignore[override]  # Silent never stops; this one asks
        return self._run.progress.stopping


SOURCE_RATE = 48_000
"""A given sound is kept at this rate, better than the 16 kHz that the model hears."""


def decoded(jobs: Sequence[RenderJob], run: StageRun[RenderValidationConfig]) -> Iterator[DecodedRender]:
    """Pixels and audio of every job's latents."""
    if not jobs:
        return
    decode = _Decoder(run)
    for number, job in enumerate(jobs):
        yield decode(job)
        run.progress.advance(number + 1, len(jobs), "renders decoded")


class _Decoder:
    """The decoders, from latents that are kept to pixels and audio."""

    def __init__(self, run: StageRun[RenderValidationConfig]) -> None:
        self._run, device, dtype = run, prepare_device(run.shared.memory), torch_dtype(run.config.dtype)
        asked, note = vae_options(run.shared.memory), run.progress.note
        self._decoders = load_decoders(run.model, device, dtype, asked=asked, note=note)
        run.memo.check()

    def __call__(self, job: RenderJob) -> DecodedRender:
        """The render of latents that were sampled."""
        stop_if_asked(self._run.progress, "decoding renders")
        given, latents = job.conditioning, load_latents(job.latents)
        if given is not None and given.mode == "v2a":
            audio, rate = self._decoders.decode_audio(latents, job.request)
            return DecodedRender(job, given_frames(given, job.request, self._run), audio.numpy(), rate)
        frames, audio, rate = self._decoders.decode(latents, job.request)
        samples = audio.numpy()
        if given is not None and given.sound is not None:
            samples, rate = _given_audio(given, job.request.seconds, self._run), SOURCE_RATE
        return DecodedRender(job, frames.numpy(), samples, rate)


def load_decoders(
    checkpoint: Model, device: str, dtype: torch.dtype, *, asked: VaeOptions, note: Callable[[str], None]
) -> Decoders:
    """The video VAE in `dtype`, without its encoder; the audio VAE and the vocoder in float32, as for footage."""
    vae = load_video_vae(checkpoint, device=device, dtype=dtype)
    vae.encoder = torch.nn.Identity()
    return Decoders(
        vae,
        load_audio_vae(checkpoint, device=device, dtype=torch.float32),
        load_vocoder(checkpoint, device=device, dtype=torch.float32),
        asked=asked,
        note=note,
    )


def _given_audio(given: Given, seconds: float, run: StageRun[RenderValidationConfig]) -> np.ndarray:
    """The sound that was given: the render follows it, so that is what is heard.

    Raises:
        DataError: the file no longer has it.
        ChangedError: a file of one's own is another than the one that names the render.
    """
    path, clip = given.sound, given.clip
    assert path is not None
    read = partial(decode_sound, path, given.audio_start, seconds, rate=SOURCE_RATE)
    sound = read() if clip is None else read_unchanged({path: clip.sound_key or clip.media_key}, run.memo, read)
    run.memo.check(path)
    if sound is None:
        raise DataError(f"{path} had audio when the run began and has none now; run from `probe` again")
    return sound
