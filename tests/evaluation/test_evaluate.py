from __future__ import annotations

import json
import re
import sqlite3
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from rerank_core import InferenceError, InvalidRequestError, Reranker
from rerank_core.cli import evaluate as _evaluate_command  # noqa: F401  (adds the commands)
from rerank_core.cli.app import app
from rerank_core.evaluation import Evaluation, LabelledData, Plan, evaluate, labelled_scores, load_data, scored
from rerank_core.evaluation.assess import _seconds_by_depth
from rerank_core.evaluation.experiment import prepare
from rerank_core.evaluation.measures import MAIN, measure
from rerank_core.evaluation.page import write_page
from rerank_core.evaluation.scored import Answer, System, score_queries
from rerank_core.evaluation.store import ScoreStore
from rerank_core.evaluation.table import print_evaluation
from rerank_core.many import LOCAL_REQUESTS
from rerank_core.scoring import (
    ApiOptions,
    ApiScorer,
    CalibratedScorer,
    Calibration,
    CascadeScorer,
    FakeScorer,
    FallbackScorer,
    KeepOrderScorer,
    LocalScorer,
    Score,
    Scores,
)


class Counting(FakeScorer):
    """Counts the texts it is asked for, and may break."""

    def __init__(self, model="counting", most=10**9):
        super().__init__(model)
        self.scored = 0
        self.most = most

    def score(self, query, texts):
        if self.scored >= self.most:
            raise InferenceError("broken")
        self.scored += len(texts)
        return super().score(query, texts)


class ByNumber(FakeScorer):
    """Scores a text by the number it begins with, or by the opposite."""

    def __init__(self, sign):
        super().__init__(f"by-number-{sign}")
        self.sign = sign

    def score(self, _query, texts):
        return Scores(tuple(Score.from_logit(self.sign * int(text.split()[0])) for text in texts), self.model)


def numbered(count=30, queries=3):
    """Many candidates, of which the one with the greatest number is right."""
    documents = {f"d{i}": f"{i} word" for i in range(count)}
    names = [f"q{i}" for i in range(queries)]
    judgments = {name: {f"d{count - 1}": 1, "d0": 0} for name in names}
    return LabelledData("numbers", dict.fromkeys(names, "word"), documents, judgments, dict.fromkeys(names, documents))


def command(*arguments):
    return CliRunner().invoke(app, ["evaluate", *map(str, arguments)])


def test_every_figure_follows_from_the_engines_ranking(beir, bundled):
    data = load_data(beir)
    found = evaluate(data, {"mini": LocalScorer()}, Plan(pool=True))
    ranking = {}
    for query, text in data.queries.items():
        documents = list(data.judgments[query])
        response = bundled.rerank(text, [data.documents[document] for document in documents])
        ranking[query] = [documents[result.index] for result in response]
    (mini,) = found.rerankers
    assert mini.measures == measure(data.judgments, ranking)
    assert (found.queries, found.data, found.checksum) == (3, "help-desk", data.checksum)
    assert mini.seconds > 0
    assert mini.tokens > 0


def test_depth_decides_how_much_is_reranked(hand_written):
    data = load_data(hand_written)
    found = evaluate(data, {"fake": FakeScorer()})
    (fake,) = found.rerankers
    assert fake.by_depth[max(fake.by_depth)] == pytest.approx(fake.mean())


def test_a_cascade_is_reported_at_the_depth_it_was_measured_at(tmp_path):
    # The expensive model puts the right document last; at depth 10 it would see nine that the cheap one dislikes.
    cascade = CascadeScorer(ByNumber(1), ByNumber(-1), keep=5)
    calibrated = CalibratedScorer(cascade, Calibration(cascade.model, "logistic", (1.0, 0.0)))
    found = evaluate(numbered(), {"cheap": ByNumber(1), "both": cascade, "calibrated": calibrated})
    cheap, both, calibrated = found.rerankers
    assert list(cheap.by_depth) == [10, 20, 30]
    assert both.by_depth == calibrated.by_depth == {30: both.mean()}
    ten = [f"{i} word" for i in range(10)]
    assert cascade.score("word", ten).keys()[0] < cascade.score("word", ten).keys()[9]
    write_page(found, tmp_path / "page.html")
    assert "a single point" in (tmp_path / "page.html").read_text()


