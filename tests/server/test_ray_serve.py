"""The server on Ray Serve: real replicas, real traffic, nothing left behind."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from ray.serve.schema import ServeDeploySchema

from fresh import fresh
from own_ray import LONG, own_ray
from ray_serving import ready, replicas, rerank
from rerank_core import InvalidRequestError
from rerank_core.server.ray import WAITING, WaitingTime, app, application
from rerank_core.server.settings import ServerSettings
from waiting import wait_for

pytestmark = [pytest.mark.ray, pytest.mark.timeout(3600)]

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"


@pytest.fixture
def environment():
    """An environment for a Ray of the test's own."""
    with own_ray() as changes:
        yield changes


def test_replicas_share_keys_and_limits_and_finish_what_they_accepted(environment):
    keys = {"RERANK_API_KEYS": "sesame-4711", "RERANK_RATE_LIMIT": "7"}
    with ready(environment | keys, "--replicas", "2") as (process, http):
        assert http.get("/ready").status_code == 200
        assert http.post("/v2/rerank", json={"query": "a"}, headers={"authorization": "none"}).status_code == 401
        http.headers["authorization"] = "Bearer sesame-4711"
        assert rerank(http, query=" ").status_code == 400
        assert rerank(http).json()["results"][0]["index"] in {0, 2}
        seen = [rerank(http) for _ in range(9)]
        # Seven a minute for both replicas together; a minute of a busy machine may let one more through.
        assert [each.status_code for each in seen].count(200) in range(5, 8)
        refused = next(each for each in seen if each.status_code == 429)
        assert int(refused.headers["retry-after"]) >= 1
        assert refused.json()["error"]["code"] == "rate_limit_exceeded"
        address = re.search(r"metrics of all replicas: (\S+)", process.log)[1]
        wait_for(lambda: exported(httpx.get(address, timeout=LONG, trust_env=False).text) == (2, 12))
        # Nobody counts: requests are answered all the same, and each key begins anew.
        (counting,) = replicas(environment | keys, "rate-limits")
        os.kill(counting, signal.SIGKILL)
        meanwhile = []
        wait_for(lambda: meanwhile.append(rerank(http).status_code) or 200 in meanwhile)
        wait_for(lambda: replicas(environment, "rate-limits") not in ([], [counting]))
        assert {*meanwhile, rerank(http).status_code} <= {200, 429}
    assert "sesame" not in process.log
    assert "machine learning" not in process.log


def exported(text):
    """How many replicas are in the metrics that Ray exports, and the answers that all of them gave on rerank paths."""
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    replicas = {sample.labels["replica"] for sample in samples if sample.name == "ray_rerank_queue_pairs"}
    answers = [
        sample.value
        for sample in samples
        if sample.name == "ray_rerank_requests_total" and sample.labels["route"].endswith("/rerank")
    ]
    return len(replicas), sum(answers)


UPDATE = """
import threading
import httpx
from ray import serve
from rerank_core.server.ray import app
from rerank_core.server.ray_process import _cluster, _free_port, _listen

cluster = _cluster(8)
cluster.__enter__()
port = _free_port("127.0.0.1")
_listen("127.0.0.1", port)

def deploy(*models):
    serve.run(app({"models": models}))


def traffic(http, statuses, served, stop):
    while not stop.is_set():
        answer = http.post("/v1/rerank", json={"model": "m", "query": "cats", "documents": ["cats purr"] * 8})
        statuses.append(answer.status_code)
        served.append(len(http.get("/v1/models").json()["data"]))


deploy("m=rerank-mini-en-v1")
statuses, served, stop = [], [], threading.Event()
with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=900, trust_env=False) as http:
    threads = [threading.Thread(target=traffic, args=(http, statuses, served, stop)) for _ in range(4)]
    for each in threads:
        each.start()
    while len(statuses) < 20:
        stop.wait(0.01)
    before = len(statuses)
    deploy("m=rerank-mini-en-v1", "other=rerank-tiny-en-v1")
    while served[-8:] != [2] * 8:
        stop.wait(0.01)
    stop.set()
    for each in threads:
        each.join()
print(sorted(set(statuses)), sorted(set(served)), len(statuses) - before > 20)
cluster.__exit__(None, None, None)
"""


def test_a_rolling_update_loses_no_request(environment):
    assert "[200] [1, 2] True" in fresh(UPDATE, env=environment, bound=LONG).splitlines()


def context(queues, target=3):
    return SimpleNamespace(aggregated_metrics={WAITING: queues} if queues else {}, target_num_replicas=target)


def test_replicas_follow_the_work():
    policy = WaitingTime(seconds=2.0)
    assert policy(context({"a": 4.0, "b": 2.0}))[0] == 3
    assert policy(context({"a": 0.0, "b": 0.0}))[0] == 0  # Serve keeps the least there may be
    assert policy(context({}, target=5))[0] == 5


def test_keys_in_the_arguments_are_refused_without_repeating_them():
    with pytest.raises(InvalidRequestError, match="dashboard") as caught:
        app({"api_keys": ["sesame-4711"]})
    assert "sesame" not in str(caught.value)


def test_arguments_are_settings(tmp_path):
    with pytest.raises(InvalidRequestError, match="max_documents"):
        app({"max_document": 3})
    file = tmp_path / "settings.toml"
    file.write_text('models = ["rerank-tiny-en-v1"]')
    assert app({"config": str(file)})


def test_an_open_cluster_is_refused():
    with pytest.raises(InvalidRequestError, match="refusing to listen"):
        application(ServerSettings(host="0.0.0.0"))  # noqa: S104  (what is refused)


@pytest.mark.parametrize("name", sorted(path.name for path in (DEPLOY / "ray").glob("serve*.yaml")))
def test_the_config_files_are_valid(name):
    read = ServeDeploySchema.model_validate(yaml.safe_load((DEPLOY / "ray" / name).read_text(encoding="utf-8")))
    for each in read.applications:
        assert each.import_path == f"{app.__module__}:{app.__name__}"
        assert {deployment.name for deployment in each.deployments} <= {"rerank", "rate-limits"}
        app(each.args | {"api_keys_file": None, "no_auth": True})
