"""Let a model write captions of clips that have none, into text files that people edit; left out unless asked for."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self

from pydantic import Field, model_validator

from datasets_spec import Caption, Clip, DatasetSpec, Manifest, Quarantined, QuarantineReason
from datasets_spec.options import ConfigModel
from ltx_core.errors import OutOfMemory
from ltx_core.hub.repository import Repository, fetched_model, model_place, pending_of_model
from ltx_core.io.digest import text_digest
from ltx_core.media.captions import captions_of, check_trigger
from ltx_core.media.clip import MIRRORED, clip_files
from ltx_core.media.errors import MediaError
from ltx_core.media.quality import quarantined_clip
from ltx_core.memory.plan import GIB, Estimate, usable_bytes
from ltx_core.progress import stop_if_asked
from ltx_core.store.json_items import ItemStore
from ltx_core.vision.captioning import (
    FILES,
    IGNORED,
    ClipView,
    StoredCaptioner,
    captioner_identity,
    clip_view,
    open_captioner,
    talks,
    text_of,
    view_key,
)
from tasks.runtime.device import loading, planned_card
from tasks.runtime.stage import DECODING, Observed, Outcome, Sections, Stage, StageRun
from tasks.stages.parts.caption_texts import CaptionTexts
from tasks.stages.parts.encode_missing import by_shape
from tasks.stages.parts.file_reading import FileJob, read_files
from tasks.stages.split import says_a_side

if TYPE_CHECKING:
    from ltx_core.hub.repository import PendingFile
    from ltx_core.vision.captioner import Captioner


class CaptionConfig(ConfigModel):
    """Options for captions by a model."""

    LOCATIONS = ("model",)

    model: str | None = Field(
        default=None,
        min_length=1,
        description="Model of images and text, or of videos and text, that follows instructions, in transformers' "
        "layout: a folder, or a repository on the hub.",
    )
    revision: str | None = Field(default=None, description="Branch, tag or commit of the repository. Default: `main`.")
    prompt: str | None = Field(
        default=None,
        min_length=1,
        description="The request to the model. Default: one that asks for a paragraph on what is seen and how it "
        "moves, and on what is heard if the model gets audio.",
    )
    frames: int = Field(
        default=8, ge=1, le=256, description="Frames of a clip that the model sees, at equal distances."
    )
    max_edge: int = Field(
        default=512,
        ge=32,
        le=4096,
        description="Longer edge in pixels to which larger frames are scaled down before the model's processor.",
    )
    audio: bool = Field(
        default=True, description="Give the model the audio of a clip in which something is heard, if it takes audio."
    )
    max_tokens: int = Field(
        default=400,
        ge=1,
        le=8192,
        description="Tokens of an answer at most. A longer answer is cut, and the log says so.",
    )
    temperature: float = Field(
        default=0.0,
        ge=0,
        le=2,
        description="0: the model takes the likeliest word each time, and says the same of the same clip. Above 0: "
        "words are drawn.",
    )
    seed: int = Field(default=0, ge=0, description="Seed for what is drawn.")
    dtype: Literal["bf16", "fp32"] = Field(default="bf16", description="Precision of the model.")
    batch_size: int = Field(
        default=1,
        ge=1,
        le=256,
        description="Clips of equal shape that the model answers at once. More are faster on a GPU, and answers may "
        "differ where two words are equally likely up to rounding.",
    )
    device: Literal["auto", "cpu"] = Field(
        default="auto", description="`auto`: where the run computes (`memory.device`). `cpu`: on the CPU, slowly."
    )

    @model_validator(mode="after")
    def _draws_one_by_one(self) -> Self:
        if self.temperature and self.batch_size > 1:
            raise ValueError(
                f"temperature is {self.temperature:g} and batch_size {self.batch_size}; what is drawn for a clip would "
                f"depend on the others. Set batch_size: 1, or temperature: 0."
            )
        return self

    def named(self) -> list[str]:
        """Options that are not at their defaults."""
        return [name for name, field in type(self).model_fields.items() if getattr(self, name) != field.default]


class CaptionClips(Stage[CaptionConfig, Caption]):
    """Asks the model about what the store has no answer for. What a person wrote is taken as it is."""

    name = "caption"
    items = "captions/answers/**/*.json"
    config = CaptionConfig
    needs = ("split",)
    makes = Caption
    version = 1
    subjects = (DECODING,)
    device = "gpu"
    imports = ("torch", "ltx_core.training.out_of_memory", "ltx_core.vision.captioner")
    not_in_key = frozenset({"batch_size", "device"})
    by_content = frozenset({"model", "revision"})

    def off_reason(self, sections: Sections) -> str | None:
        """Why no model is asked, if so."""
        return "caption.model is not set" if sections("caption").model is None else None

    def check(self, run: StageRun[CaptionConfig]) -> None:
        """A model that lies here can be asked.

        Raises:
            CheckpointError: it cannot, or the location leads nowhere.
        """
        if isinstance(place := _place(run.config), Path):
            open_captioner(place)

    def downloads(self, run: StageRun[CaptionConfig]) -> "Sequence[PendingFile]":
        """The model, if it is not here."""
        return pending_of_model(_place(run.config), FILES, IGNORED)

    def prepare(self, run: StageRun[CaptionConfig]) -> CaptionConfig:
        """Download the model and see that it can be asked; afterwards it is named by its folder."""
        folder = fetched_model(_place(run.config), FILES, IGNORED, run.progress)
        open_captioner(folder)
        return run.config.model_copy(update={"model": str(folder), "revision": None})

    def observe(self, run: StageRun[CaptionConfig]) -> Observed:
        """The model, how captions are made of texts, and the texts that people wrote."""
        texts, clips = CaptionTexts(run.workspace), _without(run)
        how = {one.id: _captions(one) for one in run.shared.datasets}
        written = texts.persons([clip.clip_id for clip in clips if not clip.is_mirrored])
        files = {texts.name(clip_id): digest for clip_id, digest in written.items()}
        return {"model": _identity(run), "captions": how, "texts": {"files": files}}

    def outdated(self, run: StageRun[CaptionConfig], manifest: Manifest[Caption]) -> str | None:
        """Why the rows are not what the text files say, if so."""
        texts = CaptionTexts(run.workspace)
        for row in manifest:
            try:
                text = texts.read(_original(row.clip_id))
            except MediaError:
                continue  # a person's, and named in the key
            if text != row.text:
                return f"{row.text_file} is gone" if text is None else f"{row.text_file} has another caption"
        return None

    def memory(self, run: StageRun[CaptionConfig]) -> Sequence[str]:
        """Number of clips that the model is asked about, and the memory that it takes of the GPU."""
        config, lines = run.config, list[str]()
        if "split" in run.inputs:
            clips = [clip for clip in _without(run) if not clip.is_mirrored]
            written = CaptionTexts(run.workspace).persons([clip.clip_id for clip in clips])
            lines = [
                f"{len(clips)} clips have no caption beside their file; people wrote {len(written)} of these captions, "
                f"and the model writes {len(clips) - len(written)}"
            ]
        gpu_gib = None if config.device == "cpu" else planned_card(run.shared.memory)
        if gpu_gib is not None and isinstance(place := _place(config), Path):
            estimate = _memory(open_captioner(place), config)
            _check_weights(estimate, usable_bytes(gpu_gib), config)
            fits = "it fits" if estimate.fits(usable_bytes(gpu_gib)) else "it may not fit; lower caption.batch_size"
            lines.append(f"{gpu_gib:g} GiB card: the model takes about {estimate.needed_bytes / GIB:.1f} GiB; {fits}")
        return lines

    def run(self, run: StageRun[CaptionConfig]) -> Outcome:
        """A caption of each clip that has none, of a person's text or the model's."""
        texts, clips = CaptionTexts(run.workspace), _without(run)
        own = {clip.clip_id: clip for clip in clips if not clip.is_mirrored}
        persons = texts.persons(list(own))
        found = _answers(run, {clip_id: clip for clip_id, clip in own.items() if clip_id not in persons}, texts)
        rows: list[Caption] = []
        quarantined: list[Quarantined] = []
        sided = 0
        for clip in clips:
            try:
                row = _row(clip, found, texts, run)
            except MediaError as error:
                quarantined.append(quarantined_clip(clip, error.reason, str(error)))
                continue
            if clip.is_mirrored and says_a_side((row.caption, *row.variants)):
                sided += 1
            else:
                rows.append(row)
        _check_triggers(run, rows)
        _tell(run, rows, texts.strays(list(own), [one.id for one in run.shared.datasets]))
        if sided:
            run.progress.note(f"{sided} clips are not mirrored, because their captions say left or right")
        fresh = {clip_id for clip_id, answer in found.items() if answer.is_new}
        return Outcome(
            rows=rows,
            quarantined=quarantined,
            num_in=len(rows) + len(quarantined),
            num_out=len(rows),
            computed=sum(_original(row.clip_id) in fresh for row in rows),
            unit="clips",
            figures={"by_people": sum(row.author == "person" for row in rows), "cut": sum(row.is_cut for row in rows)},
        )


class Found(NamedTuple):
    """A model's answer about a clip."""

    answer: str = ""
    is_cut: bool = False
    """True if the answer was longer than it may be."""
    is_new: bool = False
    """True if it was asked in this run."""
    error: MediaError | None = None
    """Why it could not be asked."""


