"""The LlamaIndex postprocessor saved, pickled, copied, imported."""

from __future__ import annotations

import copy
import json
import os
import pickle
import subprocess
import sys
import threading

import pytest

pytest.importorskip("llama_index.core")

from llama_index.core.callbacks import CallbackManager
from llama_index_tools import QUERY, TEXTS, Callbacks, both_ways, faked, ids, nodes

from rerank_core import InvalidRequestError
from rerank_core.models import DEFAULT_MODEL
from rerank_core.scoring import Calibration
from rerank_plugins.llama_index import CrossEncoderPostprocessor

EVERY_OPTION = {
    "model": DEFAULT_MODEL,
    "provider": "local",
    "top_n": 3,
    "score_threshold": 0.0,
    "long_documents": "windows",
    "max_tokens": 128,
    "batch_tokens": 256,
    "threads": 1,
    "backend": "onnx",
    "device": "cpu",
    "dtype": "int8",
    "local_files_only": True,
    "on_failure": "keep_order",
    "metadata_mode": "llm",
    "keep_retrieval_score": True,
    "logits": True,
    "dedup": True,
}


# Saving


def plain(value):
    """Whether a value is what JSON and YAML know, and nothing derived from it."""
    if isinstance(value, dict):
        return all(type(key) is str and plain(item) for key, item in value.items())
    return type(value) in (str, int, float, bool, type(None))


@pytest.mark.parametrize(
    "options", [{}, EVERY_OPTION, {"base_url": "http://x/v1", "model": "m", "timeout": 3, "max_retries": 0}]
)
def test_saved_and_restored_it_is_the_same(options):
    postprocessor = CrossEncoderPostprocessor(**options)
    data = postprocessor.to_dict()
    assert data["class_name"] == "CrossEncoderPostprocessor"
    assert plain(data)
    assert options.items() <= data.items()
    restored = CrossEncoderPostprocessor.from_dict(json.loads(json.dumps(data)))
    assert restored == postprocessor
    assert restored.to_dict() == data
    assert CrossEncoderPostprocessor.from_json(postprocessor.to_json()) == postprocessor
    assert pickle.loads(pickle.dumps(postprocessor)) == postprocessor
    assert copy.deepcopy(postprocessor) == postprocessor


def test_a_calibration_is_saved_as_its_path(tmp_path):
    file = tmp_path / "curve.json"
    Calibration(DEFAULT_MODEL, "logistic", (1.0, 3.0)).save(file)
    postprocessor = CrossEncoderPostprocessor(calibration=str(file), score_threshold=0.5)
    assert postprocessor.to_dict()["calibration"] == str(file)
    expected = both_ways(postprocessor, nodes())
    for restored in (
        CrossEncoderPostprocessor.from_json(postprocessor.to_json()),
        pickle.loads(pickle.dumps(postprocessor)),
        copy.deepcopy(postprocessor),
    ):
        assert restored == postprocessor
        assert [node.score for node in both_ways(restored, nodes())] == [node.score for node in expected]


def test_every_field_is_among_those_saved_or_meant_not_to_be():
    fields = set(CrossEncoderPostprocessor.model_fields)
    saved = set(CrossEncoderPostprocessor().to_dict()) - {"class_name"}
    assert fields - saved == {"api_key", "reranker", "callback_manager"}


def test_equality_is_that_of_the_options():
    assert CrossEncoderPostprocessor(top_n=2) != CrossEncoderPostprocessor(top_n=3)
    assert CrossEncoderPostprocessor() != "CrossEncoderPostprocessor"
    assert faked() != CrossEncoderPostprocessor()


def test_a_ready_engine_cannot_be_saved_and_says_so():
    postprocessor = faked()
    with pytest.raises(InvalidRequestError, match="ready engine"):
        postprocessor.to_dict()
    with pytest.raises(InvalidRequestError, match="ready engine"):
        postprocessor.to_json()


def test_keys_are_in_no_saved_form():
    key = "sk-very-secret"
    postprocessor = CrossEncoderPostprocessor(base_url="http://127.0.0.1:9", model="m", api_key=key)
    _ = postprocessor.engine
    for form in (postprocessor.to_json(), repr(postprocessor), str(postprocessor), str(postprocessor.model_dump())):
        assert key not in form
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        assert key.encode() not in pickle.dumps(postprocessor, protocol)
    # A deep copy stays in this process, where it must go on working.
    assert copy.deepcopy(postprocessor).api_key.get_secret_value() == key


