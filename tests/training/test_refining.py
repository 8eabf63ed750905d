"""The second stage of the small model: what it learns from, on the CPU and on small shapes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer

from rerank_core.models.source import BUNDLED
from training.corpus import CHOOSE, TRAIN, Collection, Query
from training.distillation.candidates import Lists
from training.distillation.encodings import encode, mean_vectors
from training.distillation.questions import number_through
from training.distillation.refining import Bodies, Prepared, judged, prepare, rows_read, start_of
from training.distillation.scoring import Reader
from training.distillation.texts import Texts
from training.model import EncoderShape, RerankMini

pytestmark = pytest.mark.torch

CPU = torch.device("cpu")
SHAPE = EncoderShape(vocab_size=30522, positions=512, layers=2, hidden=24, heads=3, intermediate=48)
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
    return number_through([*parts, collection("selqa", CHOOSE, 16)], [])


@pytest.fixture(scope="module")
def texts(corpus):
    tokenizer = Tokenizer.from_file(str(BUNDLED["rerank-mini-en-v1"] / "tokenizer.json"))
    return Texts(tokenizer, corpus.texts, corpus.limits, CPU)


def model_of(seed: int) -> RerankMini:
    torch.manual_seed(seed)
    size = SHAPE.vocab_size
    return RerankMini(np.ones(size, np.float32), np.zeros(size, np.uint8), gate=-1.0, shape=SHAPE).eval()


@pytest.fixture(scope="module")
def prepared(corpus, texts):
    rows = rows_read(corpus)
    bodies = Bodies(*(mean_vectors(model_of(seed), texts, rows, 512) for seed in (1, 2)))
    torch.manual_seed(0)
    return prepare(corpus, texts, bodies, Reader(model_of(3), texts, 512))


def test_means_are_those_of_whole_encodings_and_zero_for_texts_that_were_not_asked_for(texts) -> None:
    wanted = torch.tensor([5, 2, 9])
    found = mean_vectors(model_of(1), texts, wanted, 64)
    assert found[wanted].numpy() == pytest.approx(encode(model_of(1), texts, 512).means[wanted].numpy(), abs=1e-5)
    others = torch.ones(len(found), dtype=torch.bool)
    others[wanted] = False
    assert not found[others].any()


def test_every_candidate_and_query_is_read(corpus) -> None:
    assert sorted(rows_read(corpus).tolist()) == list(range(len(corpus.texts)))


def test_judged_lists_hold_a_questions_section_and_answers_count_alone(corpus) -> None:
    lists = judged(corpus, CPU)
    part = corpus.parts[-1]
    assert lists.sources == ("selqa_judged",) * 2
    for row, asked in enumerate(part.questions):
        graded = dict(zip(lists.candidates[row].tolist(), lists.grades[row].tolist(), strict=True))
        assert graded == {place: 3 if grade == 3 else 0 for place, grade in asked.grades.items()}
    assert lists.valid.all()


def test_lists_to_train_on_begin_with_all_that_is_labelled(prepared, corpus) -> None:
    questions = [asked for part in corpus.parts if part.train for asked in part.questions]
    assert len(prepared.training.sources) == len(questions)
    for row, asked in enumerate(questions):
        assert set(prepared.training.candidates[row, :3].tolist()) == set(asked.grades)
        assert prepared.training.grades[row, :3].tolist() == [3, 1, 1]
    assert prepared.once.shape == prepared.training.candidates.shape
    assert {"pubmed_question", "selqa", "selqa_judged"} == set(prepared.choosing.sources)
    assert prepared.figures["teacher"].keys() == {"pubmed_question", "selqa", "selqa_judged", "mean"}


def test_what_was_prepared_is_the_same_after_reading(prepared, tmp_path) -> None:
    prepared.save(tmp_path / "lists.pt")
    again = Prepared.load(tmp_path / "lists.pt", CPU)
    assert torch.equal(again.once, prepared.once)
    assert torch.equal(again.teacher.weights, prepared.teacher.weights)
    assert again.figures == prepared.figures
    for name in ("training", "choosing"):
        one, other = (getattr(each, name) for each in (again, prepared))
        assert isinstance(one, Lists)
        assert one.sources == other.sources
        assert torch.equal(one.candidates, other.candidates)


def test_it_goes_on_from_the_first_stages_graph() -> None:
    folder = BUNDLED["rerank-small-en-v2"]
    own = Tokenizer.from_file(str(folder / "tokenizer.json"))
    model = start_of(folder / "model.onnx", own.get_vocab_size())
    assert len(model.layers) == 12
    texts = Texts(own, ["how old is the glacier?", "The glacier is seven years old.", "A violin."], [64] * 3, CPU)
    scores, _ = Reader(model, texts, 512).score(torch.tensor([0, 0]), torch.tensor([1, 2]))
    assert scores[0] > scores[1] + 1
