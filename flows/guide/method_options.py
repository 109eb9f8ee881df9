"""Options of the guide for methods beside plain training."""

from flows.guide.option import NOT_BUILT, Option
from flows.guide.take import not_built, part_of

REFUSED = "tests/unit/guide/test_options.py::test_refused"
TOLD = "tests/unit/guide/test_options.py::test_told"
CREPA = "set crepa_enabled to false, or leave it out"
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


OPTIONS = (
    _missing("tread_config", "TREAD", "leave tread_config out"),
    _missing("crepa_enabled", "CREPA", CREPA),
    _part("crepa_block_index", "Block Index, the guide says 8", "crepa_enabled"),
    _part("crepa_lambda", "Weight, the guide says 0.5", "crepa_enabled"),
    _part("crepa_adjacent_distance", "Adjacent Distance, the guide says 1", "crepa_enabled"),
    _part("crepa_adjacent_tau", "Temporal Decay, the guide says 1.0", "crepa_enabled"),
    _part("crepa_encoder", "The vision encoder, `dinov2_vitg14` or `dinov2_vits14`", "crepa_enabled"),
    _part("crepa_encoder_image_size", "The encoder's picture size, 518 or 224", "crepa_enabled"),
    _part("crepa_drop_vae_encoder", "Drop VAE Encoder", "crepa_enabled"),
    _missing("scheduled_sampling_max_step_offset", "Scheduled sampling (rollout)", ROLLOUT),
    _part("scheduled_sampling_probability", "Share of rolled-out visits", "scheduled_sampling_max_step_offset"),
    _part("scheduled_sampling_strategy", "How the offset is drawn", "scheduled_sampling_max_step_offset"),
    _part("scheduled_sampling_ramp_steps", "Steps until the full share", "scheduled_sampling_max_step_offset"),
    _missing("scheduled_sampling_reflexflow", "ReflexFlow", "set it to false"),
)
