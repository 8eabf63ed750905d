from __future__ import annotations

import doctest
import json
import pickle
import subprocess
import sys

import pytest
from langchain_core.documents import Document
from langchain_core.load import dumpd, dumps, loads
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableLambda
from langchain_tools import QUERY, TEXTS, compressor
from pydantic import ValidationError

import rerank_plugins.langchain as module
from fresh import environment
from rerank_core.models import DEFAULT_MODEL
from rerank_core.scoring import Calibration
from rerank_plugins.langchain import CrossEncoderCompressor, CrossEncoderScorer, RerankRetriever
from waiting import BOUND

# LangChain calls its loading, of whatever class, a beta function.
pytestmark = pytest.mark.filterwarnings("ignore:The function `loads?` is in beta")

KEY = "sk-very-private"


class Shelf(BaseRetriever):
    texts: tuple[str, ...] = ()

    @classmethod
    def is_lc_serializable(cls):
        return True

    def _get_relevant_documents(self, query, *, run_manager):  # noqa: ARG002  (LangChain's)
        return [Document(text) for text in self.texts]


def load(text, *classes, **options):
    return loads(
        text,
        allowed_objects=[CrossEncoderCompressor, RerankRetriever, *classes],
        valid_namespaces=["rerank_plugins", __name__],
        **options,
    )


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"top_n": None, "score_threshold": 0.0},
        {"metadata_fields": ["title", "year"], "metadata_separator": "", "keep_retrieval_score": True, "name": "mine"},
        {"long_documents": "windows", "max_tokens": 128, "backend": "onnx", "threads": 1, "on_failure": "keep_order"},
        {"model": "m", "provider": "tei", "base_url": "http://localhost:8080", "timeout": 3.5, "max_retries": 0},
    ],
)
def test_what_is_saved_loads_equal(options):
    hosted = CrossEncoderCompressor(**options)
    loaded = load(dumps(hosted))
    assert loaded == hosted
    assert type(loaded) is CrossEncoderCompressor


def test_a_calibration_is_saved_as_its_path(tmp_path):
    file = tmp_path / "curve.json"
    Calibration(DEFAULT_MODEL, "logistic", (1.0, 3.0)).save(file)
    saved = CrossEncoderCompressor(calibration=str(file), score_threshold=0.5)
    loaded = load(dumps(saved))
    assert loaded == saved
    assert json.loads(dumps(saved))["kwargs"]["calibration"] == str(file)
    documents = [Document(text) for text in TEXTS]
    expected = saved.compress_documents(documents, QUERY)
    assert loaded.compress_documents(documents, QUERY) == expected
    assert pickle.loads(pickle.dumps(saved)).compress_documents(documents, QUERY) == expected
    pairs = [(QUERY, text) for text in TEXTS]
    plain, calibrated = CrossEncoderScorer().score(pairs), CrossEncoderScorer(calibration=str(file)).score(pairs)
    assert all(more > less for more, less in zip(calibrated, plain, strict=True))


def test_the_saved_name_is_the_public_one():
    assert dumpd(CrossEncoderCompressor())["id"] == ["rerank_plugins", "langchain", "CrossEncoderCompressor"]
    assert CrossEncoderCompressor.is_lc_serializable()


def test_the_docstrings_examples():
    result = doctest.testmod(module)
    assert (result.failed, result.attempted) == (0, 15)


def test_nothing_foreign_loads_unasked():
    with pytest.raises(ValueError, match="not allowed"):
        loads(dumps(CrossEncoderCompressor()), allowed_objects="core", valid_namespaces=["rerank_plugins"])