def test_a_list_wise_models_scores_are_kept_for_no_other_request(monkeypatch):
    scorer = ApiScorer("jina-reranker-v3", "jina", ApiOptions("http://127.0.0.1:9", "key"))
    monkeypatch.setattr(scorer, "score", ByNumber(1).score)
    store = ScoreStore()
    (report,) = evaluate(numbered(), {"x": scorer}, store=store).rerankers
    assert (list(report.by_depth), len(store)) == ([30], 0)


def test_what_is_in_the_store_is_not_computed_again(beir, tmp_path):
    scorer = Counting()
    first = evaluate(load_data(beir), {"x": scorer}, Plan(pool=True), store=ScoreStore(tmp_path / "scores.db"))
    count = scorer.scored
    again = evaluate(load_data(beir), {"x": scorer}, Plan(pool=True), store=ScoreStore(tmp_path / "scores.db"))
    assert count == scorer.scored == 5
    (before,), (after,) = first.rerankers, again.rerankers
    assert before.seconds is not None
    timeless = {"seconds": None, "seconds_95": None, "documents_per_second": None, "seconds_by_depth": None}
    assert after == replace(before, **timeless)  # tokens are those of the first time
    assert after.tokens > 0


def test_what_was_done_before_a_failure_is_kept(beir, tmp_path):
    store = tmp_path / "scores.db"
    broken = Counting(most=2)
    with pytest.raises(InferenceError):
        evaluate(load_data(beir), {"x": broken}, Plan(pool=True), store=ScoreStore(store))
    healed = Counting()
    evaluate(load_data(beir), {"x": healed}, Plan(pool=True), store=ScoreStore(store))
    assert broken.scored + healed.scored == 5


def many(count):
    """Queries that differ, with two candidates each."""
    words = [f"{chr(97 + number % 26)}{number}" for number in range(count)]
    documents = {f"{word}-{kind}": f"{word} is {kind}" for word in words for kind in ("right", "wrong")}
    candidates = {word: [f"{word}-right", f"{word}-wrong"] for word in words}
    queries = {word: f"is {word} right" for word in words}
    return LabelledData("many", queries, documents, {word: {f"{word}-right": 1} for word in words}, candidates)


def scores_of(data, scorer, on_query=lambda: None, **options):
    experiment = prepare(data, Plan(), lambda: None)
    system = System("x", scorer, ScoreStore())
    return score_queries(experiment, system, on_query=on_query, **options)


def test_queries_beyond_the_timed_ones_share_a_schedule_and_get_the_same_scores():
    data = many(70)
    alone, together = scores_of(data, LocalScorer(), timed=70), scores_of(data, LocalScorer(), timed=3)
    assert list(alone) == list(together) == list(data.queries)
    assert [answer.alone for answer in together.values()] == [True] * 3 + [False] * 67
    for query, answer in alone.items():
        assert answer.tokens == together[query].tokens
        for document, score in answer.scores.items():
            assert together[query].scores[document].logit == pytest.approx(score.logit, abs=1e-4)


def test_times_are_those_of_the_queries_that_were_scored_alone(monkeypatch):
    monkeypatch.setattr(scored, "TIMED", 2)
    seen = []
    data = many(5)
    found = evaluate(data, {"x": Counting()}, on_query=seen.append)
    assert seen.count("x") == 5
    assert found.rerankers[0].seconds > 0


