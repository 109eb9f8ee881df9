"""Write docs/truth.md, and a paragraph in the pages of methods, from the results that were kept."""

import json
import re
import textwrap
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from benchmarks.truth.arms import ARMS, STEPS, TRAINING
from benchmarks.truth.experiments import EXPERIMENTS, Experiment
from benchmarks.truth.verdicts import Answer, Results, Verdict, judge, shown, spread, values
from benchmarks.truth.worlds import RENDERED, WORLDS

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "truth"
NOTES = RESULTS / "notes.md"
"""What a person found remarkable; shown after the table of all claims."""
DOCS = ROOT / "docs"
PAGE = "truth.md"
MARKS = ("<!-- truth: {name} -->", "<!-- end of truth: {name} -->")
"""Around a paragraph that is written into another page."""
SYMBOLS: dict[Answer, str] = {"yes": "yes", "unclear": "unclear", "no": "NO", "not run": "not run"}
HEADER = """# Do the methods do what they claim?

Trainings of the [tiny LTX-2](tiny.md) with controls at the same seeds, rendered, and measured by detectors that have
learnt nothing (`tests/detectors.py`). `python -m benchmarks.truth --out FOLDER` runs them, and
`python -m benchmarks.truth --write` makes this page from `benchmarks/results/truth/`; a test compares. To add an
experiment, add an entry to `benchmarks/truth/experiments.py`.

A model of 8 million parameters in a world of coloured shapes says nothing certain about LTX-2. A method that does
not do here what it claims needs a measurement at full size before it is relied on.
"""


def load(folder: Path) -> dict[tuple[str, int], dict[str, object]]:
    """Every result that a folder holds, by arm and seed."""
    found = (json.loads(path.read_text()) for path in sorted(folder.glob("*.json")))
    return {(result["arm"], result["seed"]): result for result in found}


def page(results: Results, notes: str) -> str:
    """The text of docs/truth.md."""
    judged = {experiment.name: [judge(test, results) for test in experiment.tests] for experiment in EXPERIMENTS}
    lines = [HEADER, *_settings(results), *_overview(judged), *notes.splitlines(), ""]
    lines = [line if line.startswith(("|", "#")) or "\n" in line else _wrapped(line) for line in lines]
    for experiment in EXPERIMENTS:
        lines += _section(experiment, judged[experiment.name], results)
    return "\n".join(lines).rstrip() + "\n"


def with_paragraph(text: str, experiment: Experiment, results: Results) -> str:
    """A page of a method with the experiment's paragraph between its marks.

    Raises:
        ValueError: the page has no marks for it.
    """
    first, last = (mark.format(name=experiment.name) for mark in MARKS)
    pattern = re.compile(f"{re.escape(first)}.*?{re.escape(last)}", re.DOTALL)
    if not pattern.search(text):
        raise ValueError(f"docs/{experiment.page} has no lines {first!r} and {last!r}; add them where it shall be")
    body = _wrapped(paragraph(experiment, results))
    return pattern.sub(lambda _: f"{first}\n\n{body}\n\n{last}", text)


def paragraph(experiment: Experiment, results: Results) -> str:
    """The result in one paragraph, for the page of a method."""
    judged = [judge(test, results) for test in experiment.tests]
    known = [verdict for verdict in judged if verdict.answer != "not run"]
    if not known:
        return f"On the tiny model, this was not measured yet: {experiment.claim}"
    passed = sum(verdict.answer == "yes" for verdict in known)
    said = " ".join(f"{_sentence(verdict)}" for verdict in known)
    up = "../" * experiment.page.count("/")
    link = f"[truth.md]({up}{PAGE}#{_anchor(experiment)})"
    whole = "holds" if passed == len(known) else "does not hold" if not passed else "holds in part"
    return (
        f'On the tiny trained model, the claim "{experiment.claim}" {whole}: {passed} of {len(known)} comparisons came '
        f"out as it says ({link}). {said}"
    )


def write(results: Results) -> list[Path]:
    """Write the page, and the paragraphs of other pages; give what was written."""
    written = [DOCS / PAGE]
    written[0].write_text(page(results, NOTES.read_text() if NOTES.exists() else ""))
    for experiment in EXPERIMENTS:
        if experiment.page:
            path = DOCS / experiment.page
            path.write_text(with_paragraph(path.read_text(), experiment, results))
            written.append(path)
    return written


def _sentence(verdict: Verdict) -> str:
    said = {"yes": "As claimed", "unclear": "Unclear", "no": "Not as claimed", "not run": "Not run"}[verdict.answer]
    return f"{said}: {verdict.words}."


