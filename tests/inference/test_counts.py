"""What decides speed, counted: kernels of the graphs, batches and padding of a request, tokenisations of a text.

Seconds depend on the machine; these numbers do not. A change that makes one grow must say why.
"""

from __future__ import annotations

import random
from collections import Counter
from importlib.util import find_spec

import onnxruntime
import pytest

from rerank_core import Reranker
from rerank_core.events import BatchScored
from rerank_core.inference.tokens import TextTokenizer
from rerank_core.models.source import BUNDLED

QUERY = "what is counted here"

# Of each bundled graph, after ONNX Runtime's own rewriting: attentions, int8 products, and all kernels.
KERNELS = {
    "rerank-mini-en-v1": (6, 27, 648),
    "rerank-tiny-en-v1": (6, 28, 763),
    "rerank-small-en-v2": (12, 51, 1030),
    "rerank-mini-en-v2": (6, 27, 615),
}


def documents(count, shortest, longest):
    sample = random.Random(0)
    words = ["the", "engine", "reads", "a", "query", "and", "document", "together", "gives", "pair", "score"]
    return [
        " ".join([*sample.choices(words, k=sample.randint(shortest, longest)), str(number)]) for number in range(count)
    ]


@pytest.mark.skipif(find_spec("onnx") is None, reason="reads a graph with onnx")
@pytest.mark.parametrize("name", BUNDLED)
def test_no_kernel_is_added_unseen(name, tmp_path):
    import onnx

    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(str(BUNDLED[name] / "model.onnx"), options)
    kernels = Counter(node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node)
    attentions, products, most = KERNELS[name]
    assert kernels["MultiHeadAttention"] == attentions
    assert kernels["MatMulIntegerToFloat"] == products
    assert kernels.total() <= most
    # One softmax is the head's: those of the layers would write [heads, length, length].
    assert kernels["Softmax"] <= 1
    # Slower than what stands for them (``conversion/norms.py``).
    assert not kernels.keys() & {"LayerNormalization", "SkipLayerNormalization"}


@pytest.mark.parametrize(
    ("words", "most_batches", "most_padding"), [((20, 60), 14, 0.06), ((10, 380), 70, 0.02), ((500, 600), 100, 0.0)]
)
def test_batches_are_full_and_hold_little_padding(words, most_batches, most_padding):
    events = []
    Reranker(hooks=[events.append]).rerank(QUERY, documents(100, *words))
    batches = [event for event in events if isinstance(event, BatchScored)]
    assert sum(batch.inputs for batch in batches) == 100
    assert len(batches) <= most_batches
    assert sum(batch.padding for batch in batches) <= most_padding * sum(batch.tokens for batch in batches)
    assert all(batch.tokens + batch.padding <= 512 for batch in batches)


def test_every_text_is_tokenised_once_and_the_query_once(monkeypatch):
    seen = Counter()
    encode = TextTokenizer.encode

    def counted(self, text):
        seen[text] += 1
        return encode(self, text)

    monkeypatch.setattr(TextTokenizer, "encode", counted)
    texts = documents(50, 10, 100)
    Reranker().rerank(QUERY, [*texts, *texts])
    assert seen == Counter([QUERY, *texts])


def test_of_a_long_text_no_more_is_tokenised_than_is_read(monkeypatch):
    characters = 0
    encode = TextTokenizer.encode

    def counted(self, text):
        nonlocal characters
        characters += len(text)
        return encode(self, text)

    monkeypatch.setattr(TextTokenizer, "encode", counted)
    (long,) = documents(1, 200_000, 200_000)
    Reranker().rerank(QUERY, [long])
    assert characters < len(long) / 50
