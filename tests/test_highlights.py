"""The best sentences of what is returned."""

from __future__ import annotations

import asyncio
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerank_core import InferenceError, InvalidRequestError, Reranker, RerankResponse, Span
from rerank_core.highlights import MOST_SENTENCES, sentences
from rerank_core.scoring import CachedScorer, FakeScorer, FallbackScorer, KeepOrderScorer, Score, Scores
from rerank_core.testing import api_transport

TEXT = "Berlin is big. Paris is the capital of France! Is bread baked?"


class ByLength(FakeScorer):
    """The logit of a text is its length; requests are kept."""

    def __init__(self):
        super().__init__()
        self.requests = []

    def score(self, _query, texts):
        self.requests.append(list(texts))
        return Scores(tuple(Score.from_logit(len(text) / 10) for text in texts), self.model, tokens=len(texts))

    async def ascore(self, query, texts):
        return self.score(query, texts)


def parts(text, spans):
    return [text[start:end] for start, end in spans]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (TEXT, ["Berlin is big.", "Paris is the capital of France!", "Is bread baked?"]),
        ("Dr. J. Smith paid 3.5, e.g. in cash. He left.", ["Dr. J. Smith paid 3.5, e.g. in cash.", "He left."]),
        ('She said "Go." Then she went.', ['She said "Go."', "Then she went."]),
        ("He asked: really? yes, he did.", ["He asked: really? yes, he did."]),
        ("A title\n\nThe text goes\non here.", ["A title", "The text goes\non here."]),
        ("\u96e8\u3002\u6674\u308c\u3002", ["\u96e8\u3002", "\u6674\u308c\u3002"]),
        ("Wait... What? -- !!! ...", ["Wait...", "What?"]),
        ("", []),
        ("no mark", ["no mark"]),
    ],
)  # fmt: skip
def test_sentences_as_people_see_them(text, expected):
    assert parts(text, sentences(text)) == expected


@given(st.text(st.sampled_from("aB1 .!?\n\"'\u3002"), max_size=40), st.data())
def test_sentences_cover_every_word_once_and_in_order(text, data):
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    found = list(sentences(text, Span(start, end)))
    positions = [position for span in found for position in range(*span)]
    assert positions == sorted(set(positions))
    assert all(start <= position < end for position in positions)
    missing = set(range(start, end)) - set(positions)
    assert not any(text[position].isalnum() for position in missing)
    assert all(part == part.strip() and any(map(str.isalnum, part)) for part in parts(text, found))


@pytest.mark.timeout(120)
@pytest.mark.parametrize("text", ["A. " * 3_000_000, "." * 1_000_000 + "a", '."' * 500_000 + "a"], ids=len)
def test_a_text_is_read_once_however_many_marks_it_has(text):
    """Read from each mark to the end, these would take hours."""
    assert parts(text, sentences(text)) == [text.strip()]


def test_no_more_of_a_text_is_read_than_the_sentences_that_count():
    found = sentences("One. " + "Two. " * 1_000_000)
    assert next(found) == Span(0, 4)
    assert next(found) == Span(5, 9)


def test_a_long_text_is_split_beside_the_event_loop():
    """One thread of the loop, which is busy while it splits, could not count the turns of another task."""
    turns = 0

    async def count():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def rank():
        counting = asyncio.ensure_future(count())
        document = "Mr. B " * 200_000
        response = await Reranker(scorer=FakeScorer(), highlights=1).arerank("q", [document])
        counting.cancel()
        return response

    response = asyncio.run(rank())
    assert len(response[0].highlights) == 1
    assert turns > 20


def test_the_best_sentences_of_what_is_returned_in_one_more_request():
    scorer = ByLength()
    documents = [TEXT, "Paris is the capital of France! Yes.", "Short."]
    response = Reranker(scorer=scorer, highlights=2).rerank("q", documents, top_n=2)
    assert scorer.requests == [
        documents,
        ["Berlin is big.", "Paris is the capital of France!", "Is bread baked?", "Yes."],
    ]
    first, second = response
    assert [highlight.text for highlight in first.highlights] == ["Paris is the capital of France!", "Is bread baked?"]
    assert [highlight.text for highlight in second.highlights] == ["Paris is the capital of France!", "Yes."]
    for result in response:
        for start, end, text, score in result.highlights:
            assert result.text[start:end] == text
            assert score == Score.from_logit(len(text) / 10).relevance_score
    assert response.usage.total_tokens == 7


def test_equal_scores_keep_the_order_of_the_text():
    (result,) = Reranker(scorer=ByLength(), highlights=2).rerank("q", ["Ab cd. Ef gh. Ij kl."])
    assert [highlight.text for highlight in result.highlights] == ["Ab cd.", "Ef gh."]


