"""A user's own search as the first stage."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from rerank_core import InvalidRequestError
from rerank_core.cli import evaluate as _evaluate_command  # noqa: F401  (adds the commands)
from rerank_core.cli.app import app
from rerank_core.evaluation import Evaluation, LabelledData, Plan, evaluate, load_data
from rerank_core.evaluation.retriever import search
from rerank_core.evaluation.scored import System
from rerank_core.evaluation.store import ScoreStore
from rerank_core.scoring import FakeScorer

TEXTS = {"d1": "Refunds take five days.", "d2": "Cats purr.", "d3": "Dogs bark."}
DATA = LabelledData("mine", {"q1": "money back"}, TEXTS, {"q1": {"d1": 1, "d2": 0}})


def found_by(*results, data=DATA, depth=10):
    return search(data, lambda _query: results, depth=depth, on_query=lambda: None)


def test_texts_are_documents_and_others_are_candidates_as_well():
    found = found_by("Cats purr.", "Birds sing.", "Refunds take five days.", "Cats purr.")
    assert found.ranking == {"q1": ["d2", "retrieved:0", "d1"]}
    assert found.documents == {"retrieved:0": "Birds sing."}
    assert found.scores is None
    evaluation = evaluate(DATA, {"fake": FakeScorer()}, Plan(retriever=lambda _: ["Birds sing.", TEXTS["d1"]]))
    assert evaluation.baseline.measures["MRR@10"] == {"q1": 0.5}
    assert evaluation.candidates == 2


def test_scores_are_kept_in_the_retrievers_order():
    found = found_by((TEXTS["d3"], np.float32(0.5)), [TEXTS["d1"], 2])
    assert found.ranking == {"q1": ["d3", "d1"]}
    assert found.scores == {"q1": {"d3": 0.5, "d1": 2.0}}
    assert found_by((TEXTS["d3"], 0.5), TEXTS["d1"]).scores is None  # ranks stand in where one has none


def test_of_documents_with_one_text_the_relevant_one_counts():
    data = LabelledData("mine", {"q": "query"}, {"a": "same", "b": "same"}, {"q": {"b": 1}})
    assert found_by("same", data=data).ranking == {"q": ["b"]}


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from([*TEXTS.values(), "other", "more"]), min_size=1, max_size=12), st.integers(1, 12))
def test_no_text_is_lost_or_doubled(results, depth):
    asked = [*results, TEXTS["d1"]] if set(results[:depth]) <= {"other", "more"} else results
    if set(asked[:depth]) <= {"other", "more"}:
        return
    found = found_by(*asked, depth=depth)
    texts = [{**TEXTS, **found.documents}[document] for document in found.ranking["q1"]]
    assert texts == list(dict.fromkeys(asked[:depth]))


@pytest.mark.parametrize("result", [3, None, ("text", "high"), ("text", float("nan")), ("text", 1, 2)])
def test_what_is_no_result(result):
    with pytest.raises(InvalidRequestError, match=r"expected texts or \(text, finite number\)"):
        found_by(result)


def test_texts_that_are_in_no_document_are_a_mistake():
    with pytest.raises(InvalidRequestError, match="none of the texts"):
        found_by("refunds take five days")


def test_a_retriever_that_fails_is_named_and_its_query_is_not_shown():
    def broken(query):
        raise RuntimeError(query)

    with pytest.raises(InvalidRequestError, match="broken raised RuntimeError for query 'q1'") as caught:
        evaluate(DATA, {}, Plan(retriever=broken))
    assert "money" not in str(caught.value)
    assert isinstance(caught.value.__cause__, RuntimeError)


@pytest.mark.parametrize("name", ["", "json", "json:", ":loads", "no_such_module:f", "json:no_such", "math:pi"])
def test_a_name_that_is_no_function(name):
    with pytest.raises(InvalidRequestError) as caught:
        evaluate(DATA, {}, Plan(retriever=name))
    assert caught.value.param == "retriever"


def test_bm25s_scores_count_in_fusion():
    # The second document is far behind the first by its score, but the next one by its rank.
    texts = {"a": "refund refund refund", "b": "a refund among many other words of no use", "c": "cats"}
    data = LabelledData("x", {"q": "refund"}, texts, {"q": {"a": 1}}, {"q": ["c", "b", "a"]})
    system = System("fused", FakeScorer(), ScoreStore(), 1.0)
    (fused,) = evaluate(data, [system], Plan(bm25=True)).rerankers
    assert fused.measures == evaluate(data, {}, Plan(bm25=True)).baseline.measures


def test_a_retriever_on_the_command_line(hand_written, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    documents = [text for text in load_data(hand_written).documents.values() if "purr" in text or "bark" in text]
    (tmp_path / "my_search_module.py").write_text(f"def find(query):\n    return {documents!r}\n")
    arguments = ["--retriever", "my_search_module:find", "-o", "found.json", "--cache", "s.db"]
    done = CliRunner().invoke(app, ["evaluate", str(hand_written), *arguments])
    assert done.exit_code == 0, done.output
    found = Evaluation.load("found.json")
    assert found.first_stage == "my_search_module:find, best 100"
    assert found.settings["retriever"] == "my_search_module:find"
    assert len(found.settings["retriever_sha256"]) == 64
    assert json.loads(found.to_json())["settings"]["retriever"] == "my_search_module:find"
