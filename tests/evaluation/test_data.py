from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import pytrec_eval
from hypothesis import given, settings
from hypothesis import strategies as st

from rerank_core import InvalidRequestError
from rerank_core.evaluation import Evaluation, LabelledData, Plan, evaluate, load_data
from rerank_core.evaluation.candidates import bm25, digest, given_by_bm25, judged_pool, of_run
from rerank_core.evaluation.candidates import given as given_documents
from rerank_core.evaluation.trec import read_qrels, read_run


def test_a_beir_folder(beir):
    data = load_data(beir)
    assert (data.name, len(data.queries), len(data.documents)) == ("help-desk", 3, 6)
    assert data.judgments["q1"] == {"d1": 2, "d6": 0}
    assert "q9" not in data.queries  # nobody judged it


def test_a_title_stands_before_its_text_once(beir):
    rows = [{"_id": "a", "title": "Cats", "text": "purr"}, {"_id": "b", "title": "Dogs", "text": "Dogs bark"}]
    (beir / "corpus.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert load_data(beir).documents == {"a": "Cats purr", "b": "Dogs bark"}


def test_a_file_written_by_hand(hand_written):
    data = load_data(hand_written)
    assert len(data.queries) == 5
    assert data.judgments["q1"] == {"q1d0": 1, "q1d1": 0, "q1d2": 0}
    assert data.judgments["q2"] == {"q2d0": 0, "q2d1": 2}
    assert data.candidates["q4"] == ["q4d0", "q4d1"]


def test_files_as_trec_has_them(beir, tmp_path):
    qrels, queries, texts = tmp_path / "qrels.trec", tmp_path / "queries.tsv", tmp_path / "texts.tsv"
    qrels.write_text("q1 0 d1 1\nq1 0 d2 0\n")
    queries.write_text("q1\tWhen do I get my money back?\n")
    texts.write_text("d1\tRefunds.\nd2\tParcels.\n")
    data = load_data(queries=queries, texts=texts, qrels=qrels)
    assert (data.name, data.judgments, data.documents) == (
        "qrels", {"q1": {"d1": 1, "d2": 0}}, {"d1": "Refunds.", "d2": "Parcels."},
    )  # fmt: skip
    assert load_data(beir, qrels=qrels).judgments == data.judgments


def test_the_checksum_changes_with_anything_that_changes_a_figure(beir):
    before = load_data(beir).checksum
    assert load_data(beir).checksum == before
    (beir / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td1\t1\n")
    assert load_data(beir).checksum != before


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "JSON object"),
        ("[]", "JSON object"),
        ('{"query": ' + "[" * 100_000, "JSON object"),
        ('{"query": " ", "documents": ["a"], "relevant": []}', "query"),
        ('{"query": "q", "documents": [], "relevant": []}', "documents"),
        ('{"query": "q", "documents": "a", "relevant": []}', "documents"),
        ('{"query": "q", "documents": 5, "relevant": []}', "documents"),
        ('{"query": "q", "documents": ["a"], "relevant": [1]}', "from 0 to 0"),
        ('{"query": "q", "documents": ["a"], "relevant": [true]}', "relevant"),
        ('{"query": "q", "documents": ["a"], "grades": [1, 2]}', "grades"),
        ('{"query": "q", "documents": ["a"], "grades": [true]}', "grades"),
        ('{"query": "q", "documents": ["a"], "grades": [4611686018427387904]}', "from -1000 to 1000"),
        ('{"query": "q", "documents": ["a"], "grades": [-1001]}', "from -1000 to 1000"),
        ('{"query": "q", "documents": ["a"], "grades": [1], "relevant": [0]}', "both"),
        ('{"query": "q", "documents": ["a"]}', "relevant"),
    ],
)
def test_a_wrong_line_is_named(tmp_path, line, message):
    file = tmp_path / "mine.jsonl"
    file.write_text('{"query": "q", "documents": ["a"], "relevant": [0]}\n' + line)
    with pytest.raises(InvalidRequestError, match=message) as caught:
        load_data(file)
    assert "mine.jsonl:2" in str(caught.value)


