"""The second stage of rerank-small-en-v2: ``python -m training.distillation.refining``.

The first stage never saw labels that people gave to every sentence of a section. This one goes on from its weights with
such labels (SelQA), over fewer and shorter texts, so that a CPU does it. The teacher is the model itself before this
stage, with a bonus for labelled answers; candidates are BM25's. A share of the weights is chosen as in the first stage.

The stages leave their results in ``--out`` and are skipped when these are already there. ``result.json`` has the
figures.
"""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor

from rerank_core.models.source import BUNDLED
from training.corpus import SECTIONS, read_corpus
from training.model import EncoderShape, RerankMini
from training.retrieved import ANSWER
from training.train import TRAINED

from .bundled import read_bundled
from .candidates import NEVER, Lists, bm25_scores, bm25_weights, exclude, first_of_each, grades_of, in_columns, joined
from .choosing import JUDGED, by_source, shortened
from .finishing import FINISHED, UNTRAINED, before_and_after, calibrate, choose_share, export, sample_inputs
from .questions import Corpus, Part, Question, number_through
from .run import ability
from .scoring import Reader
from .students import REFINED, SMALL, Plan, fuse
from .teacher import Teacher
from .texts import Texts
from .training import Material, train

logger = logging.getLogger("training.distillation")

LABELLED, LEXICAL, RANDOM = 20, 12, 3
"""Candidates of a list to train on: those with a label, BM25's best, and any texts."""
BEST = 20
"""Candidates of a list to choose on: BM25's best."""
CHOSEN_LISTS = 16
"""Lists of a source to choose on; of sections there are more."""
QUERIES_AT_ONCE = 512
ITSELF = Teacher(torch.ones(1), torch.zeros(1), torch.ones(1))
"""The start's raw score."""


def lists_of(part: Part, questions: Sequence[Question], words: Texts, weights: Tensor) -> Lists:
    """To train on: what is labelled, BM25's best and some at random. To choose on: BM25's best."""
    device, count = words.device, len(part.rows)
    scores = bm25_scores(weights, words, torch.tensor([asked.row for asked in questions], device=device))
    exclude(scores, part, questions)
    grades = grades_of(part, questions, device)
    columns = [scores.topk(min(LEXICAL if part.train else BEST, count), dim=1).indices]
    if part.train:
        labelled = grades.topk(min(LABELLED, count), dim=1).indices
        columns = [labelled, *columns, torch.randint(0, count, (len(questions), RANDOM), device=device)]
    found = torch.cat(columns, dim=1)
    valid = scores.gather(1, found) > NEVER
    if part.train:
        valid[:, : labelled.shape[1]] &= grades.gather(1, labelled) > 0
    return in_columns(part, questions, found, first_of_each(found, valid), grades)


def mined(corpus: Corpus, words: Texts, size: int) -> tuple[Lists, Lists]:
    """(lists to train on, lists to choose on: those with an answer, and the sections)."""
    training: list[Lists] = []
    choosing: list[Lists] = []
    for part in corpus.parts:
        rows = torch.arange(part.rows.start, part.rows.stop, device=words.device)
        weights = bm25_weights(words, rows, size)
        for first in range(0, len(part.questions), QUERIES_AT_ONCE):
            lists = lists_of(part, part.questions[first : first + QUERIES_AT_ONCE], words, weights)
            if part.train:
                training.append(lists)
            else:
                choosing.append(lists.part((lists.grades >= ANSWER).any(1).nonzero().flatten().tolist()))
        logger.info("%s: %d questions", part.name, len(part.questions))
    return joined(training), joined([shortened(joined(choosing), CHOSEN_LISTS, BEST), judged(corpus, words.device)])


