from __future__ import annotations

import dataclasses
import json
import pickle

import pytest

from rerank_core import Document, InvalidRequestError, RerankResponse, RerankResult, Span, Timings, Usage

RESULT = RerankResult(
    index=2, rank=1, previous_rank=3, relevance_score=0.75, logit=1.0986122886681098,
    document=Document("some secret text", {"id": 7, "tags": ["a"]}), truncated=True, window=Span(5, 11),
)  # fmt: skip
RESPONSE = RerankResponse("rerank-1", "m", (RESULT,), Usage(5, 5), Timings(0.1, 0.2, 0.3), query_truncated=True)


def test_results_survive_json():
    assert RerankResponse.from_dict(json.loads(RESPONSE.to_json())) == RESPONSE


def test_results_survive_pickle():
    assert pickle.loads(pickle.dumps(RESPONSE)) == RESPONSE


def test_a_result_without_window_and_logit_survives_json():
    bare = RerankResult(0, 1, 1, 0.5, None, Document(""))
    assert RerankResult.from_dict(json.loads(json.dumps(bare.to_dict()))) == bare


@pytest.mark.parametrize("value", [RESULT, RESPONSE, RESULT.document, RESPONSE.usage])
def test_values_are_frozen(value):
    field = dataclasses.fields(value)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(value, field, None)


def test_a_repr_says_what_happened_but_not_what_was_read():
    for value in (RESULT, RESPONSE, RESULT.document):
        assert "secret" not in repr(value)
    assert repr(RESULT) == "RerankResult(index=2, rank=1, relevance_score=0.7500, truncated)"


def test_a_response_is_a_sequence_of_results():
    assert list(RESPONSE) == [RESULT]
    assert RESPONSE[0] is RESULT
    assert RESPONSE[:1] == (RESULT,)
    assert len(RESPONSE) == 1


def test_text_and_passage():
    assert RESULT.text == "some secret text"
    assert RESULT.passage == "secret"
    assert dataclasses.replace(RESULT, window=None).passage == RESULT.text


def test_a_subclass_of_document_comes_back_as_it_went_in():
    class Mine(Document):
        pass

    assert repr(Mine("abc")) == "Mine(3 characters, 0 metadata fields)"


@pytest.mark.parametrize("arguments", [(None,), (3,), ("text", None), ("text", [("a", 1)])])
def test_a_document_of_something_else_is_an_error(arguments):
    with pytest.raises(InvalidRequestError, match="must be a") as caught:
        Document(*arguments)
    assert caught.value.code == "invalid_document"