@pytest.mark.parametrize("content", ["", "\n\n"])
def test_a_file_without_queries(tmp_path, content):
    file = tmp_path / "mine.jsonl"
    file.write_text(content)
    with pytest.raises(InvalidRequestError, match="no queries"):
        load_data(file)


def test_what_is_not_there(tmp_path):
    with pytest.raises(InvalidRequestError, match="there is no"):
        load_data(tmp_path / "nothing")
    with pytest.raises(InvalidRequestError, match="--queries, --texts, --qrels"):
        load_data(tmp_path)
    with pytest.raises(InvalidRequestError, match="no data was named"):
        load_data()


@pytest.mark.skipif(not Path("/dev/fd").is_dir(), reason="needs descriptors as files")
def test_pipes_are_read_like_files(beir, hand_written):
    def pipe(file):
        reading, writing = os.pipe()
        os.write(writing, file.read_bytes())
        os.close(writing)
        return Path(f"/dev/fd/{reading}")

    assert load_data(pipe(hand_written)).checksum == load_data(hand_written).checksum
    files = {"queries": "queries.jsonl", "texts": "corpus.jsonl", "qrels": "qrels/test.tsv"}
    piped = load_data(**{name: pipe(beir / file) for name, file in files.items()})
    assert piped.checksum == load_data(beir).checksum


