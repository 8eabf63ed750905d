"""Statistics of chosen tensors of a graph over sample inputs, for quantisation."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rerank_core.inference.quiet import quiet_onnxruntime

Feeds = Mapping[str, NDArray[Any]]
"""Graph input name to array: one run of the graph."""


class Observed:
    """Running statistics of one tensor, read as rows of ``width`` channels."""

    def __init__(self, width: int) -> None:
        self._rows = 0
        self._products = np.zeros((width, width))
        self._row_peaks = 0.0
        self.lowest = 0.0
        """The smallest value, at most 0."""
        self.peaks: NDArray[np.float32] = np.zeros(width, np.float32)
        """The largest absolute value of each channel."""

    def add(self, values: NDArray[np.float32]) -> None:
        """Add the rows of one more tensor, [..., width]."""
        rows = values.reshape(-1, values.shape[-1])
        self._rows += len(rows)
        self._products += rows.T @ rows
        self._row_peaks += float(rows.max(axis=1).sum())
        self.lowest = min(self.lowest, float(rows.min()))
        self.peaks = np.maximum(self.peaks, np.abs(rows).max(axis=0))

    @property
    def moment(self) -> NDArray[np.float64]:
        """The mean of ``outer(row, row)``, [width, width]."""
        return self._products / self._rows

    @property
    def typical_peak(self) -> float:
        """The mean of the rows' largest values."""
        return self._row_peaks / self._rows


def observe(model: Any, feeds: Iterable[Feeds], names: Collection[str]) -> dict[str, Observed]:
    """Run an ONNX model (a ``ModelProto``) on ``feeds``; returns the statistics of the tensors ``names``.

    Padding counts like any other row: give unpadded inputs. Without inputs the result is empty.
    """
    import onnx

    onnxruntime = quiet_onnxruntime()

    wanted = sorted(names)
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    known = {output.name for output in copy.graph.output}
    copy.graph.output.extend(onnx.ValueInfoProto(name=name) for name in wanted if name not in known)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(copy.SerializeToString(), options, providers=["CPUExecutionProvider"])
    observed: dict[str, Observed] = {}
    for feed in feeds:
        for name, values in zip(wanted, session.run(wanted, dict(feed)), strict=True):
            if name not in observed:
                observed[name] = Observed(values.shape[-1])
            observed[name].add(values)
    return observed
