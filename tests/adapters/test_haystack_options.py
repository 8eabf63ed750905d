"""What the ranker is made of: its options, its life cycle, and how it is saved."""

from __future__ import annotations

import asyncio
import copy
import doctest
import pickle
import subprocess
import sys

import pytest

pytest.importorskip("haystack")

from haystack.core.errors import DeserializationError, SerializationError
from haystack.core.serialization import component_to_dict
from haystack.utils import ComponentDevice, Secret
from haystack.utils.device import Device, DeviceMap
from haystack_tools import QUERY, contents, documents, lexical
from pydantic import SecretStr

from rerank_core import AuthenticationError, ModelNotFoundError, Reranker
from rerank_core.models import DEFAULT_MODEL
from rerank_core.scoring import CachedScorer, FakeScorer
from rerank_plugins.haystack import CrossEncoderRanker
from rerank_plugins.options import ENGINE_OPTIONS

MODULE = "haystack_integrations.components.rankers.rerank_plugins.ranker"


# What it is made of

OPTIONS = {
    "model": "some/model",
    "top_k": 3,
    "score_threshold": 0.25,
    "scale_score": False,
    "keep_retrieval_score": True,
    "query_prefix": "q",
    "query_suffix": "u",
    "document_prefix": "d",
    "document_suffix": "o",
    "meta_fields_to_embed": ["title", "year"],
    "embedding_separator": " ",
    "when_cold": "keep_order",
    "long_documents": "windows",
    "max_tokens": 128,
    "batch_tokens": 256,
    "threads": 2,
    "backend": "torch",
    "device": ComponentDevice.from_str("cuda:1"),
    "dtype": "float16",
    "device_map": "auto",
    "prompt": "p",
    "revision": "0" * 40,
    "trust_remote_code": True,
    "local_files_only": True,
    "on_failure": "keep_order",
}
API_OPTIONS = {
    "model": "served",
    "provider": "cohere",
    "base_url": "https://rerank.example/v2",
    "api_key": Secret.from_env_var(["MY_KEY", "OTHER_KEY"], strict=False),
    "timeout": 2.5,
    "max_retries": 0,
}


def test_every_option_is_an_attribute_and_reaches_the_engine():
    ranker = CrossEncoderRanker(**OPTIONS)
    assert {name: getattr(ranker, name) for name in OPTIONS} == OPTIONS
    engine = ranker._engine()
    local = engine._base_scorer.options
    wanted = {name: OPTIONS[name] for name in ENGINE_OPTIONS if hasattr(local, name) and name != "device"}
    assert {name: getattr(local, name) for name in wanted} == wanted
    assert (engine.model, local.device) == ("some/model", "cuda:1")
    assert engine.scorer is not engine._base_scorer  # a fallback is there


def test_every_option_of_an_api_reaches_it(monkeypatch):
    monkeypatch.setenv("OTHER_KEY", "sesame")
    ranker = CrossEncoderRanker(**API_OPTIONS)
    assert {name: getattr(ranker, name) for name in API_OPTIONS} == API_OPTIONS
    api = ranker._engine().scorer
    assert (api.model, api.provider, api.options.timeout, api.options.max_retries) == ("served", "cohere", 2.5, 0)
    assert api.url.startswith("https://rerank.example/v2/")
    assert api.options.api_key.get_secret_value() == "sesame"
    assert "sesame" not in repr(ranker) + repr(vars(ranker))


@pytest.mark.parametrize("kind", [str, SecretStr])
def test_a_key_may_be_a_string_and_is_then_a_token_that_is_not_saved(kind):
    ranker = CrossEncoderRanker("m", provider="cohere", api_key=kind("sesame"))
    assert isinstance(ranker.api_key, Secret)
    assert ranker._engine().scorer.options.api_key.get_secret_value() == "sesame"
    assert "sesame" not in repr(ranker) + repr(ranker.api_key)
    with pytest.raises(ValueError, match="token"):
        ranker.to_dict()
    ranker.api_key = kind("another")
    assert ranker._engine().scorer.options.api_key.get_secret_value() == "another"


