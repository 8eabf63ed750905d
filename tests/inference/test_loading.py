from __future__ import annotations

import asyncio
import gc
import json
import os
import shutil
import sys
import threading
import warnings
import weakref
from pathlib import Path

import numpy as np
import pytest

from checkpoints import MAX_TOKENS, QUERY, TEXTS, language_model
from fresh import fresh
from rerank_core import InferenceError, InvalidRequestError, ModelLoadError, Reranker
from rerank_core.events import BatchScored, Encoded, Failed, ModelLoaded, Scored, Truncated
from rerank_core.inference import loading
from rerank_core.inference.backends.base import relevance_logits
from rerank_core.inference.loading import LoadOptions, load_model, token_limits
from rerank_core.models import DEFAULT_MODEL, REGISTRY
from rerank_core.models.source import BUNDLED, locate

MINI = BUNDLED[DEFAULT_MODEL]
torch = pytest.mark.torch


@pytest.fixture
def copy(tmp_path):
    """A private copy of a folder, to break."""

    def make(folder):
        shutil.copytree(folder, tmp_path / "copy", dirs_exist_ok=True)
        return tmp_path / "copy"

    return make


def config(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_model_is_loaded_once_and_shared():
    one, two = (
        load_model(LoadOptions("rerank-mini-en-v1", backend="onnx")),
        load_model(LoadOptions("rerank-mini-en-v1")),
    )
    assert one.shared is two.shared
    assert (one.info.reason, two.info.reason) == ("asked for", "the only one for this model")


def test_a_model_leaves_memory_with_its_last_user(copy):
    options = LoadOptions(copy(MINI), backend="onnx")  # a copy, which no other test uses
    one, two = load_model(options), load_model(options)
    assert one.shared is two.shared
    gone = weakref.ref(one.shared)
    del one, two
    gc.collect()
    assert gone() is None


def test_threads_that_ask_at_once_get_one_model(copy):
    options = LoadOptions(copy(MINI), dtype="float32", backend="onnx")
    events, models = [], []
    threads = [
        threading.Thread(target=lambda: models.append(load_model(options, [events.append]).shared)) for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(model) for model in models}) == 1
    assert [type(event) for event in events] == [ModelLoaded]


def test_every_step_is_reported_without_texts():
    events = []
    Reranker(hooks=[events.append], batch_tokens=64, max_tokens=64).rerank(
        "secret query", ["secret text", "long " * 99]
    )
    kinds = [type(event) for event in events]
    assert {Encoded, BatchScored, Truncated, Scored} <= set(kinds)
    encoded = next(event for event in events if isinstance(event, Encoded))
    batches = [event for event in events if isinstance(event, BatchScored)]
    assert sum(event.tokens for event in batches) == encoded.tokens
    assert sum(event.inputs for event in batches) == encoded.inputs
    assert "secret" not in repr(events)


def test_a_failure_is_reported():
    events = []
    with pytest.raises(ModelLoadError):
        Reranker(dtype="float16", hooks=[events.append]).warm_up()
    assert events == [Failed("rerank-mini-en-v1", "no_onnx_file")]


def test_truncation_is_warned_of_once_per_model(copy, caplog):
    folder = copy(MINI)
    reranker = Reranker(folder, backend="onnx", max_tokens=32)
    for _ in range(3):
        response = reranker.rerank("what", ["word " * 100, "short"])
    assert caplog.text.count("reads at most 32 tokens") == 1
    assert [result.truncated for result in sorted(response, key=lambda r: r.index)] == [True, False]
    assert "long_documents='windows'" in caplog.text
    again = Reranker(folder, max_tokens=32).rerank("what " * 100, ["short"])
    assert again.query_truncated
    assert len(caplog.records) == 1


def test_a_query_that_was_cut_is_said_as_such(copy, caplog):
    Reranker(copy(MINI), max_tokens=32).rerank("what " * 100, ["short"])
    assert "the query was cut: shorten it" in caplog.text


def test_the_same_path_means_the_same_model_whatever_the_working_folder(copy, tmp_path, monkeypatch):
    copy(MINI)
    monkeypatch.chdir(tmp_path)
    reranker = Reranker("copy", backend="onnx")
    monkeypatch.chdir("/")
    reranker.warm_up()
    assert reranker.loaded.folder == tmp_path / "copy"


