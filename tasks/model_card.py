"""The page that goes with a LoRA: what it is, what made it, how it measured."""

from datasets_spec import Checkpoint, Render
from tasks.checkpoints import best_checkpoint
from tasks.stage_run import StageRun


def model_card(checkpoint: Checkpoint, run: StageRun) -> str:
    """Markdown; from the manifests alone, so that the same LoRA has the same card."""
    renders: list[Render] = [row for row in run.inputs["render_validation"] if row.variant == "candidate"]
    lines = [
        f"# {run.config.model_name}",
        "",
        f"LoRA for LTX-2, {checkpoint.step} steps. SHA-256 begins `{checkpoint.sha256}`.",
        "",
        "| figure | value |",
        "|---|---|",
        f"| eval loss | {_number(checkpoint.eval_loss)} |",
        f"| eval loss of the base model | {_number(checkpoint.base_eval_loss)} |",
        f"| best kept checkpoint | {_best(run)} |",
        f"| training stage | `{run.inputs['train_lora'].path.parent.name}` |",
        f"| renders stage | `{run.inputs['render_validation'].path.parent.name}` |",
        "",
        "| prompt | adapters | seed | sharpness | motion | loudness | difference from base | CLIP score |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {r.prompt.replace('|', '/')} | {r.adapters or 'none'} | {r.seed} | {r.sharpness:.4f} | {r.motion:.4f} "
        f"| {r.loudness_db:.1f} dB | {r.difference_from_base:.4f} "
        f"| {'none' if r.clip_score is None else f'{r.clip_score:.2f}'} |"
        for r in renders
    ]
    return "\n".join(lines) + "\n"


def _best(run: StageRun) -> str:
    """Which kept checkpoint measured best; the registered one need not be it."""
    best = best_checkpoint(run.inputs["train_lora"])
    return f"`{best.name}`, eval loss {_number(best.eval_loss)}"


def _number(value: float | None) -> str:
    return "none (no eval split)" if value is None else f"{value:.6f}"
