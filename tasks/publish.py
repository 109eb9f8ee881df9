"""Upload the registered LoRA, its card and a few renders to the Hugging Face hub; left out unless asked for."""

from collections.abc import Sequence
from pathlib import Path

from pydantic import Field

from datasets_spec import Published
from ltx_core.files.atomic import write_bytes
from ltx_core.files.digest import DigestMemo, file_digest
from tasks.checkpoints import final_checkpoint
from tasks.hub_card import base_model, hub_card, lora_name, shown_renders
from tasks.shared import ConfigModel, Shared
from tasks.stage import Observed, Outcome, Sections, Stage
from tasks.stage_run import StageRun

CARD_NAME = "README.md"


class PublishConfig(ConfigModel):
    """Off unless a repository is named."""

    repository: str | None = Field(
        default=None,
        pattern=r"^[\w.-]+(/[\w.-]+)?$",
        description="Model repository on the hub that the LoRA is uploaded to: `owner/name`, or `name` for the "
        "account's own; made if it is not there. Default: nothing is uploaded.",
    )
    private: bool = Field(default=True, description="Whether a repository that is made is private.")
    num_renders: int = Field(
        default=4, ge=0, le=100, description="Renders uploaded at most; only such as were made from text alone."
    )
    dry_run: bool = Field(default=False, description="List what would be uploaded and where, and upload nothing.")


def publish(run: StageRun) -> Outcome:
    """Commit everything at once; what the repository has already is not sent again, so another try costs little.

    Raises:
        ConfigError: no account, or it may not write there.
        TransientError: the network or the hub failed.
    """
    from ltx_core.lora.upload import page_of, upload

    config: PublishConfig = run.config
    files = _files(run)
    repository, commit = str(config.repository), None
    if not config.dry_run:
        done = upload(repository, files, private=config.private, message=f"LoRA {file_digest(files[0][1])}")
        repository, commit = done.repository, done.commit
    rows = [_row(name, file, repository, commit) for name, file in files]
    verb = "would be uploaded" if config.dry_run else "uploaded"
    for row, (_, file) in zip(rows, files, strict=True):
        run.progress.note(f"{verb} to {page_of(repository)}: {row.name}, {row.size / 2**20:.2f} MiB, from {file}")
    return Outcome(rows=rows, num_in=len(rows), num_out=len(rows), computed=len(rows), reused=0, unit="files")


def _files(run: StageRun) -> list[tuple[str, Path]]:
    """Names in the repository and files here: the LoRA, the card, renders."""
    root, registered = run.workspace.root, run.inputs["register"].path.parent
    renders = shown_renders(run.inputs["render_validation"], run.config.num_renders)
    named = [(f"renders/{number:02d}.mp4", render) for number, render in enumerate(renders)]
    card = run.out / CARD_NAME
    text = (registered / "model-card.md").read_text(encoding="utf-8")
    lora = root / final_checkpoint(run.inputs["train_lora"]).file
    name = lora_name(lora)
    shown = [(file, render.prompt) for file, render in named]
    write_bytes(card, hub_card(text, run.shared.model, shown, lora=name).encode())
    return [(name, lora), (CARD_NAME, card), *((name, root / render.file) for name, render in named)]


def _row(name: str, file: Path, repository: str, commit: str | None) -> Published:
    return Published(
        name=name, sha256=file_digest(file), size=file.stat().st_size, repository=repository, commit=commit
    )


def observe(_config: PublishConfig, shared: Shared, _memo: DigestMemo) -> Observed:
    """What the card says of the base model."""
    return {"base_model": base_model(shared.model)}


def off(config: PublishConfig, _sections: Sections) -> str | None:
    """Why there is nothing to do, if so."""
    return "publish.repository is not set" if config.repository is None else None


def publish_notices(config: PublishConfig, _shared: Shared) -> Sequence[str]:
    """What leaves this machine, and whether there is an account to send it with."""
    from ltx_core.lora.upload import LOGIN, may_upload, page_of

    if config.repository is None:
        return []
    what = f"the LoRA, its card with the prompts, and up to {config.num_renders} renders"
    if config.dry_run:
        return [f"publish.dry_run: {what} would go to {page_of(config.repository)}; nothing is uploaded"]
    found = [f"{what} go to {page_of(config.repository)}, {'private' if config.private else 'public'} if it is new"]
    if not may_upload():
        found.append(
            f"no account of the hub is known here, so that the upload would fail after everything else is done and "
            f"kept: {LOGIN}"
        )
    return found


STAGE = Stage(
    name="publish",
    summary=__doc__,
    version=2,
    config=PublishConfig,
    needs=("train_lora", "render_validation", "register"),
    makes=Published,
    run=publish,
    observe=observe,
    off=off,
    notices=publish_notices,
    artifacts=(CARD_NAME,),
)
