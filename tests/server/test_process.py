"""``rerank serve`` as a process: it starts, says where it is, drains and leaves."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import threading

import httpx
import pytest

from server_process import running
from serving import SPEC_BODY
from waiting import BOUND, join, wait_for

WORKING = 'rerank_queue_requests{model="rerank-mini-en-v1"} 1.0'
BODY = {**SPEC_BODY, "model": "rerank-mini-en-v1"}
PATIENT = ("--request-timeout", str(BOUND), "--drain-seconds", str(BOUND))  # nothing ends because a machine is busy
HTTP = {"timeout": BOUND, "trust_env": False}


@pytest.fixture
def gate(tmp_path):
    """A file; while it exists, models of a process that was started with ``before=hold(gate)`` wait."""
    return tmp_path / "gate"


def hold(gate):
    return f"import gates; gates.hold({str(gate)!r})"


class Asking:
    """A request on its way: the model has it, and waits."""

    def __init__(self, url, gate):
        self.reply = None
        self._gate = gate
        self._gate.touch()
        self._thread = threading.Thread(target=self._ask, args=(url,))
        self._thread.start()
        wait_for(lambda: WORKING in httpx.get(f"{url}/metrics", **HTTP).text)

    def _ask(self, url):
        self.reply = httpx.post(f"{url}/v1/rerank", json=BODY, **HTTP)

    def let_go(self):
        self._gate.unlink()

    def answer(self):
        join(self._thread)
        return self.reply


def test_it_starts_with_no_option_at_all_and_stops_with_0():
    with running() as process:
        url = process.url()
        reply = httpx.post(f"{url}/v1/rerank?sesame=4711", json=BODY, **HTTP)
        assert [result["index"] for result in reply.json()["results"]] == [0, 2, 1, 3]
        process.process.send_signal(signal.SIGTERM)
        assert process.ended() == 0
        assert "status=200" in process.log
        assert "sesame" not in process.log


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_accepted_requests_finish(gate, number):
    with running(*PATIENT, before=hold(gate)) as process:
        asking = Asking(process.url(), gate)
        process.process.send_signal(number)
        wait_for(lambda: "stopping" in process.log)
        asking.let_go()
        reply = asking.answer()
        assert reply.status_code == 200
        assert len(reply.json()["results"]) == 4
        assert process.ended() == 0


def test_whoever_comes_while_it_drains_is_refused_and_whoever_was_there_is_served(gate):
    with running(*PATIENT, before=hold(gate)) as process:
        url = process.url()
        host, port = url.removeprefix("http://").split(":")
        asking = Asking(url, gate)
        body = json.dumps(BODY).encode()
        begun = http.client.HTTPConnection(host, int(port), timeout=BOUND)  # accepted, and still sending its body
        begun.putrequest("POST", "/v1/rerank")
        begun.putheader("Content-Type", "application/json")
        begun.putheader("Content-Length", str(len(body)))
        begun.endheaders(body[:10])
        wait_for(lambda: httpx.get(f"{url}/health", **HTTP).status_code == 200)
        process.process.send_signal(signal.SIGTERM)
        wait_for(lambda: "stopping" in process.log)
        ready = httpx.get(f"{url}/ready", **HTTP)
        assert (ready.status_code, ready.json()["status"]) == (503, "draining")
        late = httpx.post(f"{url}/v1/rerank", json=BODY, **HTTP)
        assert (late.status_code, late.json()["error"]["code"]) == (503, "shutting_down")
        assert late.headers["retry-after"] == "1"
        asking.let_go()
        begun.send(body[10:])
        assert begun.getresponse().status == 200
        begun.close()
        assert asking.answer().status_code == 200
        assert process.ended() == 0


def test_what_does_not_finish_in_time_is_reported(gate):
    with running("--drain-seconds", "0.1", before=hold(gate)) as process:
        asking = Asking(process.url(), gate)
        process.process.send_signal(signal.SIGTERM)
        reply = asking.answer()
        assert (reply.status_code, reply.json()["error"]["code"]) == (503, "shutting_down")
        asking.let_go()
        assert process.ended() == 0


def test_settings_from_a_file_and_logs_as_json(tmp_path):
    config, keys = tmp_path / "rerank.toml", tmp_path / "keys"
    keys.write_text("sesame-4711\n")
    config.write_text(f'models = ["m=rerank-mini-en-v1"]\nlog_format = "json"\napi_keys_file = "{keys}"\n')
    with running("--config", str(config), "--max-documents", "2") as process:
        url, headers = process.url(), {"authorization": "Bearer sesame-4711"}
        assert httpx.get(f"{url}/v1/models", **HTTP).status_code == 401
        models = httpx.get(f"{url}/v1/models", headers=headers, **HTTP).json()
        assert [model["id"] for model in models["data"]] == ["m"]
        body = {"model": "m", "query": "q", "documents": ["a", "b", "c"]}
        reply = httpx.post(f"{url}/v1/rerank", json=body, headers=headers, **HTTP)
        assert reply.json()["error"]["message"] == "Too many documents. Maximum is 2."
        process.process.send_signal(signal.SIGTERM)
        process.ended()
        lines = [json.loads(line) for line in process.lines]
        assert any(line.get("code") == "too_many_documents" for line in lines)
        assert "sesame" not in process.log


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--host", "192.0.2.1"], 2, "without API keys"),
        (["--model", "nope"], 2, "rerank-mini-en-v1, rerank-tiny-en-v1, rerank-small-en-v2"),
        (["--model", "no/where", "--local-files-only"], 3, "no/where"),
        (["--max-documents", "0"], 2, "max_documents"),
        (["--config", "/no/such/file.toml"], 2, "cannot read"),
        (["--api-keys-file", "/no/such/file"], 2, "cannot read"),
    ],
)
def test_what_cannot_be_served_ends_with_a_reason(arguments, code, message):
    with running(*arguments) as process:
        assert process.ended() == code
        wait_for(lambda: message in process.log.replace("\n", " "))


def test_an_address_that_is_taken(api):
    with running("--port", api.url.rsplit(":", 1)[1]) as process:
        assert process.ended() not in (0, None)
        wait_for(lambda: "in use" in process.log)


def test_without_the_server_extra_the_command_says_what_to_install(tmp_path):
    (tmp_path / "fastapi.py").write_text("raise ImportError('No module named fastapi', name='fastapi')")
    code = "import sys; sys.argv = ['rerank', 'serve']\nfrom rerank_core.cli import main\nmain()"
    environment = {"PATH": os.defpath, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 3
    assert "rerank-plugins[server]" in done.stderr
