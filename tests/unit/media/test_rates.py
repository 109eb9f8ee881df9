"""The rate that pictures go by, from the times at which they are shown."""

from fractions import Fraction

import numpy as np
import pytest

from ltx_core.media.windows import native_rate, resampled, usual_rate

NTSC = Fraction(30000, 1001)


@pytest.mark.parametrize(
    "rate", [Fraction(24000, 1001), 24, 25, NTSC, 30, 48, 50, 2 * NTSC, 60, 120, 12, Fraction(15, 2)]
)
@pytest.mark.parametrize("tick", [1e-3, 1 / 90_000])
def test_even_times_give_their_rate_whatever_their_rounding(rate: Fraction, tick: float) -> None:
    shown = [round(n / float(rate) / tick) * tick for n in range(400)]
    assert usual_rate(shown, tick + 1e-4, ()) == pytest.approx(float(rate), rel=2e-4)
    assert usual_rate(shown[:17], tick + 1e-4, (None, Fraction(rate))) == float(rate), "the container says more"


def test_lost_pictures_and_pauses_do_not_count() -> None:
    shown = [n / float(NTSC) for n in range(900) if n % 40]
    assert usual_rate(shown, 1e-4, ()) == float(NTSC)
    paused = [n / 30 + 600 * (n > 100) for n in range(300)]
    assert usual_rate(paused, 1e-4, (Fraction(3, 10),)) == 30


def test_uneven_times_give_a_whole_number() -> None:
    noise = np.random.default_rng(0).uniform(-0.012, 0.012, 300)
    assert usual_rate([n / 29.9 + wobble for n, wobble in enumerate(noise)], 1e-4, ()) == 30
    still = np.cumsum([0.25, 0.25, 3.0, 0.24, 0.26, 0.25, 9.0, 0.2, 0.3, 0.25]).tolist()
    assert usual_rate(still, 1e-4, ()) == 4, "a screen that changes now and then"
    soft = [n // 2 * 5 / 60 * 1.001 + n % 2 * 3 / 60 * 1.001 for n in range(2000)]
    assert usual_rate(soft, 1e-4, (NTSC,)) == 24000 / 1001, "film, its frames shown for 2 and 3 fields in turns"


def test_one_picture_goes_by_what_is_stated() -> None:
    assert usual_rate([0.0], 1e-4, (None, Fraction(24))) == 24
    assert usual_rate([0.0], 1e-4, (None,)) == 25


def test_native_rates_are_the_largest_whole_part_up_to_30() -> None:
    ntsc, film = float(NTSC), 24000 / 1001
    pairs = {24: 24, 25: 25, ntsc: ntsc, 30: 30, 2 * film: film, 48: 24, 50: 25, 2 * ntsc: ntsc, 60: 30}
    pairs |= {90: 30, 100: 25, 120: 30, 240: 30, 144: 28.8, 15: 15, 30.01: 30.01}
    assert {rate: native_rate(rate) for rate in pairs} == pytest.approx(pairs)


def test_what_resampling_does_is_told() -> None:
    assert resampled(24, 25, 5) == "5 of 125 frames repeated"
    assert resampled(30, 25, 5) == "25 of 150 frames dropped"
    assert not resampled(25, 25, 5)
