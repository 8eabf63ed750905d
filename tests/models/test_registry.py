"""The records of models: complete, consistent, filtered, and the page made from them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from rerank_core.models import REGISTRY
from rerank_core.models.model_page import page, score_in_words
from rerank_core.models.registry import known, select
from rerank_core.models.source import locate

PAGE = Path(__file__).resolve().parents[2] / "docs" / "models.md"
each = pytest.mark.parametrize("spec", REGISTRY.values(), ids=REGISTRY)


def test_the_page_is_made_from_the_records():
    """``python -m rerank_core.models.model_page > docs/models.md`` writes it again."""
    assert PAGE.read_text(encoding="utf-8") == page()


@each
def test_a_record_says_all_that_decides_a_score(spec):
    assert spec.revision is None or re.fullmatch("[0-9a-f]{40}", spec.revision)
    assert spec.language_codes
    assert spec.temperature > 0
    generative = spec.head == "language model"
    assert len(spec.answers) == {"log-odds": 2, "answer logit": 1}.get(spec.score, 0)
    assert generative == bool(spec.answers)
    assert (generative or spec.head == "list-wise") <= (spec.backend == "torch")
    assert (spec.head == "list-wise") == (spec.listwise is not None) == (spec.score in {"cosine", "order"})
    assert (spec.score == "order") == (spec.probability == "none")
    assert bool(spec.template) <= generative
    assert bool(spec.instruction) <= spec.takes_instruction <= bool(spec.template)
    assert bool(spec.licence_note) >= ("NC" in spec.licence and spec.name.startswith("zerank"))


@each
def test_what_supersedes_a_model_is_a_model(spec):
    newer = spec.superseded_by
    assert newer is None or (known(newer) is not None and newer != spec.name)


def test_score_conventions_in_words():
    words = {name: score_in_words(spec) for name, spec in REGISTRY.items()}
    assert words["rerank-mini-en-v1"] == "logit"
    assert words["Qwen3-Reranker-0.6B"] == "log-odds of yes and no"
    assert words["mxbai-rerank-large-v2"] == "log-odds of 1 and 0"
    assert words["LightOn-rerank-PW-2B"] == "log-odds of Yes and No"
    assert words["zerank-2"] == "logit of Yes / 5"


def test_models_are_selected_by_every_condition():
    assert select() == list(REGISTRY.values())
    chinese = {spec.name for spec in select(language="zh")}
    assert {"bge-reranker-base", "bge-reranker-v2"} <= chinese
    assert "rerank-mini-en-v1" not in chinese
    assert {spec.name for spec in select(language=" Chinese ")} == chinese
    small = select(language="en", licence="apache-2.0", max_size=30)
    assert "rerank-mini-en-v1" in {spec.name for spec in small}
    assert all(spec.size_mb <= 30 and spec.licence == "Apache-2.0" for spec in small)
    assert select(licence="no such licence") == []


def test_the_commit_a_record_pins_is_what_is_loaded_unless_another_is_named(hub, tmp_path):
    spec = REGISTRY["ms-marco-MiniLM-L6-v2"]
    (tmp_path / "config.json").write_text("{}")
    hub.publish(spec.repository, tmp_path, spec.revision)
    assert locate(spec.name).revision == locate(spec.repository).revision == spec.revision
    assert any(spec.revision in line for line in hub.requests)
    commit = hub.publish(spec.repository, tmp_path, "1" * 40)
    assert locate(spec.name, revision=commit).revision == commit
