"""Upload the registered LoRA, its model card and a few renders to the Hugging Face hub; left out unless asked for."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field

from datasets_spec import Published, Render
from datasets_spec.options import ConfigModel
from ltx_core.adapters.lycoris_layout import is_lycoris_file
from ltx_core.hub.repository import is_repository
from ltx_core.io.atomic import write_bytes
from ltx_core.io.digest import file_digest
from ltx_core.io.safetensors import read_header
from tasks.runtime.shared import ModelConfig
from tasks.runtime.stage import Observed, Outcome, Sections, Stage, StageRun
from tasks.stages.render.jobs import final_checkpoint

DIFFUSERS_NAME = "pytorch_lora_weights.safetensors"
"""The name that diffusers looks for in a repository."""
LYCORIS_NAME = "lycoris.safetensors"
READ_BY = f"""`{LYCORIS_NAME}` is a LyCORIS adapter. ComfyUI reads it as it is, and ltx2-lora among the adapters of
its renders; diffusers does not load it.

"""
TAGS = ("lora", "ltx-2", "ltx-video", "text-to-video")


CARD_NAME = "README.md"


class PublishConfig(ConfigModel):
    """Off unless a repository is named."""

    repository: str | None = Field(
        default=None,
        pattern=r"^[\w.-]+(/[\w.-]+)?$",
        description="Model repository on the hub that the LoRA is uploaded to: `owner/name`, or `name` for your own "
        "account. It is created if it does not exist. Default: nothing is uploaded.",
    )
    private: bool = Field(default=True, description="Create the repository as a private one.")
    num_renders: int = Field(
        default=4,
        ge=0,
        le=100,
        description="Largest number of renders that are uploaded. Only renders made from text alone are used.",
    )
    dry_run: bool = Field(default=False, description="List what would be uploaded, and where, but upload nothing.")


class Publish(Stage[PublishConfig, Published]):
    """Commits everything at once; what the repository has already is not sent again, so another try costs little."""

    name = "publish"
    config = PublishConfig
    needs = ("train_lora", "render_validation", "register")
    makes = Published
    version = 2
    artifacts = (CARD_NAME,)

    def off_reason(self, sections: Sections) -> str | None:
        """Why there is nothing to do, if so."""
        return "publish.repository is not set" if sections(self.name).repository is None else None

    def observe(self, run: StageRun[PublishConfig]) -> Observed:
        """The base model that the card names."""
        return {"base_model": base_model(run.shared.model)}

    def warnings(self, run: StageRun[PublishConfig]) -> Sequence[str]:
        """The files that leave this machine, and whether there is an account to send it with."""
        config = run.config
        from ltx_core.hub.client import LOGIN, may_upload, page_of

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

    def run(self, run: StageRun[PublishConfig]) -> Outcome:
        """The files that are in the repository, or would be.

        Raises:
            ConfigError: no account, or it may not write there.
            TransientError: the network or the hub failed.
        """
        from ltx_core.hub.client import page_of, upload

        config = run.config
        files = _files(run)
        repository, commit = str(config.repository), None
        if not config.dry_run:
            message = f"LoRA {file_digest(files[0][1])}"
            repository, commit = upload(repository, files, private=config.private, message=message)
        rows = [_row(name, file, repository, commit) for name, file in files]
        verb = "would be uploaded" if config.dry_run else "uploaded"
        for row, (_, file) in zip(rows, files, strict=True):
            run.progress.note(f"{verb} to {page_of(repository)}: {row.name}, {row.size / 2**20:.2f} MiB, from {file}")
        return Outcome(rows=rows, num_in=len(rows), num_out=len(rows), computed=len(rows), unit="files")


def _files(run: StageRun[PublishConfig]) -> list[tuple[str, Path]]:
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


def shown_renders(rows: Iterable[Render], most: int) -> list[Render]:
    """The LoRA's renders that were made from text alone, those without other adapters first.

    Others begin with frames or audio of the footage, which are not ours to show.
    """
    own = [row for row in rows if row.variant == "candidate" and row.mode in ("t2v", "t2a")]
    return sorted(own, key=lambda row: (row.adapters, row.prompt, row.seed))[:most]


def base_model(model: ModelConfig) -> str | None:
    """The repository that the base model is of; None of local files, whose paths concern no one else."""
    return model.checkpoint if is_repository(model.checkpoint) else None


def lora_name(lora: Path) -> str:
    """Return the name of the file in a repository: diffusers' name only for what diffusers loads.

    A LoCon without DoRA has the names of a LoRA's factors, so that only the header tells it.

    Raises:
        CheckpointError: the file is missing or torn.
    """
    is_lycoris = is_lycoris_file(lora) or "ltx2.lycoris" in read_header(lora).metadata
    return LYCORIS_NAME if is_lycoris else DIFFUSERS_NAME


def hub_card(card: str, model: ModelConfig, renders: Sequence[tuple[str, str]], *, lora: str) -> str:
    """Markdown with the hub's YAML header.

    Args:
        card: the registered one.
        model: what the LoRA is of.
        renders: name in the repository and prompt of each.
        lora: `lora_name` of the file.
    """
    for_diffusers = lora == DIFFUSERS_NAME
    facts: dict[str, Any] = {"pipeline_tag": "text-to-video", "tags": list(TAGS)}
    if for_diffusers:
        facts["library_name"] = "diffusers"
    if base := base_model(model):
        facts["base_model"] = base
    if renders:
        facts["widget"] = [{"text": prompt, "output": {"url": name}} for name, prompt in renders]
    header = yaml.safe_dump(facts, sort_keys=True, allow_unicode=True)
    return f"---\n{header}---\n\n{'' if for_diffusers else READ_BY}{card}"
