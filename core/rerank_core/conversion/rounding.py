"""Rounding a matrix of weights to few levels: plainly, or such that the rounding errors cancel on sample inputs.

Source of ``round_compensated``: GPTQ, Frantar et al. 2023, arXiv 2210.17323, with one scale per output column and
its rows in the order of their inputs' energy.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_SHRINKING = np.arange(1.0, 0.59, -0.05)  # shares of a column's largest weight that the scale search tries
_DAMPING = 0.01  # of the mean energy; keeps errors out of directions that the sample inputs hardly have
_BLOCK = 64


def round_symmetric(
    values: NDArray[np.float32], levels: float, axis: int
) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Round ``values`` to ``-levels..levels`` with one scale per slice; returns the integers and the scales."""
    scale = np.abs(values).max(axis=axis, keepdims=True) / levels
    scale[scale == 0] = 1.0
    # Clipped, because a scale too small for float32's precision would let the largest value overflow.
    return np.clip(np.round(values / scale), -levels, levels).astype(np.int8), scale.astype(np.float32)


def round_compensated(
    weight: NDArray[np.float32], moment: NDArray[np.float64], levels: float
) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Round ``weight`` [inputs, outputs] with one scale per column, so that ``inputs @ weight`` changes least.

    Args:
        weight: the matrix; its columns are independent of each other.
        moment: the mean of ``outer(row, row)`` over the sample inputs, [inputs, inputs].
        levels: the largest integer.

    Returns:
        The integers, and the scales [1, outputs].
    """
    energy = np.diag(moment)
    scale = _clipped_scale(weight, energy, levels)
    order = np.argsort(-energy, kind="stable")
    damped = moment[np.ix_(order, order)] + np.eye(len(order)) * max(_DAMPING * float(energy.mean()), 1e-9)
    spread = np.asarray(np.linalg.cholesky(np.linalg.inv(damped)).T, np.float64)
    integers = np.zeros(weight.shape, np.int8)
    integers[order] = _round_rows(weight[order].astype(np.float64), spread, scale[0], levels)
    return integers, scale


def _clipped_scale(weight: NDArray[np.float32], energy: NDArray[np.float64], levels: float) -> NDArray[np.float32]:
    """Per column, the scale with the least rounding and clipping error, rows weighted by their inputs' energy."""
    largest = np.abs(weight).max(axis=0, keepdims=True) / levels
    largest[largest == 0] = 1.0
    best = largest.copy()
    least = np.full((1, weight.shape[1]), np.inf)
    for share in _SHRINKING:
        scale = largest * np.float32(share)
        rounded = np.clip(np.round(weight / scale), -levels, levels) * scale
        error = energy @ np.square(rounded - weight)
        best = np.where(error < least, scale, best)
        least = np.minimum(error, least)
    return np.asarray(best, np.float32)


def _round_rows(
    rows: NDArray[np.float64], spread: NDArray[np.float64], scale: NDArray[np.float32], levels: float
) -> NDArray[np.int8]:
    """Round row by row; later rows compensate each rounding error, as far as ``spread`` correlates them."""
    integers = np.zeros(rows.shape, np.int8)
    for start in range(0, len(rows), _BLOCK):
        end = min(start + _BLOCK, len(rows))
        errors = np.zeros((end - start, rows.shape[1]))
        for row in range(start, end):
            rounded = np.clip(np.round(rows[row] / scale), -levels, levels)
            integers[row] = rounded
            errors[row - start] = (rows[row] - rounded * scale) / spread[row, row]
            rows[row + 1 : end] -= np.outer(spread[row, row + 1 : end], errors[row - start])
        rows[end:] -= spread[start:end, end:].T @ errors
    return integers
