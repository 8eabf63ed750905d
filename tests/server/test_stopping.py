"""SIGTERM ends the process in its time, whatever is running in it."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import threading
from contextlib import suppress

import httpx
import pytest

from server_process import running
from waiting import BOUND, ended, wait_for

MODEL = "rerank-mini-en-v1"
SMALL = {"model": MODEL, "query": "dawdle", "documents": ["a text"]}
LARGE = {**SMALL, "user": "x" * 60_000}  # read and written beside the event loop, and ranked in no time

# What takes longer than anybody waits: it sleeps ten minutes, in the process's own code.
SLOW = """
import sys, time
from rerank_core.inference.backends.onnx import OnnxBackend
from rerank_core.inference.encoding import PairEncoder
from rerank_core.server import handler

asked = []

def slow(owner, name):
    original = getattr(owner, name)
    def wrapper(*arguments, **options):
        if asked:
            print("dawdling in", name, file=sys.stderr, flush=True)
            time.sleep(600)
        return original(*arguments, **options)
    setattr(owner, name, wrapper)

def listen(read):
    def wrapper(data):
        asked.extend([1] if b"dawdle" in data else [])
        return read(data)
    handler.read_json = wrapper

"""
READING = SLOW + 'slow(handler, "read_json")\nlisten(handler.read_json)'
WRITING = SLOW + 'slow(handler, "json_bytes")\nlisten(handler.read_json)'
TOKENISING = SLOW + 'slow(PairEncoder, "start")\nlisten(handler.read_json)'
MODEL_AT_WORK = SLOW + 'slow(OnnxBackend, "run")\nlisten(handler.read_json)'
BESIDE = [
    pytest.param(READING, id="reading"),
    pytest.param(WRITING, id="writing"),
    pytest.param(TOKENISING, id="tokenising"),
    pytest.param(MODEL_AT_WORK, id="model"),
]


class Asking:
    """A request on its way, which the process dawdles over."""

    def __init__(self, process, body):
        self.reply = None
        self._url = process.url()
        self._thread = threading.Thread(target=self._ask, args=(body,), daemon=True)
        self._thread.start()
        wait_for(lambda: "dawdling" in process.log)

    def _ask(self, body):
        with suppress(httpx.TransportError):  # the process ended without an answer
            self.reply = httpx.post(f"{self._url}/v1/rerank", json=body, timeout=BOUND, trust_env=False)

    def answer(self):
        self._thread.join(BOUND)
        return self.reply.status_code, self.reply.json()["error"]["code"]


@pytest.mark.parametrize("before", BESIDE)
def test_work_that_is_never_done_is_answered_in_time_and_holds_up_nothing(before):
    with running("--request-timeout", "10", before=before) as process:
        assert Asking(process, LARGE).answer() == (504, "deadline_exceeded")
        assert httpx.get(f"{process.url()}/health", timeout=BOUND, trust_env=False).status_code == 200
        process.process.send_signal(signal.SIGTERM)
        assert ended(process.process) == 0


@pytest.mark.parametrize("before", BESIDE)
def test_the_end_of_the_time_to_finish_is_answered_and_is_the_end(before):
    with running("--drain-seconds", "0.2", before=before) as process:
        asking = Asking(process, LARGE)
        process.process.send_signal(signal.SIGTERM)
        assert asking.answer() == (503, "shutting_down")
        assert ended(process.process) == 0


def test_a_second_signal_is_the_end_at_once():
    with running("--drain-seconds", "500", before=MODEL_AT_WORK) as process:
        Asking(process, LARGE)
        process.process.send_signal(signal.SIGTERM)
        wait_for(lambda: "stopping" in process.log)
        process.process.send_signal(signal.SIGTERM)
        assert ended(process.process) == 128 + signal.SIGTERM


def test_even_an_event_loop_that_hangs_comes_to_an_end():
    with running("--drain-seconds", "0.2", before=READING) as process:
        Asking(process, SMALL)  # small enough to be read on the loop
        process.process.send_signal(signal.SIGTERM)
        assert ended(process.process) == 1


def test_a_body_that_is_still_arriving_does_not_hold_up_the_end():
    with running("--drain-seconds", "0.2") as process:
        host, port = process.url().removeprefix("http://").split(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=BOUND)
        connection.putrequest("POST", "/v1/rerank")
        connection.putheader("Content-Type", "application/json")
        connection.putheader("Content-Length", "1000")
        connection.endheaders(b"{")
        wait_for(lambda: httpx.get(f"{process.url()}/health", timeout=BOUND, trust_env=False).status_code == 200)
        process.process.send_signal(signal.SIGTERM)
        reply = connection.getresponse()
        assert (reply.status, json.loads(reply.read())["error"]["code"]) == (503, "shutting_down")
        connection.close()
        assert ended(process.process) == 0


def test_an_answer_that_nobody_fetches_does_not_hold_up_the_end():
    body = json.dumps({"model": MODEL, "query": "q", "documents": ["x " * 3_900_000]}).encode()
    with running(before="from rerank_core.server import run\nrun._FETCH_SECONDS = 0.2") as process:
        host, port = process.url().removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=BOUND) as connection:
            connection.sendall(b"POST /v1/rerank HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n")
            connection.sendall(b"Content-Length: %d\r\n\r\n" % len(body) + body)
            wait_for(lambda: "documents=1" in process.log)
            process.process.send_signal(signal.SIGTERM)
            assert process.ended() == 0
        for unwanted in ("Traceback", "CancelledError", "ERROR"):
            assert unwanted not in process.log


LOADING = """
import sys, time
from rerank_core.scoring.local import LocalScorer

def slow(_):
    print("dawdling", file=sys.stderr, flush=True)
    time.sleep(600)

LocalScorer.warm_up = slow
"""


def test_a_model_that_is_still_loading_does_not_hold_up_the_end():
    with running(before=LOADING) as process:
        wait_for(lambda: "serving" in process.log and "dawdling" in process.log)
        process.process.send_signal(signal.SIGTERM)
        assert ended(process.process) == 0
