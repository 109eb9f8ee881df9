"""The chart: round marks that hold all points, one line a series, points that cannot be drawn are said."""

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ltx_core.report.page import Series, curve, nice_axis


@given(st.lists(st.floats(-1e9, 1e9, allow_subnormal=False), min_size=1, max_size=20))
def test_axis_holds_every_value(values: list[float]) -> None:
    axis = nice_axis(values)
    spread = max(values) - min(values)
    slack = 1e-6 * max(spread, abs(axis.low), abs(axis.high))
    assert axis.low <= min(values) + slack
    assert axis.high >= max(values) - slack
    assert 2 <= len(axis.marks) <= 12
    assert list(axis.marks) == sorted(set(axis.marks))


def test_axis_marks_are_round() -> None:
    axis = nice_axis([0.63, 1.08])
    assert axis.marks == (0.6, 0.7, 0.8, 0.9, 1.0, 1.1)
    assert [axis.label(mark) for mark in axis.marks] == ["0.6", "0.7", "0.8", "0.9", "1.0", "1.1"]
    steps = nice_axis([0, 2000])
    assert [steps.label(mark) for mark in steps.marks] == ["0", "500", "1,000", "1,500", "2,000"]


def test_points_fall_where_the_axes_say() -> None:
    drawn = curve([Series("loss", [(10, 1.0), (0, 2.0)])], x_label="step", y_label="loss")
    circles = re.findall(r'cx="([\d.]+)" cy="([\d.]+)"', drawn)
    assert circles == [("66.0", "14.0"), ("704.0", "234.0")]
    assert 'd="M66.0 14.0L704.0 234.0"' in drawn
    assert ">step<" in drawn
    assert ">loss<" in drawn


def test_points_that_are_not_finite_are_counted() -> None:
    drawn = curve([Series("a", [(0, 1.0), (1, math.nan), (2, math.inf)])], x_label="x", y_label="y")
    assert "2 points are not finite" in drawn
    assert "nan" not in drawn


@pytest.mark.parametrize("series", [[], [Series("a", [])], [Series("a", [(0, math.nan)])]])
def test_nothing_to_draw(series: list[Series]) -> None:
    assert "No points yet." in curve(series, x_label="x", y_label="y")


def test_one_point_and_one_empty_series() -> None:
    drawn = curve([Series("a", [(5, 1.0)]), Series("b", [])], x_label="x", y_label="y")
    assert drawn.count("<circle") == 1
    assert drawn.count('class="line"') == 2
