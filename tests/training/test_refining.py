"""The second stage of the small model: what it learns from, on the CPU and on small shapes."""

from __future__ import annotations

import pytest
import torch
from tokenizers import Tokenizer

from rerank_core.models.source import BUNDLED
from training.corpus import CHOOSE, TRAIN, Collection, Query
from training.distillation.questions import number_through
from training.distillation.refining import BEST, LABELLED, LEXICAL, RANDOM, judged, mined, start_of
from training.distillation.scoring import Reader
from training.distillation.texts import Texts

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
    return number_through([*parts, collection("selqa", CHOOSE, 16)], [])


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


def test_it_goes_on_from_the_first_stages_graph() -> None:
    folder = BUNDLED["rerank-small-en-v2"]
    own = Tokenizer.from_file(str(folder / "tokenizer.json"))
    model = start_of(folder / "model.onnx", own.get_vocab_size())
    assert len(model.layers) == 12
    texts = Texts(own, ["how old is the glacier?", "The glacier is seven years old.", "A violin."], [64] * 3, CPU)
    scores, _ = Reader(model, texts, 512).score(torch.tensor([0, 0]), torch.tensor([1, 2]))
    assert scores[0] > scores[1] + 1