def test_closing_does_not_wait_for_a_load(copy, monkeypatch):
    gate, started = threading.Event(), threading.Event()
    original = loading.locate

    def slow(*arguments, **options):
        started.set()
        gate.wait()
        return original(*arguments, **options)

    monkeypatch.setattr(loading, "locate", slow)
    reranker = Reranker(copy(MINI), backend="onnx")
    ranking = threading.Thread(target=reranker.warm_up)
    ranking.start()
    started.wait()
    asyncio.run(reranker.aclose())
    gate.set()
    ranking.join()
    assert reranker.loaded is None


def test_a_hook_may_ask_what_is_being_loaded(copy):
    seen = []
    reranker = Reranker(copy(MINI), hooks=[lambda event: seen.append((type(event), reranker.scorer.identity))])
    reranker.rerank("a", ["b"])
    assert seen[0][0] is ModelLoaded


def test_more_tokens_than_the_architecture_has_is_an_error():
    with pytest.raises(InvalidRequestError, match="its limit is 512") as caught:
        Reranker(max_tokens=513).warm_up()
    assert caught.value.param == "max_tokens"


@pytest.mark.parametrize("threads", [1, 2, 64])
def test_threads_limit_what_is_in_flight_and_change_no_score(threads):
    seen, lock, running = 0, threading.Lock(), 0
    reranker = Reranker(threads=threads, batch_tokens=64)
    reranker.warm_up()
    backend = reranker.scorer._loaded.backend
    run = backend.run

    def counted(block):
        nonlocal seen, running
        with lock:
            running += 1
            seen = max(seen, running)
        try:
            return run(block)
        finally:
            with lock:
                running -= 1

    backend.run = counted
    try:
        texts = [f"{text} {i}" for i in range(8) for text in TEXTS]
        logits = [result.logit for result in reranker.rerank(QUERY, texts)]
    finally:
        del backend.run
    assert 1 <= seen <= min(threads, backend.workers.size)
    np.testing.assert_allclose(logits, [result.logit for result in Reranker().rerank(QUERY, texts)], atol=1e-5)


@pytest.mark.parametrize("name", BUNDLED)
def test_the_bundled_score_does_not_depend_on_the_batch(name):
    texts = [*TEXTS, *(text * 3 for text in TEXTS)]
    bundled = Reranker(name)
    together = {result.index: result.logit for result in bundled.rerank(QUERY, texts)}
    for budget in (1, 64, 5000):
        for index, text in enumerate(texts):
            (alone,) = Reranker(name, batch_tokens=budget).rerank(QUERY, [text])
            assert alone.logit == pytest.approx(together[index], abs=1e-4)


def test_the_bundled_model_reads_long_documents_in_windows():
    needle = "The capital of France is Paris."
    text = "Nothing of interest happens in this sentence. " * 150 + needle + " More of the same follows here. " * 150
    (plain,) = Reranker().rerank("What is the capital of France?", [text])
    (best,) = Reranker(long_documents="windows").rerank("What is the capital of France?", [text])
    assert plain.truncated
    assert not best.truncated
    assert needle in best.passage
    assert len(best.passage) < len(text) / 4
    assert best.logit > plain.logit


def test_a_million_characters_in_one_document(bundled):
    (result,) = bundled.rerank("needle", ["hay " * 250_000])
    assert result.truncated


@pytest.mark.parametrize(
    ("logits", "expected"),
    [([1.0, 2.0], [1.0, 2.0]), ([[1.0], [2.0]], [1.0, 2.0]), ([[1.0, 4.0], [2.0, 0.0]], [3.0, -2.0])],
)
def test_one_logit_a_row_from_every_kind_of_head(logits, expected):
    assert relevance_logits(np.array(logits, np.float32)).tolist() == expected


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_model_that_gives_no_number_is_an_error(copy, bad):
    reranker = Reranker(copy(MINI), backend="onnx")
    reranker.warm_up()
    reranker.scorer._loaded.backend.run = lambda block: np.full(len(block.input_ids), bad, np.float32)
    with pytest.raises(InferenceError, match="not a finite number"):
        reranker.rerank(QUERY, TEXTS)