def test_pickles_are_small_and_rank(bundled):
    postprocessor = CrossEncoderPostprocessor(top_n=2, callback_manager=CallbackManager([Locked()]))
    before = postprocessor.postprocess_nodes(nodes(), query_str=QUERY)
    for original in (postprocessor, CrossEncoderPostprocessor(reranker=bundled, top_n=2)):
        data = pickle.dumps(original)
        assert len(data) < 2000
        restored = pickle.loads(data)
        assert restored.callback_manager.handlers == []
        assert ids(restored.postprocess_nodes(nodes(), query_str=QUERY)) == ids(before)
    # Pickling must leave the original whole.
    assert len(postprocessor.callback_manager.handlers) == 1


class Locked(Callbacks):
    """A listener that can neither be pickled nor copied."""

    def __init__(self):
        super().__init__()
        self.lock = threading.Lock()


def test_a_deep_copy_shares_listeners_and_a_ready_engine_only(bundled):
    manager = Locked().manager
    postprocessor = CrossEncoderPostprocessor(callback_manager=manager)
    _ = postprocessor.engine
    copied = copy.deepcopy(postprocessor)
    assert copied.callback_manager is manager
    assert copied.engine is not postprocessor.engine
    assert copy.deepcopy(CrossEncoderPostprocessor(reranker=bundled)).reranker is bundled
    shallow = postprocessor.model_copy(update={"max_tokens": 32})
    engine = postprocessor.engine
    assert shallow.engine is not engine
    assert postprocessor.engine is engine


def test_the_json_schema_names_the_options():
    schema = CrossEncoderPostprocessor.model_json_schema()
    assert {"model", "top_n", "metadata_mode", "dedup"} <= set(schema["properties"])
    assert schema["properties"]["class_name"]["default"] == "CrossEncoderPostprocessor"
    assert schema["additionalProperties"] is False
    json.dumps(schema)


FRESH = """
import json, sys
from llama_index.core.schema import NodeWithScore, TextNode
from rerank_plugins.llama_index import CrossEncoderPostprocessor
data, texts, query = json.load(sys.stdin)
nodes = [NodeWithScore(node=TextNode(text=text)) for text in texts]
ranked = CrossEncoderPostprocessor.from_dict(data).postprocess_nodes(nodes, query_str=query)
print(json.dumps([[node.text, node.score] for node in ranked]))
"""


def fresh(code, **kwargs):
    """The output of Python code in a new process, in which a warning is an error."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code], check=True, capture_output=True, text=True, **kwargs
    ).stdout


@pytest.fixture
def home(monkeypatch, tmp_path):
    """A new process finds the packages, and an empty home."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    for name in ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    return tmp_path


def test_a_fresh_process_ranks_the_same_from_what_was_saved(home):
    postprocessor = CrossEncoderPostprocessor(top_n=3, keep_retrieval_score=True)
    expected = postprocessor.postprocess_nodes(nodes(), query_str=QUERY)
    output = json.loads(fresh(FRESH, input=json.dumps([postprocessor.to_dict(), TEXTS, QUERY])))
    assert [text for text, _ in output] == [node.text for node in expected]
    assert [score for _, score in output] == pytest.approx([node.score for node in expected], abs=1e-5)


# Import


def test_importing_brings_in_no_other_framework_and_no_torch(home):
    loaded = fresh("import rerank_plugins.llama_index, sys; print(*{name.split('.')[0] for name in sys.modules})")
    assert not {"torch", "transformers", "langchain", "langchain_core", "haystack"} & set(loaded.split())
    assert list(home.iterdir()) == []


def test_a_missing_llama_index_names_the_extra(home):
    code = (
        "import sys; sys.modules['llama_index'] = None\n"
        "try: import rerank_plugins.llama_index\n"
        "except ImportError as error: print(type(error).__name__, error)"
    )
    output = fresh(code)
    assert output.startswith("MissingDependencyError")
    assert "pip install 'rerank-plugins[llama-index]'" in output
