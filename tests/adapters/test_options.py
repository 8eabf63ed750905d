"""What the adapters share: options, keys, defaults and what is saved of them."""

from __future__ import annotations

import copy
import json
import pickle
import subprocess
import sys

import pytest

from rerank_core import AuthenticationError, Reranker
from rerank_core.models.registry import DEFAULT_MODEL
from rerank_core.scoring import CachedScorer, Calibration, CascadeScorer, FallbackScorer

pytest.importorskip("langchain_core")
pytest.importorskip("llama_index")
pytest.importorskip("haystack")

from haystack.utils import Secret
from langchain_core.load import dumps
from langchain_core.retrievers import BaseRetriever

from rerank_plugins.haystack import CrossEncoderRanker
from rerank_plugins.langchain import CrossEncoderCompressor, CrossEncoderScorer, RerankRetriever
from rerank_plugins.llama_index import CrossEncoderPostprocessor

KEY = "sesame-4711"
HOSTED = {"model": "m", "provider": "cohere"}
PYDANTIC = pytest.mark.parametrize("adapter", [CrossEncoderPostprocessor, CrossEncoderCompressor, CrossEncoderScorer])
ALL = pytest.mark.parametrize("adapter", [CrossEncoderPostprocessor, CrossEncoderCompressor, CrossEncoderRanker])


class NoRetriever(BaseRetriever):
    def _get_relevant_documents(self, _query, *, run_manager):  # noqa: ARG002  (its signature)
        return []


@PYDANTIC
def test_a_key_of_another_kind_is_named_without_being_shown(adapter):
    with pytest.raises(ValueError, match="api_key must be a string or a SecretStr; got TokenSecret") as raised:
        adapter(**HOSTED, api_key=Secret.from_token(KEY))
    assert KEY not in str(raised.value)
    assert "lax-or-strict" not in str(raised.value)


@pytest.fixture(autouse=True)
def no_keys(monkeypatch):
    for variable in ("COHERE_API_KEY", "ASSISTERS_API_KEY"):
        monkeypatch.delenv(variable, raising=False)


def with_key():
    """Everything that can be given a key, made with one."""
    options = {**HOSTED, "api_key": KEY}
    reranker = Reranker(**options)
    scorer = reranker.scorer
    cached = Reranker(scorer=CachedScorer(scorer))
    yield reranker
    yield scorer
    yield cached
    yield Reranker(scorer=FallbackScorer([scorer, scorer]))
    yield Reranker(scorer=CascadeScorer(scorer, scorer))
    yield CrossEncoderPostprocessor(**options)
    yield CrossEncoderCompressor(**options)
    yield CrossEncoderScorer(**options)
    yield RerankRetriever(retriever=NoRetriever(), compressor=CrossEncoderCompressor(**options))
    for adapter in (CrossEncoderPostprocessor, CrossEncoderCompressor, CrossEncoderRanker):
        yield adapter(reranker=cached)


@pytest.mark.parametrize("number", range(12))
def test_a_key_is_in_no_pickle_and_no_other_form(number, monkeypatch):
    thing = list(with_key())[number]
    if hasattr(thing, "engine"):
        assert thing.engine is not None  # the engine that is there holds the key
    monkeypatch.setenv("COHERE_API_KEY", "from-the-environment")
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        assert KEY.encode() not in pickle.dumps(thing, protocol)
    forms = [repr(thing), str(thing)]
    if getattr(thing, "reranker", None) is None:
        saving = ("to_dict", "to_json", "model_dump", "model_dump_json")
        forms += [str(getattr(thing, name)()) for name in saving if hasattr(thing, name)]
    if hasattr(type(thing), "model_json_schema") and not isinstance(thing, RerankRetriever):
        forms.append(json.dumps(type(thing).model_json_schema()))
    assert KEY not in "".join(forms)


def test_a_haystack_token_is_not_pickled():
    token = CrossEncoderRanker(**HOSTED, api_key=Secret.from_token(KEY))
    with pytest.raises(ValueError, match="token-based secret"):
        pickle.dumps(token)
    for copied in (copy.copy(token), copy.deepcopy(token)):
        assert copied._engine().scorer.options.api_key.get_secret_value() == KEY
        assert copied._engine() is not token._engine()


