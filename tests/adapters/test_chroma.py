"""ChromaReranker after queries of Chroma itself, in memory."""

from __future__ import annotations

import asyncio
import copy

import chromadb
import pytest
from numbers_as_texts import by_number

from rerank_core import InvalidRequestError, Reranker
from rerank_plugins.chroma import ChromaReranker

TEXTS = ["Cats purr.", "Paris is the capital of France.", "Berlin is a city."]
QUERIES = ["What is the capital of France?", "What do cats do?"]
ASKED = [[1.0, 0.0], [0.0, 1.0]]


@pytest.fixture(scope="module")
def collection():
    # All in-memory clients of a process share one database.
    collection = chromadb.EphemeralClient().create_collection("of-these-tests", embedding_function=None)
    collection.add(
        ids=["a", "b", "c"],
        documents=TEXTS,
        metadatas=[{"n": n} for n in range(3)],
        embeddings=[[1.0, 0.1], [0.1, 1.0], [0.7, 0.7]],
    )
    return collection


@pytest.mark.parametrize("asynchronous", [False, True])
def test_rows_come_back_in_the_engines_order(collection, asynchronous):
    found = collection.query(
        query_embeddings=ASKED, n_results=3, include=["documents", "metadatas", "distances", "embeddings"]
    )
    before = copy.deepcopy(found)
    ranker = ChromaReranker(top_n=2)
    ranked = asyncio.run(ranker.arerank(QUERIES, found)) if asynchronous else ranker.rerank(QUERIES, found)
    for number, query in enumerate(QUERIES):
        wanted = Reranker().rerank(query, found["documents"][number], top_n=2)
        assert ranked["documents"][number] == [each.text for each in wanted]
        assert ranked["relevance_scores"][number] == [each.relevance_score for each in wanted]
        assert ranked["ids"][number] == [found["ids"][number][each.index] for each in wanted]
        assert ranked["distances"][number] == [found["distances"][number][each.index] for each in wanted]
        assert ranked["metadatas"][number] == [found["metadatas"][number][each.index] for each in wanted]
        assert [list(row) for row in ranked["embeddings"][number]] == [
            list(found["embeddings"][number][each.index]) for each in wanted
        ]
    assert found["ids"] == before["ids"]
    assert found["metadatas"] == before["metadatas"]
    assert ranked["included"] == found["included"]


def test_distances_count_in_fusion(collection):
    found = collection.query(query_embeddings=ASKED[:1], n_results=3)
    assert ChromaReranker(fusion=1.0).rerank(QUERIES[0], found)["ids"] == found["ids"]
    assert ChromaReranker(fusion=0.0).rerank(QUERIES[0], found)["ids"][0][0] == "b"


def test_what_is_known_of_a_row_stands_in_its_metadata(collection):
    found = collection.query(query_embeddings=ASKED[:1], n_results=3, include=["documents"])
    ranked = ChromaReranker(highlights=1, top_n=1).rerank(QUERIES[0], found)
    assert ranked["metadatas"][0][0]["rerank_highlights"][0]["text"] == TEXTS[1]
    assert ChromaReranker().rerank(QUERIES[0], ranked)["metadatas"] == [[None]]  # of the earlier pass
    assert ChromaReranker().rerank(QUERIES[0], found)["metadatas"] is None


def test_a_query_without_rows_keeps_none(collection):
    found = collection.query(query_embeddings=ASKED[:1], n_results=3, where={"n": 100})
    ranked = ChromaReranker().rerank(QUERIES[0], found)
    assert ranked["ids"] == ranked["relevance_scores"] == [[]]


def test_what_does_not_fit_is_refused(collection):
    found = collection.query(query_embeddings=ASKED, n_results=3)
    with pytest.raises(InvalidRequestError, match="rows for 2 queries, and 1 were given"):
        ChromaReranker().rerank(QUERIES[0], found)
    with pytest.raises(InvalidRequestError, match=r"no documents; query with include="):
        ChromaReranker().rerank(QUERIES, collection.query(query_embeddings=ASKED, include=["distances"]))
    with pytest.raises(InvalidRequestError, match="got list"):
        ChromaReranker().rerank(QUERIES, TEXTS)


def test_rows_without_a_document_are_ranked_as_empty():
    found = {"ids": [["a", "b", "c"]], "documents": [[None, "3", "-1"]]}
    assert ChromaReranker(reranker=by_number()).rerank("q", found)["ids"] == [["b", "a", "c"]]
