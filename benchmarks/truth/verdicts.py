"""What the results say of a claim: arithmetic on figures that were kept, and nothing else."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any, Literal, NamedTuple

from benchmarks.truth.experiments import Chosen, Compared, Ranked, Test

Results = Mapping[tuple[str, int], Mapping[str, Any]]
"""What was kept of an arm at a seed."""
Answer = Literal["yes", "unclear", "no", "not run"]
STUDENT_95 = (math.inf, 6.31, 2.92, 2.35, 2.13, 2.02, 1.94, 1.89, 1.86, 1.83)
"""One-sided 95 % quantiles of Student's t by degrees of freedom; the last one for more too."""


@dataclass(frozen=True)
class Verdict:
    """Whether a test was passed, and the figures in words."""

    answer: Answer
    words: str


class Spread(NamedTuple):
    """A figure over the seeds."""

    mean: float
    low: float
    high: float
    count: int


def values(results: Results, arm: str, figure: str) -> dict[int, float]:
    """A figure of an arm by seed, of the seeds that were run."""
    return {
        seed: float(result["figures"][figure])
        for (name, seed), result in sorted(results.items())
        if name == arm and figure in result["figures"]
    }


def spread(found: Sequence[float]) -> Spread | None:
    """Mean and range; None of nothing."""
    return Spread(fmean(found), min(found), max(found), len(found)) if found else None


def judge(test: Test, results: Results) -> Verdict:
    """The verdict on one test."""
    match test:
        case Compared():
            return _compared(test, results)
        case Ranked():
            return _ranked(test, results)
        case Chosen():
            return _chosen(test, results)


def _compared(test: Compared, results: Results) -> Verdict:
    arm = values(results, test.arm, test.figure)
    control = values(results, test.control, test.control_figure or test.figure)
    differences = [arm[seed] - control[seed] for seed in sorted(arm.keys() & control.keys())]
    if not differences:
        return Verdict("not run", f"{_subject(test)}: not run")
    mean = fmean(differences)
    margin = f", within {shown(test.margin)}" if test.margin else ""
    return Verdict(
        _answer(test, differences),
        f"{_subject(test)}: {shown(arm_mean(arm, control))} against {shown(arm_mean(control, arm))}; wanted "
        f"{test.direction}{margin}; the difference is {mean:+.3g} {_noise(differences)}",
    )


def arm_mean(figures: Mapping[int, float], others: Mapping[int, float]) -> float:
    """The mean over the seeds that both have."""
    return fmean(figures[seed] for seed in figures.keys() & others.keys())


def _subject(test: Compared) -> str:
    if test.arm == test.control:
        return f"{test.figure} of {test.arm}, against its {test.control_figure}"
    return f"{test.figure} of {test.arm}, against {test.control}"


def _answer(test: Compared, differences: Sequence[float]) -> Answer:
    """With a margin, whether the mean lies within it. Without, a mean in the wrong direction is a no, and one in the
    right direction is a yes if it exceeds Student's bound, or if there is no spread to judge by."""
    mean = fmean(differences)
    match test.direction:
        case "same":
            return "yes" if abs(mean) <= test.margin else "no"
        case "not higher":
            return "yes" if mean <= test.margin else "no"
        case "not lower":
            return "yes" if mean >= -test.margin else "no"
    gained = [value if test.direction == "higher" else -value for value in differences]
    if fmean(gained) <= 0:
        return "no"
    return "yes" if fmean(gained) > _bound(gained) else "unclear"


def _bound(differences: Sequence[float]) -> float:
    """The mean beyond which chance is unlikely; infinite for a single seed."""
    if len(differences) < 2:
        return math.inf
    quantile = STUDENT_95[min(len(differences) - 1, len(STUDENT_95) - 1)]
    return quantile * stdev(differences) / math.sqrt(len(differences))


def _noise(differences: Sequence[float]) -> str:
    if len(differences) < 2:
        return "at one seed"
    if not any(differences):
        return f"at each of {len(differences)} seeds"
    lowest, highest = min(differences), max(differences)
    return f"({lowest:+.2g} to {highest:+.2g} at {len(differences)} seeds)"


def _ranked(test: Ranked, results: Results) -> Verdict:
    """Spearman's correlation of the eval loss with what is bad, in each training and over all checkpoints."""
    sign = -1.0 if test.is_good_high else 1.0
    trainings = [
        [(point["eval loss"], sign * point[test.figure]) for point in result["checkpoints"]]
        for (arm, _), result in sorted(results.items())
        if arm in test.arms and result["checkpoints"]
    ]
    pooled = [pair for pairs in trainings for pair in pairs]
    within = [found for pairs in trainings if (found := spearman(pairs)) is not None]
    over_all = spearman(pooled)
    if over_all is None:
        return Verdict("not run", f"eval loss and {test.figure} of checkpoints: not run")
    answer: Answer = "yes" if over_all >= 0.7 else "unclear" if over_all >= 0.3 else "no"
    inside = f", on average {fmean(within):.2f} inside a training" if within else ""
    bad = f"a low {test.figure}" if test.is_good_high else test.figure
    return Verdict(
        answer,
        f"eval loss and {bad}: rank correlation {over_all:.2f} over {len(pooled)} checkpoints of {len(trainings)} "
        f"trainings ({', '.join(test.arms)}){inside}; wanted at least 0.7",
    )


def spearman(pairs: Sequence[tuple[float, float]]) -> float | None:
    """The correlation of ranks, equals having their mean rank; None where one side does not vary."""
    if len(pairs) < 3:
        return None
    first, second = (_ranks([pair[side] for pair in pairs]) for side in (0, 1))
    deviations = [[rank - fmean(ranks) for rank in ranks] for ranks in (first, second)]
    norm = math.sqrt(math.prod(sum(value**2 for value in side) for side in deviations))
    return sum(one * other for one, other in zip(*deviations, strict=True)) / norm if norm else None


def _ranks(found: Sequence[float]) -> list[float]:
    return [sum(other < value for other in found) + (sum(other == value for other in found) - 1) / 2 for value in found]


def _chosen(test: Chosen, results: Results) -> Verdict:
    """At how many seeds the lowest eval loss has the best figure; an equal figure counts."""
    losses = {arm: values(results, arm, "eval loss") for arm in test.arms}
    figures = {arm: values(results, arm, test.figure) for arm in test.arms}
    seeds = sorted(set.intersection(*(set(found) for found in (*losses.values(), *figures.values()))))
    names = " or ".join(test.arms)
    if not seeds:
        return Verdict("not run", f"choosing {names} by the eval loss: not run")
    best: Callable[..., float] = max if test.is_good_high else min
    picked = {seed: min(test.arms, key=lambda arm, seed=seed: losses[arm][seed]) for seed in seeds}
    hits = sum(figures[picked[seed]][seed] == best(figures[arm][seed] for arm in test.arms) for seed in seeds)
    answer: Answer = "yes" if hits == len(seeds) else "unclear" if hits > len(seeds) / 2 else "no"
    means = "; ".join(
        f"{arm}: eval loss {shown(fmean(losses[arm][s] for s in seeds))}, {test.figure} "
        f"{shown(fmean(figures[arm][s] for s in seeds))}"
        for arm in test.arms
    )
    return Verdict(
        answer, f"choosing {names} by the eval loss finds the better at {hits} of {len(seeds)} seeds ({means})"
    )


def shown(value: float) -> str:
    """Three digits that matter."""
    return f"{value:.3g}"