def test_making_one_reads_loads_and_connects_nothing(monkeypatch):
    for name in ("COHERE_API_KEY", "UNSET"):
        monkeypatch.delenv(name, raising=False)
    hosted = CrossEncoderRanker("rerank-v3.5", provider="cohere")
    with pytest.raises(AuthenticationError, match="COHERE_API_KEY"):
        hosted.warm_up()
    strict = CrossEncoderRanker("rerank-v3.5", provider="cohere", api_key=Secret.from_env_var("UNSET"))
    with pytest.raises(ValueError, match="UNSET"):
        strict.warm_up()
    lenient = CrossEncoderRanker("m", provider="cohere", api_key=Secret.from_env_var("UNSET", strict=False))
    with pytest.raises(AuthenticationError, match="COHERE_API_KEY"):
        lenient.run("q", documents("a"))
    monkeypatch.setenv("COHERE_API_KEY", "sesame")
    lenient.warm_up()
    absent = CrossEncoderRanker("no-such-model", local_files_only=True)
    with pytest.raises(ModelNotFoundError):
        absent.warm_up()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"max_tokens": 0}, ValueError, "^max_tokens: Input should be greater than 0$"),
        ({"backend": "tensorflow"}, ValueError, "^backend: "),
        ({"dtype": "int4"}, ValueError, "^dtype: "),
        ({"on_failure": "ignore"}, ValueError, "^on_failure: "),
        ({"provider": "nobody"}, ValueError, "^Unknown provider 'nobody'"),
        ({"provider": "cohere"}, ValueError, "^provider='cohere' needs the name of a model"),
        ({"provider": "vllm", "model": "m"}, ValueError, "base_url"),
        ({"timeout": 3}, ValueError, "^timeout is for models reached over HTTP"),
        ({"api_key": Secret.from_env_var("X")}, ValueError, "^api_key is for models reached over HTTP"),
        ({"base_url": "http://localhost", "threads": 2}, ValueError, "^threads is for models in this process"),
        ({"base_url": "http://me:pw@localhost", "model": "m"}, ValueError, "credentials"),
        ({"device": "cpu"}, TypeError, "^device must be a ComponentDevice or None, but got str$"),
        (
            {"device": ComponentDevice.from_multiple(DeviceMap({"a": Device.cpu()}))},
            ValueError,
            'device_map="auto"',
        ),
        ({"api_key": 4711}, TypeError, "^api_key must be a Secret, a string, a SecretStr or None, but got int$"),
        ({"query_prefix": None}, TypeError, "^query_prefix must be a string, but got NoneType$"),
        ({"scale_score": None}, TypeError, "^scale_score must be True or False, but got NoneType$"),
        ({"meta_fields_to_embed": "title"}, TypeError, "^meta_fields_to_embed must be a list of strings"),
        ({"meta_fields_to_embed": [1]}, TypeError, "^meta_fields_to_embed must be a list of strings"),
        ({"reranker": "engine"}, ValueError, "reranker"),
        ({"reranker": Reranker(), "threads": 2}, ValueError, "reranker= brings its own threads"),
        ({"no_such_option": 1}, TypeError, "no_such_option"),
        ({"topk": 1}, TypeError, "unexpected keyword argument 'topk'. Did you mean 'top_k'?"),
        ({"devise": 1}, TypeError, "unexpected keyword argument 'devise'. Did you mean 'device'?"),
    ],
)
def test_options_that_cannot_be(options, error, message):
    with pytest.raises(error, match=message) as caught:
        CrossEncoderRanker(**options)
    assert "sesame" not in str(caught.value)


def test_the_model_has_a_name():
    assert CrossEncoderRanker().model == DEFAULT_MODEL
    assert lexical()[0].model == "fake"
    assert CrossEncoderRanker(provider="tei", base_url="http://localhost").model is None


