"""The LlamaIndex postprocessor and its nodes: what the model reads, and what comes back."""

from __future__ import annotations

import copy
import json
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("llama_index.core")

from llama_index.core.schema import (
    Document,
    ImageNode,
    IndexNode,
    MediaResource,
    MetadataMode,
    Node,
    NodeRelationship,
    NodeWithScore,
    RelatedNodeInfo,
    TextNode,
)
from llama_index_tools import QUERY, TEXTS, Scripted, both_ways, faked, ids, nodes

from rerank_core.scoring import FakeScorer, Score
from rerank_plugins.llama_index import CrossEncoderPostprocessor


class Passage(TextNode):
    page: int = 0


class Found(NodeWithScore):
    source: str = ""


def kinds():
    """One of each kind of node, and one of a user's own."""
    return [
        NodeWithScore(node=Node(id_="node", text_resource=MediaResource(text="machine")), score=0.1),
        NodeWithScore(node=Document(id_="document", text="learning"), score=None),
        NodeWithScore(node=ImageNode(id_="image", image_path="cat.png", metadata={"caption": "a cat"}), score=0.3),
        NodeWithScore(node=ImageNode(id_="captioned", text="machine learning", image_url="http://x/y.png"), score=0.3),
        NodeWithScore(node=IndexNode(id_="index", text="a table", index_id="t", obj=threading.Lock()), score=0.2),
        Found(node=Passage(id_="passage", text="what is", page=7), score=0.4, source="bm25"),
    ]


def test_every_kind_of_node_survives_as_what_it_is():
    given = kinds()
    result = {node.node_id: node for node in both_ways(faked(keep_retrieval_score=True), given)}
    assert len(result) == len(given)
    for scored in given:
        assert type(result[scored.node_id]) is type(scored)
        assert type(result[scored.node_id].node) is type(scored.node)
    assert result["passage"].node.page == 7
    assert result["passage"].source == "bm25"
    assert result["index"].node.obj is given[4].node.obj
    assert result["document"].metadata["retrieval_score"] is None


def test_a_node_without_text_is_read_by_its_metadata():
    scorer = FakeScorer()
    faked(scorer).postprocess_nodes(kinds(), query_str=QUERY)
    assert scorer.calls[0][1] == ("machine", "learning", "caption: a cat", "machine learning", "a table", "what is")


@pytest.mark.parametrize(
    ("mode", "text"),
    [
        ("embed", "a: 1\n\nmachine"),
        ("llm", "b: 2\n\nmachine"),
        ("all", "a: 1\nb: 2\n\nmachine"),
        ("none", "machine"),
        (MetadataMode.NONE, "machine"),
    ],
)
def test_the_metadata_mode_decides_what_the_model_reads(mode, text):
    scorer = FakeScorer()
    given = nodes(
        ["machine"],
        metadata={"a": 1, "b": 2},
        excluded_embed_metadata_keys=["b"],
        excluded_llm_metadata_keys=["a"],
    )
    faked(scorer, metadata_mode=mode).postprocess_nodes(given, query_str=QUERY)
    assert scorer.calls == [(QUERY, (text,))]


def rich_nodes():
    return [
        NodeWithScore(
            node=TextNode(
                id_=f"n{i}",
                text=text,
                embedding=[0.1, float(i)],
                metadata={"file": f"{i}.txt", "nested": {"tags": ["a"]}},
                excluded_embed_metadata_keys=["file"],
                relationships={NodeRelationship.SOURCE: RelatedNodeInfo(node_id="doc", metadata={"x": 1})},
            ),
            score=i / 10,
        )
        for i, text in enumerate(TEXTS)
    ]


def test_nothing_given_is_changed():
    given = rich_nodes()
    inner = [scored.node for scored in given]
    before = copy.deepcopy(given)
    scorer = Scripted(*[Score(0.5, 0.0, truncated=True)] * 4)
    result = both_ways(faked(scorer, keep_retrieval_score=True), given)
    assert given == before
    assert [scored.node for scored in given] == inner
    assert all(scored.node is node for scored, node in zip(given, inner, strict=True))
    for scored, original in zip(result, given, strict=True):
        assert scored is not original
        assert scored.node is not original.node
        assert scored.node.metadata is not original.node.metadata
        assert scored.node.relationships == original.node.relationships
        assert scored.node.embedding == original.node.embedding
        assert scored.node.metadata["nested"] == {"tags": ["a"]}


def test_a_node_with_nothing_to_tell_is_the_node_given():
    given = rich_nodes()
    result = faked().postprocess_nodes(given, query_str=QUERY)
    assert {id(scored.node) for scored in result} == {id(scored.node) for scored in given}


