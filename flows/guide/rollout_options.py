"""Options of the guide for scheduled sampling and ReflexFlow, which its program reads together."""

from collections.abc import Callable
from typing import Any

from flows.guide.option import Draft, Option, Refused, Take
from flows.guide.take import Parse, flag, number, told, whole

MASTER = "scheduled_sampling_max_step_offset"
RAMP = "scheduled_sampling_ramp_steps"
PROBABILITY = "scheduled_sampling_probability"
PROB_START, PROB_END = "scheduled_sampling_prob_start", "scheduled_sampling_prob_end"
REFLEXFLOW = "scheduled_sampling_reflexflow"
OURS = "train_lora.rollout"
GRID = 1000
"""Timesteps of the guide's program between noise levels 0 and 1."""
GOES = "tests/unit/guide/test_rollout_options.py::test_value_goes_where_the_table_says"
TOLD = "tests/unit/guide/test_rollout_options.py::test_told"
EFFECT = "tests/numerics/methods/test_rollout_effect.py::test_errors_on_its_own_states_fall"
Applies = Callable[[Draft], str | None]
"""What a part has no effect without, in a draft; None where it has one."""


def _max_step_offset(draft: Draft, key: str, value: Any) -> None:
    """Decides by all the others whether there are rollouts, with the values that the guide's program would fill in."""
    offset = whole(value)
    if offset < 0:
        raise Refused(f"is {value!r}; 0 or more is wanted")
    ramps = bool(_read(draft, RAMP, 0.0))
    probability = _read(draft, PROB_END, 0.5) if ramps else _read(draft, PROBABILITY, 0.0)
    if offset and not (probability or (ramps and _read(draft, PROB_START, 0.0))):
        draft.notice(key, f"no visit is rolled out, because the share is 0 ({PROB_END if ramps else PROBABILITY})")
        return
    if not offset:
        return
    draft.set(OURS, {"max_sigma_offset": offset / GRID, "probability": probability})
    draft.notice(
        key,
        f"up to {offset} steps of 1/{GRID} are one forward of the model here; train_lora.rollout.num_model_calls sets "
        f"more",
    )
    if draft.flat.get(REFLEXFLOW) in (None, ""):
        draft.set(f"{OURS}.reflexflow", True)
        draft.notice(key, f"brings ReflexFlow with it, as there; {REFLEXFLOW}: false leaves it out")


def _read(draft: Draft, key: str, default: float) -> float:
    """The number of another option, whose own row refuses what is none."""
    try:
        return number(draft.flat.get(key, default))
    except Refused:
        return default


def _rolls(draft: Draft) -> str | None:
    return None if draft.get(OURS) else MASTER


def _ramps(draft: Draft) -> str | None:
    return _rolls(draft) or (None if _read(draft, RAMP, 0.0) else RAMP)


def _is_flat(draft: Draft) -> str | None:
    return _rolls(draft) or (f"{RAMP}: 0" if _read(draft, RAMP, 0.0) else None)


def _reflexes(draft: Draft) -> str | None:
    return _rolls(draft) or (None if draft.get(f"{OURS}.reflexflow") else REFLEXFLOW)


def _to(name: str, parse: Parse, applies: Applies) -> Take:
    """The value goes to that setting of ours, where it has an effect."""

    def take(draft: Draft, key: str, value: Any) -> None:
        found = parse(value)
        if (missing := applies(draft)) is None:
            draft.set(f"{OURS}.{name}", found)
        else:
            draft.notice(key, f"has no effect without {missing}")

    return take


def _one_of(*names: str) -> Parse:
    def parse(value: Any) -> str:
        if str(value) not in names:
            raise Refused(f"is {value!r}; here there are {', '.join(names)}")
        return str(value)

    return parse


def _reflexflow(draft: Draft, key: str, value: Any) -> None:
    if flag(value) or _rolls(draft) is None:  # off without rollouts is what is done anyway
        _to("reflexflow", flag, _rolls)(draft, key, value)


def _option(name: str, take: Take, does: str, differs: str = "nothing", test: str = GOES) -> Option:
    return Option(key=f"scheduled_sampling_{name}", take=take, does=does, differs=differs, test=test)


OPTIONS = (
    _option(
        "max_step_offset",
        _max_step_offset,
        f"`{OURS}.max_sigma_offset`, divided by {GRID}; 0 is no rollout.",
        "A rollout is `num_model_calls` Euler steps (1) and not one for each of the offset; picture and sound go "
        "together; the target leads from where it ends to the data, not along the straight path that was left; the "
        "model is told the noise level that it is at.",
        EFFECT,
    ),
    _option(
        "probability",
        _to("probability", number, _is_flat),
        f"`{OURS}.probability` where there is no ramp.",
        "What is rolled out depends on seed, visit and clip alone.",
    ),
    _option(
        "prob_start",
        _to("start_probability", number, _ramps),
        f"`{OURS}.start_probability` of a ramp.",
        "0 begins at 0; there it begins at `scheduled_sampling_probability`.",
        "tests/unit/guide/test_rollout_options.py::test_a_ramp_from_0_begins_at_0",
    ),
    _option("prob_end", _to("probability", number, _ramps), f"`{OURS}.probability` of a ramp; 0.5 if left out."),
    _option("ramp_steps", _to("ramp_steps", whole, _rolls), f"`{OURS}.ramp_steps`."),
    _option("start_step", _to("ramp_start_step", whole, _ramps), f"`{OURS}.ramp_start_step` of a ramp."),
    _option("ramp_shape", _to("ramp_shape", _one_of("linear", "cosine"), _ramps), f"`{OURS}.ramp_shape` of a ramp."),
    _option(
        "strategy",
        _to("strategy", _one_of("uniform", "biased_early", "biased_late"), _rolls),
        f"`{OURS}.strategy`.",
        "The offset is any number, not a whole one of steps; and at most what is left, so that it starts at twice the "
        "noise level at most.",
    ),
    _option(
        "sampler",
        told("a rollout takes Euler's steps, as there for models that predict velocities", unless=("euler",)),
        "Always Euler's steps.",
        test=TOLD,
    ),
    _option(
        "reflexflow",
        _reflexflow,
        f"`{OURS}.reflexflow`; left out, it comes with a rollout.",
        "What a rollout spoilt counts more by its size against the mean, not against the sum, which for a video is no "
        "emphasis; both of its losses want the same velocity.",
        EFFECT,
    ),
    *(
        _option(f"reflexflow_{name}", _to(f"reflexflow_{name}", number, _reflexes), f"`{OURS}.reflexflow_{name}`.")
        for name in ("alpha", "beta1", "beta2")
    ),
)
