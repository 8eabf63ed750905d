"""Training by the clock: the teacher's ranking with a bonus for labels, rivals below answers, held to the body."""

from __future__ import annotations

import json
import logging
import math
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.model import MASKED, RerankMini
from training.retrieved import ANSWER
from training.train import TRAINED

from .candidates import Lists
from .scoring import Reader
from .students import SOURCES, Plan
from .teacher import Teacher

logger = logging.getLogger(__name__)

FLATTENING = 0.6
"""The power of a package's queries that it is drawn by."""
FIRST = 1000.0
"""How much likelier an answer is drawn than what has another label, and that than a candidate without one: practically
always."""
QUERY_TOKENS = 64
LEAST_RATE = 0.02
"""Of the peak."""
MARGIN = 1.0
"""Logits between an answer and its rival below which a triple counts much."""


@dataclass(frozen=True)
class Material:
    """What students learn from.

    Attributes:
        lists: to train on.
        once: the teacher's score of every candidate without the first version's part; [lists, candidates].
        answers: how many of the first columns of a list are labelled, where they are there.
        triples: rows of (query, answer, rival); [triples, 3].
        kinds: the rule that made each triple.
        teacher: the weights.
        v1: the first version, the teacher's last part.
        means: the body's mean vectors, for the anchor; [texts, width].
    """

    lists: Lists
    once: Tensor
    answers: int
    triples: Tensor
    kinds: Sequence[str]
    teacher: Teacher
    v1: Reader
    means: Tensor

    @torch.no_grad()
    def teach(self, queries: Tensor, candidates: Tensor, once: Tensor, limits: tuple[int, int]) -> Tensor:
        """The teacher's scores, [lists, candidates]; the first version reads texts cut to ``limits``."""
        asked = queries[:, None].expand_as(candidates)
        v1, _ = self.v1.score(asked.flatten(), candidates.flatten(), limits)
        return self.teacher.with_v1(once, v1.view_as(candidates))


@dataclass(frozen=True)
class Batch:
    """What a step learns from: lists [lists, candidates] and triples [triples, 3]."""

    queries: Tensor
    candidates: Tensor
    valid: Tensor
    labelled: Tensor
    once: Tensor
    triples: Tensor


def list_chances(sources: Sequence[str], labelled: Mapping[str, float] = SOURCES) -> Tensor:
    """How often each list is drawn, [lists], the sum is 1; ``labelled`` are the shares of ``Plan.sources``."""
    counts = Counter(sources)
    others = {name: count**FLATTENING for name, count in counts.items() if name not in labelled}
    total = sum(others.values())
    left = 1 - sum(labelled.values())
    shares = {name: labelled[name] if name in labelled else left * others[name] / total for name in counts}
    chances = torch.tensor([shares[source] / counts[source] for source in sources])
    return chances / chances.sum()


def triple_chances(kinds: Sequence[str]) -> Tensor:
    """How often each triple is drawn, every rule alike; [triples]."""
    counts = Counter(kinds)
    return torch.tensor([1 / counts[kind] / len(counts) for kind in kinds])


class Draw:
    """Draws batches from ``material``."""

    def __init__(self, material: Material, sources: Mapping[str, float] = SOURCES) -> None:
        device = material.once.device
        self.material = material
        self.lists = list_chances(material.lists.sources, sources).to(device)
        self.triples = triple_chances(material.kinds).to(device)

    def __call__(self, lists: int, candidates: int, triples: int) -> Batch:
        """So many lists, candidates of each (answers first of all) and triples."""
        material, found = self.material, self.material.lists
        rows = torch.multinomial(self.lists, lists, replacement=True)
        weights = found.valid[rows].float()
        weights[:, : material.answers] *= FIRST
        weights[found.grades[rows] >= ANSWER] *= FIRST
        columns = torch.multinomial(weights.clamp(min=1e-9), min(candidates, weights.shape[1]))
        drawn = torch.multinomial(self.triples, triples, replacement=True)

        def chosen(values: Tensor) -> Tensor:
            return values[rows].gather(1, columns)

        return Batch(
            found.queries[rows],
            chosen(found.candidates),
            chosen(found.valid),
            chosen(found.grades) >= ANSWER,
            chosen(material.once),
            material.triples[drawn],
        )


@dataclass(frozen=True)
class Losses:
    """The parts of a step's loss, each a mean without its weight."""

    ranking: Tensor
    values: Tensor
    rivals: Tensor
    anchor: Tensor

    def total(self, plan: Plan) -> Tensor:
        """What is descended."""
        return self.ranking + plan.values * self.values + plan.rivals * self.rivals + plan.anchor * self.anchor


def centred(scores: Tensor, valid: Tensor) -> Tensor:
    """``scores`` [lists, candidates] less their mean over those that are ``valid``; 0 at the others."""
    mean = (scores * valid).sum(1, keepdim=True) / valid.sum(1, keepdim=True).clamp(min=1)
    return (scores - mean) * valid


