"""OpenVINO runs the same files to the same scores, in forked children as well, and is chosen where it is faster."""

from __future__ import annotations

import json

import numpy as np
import pytest

from checkpoints import ENCODERS, QUERY, TEXTS
from fresh import fresh
from rerank_core import ModelLoadError, Reranker
from rerank_core.inference import autotune
from rerank_core.inference.autotune import Choice, choose
from rerank_core.inference.backends.openvino import precisions
from rerank_core.inference.loading import LoadOptions, load_model
from rerank_core.variables import AUTOTUNE

pytestmark = pytest.mark.torch  # which exports the checkpoints

bfloat16 = pytest.mark.skipif("bfloat16" not in precisions(), reason="this CPU does not multiply bfloat16")


def logits(reranker):
    by_index = {result.index: result.logit for result in reranker.rerank(QUERY, TEXTS)}
    return np.array([by_index[i] for i in range(len(TEXTS))])


@pytest.mark.parametrize("architecture", ENCODERS)
def test_scores_are_those_of_onnx_runtime(exported, architecture):
    folder = exported(architecture)
    reranker = Reranker(folder, backend="openvino")
    np.testing.assert_allclose(logits(reranker), logits(Reranker(folder, backend="onnx")), atol=1e-4, rtol=0)
    assert (reranker.loaded.backend, reranker.loaded.dtype) == ("openvino", "float32")
    assert reranker.loaded.file == "model.onnx"


@bfloat16
@pytest.mark.parametrize("architecture", ENCODERS)
def test_bfloat16_is_near(exported, architecture):
    folder = exported(architecture)
    expected = logits(Reranker(folder, backend="onnx"))
    reranker = Reranker(folder, dtype="bfloat16")
    np.testing.assert_allclose(logits(reranker), expected, atol=0.05 * max(1, np.ptp(expected)), rtol=0)
    assert (reranker.loaded.backend, reranker.loaded.dtype) == ("openvino", "bfloat16")


@pytest.mark.parametrize("model", ["bert", "rerank-mini-en-v1", "rerank-tiny-en-v1"])
def test_an_int8_score_does_not_depend_on_the_batch(exported, model):
    model = model if model.startswith("rerank") else exported(model)
    reranker = Reranker(model, backend="openvino", dtype="int8")
    together = logits(reranker)
    assert together.tolist() == [reranker.rerank(QUERY, [text])[0].logit for text in TEXTS]
    expected = logits(Reranker(model, backend="onnx", dtype="int8"))
    np.testing.assert_allclose(together, expected, atol=0.05 * max(1, np.ptp(expected)), rtol=0)


def test_another_identity_than_onnx_runtime(exported):
    identities = {Reranker(exported("bert"), backend=backend).scorer.identity for backend in ("onnx", "openvino")}
    assert len(identities) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "cuda"}, "backend='openvino' runs on device='cpu', got device='cuda'"),
        ({"dtype": "float16"}, "has no ONNX file in float16"),
        ({"device_map": "auto"}, "device_map= is for torch"),
    ],
)
def test_what_it_cannot_do_is_said(exported, options, message):
    with pytest.raises(ModelLoadError, match=message):
        Reranker(exported("bert"), backend="openvino", **options).warm_up()


def test_a_bundled_model_comes_in_int8_only():
    with pytest.raises(ModelLoadError, match="has no ONNX file in float32"):
        Reranker("rerank-mini-en-v1", backend="openvino", dtype="bfloat16").warm_up()


def test_a_torch_checkpoint_has_no_file_for_it(checkpoint):
    with pytest.raises(ModelLoadError, match=r"has no ONNX file in float32.*rerank export"):
        Reranker(checkpoint("bert"), backend="openvino").warm_up()