def test_ids_that_do_not_agree(beir):
    (beir / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nother\td1\t1\n")
    with pytest.raises(InvalidRequestError, match="do the ids"):
        load_data(beir)


@pytest.mark.parametrize(
    "line", ["q1 d1", "q1 0 d1 high", "a b c d e", "q1 0 d2 1001", "q1\td2\t-1001", f"q1 0 d2 {10**20}"]
)
def test_wrong_judgments(tmp_path, line):
    file = tmp_path / "qrels"
    file.write_text(f"q1 0 d1 1\n{line}\n")
    with pytest.raises(InvalidRequestError, match="qrels:2"):
        read_qrels(file)


@pytest.mark.parametrize(
    ("line", "document"),
    [
        ('q1\t"d 1"\t1', "d 1"),  # BEIR's files are read as csv
        ('q1 0 "d1" 1', '"d1"'),
        ('q1\t0\t"d1"\t1', '"d1"'),
        ('q1 0 d1" 1', 'd1"'),
    ],
)
def test_quotes_belong_to_trecs_ids_and_not_to_beirs(tmp_path, line, document):
    (tmp_path / "qrels").write_text(line)
    assert read_qrels(tmp_path / "qrels") == {"q1": {document: 1}}


def test_grades_below_zero_are_read_and_measured():
    data = LabelledData("mine", {"q": "cats"}, {"a": "cats", "b": "cats purr"}, {"q": {"a": -1000, "b": 1000}})
    assert evaluate(data, {}).baseline.mean("Recall@10") == 1.0


@pytest.mark.parametrize(
    ("file", "lines"),
    [
        ("corpus.jsonl", ['{"_id": "d1", "text": "Refunds."}', '{"_id": "d1", "text": "Parcels."}']),
        ("corpus.jsonl", ['{"_id": "d1", "text": "b"}', '{"_id": "d1", "title": "a", "text": "b"}']),
        ("queries.jsonl", ['{"_id": "1", "text": "when"}', '{"_id": 1, "text": "where"}']),
        ("queries.jsonl", ["q1\twhen", "q1\twhere"]),
        ("qrels/test.tsv", ["q1\td1\t1", "q1\td1\t0"]),
        ("qrels/test.tsv", ["q1 0 d1 1", "q1 0 d1 2"]),
    ],
)
def test_what_is_said_twice_must_be_the_same(beir, file, lines):
    (beir / file).write_text("\n".join([lines[0], *lines]))
    with pytest.raises(InvalidRequestError, match=rf"{Path(file).name}:3: .*leave one") as caught:
        load_data(beir)
    assert "where" not in str(caught.value)
    assert "Parcels" not in str(caught.value)


def test_the_same_line_twice_does_no_harm(beir):
    once = load_data(beir).checksum
    for file in (beir / "corpus.jsonl", beir / "queries.jsonl", beir / "qrels" / "test.tsv"):
        file.write_text(file.read_text() + "\n" + file.read_text())
    assert load_data(beir).checksum == once


@pytest.mark.parametrize("title", ["5", "0", "false", "[]", '{"a": 1}'])
def test_a_title_is_a_text(beir, title):
    (beir / "corpus.jsonl").write_text(f'{{"_id": "d1", "text": "x"}}\n{{"_id": "d2", "title": {title}, "text": "x"}}')
    with pytest.raises(InvalidRequestError, match=r"corpus\.jsonl:2: 'title'"):
        load_data(beir)


def test_a_document_may_have_no_title(beir):
    (beir / "corpus.jsonl").write_text('{"_id": "a", "title": null, "text": "x"}\n{"_id": "b", "text": "x"}')
    assert load_data(beir).documents == {"a": "x", "b": "x"}


def test_a_run_and_its_ties(tmp_path, beir):
    run = tmp_path / "run.trec"
    run.write_text("q1 Q0 d1 1 0.5 x\nq1 Q0 d6 2 0.5 x\nq1 Q0 nowhere 3 0.4 x\nq2 Q0 d3 1 2 x\n")
    assert read_run(run).scores["q1"] == {"d1": 0.5, "d6": 0.5, "nowhere": 0.4}
    ranking, _ = of_run(load_data(beir), read_run(run), depth=10)
    assert ranking == {"q1": ["d6", "d1"], "q2": ["d3"], "q3": []}  # equal scores by id, the greater first


@pytest.mark.parametrize("content", ["q1 Q0 d1\n", "q1 Q0 d1 1 high x\n", "q1 Q0 d1 1 nan x\n"])
def test_a_wrong_run(tmp_path, content):
    run = tmp_path / "run.trec"
    run.write_text(content)
    with pytest.raises(InvalidRequestError, match=r"run\.trec:1"):
        read_run(run)


def test_a_run_of_something_else(tmp_path, beir):
    run = tmp_path / "run.trec"
    run.write_text("other Q0 d1 1 0.5 x\n")
    with pytest.raises(InvalidRequestError, match="any of the 3"):
        of_run(load_data(beir), read_run(run), depth=10)
    run.write_text("q1 Q0 other 1 0.5 x\n")
    with pytest.raises(InvalidRequestError, match=r"none of its results .* has a text"):
        of_run(load_data(beir), read_run(run), depth=10)


def test_a_document_has_one_score_in_a_run(tmp_path):
    run = tmp_path / "run.trec"
    run.write_text("q1 Q0 d1 1 0.5 x\nq1 Q0 d1 2 0.5 x\n")
    assert read_run(run).scores == {"q1": {"d1": 0.5}}
    run.write_text("q1 Q0 d1 1 0.5 x\nq2 Q0 d1 1 0.4 x\nq1 Q0 d1 2 0.4 x\n")
    with pytest.raises(InvalidRequestError, match=r"run\.trec:3: .*'d1' for query 'q1'"):
        read_run(run)


def test_bm25_finds_words_and_their_other_forms(beir):
    ranking, scores = bm25(load_data(beir), depth=2)
    assert {query: list(found) for query, found in scores.items()} == ranking
    assert all(list(found.values()) == sorted(found.values(), reverse=True) for found in scores.values())
    assert ranking["q3"][0] == "d5"
    assert ranking["q2"] == []  # no word in common: no candidate
    assert all(len(documents) <= 2 for documents in ranking.values())


def test_the_judged_pool_is_all_that_was_judged(beir):
    pool, _ = judged_pool(load_data(beir))
    assert {query: set(documents) for query, documents in pool.items()} == {
        "q1": {"d1", "d6"}, "q2": {"d3"}, "q3": {"d5", "d2"},
    }  # fmt: skip
    assert pool["q3"][0] == "d5"


def test_documents_without_words_stand_in_an_order_that_means_nothing():
    names = [f"d{number}" for number in range(9)]
    texts, grades = dict.fromkeys(names, "a 7"), dict.fromkeys(names, 1)
    data = LabelledData("mine", {"q": "cats"}, texts, {"q": grades}, {"q": names})
    expected = {"q": sorted(names, key=digest)}
    assert judged_pool(data).ranking == given_by_bm25(data, depth=9).ranking == expected
    assert given_documents(data, depth=9).ranking == {"q": names}
    assert evaluate(data, {}, Plan(bm25=True)).baseline.mean("P@1") == 1.0
    with pytest.raises(InvalidRequestError, match="mine: BM25 finds nothing: the documents have no words"):
        bm25(data, depth=9)


def test_documents_that_come_with_the_queries_stand_in_their_order(hand_written):
    data = load_data(hand_written)
    assert given_documents(data, depth=100) == (data.candidates, None)
    assert all(len(documents) == 1 for documents in given_documents(data, depth=1).ranking.values())
    assert evaluate(data, {}).first_stage == "given order, best 100"


def test_depth_and_language_hold_for_given_documents_in_bm25s_order(hand_written):
    data = load_data(hand_written)
    found = evaluate(data, {}, Plan(depth=1, bm25=True))
    assert (found.candidates, found.first_stage) == (1.0, "given documents in BM25's order, best 1")
    assert all(len(documents) == 1 for documents in given_by_bm25(data, depth=1).ranking.values())
    with pytest.raises(InvalidRequestError, match="klingon"):
        evaluate(data, {}, Plan(language="klingon", bm25=True))


@pytest.mark.parametrize("name", ["queries", "texts", "qrels"])
@pytest.mark.parametrize("source", ["file", "ir_datasets:any"])
def test_files_that_would_be_ignored_are_refused(hand_written, tmp_path, source, name):
    with pytest.raises(InvalidRequestError, match=f"leave --{name} out"):
        load_data(hand_written if source == "file" else source, **{name: tmp_path / "other"})


def test_files_with_a_byte_order_mark(beir, hand_written):
    plain = [load_data(source).checksum for source in (beir, hand_written)]
    (beir / "qrels" / "test.tsv").write_text("q1 0 d1 1\n")
    without = load_data(beir)
    for file in (beir / "corpus.jsonl", beir / "queries.jsonl", beir / "qrels" / "test.tsv", hand_written):
        file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    assert load_data(beir).judgments == without.judgments == {"q1": {"d1": 1}}
    assert load_data(hand_written).checksum == plain[1]


def test_means_are_over_the_queries():
    queries, documents = {"q1": "cats purr"}, {"d1": "Cats purr.", "d2": "Dogs bark."}
    judgments = {"q1": {"d1": 1}, "other": {"d2": 1}}
    data = LabelledData("mine", queries, documents, judgments, {"q1": ["d1", "d2"], "other": ["d2"]})
    assert (data.judgments, data.candidates) == ({"q1": {"d1": 1}}, {"q1": ["d1", "d2"]})
    assert evaluate(data, {}).baseline.mean() == 1.0
    one_without = LabelledData(
        "mine", queries | {"q2": "dogs"}, documents, judgments | {"q2": {"d2": 1}}, {"q1": ["d1"]}
    )
    assert given_documents(one_without, depth=9).ranking == {"q1": ["d1"], "q2": []}


@pytest.mark.parametrize(
    ("queries", "judgments", "candidates", "message"),
    [
        ({}, {}, {}, "no queries"),
        ({"q1": "a", "q2": "b"}, {"q1": {"d1": 1}}, {}, "1 of 2 queries have no judgments, 'q2'"),
        ({"q1": "a"}, {"q1": {}}, {}, "no judgments"),
        ({"q1": "a"}, {"q1": {"d1": 1}}, {"q1": ["d1", "d7"]}, "1 candidates have no text"),
    ],
)
def test_data_that_would_give_wrong_means(queries, judgments, candidates, message):
    with pytest.raises(InvalidRequestError, match=message):
        LabelledData("mine", queries, {"d1": "a"}, judgments, candidates)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"queries": {"q1": " "}}, "query 'q1' is blank"),
        ({"queries": {"q1": None}}, "queries: 'q1' has a text of type NoneType"),
        ({"queries": {1: "cats"}, "judgments": {1: {"d1": 1}}}, "queries: 1 is no id"),
        ({"documents": {"d1": None}}, "documents: 'd1' has a text of type NoneType"),
        ({"documents": {1: "cats"}}, "documents: 1 is no id"),
        ({"documents": {"d\ud800": "cats"}}, "is no id"),
        ({"documents": {"d\0": "cats"}}, "is no id"),
        ({"judgments": {"q1": {1: 1}}}, "1, judged for query 'q1', is no id"),
        ({"judgments": {"q1": {"d1": 1.0}}}, "the grade of 'd1' for query 'q1'"),
        ({"judgments": {"q1": {"d1": True}}}, "the grade of 'd1' for query 'q1'"),
        ({"judgments": {"q1": {"d1": 1001}}}, "from -1000 to 1000"),
        ({"judgments": {"q1": {"d1": 1 << 62}}}, "from -1000 to 1000"),
    ],
)
def test_data_made_in_python_is_checked(change, message):
    parts = {"queries": {"q1": "cats"}, "documents": {"d1": "Cats purr."}, "judgments": {"q1": {"d1": 1}}}
    with pytest.raises(InvalidRequestError, match=message) as caught:
        LabelledData("mine", **{**parts, **change})
    assert "Cats purr" not in str(caught.value)


