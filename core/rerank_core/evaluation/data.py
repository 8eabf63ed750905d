"""Labelled data: queries, documents and judgments, from the layouts people have them in.

- a folder in BEIR layout (https://github.com/beir-cellar/beir): ``corpus.jsonl``, ``queries.jsonl`` and
  ``qrels/test.tsv``;
- a JSONL file written by hand: ``{"query": str, "documents": [str, ...], "relevant": [positions]}`` a line, or
  ``"grades"`` with one grade for each document. Documents may be ``{"text": str, "score": float, "id": str}``, with the
  retriever's score and id; ``"relevant"`` may list ids, also of what was not found. The order is the retriever's;
- files as TREC has them: judgments (``query 0 document grade``), texts and queries;
- an ``ir_datasets`` id (https://ir-datasets.com), written ``ir_datasets:ID``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from rerank_core.errors import InvalidRequestError
from rerank_core.evaluation.hand_written import read_hand_written
from rerank_core.evaluation.ir_dataset import read_ir_dataset
from rerank_core.evaluation.labelled import LabelledData, judged
from rerank_core.evaluation.trec import read_qrels, read_texts
from rerank_core.files import accessing

BEIR_FILES = {"queries": "queries.jsonl", "texts": "corpus.jsonl", "qrels": "qrels/test.tsv"}
"""What a folder in BEIR layout has, by the name of the argument that may take its place."""

_IR_DATASETS = "ir_datasets:"


def load_data(
    source: str | Path | None = None,
    *,
    queries: Path | None = None,
    texts: Path | None = None,
    qrels: Path | None = None,
    name: str | None = None,
) -> LabelledData:
    """Read labelled data.

    Files may begin with a byte order mark.

    Args:
        source: a BEIR folder, a JSONL file or a pipe with one, or ``ir_datasets:ID``; None where the three files say it
            all. The other arguments are for folders, or for no source.
        queries: queries in place of the source's own: JSONL with ``_id`` and ``text``, or ``id<TAB>text`` lines.
        texts: documents in place of the source's own, in the same formats.
        qrels: judgments in place of the source's own: TREC's four columns, or BEIR's three with a header.
        name: what the data is called; None for the source's own name. Where it is that of a public set (``msmarco``),
            the report says which models were trained on it.

    Raises:
        InvalidRequestError: when something is missing or malformed, or said twice and differently; the message has file
            and line. Also when ``name`` is blank, or ``ir_datasets`` cannot fetch or read what is asked for.
        MissingDependencyError: when ``ir_datasets`` is asked for and not installed.
    """
    found = _read(source, {"queries": queries, "texts": texts, "qrels": qrels})
    if name is None:
        return found
    if not name.strip():
        raise InvalidRequestError("the data's name is blank; give one, or leave it out.", param="name")
    return replace(found, name=name.strip())


def _read(source: str | Path | None, given: Mapping[str, Path | None]) -> LabelledData:
    """The data under the source's own name."""
    if source is not None and str(source).startswith(_IR_DATASETS):
        _refuse(given, "a data set of ir_datasets")
        return read_ir_dataset(str(source).removeprefix(_IR_DATASETS))
    path = None if source is None else Path(source)
    if path is not None and _is_file(path):
        _refuse(given, "a JSONL file")
        return read_hand_written(path)
    if path is not None and not _is_folder(path):
        raise InvalidRequestError(f"there is no {path}: expected a BEIR folder, a JSONL file or ir_datasets:ID.")
    files = {name: given[name] or _inside(path, inside) for name, inside in BEIR_FILES.items()}
    missing = [f"--{name}" for name, file in files.items() if file is None or not _is_file(file)]
    if missing:
        where = f"{path} is no BEIR folder" if path is not None else "no data was named"
        raise InvalidRequestError(f"{where}, and these files are missing: {', '.join(missing)}.")
    judgments = read_qrels(_known(files["qrels"]))
    found = read_texts(_known(files["queries"]))
    name = path.name if path is not None else _known(files["qrels"]).stem
    return judged(name, found, read_texts(_known(files["texts"])), judgments)


def _refuse(given: Mapping[str, Path | None], source: str) -> None:
    """What would be ignored is a mistake."""
    for name, file in given.items():
        if file is not None:
            raise InvalidRequestError(f"{source} has its own {name}; leave --{name} out.", param=name)


def _is_file(path: Path) -> bool:
    """Whether there are lines to read: in a file, or from a pipe."""
    with accessing(path):
        return path.exists() and not path.is_dir()


def _is_folder(path: Path) -> bool:
    with accessing(path):
        return path.is_dir()


def _inside(folder: Path | None, name: str) -> Path | None:
    return None if folder is None else folder / name


def _known(file: Path | None) -> Path:
    if file is None:
        raise InvalidRequestError("a file is missing.")
    return file