def test_an_attribute_or_key_that_changes_counts(monkeypatch):
    ranker, _ = lexical()
    ranker.top_k = 1
    ranker.score_threshold = 0.5
    assert contents(ranker.run("a b", documents("a", "a b"))) == ["a b"]
    ranker.top_k = 0
    with pytest.raises(ValueError, match="top_k must be > 0, but got 0"):
        ranker.run("a", documents("a"))
    monkeypatch.setenv("MY_KEY", "first")
    api = CrossEncoderRanker(**API_OPTIONS)
    first = api._engine()
    assert api._engine() is first
    monkeypatch.setenv("MY_KEY", "second")
    assert api._engine().scorer.options.api_key.get_secret_value() == "second"
    api.timeout = 9.0
    assert api._engine().scorer.options.timeout == 9.0


# Warm and closed


class CountingScorer(FakeScorer):
    warmed = closed = 0

    def warm_up(self):
        self.warmed += 1

    def close(self):
        self.closed += 1

    async def aclose(self):
        self.closed += 1


def test_warm_once_and_left_open_when_it_is_somebody_elses():
    scorer = CountingScorer()
    ranker = CrossEncoderRanker(reranker=Reranker(scorer=scorer))
    ranker.warm_up()
    asyncio.run(ranker.warm_up_async())
    ranker.warm_up()
    assert scorer.warmed == 1
    ranker.close()
    asyncio.run(ranker.close_async())
    assert scorer.closed == 0


def test_warm_ups_do_not_run_the_model_again():
    ranker = CrossEncoderRanker(threads=1)
    ranker.warm_up()
    engine = ranker._engine()
    assert engine.loaded is not None
    seen = []
    engine.scorer._hooks = (seen.append,)
    ranker.warm_up()
    asyncio.run(ranker.warm_up_async())
    assert seen == []


def test_it_works_after_it_was_closed_and_without_warming_up():
    ranker = CrossEncoderRanker()
    first = ranker.run(QUERY, documents())
    ranker.close()
    ranker.close()
    assert ranker.run(QUERY, documents()) == first
    asyncio.run(ranker.close_async())
    assert asyncio.run(ranker.run_async(QUERY, documents())) == first
    ranker.warm_up()
    engine = ranker._engine()
    ranker.close()
    ranker.warm_up()
    assert ranker._engine() is not engine
    assert ranker._engine().loaded is not None


# Saving


def test_the_saved_form():
    data = CrossEncoderRanker(**OPTIONS).to_dict()
    assert data["type"] == f"{MODULE}.CrossEncoderRanker"
    untouched = (
        "provider",
        "base_url",
        "api_key",
        "timeout",
        "max_retries",
        "calibration",
        "fusion",
        "max_latency",
        "price_per_million_tokens",
    )
    nothing = dict.fromkeys((*untouched, "diversify", "max_per_source", "source_field", "highlights"))
    nothing["return_details"] = False
    assert data["init_parameters"] == OPTIONS | nothing | {"check_first": False} | {
        "device": {"type": "single", "device": "cuda:1"}
    }
    secret = {"type": "env_var", "env_vars": ["MY_KEY", "OTHER_KEY"], "strict": False}
    assert CrossEncoderRanker(**API_OPTIONS).to_dict()["init_parameters"]["api_key"] == secret


@pytest.mark.parametrize("options", [{}, OPTIONS, API_OPTIONS, {"top_k": None}, {"meta_fields_to_embed": ("a", "b")}])
def test_from_dict_undoes_to_dict(options):
    ranker = CrossEncoderRanker(**options)
    data = component_to_dict(ranker, "ranker")
    before = copy.deepcopy(data)
    loaded = CrossEncoderRanker.from_dict(data)
    assert data == before
    assert loaded.to_dict() == data
    names = data["init_parameters"]
    assert {name: getattr(loaded, name) for name in names} == {name: getattr(ranker, name) for name in names}


def test_the_saved_form_and_the_ranker_share_nothing():
    fields = ["title"]
    ranker = CrossEncoderRanker(meta_fields_to_embed=fields)
    data = ranker.to_dict()
    loaded = CrossEncoderRanker.from_dict(data)
    for shared in (fields, data["init_parameters"]["meta_fields_to_embed"]):
        shared.append("other")
    assert ranker.meta_fields_to_embed == loaded.meta_fields_to_embed == ["title"]


