"""Which stages a run covers."""

import pytest

from flows.plan import select
from ltx_core.errors import ConfigError
from tasks import STAGES

NAMES = [stage.name for stage in STAGES]


@pytest.mark.parametrize(
    ("only", "from_stage", "covered"),
    [
        (None, None, NAMES),
        ("train_lora", None, ["train_lora"]),
        (None, "train_lora", ["train_lora", "render_validation", "register", "publish"]),
        (None, "probe", NAMES),
        (None, "publish", ["publish"]),
    ],
)
@pytest.mark.parametrize("force", [False, True])
def test_covered_and_forced(only: str | None, from_stage: str | None, covered: list[str], force: bool) -> None:
    selection = select(only, from_stage, force)
    assert [stage.name for stage in selection.stages] == covered
    assert [stage.name for stage in STAGES if selection.covers(stage)] == covered
    assert selection.forced == (set(covered) if force else set())


def test_only_and_from_exclude_each_other() -> None:
    with pytest.raises(ConfigError, match="--only probe and --from split"):
        select("probe", "split", False)


@pytest.mark.parametrize("arguments", [("prob", None), (None, "prob")])
def test_an_unknown_stage(arguments: tuple[str | None, str | None]) -> None:
    with pytest.raises(ConfigError, match="no stage 'prob'; the stages are probe, split"):
        select(*arguments, force=False)