def test_a_model_that_fails_is_translated_with_its_cause(copy):
    reranker = Reranker(copy(MINI), backend="onnx")
    reranker.warm_up()
    reranker.scorer._loaded.backend._input_types["no_such_input"] = np.int64
    with pytest.raises(AttributeError):
        reranker.rerank(QUERY, TEXTS)
    del reranker.scorer._loaded.backend._input_types["no_such_input"]
    del reranker.scorer._loaded.backend._input_types["input_ids"]
    with pytest.raises(InferenceError, match=r"model\.onnx failed on a batch of shape") as caught:
        reranker.rerank(QUERY, TEXTS)
    assert caught.value.__cause__ is not None


def test_a_device_this_machine_lacks_is_named():
    with pytest.raises(ModelLoadError, match="cannot run on device 'cuda'"):
        Reranker(device="cuda").warm_up()


def test_a_model_with_one_backend_refuses_the_other():
    with pytest.raises(ModelLoadError, match="backend='onnx' or 'openvino' only"):
        Reranker(backend="torch").warm_up()


def test_a_folder_without_any_weights(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ModelLoadError, match=r"no ONNX file in float32 \(it has: none\)"):
        Reranker(tmp_path, backend="onnx").warm_up()


@pytest.mark.parametrize(("content", "message"), [("{oops", "is not valid JSON"), ("[]", "is no JSON object")])
@pytest.mark.parametrize("backend", ["onnx", "torch", "auto"])
def test_a_damaged_configuration_is_an_error_of_ours(copy, content, message, backend):
    folder = copy(MINI)
    (folder / "config.json").write_text(content)
    with pytest.raises(ModelLoadError, match=rf"config\.json of model .* {message}"):
        Reranker(folder, backend=backend).warm_up()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the file system refuses such names")
def test_a_file_name_that_is_no_text(copy):
    folder = copy(MINI)
    Path(os.fsdecode(bytes(folder) + b"/caf\xe9.txt")).write_text("")
    Reranker(folder, backend="onnx").warm_up()


def test_what_an_onnx_file_cannot_be_is_not_ignored(copy):
    folder = copy(MINI)
    Reranker(folder / "model.onnx", dtype="int8").warm_up()  # the name does not say
    (folder / "model.onnx").rename(folder / "model_int8.onnx")
    with pytest.raises(ModelLoadError, match=r"no ONNX file in float16 .* Leave dtype= out\.$"):
        Reranker(folder / "model_int8.onnx", dtype="float16").warm_up()
    with pytest.raises(ModelLoadError, match="device_map= is for torch"):
        Reranker(device_map="cpu", backend="onnx").warm_up()
    with pytest.raises(ModelLoadError, match=r"Leave dtype= out\.$"):
        Reranker(dtype="float16").warm_up()


def test_an_onnx_file_without_tokenizer(copy):
    folder = copy(MINI)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ModelLoadError, match=r"no tokenizer\.json"):
        Reranker(folder / "model.onnx").warm_up()


def test_a_file_that_is_not_onnx(copy):
    folder = copy(MINI)
    (folder / "model.onnx").write_bytes(b"not a graph")
    with pytest.raises(ModelLoadError, match=r"onnxruntime cannot load model\.onnx"):
        Reranker(folder, backend="onnx").warm_up()


@pytest.mark.parametrize("backend", ["torch", "auto"])
def test_without_torch_the_error_names_the_extra(tmp_path, backend):
    (tmp_path / "config.json").write_text("{}")
    code = f"""
from rerank_core import MissingDependencyError, Reranker
try:
    Reranker({str(tmp_path)!r}, backend={backend!r}).warm_up()
except MissingDependencyError as error:
    print(error)
"""
    assert "rerank-plugins[torch]" in fresh(code, without=["torch", "sentence_transformers"])


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, (512, None)),
        ({"config.json": {"max_position_embeddings": 128}}, (128, 128)),
        ({"config.json": {"max_position_embeddings": 514, "model_type": "xlm-roberta"}}, (512, 512)),
        ({"tokenizer_config.json": {"model_max_length": 1e30}}, (512, None)),
        (
            {"tokenizer_config.json": {"model_max_length": 256}, "config.json": {"max_position_embeddings": 512}},
            (256, 512),
        ),
        (
            {"sentence_bert_config.json": {"max_seq_length": 100}, "tokenizer_config.json": {"model_max_length": 512}},
            (100, None),
        ),
        ({"sentence_bert_config.json": {"max_seq_length": None}}, (512, None)),
    ],
)  # fmt: skip
def test_the_token_limit_is_the_tightest_one_stated(tmp_path, files, expected):
    for name, content in files.items():
        (tmp_path / name).write_text(json.dumps(content))
    assert token_limits(locate(tmp_path)) == expected