def _without(run: StageRun[CaptionConfig]) -> list[Clip]:
    """The clips that have no caption."""
    return [clip for clip in run.inputs["split"] if not clip.caption]


def _captions(dataset: DatasetSpec) -> dict[str, Any]:
    """The options by which captions are made of texts, for the key."""
    return dataset.captions.model_dump(mode="json", exclude={"dropout"}, exclude_defaults=True, by_alias=True)


def _original(clip_id: str) -> str:
    """The clip of which a clip is the mirrored twin, or itself; both have one text."""
    return clip_id.removesuffix(MIRRORED)


def _place(config: CaptionConfig) -> Path | Repository:
    wanted = "a transformers folder of a model of images and text, or to a repository on the hub"
    return model_place("caption.model", str(config.model), config.revision, wanted)


def _identity(run: StageRun[CaptionConfig]) -> str:
    found = captioner_identity(Path(str(run.config.model)), run.memo)
    run.memo.save()
    return found


def _memory(stored: StoredCaptioner, config: CaptionConfig) -> Estimate:
    return stored.memory(
        item_bytes=4 if config.dtype == "fp32" else 2,
        frames=config.frames,
        edge=config.max_edge,
        max_tokens=config.max_tokens,
        batch_size=config.batch_size,
    )


def _check_weights(estimate: Estimate, budget: int, config: CaptionConfig) -> None:
    if estimate.resident_bytes > budget:
        raise OutOfMemory(
            f"the weights of caption.model {config.model} take {estimate.resident_bytes / GIB:.1f} GiB, and "
            f"{budget / GIB:.1f} GiB of the card are free for them; take a smaller model, caption.dtype: bf16, or "
            f"caption.device: cpu"
        )


