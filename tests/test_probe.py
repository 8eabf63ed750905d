"""The check finds models and servers that do not rank, each broken in its own way."""

from __future__ import annotations

import asyncio
import json
import pickle
import random
import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apiserver import ApiServer, body_of, message, reply
from rerank_core import ModelLoadError, Reranker
from rerank_core.errors import ConnectionError as UnreachableError
from rerank_core.known_pairs import PAIRS, languages_to_check
from rerank_core.models.source import BUNDLED
from rerank_core.physics import operations
from rerank_core.probe import check
from rerank_core.scoring import CachedScorer, FakeScorer, FallbackScorer, KeepOrderScorer, LocalScorer, Score, Scores


@pytest.fixture(scope="module")
def model():
    with Reranker("rerank-tiny-en-v1") as reranker:
        yield reranker


@pytest.fixture
def checked_server(model):
    """The report on a server that scores with a real model and then does something to the results."""
    server = ApiServer()

    def check(change):
        def act(request, connection):
            scores = model.score(request.json["query"], request.documents)
            results = [{"index": i, "relevance_score": score} for i, score in enumerate(scores)]
            data = json.dumps(body_of(request) | {"results": change(results, request)}).encode()
            connection.sendall(message(200, data))
            return True

        server.default = act
        with Reranker("served", base_url=server.url, max_retries=0) as reranker:
            return reranker.check()

    yield check
    server.stop()


def with_scores(results, scores):
    return [result | {"relevance_score": score} for result, score in zip(results, scores, strict=True)]


def failed(report):
    return {finding.name: finding.detail for finding in report.findings if not finding.passed}


@pytest.mark.parametrize("name", ["rerank-tiny-en-v1", "rerank-mini-en-v1"])
def test_models_that_rank_pass(name):
    with Reranker(name, when_cold="keep_order", on_failure="keep_order") as reranker:
        report = reranker.check()
    assert report.passed, report
    report.require()
    assert [finding.name for finding in report.findings] == ["answers", "order", "margin", "batch", "speed"]
    assert str(report) == f"{name} ranks as it should"


def test_a_server_that_ranks_passes(checked_server):
    assert checked_server(lambda results, _: results).passed


def test_a_server_with_its_scores_upside_down(checked_server):
    report = checked_server(lambda results, _: with_scores(results, [1 - r["relevance_score"] for r in results]))
    assert "upside down" in failed(report)["order"]
    with pytest.raises(ModelLoadError, match=r"served does not rank: .*upside down") as caught:
        report.require()
    assert caught.value.code == "check_failed"


def test_a_server_that_shuffles_the_indices(checked_server):
    shuffle = random.Random(7)

    def shuffled(results, _):
        places = shuffle.sample(range(len(results)), len(results))
        return [result | {"index": place} for result, place in zip(results, places, strict=True)]

    assert "mixed up" in failed(checked_server(shuffled))["order"]


@pytest.mark.parametrize("garbage", ["nan", None, 7.5, "high"], ids=str)
def test_a_server_whose_scores_are_garbage(checked_server, garbage):
    value = float("nan") if garbage == "nan" else garbage
    report = checked_server(lambda results, _: with_scores(results, [value] * len(results)))
    assert list(failed(report)) in (["answers"], ["order", "margin"])


def test_a_server_that_answers_with_something_else():
    server = ApiServer()
    server.default = reply(b"<html>It works!</html>", kind="text/html")
    try:
        with Reranker("served", base_url=server.url, max_retries=0) as reranker:
            assert list(failed(reranker.check())) == ["answers"]
    finally:
        server.stop()


def test_a_server_that_invents_scores(checked_server):
    invent = random.Random(5)
    report = checked_server(lambda results, _: with_scores(results, [invent.random() for _ in results]))
    assert "margin" in failed(report)


def test_a_prompt_without_the_query(checked_server):
    report = checked_server(lambda results, request: with_scores(results, [len(d) / 100 for d in request.documents]))
    assert {"order", "margin"} <= failed(report).keys()


def test_a_score_that_depends_on_the_batch(checked_server):
    report = checked_server(
        lambda results, _: with_scores(results, [r["relevance_score"] ** len(results) for r in results])
    )
    assert list(failed(report)) == ["batch"]


def test_a_tokenizer_whose_template_has_no_query(tmp_path):
    folder = shutil.copytree(BUNDLED["rerank-tiny-en-v1"], tmp_path / "model")
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    pair = tokenizer["post_processor"]["pair"]
    tokenizer["post_processor"]["pair"] = [each for each in pair if each.get("Sequence", {}).get("id") != "A"]
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    with Reranker(folder, backend="onnx") as reranker, pytest.raises(ModelLoadError):
        reranker.check()


