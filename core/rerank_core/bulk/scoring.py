"""Scoring rows, many queries at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from rerank_core.bulk.columns import BadRowError, Columns, Row, Work, work_of
from rerank_core.reranker import Reranker
from rerank_core.results import RerankResult


@dataclass(frozen=True, slots=True, repr=False)
class Scored:
    """What became of some rows.

    Attributes:
        rows: the scored ones with their added columns, in their order.
        rejects: the others: source, row and reason.
        pairs: how many pairs were scored.
        tokens: how many tokens the model read.
    """

    rows: list[dict[str, Any]]
    rejects: list[dict[str, Any]]
    pairs: int
    tokens: int


class RerankBatch:
    """Scores batches of rows with one reranker, made once: in a loop, or as the class of Ray's ``map_batches``.

    Args:
        reranker: the reranker, or the options to make one with.
        columns: which columns are read, and what the added ones are called.
        options: the arguments of :class:`~rerank_core.Reranker`, where there is no ``reranker``.

    Raises:
        InvalidRequestError: when an option is wrong.
    """

    def __init__(self, reranker: Reranker | None = None, *, columns: Columns | None = None, **options: Any) -> None:
        self.columns = Columns() if columns is None else columns
        self.reranker = Reranker(**options) if reranker is None else reranker

    def __call__(self, batch: Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
        """A batch in columns, with the added ones. Where a row cannot be scored they are None, and ``reject`` says why.

        Raises:
            InvalidRequestError: when the batch has columns that would be written over.
            RerankError: when the model fails.
        """
        names = list(dict.fromkeys([*batch, self.columns.id]))
        rows = [
            Row("batch", number, dict(zip(batch, cells, strict=True)))
            for number, cells in enumerate(zip(*map(_plain, batch.values()), strict=True), 1)
        ]
        scored = self.score(rows)
        added = iter(scored.rows)
        reasons = {reject["row"]: reject["reason"] for reject in scored.rejects}
        nothing = dict.fromkeys([self.columns.id, *self.columns.added()])
        found = []
        for row in rows:
            reason = reasons.get(row.number)
            found.append({**nothing, **(row.values or {}), **(next(added) if reason is None else {}), "reject": reason})
        return {name: [each[name] for each in found] for name in (*names, *self.columns.added(), "reject")}

    def score(self, rows: Sequence[Row]) -> Scored:
        """Score rows. Pairs of one query that stand beside each other are ranked together.

        Raises:
            InvalidRequestError: when a row has columns that would be written over.
            RerankError: when the model fails.
        """
        works: list[tuple[Row, Work | None]] = []
        rejects: list[dict[str, Any]] = []
        for row in rows:
            try:
                works.append((row, work_of(row, self.columns)))
            except BadRowError as bad:
                works.append((row, None))
                rejects.append({"source": row.source, "row": row.number, "reason": str(bad)})
        groups = list(_groups(works))
        responses = self.reranker.rerank_many(
            [(group[0][1].query, [text for _, work in group for text in work.texts]) for group in groups]
        )
        scored: list[dict[str, Any]] = []
        pairs = tokens = 0
        for group, response in zip(groups, responses, strict=True):
            results = iter(sorted(response.results, key=lambda result: result.index))
            pairs, tokens = pairs + len(response.results), tokens + response.usage.total_tokens
            for row, work in group:
                own = [next(results) for _ in work.texts]
                cells = [self._cells(result, response.model) for result in own]
                values = dict(row.values or {})
                values.setdefault(self.columns.id, work.hashed())
                scored.append({**values, **(cells[0] if work.pair else _columns(cells))})
        return Scored(scored, rejects, pairs, tokens)

    def _cells(self, result: RerankResult, model: str) -> dict[str, Any]:
        window = None if result.window is None else [result.window.start, result.window.end]
        values = (
            result.relevance_score, result.logit, result.rank, result.truncated, window, result.tokens or None, model,
        )  # fmt: skip
        return dict(zip(self.columns.added(), values, strict=True))


def _groups(works: Sequence[tuple[Row, Work | None]]) -> Iterator[list[tuple[Row, Work]]]:
    """Rows to rank together: a row with candidates alone, pairs of one query that stand beside each other.

    A bad row between two pairs does not part them.
    """
    good = ((row, work) for row, work in works if work is not None)
    for query, rows in groupby(good, key=lambda each: each[1].shared_query):
        beside = list(rows)
        yield from ([each] for each in beside) if query is None else [beside]


def _columns(cells: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    return {name: [each[name] for each in cells] for name in cells[0]}


def _plain(values: Any) -> list[Any]:
    """A column as Python values, whether it is a list or an array."""
    plain: list[Any] = values.tolist() if hasattr(values, "tolist") else list(values)
    return [each.tolist() if hasattr(each, "tolist") else each for each in plain]
