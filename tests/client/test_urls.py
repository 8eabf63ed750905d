from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerank_core import InvalidRequestError
from rerank_core.client.urls import beside, check_base_url, endpoint, is_loopback, shown

PATHS = ["/v1/rerank", "/v2/rerank", "/rerank", "/v1/retrieval/a/b/reranking", "/compatible-api/v1/reranks"]
paths = st.sampled_from(PATHS)
pieces = st.text(st.sampled_from("abc-._~%20"), min_size=1, max_size=6).filter(lambda p: p.strip("."))
prefixes = st.lists(st.one_of(pieces, st.sampled_from(["v1", "v2", "api"])), max_size=3).map(
    lambda parts: "".join(f"/{part}" for part in parts)
)
queries = st.sampled_from(["", "?api-version=2024-05-01", "?a=b&c=%2F"])
hosts = st.sampled_from(["http://localhost:8080", "https://api.example.com", "http://[::1]:9"])


@pytest.mark.parametrize(
    ("base_url", "path", "expected"),
    [
        ("https://h", "/v1/rerank", "https://h/v1/rerank"),
        ("https://h/", "/v1/rerank", "https://h/v1/rerank"),
        ("https://h/v1", "/v1/rerank", "https://h/v1/rerank"),
        ("https://h/v1/", "/v1/rerank", "https://h/v1/rerank"),
        ("https://h/v1/rerank", "/v1/rerank", "https://h/v1/rerank"),
        ("https://h/v1/rerank/", "/v1/rerank", "https://h/v1/rerank/"),
        ("https://h/rerank", "/v1/rerank", "https://h/rerank"),
        ("https://h/v1", "/v2/rerank", "https://h/v2/rerank"),
        ("https://h/v1/rerank", "/v2/rerank", "https://h/v1/rerank"),
        ("https://h/v1", "/rerank", "https://h/v1/rerank"),
        ("https://h/tei", "/rerank", "https://h/tei/rerank"),
        ("https://h/a//b/", "/rerank", "https://h/a/b/rerank"),
        ("https://r.azure.com/providers/cohere/v2/rerank?api-version=1", "/v2/rerank",
         "https://r.azure.com/providers/cohere/v2/rerank?api-version=1"),
        ("https://r.azure.com/providers/cohere?api-version=1", "/v2/rerank",
         "https://r.azure.com/providers/cohere/v2/rerank?api-version=1"),
        ("https://h/api/v1", "/api/v1/services/rerank/text-rerank/text-rerank",
         "https://h/api/v1/services/rerank/text-rerank/text-rerank"),
        ("https://h/api/v1/services/rerank/text-rerank", "/api/v1/services/rerank/text-rerank/text-rerank",
         "https://h/api/v1/services/rerank/text-rerank/text-rerank"),
        ("https://h/v1", "/v1/inference/Qwen/R-0.6B", "https://h/v1/inference/Qwen/R-0.6B"),
    ],
)  # fmt: skip
def test_examples(base_url, path, expected):
    assert endpoint(base_url, path) == expected


@given(hosts, prefixes, queries, paths)
def test_an_endpoint_is_its_own_endpoint(host, prefix, query, path):
    url = endpoint(host + prefix + query, path)
    assert endpoint(url, path) == url


@given(hosts, prefixes, queries, paths)
def test_root_root_with_version_and_whole_endpoint_are_the_same(host, prefix, query, path):
    base = host + prefix
    url = endpoint(base + query, path)
    whole = endpoint(base + path + query, path)
    assert whole == base + path + query
    beginning = "/" + path.split("/")[1]
    if len(path.split("/")) > 2 and not prefix:
        assert endpoint(base + beginning + query, path) == url == whole


@given(hosts, prefixes, queries, paths)
def test_host_and_query_stay_and_the_path_ends_in_the_endpoint(host, prefix, query, path):
    parts = urlsplit(endpoint(host + prefix + query, path))
    assert f"{parts.scheme}://{parts.netloc}" == host
    assert parts.query == query.lstrip("?")
    assert parts.path.endswith(path.rpartition("/")[2])
    assert parts.path.count(path) <= 1 or path in prefix


@given(st.text())
def test_any_text_is_an_address_or_a_clear_error(text):
    try:
        assert endpoint(text, "/v1/rerank").startswith(("http://", "https://"))
    except InvalidRequestError as error:
        assert error.param == "base_url"  # noqa: PT017  (either is right)


@pytest.mark.parametrize(
    ("base_url", "reason"),
    [
        ("https://user:pa55word@h/v1", "credentials"),
        ("https://pa55word@h", "credentials"),
        ("ftp://h", "starts with 'ftp'"),
        ("api.example.com/v1", "no scheme"),
        ("localhost:8080", "no scheme"),
        ("https://", "no host"),
        ("https:///v1", "no host"),
        ("https://h:port", "host or port"),
        ("https://h/#frag", "fragment"),
        ("https://h/a b", "without spaces"),
        ("https://good\\@evil", "backslashes"),
        ("", "no scheme"),
        (7, "must be a string"),
    ],
)
def test_what_is_no_address_is_said_and_not_repeated(base_url, reason):
    with pytest.raises(InvalidRequestError, match=reason) as caught:
        endpoint(base_url, "/v1/rerank")
    assert caught.value.code == "invalid_base_url"
    assert "pa55word" not in str(caught.value)


@pytest.mark.parametrize(
    "name",
    [
        "key", "api-key", "api_key", "apikey", "Api-Key", "apiKey", "token", "access_token", "accessToken", "sig",
        "Signature", "code", "CODE", "subscription-key", "Ocp-Apim-Subscription-Key", "X-Amz-Signature",
        "client_secret", "password", "api%2Dkey", "+key",
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    "query", ["{}=pa55word", "api-version=1&{}=pa55word", "{}=pa55word;a=b", "a=b;{}=pa55word", "{}="]
)
def test_a_key_in_the_query_string_is_refused_and_not_repeated(name, query):
    for check in (check_base_url, lambda url: endpoint(url, "/v1/rerank")):
        with pytest.raises(InvalidRequestError, match="api_key=") as caught:
            check("https://h/v1/rerank?" + query.format(name))
        assert (caught.value.code, caught.value.param) == ("invalid_base_url", "base_url")
        assert "pa55word" not in str(caught.value)
        assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    "query",
    ["api-version=2024-05-01", "a=b&c=%2F", "model=key", "country_code=de", "monkey=1", "keys=2", "", "key/x=1"],
)
def test_other_query_strings_stay(query):
    assert endpoint(f"https://h/v1?{query}", "/v1/rerank") == f"https://h/v1/rerank{query and '?'}{query}"


def test_beside_shown_and_loopback():
    assert beside("http://h/tei/rerank?x=1", "/rerank", "/info") == "http://h/tei/info?x=1"
    assert beside("http://h/a/v1/rerank", "/v1/rerank", "/info") == "http://h/a/info"
    assert beside("http://h/a/rerank", "/v1/rerank", "/info") == "http://h/a/info"
    assert shown("https://user:key@h:1/v1?code=secret#x") == "https://h:1/v1"
    for url in ("http://localhost", "http://127.0.0.1:1", "http://[::1]:2", "http://a.localhost", "http://127.9.9.9"):
        assert is_loopback(url)
    for url in ("http://10.0.0.1", "http://localhost.example.com", "http://example.com", "http://[fe80::1]"):
        assert not is_loopback(url)
