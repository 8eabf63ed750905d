from __future__ import annotations

import numpy as np
import pytest

from rerank_core.conversion.rounding import round_compensated, round_symmetric


def inputs():
    """Rows of 24 channels that mostly move in three directions, as activations do."""
    random = np.random.default_rng(0)
    return random.normal(size=(500, 3)) @ random.normal(size=(3, 24)) + 0.05 * random.normal(size=(500, 24))


@pytest.mark.parametrize("levels", [7.0, 63.0])
def test_compensated_rounding_changes_products_less(levels):
    rows, weight = inputs(), np.random.default_rng(1).normal(size=(24, 10)).astype(np.float32)
    errors = []
    for integers, scale in (
        round_symmetric(weight, levels, axis=0),
        round_compensated(weight, rows.T @ rows / len(rows), levels),
    ):
        assert integers.dtype == np.int8
        assert np.abs(integers.astype(int)).max() <= levels
        assert scale.shape == (1, 10)
        errors.append(np.square(rows @ (integers * scale - weight)).mean())
    assert errors[1] < errors[0] / 4


def test_more_channels_than_a_block_and_inputs_that_are_always_zero():
    weight = np.random.default_rng(2).normal(size=(150, 4)).astype(np.float32)
    weight[:, 0] = 0.0
    integers, scale = round_compensated(weight, np.zeros((150, 150)), 63.0)
    np.testing.assert_allclose(integers * scale, weight, atol=0.55 * np.abs(weight).max() / 63)
