"""Runs notebooks in fresh kernels and stores their outputs: ``python notebooks/run.py [NOTEBOOK ...]``.

Kernels reach no address but this machine's own, and read no settings of whoever runs them. A cell that begins with a
line of :data:`WRITTEN_HERE` has files of ``corpus`` in it, so that a notebook runs without any file beside it.
"""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).resolve().parent
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))

OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "HAYSTACK_TELEMETRY_ENABLED": "False",
    "ANONYMIZED_TELEMETRY": "False",  # Chroma's
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "LANCEDB_LOG": "error",  # LanceDB warns that a database is new
    "NO_COLOR": "1",
}

TEXTS_HERE = "# The texts of notebooks/corpus, written here by notebooks/run.py."
AGREEMENT_HERE = "# The agreement of notebooks/corpus, written here by notebooks/run.py."

# Runs in the kernel before the first cell.
STARTUP = """
import logging, sys, warnings
logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)  # it tells when it builds its cache
logging.getLogger("llama_index.vector_stores").setLevel(logging.ERROR)  # LanceDB warns that a database is new
warnings.filterwarnings("ignore", message="IProgress not found")  # there are no progress bars on a page
def only_here(event, arguments):
    if event == "socket.connect":
        address = arguments[1]
        if isinstance(address, tuple) and address[0] not in ("127.0.0.1", "::1", "localhost"):
            raise ConnectionError(f"a notebook tried to reach {address[0]}")
sys.addaudithook(only_here)
del logging, sys, warnings, only_here
"""


def texts() -> str:
    """The cell with the texts: passages with name, title and text, and questions with the names that answer them."""
    corpus = FOLDER / "corpus"
    passages, questions = (
        [json.loads(line) for line in (corpus / name).read_text(encoding="utf-8").splitlines()]
        for name in ("corpus.jsonl", "queries.jsonl")
    )
    answers: dict[str, list[str]] = {}
    for line in (corpus / "qrels" / "test.tsv").read_text(encoding="utf-8").splitlines()[1:]:
        question, passage, _ = line.split("\t")
        answers.setdefault(question, []).append(passage)
    lines = [TEXTS_HERE, "TEXTS = ["]
    lines += [f"    ({', '.join(_literal(row[field]) for field in ('_id', 'title', 'text'))})," for row in passages]
    lines += ["]", "QUESTIONS = {"]
    lines += [f"    {_literal(row['text'])}: {_literal(answers[row['_id']])}," for row in questions]
    return "\n".join([*lines, "}", 'print(len(TEXTS), "texts,", len(QUESTIONS), "questions")'])


def agreement() -> str:
    """The cell with the rental agreement, which is too long for a model to read at once."""
    text = (FOLDER / "corpus" / "agreement.md").read_text(encoding="utf-8")
    return f'{AGREEMENT_HERE}\nAGREEMENT = """\\\n{text}"""'


WRITTEN_HERE: dict[str, Callable[[], str]] = {TEXTS_HERE: texts, AGREEMENT_HERE: agreement}


def _literal(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def execute(file: Path, folder: Path = FOLDER) -> nbformat.NotebookNode:
    """The notebook with new outputs, and nothing that differs from run to run or machine to machine.

    Args:
        file: the notebook; it is not written.
        folder: where its kernel runs.

    Raises:
        nbclient.exceptions.CellExecutionError: when a cell fails.
    """
    notebook: nbformat.NotebookNode = nbformat.read(file, as_version=4)
    for cell in notebook.cells:
        if written := WRITTEN_HERE.get(cell.source.partition("\n")[0]):
            cell.source = written()
    with tempfile.TemporaryDirectory() as settings:
        startup = Path(settings, "profile_default", "startup")
        startup.mkdir(parents=True)
        (startup / "first.py").write_text(STARTUP, encoding="utf-8")
        environment = {name: value for name, value in os.environ.items() if not name.startswith("RERANK_")}
        client = NotebookClient(
            notebook,
            # It would warn that it listens on loopback without encryption, which is fine for the minute it lives.
            extra_arguments=["--IPKernelApp.log_level=ERROR"],
            timeout=600,  # seconds per cell, for one that hangs
            resources={"metadata": {"path": str(folder)}},
            record_timing=False,
            coalesce_streams=True,
        )
        client.execute(env=environment | OFFLINE | {"IPYTHONDIR": settings})
    notebook.metadata = nbformat.from_dict(
        {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        }
    )
    for cell in notebook.cells:
        cell.metadata = nbformat.from_dict({})
        for output in cell.get("outputs", []):
            if output.output_type == "stream":
                output.text = re.sub(r"(127\.0\.0\.1):\d+", r"\1:PORT", output.text)
    return notebook


if __name__ == "__main__":
    for notebook_file in [Path(name) for name in sys.argv[1:]] or NOTEBOOKS:
        nbformat.write(execute(notebook_file), notebook_file)
        print(notebook_file.name)