def _answers(run: StageRun[CaptionConfig], asked: Mapping[str, Clip], texts: CaptionTexts) -> dict[str, Found]:
    """The model's answers about clips, by id: the store's, or new ones, each kept and written to its text file before
    the next clips are asked about."""
    config, store = run.config, ItemStore(run.workspace.caption_store / "answers", run.progress)
    decisive = (config.prompt, config.frames, config.max_edge, config.audio, config.max_tokens, config.dtype)
    drawn = (config.temperature, config.seed) if config.temperature else ()
    how = text_digest(_identity(run), repr(decisive), repr(drawn), run.version)
    keys = {clip_id: text_digest(how, view_key(clip, config.audio)) for clip_id, clip in asked.items()}
    known = {} if run.force else {key: kept for key in set(keys.values()) if (kept := store.get(key)) is not None}
    found = {key: Found(kept["answer"], kept["is_cut"]) for key, kept in known.items()}
    missing = {key: asked[clip_id] for clip_id, key in keys.items() if key not in known}
    for clip_id, key in keys.items():
        if key in found:
            _write(texts, clip_id, found[key])
    for done, (key, answer) in enumerate(_ask(run, missing), start=len(asked) - len(missing) + 1):
        found[key] = answer
        if answer.error is None:
            store.put(key, {"answer": answer.answer, "is_cut": answer.is_cut})
        for clip_id in (clip_id for clip_id, its in keys.items() if its == key):
            _write(texts, clip_id, answer)
        run.progress.advance(done, len(asked), "clips")
    return {clip_id: found[key] for clip_id, key in keys.items()}


def _write(texts: CaptionTexts, clip_id: str, answer: Found) -> None:
    if text := text_of(answer.answer):
        with suppress(MediaError):  # `_row` tries it again, and the clip is quarantined
            texts.write(clip_id, text)


def _ask(run: StageRun[CaptionConfig], missing: Mapping[str, Clip]) -> Iterator[tuple[str, Found]]:
    """The answer about each clip, by key."""
    if not missing:
        return
    with loading():
        from ltx_core.training.out_of_memory import out_of_memory_errors

    config, captioner = run.config, _loaded(run)
    if config.audio and not captioner.hears and any(view_key(c, True) != view_key(c, False) for c in missing.values()):
        run.progress.note("the model takes no audio, so its captions say nothing of what is heard")
    shown = (config.frames, config.max_edge, config.audio and captioner.hears)
    jobs = [FileJob(key, clip_files(clip), clip_view, (clip, *shown)) for key, clip in by_shape(missing)]
    advice = "Lower caption.batch_size, caption.frames or caption.max_edge, or set caption.device: cpu."
    with closing(read_files(jobs, run, "decoding clips")) as views:
        for batch in _batches(views, config.batch_size):
            if isinstance(batch, tuple):
                key, error = batch
                yield key, Found(error=error)
                continue
            stop_if_asked(run.progress, "writing captions")
            seed = int(text_digest(str(config.seed), batch[0][0])[:8], 16)
            with out_of_memory_errors("writing captions", advice):
                answers = captioner.answers([view for _, view in batch], seed)
            for (key, _), answer in zip(batch, answers, strict=True):
                yield key, Found(answer.text, answer.is_cut, is_new=True)


