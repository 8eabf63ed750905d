"""Data sets of the library ir_datasets (https://ir-datasets.com)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rerank_core.errors import InvalidRequestError, RerankError
from rerank_core.evaluation.labelled import LabelledData, judged
from rerank_core.optional import optional


def read_ir_dataset(identifier: str) -> LabelledData:
    """A data set by its id.

    Raises:
        InvalidRequestError: when there is no such data set, it lacks a part, or it cannot be fetched or read.
        MissingDependencyError: when the library is not installed.
    """
    with optional("reading ir_datasets:ID", extra="ir-datasets"):
        import ir_datasets
    try:
        queries, documents, judgments = _ir_dataset_parts(ir_datasets.load, identifier)
    except (RerankError, LookupError, AttributeError, TypeError, NameError):  # ours, or a mistake in its code
        raise
    except Exception as error:  # a download that failed, files that are absent or damaged: each format has its own
        raise InvalidRequestError(
            f"ir_datasets cannot read {identifier!r}: {type(error).__name__}. It downloads data at the first use: "
            "check the network. Licensed files have to be put in place as https://ir-datasets.com says."
        ) from error
    return judged(identifier, queries, documents, judgments)


def _ir_dataset_parts(
    load: Callable[[str], Any], identifier: str
) -> tuple[dict[str, str], dict[str, str], dict[str, dict[str, int]]]:
    """Queries, documents and judgments."""
    try:
        dataset = load(identifier)
    except KeyError:
        raise InvalidRequestError(f"ir_datasets knows no {identifier!r}; see https://ir-datasets.com.") from None
    for part in ("queries", "docs", "qrels"):
        if not getattr(dataset, f"has_{part}")():
            raise InvalidRequestError(f"{identifier} of ir_datasets has no {part}; one of its subsets may have them.")
    judgments: dict[str, dict[str, int]] = {}
    for row in dataset.qrels_iter():
        judgments.setdefault(row.query_id, {})[row.doc_id] = row.relevance
    queries = {row.query_id: row.default_text() for row in dataset.queries_iter()}
    documents = {row.doc_id: row.default_text() for row in dataset.docs_iter()}
    return queries, documents, judgments