@pytest.mark.parametrize(("name", "most"), [("depth", 1_000_000), ("relevant_grade", 1000)])
def test_numbers_that_trec_eval_cannot_take(beir, name, most):
    for value in (most + 1, 10**22):
        with pytest.raises(InvalidRequestError, match=f"{name} can be at most {most}"):
            Plan(**{name: value})
    assert evaluate(load_data(beir), {}, Plan(**{name: most})).baseline.measures


def test_a_language_nobody_stems(beir):
    with pytest.raises(InvalidRequestError, match="no stemmer for 'klingon'"):
        bm25(load_data(beir), depth=1, language="klingon")


@given(st.text(max_size=300))
def test_no_line_breaks_a_reader(tmp_path_factory, line):
    file = tmp_path_factory.mktemp("lines") / "file"
    file.write_text(line, encoding="utf-8", errors="replace")
    for read in (load_data, read_qrels, read_run):
        with contextlib.suppress(InvalidRequestError):  # and nothing else
            read(file)


def test_an_ir_dataset():
    """A data set registered the way the library's users do, read in a process of its own."""
    code = """
import ir_datasets, pathlib, sys, tempfile
from rerank_core.evaluation import load_data
folder = pathlib.Path(tempfile.mkdtemp())
(folder / "docs.tsv").write_text("d1\\tCats purr.\\nd2\\tDogs bark.\\n")
(folder / "queries.tsv").write_text("q1\\tfeline pets\\n")
(folder / "qrels").write_text("q1 0 d1 1\\n")
made = ir_datasets.create_dataset(
    docs_tsv=str(folder / "docs.tsv"), queries_tsv=str(folder / "queries.tsv"), qrels_trec=str(folder / "qrels")
)
ir_datasets.registry.register("mine", made)
data = load_data("ir_datasets:mine")
print(dict(data.queries), dict(data.documents), dict(data.judgments))
"""
    pytest.importorskip("ir_datasets")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "{'q1': 'feline pets'} {'d1': 'Cats purr.', 'd2': 'Dogs bark.'} {'q1': {'d1': 1}}"