@torch
def test_auto_prefers_the_onnx_file_with_the_same_scores_on_a_cpu(exported):
    reranker = Reranker(exported("bert"))
    reranker.warm_up()
    assert (reranker.loaded.backend, reranker.loaded.dtype) == ("onnx", "float32")
    assert "faster on a CPU" in reranker.loaded.reason


@torch
def test_auto_on_a_machine_with_an_accelerator_asks_for_weights_first(exported, monkeypatch):
    """What `rerank export` writes has no torch weights; it must load everywhere."""
    monkeypatch.setattr(loading, "_accelerator", lambda: "cuda")
    reranker = Reranker(exported("bert"))
    reranker.warm_up()
    assert reranker.loaded.backend == "onnx"


@torch
def test_a_graph_that_gives_a_number_a_token_is_refused(exported, copy):
    """An extractive question-answering head: [batch, sequence], all of it symbolic."""
    import onnx

    folder = copy(exported("bert"))
    model = onnx.load(folder / "model.onnx")
    head = onnx.helper.make_node("Cast", ["attention_mask"], ["start_logits"], to=1)
    model.graph.node.append(head)
    del model.graph.output[:]
    shape = ["batch", "sequence"]
    model.graph.output.append(onnx.helper.make_tensor_value_info("start_logits", onnx.TensorProto.FLOAT, shape))
    onnx.save(model, folder / "model.onnx")
    with pytest.raises(ModelLoadError, match="no relevance head"):
        Reranker(folder, backend="onnx").warm_up()


@torch
def test_the_default_device_by_its_name_is_the_same_model(checkpoint, monkeypatch):
    monkeypatch.setattr("rerank_core.inference.backends.checkpoint.default_device", lambda: "cpu")
    folder = checkpoint("bert")
    one, two = (load_model(LoadOptions(folder, backend="torch", device=device)) for device in (None, "cpu"))
    assert one.shared is two.shared


@torch
def test_auto_falls_back_to_torch_and_says_why(checkpoint):
    reranker = Reranker(checkpoint("bert"))
    reranker.warm_up()
    assert reranker.loaded.backend == "torch"
    assert "no ONNX file" in reranker.loaded.reason
    bfloat16 = Reranker(checkpoint("bert"), dtype="bfloat16")
    bfloat16.warm_up()
    assert "bfloat16" in bfloat16.loaded.reason
    on_device = Reranker(checkpoint("bert"), device_map="cpu")
    on_device.warm_up()
    assert "asked for" in on_device.loaded.reason


