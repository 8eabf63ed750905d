"""Listwise fine-tuning of the model on mined lists, held to what the base knows."""

from __future__ import annotations

import json
import logging
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional

from .data import take_sentence
from .mining import CandidateList
from .model import Block, Encoded, Focus, RerankMini
from .tokenizer import collate, pair_ids

logger = logging.getLogger(__name__)

Pair = tuple[list[int], int]

TRAINED = "trained.pt"


@dataclass(frozen=True)
class TrainingPlan:
    """The hyperparameters of a run.

    Attributes:
        focus: which tokens the upper layers read; None for all. A model that leaves out some starts from its teacher.
        shares: of the trained weights; one is chosen on development lists, the untrained ones make up the rest.
        distillation: weight of the divergence from the teacher's ranking of the same list.
        anchor: weight of the cosine distance of both sides' mean vectors from the teacher's.
        token_anchor: weight of the cosine distance of every token from the teacher's.
        sentence_queries: share of the lists whose query is a sentence taken out of the positive.
        substitution: share of the lists in which words are exchanged for others, the same everywhere in the list.
        teacher: the model that holds this one; None for the bi-encoder.
    """

    focus: Focus | None = None
    shares: tuple[float, ...] = (0.5, 0.75)
    steps: int = 455
    tokens_per_batch: int = 4096
    documents_per_list: int = 8
    random_negatives: int = 2
    hardest: int = 14
    max_tokens: int = 176
    encoder_rate: float = 4e-5
    head_rate: float = 3e-4
    gate_rate: float = 5e-3
    warm_up: float = 0.05
    gate: float = -3.0
    distillation: float = 0.5
    anchor: float = 10.0
    token_anchor: float = 0.0
    sentence_queries: float = 0.15
    substitution: float = 0.0
    teacher: str | None = None
    seed: int = 13


PLANS = {
    "rerank-mini-en-v1": TrainingPlan(),
    "rerank-tiny-en-v1": TrainingPlan(
        focus=Focus(),
        shares=(1.0,),
        steps=1109,
        max_tokens=208,
        encoder_rate=1e-4,
        distillation=4.0,
        token_anchor=10.0,
        substitution=0.6,
        teacher="rerank-mini-en-v1",
    ),
}
"""The bundled models, a teacher before its student. A student is to repeat its teacher: a higher weight on that, and
tokens to aim at, also of words from elsewhere."""

SHARES = {"nq_gold": 0.25, "selqa": 0.22, "squad_dev36": 0.22, "medquad": 0.18, "squad_train_sent": 0.13}
"""How often each set is drawn: the small sets of real search questions weigh as much as the large ones."""

SAME_PAGE = {"medquad": 3}
"""At most so many hard negatives where all come from the positive's own page: otherwise the model would learn that a
text on the right topic is a wrong answer."""


def pair_blocks(pairs: Sequence[Pair], tokens_per_block: int = 4096) -> list[list[int]]:
    """Row numbers of pairs of similar length, in blocks of at most so many padded tokens."""
    blocks: list[list[int]] = [[]]
    for row in sorted(range(len(pairs)), key=lambda row: len(pairs[row][0])):
        if blocks[-1] and (len(blocks[-1]) + 1) * len(pairs[row][0]) > tokens_per_block:
            blocks.append([])
        blocks[-1].append(row)
    return blocks


@dataclass(frozen=True)
class Scored:
    """What one pass over some pairs gives: scores [pairs] of model and teacher, and the distances between them."""

    scores: Tensor
    teacher: Tensor
    side_distance: Tensor
    token_distance: Tensor


def score_pairs(model: RerankMini, teacher: RerankMini, pairs: Sequence[Pair]) -> Scored:
    """Raw scores of pairs in their order, and how far the states are from the teacher's."""
    blocks = pair_blocks(pairs)
    parts: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
    for rows in blocks:
        block = collate([pairs[row] for row in rows])
        encoded, scores = raw_scores(model, block)
        with torch.no_grad():
            wanted, teacher_scores = raw_scores(teacher, block)
        apart = [1 - (own * other).sum(-1) for own, other in zip(encoded.means(), wanted.means(), strict=True)]
        mask = encoded.tokens.attention_mask
        tokens = (1 - encoded.like(wanted)) * mask
        parts.append((scores, teacher_scores, apart[0] + apart[1], tokens.sum(1) / mask.sum(1)))
    order = torch.argsort(torch.tensor([row for rows in blocks for row in rows]))
    return Scored(*(torch.cat(column)[order] for column in zip(*parts, strict=True)))


