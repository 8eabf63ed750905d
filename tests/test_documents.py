from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerank_core import Document, InvalidRequestError
from rerank_core.documents import check_documents, check_query, clean_text


def test_strings_mappings_and_documents_become_documents():
    given_document = Document("c", {"id": 3})
    marker = object()
    documents = check_documents(["a", {"text": "b", "id": 2, "extra": marker}, given_document])
    assert documents[:2] == [Document("a"), Document("b", {"id": 2, "extra": marker})]
    assert documents[1].metadata["extra"] is marker
    assert documents[2] is given_document


def test_a_generator_of_documents_is_fine():
    assert check_documents(str(i) for i in range(2)) == [Document("0"), Document("1")]


@pytest.mark.parametrize("documents", ["a text", b"bytes", {"text": "a"}, Document("a"), None, 3])
def test_one_document_instead_of_a_list_is_an_error(documents):
    with pytest.raises(InvalidRequestError, match="must be a list") as caught:
        check_documents(documents)
    assert caught.value.code == "invalid_documents"


@pytest.mark.parametrize("item", [None, 3, 1.5, b"bytes", ["a"], {"body": "secret"}, {"text": None}, {"text": 3}])
def test_a_document_without_text_is_named_by_position_and_not_shown(item):
    with pytest.raises(InvalidRequestError, match=r"documents\[1\]") as caught:
        check_documents(["fine", item])
    assert caught.value.code == "invalid_document"
    assert caught.value.param == "documents[1]"
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("query", ["", "  ", "\n\t", "\u3000"])
def test_a_blank_query_has_the_specifications_message_and_code(query):
    with pytest.raises(InvalidRequestError) as caught:
        check_query(query)
    assert (str(caught.value), caught.value.code) == ("Query cannot be empty", "empty_query")


@pytest.mark.parametrize("query", [None, 3, b"q", ["q"]])
def test_a_query_that_is_not_text_is_an_error(query):
    with pytest.raises(InvalidRequestError, match="must be a string"):
        check_query(query)


@given(st.text(st.characters(codec=None)))
def test_clean_text_can_be_encoded_and_keeps_every_position(text):
    clean = clean_text(text)
    clean.encode()
    assert len(clean) == len(text)
    assert all(a == b or "\ud800" <= a <= "\udfff" for a, b in zip(text, clean, strict=True))
