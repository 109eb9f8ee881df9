"""Options of the guide for methods beside plain training."""

from typing import Any

from flows.guide.option import NOT_BUILT, Draft, Option, Refused
from flows.guide.take import not_built, part_of

REFUSED = "tests/unit/guide/test_options.py::test_refused"
TOLD = "tests/unit/guide/test_options.py::test_told"
ROLLOUT = "set scheduled_sampling_max_step_offset to 0, or leave it out"


def _missing(key: str, what: str, instead: str) -> Option:
    return Option(
        key=key,
        take=not_built(instead),
        does="Off is taken.",
        differs=f"{what} is {NOT_BUILT}: switched on it is refused, never ignored.",
        test=REFUSED,
    )


def _part(key: str, what: str, master: str) -> Option:
    return Option(
        key=key,
        take=part_of(master),
        does=f"{what}. Without `{master}` it has no effect, which a notice says.",
        differs=f"The method is {NOT_BUILT}, and `{master}` refused.",
        test=TOLD,
    )


def _tread(draft: Draft, _key: str, value: Any) -> None:
    if not value:
        return
    routes = value.get("routes") if isinstance(value, dict) else None
    if not isinstance(routes, list) or not routes or set(value) != {"routes"}:
        raise Refused(f'is {value!r}; {{"routes": [...]}} is wanted, a route or more')
    draft.set("train_lora.tread_routes", routes)


OPTIONS = (
    Option(
        key="tread_config",
        take=_tread,
        does="`train_lora.tread_routes`: its `routes`, with `selection_ratio`, `start_layer_idx`, `end_layer_idx`.",
        differs="It works with timesteps by token, where the guide's program stops; several routes; given tokens are "
        "kept; which are left out depends on seed, visit and clip alone.",
        test="tests/numerics/training/test_tread.py::test_eval_loss_falls_as_it_does_without_a_route",
    ),
    _missing("scheduled_sampling_max_step_offset", "Scheduled sampling (rollout)", ROLLOUT),
    _part("scheduled_sampling_probability", "Share of rolled-out visits", "scheduled_sampling_max_step_offset"),
    _part("scheduled_sampling_strategy", "How the offset is drawn", "scheduled_sampling_max_step_offset"),
    _part("scheduled_sampling_ramp_steps", "Steps until the full share", "scheduled_sampling_max_step_offset"),
    _missing("scheduled_sampling_reflexflow", "ReflexFlow", "set it to false"),
)