def test_without_it_the_extra_is_named(exported):
    code = f"""
from rerank_core import MissingDependencyError, Reranker
try:
    Reranker({str(exported("bert"))!r}, backend="openvino").warm_up()
except MissingDependencyError as error:
    print(error)
automatic = Reranker({str(exported("bert"))!r})
automatic.warm_up()
print(automatic.loaded.backend, automatic.loaded.reason)
"""
    seen = fresh(code, without=["openvino"], env={AUTOTUNE: "1"})
    assert "rerank-plugins[openvino]" in seen
    assert seen.splitlines()[-1] == "onnx an ONNX file with the same scores is faster on a CPU"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache folder, and the search for the fastest runtime turned on."""
    monkeypatch.setattr(autotune, "cache_folder", lambda: tmp_path / "cache")
    monkeypatch.delenv(AUTOTUNE)
    return tmp_path / "cache" / "backends"


def kept(cache):
    (file,) = cache.iterdir()
    return file


def test_the_choice_is_measured_kept_and_said(exported, cache):
    reranker = Reranker(exported("bert"))
    reranker.warm_up()
    choice = Choice(**json.loads(kept(cache).read_text()))
    assert (reranker.loaded.backend, reranker.loaded.dtype) == (choice.backend, choice.dtype)
    assert "measured" in reranker.loaded.reason
    # Whatever was faster here: the kept choice is followed.
    for backend in ("onnx", "openvino"):
        kept(cache).write_text(json.dumps({"backend": backend, "dtype": "float32", "speed": 1.5, "difference": 0.001}))
        again = Reranker(exported("bert"))
        again.warm_up()
        assert again.loaded.backend == backend
    assert again.loaded.reason == (
        "measured here: 1.50 times as fast as ONNX Runtime, logits within 0.001 (RERANK_AUTOTUNE=0 turns this off)"
    )


@pytest.mark.parametrize(
    "damaged",
    [
        "",
        "[]",
        '{"backend": "onnx"',
        '{"backend": "tpu", "dtype": "float32", "speed": 1.5, "difference": 0.0}',
        '{"backend": "openvino", "dtype": "int4", "speed": 1.5, "difference": 0.0}',
        '{"backend": "openvino", "dtype": "float32", "speed": NaN, "difference": 0.0}',
        '{"backend": "openvino", "dtype": "float32", "speed": "fast", "difference": 0.0}',
        '{"backend": "openvino", "dtype": "float32", "speed": 1.5, "difference": 0.0, "more": 1}',
    ],
)
def test_a_damaged_choice_is_measured_again(exported, cache, damaged):
    Reranker(exported("bert")).warm_up()
    file = kept(cache)
    file.write_text(damaged)
    Reranker(exported("bert")).warm_up()
    assert kept(cache) == file
    assert set(json.loads(file.read_text())) == {"backend", "dtype", "speed", "difference"}


def test_a_candidate_with_other_scores_is_not_taken(exported, cache):
    def load(backend, dtype):
        other = backend == "openvino"
        return load_model(LoadOptions(exported("bert"), backend, dtype="int8" if other else dtype))

    assert choose("fingerprint", None, load) == Choice()
    assert json.loads(kept(cache).read_text())["backend"] == "onnx"


def test_a_candidate_that_cannot_be_loaded_is_not_taken(exported, cache):
    def load(backend, dtype):
        if backend == "openvino":
            raise ModelLoadError("an operator that it does not know")
        return load_model(LoadOptions(exported("bert"), backend, dtype=dtype))

    assert choose("fingerprint", None, load) == Choice()


def test_without_a_place_to_keep_it_the_choice_is_measured_each_time(exported, monkeypatch, tmp_path):
    monkeypatch.delenv(AUTOTUNE)
    (tmp_path / "file").touch()
    for folder in (None, tmp_path / "file"):
        monkeypatch.setattr(autotune, "cache_folder", lambda folder=folder: folder)
        reranker = Reranker(exported("bert"))
        reranker.warm_up()
        assert "measured" in reranker.loaded.reason


@pytest.mark.parametrize(
    ("options", "backend"),
    [({"dtype": "int8"}, "onnx"), ({"backend": "onnx"}, "onnx"), ({"backend": "openvino"}, "openvino")],
)
def test_what_is_asked_for_is_not_measured(exported, cache, options, backend):
    reranker = Reranker(exported("bert"), **options)
    reranker.warm_up()
    assert reranker.loaded.backend == backend
    assert not cache.exists()


@pytest.mark.parametrize("off", ["0", "false", " OFF "])
def test_it_can_be_turned_off(exported, cache, monkeypatch, off):
    monkeypatch.setenv(AUTOTUNE, off)
    reranker = Reranker(exported("bert"))
    reranker.warm_up()
    assert reranker.loaded.backend == "onnx"
    assert not cache.exists()


def test_an_explicit_float32_stays_float32(exported, cache):
    reranker = Reranker(exported("bert"), dtype="float32")
    reranker.warm_up()
    assert reranker.loaded.dtype == "float32"
    assert json.loads(kept(cache).read_text())["dtype"] == "float32"
