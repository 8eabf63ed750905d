"""The options of a served model that are not its scorer's: a budget of time, a check before it serves, a price."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from rerank_core import InvalidRequestError, Reranker
from rerank_core.options import OF_SERVED_MODELS
from rerank_core.scoring import FakeScorer, LocalScorer, Score, Scores
from rerank_core.server.settings import load_settings
from serving import serving
from waiting import wait_for

DOCUMENTS = [f"Document {number} is about rivers." for number in range(30)]
ALL = {"max_latency": 0.5, "check_first": True, "price_per_million_tokens": 0.05}


def test_a_budget_leaves_the_rest_in_its_order_and_says_so():
    with serving(models=("m=rerank-tiny-en-v1",), max_latency=1e-9) as served:
        response = served.rerank(model="m", documents=DOCUMENTS)
        assert response.status_code == 200
        assert [result["index"] for result in response.json()["results"]] == list(range(30))
        assert (response.headers["x-degraded"], response.headers["x-unscored-documents"]) == ("true", "29")
        assert served.metric("rerank_unscored_documents_total", model="m") == 29
        remote = Reranker("m", base_url=served.url).rerank("q", DOCUMENTS)
        assert (remote.unscored, remote.degraded) == (29, True)


def test_what_a_budget_left_out_of_a_ready_engine_is_counted_too():
    engine = Reranker(scorer=FakeScorer(), max_latency=1e-9)
    with serving(rerankers={"own": engine}) as served:
        assert served.rerank(model="own", documents=DOCUMENTS).headers["x-unscored-documents"] == "29"
        assert served.metric("rerank_unscored_documents_total", model="own") == 29


def test_a_price_is_counted():
    with serving(
        models=("m=rerank-tiny-en-v1", "free=rerank-tiny-en-v1"), options={"m": {"price_per_million_tokens": 2}}
    ) as served:
        tokens = served.rerank(model="m").json()["usage"]["total_tokens"]
        served.rerank(model="free")
        assert served.metric("rerank_cost_dollars_total", model="m") == pytest.approx(tokens * 2e-6)
        assert served.metric("rerank_cost_dollars_total", model="free") == 0


def test_no_model_is_served_that_does_not_rank(monkeypatch):
    class Even(FakeScorer):
        def score(self, _query, texts):
            return Scores((Score(0.5),) * len(texts), self.model)

    monkeypatch.setattr("rerank_core.server.app.local_scorer", lambda *_: Even())
    with serving(models=("m=rerank-tiny-en-v1",), check_first=True, wait=False) as served:
        wait_for(lambda: served.server.served.models[0].error)
        response = served.rerank(model="m")
        assert (response.status_code, response.json()["error"]["code"]) == (500, "model_load_failed")
        assert served.http.get("/ready").status_code == 503
    assert served.server.served.models[0].error.code == "check_failed"


def test_they_come_from_the_environment_a_file_and_the_command_line(monkeypatch, tmp_path):
    from rerank_core.cli import serve  # noqa: F401  (it adds its command)
    from rerank_core.cli.app import app

    shown = CliRunner().invoke(app, ["serve", "--help"], env={"COLUMNS": "200"}).output
    for name, value in ALL.items():
        assert f"--{name.replace('_', '-')}" in shown
        monkeypatch.setenv(f"RERANK_{name.upper()}", str(value))
    assert set(ALL) == set(OF_SERVED_MODELS)
    settings = load_settings()
    assert {name: settings.options_of(settings.models[0])[name] for name in ALL} == ALL
    for name in ALL:
        monkeypatch.delenv(f"RERANK_{name.upper()}")
    file = tmp_path / "settings.toml"
    file.write_text("max_latency = 0.5\ncheck_first = true\nprice_per_million_tokens = 0.05\n")
    settings = load_settings(file, max_latency=0.25)
    assert settings.options_of(settings.models[0]).items() >= (ALL | {"max_latency": 0.25}).items()
    with pytest.raises(InvalidRequestError, match="max_latency"):
        load_settings(max_latency=0.0)


RAW = {
    "/v1/rerank": lambda: {"query": "q", "documents": DOCUMENTS, "raw_scores": True},
    "/rerank": lambda: {"query": "q", "texts": DOCUMENTS, "raw_scores": True},
    "/nim/v1/ranking": lambda: {"query": {"text": "q"}, "passages": [{"text": text} for text in DOCUMENTS]},
    "/score": lambda: {"text_1": "q", "text_2": DOCUMENTS, "use_activation": False},
}


@pytest.mark.parametrize("path", RAW)
@pytest.mark.parametrize("options", [{"max_latency": 1e-9}, {"when_cold": "keep_order"}], ids=str)
def test_raw_scores_of_what_nobody_scored_are_the_last_and_no_error(path, options, monkeypatch):
    if "when_cold" in options:
        monkeypatch.setattr(LocalScorer, "_is_cold", lambda _: True)
    with serving(models=("m=rerank-tiny-en-v1",), **options) as served:
        response = served.http.post(path, json={"model": "m"} | RAW[path]())
    assert response.status_code == 200, response.text
    body = response.json()
    items = (
        body if isinstance(body, list) else next(body[name] for name in ("results", "rankings", "data") if name in body)
    )
    scores = [next(item[name] for name in ("relevance_score", "logit", "score") if name in item) for item in items]
    assert scores == sorted(scores, reverse=True)
    assert response.headers["x-degraded"] == "true"
    assert len(scores) == len(DOCUMENTS)
