"""Every file that scripts/media_cases.py makes is read as it should be."""

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

SCRIPTS = Path(__file__).parents[3] / "scripts"
QUICK = ("pq.mkv", "rate59.94.mkv")
"""In the default tier."""
EACH_KIND = (
    "tff.mpg",
    "shape.ts",
    "film.mp4",
    "hlg.mov",
    "phone.mp4",
    "bframes264.avi",
    "prores.mov",
)
"""In `make test` besides; all of them are in the longest tests."""


@pytest.fixture(scope="module")
def cases() -> Iterator[ModuleType]:
    sys.path.insert(0, str(SCRIPTS))
    import media_cases

    yield media_cases
    sys.path.remove(str(SCRIPTS))


@pytest.mark.parametrize("name", [*QUICK, *(pytest.param(name, marks=pytest.mark.whole) for name in EACH_KIND)])
def test_a_case_of_each_kind(cases: ModuleType, name: str, tmp_path: Path) -> None:
    (case,) = (case for case in cases.files() if case.name == name)
    right, figures = cases.judged(case, tmp_path)
    assert right, figures


@pytest.mark.extra
@pytest.mark.parametrize("kind", ["interlaced", "colors", "rates", "avi", "sounds", "others", "file_cases"])
def test_all_cases(cases: ModuleType, kind: str, tmp_path: Path) -> None:
    """But for the streams of minutes, which take as long to make; test_clock.py counts the packets of such."""
    made = [case for case in getattr(cases, kind)() if not case.name.startswith("long.")]
    verdicts = {case.name: cases.judged(case, tmp_path) for case in made}
    assert not {name: figures for name, (right, figures) in verdicts.items() if not right}


@pytest.mark.whole
@pytest.mark.parametrize(
    ("name", "option", "reason"),
    [
        ("pq.mkv", "hdr", "hdr"),
        ("p3.mkv", "hdr", "hdr"),
        ("tff.mpg", "interlaced", "interlaced"),
        ("ffv1.mkv", "alpha", "transparent"),
        ("plain.mp4", "interlaced", None),
        ("sdr.mp4", "hdr", None),
    ],
)
def test_what_can_be_made_plain_is_set_aside_by_choice(
    cases: ModuleType, name: str, option: str, reason: str | None, tmp_path: Path
) -> None:
    (case,) = (case for case in cases.files() if case.name == name)
    found = cases.read(case.make(tmp_path / name), **{option: "quarantine"})
    assert found.aside == ([reason] if reason else [])
    assert bool(found.clips) == (reason is None)