def test_a_graph_without_a_head(tmp_path):
    onnx = pytest.importorskip("onnx")
    import numpy as np

    folder = shutil.copytree(BUNDLED["rerank-tiny-en-v1"], tmp_path / "model")
    graph = onnx.load(folder / "model.onnx")
    scores = graph.graph.output[0].name
    for node in graph.graph.node:
        node.output[:] = ["headless" if name == scores else name for name in node.output]
    graph.graph.initializer.append(onnx.numpy_helper.from_array(np.zeros(1, np.float32), "nothing"))
    graph.graph.node.append(onnx.helper.make_node("Mul", ["headless", "nothing"], [scores]))
    onnx.save(graph, folder / "model.onnx")
    with Reranker(folder, backend="onnx") as reranker:
        assert "all scores are equal" in failed(reranker.check())["order"]


def test_a_fallback_does_not_pass_for_the_model():
    class Broken(FakeScorer):
        def score(self, _query, texts):
            return Scores((Score(2.0),) * len(texts), self.model)

    with Reranker(scorer=FallbackScorer([Broken(), KeepOrderScorer()])) as reranker:
        assert failed(reranker.check()) == {"answers": "a fallback answered in its place"}


def test_a_model_that_cannot_be_loaded_is_an_error(tmp_path):
    with pytest.raises(ModelLoadError):
        Reranker(scorer=LocalScorer(tmp_path)).check()


class Multilingual(FakeScorer):
    """Knows all pairs but those of one language, where it puts the other text first; its record says ``mul``."""

    def __init__(self, weak=None):
        super().__init__("Qwen3-Reranker-0.6B")
        self.weak = weak
        self.asked = set()

    def score(self, query, texts):
        (language,) = (code for code, pairs in PAIRS.items() for pair in pairs if pair[0] == query)
        self.asked.add(language)
        answers = {pair[1] for pair in PAIRS[language] if pair[0] == query}
        sign = -1 if language == self.weak else 1
        return Scores(tuple(Score.from_logit(sign * (5.0 if text in answers else -5.0)) for text in texts), self.model)


def test_a_model_is_asked_in_the_languages_of_its_record():
    scorer = Multilingual()
    report = check(scorer)
    assert report.passed, report
    assert scorer.asked == set(PAIRS) == {"en", "de", "fr", "es", "zh", "ja"}


@pytest.mark.parametrize("language", ["de", "zh"])
def test_a_model_that_ranks_in_all_languages_but_one(language):
    report = check(Multilingual(language))
    assert list(failed(report)) == [f"order in {language}"]
    assert f"(in {language})" in str(report)


@pytest.mark.parametrize("language", PAIRS)
def test_each_language_has_a_dozen_pairs_that_differ(language):
    assert len(PAIRS[language]) == 12
    assert len({text for pair in PAIRS[language] for text in pair}) == 36


@pytest.mark.parametrize(
    ("codes", "many", "asked"),
    [((), False, ("en",)), (("en", "zh"), False, ("en", "zh")), (("de",), False, ("de",)), (("fi",), False, ("en",))],
)
def test_the_languages_to_check(codes, many, asked):
    assert languages_to_check(codes, many=many) == asked


@pytest.mark.parametrize("name", ["rerank-tiny-en-v1", "rerank-mini-en-v1"])
def test_a_model_that_runs_is_no_faster_than_its_machine(name):
    with Reranker(name) as reranker:
        assert "speed" in {finding.name for finding in reranker.check().findings if finding.passed}


class Instant(LocalScorer):
    """Ranks without its model."""

    def score(self, query, texts):
        super().score(query, texts[:1])
        return FakeScorer().score(query, texts)


def test_a_model_that_answers_sooner_than_arithmetic_allows():
    with Reranker(scorer=Instant("rerank-mini-en-v1")) as reranker:
        report = check(reranker.scorer, clock=lambda: 0.0)
    assert "does not run the model" in failed(report)["speed"]


def test_a_cache_is_not_too_fast():
    cached = CachedScorer(LocalScorer("rerank-tiny-en-v1"))
    first, second = (check(cached) for _ in range(2))
    assert first.passed, first
    assert second.passed, second
    assert "speed" in {finding.name for finding in second.findings}  # its texts are new each time


@given(st.integers(1, 10**6), st.floats(1, 1e5), st.integers(1, 100))
def test_more_words_and_larger_models_take_more_operations(words, parameters, times):
    least = operations(words, parameters)
    assert operations(words * times, parameters) >= least
    assert operations(words, parameters * times) >= least