def test_a_haystack_variable_is_pickled_by_name(monkeypatch):
    monkeypatch.setenv("MY_KEY", KEY)
    ranker = CrossEncoderRanker(**HOSTED, api_key=Secret.from_env_var("MY_KEY"))
    assert ranker._engine().scorer.options.api_key.get_secret_value() == KEY
    ranker._warm = ranker._engine()
    text = pickle.dumps(ranker)
    assert KEY.encode() not in text
    assert pickle.loads(text)._engine().scorer.options.api_key.get_secret_value() == KEY


@PYDANTIC
def test_a_missing_key_is_a_value_error_at_construction(adapter, monkeypatch):
    with pytest.raises(ValueError, match="COHERE_API_KEY"):
        adapter(**HOSTED)
    made = adapter()
    with pytest.raises(ValueError, match="needs the name of a model"):
        made.provider = "assisters"
    made = adapter(model="m", base_url="http://127.0.0.1:9")
    with pytest.raises(ValueError, match="ASSISTERS_API_KEY"):
        made.base_url = None if made.provider else "https://api.assisters.dev/v1"
    monkeypatch.setenv("COHERE_API_KEY", KEY)
    assert adapter(**HOSTED).engine.scorer.options.api_key is None  # it is read, not kept


@PYDANTIC
def test_a_copy_from_a_pickle_finds_its_key_or_says_so(adapter, monkeypatch):
    text = pickle.dumps(adapter(**HOSTED, api_key=KEY))
    with pytest.raises(AuthenticationError, match="COHERE_API_KEY") as caught:
        _ = pickle.loads(text).engine
    assert isinstance(caught.value, ValueError)
    monkeypatch.setenv("COHERE_API_KEY", KEY)
    assert pickle.loads(text).engine.model == "m"


@ALL
@pytest.mark.parametrize("model", ["", " ", "\n"])
@pytest.mark.parametrize("where", [{}, {"base_url": "http://127.0.0.1:9"}])
def test_a_blank_model_is_refused_at_construction(adapter, model, where):
    with pytest.raises(ValueError, match="model must be a name"):
        adapter(model=model, **where)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"model": 3}, "^model: "), ({"timeout": []}, "^timeout: "), ({"trust_remote_code": 7.5}, "^trust_remote_code: ")],
)
def test_a_wrong_type_is_a_type_error_for_haystack(options, message):
    with pytest.raises(TypeError, match=message):
        CrossEncoderRanker(**options)


@PYDANTIC
def test_a_string_is_a_key_and_is_hidden_at_once(adapter):
    made = adapter(**HOSTED, api_key=KEY)
    assert made.api_key.get_secret_value() == KEY
    made.api_key = "another"
    assert "another" not in repr(made.api_key)
    assert made.engine.scorer.options.api_key.get_secret_value() == "another"


SAVED = {
    "pickle": "pickle.loads(data)",
    "llama_index": "CrossEncoderPostprocessor.from_dict(json.loads(data))",
    "langchain": "loads(data.decode(), allowed_objects=[CrossEncoderCompressor], valid_namespaces=['rerank_plugins'])",
    "haystack": "CrossEncoderRanker.from_dict(json.loads(data))",
}


def saved():
    """Each adapter with no option at all, in each form it is saved in."""
    yield "pickle", pickle.dumps(CrossEncoderPostprocessor())
    yield "pickle", pickle.dumps(CrossEncoderCompressor())
    yield "pickle", pickle.dumps(CrossEncoderRanker())
    yield "llama_index", json.dumps(CrossEncoderPostprocessor().to_dict()).encode()
    yield "langchain", dumps(CrossEncoderCompressor()).encode()
    yield "haystack", json.dumps(CrossEncoderRanker().to_dict()).encode()


