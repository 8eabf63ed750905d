"""The same scenarios through every adapter, local and over HTTP, sync and async: always the engine's ranking."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rerank_core import Reranker
from rerank_core.models import DEFAULT_MODEL
from rerank_core.scoring import CachedScorer, Calibration, FakeScorer, LocalScorer, Score, Scores
from serving import serving

QUERY = "How long do refunds take?"
TEXTS = [
    "The parcel was delivered on Monday.",
    "Refunds are paid within five working days.",
    "Cats purr.",
    "A refund takes about a week, sometimes two.",
    "Our office is closed on public holidays.",
]


class LlamaIndex:
    module = "llama_index"
    frameworks = ("llama_index",)

    def __init__(self, top_n=None, **options):
        from rerank_plugins.llama_index import CrossEncoderPostprocessor

        self.adapter = CrossEncoderPostprocessor(top_n=top_n, metadata_mode="none", **options)

    def inputs(self, texts):
        from llama_index.core.schema import NodeWithScore, TextNode

        return [
            NodeWithScore(node=TextNode(id_=str(i), text=text, metadata={"at": [i]}), score=1 / (i + 1))
            for i, text in enumerate(texts)
        ]

    def rank(self, query, inputs):
        return self.read(self.adapter.postprocess_nodes(inputs, query_str=query))

    async def arank(self, query, inputs):
        return self.read(await self.adapter.apostprocess_nodes(inputs, query_str=query))

    def read(self, nodes):
        return [(int(node.node.node_id), node.score, node.node.metadata) for node in nodes]


class LangChain:
    module = "langchain"
    frameworks = ("langchain_core",)

    def __init__(self, top_n=None, **options):
        from rerank_plugins.langchain import CrossEncoderCompressor

        self.adapter = CrossEncoderCompressor(top_n=top_n, **options)

    def inputs(self, texts):
        from langchain_core.documents import Document

        return [Document(id=str(i), page_content=text, metadata={"at": [i]}) for i, text in enumerate(texts)]

    def rank(self, query, inputs):
        return self.read(self.adapter.compress_documents(inputs, query))

    async def arank(self, query, inputs):
        return self.read(await self.adapter.acompress_documents(inputs, query))

    def read(self, documents):
        return [(int(found.id), found.metadata["relevance_score"], found.metadata) for found in documents]


class Haystack:
    module = "haystack"
    frameworks = ("haystack",)

    def __init__(self, top_n=None, **options):
        from haystack.utils import Secret

        from rerank_plugins.haystack import CrossEncoderRanker

        if "api_key" in options:
            options["api_key"] = Secret.from_token(options["api_key"])
        self.adapter = CrossEncoderRanker(top_k=top_n, **options)

    def inputs(self, texts):
        from haystack import Document

        return [Document(id=str(i), content=text, meta={"at": [i]}, score=0.5) for i, text in enumerate(texts)]

    def rank(self, query, inputs):
        return self.read(self.adapter.run(query=query, documents=inputs))

    async def arank(self, query, inputs):
        return self.read(await self.adapter.run_async(query=query, documents=inputs))

    def read(self, outputs):
        meta = outputs["meta"]
        details = {"rerank_truncated": meta["truncated"], "rerank_windows": meta["windows"]}
        return [(int(found.id), found.score, {**found.meta, **details}) for found in outputs["documents"]]


@pytest.fixture
def calibration(tmp_path):
    """A file that makes the bundled model surer of itself."""
    file = tmp_path / "curve.json"
    Calibration(DEFAULT_MODEL, "logistic", (1.0, 3.0)).save(file)
    return str(file)


class ByLength(FakeScorer):
    """The longer, the better: many ties."""

    def score(self, _query, texts):
        return Scores(tuple(Score.from_logit(float(len(text))) for text in texts), "by length")


ADAPTERS = pytest.mark.parametrize("adapter", [LlamaIndex, LangChain, Haystack])
CALLS = pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])

SCENARIOS = {
    "plain": (TEXTS, {}),
    "limit": (TEXTS, {"top_n": 2}),
    "limit above": (TEXTS, {"top_n": 50}),
    "threshold": (TEXTS, {"score_threshold": 0.3}),
    "threshold before limit": (TEXTS, {"score_threshold": 0.3, "top_n": 1}),
    "nothing above the threshold": (TEXTS, {"score_threshold": 1.0}),
    "duplicates": ([TEXTS[0], TEXTS[1], TEXTS[0], TEXTS[1], TEXTS[0]], {}),
    "empty text": (["", TEXTS[1], " ", ""], {}),
    "one": ([TEXTS[3]], {}),
    "none": ([], {}),
    "other scripts": (["退款需要五个工作日。", "Рефанд", "🐈 purr 🐈", "e\u0301te\u0301", TEXTS[1]], {}),
    "long": ([f"{TEXTS[0]} " * 200, TEXTS[1]], {}),
    "more than a request holds": ([f"{TEXTS[i % 5]} Number {i}." for i in range(130)], {"top_n": 7}),
}


@pytest.fixture(scope="module")
def server():
    with serving(models=(f"served={DEFAULT_MODEL}",), api_keys=("sesame-4711",)) as served:
        yield served


@pytest.fixture(params=["local", "http"])
def place(request):
    """Options that say where the model runs."""
    if request.param == "local":
        return {}
    served = request.getfixturevalue("server")
    return {"model": "served", "base_url": served.url, "api_key": "sesame-4711"}


def ranked(adapter, query, inputs, *, asynchronous):
    return asyncio.run(adapter.arank(query, inputs)) if asynchronous else adapter.rank(query, inputs)


@ADAPTERS
@CALLS
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_every_way_gives_the_engines_ranking(adapter, asynchronous, scenario, place, bundled):
    texts, options = SCENARIOS[scenario]
    limits = {name: options[name] for name in ("top_n", "score_threshold") if name in options}
    expected = bundled.rerank(QUERY, texts, **limits)
    made = adapter(**options, **place)
    found = ranked(made, QUERY, made.inputs(texts), asynchronous=asynchronous)
    assert [index for index, _, _ in found] == [result.index for result in expected]
    assert [score for _, score, _ in found] == pytest.approx([r.relevance_score for r in expected], abs=1e-3)
    assert all(type(score) is float for _, score, _ in found)
    assert all(details["at"] == [index] for index, _, details in found)


@ADAPTERS
@CALLS
def test_a_calibrated_threshold_is_one_for_calibrated_scores(adapter, asynchronous, bundled, calibration):
    plain = bundled.rerank(QUERY, TEXTS)
    expected = Reranker(calibration=calibration).rerank(QUERY, TEXTS)
    threshold = (plain[0].relevance_score + expected[0].relevance_score) / 2
    made = adapter(calibration=calibration, score_threshold=threshold)
    found = ranked(made, QUERY, made.inputs(TEXTS), asynchronous=asynchronous)
    assert not bundled.rerank(QUERY, TEXTS, score_threshold=threshold).results
    assert [index for index, _, _ in found] == [r.index for r in expected if r.relevance_score >= threshold]
    assert found[0][1] == pytest.approx(expected[0].relevance_score, abs=1e-6)


@ADAPTERS
def test_a_calibration_is_checked_when_it_is_given(adapter, calibration, tmp_path):
    with pytest.raises(ValueError, match=r"cannot read .*absent\.json: No such file"):
        adapter(calibration=str(tmp_path / "absent.json"))
    with pytest.raises(ValueError, match=f"this calibration is for {DEFAULT_MODEL!r}"):
        adapter(model="m", base_url="http://127.0.0.1:9", calibration=calibration)
    with pytest.raises(ValueError, match="reranker= brings its own calibration"):
        adapter(reranker=Reranker(), calibration=calibration)
    assert adapter(calibration=calibration).adapter.calibration == calibration


@pytest.mark.parametrize("adapter", [LlamaIndex, LangChain])
def test_a_calibration_that_is_set_later_counts(adapter, calibration, tmp_path):
    made = adapter()
    before = made.rank(QUERY, made.inputs(TEXTS))
    with pytest.raises(ValueError, match=r"cannot read .*absent\.json: No such file"):
        made.adapter.calibration = str(tmp_path / "absent.json")
    assert made.adapter.calibration is None
    made.adapter.calibration = calibration
    after = made.rank(QUERY, made.inputs(TEXTS))
    assert [index for index, _, _ in after] == [index for index, _, _ in before]
    assert after[0][1] > before[0][1]


@ADAPTERS
@pytest.mark.parametrize("address", ["http://127.0.0.1:9/v1/rerank?api-key={}", "http://me:{}@127.0.0.1:9"])
def test_an_address_with_a_key_is_refused(adapter, address):
    with pytest.raises(ValueError, match="api_key=") as caught:
        adapter(model="m", base_url=address.format("sesame-4711"))
    assert "sesame-4711" not in str(caught.value)


@ADAPTERS
@CALLS
def test_what_happened_to_a_document_can_be_seen(adapter, asynchronous, bundled):
    long = "Nothing of interest. " * 400 + TEXTS[1]
    made = adapter()
    found = ranked(made, QUERY, made.inputs([long, TEXTS[0]]), asynchronous=asynchronous)
    assert next(details for index, _, details in found if index == 0)["rerank_truncated"]
    windowed = adapter(long_documents="windows")
    best = Reranker(long_documents="windows").rerank(QUERY, [long, TEXTS[0]])[0]
    (first, *_) = ranked(windowed, QUERY, windowed.inputs([long, TEXTS[0]]), asynchronous=asynchronous)
    assert first[0] == best.index == 0
    window = first[2].get("rerank_window") or first[2]["rerank_windows"]["0"]
    assert list(window) == list(best.window)


@ADAPTERS
@CALLS
def test_a_server_that_is_gone_keeps_the_order_where_that_is_asked_for(adapter, asynchronous):
    made = adapter(model="m", base_url="http://127.0.0.1:9", max_retries=0, timeout=2.0, on_failure="keep_order")
    found = ranked(made, QUERY, made.inputs(TEXTS), asynchronous=asynchronous)
    assert [index for index, _, _ in found] == [0, 1, 2, 3, 4]


@ADAPTERS
def test_a_ready_engine_is_used_as_it_is(adapter):
    cached = Reranker(scorer=CachedScorer(LocalScorer()))
    made = adapter(reranker=cached)
    first = made.rank(QUERY, made.inputs(TEXTS))
    assert [index for index, _, _ in made.rank(QUERY, made.inputs(TEXTS))] == [index for index, _, _ in first]
    assert all(result.cached for result in cached.rerank(QUERY, TEXTS))


def test_adapters_with_the_same_model_share_it():
    engines = [adapter().adapter for adapter in (LlamaIndex, LangChain)]
    for made in engines:
        made.warm_up()
    loaded = {id(made.engine.scorer._loaded.shared) for made in engines}
    assert len(loaded) == 1


@ADAPTERS
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.text(max_size=8), max_size=12), st.integers(1, 15) | st.none())
def test_nothing_is_lost_doubled_or_changed_and_ties_keep_their_order(adapter, texts, top_n):
    made = adapter(top_n=top_n, reranker=Reranker(scorer=ByLength()))
    inputs = made.inputs(texts)
    before = made.inputs(texts)
    found = [index for index, _, _ in made.rank(QUERY, inputs)]
    expected = sorted(range(len(texts)), key=lambda i: -len(texts[i]))[:top_n]
    assert found == expected
    assert inputs == before


@pytest.mark.parametrize("adapter", [LlamaIndex, LangChain])
def test_importing_one_adapter_imports_no_other_framework(adapter):
    others = {"llama_index", "langchain_core", "haystack", "langchain", "torch", "transformers"} - set(
        adapter.frameworks
    )
    code = (
        f"import sys; import rerank_plugins.{adapter.module}\n"
        f"print(sorted({{name.split('.')[0] for name in sys.modules}} & {others!r}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