@pytest.mark.parametrize("timed", [0, 100])
def test_progress_moves_while_the_model_works(timed):
    reported, seen = [], []

    class Telling(Counting):
        def score(self, query, texts):
            seen.append(len(reported))
            return super().score(query, texts)

    scores_of(many(40), Telling(), timed=timed, on_query=lambda: reported.append(1))
    assert len(reported) == 40
    # Those that are reported are at work, no more than a window of them ahead of what is done.
    assert all(count <= position + LOCAL_REQUESTS + 1 for position, count in enumerate(sorted(seen)))


def test_what_was_done_together_before_a_failure_is_kept():
    data, broken, healed = many(10), Counting(most=12), Counting()
    store = ScoreStore()
    for scorer in (broken, healed):
        with suppress(InferenceError):
            score_queries(prepare(data, Plan(), lambda: None), System("x", scorer, store), timed=0, on_query=list)
    assert len(store) == 20
    assert broken.scored + healed.scored == 20


def test_a_system_keeps_its_scores_where_it_says(beir):
    mine, others = ScoreStore(), ScoreStore()
    systems = [System("one", Counting("one"), mine), System("two", Counting("two"), others)]
    found = evaluate(load_data(beir), systems, Plan(pool=True))
    assert [report.name for report in found.rerankers] == ["one", "two"]
    assert len(mine) == len(others) == 5
    assert repr(systems[0]).startswith("System('one', ")


def test_a_fused_system_is_ranked_by_both_and_reported_at_full_depth(tmp_path):
    # The run likes the right document best, the model the wrong ones.
    data = numbered()
    lines = [f"{query} Q0 d{i} 0 {i + 1} run" for query in data.queries for i in range(30)]
    (tmp_path / "run.txt").write_text("\n".join(lines))
    plan = Plan(run=tmp_path / "run.txt", depth=30)
    store = ScoreStore()
    systems = [System(f"{share}", ByNumber(-1), store, share) for share in (None, 0.0, 0.9, "rrf")]
    plain, none, most, rrf = evaluate(data, systems, plan).rerankers
    assert plain.mean() == none.mean() == 0.0
    assert most.mean() == 1.0
    assert 0 < rrf.mean() <= 1
    assert (list(plain.by_depth), list(most.by_depth)) == ([10, 20, 30], [30])
    assert most.identity == f"fusion(0.9, {plain.identity})"
    assert most.threshold == plain.threshold  # thresholds are on probabilities


def test_systems_are_compared_with_each_other():
    data = numbered(queries=30)
    systems = {"up": ByNumber(1), "down": ByNumber(-1), "up again": ByNumber(1)}
    found = evaluate(data, systems)
    assert [(pair.one, pair.other, pair.verdict) for pair in found.pairs()] == [
        ("up", "down", "up is better"),
        ("up", "up again", "no difference found"),
        ("down", "up again", "up again is better"),
    ]
    assert found.pairs()[0].comparison.difference == pytest.approx(1.0)
    assert found.pairs()[0].p_value == pytest.approx(6 * found.pairs()[0].comparison.p_value)
    assert json.loads(found.to_json())["pairs"][0]["verdict"] == "up is better"
    few = evaluate(numbered(queries=5), systems)
    assert {pair.verdict for pair in few.pairs()} == {"too few queries to tell"}
    assert not evaluate(data, {"up": ByNumber(1)}).pairs()


def test_the_pairs_are_shown_where_there_are_some(tmp_path):
    data = numbered(queries=30)
    for systems, shown in (({"up": ByNumber(1), "down": ByNumber(-1)}, True), ({"up": ByNumber(1)}, False)):
        found = evaluate(data, systems)
        console = Console(record=True, width=100)
        print_evaluation(found, console=console)
        write_page(found, tmp_path / "page.html")
        for text in (console.export_text(), (tmp_path / "page.html").read_text()):
            assert ("Against each other" in text) == ("up is better" in text) == shown