def test_values_are_saved_as_plain_ones(tmp_path):
    import numpy as np

    ranker = CrossEncoderRanker(tmp_path, score_threshold=np.float64(0.5), on_failure="keep_order")
    saved = ranker.to_dict()["init_parameters"]
    assert (saved["model"], type(saved["model"])) == (str(tmp_path), str)
    assert type(saved["score_threshold"]) is float


def test_what_cannot_be_saved():
    with pytest.raises(SerializationError, match="reranker= cannot be saved"):
        lexical()[0].to_dict()
    keyed = CrossEncoderRanker("m", base_url="http://localhost")
    keyed.base_url = "http://localhost?api-key=sesame"
    with pytest.raises(ValueError, match="its query string holds a key"):
        keyed.to_dict()
    token = CrossEncoderRanker("m", provider="cohere", api_key=Secret.from_token("sesame"))
    with pytest.raises(ValueError, match="Cannot serialize token-based secret"):
        token.to_dict()
    with pytest.raises(DeserializationError):
        CrossEncoderRanker.from_dict({"type": "some.Other", "init_parameters": {}})
    with pytest.raises(TypeError, match="no_such_option"):
        CrossEncoderRanker.from_dict({"type": f"{MODULE}.CrossEncoderRanker", "init_parameters": {"no_such_option": 1}})


def test_copies_work_by_themselves(monkeypatch):
    monkeypatch.setenv("MY_KEY", "sesame")
    ranker = CrossEncoderRanker()
    expected = ranker.run(QUERY, documents())
    for copied in (copy.deepcopy(ranker), pickle.loads(pickle.dumps(ranker))):
        assert copied._engine() is not ranker._engine()
        assert copied.run(QUERY, documents()) == expected
    api = CrossEncoderRanker(**API_OPTIONS)
    api._engine()
    assert b"sesame" not in pickle.dumps(api)
    assert pickle.loads(pickle.dumps(api))._engine().scorer.options.api_key.get_secret_value() == "sesame"


def test_a_cache_behind_it():
    scorer = FakeScorer()
    ranker = CrossEncoderRanker(reranker=Reranker(scorer=CachedScorer(scorer)))
    first = ranker.run("a", documents("a", "b"))
    assert ranker.run("a", documents("a", "b"))["documents"] == first["documents"]
    assert len(scorer.calls) == 1


def test_the_docstrings_example():
    from haystack_integrations.components.rankers.rerank_plugins import ranker

    result = doctest.testmod(ranker)
    assert (result.failed, result.attempted) == (0, 4)


def test_no_telemetry():
    assert not hasattr(CrossEncoderRanker, "_get_telemetry_data")


# Importing


def python(code, *, folder):
    """Run ``code`` in a fresh process elsewhere, with warnings as errors."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_importing_it_adds_nothing_heavy(tmp_path):
    # Haystack itself imports torch where it is installed; with torch hidden, only our own imports could bring it.
    code = """
import sys
sys.modules["torch"] = None
import rerank_plugins.haystack
heavy = {"langchain", "langchain_core", "llama_index", "transformers", "sentence_transformers", "onnxruntime"}
print(sorted(heavy & set(sys.modules)))
"""
    assert python(code, folder=tmp_path) == "[]"


def test_it_is_found_beside_other_rankers_from_any_folder(tmp_path):
    code = """
import haystack_integrations.components.rankers as rankers
from haystack_integrations.components.rankers.rerank_plugins import CrossEncoderRanker
import rerank_plugins.haystack
assert CrossEncoderRanker is rerank_plugins.haystack.CrossEncoderRanker
assert not hasattr(rankers, "__file__") or rankers.__file__ is None
print(CrossEncoderRanker.__module__)
"""
    assert python(code, folder=tmp_path) == MODULE


def test_without_haystack_the_error_names_the_extra(tmp_path):
    code = """
import sys
sys.modules["haystack"] = None
try:
    import rerank_plugins.haystack
except ImportError as error:
    print(type(error).__name__, error)
"""
    printed = python(code, folder=tmp_path)
    assert printed.startswith("MissingDependencyError CrossEncoderRanker needs the package 'haystack-ai'")
    assert "rerank-plugins[haystack]" in printed
