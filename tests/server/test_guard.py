"""Web pages and a server without keys."""

from __future__ import annotations

import httpx
import pytest

from rerank_core.server.guard import host_name
from rerank_core.server.settings import ServerSettings
from server_process import running
from serving import SPEC_BODY, serving
from waiting import BOUND

BODY = {**SPEC_BODY, "model": "rerank-mini-en-v1"}


@pytest.fixture(scope="module")
def keyless():
    """``rerank serve`` with no option at all."""
    with running() as process:
        yield process.url()


def post(url, **headers):
    return httpx.post(f"{url}/v1/rerank", json=BODY, headers=headers, timeout=BOUND, trust_env=False)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost:8000", "LOCALHOST", "localhost.", "app.localhost", "[::1]:80"]
)
def test_it_answers_to_the_names_of_this_machine(keyless, host):
    assert post(keyless, host=host).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "localhost.evil.example", "", "192.0.2.1"]
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_page_whose_name_points_here_gets_nothing(keyless, method, host):
    path = {"GET": "/v1/models", "POST": "/v1/rerank"}[method]
    reply = httpx.request(method, f"{keyless}{path}", json=BODY, headers={"host": host}, timeout=BOUND, trust_env=False)
    assert (reply.status_code, reply.json()["error"]["code"]) == (403, "host_not_allowed")
    assert "evil" not in reply.text


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "null",
        "http://localhost:1",
        "http://127.0.0.1.evil.example",
        "http://[",
        "//127.0.0.1",
        "",
    ],
)
def test_pages_from_elsewhere_get_nothing(keyless, origin):
    reply = post(keyless, origin=origin)
    assert (reply.status_code, reply.json()["error"]["code"]) == (403, "origin_not_allowed")


def test_the_servers_own_page_may_call(keyless):
    assert post(keyless, origin=keyless).status_code == 200


def test_one_origin_of_several_does_not_speak_for_the_others(keyless):
    headers = [("content-type", "application/json"), ("origin", keyless), ("origin", "https://evil.example")]
    reply = httpx.post(f"{keyless}/v1/rerank", json=BODY, headers=headers, timeout=BOUND, trust_env=False)
    assert (reply.status_code, reply.json()["error"]["code"]) == (403, "origin_not_allowed")


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", None])
def test_what_a_page_may_send_without_asking_is_not_taken(keyless, kind):
    headers = {} if kind is None else {"content-type": kind}
    reply = httpx.post(f"{keyless}/v1/rerank", content=b"{}", headers=headers, timeout=BOUND, trust_env=False)
    assert reply.status_code == 415


def test_a_name_and_an_origin_can_be_allowed():
    with serving(allowed_hosts=("rerank.example", "*.inside.example"), cors_origins=("https://app.example",)) as served:
        assert post(served.url, host="rerank.example:443").status_code == 200
        assert post(served.url, host="a.inside.example").status_code == 200
        assert post(served.url, host="inside.example").status_code == 403
        assert post(served.url, host="rerank.example", origin="https://app.example").status_code == 200
        assert post(served.url, host="rerank.example", origin="https://other.example").status_code == 403


def test_behind_a_proxy_keys_or_no_auth_open_it_to_any_name():
    for settings in (ServerSettings(api_keys=("k",)), ServerSettings(no_auth=True)):
        assert settings.guarded(settings.key_ring()).allowed_hosts == ()
    kept = ServerSettings(api_keys=("k",), allowed_hosts=("a.example",))
    assert kept.guarded(kept.key_ring()).allowed_hosts == ("a.example",)


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("a.example", "a.example"),
        ("A.example.:8000", "a.example"),
        ("[::1]", "::1"),
        ("[::1]:8000", "::1"),
        ("a:b", "a:b"),
        ("a:", "a"),
        ("", ""),
    ],
)
def test_host_names(header, name):
    assert host_name(header) == name