def raw_scores(model: RerankMini, block: Block) -> tuple[Encoded, Tensor]:
    """(last-layer states, scores) of a padded block; the encoder runs in bfloat16."""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        encoded = model.encode(block)
    encoded = encoded.in_float32()
    return encoded, model.raw_score(*model.score_parts(encoded, block))


class TokenCache:
    """Word-piece ids of a text, encoded once."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.known: dict[str, list[int]] = {}

    def __getitem__(self, text: str) -> list[int]:
        if text not in self.known:
            self.known[text] = self.tokenizer.encode(text[:4000], add_special_tokens=False).ids
        return self.known[text]


class Substitution:
    """Exchanges word pieces for random others of their kind, the same ones everywhere in a list.

    What matches still matches, so the positive stays the positive; but words that the training texts never use turn
    up, and the teacher, who knows them, is asked about them too. Without it a model is held to its teacher on the
    training texts' own topics only. Frequent pieces stay, and with them what makes a sentence a sentence.
    """

    FREQUENT = 4.0
    """Pieces of a lower idf, in more than about one text of 50, stay."""

    def __init__(self, vocabulary: Mapping[str, int], idf: npt.NDArray[np.float32]) -> None:
        pieces = [piece for piece, number in vocabulary.items() if idf[number] >= self.FREQUENT]
        words = [vocabulary[piece] for piece in pieces if piece.isascii() and piece.isalpha()]
        endings = [vocabulary[piece] for piece in pieces if piece.isascii() and piece.removeprefix("##").isalpha()]
        endings = sorted(set(endings) - set(words))
        self.kind_of = {number: kind for kind in (sorted(words), endings) for number in kind}

    def __call__(self, texts: Sequence[Sequence[int]], share: float, generator: random.Random) -> list[list[int]]:
        """``texts`` with about ``share`` of their different pieces exchanged."""
        known = sorted({number for text in texts for number in text} & self.kind_of.keys())
        other = {number: generator.choice(self.kind_of[number]) for number in known if generator.random() < share}
        return [[other.get(number, number) for number in text] for text in texts]


def draw_lists(
    lists: Sequence[CandidateList],
    plan: TrainingPlan,
    cache: TokenCache,
    substitution: Substitution,
    generator: random.Random,
) -> Iterator[list[Pair]]:
    """Endless lists of pairs, the positive first, sets drawn by ``SHARES``, each set in shuffled passes."""
    by_source = {name: [item for item in lists if item.source == name] for name in SHARES}
    by_source = {name: items for name, items in by_source.items() if items}
    queues: dict[str, list[CandidateList]] = {name: [] for name in by_source}
    while True:
        (name,) = generator.choices(list(by_source), [SHARES[name] for name in by_source])
        if not queues[name]:
            queues[name] = generator.sample(by_source[name], len(by_source[name]))
        item = queues[name].pop()
        hard = min(plan.documents_per_list - 1 - plan.random_negatives, SAME_PAGE.get(name, plan.documents_per_list))
        hardest = item.negatives[: plan.hardest]
        negatives = generator.sample(hardest, min(hard, len(hardest)))
        while len(negatives) < plan.documents_per_list - 1:
            other = generator.choice(by_source[name])
            if other.query != item.query and other.positives[0] not in item.positives:
                negatives.append(other.positives[0])
        query, positive = item.query, generator.choice(item.positives)
        if generator.random() < plan.sentence_queries:
            query, positive = take_sentence(positive, generator) or (query, positive)
        texts = [cache[text] for text in (query, positive, *negatives)]
        if generator.random() < plan.substitution:
            texts = substitution(texts, generator.uniform(0.1, 0.7), generator)
        yield [pair_ids(texts[0], text, plan.max_tokens) for text in texts[1:]]


def draw_batches(source: Iterator[list[Pair]], plan: TrainingPlan) -> Iterator[list[list[Pair]]]:
    """Lists grouped until a batch holds about ``tokens_per_batch`` tokens."""
    batch: list[list[Pair]] = []
    size = 0
    for pairs in source:
        batch.append(pairs)
        size += sum(len(ids) for ids, _ in pairs)
        if size >= plan.tokens_per_batch:
            yield batch
            batch, size = [], 0


def parameter_groups(model: RerankMini, plan: TrainingPlan) -> list[dict[str, object]]:
    """Rates by role. Frozen: the word embeddings (few of them are seen), the feature weights and everything lexical.

    BM25-mined negatives match the query by construction, so gradient descent on them would push the weight of
    exact matches towards zero; those weights are chosen on development data instead.
    """
    for parameter in (model.words.weight, model.mix, *model.lexical.parameters()):
        parameter.requires_grad_(False)
    heads: list[nn.Parameter] = [model.token_weight]
    for module in (model.evidence, model.joint, model.head):
        heads.extend(module.parameters())
    gates = [parameter for name, parameter in model.named_parameters() if name.endswith(".gate")]
    special = {id(parameter) for parameter in [*heads, *gates, model.idf_power]}
    encoder = [p for p in model.parameters() if p.requires_grad and id(p) not in special]
    return [
        {"params": encoder, "lr": plan.encoder_rate, "weight_decay": 0.01},
        {"params": heads, "lr": plan.head_rate, "weight_decay": 0.01},
        {"params": [*gates, model.idf_power], "lr": plan.gate_rate, "weight_decay": 0.0},
    ]


def training_loss(scored: Scored, lists: int, plan: TrainingPlan) -> tuple[Tensor, Tensor]:
    """(the loss to descend, the listwise cross-entropy in it); each list's first pair is its positive."""
    ranking = torch.log_softmax(scored.scores.view(lists, -1), dim=1)
    wanted = torch.softmax(scored.teacher.view(lists, -1), dim=1)
    entropy = -ranking[:, 0].mean()
    divergence = functional.kl_div(ranking, wanted, reduction="batchmean")
    anchors = plan.anchor * scored.side_distance.mean() + plan.token_anchor * scored.token_distance.mean()
    return entropy + plan.distillation * divergence + anchors, entropy


