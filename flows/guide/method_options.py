"""Options of the guide for methods beside plain training."""

from typing import Any

from flows.guide import rollout_options
from flows.guide.option import Draft, Option, Refused


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
    *rollout_options.OPTIONS,
)