class _Row:
    query_id, doc_id, relevance = "q1", "d1", 1

    def default_text(self):
        return "cats"


class _Unreadable:
    """A data set of ir_datasets whose documents cannot be had."""

    def __init__(self, error):
        self.error = error

    def __getattr__(self, name):
        return (lambda: True) if name.startswith("has_") else (lambda: [_Row()])

    def docs_iter(self):
        yield _Row()
        raise self.error


@pytest.mark.parametrize("error", [RuntimeError("offline"), FileNotFoundError("licensed"), ConnectionError("reset")])
def test_an_ir_dataset_that_cannot_be_had(monkeypatch, error):
    ir_datasets = pytest.importorskip("ir_datasets")

    def fail(_):
        raise error

    for load in (fail, lambda _: _Unreadable(error)):
        monkeypatch.setattr(ir_datasets, "load", load)
        with pytest.raises(InvalidRequestError, match=f"'mine': {type(error).__name__}.*check the network") as caught:
            load_data("ir_datasets:mine")
        assert caught.value.__cause__ is error


@pytest.mark.parametrize("error", [KeyError("x"), AttributeError("x")])
def test_a_mistake_in_an_ir_dataset_is_not_hidden(monkeypatch, error):
    monkeypatch.setattr(pytest.importorskip("ir_datasets"), "load", lambda _: _Unreadable(error))
    with pytest.raises(type(error)):
        load_data("ir_datasets:mine")


