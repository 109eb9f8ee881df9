"""See from headers that a model and its text encoder have every tensor that they need, and belong together.

No torch. What is wanted comes from arithmetic (ltx_core/checkpoint/expected); where a module is built anyway, its own
names and shapes are compared by the same function.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from ltx_core.checkpoint.expected import audio, gemma, transformer, video_vae
from ltx_core.checkpoint.expected.tree import Shape, Tree, flat
from ltx_core.checkpoint.model import Model
from ltx_core.checkpoint.stored import Weight, grouped
from ltx_core.checkpoint.text_encoder import StoredTextEncoder
from ltx_core.errors import CheckpointError

NAMED = 5
"""Number of tensor names that a message lists."""
BUILT = {
    "transformer": transformer.transformer,
    "connectors": transformer.connectors,
    "video_vae": video_vae.video_vae,
    "audio_vae": audio.audio_vae,
}
ENCODERS = {"2.0": "gemma3", "2.3": "gemma3", "2.5": "gemma4_unified"}
"""The kind of text encoder that each generation was trained with."""
GEMMA = {"gemma3": gemma.gemma3, "gemma4_unified": gemma.gemma4}


def check_model(model: Model) -> None:
    """Hold every component that the model has against what its config says.

    Raises:
        CheckpointError: tensors are missing, unknown or of another shape; names the first ones of each component, and
            says how many there are. Or the config describes what no model can be.
    """
    problems = {
        component: "; ".join(_problems(model.weights(component), _wanted(model, component)))
        for component in model.stored
    }
    if found := [f"the {component} in {model.path} {problem}" for component, problem in problems.items() if problem]:
        raise _incomplete("; ".join(found))


def check_text_encoder(encoder: StoredTextEncoder) -> None:
    """The same of a text encoder, of which the text model alone is used.

    Raises:
        CheckpointError: as for `check_model`.
    """
    wanted = _built(f"the text encoder in {encoder.path}", GEMMA[encoder.kind], encoder.text_config)
    compare_shapes(f"the text encoder in {encoder.path}", grouped(encoder.weights), wanted)


def check_fit(model: Model, encoder: StoredTextEncoder) -> None:
    """Hold a text encoder against what the model was trained with.

    LTX-2.5 names its Gemma in its header; a Gemma of the same sizes by Google gives other hidden states. The text
    projection takes the states of all layers and of the embedding, so hidden_size * (num_hidden_layers + 1) wide.

    Raises:
        CheckpointError: the encoder is incomplete (tensors included), of another kind or version, or of another width.
    """
    _same_gemma(model, encoder)
    hidden, layers = encoder.size("hidden_size"), encoder.size("num_hidden_layers")
    shapes = model.shapes("text_projection")
    wanted = {shape[1] for name, shape in shapes.items() if name.endswith(".weight")}
    if wanted != {hidden * (layers + 1)}:
        raise CheckpointError(
            f"the text encoder in {encoder.path} gives {hidden} x ({layers} + 1) = {hidden * (layers + 1)} "
            f"values a token and the text projection in {model.path} takes {' or '.join(map(str, wanted))}. "
            f"{_encoder_wanted(model)}"
        )
    check_text_encoder(encoder)


def _same_gemma(model: Model, encoder: StoredTextEncoder) -> None:
    kind = ENCODERS[model.generation]
    wanted = model.gemma_version or ("one of Lightricks' own" if model.generation == "2.5" else None)
    same = encoder.gemma_version == wanted
    if model.gemma_version is None and model.generation == "2.5":
        same = encoder.gemma_version is not None
    if encoder.kind != kind or not same:
        raise CheckpointError(
            f"{encoder.path} holds {encoder.kind}, version {encoder.gemma_version or 'of Google'}; the LTX-"
            f"{model.generation} checkpoint {model.path} was trained with {kind}, version "
            f"{wanted or 'of Google'}. {_encoder_wanted(model)}"
        )


def _encoder_wanted(model: Model) -> str:
    if model.generation == "2.5":
        return "Set `text_encoder` to the text encoder file of the LTX-2.5 pack."
    return "Set `text_encoder` to the folder that this checkpoint was trained with: Gemma 3 12B for LTX-2.0 and 2.3."


def compare_shapes(what: str, weights: Mapping[str, Weight], wanted: Mapping[str, Shape]) -> None:
    """Hold what is stored against what a module needs.

    Raises:
        CheckpointError: tensors are missing, unknown or of another shape; names the first of each.
    """
    if problems := "; ".join(_problems(weights, wanted)):
        raise _incomplete(f"{what} {problems}")


def _wanted(model: Model, component: str) -> dict[str, Shape]:
    what = f"the {component} in {model.path}"
    if component == "text_projection":
        return _projection(model)
    arguments = model.arguments(component)
    if component == "vocoder":
        return _built(what, audio.extended_vocoder if "bwe_in_channels" in arguments else audio.vocoder, arguments)
    return _built(what, BUILT[component], arguments)


def _projection(model: Model) -> dict[str, Shape]:
    """The number of values of a token is for the text encoder to say, so here they need only be equally many; nor
    does a diffusers folder's config say of whom the projection has biases."""
    stored = model.shapes("text_projection")
    states = max((shape[-1] for name, shape in stored.items() if name.endswith(".weight") and shape), default=0)
    per_modality = model.generation != "2.0"
    bias = any(name.endswith(".bias") for name in stored) if model.modules else per_modality
    streams = model.arguments("connectors")
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


def _incomplete(problem: str) -> CheckpointError:
    return CheckpointError(
        f"{problem} (names in the module). Give the files as they were published, or download them again."
    )
