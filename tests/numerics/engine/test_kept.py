"""What PyTorch's partitioner makes of a block: a budget saves memory, and no attention is computed again for it."""

import pytest

from benchmarks.activations import partition

pytestmark = pytest.mark.extra


def test_a_budget_computes_no_attention_again() -> None:
    everything, little = (partition("native", "tiny", budget, tiny=True) for budget in (1.0, 0.3))
    assert little.kept_bytes < 0.6 * everything.kept_bytes
    assert little.tflop > everything.tflop
    assert little.attentions_again == everything.attentions_again == 0