@pytest.mark.parametrize("stand_in", [FakeScorer("other"), KeepOrderScorer()])
def test_a_stand_in_is_not_measured_as_the_model(beir, stand_in):
    store, broken = ScoreStore(), Counting(most=2)
    with pytest.raises(InferenceError, match="after 1 of 3 queries") as caught:
        evaluate(load_data(beir), {"x": FallbackScorer([broken, stand_in])}, Plan(pool=True), store=store)
    assert caught.value.code == "degraded"
    assert len(store) == broken.scored == 2
    with pytest.raises(InferenceError, match="after 1 of 3"):
        labelled_scores(load_data(beir), FallbackScorer([Counting(most=2), stand_in]), Plan(pool=True))


def test_a_sample_is_the_same_everywhere_and_part_of_a_larger_one(hand_written):
    data = load_data(hand_written)
    two, three = (set(evaluate(data, {}, Plan(max_queries=n)).baseline.measures[MAIN]) for n in (2, 3))
    assert len(two) == 2
    assert two < three


@pytest.mark.parametrize("options", [{"pool": True, "run": "x"}, {"bm25": True, "retriever": "x:y"}])
def test_a_plan_has_one_first_stage(options):
    with pytest.raises(InvalidRequestError, match="a plan has one first stage"):
        Plan(**options)


@pytest.mark.parametrize("options", [{"depth": 0}, {"depth": 1.5}, {"max_queries": 0}, {"relevant_grade": True}])
def test_a_plan_that_cannot_be(options):
    with pytest.raises(InvalidRequestError, match=next(iter(options))):
        Plan(**options)


def test_results_are_saved_with_all_that_is_needed_to_repeat_them(beir, tmp_path):
    found = evaluate(load_data(beir), {"mini": LocalScorer()}, Plan(pool=True))
    found.save(tmp_path / "found.json")
    assert Evaluation.load(tmp_path / "found.json") == found
    saved = json.loads((tmp_path / "found.json").read_text())
    assert saved["checksum"] == found.checksum
    assert {"python", "machine", "date", "onnxruntime"} <= set(saved["environment"])
    assert "int8" in saved["systems"][1]["identity"]
    (tmp_path / "found.json").write_text("{}")
    with pytest.raises(InvalidRequestError, match="not a saved evaluation"):
        Evaluation.load(tmp_path / "found.json")


def test_five_queries_by_hand_give_a_report_that_says_what_they_prove(hand_written, tmp_path):
    done = command(hand_written, "--cache", tmp_path / "scores.db", "-o", tmp_path / "found.json")
    assert done.exit_code == 0
    assert "5 queries prove nothing" in done.output
    assert "too few queries to tell" in done.output
    assert Evaluation.load(tmp_path / "found.json").queries == 5


def test_a_cascade_windows_and_a_price(hand_written, tmp_path):
    done = command(
        hand_written, "--cache", tmp_path / "scores.db", "-m", "rerank-mini-en-v1", "--windows", "--price", 0.05,
        "-m", "rerank-tiny-en-v1>rerank-mini-en-v1", "--keep", 1, "-o", tmp_path / "found.json",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "1,000" in done.output
    mini, cascade = Evaluation.load(tmp_path / "found.json").rerankers
    assert mini.identity in cascade.identity
    assert cascade.identity.startswith("cascade(('rerank-tiny-en-v1:")


def test_the_page_stands_alone(beir, tmp_path):
    found = evaluate(load_data(beir), {"<b>mini</b>": LocalScorer()}, Plan(pool=True), price=0.1)
    write_page(found, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert page.count("<svg") >= 2
    assert page.count("<script") == page.count("</script") == 1  # our own, which sorts and searches
    assert not re.search(r"(src|href)=\"(?!#)", page)
    assert "<b>mini" not in page
    assert "prefers-color-scheme: dark" in page
    assert "too few queries to tell: 3 queries" in page


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["/no/such/folder"], "there is no"),
        ([], "no data was named"),
        (["{mine}", "--depth", 0], "depth"),
        (["{mine}", "--pool", "--run", "no.txt"], "no.txt"),
        (["{mine}", "--retriever", "no_such_module:f"], "cannot be imported"),
        (["{mine}", "-m", "no/where", "--provider", "nobody"], "nobody"),
    ],
)
def test_mistakes_end_with_a_reason(hand_written, tmp_path, arguments, message):
    arguments = [str(hand_written) if argument == "{mine}" else argument for argument in arguments]
    done = command(*arguments, "--cache", tmp_path / "scores.db")
    assert done.exit_code == 2
    assert message in done.output.replace("\n", " ")


