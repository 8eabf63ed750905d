"""The extension of ``POST /v1/rerank``: details, sentences and fusion, where a request asks for them."""

from __future__ import annotations

import pytest

from rerank_core import InvalidRequestError, Reranker
from serving import serving

MODEL = "rerank-mini-en-v1"
QUERY = "feline pets"
FILLER = "The committee met on a Tuesday and talked about the budget \U0001f600. " * 6
LONG = f"{FILLER}Cats purr when they are content, and feline pets need little. {FILLER}"
DOCUMENTS = ["Dogs bark at the mailman.", LONG, "Shares fell in early trading."]
LIMIT = 48  # tokens: less than LONG has


@pytest.fixture(scope="module")
def windows():
    with serving(models=(MODEL,), max_tokens=LIMIT, long_documents="windows", cache_entries=0) as served:
        yield served


@pytest.fixture(scope="module")
def here():
    with Reranker(MODEL, max_tokens=LIMIT, long_documents="windows", highlights=2) as reranker:
        yield reranker.rerank(QUERY, DOCUMENTS)


def ask(api, **fields):
    body = {"model": MODEL, "query": QUERY, "documents": DOCUMENTS, "return_documents": False}
    return api.http.post("/v1/rerank", json=body | fields)


def results(api, **fields):
    reply = ask(api, **fields)
    assert reply.status_code == 200, reply.text
    return reply.json()["results"]


def test_nothing_is_said_unasked(windows):
    assert {name for each in results(windows) for name in each} == {"index", "relevance_score"}


def test_a_result_says_what_was_read_and_what_was_best(windows, here):
    for said, result in zip(results(windows, return_details=True, highlights=2), here, strict=True):
        assert said["details"]["truncated"] == result.truncated
        assert said["details"]["tokens"] == result.tokens > 0
        assert said["details"].get("window") == (result.window and result.window._asdict())
        assert [(each["start"], each["end"], each["relevance_score"]) for each in said["highlights"]] == [
            (each.start, each.end, each.score) for each in result.highlights
        ]


def test_positions_count_characters(windows):
    """Each of the faces before the sentence is one character, and two units of UTF-16."""
    (best, *_), _, _ = (each["highlights"] for each in results(windows, highlights=1))
    assert LONG[best["start"] : best["end"]] == "Cats purr when they are content, and feline pets need little."


def test_details_do_not_change_the_ranking(windows):
    plain = [(each["index"], each["relevance_score"]) for each in results(windows)]
    detailed = results(windows, return_details=True, highlights=1)
    assert [(each["index"], each["relevance_score"]) for each in detailed] == plain


def test_a_text_that_was_cut_says_so():
    with serving(models=(MODEL,), max_tokens=LIMIT) as cutting:
        details = {each["index"]: each["details"] for each in results(cutting, return_details=True)}
    assert [details[index]["truncated"] for index in range(3)] == [False, True, False]
    assert details[1]["tokens"] == LIMIT
    assert "window" not in details[1]


@pytest.mark.parametrize(("fusion", "order"), [(0, [1, 0, 2]), (1, [2, 0, 1]), ("rrf", None)])
def test_scores_of_a_retriever_count_as_asked(windows, fusion, order):
    retrieval = [0.5, 0.1, 0.9]
    found = results(windows, fusion=fusion, retrieval_scores=retrieval, return_details=True)
    expected = Reranker(MODEL, max_tokens=LIMIT, long_documents="windows", fusion=fusion).rerank(
        QUERY, DOCUMENTS, retrieval_scores=retrieval
    )
    assert [each["index"] for each in found] == [result.index for result in expected]
    assert [each["details"]["fused"] for each in found] == [result.fused._asdict() for result in expected]
    assert order is None or [each["index"] for each in found] == order
    scores = {each["index"]: each["relevance_score"] for each in results(windows)}
    assert {each["index"]: each["relevance_score"] for each in found} == scores


def test_the_order_of_the_documents_stands_in_for_scores(windows):
    assert [each["index"] for each in results(windows, fusion=1)] == [0, 1, 2]


@pytest.mark.parametrize(
    "field",
    [
        {"highlights": -1},
        {"highlights": 11},
        {"highlights": 1.5},
        {"highlights": True},
        {"return_details": 1},
        {"fusion": 1.1},
        {"fusion": "calibrated"},
        {"fusion": [1]},
        {"retrieval_scores": [1, 2]},
        {"retrieval_scores": [1, 2, "3"]},
        {"retrieval_scores": 3},
    ],
)
def test_a_wrong_value_is_named(windows, field):
    reply = ask(windows, **field)
    assert reply.status_code == 400
    assert reply.json()["error"]["param"] == next(iter(field))
    assert "Cats" not in reply.text


def test_a_client_reads_the_best_window_where_it_asks_for_it(windows, here):
    with Reranker(MODEL, base_url=windows.url, return_details=True, highlights=2) as reranker:
        found = reranker.rerank(QUERY, DOCUMENTS)
    assert [result.window for result in found] == [result.window for result in here]
    assert [result.tokens for result in found] == [result.tokens for result in here]
    assert [result.highlights for result in found] == [result.highlights for result in here]
    assert found[0].window is not None
    with Reranker(MODEL, base_url=windows.url) as reranker:
        assert {result.window for result in reranker.rerank(QUERY, DOCUMENTS)} == {None}


@pytest.mark.parametrize("provider", ["cohere", "assisters", "tei"])
def test_a_provider_without_the_field_is_named(provider):
    with pytest.raises(InvalidRequestError, match=f"'{provider}' has no field for details") as caught:
        Reranker("m", provider=provider, base_url="http://localhost", api_key="k", return_details=True)
    assert caught.value.param == "return_details"