@pytest.mark.parametrize(
    ("options", "variable"),
    [
        ({"provider": "cohere"}, "COHERE_API_KEY"),
        ({"provider": "assisters"}, "ASSISTERS_API_KEY"),
        ({"base_url": "http://localhost:8000"}, "ASSISTERS_API_KEY"),
        ({"provider": "vllm-score", "base_url": "http://localhost:8000"}, "VLLM_API_KEY"),
    ],
)
def test_a_key_is_saved_as_the_name_of_its_variable(options, variable, monkeypatch):
    hosted = CrossEncoderCompressor(model="m", api_key=KEY, **options)
    text = dumps(hosted)
    assert KEY not in text
    assert json.loads(text)["kwargs"]["api_key"] == {"lc": 1, "type": "secret", "id": [variable]}
    assert load(text, secrets_map={variable: KEY}) == hosted
    if "base_url" in options:
        assert load(text).api_key is None
    else:
        with pytest.raises(ValueError, match=variable):
            load(text)
    monkeypatch.setenv(variable, KEY)
    assert load(text, secrets_from_env=True) == hosted


def test_no_secret_is_shown_or_pickled():
    hosted = CrossEncoderCompressor(model="m", provider="cohere", api_key=KEY)
    retriever = RerankRetriever(retriever=Shelf(), compressor=hosted)
    scorer = CrossEncoderScorer(model="m", provider="cohere", api_key=KEY)
    for thing in (hosted, retriever, scorer):
        assert KEY not in repr(thing) + str(thing) + thing.model_dump_json()
        assert KEY.encode() not in pickle.dumps(thing)
    assert KEY not in dumps(retriever) + dumps(scorer) + dumps(hosted.with_retry())
    with pytest.raises(ValidationError) as caught:
        CrossEncoderCompressor(provider="nobody", api_key=KEY)
    assert KEY not in str(caught.value)


def test_a_ready_engine_has_no_saved_form():
    ready = compressor()
    text = dumps(ready)
    assert json.loads(text)["type"] == "not_implemented"
    with pytest.raises(NotImplementedError, match="CrossEncoderCompressor"):
        load(text)
    with pytest.raises(NotImplementedError, match="CrossEncoderCompressor"):
        load(dumps(RerankRetriever(retriever=Shelf(), compressor=ready)), Shelf)


def test_several_retrievers_load_equal_in_their_order():
    retriever = RerankRetriever(retriever=[Shelf(texts=TEXTS), Shelf(texts=TEXTS[:1])])
    loaded = load(dumps(retriever), Shelf)
    assert [each.texts for each in loaded.retriever] == [each.texts for each in retriever.retriever]
    assert loaded.invoke(QUERY) == retriever.invoke(QUERY)


def test_a_retriever_loads_equal_if_what_it_wraps_does():
    retriever = RerankRetriever(
        retriever=Shelf(texts=TEXTS), compressor=CrossEncoderCompressor(metadata_fields=("n",)), top_n=None
    )
    loaded = load(dumps(retriever), Shelf)
    assert loaded == retriever
    assert loaded.invoke(QUERY) == retriever.invoke(QUERY)
    with pytest.raises(NotImplementedError):
        load(dumps(RerankRetriever(retriever=RunnableLambda(lambda _: []))))


def test_a_fresh_process_loads_and_ranks_the_same():
    code = (
        "import sys, warnings\n"
        "warnings.simplefilter('ignore')\n"
        "from test_langchain_saving import Shelf, load\n"
        "retriever = load(sys.stdin.read(), Shelf)\n"
        f"for document in retriever.invoke({QUERY!r}):\n"
        "    print(document.metadata['relevance_score'], document.page_content)\n"
    )
    retriever = RerankRetriever(retriever=Shelf(texts=TEXTS), compressor=CrossEncoderCompressor(top_n=2))
    seen = subprocess.run(
        [sys.executable, "-c", code],
        input=dumps(retriever),
        capture_output=True,
        text=True,
        timeout=BOUND,
        check=True,
        env=environment(),
    )
    expected = [f"{d.metadata['relevance_score']} {d.page_content}" for d in retriever.invoke(QUERY)]
    assert seen.stdout.splitlines() == expected
