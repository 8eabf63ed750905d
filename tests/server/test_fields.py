"""Every field of every dialect, sent both ways: what it asks for is done, or an error names it."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import pytest

from rerank_core import InvalidRequestError, Reranker
from rerank_core.scoring import FakeScorer
from rerank_core.server.request_checks import check_before
from rerank_core.wire import field_table
from rerank_core.wire.effects import Honoured, NoEffect, declared
from rerank_core.wire.fields import Body, Flag
from rerank_core.wire.messages import WireRequest
from rerank_core.wire.options import RawScores
from rerank_core.wire.routes import ROUTES
from serving import serving

LIMIT = 48  # tokens: enough for all but one document
LONG = " ".join(["Cats purr when they are content, and feline pets need little."] * 8)
DOCUMENTS = [
    {"text": "Dogs bark at the mailman.", "title": "Dogs"},
    {"text": LONG, "title": "Cats, at length"},
    {"text": "Shares fell in early trading.", "title": "Markets"},
]
MODEL = "rerank-mini-en-v1"
NAMES_OF_DOCUMENTS = ("documents", "texts", "input", "passages", "text_2")
REQUIRED = ("query", "text_1", "queries", "data_1", "model", *NAMES_OF_DOCUMENTS, "items", "data_2")
DIALECTS = {type(dialect): (route, dialect) for route in ROUTES for dialect in route.dialects}
FIELDS = [
    pytest.param(route, dialect, field, name, id=f"{route.path} {dialect.name} {'.'.join((*field.path, name))}")
    for route, dialect in DIALECTS.values()
    for field in declared(dialect.body)
    for name in field.names
]


@pytest.fixture(scope="module")
def api():
    with serving(models=(MODEL, "rerank-tiny-en-v1"), max_tokens=LIMIT, cache_entries=10_000) as served:
        yield served


def body_of(dialect, documents=DOCUMENTS):
    """The smallest request of a dialect."""
    body = {}
    for field in declared(dialect.body):
        place = body
        for step in field.path:
            place = place.setdefault(step, {})
        if field.names[0] in ("query", "text_1"):
            place[field.names[0]] = field.effect.usual
        elif field.names[0] in NAMES_OF_DOCUMENTS:
            place[field.names[0]] = documents
        elif field.names[0] == "model":
            place["model"] = MODEL
    return body


def ask(api, route, dialect, field, name, value, **options):
    """The reply to the smallest request with this field."""
    body = body_of(dialect, **options)
    place = body
    for step in field.path:
        place = place.setdefault(step, {})
    place.pop(field.names[0], None)
    place[name] = value
    place |= getattr(field.effect, "beside", {})
    path = route.path.replace("{model}", value if name == "model" else MODEL)
    return api.http.post(path, json=body)


def said(response):
    """What was answered, without what differs each time (a cache's answers cost no tokens) or only repeats."""
    assert response.status_code == 200, response.text
    body = response.json()
    if isinstance(body, dict):
        for name in ("id", "created", "request_id", "usage", "meta", "top_k", "return_input"):
            body.pop(name, None)
    return body


def names(response, name):
    """Whether an error says which field it is about."""
    assert response.status_code in (400, 422), response.text
    assert name in str(response.json().get("error"))
    assert "Cats" not in response.text


@pytest.mark.parametrize(("route", "dialect", "field", "name"), FIELDS)
def test_a_field_is_honoured_or_refused_or_means_nothing(api, route, dialect, field, name):
    effect = field.effect
    usual = said(ask(api, route, dialect, field, name, effect.usual))
    other = ask(api, route, dialect, field, name, effect.other)
    if isinstance(effect, NoEffect):
        assert said(other) == usual
    elif isinstance(effect, Honoured) and not effect.or_fails:
        assert said(other) != usual
    else:
        names(other, field.names[0])


@pytest.mark.parametrize(
    ("route", "dialect", "field", "name"), [each for each in FIELDS if each.values[3] not in REQUIRED]
)
def test_what_is_usual_is_what_is_done_without_the_field_or_with_null(api, route, dialect, field, name):
    effect = field.effect
    by_default = name == "return_documents" and not field.path and dialect.body.model_fields[name].default
    usual = said(ask(api, route, dialect, field, name, effect.other if by_default else effect.usual))
    assert said(ask(api, route, dialect, field, name, None)) == usual


@pytest.mark.parametrize(
    ("route", "dialect", "field", "name"),
    [each for each in FIELDS if isinstance(each.values[2].effect, Honoured) and each.values[2].effect.or_fails],
)
def test_what_fails_for_long_texts_is_fine_for_short_ones(api, route, dialect, field, name):
    short = [{"text": "Dogs bark."}, {"text": "Cats purr."}]
    usual = said(ask(api, route, dialect, field, name, field.effect.usual, documents=short))
    enough = 47 if "token" in name else field.effect.other  # less than the model reads, more than these texts have
    assert said(ask(api, route, dialect, field, name, enough, documents=short)) == usual


@pytest.mark.parametrize("top", [{}, {"top_n": 1}])
def test_a_text_outside_the_limit_counts_as_well(api, top):
    short = [{"text": "Feline pets are cats."}, {"text": LONG.replace("Cats", "Dogs").replace("feline", "canine")}]
    body = {"model": MODEL, "query": "feline pets", "documents": short, "truncation": False, **top}
    response = api.http.post("/v1/rerank", json=body)
    names(response, "truncation")
    assert str(LIMIT) in response.text
    assert "1 of 2" in response.text


@pytest.mark.parametrize(
    ("path", "field", "words"),
    [
        ("/tei/rerank", {"truncate": False}, "`inputs` must have less than 48 tokens"),
        ("/nim/v1/ranking", {"truncate": "none"}, "exceeds maximum allowed token size 48"),
        ("/voyage/v1/rerank", {"truncation": "false"}, "more than the 48 tokens"),
        ("/pinecone/rerank", {"parameters": {"truncate": "NONE"}}, "more than the 48 tokens"),
    ],
)
def test_a_text_too_long_is_reported_in_the_words_of_the_server_that_is_spoken(api, path, field, words):
    route = next(route for route in ROUTES if route.path == path)
    response = api.http.post(path, json={**body_of(route.dialect), **field})
    names(response, "truncat")
    assert words in response.text


@pytest.mark.parametrize(
    ("path", "field", "value"),
    [
        ("/tei/rerank", "truncation_direction", "Up"),
        ("/rerank", "truncation_side", "middle"),
        ("/nim/v1/ranking", "truncate", "START"),
        ("/rerank", "truncate_prompt_tokens", 0),
        ("/rerank", "truncate_prompt_tokens", "all"),
        ("/rerank", "use_activation", 3),
    ],
)
def test_a_value_that_nobody_knows_is_named(api, path, field, value):
    route = next(route for route in ROUTES if route.path == path)
    names(api.http.post(path, json={**body_of(route.dialect), field: value}), field)


def test_what_reads_long_documents_in_pieces_says_so(api):
    with serving(models=(MODEL,), long_documents="windows", max_tokens=LIMIT) as windows:
        for field in ({"max_chunks_per_doc": 2}, {"overlap_tokens": 80}, {"max_tokens_per_doc": 48}):
            body = {"model": MODEL, "query": "feline pets", "documents": [LONG], **field}
            names(windows.http.post("/v1/rerank", json=body), next(iter(field)))
            assert api.http.post("/v1/rerank", json=body).status_code == 200
        whole = {"model": MODEL, "query": "feline pets", "documents": [LONG], "truncation": False}
        assert windows.http.post("/v1/rerank", json=whole).status_code == 200


@pytest.mark.parametrize(("words", "status"), [(400, 200), (4000, 400)])
def test_a_scorer_that_tells_no_limit_takes_one_that_no_text_reaches(words, status):
    """Haystack's client always sends 4096."""
    with serving(models=("fake=rerank-mini-en-v1",), rerankers={"fake": Reranker(scorer=FakeScorer())}) as served:
        body = {"model": "fake", "query": "q", "documents": ["a word " * words], "max_tokens_per_doc": 4096}
        assert served.http.post("/v2/rerank", json=body).status_code == status


@pytest.mark.parametrize(
    ("field", "status"),
    [
        ({"max_tokens_per_doc": 10**9}, 200),
        ({"max_tokens_per_doc": 4096}, 400),
        ({"truncate_prompt_tokens": 10**9}, 200),
    ],
)
def test_marks_that_follow_each_other_are_not_put_in_order_to_be_counted(field, status):
    """To put so many in order would take hours."""
    with serving(models=("fake=rerank-mini-en-v1",), rerankers={"fake": Reranker(scorer=FakeScorer())}) as served:
        body = {"model": "fake", "query": "q", "documents": ["a" + "\u0301\u0316" * 600_000], **field}
        assert served.http.post("/v1/rerank", json=body).status_code == status


@pytest.mark.parametrize("queries", [["aaaaaaaaaa", "\u732b" * 9], ["\u732b" * 9, "aaaaaaaaaa"]])
@pytest.mark.parametrize(("most", "fits"), [(46, False), (47, True)])
def test_the_query_that_may_have_most_tokens_counts_for_a_limit(queries, most, fits):
    """27 bytes and 3, and room for special tokens."""
    asked = WireRequest(queries[0], ["cat", ""], queries=queries, truncate_prompt_tokens=most)
    with nullcontext() if fits else pytest.raises(InvalidRequestError, match=f"^truncate_prompt_tokens={most} "):
        check_before(asked, None)


def test_raw_scores_are_the_logits_of_the_same_order(api):
    body = {"model": MODEL, "query": "feline pets", "documents": DOCUMENTS}
    usual = api.http.post("/v1/rerank", json=body).json()["results"]
    raw = api.http.post("/v1/rerank", json={**body, "use_activation": False}).json()["results"]
    listed = api.http.post("/tei/rerank", json={"query": "feline pets", "texts": DOCUMENTS, "raw_scores": True}).json()
    assert [each["index"] for each in raw] == [each["index"] for each in usual]
    assert [each["relevance_score"] for each in raw] == [each["score"] for each in listed]
    assert not all(0 <= each["relevance_score"] <= 1 for each in raw)


def test_what_nobody_declares_is_ignored(api):
    body = {"model": MODEL, "query": "feline pets", "documents": DOCUMENTS}
    made_up = {**body, "x_trace": {"a": [1]}, "stream": True}
    assert said(api.http.post("/v1/rerank", json=made_up)) == said(api.http.post("/v1/rerank", json=body))


def test_a_field_that_does_not_say_what_it_does_is_found_out():
    class Said(Body):
        raw_scores: RawScores = False

    class Unsaid(Said):
        silent: Annotated[Flag, "nothing"] = False

    assert [field.names for field in declared(Said)] == [("raw_scores",)]
    with pytest.raises(TypeError, match=r"Unsaid\.silent does not say"):
        list(declared(Unsaid))


def test_the_page_about_fields_is_up_to_date():
    page = Path(__file__).resolve().parents[2] / "docs" / "http-fields.md"
    assert page.read_text(encoding="utf-8") == field_table.page()
    for field in ("`truncation_direction`", "`parameters.truncate`", "`use_activation` (or `activation`, `softmax`)"):
        assert field in field_table.page()
