"""The teacher: cosines and MaxSims of two bi-encoders and the first version's score, weighted on lists to choose on.

The first version's score depends on how long a text is read, so it is computed while a student is trained, on the
same tokens; the others are computed once.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import torch
from torch import Tensor

from .candidates import Lists
from .choosing import across_kinds, by_source, fit_weights, mean_of_kinds
from .encodings import Encodings, cosines, maxsim
from .scoring import Reader
from .texts import Texts, in_blocks

logger = logging.getLogger(__name__)

FEATURES = ("mpnet_cosine", "e5_cosine", "mpnet_maxsim", "e5_maxsim", "v1")
LISTS_AT_ONCE = 4096


@dataclass(frozen=True)
class BiEncoder:
    """A bi-encoder's vectors with the tokens they belong to, and the idf of these; [vocabulary]."""

    encodings: Encodings
    texts: Texts
    idf: Tensor

    def similarities(self, lists: Lists) -> tuple[Tensor, Tensor]:
        """(cosine, MaxSim) of all candidates, each [lists, candidates]."""
        return (
            cosines(self.encodings, lists.queries, lists.candidates),
            maxsim(self.encodings, self.texts, self.idf, lists.queries, lists.candidates),
        )


@torch.no_grad()
def similarities(mpnet: BiEncoder, e5: BiEncoder, lists: Lists) -> Tensor:
    """The first four of ``FEATURES``, [lists, candidates, 4]."""
    parts = []
    for rows in in_blocks(len(lists.queries), LISTS_AT_ONCE):
        part = Lists((), lists.queries[rows], lists.candidates[rows], lists.valid[rows], lists.grades[rows])
        (one_cosine, one_maxsim), (other_cosine, other_maxsim) = (body.similarities(part) for body in (mpnet, e5))
        parts.append(torch.stack([one_cosine, other_cosine, one_maxsim, other_maxsim], dim=2))
    return torch.cat(parts)


@dataclass(frozen=True)
class Teacher:
    """A weighted sum of features in units of their spread over the lists to choose on.

    Scores are compared within a list only: similarities lie elsewhere in other collections.

    Attributes:
        weights: [features].
        centre: what is subtracted; [features].
        spread: what is divided by; [features].
    """

    weights: Tensor
    centre: Tensor
    spread: Tensor

    @classmethod
    def fit(cls, features: Tensor, lists: Lists) -> Teacher:
        """Fit the weights of ``features`` [lists, candidates, features] on lists to choose on."""
        seen = features[lists.valid]
        centre, spread = seen.mean(0), seen.std(0)
        return cls(fit_weights((features - centre) / spread, lists), centre, spread)

    def once(self, similar: Tensor) -> Tensor:
        """The part of the score that ``similar`` [..., 4] decides; [...]."""
        count = similar.shape[-1]
        return ((similar - self.centre[:count]) / self.spread[:count]) @ self.weights[:count]

    def with_v1(self, once: Tensor, v1: Tensor) -> Tensor:
        """The whole score from ``once`` and the first version's raw score of the same pairs."""
        return once + self.weights[-1] * (v1 - self.centre[-1]) / self.spread[-1]


def build(mpnet: BiEncoder, e5: BiEncoder, v1: Reader, lists: Lists) -> tuple[Teacher, dict[str, float]]:
    """The teacher, and its figures on the lists it is fitted on: each feature's, all, and across kinds."""
    similar = similarities(mpnet, e5, lists)
    features = torch.cat([similar, v1.score_lists(lists)[..., None]], dim=2)
    teacher = Teacher.fit(features, lists)
    figures = {name: mean_of_kinds(features[..., column], lists) for column, name in enumerate(FEATURES)}
    scores = teacher.with_v1(teacher.once(similar), features[..., -1])
    figures |= {"teacher": mean_of_kinds(scores, lists)}
    figures |= {"across_kinds": across_kinds((features - teacher.centre) / teacher.spread, lists)}
    logger.info("teacher: %s  %s", dict(zip(FEATURES, teacher.weights.tolist(), strict=True)), figures)
    logger.info("teacher by source: %s", by_source(scores, lists))
    return teacher, figures
