"""LanceDBReranker in LanceDB itself, on a table on disk."""

from __future__ import annotations

import asyncio
import pickle

import lancedb
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lancedb.index import FTS
from lancedb.rerankers import Reranker as LanceInterface
from numbers_as_texts import by_number

from rerank_core import InvalidRequestError, Reranker
from rerank_plugins.lancedb import LanceDBReranker

TEXTS = [
    "The Eiffel tower in Paris is 330 metres tall.",
    "Cats purr when they are content.",
    "Berlin has a television tower.",
    "A tower is a tall structure.",
]
QUERY = "How tall is the Eiffel tower?"
ASKED = [1.0, 0.0]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A database with the texts, a vector each, and a full-text index."""
    folder = tmp_path_factory.mktemp("lancedb")
    vectors = [[0.0, 1.0], [1.0, 0.0], [0.8, 0.6], [0.6, 0.8]]
    rows = [
        {"id": number, "text": text, "vector": vector, "source": f"s{number % 2}"}
        for number, (text, vector) in enumerate(zip(TEXTS, vectors, strict=True))
    ]
    table = lancedb.connect(folder).create_table("articles", rows)
    table.create_index("text", config=FTS())
    return folder


@pytest.fixture(scope="module")
def table(folder):
    return lancedb.connect(folder).open_table("articles")


def near(found):
    """A result as a row has it: LanceDB's scores are in float32."""
    return (found.text, pytest.approx(found.relevance_score, abs=1e-6))


def wanted(texts):
    """The engine's own ranking."""
    return [near(found) for found in Reranker().rerank(QUERY, texts)]


def seen(rows):
    return [(row["text"], row["_relevance_score"]) for row in rows]


def test_it_is_what_lancedb_takes():
    assert isinstance(LanceDBReranker(), LanceInterface)


def test_a_vector_search(table):
    rows = table.search(ASKED).limit(4).rerank(LanceDBReranker(top_n=3), query_string=QUERY).to_list()
    assert seen(rows) == wanted(TEXTS)[:3]
    assert "_distance" not in rows[0]


def test_a_full_text_search(table):
    rows = table.search("tower", query_type="fts").rerank(LanceDBReranker()).limit(5).to_list()
    found = Reranker().rerank("tower", [text for text in TEXTS if "tower" in text])
    assert seen(rows) == [near(each) for each in found]


def test_a_hybrid_search_ranks_each_row_once(table):
    search = table.search(query_type="hybrid").vector(ASKED).text(QUERY)
    rows = search.rerank(LanceDBReranker(return_score="all")).limit(4).to_list()
    assert seen(rows) == wanted(TEXTS)
    by_text = {row["text"]: row for row in rows}
    assert by_text[TEXTS[1]]["_score"] is None  # found by its vector alone
    assert by_text[TEXTS[0]]["_score"] > 0
    assert by_text[TEXTS[1]]["_distance"] == 0.0


@pytest.mark.parametrize("kind", ["vector", "fts", "hybrid"])
def test_asynchronous_queries(folder, kind):
    async def search():
        table = await (await lancedb.connect_async(folder)).open_table("articles")
        ranker = LanceDBReranker(top_n=2)
        match kind:
            case "vector":
                query = table.query().nearest_to(ASKED).limit(4).rerank(ranker, query_string=QUERY)
            case "fts":
                query = table.query().nearest_to_text(QUERY).limit(4).rerank(ranker)
            case _:
                query = table.query().nearest_to(ASKED).nearest_to_text(QUERY).limit(4).rerank(ranker)
        return await query.to_list()

    assert seen(asyncio.run(search())) == wanted(TEXTS)[:2]


def test_a_search_that_finds_nothing(table):
    search = table.search(ASKED).where("id > 100").rerank(LanceDBReranker(), query_string=QUERY)
    assert search.to_list() == []
    assert "_relevance_score" in search.to_arrow().column_names
    assert table.search("nothing", query_type="fts").rerank(LanceDBReranker()).to_list() == []
    # Where one of both searches finds something, it is ranked.
    hybrid = table.search(query_type="hybrid").vector(ASKED).text("nothing")
    assert len(hybrid.rerank(LanceDBReranker()).limit(4).to_list()) == 4


