"""The law that training's noise levels are drawn from, against percentiles of Lightricks' own sampler."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from ltx_core.flow_matching import SigmaDraws, shift, shifted_logit_normal

pytestmark = pytest.mark.numerics

DEFAULT = Path(__file__).parents[2] / "golden"
GOLDEN = Path(os.environ.get("LTX2_GOLDEN_DIR", DEFAULT))
ABOUT = json.loads((GOLDEN / "timestep_sampler.json").read_text())
RESULTS = ABOUT["results"]
MEAN, INNER, OUTER = 5e-3, 5e-3, 1e-2
"""Tolerances of two sets of 400 000 draws; percentiles from 5 to 95 are inner."""


def differences(result: dict[str, Any], num_tokens: int) -> dict[str, float]:
    """How far each figure is from the reference, in tolerances."""
    draws = SigmaDraws.draw(torch.Generator().manual_seed(0), ABOUT["samples"])
    sigmas = shifted_logit_normal(draws, num_tokens).double().sort().values
    found = {"mean": abs(sigmas.mean().item() - result["mean"]) / MEAN}
    for name, expected in result["percentiles"].items():
        at = sigmas[round(float(name) / 100 * (len(sigmas) - 1))].item()
        found[name] = abs(at - expected) / (INNER if 5 <= float(name) <= 95 else OUTER)
    for name, share in (("p_below_0_1", (sigmas < 0.1)), ("p_above_0_99", (sigmas > 0.99))):
        found[name] = abs(share.double().mean().item() - result[name]) / 2e-3
    return found


@pytest.mark.parametrize("result", RESULTS, ids=lambda result: f"{result['seq_length']} tokens")
def test_percentiles_equal_lightricks(result: dict[str, Any]) -> None:
    assert shift(result["seq_length"]) == pytest.approx(result["shift_mu"], abs=1e-6)
    found = differences(result, result["seq_length"])
    assert max(found.values()) < 1, found


@pytest.mark.parametrize("result", RESULTS, ids=lambda result: f"{result['seq_length']} tokens")
def test_another_shift_is_seen(result: dict[str, Any]) -> None:
    assert max(differences(result, result["seq_length"] + 600).values()) > 1