@pytest.mark.parametrize("relevant", [0, 1])
def test_bm25_does_not_know_the_order_in_a_file(tmp_path, relevant):
    """BM25 finds nothing here, and must not be right because the answer was written down first."""
    texts = ["Cats purr.", "Dogs bark."]
    rows = [{"query": f"refunds {i}", "documents": texts, "relevant": [relevant]} for i in range(40)]
    (tmp_path / "mine.jsonl").write_text("\n".join(map(json.dumps, rows)))
    data = load_data(tmp_path / "mine.jsonl")
    for plan in (Plan(bm25=True), Plan(pool=True)):
        assert 0.25 < evaluate(data, {}, plan).baseline.mean("P@1") < 0.75


@settings(deadline=None)
@given(
    st.lists(st.sampled_from([0.5, 0.50000001, 0.25, 1e30, -2.0]), min_size=1, max_size=8),
    st.randoms(use_true_random=False),
)
def test_a_run_is_read_as_trec_eval_reads_it(tmp_path_factory, scores, generator):
    names = [f"d{i}" for i in range(len(scores))]
    generator.shuffle(names)
    grades = {name: generator.randrange(3) for name in names} | {"elsewhere": 1}
    file = tmp_path_factory.mktemp("run") / "run.trec"
    file.write_text("".join(f"q Q0 {name} 1 {score!r} x\n" for name, score in zip(names, scores, strict=True)))
    data = LabelledData("mine", {"q": "cats"}, dict.fromkeys(grades, "cats purr"), {"q": grades})
    found = evaluate(data, {}, Plan(run=str(file))).baseline.measures
    judge = pytrec_eval.RelevanceEvaluator({"q": grades}, {"ndcg_cut_10", "P_1", "map", "recip_rank"})
    wanted = judge.evaluate({"q": dict(zip(names, scores, strict=True))})["q"]
    for ours, theirs in {"nDCG@10": "ndcg_cut_10", "P@1": "P_1", "MAP": "map", "MRR@10": "recip_rank"}.items():
        assert found[ours]["q"] == pytest.approx(wanted[theirs], abs=1e-6)


