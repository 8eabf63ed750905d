"""Scores are kept under a version of the encoding: whoever changes what a model is given raises it."""

from __future__ import annotations

import hashlib
import json

import pytest

from rerank_core.inference.encoding import ENCODING_VERSION
from rerank_core.inference.scheduler import Scheduler
from rerank_core.models.source import BUNDLED
from rerank_core.scoring import LocalOptions, LocalScorer

QUERY = "How do I reset the device? Ünïcödé 東京 🙂"
TEXTS = [
    "", " ", "Hold both buttons for ten seconds.", "word " * 400, "line\nbreaks\r\nand\ttabs " * 60,
    "東京は日本の首都です。" * 60, "👩‍👩‍👧 cafe\u0301 ﬁ\u0000", "x" * 90, "https://example.org/a/b?c=d&e=f#g " * 30,
]  # fmt: skip
OPTIONS = {
    "truncate": LocalOptions(max_tokens=64),
    "windows": LocalOptions(max_tokens=64, long_documents="windows"),
    "prompt": LocalOptions(max_tokens=48, prompt="query: "),
}
# As a folder of somebody's, of which nothing is known: it may be given a prompt.
MODEL = BUNDLED["rerank-mini-en-v1"]
# By version: what the default model is given for these texts. Never change a digest: raise ENCODING_VERSION in
# rerank_core/inference/encoding.py, and add a line.
EXPECTED = {1: "6ad1621a14ce8536", 2: "6ad1621a14ce8536", 3: "6ad1621a14ce8536"}


def what_the_model_is_given(options):
    """Every input, by text: token ids, segment ids, and what is said of it."""
    given = []

    def spy(self, inputs, **others):
        given.extend(inputs)
        return submit(self, inputs, **others)

    submit = Scheduler.submit
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Scheduler, "submit", spy)
        LocalScorer(MODEL, options).score(QUERY, TEXTS)
    rows = [
        (item.text, item.window, item.ids.tolist(), item.types.tolist(), item.truncated, item.query_truncated)
        for item in given
    ]
    return sorted(rows, key=repr)


def test_what_the_model_is_given_belongs_to_the_version_of_the_encoding():
    rows = {name: what_the_model_is_given(options) for name, options in OPTIONS.items()}
    digest = hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:16]
    assert EXPECTED.get(ENCODING_VERSION) == digest


def test_the_identity_has_all_that_decides_a_score(monkeypatch):
    scorers = {
        "plain": LocalScorer(MODEL),
        "limit": LocalScorer(MODEL, LocalOptions(max_tokens=64)),
        "windows": LocalScorer(MODEL, LocalOptions(long_documents="windows")),
        "prompt": LocalScorer(MODEL, LocalOptions(prompt="query: ")),
        "model": LocalScorer("rerank-tiny-en-v1"),
    }
    identities = {name: scorer.identity for name, scorer in scorers.items()}
    assert len(set(identities.values())) == len(scorers)
    assert "'cpu'" in identities["plain"]
    assert "onnxruntime " in identities["plain"]
    assert LocalScorer(MODEL, LocalOptions(threads=1, batch_tokens=64)).identity == identities["plain"]
    monkeypatch.setattr("rerank_core.inference.encoding.ENCODING_VERSION", ENCODING_VERSION + 1)
    assert scorers["plain"].identity != identities["plain"]
    monkeypatch.undo()
    monkeypatch.setattr("onnxruntime.__version__", "another")
    assert scorers["plain"].identity != identities["plain"]