def test_what_is_saved_goes_on_using_its_model_when_there_is_a_newer_default(tmp_path):
    """Read in a process of a later version, which has another default."""
    lines = []
    for number, (form, data) in enumerate(saved()):
        (tmp_path / str(number)).write_bytes(data)
        lines += [f"data = open({str(tmp_path / str(number))!r}, 'rb').read()", f"found.append({SAVED[form]})"]
    code = "\n".join(
        [
            "import json, pickle",
            "from rerank_core import models",
            "models.DEFAULT_MODEL = models.registry.DEFAULT_MODEL = 'rerank-tiny-en-v1'",
            "from langchain_core.load import loads",
            "from rerank_plugins.haystack import CrossEncoderRanker",
            "from rerank_plugins.langchain import CrossEncoderCompressor",
            "from rerank_plugins.llama_index import CrossEncoderPostprocessor",
            "found = []",
            *lines,
            "engines = [made._engine() if hasattr(made, '_engine') else made.engine for made in found]",
            "found[0].threads = 2",
            "print(CrossEncoderPostprocessor().model, found[0].model, *{engine.model for engine in engines})",
        ]
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.stdout.split() == ["rerank-tiny-en-v1", DEFAULT_MODEL, DEFAULT_MODEL], done.stderr


@PYDANTIC
def test_the_default_model_is_one_of_this_process_only(adapter):
    made = adapter()
    assert made.model == DEFAULT_MODEL
    server = {"provider": "tei", "base_url": "http://127.0.0.1:9"}
    assert adapter(**server).model is None  # the server chooses
    assert made.model_copy(update=server).engine_options()["model"] is None
    made.model = "rerank-tiny-en-v1"
    assert made.engine.model == "rerank-tiny-en-v1"
    assert adapter(reranker=Reranker()).model is None


@pytest.fixture
def built(monkeypatch):
    """The engines that are made, and the calibration files that are read."""
    from rerank_plugins import options

    made = []

    class Counted(Reranker):
        def __init__(self, **given):
            made.append(("engine", given.get("threads")))
            super().__init__(**given)

    load = Calibration.load.__func__

    def counted(cls, file):
        made.append(("calibration", str(file)))
        return load(cls, file)

    monkeypatch.setattr(Calibration, "load", classmethod(counted))
    monkeypatch.setattr(options, "Reranker", Counted)
    return made


@PYDANTIC
def test_only_options_of_the_engine_make_a_new_one_and_each_makes_one(adapter, built, tmp_path):
    file = tmp_path / "c.json"
    Calibration(DEFAULT_MODEL, "logistic", (1.0, 0.0)).save(file)
    made = adapter(calibration=str(file))
    engine = made.engine
    assert built == [("engine", None), ("calibration", str(file))]
    if adapter is not CrossEncoderScorer:
        made.top_n, made.score_threshold = 5, 0.2
    if adapter is CrossEncoderPostprocessor:
        made.dedup, made.logits, made.callback_manager = True, True, None
    made.threads = None
    assert made.engine is engine
    assert len(built) == 2
    made.threads = 2
    assert made.engine is not engine
    assert built[2:] == [("engine", 2), ("calibration", str(file))]
    made.close()
    if adapter is not CrossEncoderScorer:
        made.top_n = 4
    assert len(built) == 4
    assert made.engine is made.engine
    assert len(built) == 6


@PYDANTIC
@pytest.mark.parametrize(
    ("name", "meant"),
    [("top_k", "top_n"), ("threshold", "score_threshold"), ("model_name", "model"), ("apikey", "api_key")],
)
def test_a_name_that_is_nearly_an_options_is_reported_with_it(adapter, name, meant):
    if adapter is CrossEncoderScorer and meant in {"top_n", "score_threshold"}:
        return  # it has none
    with pytest.raises(ValueError, match=f"there is no option '{name}'. Did you mean '{meant}'?"):
        adapter(**{name: 3})
    with pytest.raises(ValueError, match="Extra inputs are not permitted"):
        adapter(nothing_like_any_of_them=3)


@PYDANTIC
def test_a_representation_says_what_was_chosen(adapter):
    assert repr(adapter(threads=2)) == f"{adapter.__name__}(model='{DEFAULT_MODEL}', threads=2)"
    hidden = repr(adapter(**HOSTED, api_key=KEY))
    assert hidden == f"{adapter.__name__}(model='m', provider='cohere')"


def test_default_limits_are_those_of_the_readme():
    from pathlib import Path

    limits = {
        "CrossEncoderPostprocessor": CrossEncoderPostprocessor().top_n,
        "CrossEncoderCompressor": CrossEncoderCompressor().top_n,
        "CrossEncoderRanker": CrossEncoderRanker().top_k,
    }
    assert limits == {"CrossEncoderPostprocessor": None, "CrossEncoderCompressor": 3, "CrossEncoderRanker": 10}
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    rows = [line for line in readme.splitlines() if line.startswith("|")]
    for name, limit in limits.items():
        assert any(name in row and f"`{limit}`" in row for row in rows), name