def test_without_the_option_nothing_more_is_scored():
    scorer = ByLength()
    (result,) = Reranker(scorer=scorer).rerank("q", [TEXT])
    assert (result.highlights, len(scorer.requests)) == ((), 1)
    assert Reranker(scorer=scorer, highlights=1).rerank("q", []).results == ()
    assert Reranker(scorer=scorer, highlights=1).rerank("q", ["..."])[0].highlights == ()


def test_of_a_book_the_first_sentences_are_scored():
    scorer = ByLength()
    Reranker(scorer=scorer, highlights=1).rerank("q", [" ".join(f"Number {n}." for n in range(500))])
    assert len(scorer.requests[1]) == MOST_SENTENCES


def test_many_and_async_are_the_same():
    reranker = Reranker(scorer=ByLength(), highlights=1)
    plain = reranker.rerank("q", [TEXT, "A. Bb."]).results
    assert plain[0].highlights
    assert asyncio.run(reranker.arerank("q", [TEXT, "A. Bb."])).results == plain
    assert reranker.rerank_many([("q", [TEXT, "A. Bb."])])[0].results == plain
    assert asyncio.run(reranker.arerank_many([("q", [TEXT, "A. Bb."])]))[0].results == plain


class Failing(FakeScorer):
    """Fails from the given request on."""

    def __init__(self, after):
        super().__init__()
        self.left = after

    def score(self, query, texts):
        self.left -= 1
        if self.left < 0:
            raise InferenceError("broken")
        return super().score(query, texts)


@pytest.mark.parametrize("after", [0, 1])
def test_what_a_fallback_ranked_or_scored_has_none(after):
    scorer = FallbackScorer([Failing(after), KeepOrderScorer()])
    response = Reranker(scorer=scorer, highlights=1).rerank("q", [TEXT, "A. B."])
    assert response.degraded == (after == 0)
    assert [result.highlights for result in response] == [(), ()]


def test_lone_surrogates_are_marked_where_they_stand():
    text = "A \ud800 here. Long enough \udfff to be best."
    (result,) = Reranker(scorer=ByLength(), highlights=1).rerank("q", [text])
    (highlight,) = result.highlights
    assert text[highlight.start : highlight.end] == highlight.text == "Long enough \udfff to be best."


def test_they_survive_json_and_are_in_no_repr():
    response = Reranker(scorer=CachedScorer(ByLength()), highlights=2).rerank("q", [TEXT])
    assert RerankResponse.from_dict(json.loads(response.to_json())) == response
    older = response.to_dict()
    del older["results"][0]["highlights"]
    assert RerankResponse.from_dict(older)[0].highlights == ()
    assert "Paris" not in repr(response[0].highlights)


def test_over_http_it_is_one_more_request(bundled):
    import httpx

    with (
        httpx.Client(transport=api_transport(bundled)) as client,
        Reranker(bundled.model, base_url="http://test", api_key="k", http_client=client, highlights=1) as reranker,
    ):
        (result,) = reranker.rerank("capital of France", [TEXT], top_n=1)
    (highlight,) = result.highlights
    assert TEXT[highlight.start : highlight.end] == highlight.text


def test_the_bundled_model_finds_the_answer(bundled):
    response = Reranker(highlights=1).rerank("What is the capital of France?", [TEXT, "Cars drive. Bread is baked."])
    assert [result.index for result in response] == [0, 1]
    assert response[0].highlights[0].text == "Paris is the capital of France!"
    plain = bundled.rerank("What is the capital of France?", [TEXT, "Cars drive. Bread is baked."])
    assert [result.relevance_score for result in response] == [result.relevance_score for result in plain]


def test_of_a_document_in_windows_the_best_window_is_looked_at():
    filler = "Bread is baked every morning. " * 60
    text = f"{filler}Paris is the capital of France. {filler}"
    reranker = Reranker(long_documents="windows", max_tokens=64, highlights=1)
    (result,) = reranker.rerank("What is the capital of France?", [text])
    (highlight,) = result.highlights
    assert result.window.start <= highlight.start < highlight.end <= result.window.end
    assert text[highlight.start : highlight.end] == highlight.text
    assert "capital of France" in highlight.text


@pytest.mark.parametrize("value", [0, -1, 1.5, True, "2"])
def test_wrong_values_are_refused(value):
    with pytest.raises(InvalidRequestError, match="highlights must be a whole number of at least 1"):
        Reranker(scorer=FakeScorer(), highlights=value)
