"""What a report decides, and the forms it comes in."""

from __future__ import annotations

import csv
import io
import json
import re
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import pytrec_eval
from hypothesis import example, given, settings
from hypothesis import strategies as st
from rich.console import Console
from scipy.stats import ttest_1samp
from typer.testing import CliRunner

from rerank_core import InvalidRequestError
from rerank_core.cli import evaluate as _evaluate_command  # noqa: F401  (adds the commands)
from rerank_core.cli.app import app
from rerank_core.evaluation import (
    Evaluation,
    LabelledData,
    Plan,
    Report,
    ScoreStore,
    System,
    decide,
    evaluate,
    load_data,
    print_evaluation,
    to_csv,
    to_html,
    to_markdown,
)
from rerank_core.evaluation.breakdowns import breakdown
from rerank_core.evaluation.cases import Case, Outcome
from rerank_core.evaluation.conditions import Condition
from rerank_core.evaluation.curves import cuts, reliability
from rerank_core.evaluation.measures import MAIN, mean
from rerank_core.evaluation.pictures import _GAP, _spread
from rerank_core.evaluation.query_table import kinds_of
from rerank_core.evaluation.report import Threshold
from rerank_core.evaluation.significance import mean_interval
from rerank_core.scoring import FakeScorer, Score, Scores

PAIRS = st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=60)


class ByNumber(FakeScorer):
    """Scores a text by the number it begins with, or by the opposite."""

    def __init__(self, sign):
        super().__init__(f"by-number-{sign}")
        self.sign = sign

    def score(self, _query, texts):
        return Scores(tuple(Score.from_logit(self.sign * int(text.split()[0])) for text in texts), self.model)


def numbered(queries, candidates=12):
    """The document with the greatest number is right, and stands last."""
    documents = {f"d{i}": f"{i} word" for i in range(candidates)}
    names = [f"q{i}" for i in range(queries)]
    judgments = {name: {f"d{candidates - 1}": 1, "d0": 0} for name in names}
    texts = {name: " ".join(["word"] * (1 + position % 10)) for position, name in enumerate(names)}
    return LabelledData("numbers", texts, documents, judgments, dict.fromkeys(names, documents))


def forms(found):
    """The report in all four forms, white space apart."""
    console = Console(record=True, width=80)
    print_evaluation(found, console=console)
    printed = re.sub("[│╭╮╰╯─]", " ", console.export_text())
    texts = (printed, to_html(found), to_markdown(found).replace("\\", ""), Report.of(found).to_json())
    return [" ".join(text.split()) for text in texts]


def test_five_queries_decide_nothing_and_sixty_do():
    few = decide(evaluate(numbered(5), {"up": ByNumber(1)}))
    assert (few.choice, few.system, few.threshold) == ("too few queries to tell", None, None)
    found = evaluate(numbered(60), {"up": ByNumber(1), "down": ByNumber(-1)})
    decision = decide(found)
    assert (decision.choice, decision.system, decision.candidates) == ("turn it on", "up", 12)
    assert decision.threshold == found.rerankers[0].threshold.value
    labels = [fact.label for fact in decision.facts]
    assert labels == ["reranking", "fusion", "candidates", "threshold", "cost", "ceiling"]


def test_a_model_that_hurts_is_left_off():
    data = numbered(30)
    first = replace(data, candidates={query: list(reversed(data.documents)) for query in data.queries})
    decision = decide(evaluate(first, {"down": ByNumber(-1)}))
    assert (decision.choice, decision.system) == ("leave it off", None)
    assert decision.facts[0].text == "leave it off: down hurts"


def test_all_forms_have_the_same_facts():
    found = evaluate(numbered(60), {"up": ByNumber(1)})
    printed, page, markdown, saved = forms(found)
    for fact in decide(found).facts:
        for text in (page, markdown):
            assert fact.text in text.replace("&#x27;", "'")
        assert " ".join(re.findall(r"[\w.]+", fact.text)) in " ".join(re.findall(r"[\w.]+", printed))
    assert json.loads(saved)["decision"] == decide(found).to_dict()