def train(
    model: RerankMini,
    tokenizer: Tokenizer,
    lists: Sequence[CandidateList],
    folder: Path,
    *,
    plan: TrainingPlan,
    teacher: RerankMini,
    max_minutes: float | None = None,
) -> None:
    """Train in place; ``folder`` gets ``training.json`` and then ``TRAINED``.

    ``teacher`` holds the model: whatever the labels do not speak about shall stay as it is there. With
    ``max_minutes`` the rate falls with the clock where that is ahead of the steps, so that a slow machine ends in
    time with a finished schedule.
    """
    torch.manual_seed(plan.seed)
    generator = random.Random(plan.seed)
    groups = parameter_groups(model, plan)
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.98))
    rates = [group["lr"] for group in optimizer.param_groups]
    substitution = Substitution(tokenizer.get_vocab(), model.lexical.idf.numpy())
    batches = draw_batches(draw_lists(lists, plan, TokenCache(tokenizer), substitution, generator), plan)
    started = time.monotonic()
    model.train()
    running = torch.zeros(4)
    seen_pairs, step = 0, 0
    while True:
        progress = step / plan.steps
        if max_minutes is not None:
            progress = max(progress, (time.monotonic() - started) / (60 * max_minutes))
        if progress >= 1:
            break
        factor = min(progress / plan.warm_up, (1 - progress) / (1 - plan.warm_up))
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * max(factor, 1e-3)
        batch = next(batches)
        scored = score_pairs(model, teacher, [pair for pairs in batch for pair in pairs])
        loss, entropy = training_loss(scored, len(batch), plan)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        nn.utils.clip_grad_norm_([p for p in model.parameters() if p.grad is not None], 1.0)
        optimizer.step()
        step += 1
        seen_pairs += scored.scores.numel()
        shown = torch.stack([loss, entropy, scored.side_distance.mean(), scored.token_distance.mean()]).detach()
        running = shown if step == 1 else running.lerp(shown, 0.04)
        if step % 25 == 0:
            minutes = (time.monotonic() - started) / 60
            message = "step %d  %.1f min  pairs %d  loss %.3f  entropy %.3f  sides %.4f  tokens %.4f"
            logger.info(message, step, minutes, seen_pairs, *running.tolist())
    model.eval()
    minutes = (time.monotonic() - started) / 60
    summary = {"steps": step, "pairs": seen_pairs, "minutes": minutes}
    (folder / "training.json").write_text(json.dumps(summary), encoding="utf-8")
    part = folder / "trained.part"  # a file that is there is whole
    torch.save(model.state_dict(), part)
    part.replace(folder / TRAINED)