def test_the_retrievers_scores_count_in_fusion(table):
    def order(search, fusion):
        rows = search.rerank(LanceDBReranker(fusion=fusion), query_string=QUERY).to_list()
        return [row["id"] for row in rows]

    assert order(table.search(ASKED).limit(4), 1.0) == [1, 2, 3, 0]
    assert order(table.search(ASKED).limit(4), 0.0) == [found.index for found in Reranker().rerank(QUERY, TEXTS)]


def test_rules_and_what_is_known_of_a_row(table):
    ranker = LanceDBReranker(highlights=1, max_per_source=1, source_field="source")
    rows = table.search(ASKED).limit(4).rerank(ranker, query_string=QUERY).to_list()
    assert [row["id"] for row in rows] == [0, 3]  # one of each source
    assert rows[0]["rerank_highlights"][0]["text"] == TEXTS[0]


def test_a_column_without_text_is_named(table):
    with pytest.raises(InvalidRequestError, match=r"no column 'body', only id, text, vector, source.*column="):
        table.search(ASKED).rerank(LanceDBReranker(column="body"), query_string=QUERY).to_list()
    with pytest.raises(InvalidRequestError, match="'id' is int64; expected text"):
        table.search(ASKED).rerank(LanceDBReranker(column="id"), query_string=QUERY).to_list()
    with pytest.raises(InvalidRequestError, match="empty"):
        table.search(ASKED).rerank(LanceDBReranker(), query_string=" ").to_list()


def test_rows_without_text_are_ranked_like_any_other():
    rows = pa.table({"text": ["2", None, "-1"], "_distance": pa.array([0.1, 0.2, 0.3], pa.float32())})
    ranked = LanceDBReranker(reranker=by_number()).rerank_vector("q", rows)
    assert ranked.column("text").to_pylist() == ["2", None, "-1"]


def test_options_are_checked_and_keys_are_not_shown():
    with pytest.raises(ValueError, match="return_score"):
        LanceDBReranker(return_score="some")
    with pytest.raises(ValueError, match="Did you mean 'column'"):
        LanceDBReranker(colum="text")
    ranker = LanceDBReranker(provider="cohere", model="m", api_key="secret-key", column="body")
    assert "secret-key" not in repr(ranker) + str(ranker) + str(pickle.dumps(ranker))


rowids = st.lists(st.integers(0, 8), unique=True, max_size=6)


@given(vector=rowids, fts=rowids)
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_both_lists_become_one_with_both_scores(vector, fts):
    def table(ids, name):
        return pa.table(
            {
                "text": pa.array([str(number) for number in ids], pa.string()),
                "_rowid": pa.array(ids, pa.uint64()),
                name: pa.array([number / 10 for number in ids], pa.float32()),
            }
        )

    ranker = LanceDBReranker(reranker=by_number(), return_score="all")
    ranked = ranker.rerank_hybrid("q", table(vector, "_distance"), table(fts, "_score"))
    assert ranked.column("_rowid").to_pylist() == sorted({*vector, *fts}, reverse=True)
    for row in ranked.to_pylist():
        for name, ids in (("_distance", vector), ("_score", fts)):
            if ids:
                assert row.get(name) == (pytest.approx(row["_rowid"] / 10) if row["_rowid"] in ids else None)


def test_lancedbs_own_way_to_join_vector_searches(table):
    searches = [table.search(vector).limit(2).with_row_id(True).to_arrow() for vector in (ASKED, [0.0, 1.0])]
    ranked = LanceDBReranker().rerank_multivector(searches, QUERY, deduplicate=True)
    assert sorted(ranked.column("id").to_pylist()) == [0, 1, 2, 3]
