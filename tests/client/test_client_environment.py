"""What the environment says wrongly of proxies and certificates: an error of ours where it matters, else none."""

from __future__ import annotations

import asyncio

import pytest

from rerank_core import (
    ConnectionError,  # noqa: A004  (ours)
    Reranker,
)
from rerank_core.scoring import ApiOptions, ApiScorer, FakeScorer, FallbackScorer

DOCUMENTS = ["private document one", "private document two", "private three"]
NAMES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR", "SSLKEYLOGFILE")
BAD_PROXIES = [
    "socks://user:secret@localhost:9",
    "ftp://localhost:9",
    "http://[::1",
    "http://localhost:port",
    "http://localhost:99999999",
    "http://",
    "://",
    "nonsense://",
    "http://a\tb",
    "http://\udcff",
    "socks5://localhost:9",  # needs a package that is not installed here
]
BAD_CERTIFICATES = {
    "SSL_CERT_FILE": "/no/such.pem",
    "SSLKEYLOGFILE": "/no/such/folder/keys",
}


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """``environment(NAME=value)`` sets variables, in both spellings; none is set before."""
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)

    def change(**values):
        for name, value in values.items():
            monkeypatch.setenv(name, value)
            if name.endswith("PROXY"):
                monkeypatch.setenv(name.lower(), value)

    return change


def fails(ask, code, **options):
    with pytest.raises(ConnectionError) as caught:
        ask(DOCUMENTS, **options)
    error = caught.value
    assert error.code == code
    assert error.__cause__ is not None
    assert "secret" not in f"{error} {error.__cause__}"
    return error


@pytest.mark.parametrize("proxy", BAD_PROXIES)
@pytest.mark.parametrize("name", ["HTTP_PROXY", "ALL_PROXY"])
def test_a_proxy_that_cannot_be_used_is_an_error_of_ours(ask, environment, name, proxy):
    environment(**{name: proxy})
    assert name in str(fails(ask, "bad_proxy", base_url="http://rerank.example"))


@pytest.mark.parametrize("proxy", ["http://a..b:9", "http://" + "a" * 64 + ":9", "http://:9"])
def test_a_proxy_that_is_nowhere_cannot_be_reached(ask, environment, proxy):
    environment(HTTP_PROXY=proxy)
    with pytest.raises(ConnectionError):
        ask(DOCUMENTS, base_url="http://rerank.example", max_retries=0)


@pytest.mark.parametrize("name", BAD_CERTIFICATES)
def test_certificates_that_cannot_be_read_are_an_error_of_ours(ask, environment, name):
    environment(**{name: BAD_CERTIFICATES[name]})
    assert name in str(fails(ask, "bad_certificates", base_url="https://rerank.example"))


def test_a_file_of_certificates_that_holds_none_is_an_error_of_ours(ask, environment, tmp_path):
    (tmp_path / "empty.pem").write_bytes(b"nothing")
    environment(SSL_CERT_FILE=str(tmp_path / "empty.pem"))
    fails(ask, "bad_certificates", base_url="https://rerank.example")


@pytest.mark.parametrize(
    "values",
    [
        *({"ALL_PROXY": proxy, "HTTP_PROXY": proxy} for proxy in BAD_PROXIES),
        {"ALL_PROXY": "http://localhost:9", "NO_PROXY": "[::1]"},
        {"NO_PROXY": "[::1]"},
        BAD_CERTIFICATES,
        {"SSL_CERT_DIR": "/no/such"},
    ],
)
def test_this_machine_is_asked_whatever_the_environment_says(ask, environment, values):
    environment(**values)
    assert [result.index for result in ask(DOCUMENTS)] == [0, 1, 2]


def test_plain_http_reads_no_certificates(ask, server, environment):
    environment(HTTP_PROXY=server.url, **BAD_CERTIFICATES)
    assert len(ask(DOCUMENTS, base_url="http://rerank.example")) == 3


@pytest.mark.parametrize("no_proxy", ["[::1]", "http://[", ",,, ,", "[", "*.example:port", "\udcff", "a" * 100_000])
def test_whom_no_proxy_names_oddly_is_reached_through_the_proxy(ask, server, environment, no_proxy):
    environment(HTTP_PROXY=server.url, NO_PROXY=no_proxy)
    assert len(ask(DOCUMENTS, base_url="http://rerank.example")) == 3
    assert server.requests[0].target == "http://rerank.example/v1/rerank"


@pytest.mark.parametrize(
    ("no_proxy", "url"),
    [
        ("*", "http://rerank.example"),
        ("rerank.example", "http://rerank.example"),
        ("other.example, example", "http://rerank.example"),
        (".example", "http://rerank.example:8000"),
        ("rerank.example:8000", "http://rerank.example:8000"),
        ("2001:db8::1", "http://[2001:db8::1]"),
        ("[2001:db8::1]", "http://[2001:db8::1]"),
        ("192.0.2.1", "http://192.0.2.1"),
    ],
)
def test_whom_no_proxy_names_is_asked_directly(environment, no_proxy, url):
    from rerank_core.client.factory import Certificates, ClientFactory

    environment(HTTP_PROXY="nonsense://", NO_PROXY=no_proxy)
    with ClientFactory(f"{url}/v1/rerank", Certificates()).client() as client:
        assert not client.is_closed
    environment(NO_PROXY="elsewhere.example")
    with pytest.raises(ConnectionError):
        ClientFactory(f"{url}/v1/rerank", Certificates()).client()


def test_a_proxy_without_a_scheme_speaks_http(ask, server, environment):
    environment(ALL_PROXY=server.url.removeprefix("http://"))
    assert len(ask(DOCUMENTS, base_url="http://rerank.example")) == 3


TROUBLE = [
    ({"ALL_PROXY": "socks://localhost:9"}, "http://rerank.example"),
    ({"SSL_CERT_FILE": "/no/such.pem"}, "https://rerank.example"),
]


@pytest.mark.parametrize(("values", "url"), TROUBLE)
def test_keeping_the_order_and_falling_back_cover_it(ask, environment, values, url):
    environment(**values)
    kept = ask(DOCUMENTS, base_url=url, on_failure="keep_order")
    assert (kept.degraded, [result.index for result in kept]) == (True, [0, 1, 2])
    scorer = FallbackScorer([ApiScorer("m", options=ApiOptions(base_url=url)), FakeScorer()])
    fallen = ask(DOCUMENTS, reranker=Reranker(scorer=scorer))
    assert fallen.degraded
    assert sorted(result.index for result in fallen) == [0, 1, 2]


@pytest.mark.parametrize(("values", "url"), TROUBLE)
def test_warming_up_finds_it_and_a_better_environment_mends_it(server, environment, monkeypatch, values, url):
    environment(**values)
    reranker = Reranker("m", base_url=url)
    with pytest.raises(ConnectionError):
        reranker.warm_up()
    with pytest.raises(ConnectionError):
        asyncio.run(reranker.arerank("q", DOCUMENTS))
    for name in values:
        monkeypatch.delenv(name)
        monkeypatch.delenv(name.lower(), raising=False)
    reranker.warm_up()
    reranker.close()