Batch = list[tuple[str, ClipView]]


def _batches(views: Iterable[tuple[str, Any]], size: int) -> Iterator[Batch | tuple[str, MediaError]]:
    """Views in order, as many at once as are alike, `size` at most; those that could not be decoded, by themselves."""
    batch: Batch = []
    for key, view in views:
        if isinstance(view, MediaError):
            yield key, view
            continue
        if batch and (len(batch) == size or _form(view) != _form(batch[0][1])):
            yield batch
            batch = []
        batch.append((key, view))
    if batch:
        yield batch


def _form(view: ClipView) -> tuple[Any, ...]:
    return view.frames.shape, view.audio is None


def _loaded(run: StageRun[CaptionConfig]) -> "Captioner":
    with loading():
        import torch

        from ltx_core.memory.plan import free_bytes
        from ltx_core.vision.captioner import Manner, load_captioner
        from tasks.runtime.device import prepare_device, torch_dtype

    config, memory = run.config, run.shared.memory
    device = prepare_device(memory.model_copy(update={"device": "cpu"}) if config.device == "cpu" else memory)
    stored = open_captioner(Path(str(config.model)))
    if device == "cuda":
        _check_weights(_memory(stored, config), free_bytes(torch.device(device)), config)
    manner = Manner(config.prompt, config.max_tokens, config.temperature)
    captioner = load_captioner(stored, manner, device=device, dtype=torch_dtype(config.dtype))
    run.memo.check()
    return captioner


def _row(clip: Clip, found: Mapping[str, Found], texts: CaptionTexts, run: StageRun[CaptionConfig]) -> Caption:
    """The row of a clip.

    Raises:
        MediaError: its files cannot be decoded, its text cannot be read or written, or there are no words.
    """
    clip_id = _original(clip.clip_id)
    path, answer = texts.path(clip_id), found.get(clip_id)
    author: Literal["model", "person"] = "person"
    if answer is not None:
        text = text_of(answer.answer)
        if answer.error is not None:
            raise answer.error
        if not text:
            raise MediaError(
                QuarantineReason.NO_CAPTION,
                f"the model answered nothing about {clip_id} that is a caption ({answer.answer[:80]!r}); write {path}, "
                f"or ask otherwise in caption.prompt",
            )
        author = "model" if texts.write(clip_id, text) else "person"
    text = texts.read(clip_id) or ""
    captions = captions_of(text, str(path), run.shared.dataset(clip.dataset))
    return Caption(
        clip_id=clip.clip_id,
        caption=captions[0],
        variants=list(captions[1:]),
        text=text,
        text_file=texts.name(clip_id),
        author=author,
        is_cut=author == "model" and answer is not None and answer.is_cut,
    )


def _check_triggers(run: StageRun[CaptionConfig], rows: Sequence[Caption]) -> None:
    written = {row.clip_id: (row.caption, *row.variants) for row in rows}
    for dataset in run.shared.datasets:
        if dataset.captions.missing == "model":
            own = (clip for clip in run.inputs["split"] if clip.dataset == dataset.id)
            captions = (written.get(clip.clip_id, ()) if not clip.caption else clip.captions for clip in own)
            check_trigger(dataset, chain.from_iterable(captions))


def _tell(run: StageRun[CaptionConfig], rows: Sequence[Caption], strays: Sequence[str]) -> None:
    """Say what a person should look at. Nothing is cut off or left out of an answer but a model's thoughts."""
    own = [row for row in rows if row.author == "model" and row.clip_id == _original(row.clip_id)]
    cut = [row.text_file for row in own if row.is_cut]
    talking = [row.text_file for row in own if talks(row.text)]
    people = sum(row.author == "person" for row in rows)
    for files, what in (
        (cut, f"captions end in the middle, at caption.max_tokens {run.config.max_tokens}"),
        (talking, "captions seem to begin with words about the task and are taken as they are"),
        (strays, "texts that people wrote belong to no clip any more"),
    ):
        if files:
            run.progress.note(f"{len(files)} {what}, such as {files[0]}; edit the files, or change caption.prompt")
    run.progress.note(f"the captions are in {run.workspace.captions}, to be edited; {people} are of people")
