"""Which models ``--model`` stands for, and for how long their scores are kept."""

from __future__ import annotations

import json
import re
import threading

import pytest
from typer.testing import CliRunner

from apiserver import ApiServer, body_of, rank, reply
from fresh import fresh
from rerank_core import InvalidRequestError
from rerank_core.cli import evaluate as _evaluate_command  # noqa: F401  (adds the commands)
from rerank_core.cli.app import app
from rerank_core.evaluation import Evaluation, systems
from rerank_core.evaluation.language import NamedModel
from rerank_core.evaluation.ownership import Access
from rerank_core.evaluation.scored import TIMED_SERVICE
from rerank_core.evaluation.systems import Stores, read_system, read_systems
from waiting import BOUND

MINI = "rerank-mini-en-v1"
NAMELESS = ["", " ", "local:", "+windows", "local:+windows", ">x", f"{MINI}>", f"{MINI}> >x"]


@pytest.fixture(autouse=True)
def machine(tmp_path, monkeypatch):
    """A machine whose cache file is empty."""
    file = tmp_path / "machine" / "evaluation.db"
    monkeypatch.setattr(systems, "default_file", lambda: file)
    monkeypatch.setenv("ASSISTERS_API_KEY", "a-key")
    monkeypatch.setenv("COHERE_API_KEY", "c-key")
    return file


@pytest.fixture
def server():
    server = ApiServer()
    yield server
    server.stop()


def run(command, *arguments):
    done = CliRunner().invoke(app, [command, *map(str, arguments)])
    done.text = " ".join(done.output.split())
    return done


def worst_first(request, connection):
    """Another model at the same address: it prefers what the first one liked least."""
    body = body_of(request)
    for result in body["results"]:
        result["relevance_score"] = 0.5 - result["relevance_score"]
    body["results"].sort(key=lambda result: -result["relevance_score"])
    return reply(body)(request, connection)


def test_another_model_at_the_same_address_is_measured_anew(hand_written, server, tmp_path, machine):
    arguments = [hand_written, "--base-url", server.url, "-m", "x", "--no-check", "--output"]
    first = run("evaluate", *arguments, tmp_path / "1.json")
    assert first.exit_code == 0, first.output
    server.default = worst_first
    second = run("evaluate", *arguments, tmp_path / "2.json")
    assert second.exit_code == 0, second.output
    before, after = (Evaluation.load(tmp_path / f"{n}.json").rerankers[0].measures for n in (1, 2))
    assert before != after
    assert not machine.exists()
    assert "earlier runs" not in second.text


def test_an_apis_scores_are_kept_where_the_user_says_and_the_run_says_how_many(hand_written, server, tmp_path):
    arguments = [hand_written, "--base-url", server.url, "-m", "x", "--no-check", "--cache", tmp_path / "mine.db"]
    first = run("evaluate", *arguments).text
    assert "The scores are kept in" in first
    assert "earlier runs" not in first
    asked = len(server.requests)
    again = run("evaluate", *arguments)
    assert len(server.requests) - asked <= 1  # what it can do may be asked again; nothing is scored
    assert "11 scores came from earlier runs" in again.text
    assert "mine.db" in again.output.replace("\n", "")


def test_a_calibration_is_not_fitted_to_what_an_address_said_last_month(hand_written, server, tmp_path, machine):
    arguments = [hand_written, "--base-url", server.url, "-m", "x", "-o", tmp_path / "c.json"]
    run("calibrate", *arguments)
    asked = len(server.requests)
    run("calibrate", *arguments)
    assert len(server.requests) >= 2 * asked - 1
    assert not machine.exists()


def test_local_scores_are_kept_on_the_machine(hand_written, machine):
    assert "The scores are kept in" in run("evaluate", hand_written).text
    again = run("evaluate", hand_written)
    assert "11 scores came from earlier runs" in again.text
    assert machine.is_file()