def test_no_place_for_the_results_is_said_before_the_work(hand_written, tmp_path):
    for option, file in (("--output", tmp_path / "no" / "x.json"), ("--html", tmp_path)):
        done = command(hand_written, "-m", "no/such/model", option, file)
        assert done.exit_code == 2
        assert option in done.output


def test_a_cache_that_is_something_else(hand_written, tmp_path):
    (tmp_path / "notes.txt").write_text("not a database " * 100)
    done = command(hand_written, "--cache", tmp_path / "notes.txt")
    assert done.exit_code == 2
    assert "cannot hold scores" in done.output


def test_what_a_query_takes_is_not_zero_where_nobody_knows(hand_written, tmp_path):
    store, data = ScoreStore(tmp_path / "scores.db"), load_data(hand_written)
    evaluate(data, {"mini": LocalScorer()}, Plan(depth=1), store=store)
    found = evaluate(data, {"mini": LocalScorer()}, store=store)  # every query has one score from before
    assert (found.rerankers[0].tokens, found.rerankers[0].seconds) == (None, None)
    again = command(hand_written, "--price", "1", "--depth", "1", "--cache", tmp_path / "other.db")
    assert "not timed" not in again.output
    assert "not timed" in command(hand_written, "--price", "1", "--cache", tmp_path / "other.db").output