def test_the_ceiling_is_what_the_best_order_of_the_candidates_has():
    data = numbered(30)
    judgments = {name: {"d11": 1, "gone": 1} if name == "q0" else {"gone": 1} for name in data.queries}
    found = evaluate(replace(data, judgments=judgments, documents={**data.documents, "gone": "99 word"}), {})
    assert found.ceiling == pytest.approx(1 / (1 + 1 / 1.5849625007) / 30)
    assert "29 of 30 queries have no relevant document" in decide(found).facts[-1].text


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=1, max_size=14).filter(
        lambda each: any(g for g, _ in each)
    )
)
def test_the_ceiling_is_trec_evals_of_the_candidates_sorted_by_grade(graded):
    """Each document has a grade, and may be a candidate."""
    grades = {f"d{position}": grade for position, (grade, _) in enumerate(graded)}
    candidates = [f"d{position}" for position, (_, chosen) in enumerate(graded) if chosen] or ["d0"]
    data = LabelledData("x", {"q": "word"}, dict.fromkeys(grades, "text"), {"q": grades}, {"q": candidates})
    judge = pytrec_eval.RelevanceEvaluator({"q": grades}, {"ndcg_cut_10"})
    best = judge.evaluate({"q": {document: float(grades[document]) for document in candidates}})["q"]["ndcg_cut_10"]
    found = evaluate(data, {})
    assert found.ceiling == pytest.approx(best)
    assert found.baseline.mean() <= found.ceiling + 1e-9


def test_fewer_candidates_are_proposed_where_more_add_nothing():
    found = evaluate(numbered(30, candidates=60), {"up": ByNumber(1)})
    report = replace(found.rerankers[0], by_depth={10: 0.7, 20: 0.797, 60: 0.8})
    assert decide(replace(found, systems=(found.baseline, report))).candidates == 20


@given(PAIRS)
def test_cuts_are_precision_and_recall_at_their_thresholds(pairs):
    points = cuts(pairs)
    relevant = sum(label for _, label in pairs)
    assert bool(points) == bool(relevant)
    assert len(points) <= 40
    for point in points:
        kept = [label for score, label in pairs if score >= point.threshold]
        assert point.precision == pytest.approx(sum(kept) / len(kept))
        assert point.recall == pytest.approx(sum(kept) / relevant)
    if points:
        assert points[-1].recall == 1.0


@given(PAIRS)
def test_reliability_counts_every_candidate_once(pairs):
    bins = reliability(pairs)
    assert sum(each.documents for each in bins) == len(pairs)
    assert sum(each.relevant * each.documents for each in bins) == pytest.approx(sum(label for _, label in pairs))
    assert sum(each.score * each.documents for each in bins) == pytest.approx(sum(score for score, _ in pairs))


@given(st.lists(st.floats(0, 1), min_size=25, max_size=60))
def test_the_interval_of_a_mean_holds_it(values):
    low, high = mean_interval(values)
    if len(set(values)) > 1:
        student = ttest_1samp(values, 0.0).confidence_interval(0.95)
        assert (low, high) == pytest.approx((max(0, student.low), min(1, student.high)), abs=1e-9)
    assert 0 <= low <= mean(dict(enumerate(values))) + 1e-9
    assert mean(dict(enumerate(values))) - 1e-9 <= high <= 1
    assert mean_interval(values[:24]) is None


@given(st.floats(1e-9, 1))
@example(0.5212069998745504)
def test_a_shown_threshold_is_short_and_keeps_what_was_kept(value):
    shown = float(Threshold(value, 0.5, 0.5, 0.5).shown)
    assert 0.99 * value <= shown <= value
    assert value == 1 or 1 - shown <= 1.11 * (1 - value) + 1e-15


def test_a_shown_threshold_has_few_digits():
    values = {0.5212069998745504: "0.521", 0.99999999123: "0.9999999", 0.000123456: "0.000123", 1.0: "1.0", 0.0: "0.0"}
    assert {value: Threshold(value, 0.5, 0.5, 0.5).shown for value in values} == values | {
        0.99999999123: "0.9999999912"
    }


def test_outcomes_say_where_the_wanted_documents_came():
    found = evaluate(numbered(3), {"up": ByNumber(1)})
    assert found.cases["q2"].wanted == ("d11",)
    assert (found.cases["q2"].words, found.cases["q2"].candidates, found.cases["q2"].reachable) == (3, 12, True)
    before, after = found.baseline.outcomes["q0"], found.rerankers[0].outcomes["q0"]
    assert (before.ranks, before.first, before.right) == ((12,), "d0", False)
    assert (after.ranks, after.first, after.right) == ((1,), "d11", True)
    assert found.texts == {"d0": "0 word", "d11": "11 word"}


@pytest.mark.parametrize(
    ("reachable", "right", "change", "kinds"),
    [
        (True, True, 0.5, ["won"]),
        (True, False, 0.5, ["won", "still wrong"]),
        (True, False, -0.5, ["lost", "still wrong"]),
        (True, True, 0.0, ["same"]),
        (False, False, 0.0, ["same", "nothing relevant among the candidates"]),
    ],
)
def test_what_a_query_is_for_a_system(reachable, right, change, kinds):
    case = Case("words", 1, 2, ("d",), reachable)
    assert kinds_of(case, Outcome((1,), "d", right), change) == kinds