def test_a_check_before_the_first_answer(model):
    with Reranker("rerank-tiny-en-v1", check_first=True) as reranker:
        assert reranker.score("what do pandas eat", ["stones", "bamboo"]) == model.score(
            "what do pandas eat", ["stones", "bamboo"]
        )


def answers_of(reranker):
    """Every way to an answer."""
    query, texts = "q", ["a", "b"]
    yield lambda: reranker.rerank(query, texts)
    yield lambda: reranker.score(query, texts)
    yield lambda: reranker.rerank_many([(query, texts)])
    yield lambda: asyncio.run(reranker.arerank(query, texts))
    yield lambda: asyncio.run(reranker.ascore(query, texts))
    yield lambda: asyncio.run(reranker.arerank_many([(query, texts)]))
    yield reranker.warm_up


def test_what_does_not_rank_gives_no_answer():
    class Even(FakeScorer):
        def score(self, _query, texts):
            return Scores((Score(0.5),) * len(texts), self.model)

    for answer in answers_of(Reranker(scorer=Even(), check_first=True, on_failure="keep_order")):
        with pytest.raises(ModelLoadError, match="all scores are equal") as caught:
            answer()
        assert caught.value.code == "check_failed"


class Counted(FakeScorer):
    """Counts the pairs of a check; fails while it is asked to."""

    def __init__(self):
        super().__init__()
        self.asked = 0
        self.failing = False

    def score(self, query, texts):
        self.asked += 1
        if self.failing:
            raise UnreachableError("nobody is there", code="connection_failed")
        return FakeScorer.score(self, query, texts) if query == "q" else self.right(texts)

    async def ascore(self, query, texts):
        return self.score(query, texts)

    def right(self, texts):
        relevant = {text for pairs in PAIRS.values() for _, text, _ in pairs}
        return Scores(tuple(Score.from_logit(4.0 if text in relevant else -4.0) for text in texts), self.model)


def test_no_documents_need_no_check():
    scorer = Counted()
    scorer.failing = True
    reranker = Reranker(scorer=scorer, check_first=True)
    assert len(reranker.rerank("q", [])) == len(asyncio.run(reranker.arerank("q", []))) == 0
    assert reranker.score("q", []) == asyncio.run(reranker.ascore("q", [])) == []
    assert scorer.asked == 0


def test_calls_side_by_side_wait_for_one_check():
    alone = Counted()
    Reranker(scorer=alone, check_first=True).warm_up()

    async def all_at_once(reranker):
        await asyncio.gather(*(reranker.arerank("q", ["a", "b"]) for _ in range(20)))

    together = Counted()
    asyncio.run(all_at_once(Reranker(scorer=together, check_first=True)))
    assert together.asked == alone.asked + 20

    threaded = Counted()
    reranker = Reranker(scorer=threaded, check_first=True)
    other = reranker.with_rules(highlights=1)  # the same model: the same check
    with ThreadPoolExecutor(8) as pool:
        for call in [pool.submit(each.rerank, "q", ["a b", "b c"]) for each in [reranker, other] * 4]:
            call.result()
    assert threaded.asked == alone.asked + 8 + 4  # highlights are scored as well


def test_whoever_is_cancelled_leaves_the_check_to_the_others():
    async def one_of_two(reranker):
        calls = [asyncio.ensure_future(reranker.arerank("q", ["a", "b"])) for _ in range(2)]
        await asyncio.sleep(0)
        calls[0].cancel()
        return await asyncio.gather(*calls, return_exceptions=True)

    gone, answer = asyncio.run(one_of_two(Reranker(scorer=Counted(), check_first=True)))
    assert isinstance(gone, asyncio.CancelledError)
    assert len(answer) == 2


def test_a_server_that_is_down_is_no_model_that_does_not_rank():
    scorer = Counted()
    scorer.failing = True
    reranker = Reranker(scorer=scorer, check_first=True, on_failure="keep_order")
    for answer in answers_of(reranker):
        with pytest.raises(UnreachableError) as caught:
            answer()
        assert caught.value.transient
    with pytest.raises(UnreachableError):
        reranker.check()
    scorer.failing = False
    assert not reranker.rerank("q", ["a", "b"]).degraded
    scorer.failing = True
    assert pickle.loads(pickle.dumps(reranker)).rerank("q", ["a", "b"]).degraded  # it has passed


def test_a_check_is_made_once():
    scorer = Multilingual()
    reranker = Reranker(scorer=scorer, check_first=True)
    reranker.warm_up()
    scorer.asked.clear()
    query, *texts = PAIRS["de"][0]
    assert reranker.rerank(query, texts)[0].text == texts[0]
    assert scorer.asked == {"de"}