def judged(corpus: Corpus, device: torch.device) -> Lists:
    """The labelled sentences of the sections to choose on; answers count alone."""
    (part,) = (part for part in corpus.parts if part.name == SECTIONS and not part.train)
    width = max(len(asked.grades) for asked in part.questions)
    rows = torch.full((len(part.questions), width), part.rows.start)
    grades = torch.zeros(rows.shape, dtype=torch.long)
    valid = torch.zeros(rows.shape, dtype=torch.bool)
    for number, asked in enumerate(part.questions):
        count = len(asked.grades)
        rows[number, :count] = torch.tensor(list(asked.grades))
        valid[number, :count] = True
        grades[number, :count] = torch.tensor([grade * (grade == ANSWER) for grade in asked.grades.values()])
    queries = torch.tensor([asked.row for asked in part.questions])
    return Lists((JUDGED,) * len(queries), queries, rows, valid, grades).to(device)


def start_of(graph: Path, size: int) -> RerankMini:
    """The model after its first stage, as its int8 graph has it."""
    return read_bundled(graph, EncoderShape(vocab_size=size, layers=12))


def material_of(training: Lists, corpus: Corpus, start: Reader) -> Material:
    """What the student learns from: ``start`` is the teacher."""
    device = start.texts.device
    return Material(
        training,
        torch.zeros(training.candidates.shape, device=device),
        LABELLED,
        torch.tensor(corpus.triples, device=device),
        corpus.kinds,
        ITSELF,
        start,
        torch.zeros(0, device=device),
    )


def choose(student: Reader, choosing: Lists, corpus: Corpus, plan: Plan, states: Path) -> dict[str, Any]:
    """Give ``student`` the best share of what was trained, and calibrate it; returns its figures."""
    figures: dict[str, Any] = {"plan": asdict(plan)}
    figures["shares"] = choose_share(student, *before_and_after(states, student.texts.device), plan.shares, choosing)
    figures["by_source"] = by_source(student.score_lists(choosing), choosing)
    collections = {part.name: part.rows for part in corpus.parts if not part.train}
    collections[JUDGED] = collections[SECTIONS]
    figures["calibration"] = calibrate(student, choosing, collections)
    torch.save(student.model.state_dict(), states / FINISHED)
    return figures


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m training.distillation.refining", description="The second stage.")
    parser.add_argument("--corpus", type=Path, required=True, help="what training.corpus --labelled wrote")
    parser.add_argument("--start", type=Path, default=BUNDLED[SMALL], help="folder of the first stage's model")
    parser.add_argument("--out", type=Path, required=True, help="working folder; the model ends up in OUT/int8")
    parser.add_argument("--seconds", type=float, default=REFINED.seconds, help="of training (default: %(default)g)")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    plan, able = replace(REFINED, seconds=options.seconds), ability(device)
    out, states = options.out, options.out / "states"
    states.mkdir(parents=True, exist_ok=True)

    corpus = number_through(*read_corpus(options.corpus))
    own = Tokenizer.from_file(str(options.start / "tokenizer.json"))
    texts = Texts(own, corpus.texts, corpus.limits, device)
    torch.manual_seed(plan.seed)
    training, choosing = mined(corpus, texts, own.get_vocab_size())
    logger.info("lists: %d to train on, %d to choose on", len(training.sources), len(choosing.sources))

    def start() -> Reader:
        model = fuse(start_of(options.start / "model.onnx", own.get_vocab_size()), fused=True)
        return Reader(model.to(device), texts, able.reading, half=able.half)

    student = start()
    if not (states / TRAINED).exists():
        torch.save(student.model.state_dict(), states / UNTRAINED)
        train(student, material_of(training, corpus, start()), plan, states, block_tokens=able.training)
    figures = choose(student, choosing, corpus, plan, states)
    (out / "result.json").write_text(json.dumps(figures, indent=1), encoding="utf-8")
    finished = fuse(student.model, fused=False).cpu()
    logger.info("made: %s", export(finished, own, out, plan.base_model, sample_inputs(training, texts)))


if __name__ == "__main__":
    main()