def test_there_is_one_store_of_each_kind_and_it_is_closed(machine):
    stores = Stores()
    assert stores.store(local=True) is stores.store(local=True)
    assert stores.store(local=False) is stores.store(local=False) is not stores.store(local=True)
    stores.close()
    assert [path.name for path in machine.parent.iterdir()] == [machine.name]  # no journal of a connection left open


def test_local_and_hosted_in_one_run(hand_written, server, tmp_path, machine):
    models = [f"local:{MINI}", "assisters:far", f"{MINI}>assisters:far".replace(MINI, f"local:{MINI}", 1)]
    options = ["--no-check", *(option for model in models for option in ("-m", model))]
    done = run("evaluate", hand_written, *options, "--base-url", server.url, "-o", tmp_path / "found.json")
    assert done.exit_code == 0, done.output
    found = Evaluation.load(tmp_path / "found.json")
    assert [system.name for system in found.rerankers] == models
    local, hosted, cascade = (system.identity for system in found.rerankers)
    assert "'api'" not in local
    assert hosted.startswith("('api', 'assisters'")
    assert local in cascade
    assert hosted in cascade
    assert machine.is_file()
    again = run("evaluate", hand_written, *options, "--base-url", server.url)
    assert "11 scores came from earlier runs" in again.text  # the local model's; the cascade asks only the other one


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("cohere:rerank-v3.5", NamedModel("rerank-v3.5", "cohere")),
        (f"local:{MINI}+windows", NamedModel(MINI, "local", windows=True)),
        (f" {MINI}+windows ", NamedModel(MINI, None, windows=True)),
        (f"{MINI}+fusion", NamedModel(MINI, fusion=True)),
        (f"cohere:{MINI}+windows+fusion", NamedModel(MINI, "cohere", windows=True, fusion=True)),
        ("tei:", NamedModel("", "tei")),
        ("org/model:free", NamedModel("org/model:free")),
        (r"C:\models\mine", NamedModel(r"C:\models\mine")),
    ],
)
def test_how_a_model_is_written(text, spec):
    assert NamedModel.read(text) == spec


def test_fusion_is_of_a_whole_system():
    texts = [MINI, f"{MINI}+fusion", f"rerank-tiny-en-v1>{MINI}+fusion"]
    systems = read_systems(texts, Access(), Stores())
    assert [system.name for system in systems] == texts
    assert [system.fusion for system in systems] == [None, 0.5, 0.5]
    with pytest.raises(InvalidRequestError, match="write it at the end"):
        read_systems([f"{MINI}+fusion>{MINI}"], Access(), Stores())
    with pytest.raises(InvalidRequestError, match="leave \\+fusion out"):
        read_system(f"{MINI}+fusion", Access(), Stores())


def made(texts, **access):
    return {system.name: system.scorer for system in read_systems(texts, Access(**access), Stores())}


def test_windows_belong_to_one_model():
    plain, windows = made([MINI, f"{MINI}+windows"]).values()
    assert (plain.options.long_documents, windows.options.long_documents) == ("truncate", "windows")


def test_an_address_goes_to_whom_it_belongs():
    scorers = made(["assisters:a", "cohere:b", "tei:", "c"], provider="cohere", base_url="http://127.0.0.1:9")
    assert [scorer.url.startswith("http://127.0.0.1:9") for scorer in scorers.values()] == [False, True, True, True]
    alone = made(["assisters:a", "local:x"], base_url="http://127.0.0.1:9")
    assert alone["assisters:a"].url.startswith("http://127.0.0.1:9")


def test_a_key_is_sent_to_nobody_else():
    scorers = made(["assisters:a", "cohere:b"], provider="cohere", api_key="secret")
    keys = [None if s.options.api_key is None else s.options.api_key.get_secret_value() for s in scorers.values()]
    assert keys == [None, "secret"]
    assert "secret" not in repr(Access(api_key="secret"))


