"""The server on Ray Serve: real replicas, real traffic, nothing left behind."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
import uuid
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
import yaml
from ray.serve.schema import ServeDeploySchema

from fresh import fresh
from rerank_core import InvalidRequestError
from rerank_core.server.ray import WAITING, WaitingTime, app, application
from rerank_core.server.settings import ServerSettings
from server_process import running
from serving import SPEC_BODY
from waiting import BOUND, wait_for

pytestmark = pytest.mark.ray

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
MODEL = "rerank-mini-en-v1"
MARK = "TEST_OF_RAY_SERVE"  # in the environment of every process that a test starts


def marked(mark):
    """Processes with this mark in their environment."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if f"{MARK}={mark}".encode() in (process / "environ").read_bytes():
                found.append((process.name, (process / "cmdline").read_bytes()))
        except OSError:
            continue  # it has ended, or is somebody else's
    return found


@pytest.fixture
def environment():
    """An environment for a Ray of the test's own, none of whose processes may outlive the test."""
    folder, mark = tempfile.mkdtemp(prefix="ray-"), uuid.uuid4().hex
    yield {
        "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path)),
        "RAY_AUTH_MODE": "disabled",  # it would leave a token in the user's home
        "RAY_TMPDIR": folder,  # its sockets need a short path
        "RERANK_AUTOTUNE": "0",
        MARK: mark,
    }
    if Path("/proc/self/environ").exists():
        wait_for(lambda: not marked(mark))
    shutil.rmtree(folder, ignore_errors=True)


def rerank(http, **changes):
    return http.post("/v1/rerank", json={**SPEC_BODY, "model": MODEL, **changes})


def test_replicas_share_keys_and_limits_and_finish_what_they_accepted(environment):
    keys = {"RERANK_API_KEYS": "sesame-4711", "RERANK_RATE_LIMIT": "7"}
    with running("--ray", "--replicas", "2", environment=environment | keys) as process:
        wait_for(lambda: " INFO ready" in process.log or process.process.poll() is not None)
        headers = {"authorization": "Bearer sesame-4711"}
        with httpx.Client(base_url=process.url(), headers=headers, timeout=BOUND, trust_env=False) as http:
            assert http.get("/ready").status_code == 200
            assert rerank(http, query=" ").status_code == 400
            answer = rerank(http)
            assert answer.json()["results"][0]["index"] in {0, 2}
            assert http.post("/v2/rerank", json={"query": "a"}, headers={"authorization": "none"}).status_code == 401
            seen = [rerank(http) for _ in range(9)]
            # Seven a minute for both replicas together; a minute of a busy machine may let one more through.
            assert [each.status_code for each in seen].count(200) in range(5, 8)
            refused = next(each for each in seen if each.status_code == 429)
            assert int(refused.headers["retry-after"]) >= 1
            assert refused.json()["error"]["code"] == "rate_limit_exceeded"
        process.process.send_signal(signal.SIGTERM)
        assert process.ended() == 0
        assert "sesame" not in process.log
        assert "machine learning" not in process.log


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
with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=240, trust_env=False) as http:
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
    assert "[200] [1, 2] True" in fresh(UPDATE, env=environment).splitlines()


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
