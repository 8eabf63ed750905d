"""Scorers around scorers, put together at random, keep the promises that README makes of every ranking."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rerank_core import AuthenticationError, OverloadedError, Reranker, RerankError
from rerank_core.scoring import (
    CachedScorer,
    CalibratedScorer,
    Calibration,
    CascadeScorer,
    FakeScorer,
    FallbackScorer,
    KeepOrderScorer,
    Score,
    Scores,
)

COUNT = 6
TEXTS = [str(number) for number in range(COUNT)]
PROBABILITIES = (0.0, 1e-320, 1e-301, 1e-200, 1e-20, 1e-13, 1e-12, 0.3, 0.5, 1 - 1e-12, 1 - 2**-53, 1.0)
LOGITS = (-700.0, -50.0, -3.0, -1.0, -1e-9, 0.0, 1e-300, 2.0, 30.0, 41.0, 600.0)


@dataclass(frozen=True)
class Failed:
    transient: bool


@dataclass(frozen=True)
class Ranked:
    """What must come out: texts in order, and of each whether it was judged and whether a fallback gave its score."""

    order: tuple[str, ...]
    judged: frozenset[str]
    degraded: frozenset[str]


class Leaf(FakeScorer):
    """Scores a text by a table, with logits or with probabilities only, or fails."""

    def __init__(self, values, logits, error):
        super().__init__(f"leaf-{abs(hash((values, logits)))}", error=error)
        self.values, self.logits = values, logits

    def _answer(self, query, texts):
        super()._answer(query, texts)
        values = [self.values[int(text)] for text in texts]
        return Scores(tuple(Score.from_logit(v) if self.logits else Score(v) for v in values), self.model)


@dataclass(frozen=True)
class Tree:
    """A composition: how it is built, and by plain rules what it must answer."""

    kind: str
    parts: tuple[Tree, ...] = ()
    values: tuple[float, ...] = ()
    logits: bool = True
    error: RerankError | None = field(default=None, hash=False)
    keep: int = 1

    def build(self):
        parts = [part.build() for part in self.parts]
        match self.kind:
            case "leaf":
                return Leaf(self.values, self.logits, self.error)
            case "cached":
                return CachedScorer(*parts)
            case "calibrated":
                curve = (-1.0, 0.2, 1.0, 0.2) if self.logits else (-2.0, 0.1, 2.0, 0.9)
                return CalibratedScorer(*parts, Calibration(parts[0].model, "isotonic", curve))
            case "cascade":
                return CascadeScorer(*parts, keep=self.keep)
            case "fallback":
                return FallbackScorer(parts)
        return FallbackScorer([*parts, KeepOrderScorer()])

    def expected(self, texts):
        match self.kind:
            case "leaf" if self.error is not None:
                return Failed(self.error.transient)
            case "leaf":
                ranked = sorted(texts, key=lambda text: -self.values[int(text)])
                return Ranked(tuple(ranked), frozenset(texts), frozenset())
            case "cascade":
                return self._cascade(texts)
            case "fallback" | "keep_order":
                return self._fallback(texts)
        return self.parts[0].expected(texts)

    def _fallback(self, texts):
        failures = []
        for part in self.parts:
            found = part.expected(texts)
            if isinstance(found, Ranked):
                return Ranked(found.order, found.judged, frozenset(texts) if failures else found.degraded)
            failures.append(found)
        if self.kind == "keep_order" and any(failure.transient for failure in failures):
            return Ranked(tuple(texts), frozenset(), frozenset(texts))
        return failures[-1]

    def _cascade(self, texts):
        few = len(texts) <= self.keep
        alone = self.parts[1].expected(texts) if few else None
        if few and (isinstance(alone, Failed) or alone.judged == frozenset(texts)):
            return alone
        cheap = self.parts[0].expected(texts)
        if isinstance(cheap, Failed):
            return cheap
        best = texts if few else cheap.order[: self.keep]
        expensive = alone if few else self.parts[1].expected(best)
        if isinstance(expensive, Failed):
            return expensive
        upper = [text for text in expensive.order if text in expensive.judged]
        lower = [text for text in cheap.order if text not in upper]
        degraded = (expensive.degraded & set(upper)) | (cheap.degraded & set(lower)) | (set(best) - set(upper))
        return Ranked((*upper, *lower), frozenset(upper) | (cheap.judged & set(lower)), degraded)


ERRORS = st.sampled_from([None, None, None, OverloadedError("full"), AuthenticationError("refused")])


@st.composite
def leaves(draw):
    logits = draw(st.booleans())
    values = draw(st.permutations(LOGITS if logits else PROBABILITIES))
    return Tree("leaf", values=tuple(values[:COUNT]), logits=logits, error=draw(ERRORS))


def around(inner):
    one, two = st.tuples(inner), st.tuples(inner, inner)
    return st.one_of(
        st.builds(Tree, st.sampled_from(["cached", "keep_order"]), one),
        st.builds(Tree, st.just("calibrated"), one, logits=st.booleans()),
        st.builds(Tree, st.just("fallback"), two),
        st.builds(Tree, st.just("cascade"), two, keep=st.integers(1, COUNT)),
    )


TREES = st.recursive(leaves(), around, max_leaves=6)


@settings(max_examples=300)
@given(TREES, st.integers(1, COUNT), st.sampled_from([*PROBABILITIES, 0.2]))
def test_every_composition_keeps_its_promises(tree, top_n, threshold):
    reranker = Reranker(scorer=tree.build())
    expected = tree.expected(TEXTS)
    for turn in range(2):  # the second time out of the caches
        if isinstance(expected, Failed):
            with pytest.raises(RerankError) as caught:
                reranker.rerank("q", TEXTS)
            assert caught.value.transient is expected.transient
            continue
        response = reranker.rerank("q", TEXTS) if turn == 0 else asyncio.run(reranker.arerank("q", TEXTS))
        check(response, expected)
        kept = [r.text for r in response if r.text not in expected.judged or r.relevance_score >= threshold]
        cut = reranker.rerank("q", TEXTS, score_threshold=threshold, top_n=top_n)
        assert [result.text for result in cut] == kept[:top_n]


def check(response, expected):
    assert tuple(result.text for result in response) == expected.order
    assert {result.text for result in response if result.degraded} == expected.degraded
    assert response.degraded is bool(expected.degraded)
    for better, worse in pairwise(response):
        assert better.relevance_score >= worse.relevance_score
    for result in response:
        assert type(result.relevance_score) is float
        assert 0 <= result.relevance_score <= 1
        assert result.logit is None or type(result.logit) is float
    json.loads(response.to_json())


DOWN, REFUSED = OverloadedError("full"), AuthenticationError("the key was refused")


def kept_order(error):
    return FallbackScorer([FakeScorer("expensive", error=error), KeepOrderScorer()])


def test_a_cascade_whose_expensive_scorer_kept_the_order_has_the_cheap_ones():
    cheap = FakeScorer("cheap")
    texts = ["x", "a", "a b c", "a b"]
    response = Reranker(scorer=CascadeScorer(cheap, kept_order(DOWN), keep=3)).rerank("a b c", texts)
    plain = Reranker(scorer=cheap).rerank("a b c", texts)
    assert [(r.text, r.relevance_score, r.logit) for r in response] == [
        (r.text, r.relevance_score, r.logit) for r in plain
    ]
    assert (response.model, response.degraded) == ("cheap", True)
    assert [result.degraded for result in response] == [True, True, True, False]
    cut = Reranker(scorer=CascadeScorer(cheap, kept_order(DOWN))).rerank("a b c", texts, score_threshold=0.2)
    assert [result.text for result in cut] == ["a b c", "a b"]


def test_a_threshold_spares_what_the_cheap_scorer_did_not_judge():
    cascade = CascadeScorer(kept_order(DOWN), FakeScorer("expensive"), keep=2)
    response = Reranker(scorer=cascade).rerank("a b", ["x", "a b", "y", "z"], score_threshold=0.9)
    assert [result.text for result in response] == ["a b", "y", "z"]
    assert [result.degraded for result in response] == [False, True, True]


def test_probabilities_near_0_and_1_keep_their_order_in_a_cascade():
    class Probability(FakeScorer):
        def _answer(self, _query, texts):
            return Scores(tuple(Score(float(text)) for text in texts), self.model)

    texts = ["1e-14", "1e-20", "1e-15", "1e-13", "1e-18", "0.9999999999999", "0.99999999999999"]
    response = Reranker(scorer=CascadeScorer(Probability("cheap"), Probability("expensive"), keep=2)).rerank("q", texts)
    assert [result.text for result in response] == sorted(texts, key=float, reverse=True)


def test_calibrated_scores_of_a_cascade_fall_with_the_rank():
    expensive = CalibratedScorer(FakeScorer("expensive"), Calibration("expensive", "logistic", (1.0, -8.0)))
    response = Reranker(scorer=CascadeScorer(FakeScorer("cheap"), expensive, keep=1)).rerank("a b", ["a", "b", "a b"])
    scores = [result.relevance_score for result in response]
    assert scores == sorted(scores, reverse=True)


def test_what_a_wrapper_does_not_change_is_its_main_scorers():
    class Cloud(FakeScorer):
        provider = "cloud"

    cloud, local = Cloud("far"), FakeScorer("near")
    curve = Calibration("far", "logistic", (1.0, 0.0))
    for wrapped in (
        CachedScorer(cloud),
        CalibratedScorer(cloud, curve),
        FallbackScorer([cloud, local]),
        CascadeScorer(local, cloud),
        CachedScorer(FallbackScorer([CalibratedScorer(CachedScorer(cloud), curve), local])),
    ):
        reranker = Reranker(scorer=wrapped)
        assert (reranker.model, reranker.provider, reranker.loaded) == ("far", "cloud", None)
        assert "provider='cloud'" in repr(reranker)


@pytest.mark.parametrize("wrap", [CachedScorer, lambda inner: FallbackScorer([inner, FakeScorer()])])
def test_what_is_loaded_is_seen_through_every_wrapper(bundled, wrap):
    bundled.warm_up()
    reranker = Reranker(scorer=wrap(CachedScorer(bundled.scorer)))
    assert reranker.loaded == bundled.loaded
    assert "backend='onnx'" in repr(reranker)


def test_a_scorer_of_the_protocol_alone_composes():
    """With members of its own that happen to be called like the optional ones."""

    class Mine:
        model = identity = "mine"
        pointwise = True
        loaded = True
        provider = object()

        def score(self, _query, texts):
            return Scores(tuple(Score(0.5) for _ in texts), "mine")

        async def ascore(self, query, texts):
            return self.score(query, texts)

        def warm_up(self):
            pass

        def close(self):
            pass

        async def aclose(self):
            pass

    composed = FallbackScorer([CascadeScorer(Mine(), CachedScorer(Mine())), KeepOrderScorer()])
    reranker = Reranker(scorer=composed)
    assert (reranker.provider, reranker.loaded) == ("local", None)
    assert len(reranker.rerank("q", ["a", "b"], score_threshold=0.5)) == 2
    reranker.close()
