"""The second stage of the small model: what it learns from, on the CPU and on small shapes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer

from rerank_core.models.source import BUNDLED
from training.corpus import CHOOSE, TRAIN, Collection, Query, Triple
from training.distillation.finishing import FINISHED, UNTRAINED
from training.distillation.questions import number_through
from training.distillation.refining import (
    BEST,
    LABELLED,
    LEXICAL,
    RANDOM,
    choose,
    judged,
    material_of,
    mined,
    start_of,
)
from training.distillation.scoring import Reader
from training.distillation.students import REFINED, fuse
from training.distillation.texts import Texts
from training.distillation.training import train
from training.model import EncoderShape, RerankMini

pytestmark = pytest.mark.torch

CPU = torch.device("cpu")
TOPICS = ("harbour", "glacier", "violin", "orchard", "engine", "lantern", "saddle", "compass")
SENTENCES = [f"The {word} number {number} is {number + 3} years old." for word in TOPICS for number in range(4)]


def collection(name: str, use: str, first: int) -> Collection:
    """Two questions, each with an answer and two sentences near it."""
    queries = [
        Query(f"how old is the {TOPICS[(first + row) // 4]}?", {first + row: 3, first + row + 1: 1, first + row + 2: 1})
        for row in (0, 4)
    ]
    return Collection(name, use, SENTENCES, queries)


@pytest.fixture(scope="module")
def corpus():
    parts = [collection("selqa", TRAIN, 0), collection("nq", TRAIN, 8), collection("pubmed_question", CHOOSE, 4)]
    return number_through(
        [*parts, collection("selqa", CHOOSE, 16)],
        [Triple("number", f"how old is number {row}?", SENTENCES[row], SENTENCES[row + 1]) for row in range(6)],
    )


@pytest.fixture(scope="module")
def texts(corpus):
    tokenizer = Tokenizer.from_file(str(BUNDLED["rerank-mini-en-v1"] / "tokenizer.json"))
    return Texts(tokenizer, corpus.texts, corpus.limits, CPU)


@pytest.fixture(scope="module")
def lists(corpus, texts):
    torch.manual_seed(0)
    return mined(corpus, texts, 30522)


def test_judged_lists_hold_a_questions_section_and_answers_count_alone(corpus) -> None:
    lists = judged(corpus, CPU)
    part = corpus.parts[-1]
    assert lists.sources == ("selqa_judged",) * 2
    for row, asked in enumerate(part.questions):
        graded = dict(zip(lists.candidates[row].tolist(), lists.grades[row].tolist(), strict=True))
        assert graded == {place: 3 if grade == 3 else 0 for place, grade in asked.grades.items()}
    assert lists.valid.all()


def test_lists_to_train_on_begin_with_all_that_is_labelled(lists, corpus) -> None:
    training, _ = lists
    questions = [(part, asked) for part in corpus.parts if part.train for asked in part.questions]
    assert len(training.sources) == len(questions)
    for row, (part, asked) in enumerate(questions):
        found = training.candidates[row][training.valid[row]].tolist()
        assert set(found[:3]) == set(asked.grades)
        assert len(found) == len(set(found)) <= LABELLED + LEXICAL + RANDOM
        assert set(found) <= set(part.rows)
        assert training.grades[row][training.valid[row]].tolist() == [asked.grades.get(place, 0) for place in found]
        about = [place for place in part.rows if TOPICS[(place - part.rows.start) // 4] in corpus.texts[asked.row]]
        assert set(about) <= set(found)  # BM25's best share the topic


def test_lists_to_choose_on_are_bm25s_and_the_sections(lists, corpus) -> None:
    _, choosing = lists
    assert set(choosing.sources) == {"pubmed_question", "selqa", "selqa_judged"}
    for row, source in enumerate(choosing.sources):
        assert (choosing.grades[row] > 0).any()
        assert choosing.valid[row].sum() <= (3 if source == "selqa_judged" else BEST)


def model_of(seed: int) -> RerankMini:
    torch.manual_seed(seed)
    shape = EncoderShape(vocab_size=30522, positions=512, layers=2, hidden=24, heads=3, intermediate=48)
    model = RerankMini(np.ones(30522, np.float32), np.zeros(30522, np.uint8), gate=-1.0, shape=shape)
    torch.nn.init.normal_(model.head.weight)
    return fuse(model.eval(), fused=True)


def test_a_student_learns_from_itself_and_the_labels_and_is_calibrated(lists, corpus, texts, tmp_path) -> None:
    training, choosing = lists
    student, start = (Reader(model_of(1), texts, 512) for _ in range(2))
    torch.save(student.model.state_dict(), tmp_path / UNTRAINED)
    plan = replace(REFINED, seconds=1e6, lists=4, candidates=6, few=4, triples=2, encoder_rate=1e-3, warm_up=1)
    train(student, material_of(training, corpus, start), plan, tmp_path, block_tokens=512, steps=6)
    figures = choose(student, choosing, corpus, plan, tmp_path)
    assert figures["shares"].keys() == {"share", "0", "0.5", "1"}
    assert figures["by_source"]["mean"] == pytest.approx(max(figures["shares"][share] for share in ("0", "0.5", "1")))
    assert figures["calibration"]["scale"] == pytest.approx(student.model.scale.item())
    again = torch.load(tmp_path / FINISHED, weights_only=True)
    assert all(torch.equal(value, again[name]) for name, value in student.model.state_dict().items())


def test_it_goes_on_from_the_first_stages_graph() -> None:
    folder = BUNDLED["rerank-small-en-v2"]
    own = Tokenizer.from_file(str(folder / "tokenizer.json"))
    model = start_of(folder / "model.onnx", own.get_vocab_size())
    assert len(model.layers) == 12
    texts = Texts(own, ["how old is the glacier?", "The glacier is seven years old.", "A violin."], [64] * 3, CPU)
    scores, _ = Reader(model, texts, 512).score(torch.tensor([0, 0]), torch.tensor([1, 2]))
    assert scores[0] > scores[1] + 1