def test_what_has_no_text_is_left_out_and_said(beir, tmp_path):
    run = tmp_path / "run.trec"
    run.write_text("q1 Q0 d1 1 2.0 x\nq1 Q0 gone 2 1.0 x\nother Q0 gone 1 1.0 x\n")
    with (beir / "qrels" / "test.tsv").open("a") as qrels:
        qrels.write("\nq77\td1\t1\n")
    found = evaluate(load_data(beir), {}, Plan(run=run))
    assert found.left_out[:2] == (
        "1 judged query without a text: left out; trec_eval -c counts it as 0.",
        "1 of 2 results in run.trec without a text: left out.",
    )
    assert found.settings["run"] == "run.trec"
    assert len(found.settings["run_sha256"]) == 64
    assert evaluate(load_data(beir), {}).settings["run"] is None
    with (beir / "qrels" / "test.tsv").open("a") as qrels:
        qrels.write("q1\tgone\t1\n")
    pool = evaluate(load_data(beir), {}, Plan(pool=True))
    assert pool.left_out[1:2] == ("1 of 6 judgments without a text: left out.",)


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_a_file_in_another_encoding(beir, encoding):
    file = beir / "qrels" / "test.tsv"
    file.write_bytes(b"query-id\tcorpus-id\tscore\n" + "q1\td\u00e9j\u00e0\t1\n".encode(encoding))
    with pytest.raises(InvalidRequestError, match=r"test\.tsv:2: .*save the file as UTF-8"):
        load_data(beir)


def test_a_score_beyond_single_precision_is_infinite_as_in_trec_eval(tmp_path):
    rows = [{"query": "cats", "documents": ["Dogs bark.", "Cats purr.", "Birds sing."], "relevant": [1]}]
    (tmp_path / "mine.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "run").write_text("q1 Q0 q1d0 1 -1e300 x\nq1 Q0 q1d1 2 1e300 x\nq1 Q0 q1d2 3 0 x\n")
    found = evaluate(load_data(tmp_path / "mine.jsonl"), {}, Plan(run=tmp_path / "run"))
    assert found.baseline.mean("P@1") == 1.0


def test_a_name_that_is_no_text_is_saved(tmp_path):
    """File names are bytes; what is none in UTF-8 has lone surrogates."""
    found = evaluate(
        LabelledData("mine\udcff", {"q": "cats"}, {"d": "Cats purr.", "e": "Dogs bark."}, {"q": {"d": 1}}), {}
    )
    found.save(tmp_path / "found.json")
    assert Evaluation.load(tmp_path / "found.json").data == "mine\udcff"
    assert r"mine\udcff" in (tmp_path / "found.json").read_text(encoding="utf-8")


def scored_file(folder, *rows):
    file = folder / "mine.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    return file


def with_scores(*scores):
    return [{"text": f"{position} words", "score": score} for position, score in enumerate(scores)]


def test_the_order_of_the_documents_is_the_first_stage_with_and_without_scores(tmp_path):
    rows = [
        {"query": "words", "documents": with_scores(7, 0.5, 0.1), "relevant": [1]},
        {"query": "more words", "documents": with_scores(2.0, 1.0, 1.0), "relevant": [0]},
    ]
    data = load_data(scored_file(tmp_path, *rows))
    assert data.retrieval_scores["q1"] == {"q1d0": 7.0, "q1d1": 0.5, "q1d2": 0.1}
    found = evaluate(data, {}, Plan(depth=2))
    assert found.first_stage == "given order, best 2"
    assert found.baseline.measures["MRR@10"] == {"q1": 0.5, "q2": 1.0}
    assert evaluate(data, {}, Plan(max_queries=1)).queries == 1
    plain = [{**row, "documents": [document["text"] for document in row["documents"]]} for row in rows]
    other = load_data(scored_file(tmp_path, *plain))
    assert evaluate(other, {}, Plan(depth=2)).baseline.measures == found.baseline.measures
    assert other.checksum != data.checksum
    assert not found.left_out


def test_scores_that_rise_down_the_list_are_said_to(tmp_path):
    rows = [{"query": "words", "documents": with_scores(0.1, 7, 0.5), "relevant": [1]}]
    (note,) = evaluate(load_data(scored_file(tmp_path, *rows)), {}).left_out
    assert note.startswith("scores of 1 of 1 queries do not fall")


def test_relevant_documents_first_in_every_query_are_said_to_be(tmp_path):
    rows = [{"query": "words", "documents": ["a", "b", "c"], "relevant": [0]}] * 2
    file = scored_file(tmp_path, *rows)
    (note,) = evaluate(load_data(file), {}).left_out
    assert "--bm25" in note
    assert not evaluate(load_data(scored_file(tmp_path, *rows, {**rows[0], "relevant": [1]})), {}).left_out


def test_documents_have_the_ids_that_they_are_written_with(tmp_path):
    documents = [{"text": "a", "id": "x"}, {"text": "b", "id": 7}, "c"]
    file = scored_file(tmp_path, {"query": "words", "documents": documents, "relevant": ["7", 2]})
    data = load_data(file)
    assert data.candidates == {"q1": ["x", "7", "q1d2"]}
    assert data.judgments == {"q1": {"x": 0, "7": 1, "q1d2": 1}}
    assert data.documents == {"x": "a", "7": "b", "q1d2": "c"}


def test_a_relevant_document_that_the_retriever_did_not_find_counts(tmp_path):
    documents = [{"text": "a", "id": "x"}, {"text": "b", "id": "y"}]
    rows = [
        {"query": "one", "documents": documents, "relevant": ["y", "z"]},
        {"query": "two", "documents": documents, "relevant": ["elsewhere"]},
    ]
    found = evaluate(load_data(scored_file(tmp_path, *rows)), {})
    assert found.baseline.measures["Recall@10"] == {"q1": 0.5, "q2": 0.0}
    assert [case.reachable for case in found.cases.values()] == [True, False]
    assert found.ceiling < 1
    assert found.left_out == ("2 of 3 relevant judgments are of documents without a text: nobody can find those.",)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([([{"text": "a", "id": "x"}, {"text": "b", "id": "x"}], [0])], "two documents have the same 'id'"),
        ([([{"text": "a", "id": "x"}], [0]), ([{"text": "b", "id": "x"}], [0])], "mine.jsonl:2: .*another text of"),
        ([([{"text": "a", "id": 1.5}], [0])], "must be a text or a whole number"),
        ([([{"text": "a", "id": ""}], [0])], "must be a text or a whole number"),
        ([(["a"], ["x"])], "or ids where documents have some"),
        ([([{"text": "a", "id": "x"}], [""])], "or ids where"),
        ([([{"text": "a", "id": "x"}], "x")], "or ids where"),
        ([([{"text": "a", "id": "x"}], [True])], "or ids where"),
    ],
)
def test_wrong_ids_are_refused(tmp_path, rows, message):
    lines = [{"query": "q", "documents": documents, "relevant": relevant} for documents, relevant in rows]
    with pytest.raises(InvalidRequestError, match=message):
        load_data(scored_file(tmp_path, *lines))


