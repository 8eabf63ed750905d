"""QdrantReranker after queries of Qdrant itself, embedded."""

from __future__ import annotations

import asyncio

import pytest
from numbers_as_texts import by_number
from qdrant_client import AsyncQdrantClient, QdrantClient
from qdrant_client.models import Distance, PointStruct, ScoredPoint, VectorParams

from rerank_core import InvalidRequestError, Reranker
from rerank_plugins.qdrant import QdrantReranker

TEXTS = ["Cats purr.", "Paris is the capital of France.", "Berlin is a city."]
QUERY = "What is the capital of France?"
ASKED = [1.0, 0.0]
POINTS = [
    PointStruct(id=number, vector=vector, payload={"text": text, "source": "s"})
    for number, (text, vector) in enumerate(zip(TEXTS, ([1.0, 0.1], [0.1, 1.0], [0.7, 0.7]), strict=True))
]


@pytest.fixture(scope="module")
def client():
    client = QdrantClient(":memory:")
    for metric in (Distance.COSINE, Distance.EUCLID):
        client.create_collection(metric.value, VectorParams(size=2, distance=metric))
        client.upsert(metric.value, POINTS)
    yield client
    client.close()


def test_points_come_back_in_the_engines_order(client):
    found = client.query_points("Cosine", query=ASKED)
    before = found.model_copy(deep=True)
    ranked = QdrantReranker(top_n=2, keep_retrieval_score=True).rerank(QUERY, found)
    wanted = Reranker().rerank(QUERY, [point.payload["text"] for point in found.points], top_n=2)
    assert [(point.payload["text"], point.score) for point in ranked] == [
        (each.text, each.relevance_score) for each in wanted
    ]
    scores = {point.id: point.score for point in found.points}
    assert [point.payload["retrieval_score"] for point in ranked] == [scores[point.id] for point in ranked]
    assert found == before


def test_asynchronous_clients():
    async def ranked():
        client = AsyncQdrantClient(":memory:")
        await client.create_collection("texts", VectorParams(size=2, distance=Distance.DOT))
        await client.upsert("texts", POINTS)
        found = await client.query_points("texts", query=ASKED)
        await client.close()
        return await QdrantReranker(top_n=1).arerank(QUERY, found)

    assert [point.id for point in asyncio.run(ranked())] == [1]


@pytest.mark.parametrize("metric", ["Cosine", "Euclid"])
def test_similarities_and_distances_count_in_fusion(client, metric):
    found = client.query_points(metric, query=ASKED)
    ranked = QdrantReranker(fusion=1.0).rerank(QUERY, found)
    assert [point.id for point in ranked] == [0, 2, 1]


def test_no_points_load_nothing(client):
    ranker = QdrantReranker()
    assert ranker.rerank(QUERY, []) == []
    assert ranker.engine.loaded is None


def test_what_is_known_of_a_point_stands_in_its_payload(client):
    points = client.query_points("Cosine", query=ASKED)
    ranked = QdrantReranker(highlights=1, top_n=1).rerank(QUERY, points)
    assert ranked[0].payload["rerank_highlights"][0]["text"] == TEXTS[1]
    again = QdrantReranker().rerank(QUERY, ranked)
    assert set(again[0].payload) == {"text", "source"}  # of the earlier pass


def test_points_without_text_are_refused_or_ranked_as_empty(client):
    with pytest.raises(InvalidRequestError, match="no payload; query with with_payload=True"):
        QdrantReranker().rerank(QUERY, client.query_points("Cosine", query=ASKED, with_payload=False))
    with pytest.raises(InvalidRequestError, match=r"points\[0\] has no field 'body'.*only text, source.*text_field="):
        QdrantReranker(text_field="body").rerank(QUERY, client.query_points("Cosine", query=ASKED))
    with pytest.raises(InvalidRequestError, match="is int; expected text"):
        QdrantReranker().rerank(QUERY, [ScoredPoint(id=1, version=0, score=1, payload={"text": 1})])
    with pytest.raises(InvalidRequestError, match=r"points\[0\] is str; expected a ScoredPoint"):
        QdrantReranker().rerank(QUERY, ["text"])
    empty = [ScoredPoint(id=n, version=0, score=1, payload={"text": text}) for n, text in enumerate((None, "3", "-1"))]
    assert [point.id for point in QdrantReranker(reranker=by_number()).rerank(QUERY, empty)] == [1, 0, 2]