def test_the_page_has_every_query_with_its_ranks_and_texts():
    page = to_html(evaluate(numbered(30), {"up": ByNumber(1), "down": ByNumber(-1)}))
    rows = re.findall(r'<tr role="row" data-s0="([^"]*)" data-s1="([^"]*)">(.*?)</tr>', page)
    assert len(rows) == 30
    assert {row[:2] for row in rows} == {("won", "same still-wrong")}
    assert all("rank 12" in row[2] and "rank 1<" in row[2] and "11 word" in row[2] for row in rows)
    assert "up 1" in rows[0][2]


def test_groups_part_the_queries():
    found = evaluate(numbered(20), {"up": ByNumber(1)})
    groups = breakdown(found, found.rerankers[0])
    assert [(group.queries, group.before, group.after) for group in groups] == [(6, 0, 1), (10, 0, 1), (4, 0, 1)]


def test_csv_has_a_row_for_each_system_and_query():
    found = evaluate(replace(numbered(3), name="=1+1"), {"=up": ByNumber(1)})
    rows = list(csv.DictReader(io.StringIO(to_csv(found))))
    assert len(rows) == 6
    assert (rows[3]["system"], rows[3]["query"], rows[3]["rank"], rows[3]["change"]) == ("'=up", "q0", "1", "1.0000")
    assert rows[0]["rank"] == "12"


def test_markdown_keeps_hostile_names_text():
    text = to_markdown(evaluate(replace(numbered(30), name="<b>x|y</b>"), {"a|*b*": ByNumber(1)}))
    assert "<b>" not in text.replace("\\<", "")
    assert r"a\|\*b\*" in text
    for line in text.splitlines():
        if line.startswith("| "):
            assert len(re.findall(r"(?<!\\)\|", line)) in {6, 7, 8}


def test_several_first_stages_are_columns_of_one_report(hand_written, tmp_path):
    data = load_data(hand_written)
    found = Report(tuple(evaluate(data, {"fake": FakeScorer()}, plan) for plan in (Plan(), Plan(bm25=True))))
    for text in forms(found)[:3]:
        assert "behind each first stage" in text
    (tmp_path / "found.json").write_text(found.to_json())
    assert Report.load(tmp_path / "found.json") == found
    with pytest.raises(InvalidRequestError, match="needs an evaluation"):
        Report(())


def test_an_earlier_report_is_compared_query_by_query():
    data = numbered(30)
    old, new = (evaluate(data, {"x": ByNumber(sign)}) for sign in (-1, 1))
    report = Report((new,), (old,))
    changes = {change.name: change.verdict for change in report.changes(new)}
    assert changes == {new.baseline.name: "no difference found", "x": "better"}
    for text in forms(report)[:3]:
        assert "since the earlier report" in text
    other = Report((new,), (evaluate(numbered(31), {"x": ByNumber(1)}),))
    assert {change.verdict for change in other.changes(new)} == {"other data: not compared"}


def test_reports_of_the_first_format_can_be_read(tmp_path):
    found = evaluate(numbered(3), {"x": ByNumber(1)})
    saved = json.loads(found.to_json()) | {"format": 1}
    for added in ("cases", "texts", "ceiling", "effects"):
        del saved[added]
    for system in saved["systems"]:
        for added in ("bands", "retimed", "outcomes", "cuts", "reliability"):
            del system[added]
    (tmp_path / "old.json").write_text(json.dumps(saved))
    old = Report.load(tmp_path / "old.json").evaluations[0]
    assert old.rerankers[0].measures == found.rerankers[0].measures
    assert old.cases == {}
    for text in forms(old)[:3]:
        assert "too few queries to tell" in text


@pytest.mark.parametrize(
    ("condition", "up", "down", "few"),
    [("hurts", False, True, False), ("not-better", False, True, True), ("below=.5", False, True, False)],
)
def test_conditions(condition, up, down, few):
    reversed_order = list(reversed(numbered(1).documents))
    data = numbered(30)
    worst = replace(data, candidates=dict.fromkeys(data.queries, reversed_order))
    found = (
        evaluate(data, {"x": ByNumber(1)}),
        evaluate(worst, {"x": ByNumber(-1)}),
        evaluate(numbered(5), {"x": ByNumber(1)}),
    )
    failures = [Condition.read(condition).failure(Report((each,))) for each in found]
    assert [bool(failure) for failure in failures] == [up, down, few]


@pytest.mark.parametrize("text", ["", "worse", "below", "below=", "below=x", "below=2", "below=nan", "hurts=1"])
def test_what_is_no_condition(text):
    with pytest.raises(InvalidRequestError, match="--fail-if: expected hurts, not-better or below=GAIN"):
        Condition.read(text)


def test_scores_from_before_are_timed_anew_where_the_system_says_how():
    data, store = numbered(7), ScoreStore()
    first, again, other = (
        evaluate(data, [System("x", ByNumber(1), store, uncached=uncached)]).rerankers[0]
        for uncached in (ByNumber(1), ByNumber(1), None)
    )
    assert (first.retimed, again.retimed, other.retimed) == (None, 5, None)
    assert again.seconds > 0
    assert set(again.seconds_by_depth) == set(again.by_depth)
    assert other.seconds is None