@pytest.mark.parametrize(
    ("documents", "message"),
    [
        ([{"text": "a", "score": 0.5}, "b"], "mine.jsonl:1: only some documents have a 'score'"),
        ([{"text": "a", "score": "high"}], "mine.jsonl:1: the 'score' of a document must be a finite number"),
        ([{"text": "a", "score": True}], "must be a finite number"),
        ([{"content": "a", "score": 0.5}], "must be a list of texts, or of objects with 'text', 'score' and 'id'"),
        ([3], "must be a list of texts"),
    ],
)
def test_wrong_scores_beside_documents_are_refused(tmp_path, documents, message):
    with pytest.raises(InvalidRequestError, match=message):
        load_data(scored_file(tmp_path, {"query": "q", "documents": documents, "relevant": [0]}))


def test_all_queries_have_scores_or_none(tmp_path):
    rows = [{"query": "q", "documents": documents, "relevant": [0]} for documents in (with_scores(1.0), ["a"])]
    with pytest.raises(InvalidRequestError, match="the documents of 1 of 2 queries have a 'score'"):
        load_data(scored_file(tmp_path, *rows))


@pytest.mark.parametrize("scores", [{"q": {}}, {"q": {"a": float("nan")}}, {"q": {"a": 1.0, "b": 1.0}}])
def test_scores_that_do_not_fit_the_candidates_are_refused(scores):
    with pytest.raises(InvalidRequestError, match="retrieval_scores of query 'q'"):
        LabelledData("x", {"q": "query"}, {"a": "text", "b": "text"}, {"q": {"a": 1}}, {"q": ["a"]}, 0, scores)
