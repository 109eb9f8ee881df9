"""Whether a model or a text encoder has every tensor that it needs, told from headers before anything is read.

No torch. What is wanted comes from arithmetic (ltx_core/checkpoint/expected); where a module is built anyway, its own
names and shapes are compared by the same function.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from ltx_core.checkpoint.expected import gemma, sound, transformer, video_vae
from ltx_core.checkpoint.expected.tree import Shape, Tree, flat
from ltx_core.checkpoint.model import Checkpoint
from ltx_core.checkpoint.quantised.group import grouped
from ltx_core.checkpoint.quantised.reader import Weight
from ltx_core.checkpoint.text_encoder import StoredTextEncoder
from ltx_core.errors import CheckpointError

NAMED = 5
"""How many tensor names a message lists."""
BUILT = {
    "transformer": transformer.transformer,
    "connectors": transformer.connectors,
    "video_vae": video_vae.video_vae,
    "audio_vae": sound.audio_vae,
}
GEMMA = {"gemma3": gemma.gemma3, "gemma4_unified": gemma.gemma4}


def check_checkpoint(checkpoint: Checkpoint) -> None:
    """Hold every component that the checkpoint has against what its config says.

    Raises:
        CheckpointError: tensors are missing, unknown or of another shape; names the first ones of each component, and
            says how many there are. Or the config describes what no model can be.
    """
    problems = {
        component: "; ".join(_problems(checkpoint.weights(component), _wanted(checkpoint, component)))
        for component in checkpoint.stored
    }
    if found := [f"the {component} in {checkpoint.path} {told}" for component, told in problems.items() if told]:
        raise _incomplete("; ".join(found))


def check_text_encoder(encoder: StoredTextEncoder) -> None:
    """The same of a text encoder, of which the text model alone is used.

    Raises:
        CheckpointError: as for `check_checkpoint`.
    """
    wanted = _built(f"the text encoder in {encoder.path}", GEMMA[encoder.kind], encoder.text_config)
    compare_shapes(f"the text encoder in {encoder.path}", grouped(encoder.weights), wanted)


def compare_shapes(what: str, weights: Mapping[str, Weight], wanted: Mapping[str, Shape]) -> None:
    """Hold what is stored against what a module needs.

    Raises:
        CheckpointError: tensors are missing, unknown or of another shape; names the first of each.
    """
    if problems := "; ".join(_problems(weights, wanted)):
        raise _incomplete(f"{what} {problems}")


def _wanted(checkpoint: Checkpoint, component: str) -> dict[str, Shape]:
    what = f"the {component} in {checkpoint.path}"
    if component == "text_projection":
        return _projection(checkpoint)
    arguments = checkpoint.arguments(component)
    if component == "vocoder":
        return _built(what, sound.extended_vocoder if "bwe_in_channels" in arguments else sound.vocoder, arguments)
    return _built(what, BUILT[component], arguments)


def _projection(checkpoint: Checkpoint) -> dict[str, Shape]:
    """How many values it takes of a token is for the text encoder to say, so here they need only be equally many; nor
    does a diffusers folder's config say of whom the projection has biases."""
    stored = checkpoint.shapes("text_projection")
    states = max((shape[-1] for name, shape in stored.items() if name.endswith(".weight") and shape), default=0)
    per_modality = checkpoint.generation != "2.0"
    bias = any(name.endswith(".bias") for name in stored) if checkpoint.modules else per_modality
    streams = checkpoint.arguments("connectors")
    return flat(transformer.text_projection(streams, states, per_modality=per_modality, bias=bias))


def _built(what: str, build: Any, arguments: Mapping[str, Any]) -> dict[str, Shape]:
    try:
        tree: Tree = build(arguments)
        return flat(tree)
    except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError) as error:
        raise CheckpointError(
            f"{what} is described by a config that no model can have ({error}); numbers and lists as published are "
            "wanted. Give the files as they were published, or download them again."
        ) from error


def _problems(weights: Mapping[str, Weight], wanted: Mapping[str, Shape]) -> Iterator[str]:
    if missing := sorted(wanted.keys() - weights.keys()):
        yield f"lacks {_some(missing)}"
    if unknown := sorted(weights.keys() - wanted.keys()):
        yield f"has unknown {_some(unknown)}"
    both = {name: (weights[name].shape, wanted[name]) for name in sorted(wanted.keys() & weights.keys())}
    if wrong := [
        f"{name} {list(found)} for {list(needed)}" for name, (found, needed) in both.items() if found != needed
    ]:
        yield f"has shapes other than its config says: {_some(wrong)}"


def _some(names: list[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def _incomplete(told: str) -> CheckpointError:
    return CheckpointError(
        f"{told} (names in the module). Give the files as they were published, or download them again."
    )
