"""Whether a report says which systems were trained on its data."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
from rich.console import Console
from typer.testing import CliRunner

from rerank_core import InvalidRequestError
from rerank_core.cli import evaluate as _evaluate_command  # noqa: F401  (adds the commands)
from rerank_core.cli.app import app
from rerank_core.evaluation import (
    Evaluation,
    Report,
    decide,
    evaluate,
    load_data,
    print_evaluation,
    to_html,
    to_markdown,
)
from rerank_core.evaluation.zero_shot import sets_in, trained_on
from rerank_core.models.registry import REGISTRY
from rerank_core.scoring import CachedScorer, CascadeScorer, FakeScorer, FallbackScorer

SEEN = "ms-marco-MiniLM-L6-v2"
SAID = "not zero-shot here"


def forms(found):
    """The report as table, page and Markdown, white space and escapes apart."""
    console = Console(record=True, width=120)
    print_evaluation(found, console=console)
    printed = re.sub("[│╭╮╰╯─]", " ", console.export_text())
    return [" ".join(text.split()) for text in (printed, to_html(found), to_markdown(found).replace("\\", ""))]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("msmarco", "msmarco"),
        ("beir/msmarco/dev", "msmarco"),
        ("msmarco-passage/trec-dl-2019/judged", "msmarco"),
        ("MS MARCO", "msmarco"),
        ("trec_dl19", "msmarco"),
        ("FiQA2018", "fiqa"),
        ("natural-questions/dev", "nq"),
        ("mr-tydi/en", "mrtydi"),
        ("miracl_zh", "miracl"),
        ("squad_dev12", "squad"),
    ],
)
def test_a_public_set_is_known_by_its_names(name, expected):
    assert expected in sets_in(name)


@pytest.mark.parametrize("name", ["climate-fever", "help-desk", "my-msmarco", "covidqa", "", "///", "2019"])
def test_other_data_is_no_set_of_a_record(name):
    known = {each for spec in REGISTRY.values() for each in spec.trained_on}
    assert not sets_in(name) & known


def test_a_hub_id_is_the_model_it_names_and_an_unknown_model_has_seen_nothing():
    assert trained_on(FakeScorer(f"cross-encoder/{SEEN}"), "msmarco") == ("msmarco",)
    assert trained_on(FakeScorer(SEEN), "covidqa") == ()
    assert trained_on(FakeScorer("unheard-of"), "msmarco") == ()


def test_both_models_of_a_cascade_count_and_no_fallback():
    seen, unseen = FakeScorer(SEEN), FakeScorer("unheard-of")
    cached = CachedScorer(seen)
    assert trained_on(CascadeScorer(cached, unseen), "msmarco") == ("msmarco",)
    assert trained_on(CascadeScorer(unseen, cached), "msmarco") == ("msmarco",)
    assert trained_on(FallbackScorer([unseen, seen]), "msmarco") == ()


def test_every_form_says_so_beside_the_system(hand_written):
    data = load_data(hand_written, name="msmarco")
    found = evaluate(data, {"baseline": FakeScorer(SEEN), "other": FakeScorer("unheard-of")})
    assert [system.trained_on for system in found.systems] == [(), ("msmarco",), ()]
    for text in forms(found):
        assert f"baseline ({SAID})" in text
        assert f"other ({SAID})" not in text
        assert "baseline was trained on msmarco" in text
    saved = json.loads(Report.of(found).to_json())
    assert [system["trained_on"] for system in saved["systems"]] == [[], ["msmarco"], []]
    assert Evaluation.from_dict(saved) == found
    assert [fact.label for fact in decide(found).facts].count(SAID) == 1


def test_where_nothing_was_seen_nothing_is_said(hand_written):
    found = evaluate(load_data(hand_written), {"baseline": FakeScorer(SEEN)})
    assert all(SAID not in text for text in forms(found))


def test_a_report_saved_before_this_was_known_is_read(hand_written):
    found = evaluate(load_data(hand_written, name="msmarco"), {"baseline": FakeScorer(SEEN)})
    saved = found.to_dict()
    for system in saved["systems"]:
        del system["trained_on"]
    read = Evaluation.from_dict(json.loads(json.dumps(saved)))
    assert read.rerankers == (replace(found.rerankers[0], trained_on=()),)


def test_the_command_takes_the_datas_name(hand_written, bundled, tmp_path):
    out = tmp_path / "report.json"
    done = CliRunner().invoke(
        app, ["evaluate", str(hand_written), "--data-name", "squad", "--no-check", "-o", str(out)]
    )
    assert done.exit_code == 0, done.output
    assert SAID in " ".join(done.output.split())
    found = Evaluation.load(out)
    assert (found.data, found.rerankers[0].trained_on) == ("squad", ("squad",))


def test_a_blank_name_is_refused(hand_written):
    with pytest.raises(InvalidRequestError, match="blank"):
        load_data(hand_written, name=" ")