@torch
def test_an_onnx_file_without_a_head_is_refused_and_auto_uses_torch(checkpoint, copy):
    """What some repositories ship as ONNX is the bare encoder."""
    import torch as pytorch
    from transformers import AutoModel

    folder = copy(checkpoint("bert"))
    body = AutoModel.from_pretrained(folder).eval()

    class Bare(pytorch.nn.Module):
        def __init__(self):
            super().__init__()
            self.body = body

        def forward(self, input_ids, attention_mask):
            return self.body(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state

    ids = pytorch.ones((2, 8), dtype=pytorch.int64)
    axes = {0: pytorch.export.Dim("batch"), 1: pytorch.export.Dim("sequence")}
    with warnings.catch_warnings(action="ignore"):
        program = pytorch.onnx.export(
            Bare(), (ids, ids), dynamo=True, verbose=False, dynamic_shapes=(axes, axes),
            input_names=["input_ids", "attention_mask"], output_names=["last_hidden_state"],
        )  # fmt: skip
    program.save(folder / "model.onnx")
    with pytest.raises(ModelLoadError, match="no relevance head") as caught:
        Reranker(folder, backend="onnx").warm_up()
    assert caught.value.code == "no_classification_head"
    auto = Reranker(folder)
    auto.warm_up()
    assert auto.loaded.backend == "torch"
    assert "refused" in auto.loaded.reason
    assert "no relevance head" in auto.loaded.reason


@torch
def test_an_input_nobody_gives_is_refused(exported, copy):
    import onnx

    folder = copy(exported("bert"))
    model = onnx.load(folder / "model.onnx")
    for item in model.graph.input:
        if item.name == "token_type_ids":
            item.name = "pixel_values"
    for node in model.graph.node:
        node.input[:] = ["pixel_values" if name == "token_type_ids" else name for name in node.input]
    onnx.save(model, folder / "model.onnx")
    with pytest.raises(ModelLoadError, match="asks for the input 'pixel_values'"):
        Reranker(folder, backend="onnx").warm_up()


@torch
def test_a_graph_with_a_scale_for_the_whole_batch_is_run_one_by_one(exported, copy):
    from onnxruntime.quantization import QuantType, quantize_dynamic

    folder = copy(exported("bert"))
    (folder / "model_int8.onnx").unlink()
    quantize_dynamic(folder / "model.onnx", folder / "model_qint8.onnx", weight_type=QuantType.QInt8)
    reranker = Reranker(folder, dtype="int8")
    together = {result.index: result.logit for result in reranker.rerank(QUERY, TEXTS)}
    assert reranker.loaded.file == "model_qint8.onnx"
    for index, text in enumerate(TEXTS):
        assert reranker.rerank(QUERY, [text])[0].logit == together[index]


@torch
def test_a_bare_encoder_does_not_load(checkpoint, tmp_path):
    from transformers import AutoModel, AutoTokenizer

    folder = checkpoint("bert")
    AutoModel.from_pretrained(folder).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(folder).save_pretrained(tmp_path)
    config(tmp_path, architectures=["BertForSequenceClassification"], num_labels=1)
    with pytest.raises(ModelLoadError, match="would be random numbers") as caught:
        Reranker(tmp_path, device="cpu").warm_up()
    assert caught.value.code == "weights_missing"


@torch
def test_weights_of_another_size_do_not_load(checkpoint, copy):
    folder = copy(checkpoint("bert"))
    config(folder, intermediate_size=40)
    with pytest.raises(ModelLoadError, match="cannot load"):
        Reranker(folder, device="cpu").warm_up()


@torch
def test_more_than_two_labels_are_not_a_reranker(checkpoint):
    with pytest.raises(ModelLoadError, match="has 3 labels"):
        Reranker(checkpoint("bert", labels=3), device="cpu").warm_up()


@torch
def test_remote_code_is_refused_without_consent_and_a_commit(checkpoint, copy):
    folder = copy(checkpoint("bert"))
    config(folder, auto_map={"AutoModelForSequenceClassification": "modeling_mine.Mine"})
    (folder / "modeling_mine.py").write_text("raise SystemExit('remote code was run')")
    with pytest.raises(ModelLoadError, match="brings its own code") as caught:
        Reranker(folder, device="cpu").warm_up()
    assert caught.value.code == "remote_code_refused"
    config(folder, auto_map={"AutoModelForSequenceClassification": "other/repository--modeling_mine.Mine"})
    with pytest.raises(ModelLoadError, match="another repository"):
        Reranker(folder, device="cpu", trust_remote_code=True, revision="0" * 40).warm_up()
    config(folder, auto_map=None)  # code can also hide in modules.json: consent needs a commit in any case
    for revision in (None, "main", "abc123"):
        with pytest.raises(ModelLoadError, match="40-digit commit") as caught:
            Reranker(folder, device="cpu", trust_remote_code=True, revision=revision).warm_up()
        assert caught.value.code == "revision_required"


@torch
def test_consent_with_a_commit_runs_the_code(checkpoint, copy):
    folder = copy(checkpoint("bert"))
    (folder / "modeling_mine.py").write_text(
        "from transformers import BertForSequenceClassification\nclass Mine(BertForSequenceClassification): pass\n"
    )
    config(folder, auto_map={"AutoModelForSequenceClassification": "modeling_mine.Mine"})
    reranker = Reranker(folder, device="cpu", trust_remote_code=True, revision="0" * 40)
    reranker.warm_up()
    assert type(reranker.scorer._loaded.backend._model[0].model).__name__ == "Mine"


@torch
def test_safetensors_win_over_pickles(checkpoint, copy):
    folder = copy(checkpoint("bert"))
    (folder / "pytorch_model.bin").write_bytes(b"a pickle that must not be opened")
    Reranker(folder, backend="torch", device="cpu").warm_up()


@torch
def test_from_the_hub_only_safetensors_are_downloaded(hub, checkpoint, copy):
    folder = copy(checkpoint("bert"))
    (folder / "pytorch_model.bin").write_bytes(b"a pickle")
    (folder / "modeling.py").write_text("")
    hub.publish("tests/torch-model", folder)
    reranker = Reranker("tests/torch-model", device="cpu")
    expected = Reranker(checkpoint("bert"), device="cpu").rerank(QUERY, TEXTS)
    assert [r.logit for r in reranker.rerank(QUERY, TEXTS)] == [r.logit for r in expected]
    assert len(hub.downloads(".safetensors")) == 1
    assert hub.downloads(".bin") == hub.downloads(".py") == []
    assert reranker.loaded.max_tokens == MAX_TOKENS


@torch
def test_a_causal_model_without_a_pair_template_is_an_error(hub, tmp_path):
    spec = REGISTRY["LightOn-rerank-PW-0.8B"]  # its record has no template: its own files bring one
    folder = language_model(tmp_path, answers=spec.answers, template=None, max_tokens=128)
    hub.publish(spec.repository, folder, spec.revision)
    with pytest.raises(ModelLoadError) as caught:
        Reranker(spec.name, device="cpu").warm_up()
    assert caught.value.code == "no_pair_template"


@torch
def test_a_causal_model_whose_answers_nothing_states_is_an_error(tmp_path):
    language_model(tmp_path, answers=("yes", "no"), template=None, max_tokens=128)
    with pytest.raises(ModelLoadError, match="nothing states which answers mean relevant") as caught:
        Reranker(tmp_path, device="cpu").warm_up()
    assert caught.value.code == "no_answer_tokens"


@torch
def test_a_tokenizer_without_the_recorded_answers_is_an_error(hub, tmp_path):
    spec = REGISTRY["LightOn-rerank-PW-2B"]
    folder = language_model(tmp_path, answers=("maybe",), template=None, max_tokens=512)
    hub.publish(spec.repository, folder, spec.revision)
    with pytest.raises(ModelLoadError, match="has no token 'Yes'") as caught:
        Reranker(spec.name, device="cpu").warm_up()
    assert caught.value.code == "no_answer_tokens"


@torch
def test_a_chat_template_without_the_two_roles_is_an_error(checkpoint, copy):
    folder = copy(checkpoint("qwen3"))
    template = "{% for message in messages if message['role'] == 'user' %}{{ message['content'] }}{% endfor %}"
    (folder / "chat_template.jinja").write_text(template)
    with pytest.raises(ModelLoadError, match="does not take a query and a document"):
        Reranker(folder, device="cpu").warm_up()


@torch
def test_a_template_that_leaves_no_room_is_an_error(checkpoint):
    with pytest.raises(InvalidRequestError, match="the template and instruction take"):
        Reranker(checkpoint("qwen3"), device="cpu", max_tokens=20).warm_up()


@torch
def test_a_long_query_is_cut_for_generative_models_too(checkpoint):
    response = Reranker(checkpoint("qwen3"), device="cpu").rerank("machine learning " * 200, ["a", "b " * 300])
    assert response.query_truncated
    assert all(result.truncated for result in response)


@torch
def test_a_failing_torch_model_is_translated(checkpoint, copy):
    reranker = Reranker(copy(checkpoint("bert")), device="cpu")
    reranker.warm_up()
    reranker.scorer._loaded.backend._model[0].model.classifier = None
    with pytest.raises(InferenceError, match="failed on a batch"):
        reranker.rerank(QUERY, TEXTS)