def test_figures_are_whole_in_80_columns(hand_written, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    arguments = ["-m", "rerank-tiny-en-v1", "-m", "rerank-mini-en-v1", "--price", "1", "--cache", tmp_path / "s.db"]
    command(hand_written, *arguments)
    shown = command(hand_written, *arguments, "--depth", "1").output
    cells = [line.split() for line in shown[shown.index("Cost") :].splitlines() if "0.0%" in line]
    assert [row[-3:] for row in cells] == [["?", "0.0%", "?"]] * 2
    assert all(re.fullmatch(r"\d+ ms\* \d+ ms\* [\d.]+", " ".join(row[1:-3])) for row in cells)
    assert "5 queries were scored anew for these" in " ".join(shown.split())
    assert "rerank-tiny-" in shown
    assert "\u2026" not in shown.split("worse with")[0]


def test_figures_are_whole_in_40_columns(hand_written, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    shown = command(hand_written, "--cache", tmp_path / "s.db").output
    quality = shown[shown.index("Quality") : shown.index("Against")]
    assert re.search(r"rerank-mini- \d\.\d{3} \?( \d\.\d{3}){4}", re.sub(" +", " ", quality))
    assert "Recall@100" in quality
    assert "\u2026" not in shown.split("worse with")[0]


def test_one_query_is_one(tmp_path):
    (tmp_path / "one.jsonl").write_text(json.dumps({"query": "q", "documents": ["a"], "relevant": [0]}))
    assert "one: 1 query, 1 candidate each" in command(tmp_path / "one.jsonl", "--cache", tmp_path / "s.db").output


def test_the_saved_file_says_what_was_found(hand_written, tmp_path):
    found = evaluate(load_data(hand_written), {"fake": FakeScorer()})
    found.save(str(tmp_path / "found.json"))
    system = json.loads((tmp_path / "found.json").read_text())["systems"][1]
    assert system["means"][MAIN] == pytest.approx(found.rerankers[0].mean())
    assert system["comparison"]["verdict"] == found.rerankers[0].comparison.verdict
    assert system["comparison"]["caution"].startswith("5 queries prove nothing")
    assert Evaluation.load(str(tmp_path / "found.json")) == found


def test_calibrate_reads_files_as_trec_has_them(beir, tmp_path):
    files = {"queries": "queries.jsonl", "texts": "corpus.jsonl", "qrels": "qrels/test.tsv"}
    arguments = [part for name, file in files.items() for part in (f"--{name}", str(beir / file))]
    done = CliRunner().invoke(app, ["calibrate", *arguments, "-o", str(tmp_path / "c.json"), "--pool"])
    assert done.exit_code == 2
    assert "at least 10 relevant" in done.output.replace("\n", " ")


def test_calibrate_writes_what_a_reranker_reads(tmp_path):
    rows = [
        {"query": f"feline pets {i}", "documents": ["Cats purr.", "Dogs bark.", "Cars drive."], "relevant": [0]}
        for i in range(12)
    ]
    (tmp_path / "mine.jsonl").write_text("\n".join(map(json.dumps, rows)))
    arguments = ["calibrate", tmp_path / "mine.jsonl", "-o", tmp_path / "c.json", "--cache", tmp_path / "scores.db"]
    done = CliRunner().invoke(app, list(map(str, arguments)))
    assert done.exit_code == 0, done.output
    plain = Reranker().rerank("feline pets 1", ["Dogs bark.", "Cats purr."])
    calibrated = Reranker(calibration=tmp_path / "c.json").rerank("feline pets 1", ["Dogs bark.", "Cats purr."])
    origin = Calibration.load(tmp_path / "c.json").origin
    assert (origin["data"], origin["documents"], origin["relevant"]) == ("mine", 36, 12)
    assert "int8" in origin["identity"]
    assert [result.index for result in calibrated] == [result.index for result in plain] == [1, 0]
    assert calibrated[0].logit == pytest.approx(plain[0].logit, abs=1e-4)
    assert calibrated[0].relevance_score > 0.8
    assert calibrated[1].relevance_score < 0.3


def test_calibrate_says_what_has_no_text(tmp_path):
    corpus = [
        {"_id": f"d{n}", "text": f"{'Cats purr' if n < 12 else 'Dogs bark'} in house number {n}."} for n in range(24)
    ]
    (tmp_path / "corpus.jsonl").write_text("\n".join(map(json.dumps, corpus)))
    (tmp_path / "queries.jsonl").write_text(json.dumps({"_id": "q", "text": "feline pets"}))
    judgments = [f"q 0 d{n} {int(n < 12)}" for n in range(30)] + ["unknown 0 d1 1"]
    (tmp_path / "qrels.txt").write_text("\n".join(judgments))
    arguments = ["calibrate", tmp_path, "--qrels", tmp_path / "qrels.txt", "-o", tmp_path / "c.json", "--pool"]
    done = CliRunner().invoke(app, [*map(str, arguments), "--cache", str(tmp_path / "scores.db")])
    assert done.exit_code == 0
    assert "6 of 30 judgments without a text" in done.output
    assert "1 judged query without a text" in done.output


def test_what_no_system_can_find_is_said(beir):
    data = load_data(beir)
    judgments = {"q1": {"d1": 2, "gone": 1}, "q2": {"d3": 0}, "q3": {"d5": 1}}
    queries = {"q1": "refunds", "q2": "cats", "q3": "zzzz"}  # BM25 has nothing for the last
    found = evaluate(LabelledData("x", queries, data.documents, judgments), {})
    assert found.left_out == (
        "no relevant document for 1 of 3 queries: 0 for every system.",
        "no candidates for 1 of 3 queries: 0 for every system.",
        "1 of 3 relevant judgments are of documents without a text: nobody can find those.",
    )
    assert not evaluate(LabelledData("x", {"q1": "refunds"}, data.documents, {"q1": {"d1": 1}}), {}).left_out


def test_ids_that_do_not_agree_are_no_bad_retriever(beir):
    data = load_data(beir)
    judgments = {query: {f"other-{name}": 1 for name in known} for query, known in data.judgments.items()}
    with pytest.raises(InvalidRequestError, match="do the ids of documents and judgments agree"):
        evaluate(LabelledData("x", data.queries, data.documents, judgments), {})


def test_a_cascade_whose_first_half_came_from_the_store_is_timed_anew(hand_written, tmp_path):
    cascade, saved = "rerank-mini-en-v1>rerank-tiny-en-v1", tmp_path / "found.json"
    for models, retimed in ((["rerank-mini-en-v1", cascade], 5), ([cascade], None)):
        arguments = [part for model in models for part in ("-m", model)]
        store = tmp_path / f"{len(models)}.db"
        done = command(hand_written, *arguments, "--keep", 1, "--cache", store, "-o", saved)
        assert done.exit_code == 0, done.output
        assert Evaluation.load(saved).rerankers[-1].retimed == retimed
        assert Evaluation.load(saved).rerankers[-1].seconds > 0


def test_times_stand_for_all_queries_or_are_unknown(beir, tmp_path):
    store, broken = ScoreStore(tmp_path / "scores.db"), Counting(most=2)
    with pytest.raises(InferenceError):
        evaluate(load_data(beir), {"x": broken}, Plan(pool=True), store=store)
    resumed, fresh = evaluate(
        load_data(beir), {"x": Counting(), "y": Counting("other")}, Plan(pool=True), store=store
    ).rerankers
    assert (resumed.seconds, resumed.documents_per_second, resumed.seconds_by_depth) == (None, None, None)
    assert fresh.seconds > 0
    assert resumed.tokens == fresh.tokens


def test_time_by_depth_is_the_share_of_a_querys_own_candidates():
    answers = [Answer(dict.fromkeys(map(str, range(count)), Score(0.5)), count / 100, 1) for count in (10, 10, 200)]
    assert _seconds_by_depth(answers, [10, 100, 200]) == pytest.approx({10: 0.1, 100: 0.1, 200: 0.1})
    assert _seconds_by_depth([Answer({}, None, None)], [10]) is None
    assert _seconds_by_depth([*answers, Answer({"d": Score(0.5)}, None, 1)], [10]) is None
    assert _seconds_by_depth([*answers, Answer({}, None, None)], [10]) == {10: 0.1}


@pytest.mark.parametrize("price", [-1.0, float("nan"), float("inf")])
def test_a_price_that_is_none(beir, price):
    with pytest.raises(InvalidRequestError, match="price"):
        evaluate(load_data(beir), {}, price=price)


def test_the_cost_is_saved(hand_written, tmp_path):
    saved = tmp_path / "found.json"
    command(hand_written, "--price", "2", "--cache", tmp_path / "s.db", "-o", saved)
    mini = json.loads(saved.read_text())["systems"][1]
    assert mini["dollars_per_1000_queries"] == pytest.approx(mini["tokens"] * 2 / 1000)
    assert Evaluation.load(saved).price == 2


HOSTILE = "loud\x1b[2J dogs \ud800 \x00"


@pytest.fixture
def lost(tmp_path):
    """An evaluation in which a text that would steer a terminal is shown as a loss."""
    texts = {"d1": f"0 loud loud {HOSTILE}", "d2": "1 loud dogs"}
    data = LabelledData("a\x1b[2Jb", {"q": HOSTILE}, texts, {"q": {"d1": 1}}, {"q": ["d1", "d2"]})
    return evaluate(data, {"_w[/v2]$x^$": ByNumber(1)})


def test_texts_and_names_steer_no_terminal_and_no_page(lost, tmp_path, capsys):
    assert lost.rerankers[0].losses
    print_evaluation(lost, console=Console(force_terminal=False, width=200))
    printed = capsys.readouterr().out
    assert "_w[/v2]$x^$" in printed
    assert "worse with" in printed
    write_page(lost, tmp_path / "page.html")
    lost.save(tmp_path / "found.json")
    page = (tmp_path / "page.html").read_text()
    assert page.count("_w[/v2]$x^$") >= 5  # in the legends too
    for text in (printed, page, (tmp_path / "found.json").read_text().replace("\\u001b", "")):
        assert not {"\x1b", "\x00"} & set(text)
    assert "loud" not in repr(lost)


def test_a_saved_evaluation_that_somebody_changed(beir, tmp_path):
    file = tmp_path / "found.json"
    saved = json.loads(evaluate(load_data(beir), {"fake": FakeScorer()}).to_json())
    for change in ({"systems": []}, {"queries": "<script>"}, {"environment": [1]}, {"format": 0}):
        file.write_text(json.dumps(saved | change))
        with pytest.raises(InvalidRequestError, match="not a saved evaluation"):
            Evaluation.load(file)


@pytest.mark.parametrize("option", ["--output", "--html"])
def test_results_never_take_the_place_of_something_else(hand_written, tmp_path, option):
    labelled = hand_written.read_bytes()
    for arguments in ([option, hand_written], ["-o", tmp_path / "x", "--html", tmp_path / "x"]):
        done = command(hand_written, *arguments, "--cache", tmp_path / "s.db")
        assert done.exit_code == 2
        assert "used for something else" in done.output.replace("\n", " ")
    assert hand_written.read_bytes() == labelled


@pytest.mark.parametrize("file", ["queries.jsonl", "corpus.jsonl", "qrels/test.tsv"])
def test_results_never_take_the_place_of_a_folders_files(beir, tmp_path, file):
    before = (beir / file).read_bytes()
    done = command(beir, "-o", beir / file, "--cache", tmp_path / "s.db")
    assert done.exit_code == 2
    assert "used for something else" in done.output.replace("\n", " ")
    assert (beir / file).read_bytes() == before


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a file that cannot be written")
def test_results_are_shown_where_they_cannot_be_saved(hand_written, tmp_path):
    done = command(hand_written, "--cache", tmp_path / "s.db", "-o", "/dev/full")
    assert done.exit_code == 3
    assert "does it help?" in done.output
    assert "this is a bug" not in done.output


def test_a_database_of_something_else_stays_as_it_is(hand_written, tmp_path):
    file = tmp_path / "other.db"
    with closing(sqlite3.connect(file)) as other:
        other.execute("create table scores (name text)")
        other.commit()
    before = file.read_bytes()
    done = command(hand_written, "--cache", file)
    assert done.exit_code == 2
    assert "something else" in done.output.replace("\n", " ")
    assert file.read_bytes() == before


def test_a_store_that_takes_no_more_is_said_to_be(beir, tmp_path):
    store = ScoreStore(tmp_path / "scores.db")
    store._database.execute("pragma query_only = 1")
    found = evaluate(load_data(beir), {"fake": FakeScorer()}, Plan(pool=True), store=store)
    assert found.rerankers[0].mean() > 0
    assert store.failed
    assert not ScoreStore(tmp_path / "scores.db").failed


def test_scores_may_be_numpys(beir):
    class Numpy(Counting):
        def score(self, query, texts):
            scores = super().score(query, texts)
            return replace(scores, items=tuple(replace(s, logit=np.float32(s.logit)) for s in scores.items))

    scorer, store = Numpy(), ScoreStore()
    for _ in range(2):
        evaluate(load_data(beir), {"x": scorer}, Plan(pool=True), store=store)
    assert scorer.scored == len(store) == 5


def test_calibrate_counts_before_it_scores(hand_written, tmp_path):
    arguments = ["calibrate", hand_written, "-o", tmp_path / "c.json", "-m", "no/such/model"]
    done = CliRunner().invoke(app, list(map(str, arguments)))
    assert done.exit_code == 2
    assert "there are 4 and 7" in done.output.replace("\n", " ")