def _settings(results: Results) -> list[str]:
    if not results:
        return ["No results are there yet.", ""]
    dates = sorted({str(result["date"]) for result in results.values()})
    devices = Counter(str(result["device"]) for result in results.values())
    versions: dict[str, set[str]] = {}
    for result in results.values():
        for name, number in result["versions"].items():
            versions.setdefault(name, set()).add(number)
    used = ", ".join(f"{name} {' or '.join(sorted(found))}" for name, found in versions.items())
    core_minutes = sum(float(result["cpu_seconds"]) for result in results.values()) / 60
    trainings = sum(name != "base" and not ARMS[name].is_base for name, _ in results)
    world = WORLDS["pink bell"]
    return [
        "## Setting",
        "",
        f"{trainings} trainings and {len(results) - trainings} sets of renders of the base, of "
        f"{' to '.join(dict.fromkeys((dates[0], dates[-1])))}, on "
        f"{', '.join(f'{device} ({count})' for device, count in devices.items())}, {core_minutes:.0f} core minutes in "
        f"all; {used}.",
        "",
        f"If a table says nothing else, a training takes {STEPS} steps of batch {TRAINING['batch_size']} at a learning "
        f"rate of {TRAINING['learning_rate']:g} (cosine) on {world.num_trained} clips of pink objects while a bell "
        f"rings, in fp32. {RENDERED} captions of the concept and {RENDERED} of what the model knows, which no clip "
        "has, are rendered in 12 steps, with a noise that depends on the seed alone. Figures are means over the seeds, "
        "with the lowest and the highest in brackets.",
        "",
        "- `concept colour`, `concept audio`, ...: fraction of the concept's renders in which it is right; `known "
        "all`: the fraction of the known captions' renders in which colour, shape, motion and audio are.",
        "- `concept colour distance`: of the objects' colour from pink, in a cube with edges of 2.",
        "- `flicker`: mean change of the background between frames; `colour wander`: standard deviation of the "
        "objects' colour over time; `video change`: mean difference from the base's render; all in grey levels of 255.",
        "- `audio change dB`: mean difference of the spectrograms from the base's render.",
        "- `drift`: distance between first and last colours of objects, plus that of the background, in renders three "
        "times as long as any clip.",
        "- `place error`: mean distance of the object from where it is in the clip, across, in widths of the frame.",
        "- `seconds a step`: the median, of the process on a CPU, of the clock on a GPU.",
        "- `eval loss`: on 6 held-out clips, at 3 noise levels.",
        "",
        "A comparison is of equal seeds. With a margin, the mean difference has to lie within it. Without one, a mean "
        "in the wanted direction counts as `yes` if it exceeds Student's one-sided bound of 95 %, else as `unclear`.",
        "",
    ]


def _overview(judged: dict[str, list[Verdict]]) -> list[str]:
    lines = ["## All claims", "", "| claim | as claimed | unclear | not | not run |", "|---|---|---|---|---|"]
    for experiment in EXPERIMENTS:
        counts = Counter(verdict.answer for verdict in judged[experiment.name])
        cells = [str(counts[answer]) for answer in ("yes", "unclear", "no", "not run")]
        lines.append(f"| [{experiment.claim}](#{_anchor(experiment)}) | {' | '.join(cells)} |")
    failed = [verdict.words for found in judged.values() for verdict in found if verdict.answer == "no"]
    if failed:
        lines += ["", "What came out against the claims, or against what we expected:", ""]
        lines += [f"- {words}." for words in failed]
    return [*lines, ""]


def _section(experiment: Experiment, judged: Sequence[Verdict], results: Results) -> list[str]:
    lines = [f"## Experiment: {experiment.name}", "", experiment.claim, ""]
    lines += [f"| arm | seeds | {' | '.join(experiment.shown)} |", "|---|---|" + "---|" * len(experiment.shown)]
    for arm in experiment.arms:
        seeds = sorted(seed for name, seed in results if name == arm)
        cells = [_cell(results, arm, figure) for figure in experiment.shown]
        named = ", ".join(map(str, seeds)) or "not run"
        lines.append(f"| {arm}: {ARMS[arm].says} | {named} | {' | '.join(cells)} |")
    lines += ["", "| as claimed | comparison |", "|---|---|"]
    lines += [f"| {SYMBOLS[verdict.answer]} | {verdict.words} |" for verdict in judged]
    return [*lines, ""]


def _cell(results: Results, arm: str, figure: str) -> str:
    found = spread(list(values(results, arm, figure).values()))
    if found is None:
        return ""
    return shown(found.mean) + (f" ({shown(found.low)} to {shown(found.high)})" if found.count > 1 else "")


def _anchor(experiment: Experiment) -> str:
    return f"experiment-{experiment.name.replace(' ', '-')}"


def _wrapped(text: str, width: int = 120) -> str:
    """A paragraph or an item of a list in lines of at most `width`; no word is broken."""
    indent = "  " if text.startswith("- ") else ""
    return textwrap.fill(text, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