def test_the_retrieval_score_is_kept_and_stays_out_of_prompts_and_reranking():
    given = rich_nodes()
    result = both_ways(faked(keep_retrieval_score=True), given)
    assert {node.node_id: node.metadata["retrieval_score"] for node in result} == {f"n{i}": i / 10 for i in range(4)}
    for scored in result:
        for mode in (MetadataMode.EMBED, MetadataMode.LLM):
            assert "retrieval_score" not in scored.get_content(mode)
        assert scored.node.excluded_embed_metadata_keys == ["file", "retrieval_score"]
        assert scored.node.excluded_llm_metadata_keys == ["retrieval_score"]
    for mode in MetadataMode:
        first, second = FakeScorer(), FakeScorer()
        faked(first, metadata_mode=mode).postprocess_nodes(given, query_str=QUERY)
        again = faked(second, metadata_mode=mode, keep_retrieval_score=True).postprocess_nodes(result, query_str=QUERY)
        assert sorted(first.calls[0][1]) == sorted(second.calls[0][1])
        assert again[0].node.excluded_llm_metadata_keys == ["retrieval_score"]
        assert again[0].metadata["retrieval_score"] == result[0].score


def test_a_long_text_is_marked_as_truncated(bundled):
    given = nodes([TEXTS[1], "Machine learning and cats. " * 400])
    result = {node.node_id: node for node in both_ways(CrossEncoderPostprocessor(reranker=bundled), given)}
    assert result["n1"].metadata == {"rerank_truncated": True}
    assert result["n0"].metadata == {}
    assert "rerank_truncated" not in result["n1"].get_content(MetadataMode.LLM)
    assert "rerank_truncated" not in result["n1"].get_content(MetadataMode.EMBED)


def test_the_window_that_counted_is_reported():
    text = "Cats are popular pets worldwide. " * 100 + TEXTS[1]
    (result,) = both_ways(CrossEncoderPostprocessor(long_documents="windows"), nodes([text]))
    start, end = result.metadata["rerank_window"]
    assert TEXTS[1] in result.text[start:end]
    assert end - start < len(text)
    assert "rerank_window" not in result.get_content(MetadataMode.LLM)
    json.dumps(result.to_dict())


def test_an_earlier_rerankers_details_are_replaced():
    truncated = Scripted(*[Score(0.5, 0.0, truncated=True)] * 4)
    first = faked(truncated).postprocess_nodes(nodes(), query_str=QUERY)
    assert all(node.metadata == {"rerank_truncated": True} for node in first)
    second = both_ways(faked(metadata_mode="all"), first)
    assert all(node.metadata == {} for node in second)
    assert all(node.metadata == {"rerank_truncated": True} for node in first)


def test_dedup_keeps_the_best_of_an_id_before_the_limit():
    given = nodes(["cats", QUERY, "what is", "machine"])
    for scored, name in zip(given, ("a", "b", "b", "a"), strict=True):
        scored.node.id_ = name
    assert ids(both_ways(faked(), given)) == ["b", "b", "a", "a"]
    result = both_ways(faked(dedup=True), given)
    assert [(node.node_id, node.text) for node in result] == [("b", QUERY), ("a", "machine")]
    assert ids(both_ways(faked(dedup=True, top_n=2), given)) == ["b", "a"]
    assert ids(both_ways(faked(dedup=True, top_n=1), given)) == ["b"]


def test_dedup_keeps_the_first_of_equals():
    given = [NodeWithScore(node=TextNode(id_="a", text="x"), score=score) for score in (0.1, 0.9)]
    (result,) = both_ways(faked(dedup=True, keep_retrieval_score=True), given)
    assert result.metadata["retrieval_score"] == 0.1


WORDS = st.sampled_from(["what", "is", "machine", "learning", "cats", "", "x"])
NODES = st.lists(
    st.builds(
        lambda node_id, words, metadata, score: NodeWithScore(
            node=TextNode(id_=node_id, text=" ".join(words), metadata=metadata), score=score
        ),
        st.sampled_from("abcdefgh"),
        st.lists(WORDS, max_size=4),
        st.dictionaries(
            st.sampled_from(["file", "page", "retrieval_score", "rerank_truncated"]), st.integers(), max_size=3
        ),
        st.none() | st.floats(-5, 5),
    ),
    max_size=12,
)


@settings(max_examples=150, deadline=None)
@given(NODES, st.none() | st.integers(1, 14), st.booleans(), st.booleans())
def test_nothing_is_lost_doubled_reordered_or_changed(given_nodes, top_n, keep, dedup):
    for place, scored in enumerate(given_nodes):
        scored.node.start_char_idx = place  # ids may be equal
    before = copy.deepcopy(given_nodes)
    result = faked(top_n=top_n, keep_retrieval_score=keep, dedup=dedup).postprocess_nodes(given_nodes, query_str=QUERY)
    assert given_nodes == before

    candidates = len({scored.node_id for scored in before}) if dedup else len(before)
    assert len(result) == (candidates if top_n is None else min(top_n, candidates))
    came_from = [scored.node.start_char_idx for scored in result]
    assert len(set(came_from)) == len(came_from)
    ranking = [(-scored.score, place) for scored, place in zip(result, came_from, strict=True)]
    assert ranking == sorted(ranking)
    for scored, place in zip(result, came_from, strict=True):
        original = before[place]
        own = {"retrieval_score", "rerank_truncated"}
        assert scored.node_id == original.node_id
        assert scored.text == original.text
        assert {k: v for k, v in scored.metadata.items() if k not in own} == {
            k: v for k, v in original.metadata.items() if k not in own
        }
        if keep:
            assert scored.metadata["retrieval_score"] == original.score
    if dedup:
        assert len(set(ids(result))) == len(result)