def losses(student: Reader, batch: Batch, material: Material, plan: Plan, *, limit: int, block_tokens: int) -> Losses:
    """One pass over a batch.

    Args:
        student: what is trained.
        batch: what it reads.
        material: the teacher, and the means for the anchor.
        plan: the bonus, and whether there is an anchor.
        limit: the most tokens of a document.
        block_tokens: padded tokens read at a time.
    """
    limits = (QUERY_TOKENS, limit)
    taught = material.teach(batch.queries, batch.candidates, batch.once, limits)
    asked = batch.queries[:, None].expand_as(batch.candidates).flatten()
    read = batch.candidates.flatten()
    query, answer, rival = batch.triples.unbind(1)
    queries, documents = torch.cat([asked, query, query]), torch.cat([read, answer, rival])
    scores, means = student.score(queries, documents, limits, block_tokens=block_tokens)
    listed, versus = scores[: len(read)].view_as(taught), scores[len(read) :].view(2, len(answer))
    right, wrong = versus

    target = torch.softmax((taught + plan.bonus * batch.labelled).masked_fill(~batch.valid, MASKED), dim=1)
    ranking = torch.log_softmax(listed.masked_fill(~batch.valid, MASKED), dim=1)
    anchor = torch.zeros((), device=scores.device)
    if plan.anchor:
        anchor = (1 - (means[: len(read)] * material.means[read].float()).sum(1)).mean()
    return Losses(
        functional.kl_div(ranking, target, reduction="batchmean"),
        functional.smooth_l1_loss(centred(listed, batch.valid), centred(taught, batch.valid)),
        functional.softplus(MARGIN + wrong - right).mean(),
        anchor,
    )


def parameter_groups(model: RerankMini, plan: Plan) -> list[dict[str, object]]:
    """Rates by role. Frozen are the word embeddings, of which few are seen, and BM25's k1 and b."""
    for parameter in (model.words.weight, *model.lexical.parameters()):
        parameter.requires_grad_(False)
    heads: list[nn.Parameter] = [model.token_weight]
    for module in (model.evidence, model.joint, model.head):
        heads.extend(module.parameters())
    gates = [parameter for name, parameter in model.named_parameters() if name.endswith(".gate")]
    gates += [model.idf_power, model.mix]
    special = {id(parameter) for parameter in [*heads, *gates]}
    encoder = [p for p in model.parameters() if p.requires_grad and id(p) not in special]
    return [
        {"params": encoder, "lr": plan.encoder_rate, "weight_decay": 0.01},
        {"params": heads, "lr": plan.head_rate, "weight_decay": 0.01},
        {"params": gates, "lr": plan.gate_rate, "weight_decay": 0.0},
    ]


def rate_factor(progress: float, step: int, warm_up: int) -> float:
    """The share of the peak rate: linear warm-up by steps, and a cosine by ``progress`` from 0 to 1."""
    return min(1.0, (step + 1) / warm_up) * max(LEAST_RATE, 0.5 * (1 + math.cos(math.pi * progress)))


def train(
    student: Reader,
    material: Material,
    plan: Plan,
    folder: Path,
    *,
    block_tokens: int,
    steps: int | None = None,
) -> None:
    """Train in place; ``folder`` gets ``training.json`` and then ``TRAINED``.

    Args:
        student: what is trained.
        material: what it learns from.
        plan: how; the schedule ends after ``plan.seconds``.
        folder: of the state dicts.
        block_tokens: padded tokens read at a time.
        steps: end after so many at the latest.
    """
    torch.manual_seed(plan.seed)
    model, draw = student.model.train(), Draw(material, plan.sources)
    optimizer = torch.optim.AdamW(parameter_groups(model, plan), betas=(0.9, 0.98))
    peaks = [group["lr"] for group in optimizer.param_groups]
    started, step, pairs = time.monotonic(), 0, 0
    while True:
        seconds = time.monotonic() - started
        progress = max(seconds / plan.seconds, 0.0 if steps is None else step / steps)
        if progress >= 1:
            break
        for group, peak in zip(optimizer.param_groups, peaks, strict=True):
            group["lr"] = peak * rate_factor(progress, step, plan.warm_up)
        whole = step % plan.every == plan.every - 1
        batch = draw(plan.lists, plan.few if whole else plan.candidates, plan.triples)
        limit = plan.long if whole else plan.short
        parts = losses(student, batch, material, plan, limit=limit, block_tokens=block_tokens)
        optimizer.zero_grad(set_to_none=True)
        parts.total(plan).backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        nn.utils.clip_grad_norm_([p for p in model.parameters() if p.grad is not None], 1.0)
        optimizer.step()
        step += 1
        pairs += batch.candidates.numel() + 2 * len(batch.triples)
        if step % 10 == 0:
            shown = [round(float(part.detach()), 4) for part in vars(parts).values()]
            logger.info("step %d  %.0f s  pairs %d  ranking, values, rivals, anchor %s", step, seconds, pairs, shown)
    model.eval()
    summary = {"steps": step, "pairs": pairs, "seconds": time.monotonic() - started}
    (folder / "training.json").write_text(json.dumps(summary), encoding="utf-8")
    part = folder / "trained.part"  # a file that is there is whole
    torch.save(model.state_dict(), part)
    part.replace(folder / TRAINED)
