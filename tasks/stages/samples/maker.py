"""Render samples with the model that training holds: sampled by its transformer as it stands, decoded by VAEs that are
loaded when the first sample needs them and leave the GPU after each step's samples. Needs torch when imported."""

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from ltx_core.conditioning.kinds import Text
from ltx_core.conditioning.reference import Reference
from ltx_core.distributed.ranks import Ranks
from ltx_core.errors import DataError
from ltx_core.io.digest import is_vouched
from ltx_core.media.errors import MediaError
from ltx_core.media.measure import broken, loudness_db, motion, sharpness
from ltx_core.media.mp4 import RENDER_THREADS, write_mp4
from ltx_core.media.workers import Leaving, Window, default_workers, run_ahead
from ltx_core.progress import Progress, Silent, stop_if_asked
from ltx_core.report.page import Figures, run_report
from ltx_core.sampling.decoding import Decoders, SampledLatents
from ltx_core.sampling.request import RenderRequest
from ltx_core.sampling.sampler import Prompts, sample
from ltx_core.text.motion import says_still
from ltx_core.training.objective import Objective
from tasks.stages.render.finishing import AHEAD_BYTES
from tasks.stages.samples.kept import PAGE, broken_in, keep_sample, sample_file, samples_over_steps


class TrainingSamples:
    """The `SampleMaker` of a run."""

    def __init__(
        self,
        requests: Sequence[RenderRequest],
        out: Path,
        load_decoders: Callable[[], Decoders],
        device: str,
        *,
        allow_broken_base: bool,
        followed: Sequence[tuple[RenderRequest, str]] = (),
    ) -> None:
        """`load_decoders` gives them on the CPU; `out` is the stage's folder; `followed` are further requests, each
        with the clip whose reference it follows."""
        self._requests, self._out, self._load = [*requests, *(request for request, _ in followed)], out, load_decoders
        self._followed = dict(followed)
        self._device, self._allow_broken_base = device, allow_broken_base
        self._decoders: Decoders | None = None
        self._at_work = False

    def make(self, step: int, objective: Objective, ranks: Ranks, progress: Progress) -> None:
        """As the protocol says. The first rank renders and writes; the others meet it at every sampling step, so that
        none waits longer than for one of those. Where blocks are cut among GPUs, all of them sample."""
        files = [sample_file(self._out, step, *each) for each in enumerate(self._requests)]
        missing = ranks.sum(torch.tensor([int(ranks.is_first and not is_vouched(file)) for file in files])).tolist()
        wanted = [job for job, lacks in zip(zip(files, self._requests, strict=True), missing, strict=True) if lacks]
        together, doing = _Together(ranks, progress), f"rendering samples of step {step}"
        sampled = [_sampled(request, objective, ranks, together, self._followed.get(request)) for _, request in wanted]

        def decoded() -> Iterator[_Decoded]:
            for (file, request), latents in zip(wanted, sampled, strict=True):
                if latents is not None and ranks.is_first:
                    yield self._decoded(file, request, latents)
                stop_if_asked(together, doing)

        with closing(_written(decoded(), step)) as results:
            for _, failure in results:
                if failure is not None:
                    raise failure
        if ranks.is_first:
            if wanted:
                self._rest()
                page = self._draw()
                progress.note(f"{'the base was' if not step else f'step {step} was'} rendered: see {page}")
                progress.show(page)
            self._check(files if step == 0 else ())
        ranks.wait()

    def _decoded(self, file: Path, request: RenderRequest, latents: SampledLatents) -> "_Decoded":
        if self._decoders is None:
            self._decoders = self._load()
        if not self._at_work:
            self._decoders.move(self._device)
            self._at_work = True
        frames, audio, rate = self._decoders.decode(latents, request)
        return _Decoded(file, request, frames.numpy(), audio.numpy(), rate)

    def _rest(self) -> None:
        """Give the GPU's memory back."""
        if self._decoders is not None and self._at_work:
            self._decoders.move("cpu")
            self._at_work = False
        if self._device.startswith("cuda"):
            torch.cuda.empty_cache()

    def _draw(self) -> Path:
        """Draw the page with all samples so far."""
        page = self._out / PAGE
        run_report(page, "Samples while it trains", {}, samples_over_steps(page, self._out))
        return page

    def _check(self, files: Sequence[Path]) -> None:
        """Look at the base's samples, of whichever run.

        Raises:
            DataError: one is broken, and that is not allowed.
        """
        found = broken_in(files)
        if found is not None and not self._allow_broken_base:
            file, how = found
            raise DataError(
                f"the base model renders nothing of use: {file} is {how}. The run stops here. Check model.checkpoint "
                f"and model.text_encoder, the prompt, and the guidance in train_lora.samples; or set "
                f"train_lora.samples.allow_broken_base: true if that is as it should be"
            )


@dataclass(frozen=True)
class _Decoded:
    """A sample that is no file yet."""

    file: Path
    request: RenderRequest
    frames: npt.NDArray[np.uint8]
    """[F, H, W, 3] RGB."""
    audio: npt.NDArray[np.float32]
    """[2, N]"""
    audio_rate: int


def _written(samples: Iterable[_Decoded], step: int) -> Generator[tuple[_Decoded, MediaError | None], None, None]:
    """Write and measure samples in threads, while the next ones are decoded."""

    def write(made: _Decoded, _: Leaving) -> None:
        frames, audio = made.frames, made.audio
        write_mp4(made.file, frames, made.request.frame_rate, audio, made.audio_rate, threads=RENDER_THREADS)
        figures = Figures(sharpness=sharpness(frames), motion=motion(frames), loudness_db=loudness_db(audio))
        is_seen = made.request.mode != "t2a"  # or the frames are a spectrogram
        found = broken(frames, may_stand_still=says_still(made.request.prompt)) if is_seen else None
        keep_sample(made.file, step, made.request, figures, found)

    return run_ahead(
        samples,
        write,
        size=lambda made: made.frames.nbytes,
        window=Window(default_workers(), AHEAD_BYTES),
        check=lambda: None,  # whether to stop is for all ranks to ask, equally often
        apart=MediaError,
    )


class _Together(Silent):
    """Progress of one sampling, of which all ranks ask equally often whether to stop, and get one answer."""

    def __init__(self, ranks: Ranks, progress: Progress) -> None:
        self._ranks, self._progress = ranks, progress

    @property
    def stopping(self) -> bool:  # type: ignore[override]  # Silent never stops; this one asks all ranks
        return self._ranks.any(self._progress.stopping)


def _sampled(
    request: RenderRequest, objective: Objective, ranks: Ranks, together: _Together, followed: str | None
) -> SampledLatents | None:
    """The sample's latents; None on a rank that has no part in it. `followed`: the clip whose reference it follows."""
    if ranks.is_first or objective.sharded:
        pairs = not objective.device.startswith("cuda")  # on a GPU memory is planned for one pass at a time
        references = []
        if followed is not None:
            references = [Reference(objective.source.load(followed)["reference"].float(), request.frame_rate)]
        prompts = _prompts(request, objective)
        return sample(objective.transformer, prompts, request, together, conditionings=references, together=pairs)
    for _ in range(request.num_steps):
        stop_if_asked(together, "waiting for samples")
    return None


def _prompts(request: RenderRequest, objective: Objective) -> Prompts:
    """The contexts that training's own cache has, or makes by its connectors."""
    texts = [request.prompt, request.negative_prompt] if request.needs_negative else [request.prompt]
    positive, *negative = (Text(*objective.contexts([text], objective.device)) for text in texts)
    return Prompts(positive, negative[0] if negative else None)
