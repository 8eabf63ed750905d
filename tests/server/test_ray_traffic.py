"""The server on Ray Serve under traffic: what is too much, what is under way at a stop, what comes meanwhile."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest
import yaml

from fresh import environment as child_environment
from own_ray import LONG, own_ray
from ray_serving import MODEL, Crowd, Held, Traffic, client, is_right, ready, replicas, rerank, stopped
from rerank_core.variables import RAY
from waiting import BOUND, ended, wait_for

pytestmark = [pytest.mark.ray, pytest.mark.timeout(3600)]

WORK = [f"{number} cats purr " * 50 for number in range(100)]  # equal documents would be scored once
CONFIG = Path(__file__).resolve().parents[2] / "deploy" / "ray" / "serve.yaml"


@pytest.fixture
def environment():
    """An environment for a Ray of the test's own."""
    with own_ray() as changes:
        yield changes


def is_refused(answer, status):
    return answer.status_code == status and int(answer.headers["retry-after"]) >= 1


def test_what_is_too_much_is_refused_and_nothing_hangs(environment):
    few = {"RERANK_MAX_IN_FLIGHT_REQUESTS": "2"}
    with ready(environment | few, "--replicas", "1") as (process, http), ExitStack() as stack:
        held = [stack.enter_context(Held(process.url())) for _ in range(4)]  # as many as the replica lets in
        wait_for(lambda: is_refused(rerank(http), 429))
        # By the replica, in the words of the request's dialect, before Serve's own limit is reached.
        refused = Crowd(http, 20).all()
        assert all(is_refused(each, 429) and each.json()["error"]["code"] == "overloaded" for each in refused)
        assert all(is_right(each.finish()) for each in held)
        assert len(rerank(http).headers.get_list("x-request-id")) == 1
        # A replica that takes nothing: Serve keeps 8 for it and 100 more, and refuses the others at once.
        (replica,) = replicas(environment)
        with stopped(replica):
            crowd = Crowd(http, 140)
            wait_for(lambda: len(crowd.answers) >= 20)
            assert all(is_refused(each, 503) for each in crowd.answers)
        late = [each for each in crowd.all() if each.status_code != 503]
        assert late
        assert all(is_right(each) or is_refused(each, 429) for each in late)
        assert is_right(rerank(http))


def test_what_is_under_way_is_answered_before_the_server_ends(environment):
    few = {"RERANK_MAX_IN_FLIGHT_REQUESTS": "1"}
    with ready(environment | few, "--replicas", "1") as (process, http), ExitStack() as stack:
        held = [stack.enter_context(Held(process.url())) for _ in range(2)]
        wait_for(lambda: is_refused(rerank(http), 429))  # both are with the replica
        process.process.send_signal(signal.SIGTERM)
        wait_for(lambda: rerank(http).status_code == 404)  # Serve's, once the application is being deleted
        assert all(is_right(each.finish()) for each in held)
        assert process.ended() == 0


HEAD = """
import sys
import ray

ray.init(num_cpus=3, include_dashboard=True, dashboard_port={port}, object_store_memory=100_000_000)
print("started", flush=True)
sys.stdin.read()
ray.shutdown()
"""


class Cluster:
    """A Ray with a dashboard, and Serve's command line for it."""

    def __init__(self, environment, port):
        self.dashboard = f"http://127.0.0.1:{port}"
        self._environment = child_environment(**RAY, **environment)
        self.process = subprocess.Popen(
            [sys.executable, "-c", HEAD.format(port=port)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=self._environment,
        )  # fmt: skip

    def serve(self, *arguments):
        """Run ``serve``; what it prints."""
        done = subprocess.run(
            [sys.executable, "-m", "ray.serve.scripts", *arguments, "--address", self.dashboard],
            capture_output=True, text=True, check=False, timeout=BOUND, env=self._environment,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    def application(self):
        """What Serve says about the application."""
        answer = httpx.get(f"{self.dashboard}/api/serve/applications/", timeout=BOUND, trust_env=False)
        return answer.json()["applications"].get("rerank", {"status": "", "deployments": {}})

    def running(self):
        """How many replicas are running."""
        deployment = self.application()["deployments"].get("rerank", {"replicas": []})
        return [each["state"] for each in deployment["replicas"]].count("RUNNING")


@contextmanager
def cluster(environment, port):
    started = Cluster(environment, port)
    with started.process as process:
        try:
            assert "started" in process.stdout.readline()
            yield started
        finally:
            process.stdin.close()
            ended(process)


def free_ports(count):
    """Ports of this machine that nobody listens on."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def configuration(folder, port, **args):
    """``deploy/ray/serve.yaml`` for this machine, with delays that a test can wait for; the file."""
    content = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))
    content["http_options"] = {"host": "127.0.0.1", "port": port}
    (application,) = content["applications"]
    keys = folder / "keys"
    keys.write_text("sesame-4711")
    application["args"] |= {"api_keys_file": str(keys), "cache_entries": 0, **args}  # equal requests are work
    (deployment,) = application["deployments"]
    deployment["ray_actor_options"]["num_cpus"] = 1
    scaling = deployment["autoscaling_config"]
    scaling |= {"min_replicas": 1, "max_replicas": 2, "upscale_delay_s": 0, "downscale_delay_s": 1}
    scaling |= {"metrics_interval_s": 0.5, "look_back_period_s": 1}
    scaling["policy"]["policy_kwargs"]["seconds"] = 0.2
    file = folder / "serve.yaml"
    file.write_text(yaml.safe_dump(content))
    return file


def test_a_cluster_takes_the_config_file_and_follows_the_work_and_loses_nothing(environment, tmp_path):
    port, dashboard = free_ports(2)
    url = f"http://127.0.0.1:{port}"
    key = {"authorization": "Bearer sesame-4711"}
    with cluster(environment, dashboard) as head, client(url) as http:
        head.serve("deploy", str(configuration(tmp_path, port)))
        wait_for(lambda: head.application()["status"] == "RUNNING", bound=LONG)
        assert rerank(http).status_code == 401
        http.headers.update(key)
        assert is_right(rerank(http))
        # One replica, then two while there is more work than one does, then one again, without a lost request.
        with Traffic(http, 1):
            with Traffic(http, 6, documents=WORK):
                wait_for(lambda: head.running() == 2, bound=LONG)
            wait_for(lambda: head.running() == 1, bound=LONG)
            # An update while there is work: the old replica answers what it has begun.
            with Held(url, **key) as held:
                head.serve("deploy", str(configuration(tmp_path, port, models=[MODEL, "other=rerank-tiny-en-v1"])))
                wait_for(lambda: len(http.get("/v1/models").json()["data"]) == 2, bound=LONG)
                assert is_right(held.finish())