@pytest.fixture
def run(hand_written, tmp_path, monkeypatch):
    """``rerank evaluate`` on five queries, with a cache of its own."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        line = ["evaluate", str(hand_written), "--cache", "s.db", *arguments]
        monkeypatch.setattr(sys, "argv", ["rerank", *line])  # the report says what was called
        return CliRunner().invoke(app, line)

    return call


def test_every_form_to_a_file(run, tmp_path):
    done = run("--html", "a.html", "-o", "a.json", "--csv", "a.csv", "--markdown", "a.md")
    assert done.exit_code == 0, done.output
    found = Report.load(tmp_path / "a.json")
    assert found.command.startswith("rerank ")
    assert Evaluation.load(tmp_path / "a.json") == found.evaluations[0]
    assert Path("a.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert Path("a.md").read_text(encoding="utf-8").startswith("# mine: too few queries to tell")
    assert Path("a.csv").read_bytes().count(b"\r\n") == 11


@pytest.mark.parametrize(
    ("option", "begins"),
    [("-o", "{"), ("--csv", "first_stage,"), ("--markdown", "# mine"), ("--html", "<!doctype")],
)
def test_a_dash_is_standard_output_and_nothing_else_is_there(run, option, begins):
    done = run(option, "-")
    assert done.exit_code == 0
    assert done.stdout.startswith(begins)
    assert "does it help?" not in done.stdout
    assert "s.db" in done.stderr  # where the scores are kept
    if option == "-o":
        assert json.loads(done.stdout)["queries"] == 5
    assert run(option, "-", "--output" if option != "-o" else "--csv", "-").exit_code == 2


def test_json_is_printed_by_a_switch_and_saved_by_another(run):
    printed = run("--json", "-o", "saved.json")
    assert json.loads(printed.stdout)["queries"] == json.loads(Path("saved.json").read_text("utf-8"))["queries"] == 5


def test_a_calibration_to_standard_output(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [
        {"query": f"feline pets {i}", "documents": ["Cats purr.", "Dogs bark."], "relevant": [0]} for i in range(12)
    ]
    (tmp_path / "mine.jsonl").write_text("\n".join(map(json.dumps, rows)))
    done = CliRunner().invoke(app, ["calibrate", "mine.jsonl", "-o", "-", "--cache", "s.db"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["calibration"] == 1
    assert "12 of them relevant" in " ".join(done.stderr.split())
    assert not (tmp_path / "-").exists()


def test_fail_if_sets_the_exit_code_and_says_why(run):
    done = run("--fail-if", "not-better")
    assert done.exit_code == 1
    assert "no model is found to help behind given order" in " ".join(done.output.split())
    assert run("--fail-if", "hurts").exit_code == 0
    assert run("--fail-if", "sometimes", "-m", "no/such/model").exit_code == 2


def test_first_stages_and_an_earlier_report_on_the_command_line(run, tmp_path):
    assert run("--given", "--bm25", "-o", "old.json").exit_code == 0
    done = run("--given", "--bm25", "--compare", "old.json")
    assert done.exit_code == 0, done.output
    assert "behind each first stage" in done.output
    assert done.output.count("since the earlier report") == 2
    assert len(Report.load(tmp_path / "old.json").evaluations) == 2
    assert run("--compare", "no.json", "-m", "no/such/model").exit_code == 2


def test_tables_fit_80_columns(run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    models = ["-m", "rerank-mini-en-v1", "-m", "rerank-tiny-en-v1", "-m", "rerank-mini-en-v1+fusion"]
    done = run(*models, "--given", "--bm25", "-o", "old.json")
    done = run(*models, "--given", "--bm25", "--compare", "old.json", "--price", "1")
    assert max(map(len, done.output.splitlines())) <= 80


@given(st.lists(st.floats(0, 1), max_size=12).map(sorted))
def test_labels_are_apart_and_none_is_above_the_picture(places):
    spread = _spread(places)
    assert all(after - before >= _GAP - 1e-9 for before, after in pairwise(spread))
    assert all(place <= 1 for place in spread)
    if all(after - before >= _GAP for before, after in pairwise(places)):
        assert spread == places


def test_measures_of_a_breakdown_are_means_of_the_queries_own():
    found = evaluate(numbered(20), {"up": ByNumber(1)})
    system = found.rerankers[0]
    groups = [group for group in breakdown(found, system) if "words" in group.name]
    assert sum(group.queries for group in groups) == 20
    assert sum(group.after * group.queries for group in groups) / 20 == pytest.approx(mean(system.measures[MAIN]))