@pytest.mark.parametrize(
    ("texts", "access", "message"),
    [
        ([MINI, f"{MINI} "], {}, "twice"),
        ([f"local:{MINI}", MINI], {}, f"'local:{MINI}' and '{MINI}' are one model"),
        ([f"{MINI}+windows", MINI], {"windows": True}, "given twice"),
        ([f"{MINI}>cohere:x", f"local:{MINI} > cohere-v2:x"], {}, "given twice"),
        (["x", "native:x"], {"base_url": "http://127.0.0.1:9"}, "given twice"),
        *(([text], {}, re.escape(repr(text))) for text in NAMELESS),
        (["assisters:a", "cohere:b"], {"api_key": "k"}, "one provider"),
        ([MINI], {"api_key": "k"}, "one provider"),
        (["local:x"], {"base_url": "http://127.0.0.1:9"}, "--provider which one"),
        (["assisters:a", "cohere:b"], {"base_url": "http://127.0.0.1:9"}, "--provider which one"),
        (["tei:"], {}, "base_url"),
        (["cohere:x+windows"], {}, "long_documents"),
    ],
)
def test_what_cannot_be_meant(texts, access, message):
    with pytest.raises(InvalidRequestError, match=message):
        made(texts, **access)


def test_models_of_one_name_that_differ():
    texts = ["x", "assisters:x", "cohere:x", "local:x", "local:x+windows"]
    assert list(made(texts, base_url="http://127.0.0.1:9")) == texts  # the first is at the address, the second is not


def test_a_cascade_has_no_calibration(hand_written, tmp_path):
    with pytest.raises(InvalidRequestError, match="cascade"):
        read_system(f"{MINI}>{MINI}", Access(), Stores())
    done = run("calibrate", hand_written, "-m", f"{MINI}>cohere:x", "-o", tmp_path / "c.json")
    assert done.exit_code == 2
    assert "cascade" in done.text


def test_calibrate_reads_as_the_model_will(beir, tmp_path):
    done = run("calibrate", beir, "-o", tmp_path / "c.json", "--language", "klingon", "--windows")
    assert done.exit_code == 2
    assert "klingon" in done.text


def test_a_service_has_four_queries_in_flight_after_those_that_are_timed(server, tmp_path):
    """Each request after the first ten is answered only when three others are there."""
    rows = [
        {"query": f"query {number}", "documents": [f"{number} a", f"{number} b"], "relevant": [1]}
        for number in range(TIMED_SERVICE + 8)
    ]
    (tmp_path / "mine.jsonl").write_text("\n".join(map(json.dumps, rows)))
    together = threading.Barrier(4)

    def meet(request, connection):
        if len(server.requests) > TIMED_SERVICE:
            together.wait(BOUND)
        return rank(request, connection)

    server.default = meet
    asked = ["--base-url", server.url, "-m", "x", "--no-check", "-o", tmp_path / "1.json"]
    done = run("evaluate", tmp_path / "mine.jsonl", *asked)
    assert done.exit_code == 0, done.output
    assert len(server.requests) == TIMED_SERVICE + 8
    assert not together.broken
    assert Evaluation.load(tmp_path / "1.json").rerankers[0].seconds > 0


def test_a_base_install_says_which_extra_to_install(hand_written, tmp_path):
    code = f"""
from rerank_core.cli.app import app
from rerank_core.cli import evaluate
from typer.testing import CliRunner
for options in ([], ["--bm25"]):
    done = CliRunner().invoke(app, ["evaluate", {str(hand_written)!r}, "--cache", {str(tmp_path / "s.db")!r}, *options])
    print(done.exit_code, " ".join(done.output.split()))
"""
    printed = fresh(code, without=("ir_measures", "bm25s", "scipy", "matplotlib", "snowballstemmer", "pytrec_eval"))
    for line in printed.splitlines():
        assert line.startswith("3 ")
        assert "pip install 'rerank-plugins[eval]'" in line
    assert len(printed.splitlines()) == 2
