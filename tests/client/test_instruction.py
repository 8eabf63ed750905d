"""An instruction goes over a real socket to the model behind our server, in the dialects that have a field for it."""

from __future__ import annotations

import asyncio
import json

import pytest
from typer.testing import CliRunner

from rerank_core import InvalidRequestError, Reranker
from rerank_core.cli import query as _query_command  # noqa: F401  (adds the command)
from rerank_core.cli.app import app
from rerank_core.scoring import CachedScorer, FakeScorer

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")

from serving import serving

DOCUMENTS = ["sunny weather", "a rainy day"]
PROVIDERS = ("native", "vllm", "vllm-score", "mixedbread", "dashscope", "dashscope-compat")


class Following(FakeScorer):
    def identity_with(self, instruction):
        return f"{self.identity} {instruction}"

    async def ascore(self, query, texts, *, instruction=None):
        return await super().ascore(instruction or query, texts)


@pytest.fixture(scope="module")
def served():
    rerankers = {"m": Reranker(scorer=CachedScorer(Following("m"))), "deaf": Reranker(scorer=FakeScorer("deaf"))}
    with serving(rerankers=rerankers) as server:
        yield server


@pytest.mark.parametrize("provider", PROVIDERS)
def test_the_model_is_told_it(served, provider):
    async def both():
        async with Reranker("m", provider=provider, base_url=served.url, api_key="k") as reranker:
            return (
                reranker.rerank("rainy", DOCUMENTS)[0].text,
                reranker.rerank("rainy", DOCUMENTS, instruction="sunny")[0].text,
                (await reranker.arerank("rainy", DOCUMENTS, instruction="sunny"))[0].text,
                reranker.rerank("rainy", DOCUMENTS, instruction="")[0].text,
            )

    assert asyncio.run(both()) == ("a rainy day", "sunny weather", "sunny weather", "a rainy day")


@pytest.mark.parametrize("provider", PROVIDERS)
def test_an_option_gives_it_with_every_call_that_brings_none(served, provider):
    with Reranker("m", provider=provider, base_url=served.url, api_key="k", prompt="sunny") as reranker:
        assert reranker.rerank("rainy", DOCUMENTS)[0].text == "sunny weather"
        assert reranker.rerank("rainy", DOCUMENTS, instruction="rainy")[0].text == "a rainy day"
        (many,) = reranker.rerank_many([("rainy", DOCUMENTS)])
        assert many[0].text == "sunny weather"


def test_the_adapters_have_the_option(served):
    options = {"model": "m", "base_url": served.url, "api_key": "k", "prompt": "sunny"}
    documents = pytest.importorskip("langchain_core.documents")
    documents = [documents.Document(text) for text in DOCUMENTS]
    compressor = pytest.importorskip("rerank_plugins.langchain").CrossEncoderCompressor(**options)
    assert compressor.compress_documents(documents, "rainy")[0].page_content == "sunny weather"
    schema = pytest.importorskip("llama_index.core.schema")
    nodes = [schema.NodeWithScore(node=schema.TextNode(text=text)) for text in DOCUMENTS]
    postprocessor = pytest.importorskip("rerank_plugins.llama_index").CrossEncoderPostprocessor(**options)
    found = postprocessor.postprocess_nodes(nodes, query_str="rainy")
    assert found[0].text == "sunny weather"
    haystack = pytest.importorskip("haystack")
    ranker = pytest.importorskip("rerank_plugins.haystack").CrossEncoderRanker(**options)
    found = ranker.run(query="rainy", documents=[haystack.Document(content=text) for text in DOCUMENTS])
    assert found["documents"][0].content == "sunny weather"


def test_the_command_line_has_the_option(served, tmp_path):
    files = [tmp_path / f"{position}.txt" for position, _ in enumerate(DOCUMENTS)]
    for file, text in zip(files, DOCUMENTS, strict=True):
        file.write_text(text)
    arguments = ["query", "rainy", *map(str, files), "--model", "m", "--base-url", served.url, "--json"]
    done = CliRunner(env={"ASSISTERS_API_KEY": "k"}).invoke(app, [*arguments, "--prompt", "sunny"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.output)["results"][0]["document"]["text"] == "sunny weather"


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_model_that_takes_none_says_so(served, provider):
    with (
        Reranker("deaf", provider=provider, base_url=served.url, api_key="k") as reranker,
        pytest.raises(InvalidRequestError) as caught,
    ):
        reranker.rerank("rainy", DOCUMENTS, instruction="sunny")
    assert (caught.value.code, caught.value.status) == ("invalid_request", 400)
