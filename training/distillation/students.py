"""Who is trained: the models of the second version, what they start from, and how long they train."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from training.bodies import Body, load_base
from training.model import EncoderLayer, RerankMini

from .scoring import Reader
from .vocabulary import BLANK

SMALL, MINI = "rerank-small-en-v2", "rerank-mini-en-v2"


SOURCES = {"squad": 0.16, "squad_sentences": 0.12, "nq": 0.14, "medquad": 0.14}
"""How often the labelled collections are drawn in the first stage."""


@dataclass(frozen=True)
class Plan:
    """The hyperparameters of a student.

    Attributes:
        from_e5: whether it starts from the pruned multilingual-e5-small; else from rerank-mini-en-v1.
        seconds: the length of the schedule on an H100, which read 518 thousand pairs (small) and 178 thousand (mini).
        encoder_rate: peak learning rate of the layers.
        head_rate: of what makes the score out of their states.
        gate_rate: of feature weights and of the biases between query and document.
        warm_up: steps until the peak.
        lists: of a step.
        candidates: of a list where documents are cut to ``short``.
        few: of a list where they are cut to ``long``, which is every ``every``-th step.
        triples: of a step.
        bonus: added to the teacher's score of a labelled answer.
        values: weight of the distance from the teacher's centred scores.
        rivals: weight of the triples.
        anchor: weight of the documents' cosine distance from the body's mean vectors.
        shares: of the trained weights; one is chosen, the untrained ones make up the rest.
        sources: how often labelled collections are drawn; what is left is the documentation's, larger packages less
            than in proportion.
    """

    from_e5: bool
    seconds: float
    encoder_rate: float
    anchor: float
    head_rate: float = 3e-4
    gate_rate: float = 4e-3
    warm_up: int = 60
    lists: int = 32
    candidates: int = 20
    few: int = 12
    short: int = 176
    long: int = 384
    every: int = 6
    triples: int = 56
    bonus: float = 1.5
    values: float = 0.3
    rivals: float = 0.3
    shares: tuple[float, ...] = (0.6, 0.8, 1.0)
    sources: Mapping[str, float] = field(default_factory=lambda: SOURCES)
    seed: int = 5

    @property
    def base_model(self) -> str:
        """The name of what it starts from."""
        return "intfloat/multilingual-e5-small" if self.from_e5 else "rerank-mini-en-v1"


PLANS = {
    SMALL: Plan(from_e5=True, seconds=230, encoder_rate=7e-5, anchor=1.0),
    MINI: Plan(from_e5=False, seconds=45, encoder_rate=6e-5, anchor=0.0),
}

REFINED = Plan(
    from_e5=True,
    seconds=1500,
    encoder_rate=3e-5,
    anchor=0.0,
    head_rate=1e-4,
    gate_rate=1e-3,
    warm_up=30,
    lists=16,
    candidates=12,
    few=6,
    short=112,
    long=224,
    triples=8,
    bonus=3.0,
    values=0.1,
    shares=(0.0, 0.5, 1.0),
    sources={"selqa": 0.4, "squad_sentences": 0.2, "nq": 0.16, "squad": 0.08, "medquad": 0.06},
)
"""The second stage of ``SMALL``: shorter and gentler. ``seconds`` are those of a CPU."""

GATE = -3.0
"""The bias between query and document that a student of a bi-encoder starts with."""


def from_body(body: Body, idf: Tensor, seed: int = 13) -> RerankMini:
    """A cross-encoder with a bi-encoder's weights and all its layers; ``idf`` [vocabulary] is of its pieces."""
    torch.manual_seed(seed)
    continues = torch.zeros(body.shape.vocab_size, dtype=torch.uint8)
    for piece, number in body.tokenizer.get_vocab().items():
        continues[number] = not piece.startswith(BLANK)
    model = RerankMini(idf.cpu().numpy(), continues.numpy(), gate=GATE, shape=body.shape)
    load_base(model, body.state)
    return model.eval()


def fuse(model: RerankMini, *, fused: bool) -> RerankMini:
    """Switch the attention between the sides to torch's fused one or back, in place."""
    for layer in model.layers:
        if isinstance(layer, EncoderLayer):
            layer.fused = fused
    return model


def nonnegative_weights(features: Tensor, target: Tensor, steps: int = 300) -> Tensor:
    """Non-negative least squares by multiplicative updates (Lee & Seung 2001).

    Args:
        features: [rows, features].
        target: [rows].
        steps: updates.

    Returns:
        [features]
    """
    moments, projection = features.T @ features, (features.T @ target).clamp(min=1e-6)
    weights = torch.ones(features.shape[1], device=features.device)
    for _ in range(steps):
        weights = weights * (projection / (moments @ weights).clamp(min=1e-6)).clamp(0.2, 5)
    return weights


@torch.no_grad()
def start_mix(student: Reader, queries: Tensor, candidates: Tensor, teacher: Tensor) -> None:
    """Give an untrained student the feature weights that come closest to the teacher's scores within lists.

    Args:
        student: in place.
        queries: rows of texts; [lists].
        candidates: rows of texts; [lists, candidates].
        teacher: the scores to come close to; [lists, candidates].
    """
    asked = queries[:, None].expand_as(candidates).flatten()
    features, _ = student.features(asked, candidates.flatten(), (64, 200))
    features = features.view(*candidates.shape, -1)
    features = features - features.mean(1, keepdim=True)
    teacher = teacher - teacher.mean(1, keepdim=True)
    weights = nonnegative_weights(features.flatten(0, 1), teacher.flatten())
    student.model.mix.copy_(weights.clamp(min=0.05))
