"""The model: a cross-encoder that starts out as a bi-encoder, in one graph without control flow.

One joint sequence ``[CLS] query [SEP] [CLS] document [SEP]``. Positions restart at the document and the
attention logits between the two sides carry a learned bias per layer and head, so that at a very low bias both
sides look exactly as they did when the base (all-MiniLM-L6-v2) was trained; raising the bias opens the doors
between them. The score is a weighted sum of cosine, late interaction, exact match and a zero-initialised head.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from .lexical import CLS_ID, SEP_ID, LexicalMatch

MASKED = -10000.0
"""Added to the logits of masked keys: exp() of it is exactly 0 in float32, without the NaN of -inf."""


@dataclass(frozen=True)
class EncoderShape:
    """The dimensions of MiniLM-L6-H384."""

    vocab_size: int = 30522
    positions: int = 512
    layers: int = 6
    hidden: int = 384
    heads: int = 12
    intermediate: int = 1536
    norm_epsilon: float = 1e-12


class EncoderLayer(nn.Module):
    """One BERT layer (post-norm, exact GELU) with an additive attention bias between the sides."""

    def __init__(self, shape: EncoderShape, door: float) -> None:
        super().__init__()
        self.heads = shape.heads
        self.head_size = shape.hidden // shape.heads
        self.query_key_value = nn.Linear(shape.hidden, 3 * shape.hidden)
        self.attention_output = nn.Linear(shape.hidden, shape.hidden)
        self.attention_norm = nn.LayerNorm(shape.hidden, eps=shape.norm_epsilon)
        self.up = nn.Linear(shape.hidden, shape.intermediate)
        self.down = nn.Linear(shape.intermediate, shape.hidden)
        self.output_norm = nn.LayerNorm(shape.hidden, eps=shape.norm_epsilon)
        self.door = nn.Parameter(torch.full((shape.heads,), door))

    def forward(self, states: Tensor, padding: Tensor, crossing: Tensor) -> Tensor:
        """``padding`` [batch, 1, 1, keys] is additive; ``crossing`` [batch, 1, s, s] flags cross-side pairs."""
        batch, length, hidden = states.shape
        packed = self.query_key_value(states).reshape(batch, length, 3, self.heads, self.head_size)
        query, key, value = packed.permute(2, 0, 3, 1, 4).unbind(0)
        logits = torch.matmul(query * self.head_size**-0.5, key.transpose(2, 3))
        logits = logits + crossing * self.door.view(1, -1, 1, 1) + padding
        context = torch.matmul(torch.softmax(logits, dim=-1), value)
        context = context.transpose(1, 2).reshape(batch, length, hidden)
        states = self.attention_norm(states + self.attention_output(context))
        output: Tensor = self.output_norm(states + self.down(functional.gelu(self.up(states))))
        return output


def sides(states: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> tuple[Tensor, Tensor]:
    """Flags [batch, sequence] of the query's and of the document's tokens, special tokens included."""
    present = attention_mask.to(states.dtype)
    document = present * token_type_ids.to(states.dtype)
    return present - document, document


def pool(states: Tensor, side: Tensor) -> Tensor:
    """The normalised mean of the flagged tokens, [batch, hidden]."""
    return functional.normalize((states * side[:, :, None]).sum(1), dim=-1)


class RerankMini(nn.Module):
    """(input_ids, attention_mask, token_type_ids) -> logits [batch, 1]; padding has no influence."""

    FEATURES = ("cosine", "maxsim", *LexicalMatch.FEATURES)
    HEAD_SIZE = 64

    def __init__(
        self,
        idf: npt.NDArray[np.float32],
        continuation: npt.NDArray[np.uint8],
        *,
        door: float = -4.0,
        shape: EncoderShape | None = None,
    ) -> None:
        super().__init__()
        shape = shape or EncoderShape()
        self.shape = shape
        self.words = nn.Embedding(shape.vocab_size, shape.hidden)
        self.positions = nn.Embedding(shape.positions, shape.hidden)
        self.embedding_norm = nn.LayerNorm(shape.hidden, eps=shape.norm_epsilon)
        self.layers = nn.ModuleList([EncoderLayer(shape, door) for _ in range(shape.layers)])
        self.lexical = LexicalMatch(idf, continuation)
        self.token_weight = nn.Parameter(torch.zeros(shape.hidden))
        self.idf_power = nn.Parameter(torch.tensor(0.5))
        self.evidence = nn.Linear(shape.hidden, self.HEAD_SIZE)
        self.joint = nn.Linear(4 * shape.hidden + self.HEAD_SIZE, self.HEAD_SIZE)
        self.head = nn.Linear(self.HEAD_SIZE, 1, bias=False)
        nn.init.zeros_(self.head.weight)
        self.mix = nn.Parameter(torch.tensor([4.3, 12.8, 1.4, 0.0, 2.1]))  # for training; selection fits them after it
        self.register_buffer("scale", torch.tensor(1.0))
        self.register_buffer("offset", torch.tensor(0.0))

    scale: Tensor
    offset: Tensor

    def encode(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> Tensor:
        """Last-layer states [batch, sequence, hidden]."""
        query_length = (attention_mask * (1 - token_type_ids)).sum(1, keepdim=True)
        position = torch.arange(input_ids.shape[1], device=input_ids.device)[None, :]
        position = (position - token_type_ids * query_length).clamp(0, self.shape.positions - 1)
        # The base's token-type embedding (always 0 in its training) is folded into the positions.
        states: Tensor = self.embedding_norm(self.words(input_ids) + self.positions(position))
        padding = (1.0 - attention_mask.to(states.dtype))[:, None, None, :] * MASKED
        crossing = (token_type_ids[:, None, :, None] != token_type_ids[:, None, None, :]).to(states.dtype)
        for layer in self.layers:
            states = layer(states, padding, crossing)
        return states

    def score_parts(
        self, states: Tensor, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The interpretable features [batch, 5] in the order of ``FEATURES``, and the head's term [batch]."""
        query, document = sides(states, attention_mask, token_type_ids)
        content = ((input_ids != CLS_ID) & (input_ids != SEP_ID)).to(states.dtype)
        query_content, document_content = query * content, document * content

        # Mean pooling over each side, its [CLS] and [SEP] included, as the base was trained.
        query_mean, document_mean = pool(states, query), pool(states, document)
        cosine = (query_mean * document_mean).sum(-1)

        # Late interaction (ColBERT's MaxSim), a weighted mean over the query's content tokens.
        tokens = functional.normalize(states, dim=-1)
        similarity = torch.matmul(tokens, tokens.transpose(1, 2))
        blocked = (1.0 - document_content)[:, None, :] * MASKED
        has_document = (document_content.sum(1, keepdim=True) > 0).to(states.dtype)
        best = (similarity + blocked).amax(2) * has_document
        idf = self.lexical.idf[input_ids]
        importance = (states * self.token_weight).sum(-1) + self.idf_power * torch.log(idf + 0.1)
        importance = torch.softmax(importance + (1.0 - query_content) * MASKED, dim=1) * query_content
        maxsim = (importance * best).sum(1)

        # Joint head: both [CLS] states, the interaction of the means, and max-pooled document evidence.
        query_first = states[:, 0]
        starts = document * (input_ids == CLS_ID).to(states.dtype)
        document_first = (states * starts[:, :, None]).sum(1) / starts.sum(1, keepdim=True).clamp(min=1.0)
        evidence = (self.evidence(states) + blocked.transpose(1, 2)).amax(1) * has_document
        joint = torch.cat(
            [query_first, document_first, query_mean * document_mean, (query_mean - document_mean).abs(), evidence],
            dim=-1,
        )
        # Three dimensions, so that the exporter writes a MatMul, which int8 quantisation covers, not a Gemm.
        head = self.head(functional.gelu(self.joint(joint[:, None, :])))[:, 0, 0]

        lexical = self.lexical(input_ids, query_content, document_content)
        return torch.cat([torch.stack([cosine, maxsim], dim=1), lexical], dim=1), head

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> Tensor:
        """The calibrated logit [batch, 1]."""
        states = self.encode(input_ids, attention_mask, token_type_ids)
        features, head = self.score_parts(states, input_ids, attention_mask, token_type_ids)
        return (self.raw_score(features, head) * self.scale + self.offset)[:, None]

    def raw_score(self, features: Tensor, head: Tensor) -> Tensor:
        """The score before calibration, [batch]."""
        return (features * self.mix).sum(1) + head


def load_base(model: RerankMini, folder: Path, layers: Sequence[int] | None = None) -> None:
    """Copy the weights of a BERT checkpoint (``model.safetensors``) into the encoder of ``model``.

    ``layers`` are the checkpoint's layers that ``model`` gets, first to last; None for as many as it has.
    """
    source = load_file(folder / "model.safetensors")
    source = {name.removeprefix("bert."): value for name, value in source.items()}

    def copy(target: nn.Module, name: str) -> None:
        with torch.no_grad():
            for part, parameter in target.named_parameters(recurse=False):
                parameter.copy_(source[f"{name}.{part}"])

    copy(model.words, "embeddings.word_embeddings")
    copy(model.embedding_norm, "embeddings.LayerNorm")
    with torch.no_grad():
        token_type = source["embeddings.token_type_embeddings.weight"][0]
        model.positions.weight.copy_(source["embeddings.position_embeddings.weight"] + token_type)
    for number, layer in zip(layers or range(len(model.layers)), model.layers, strict=True):
        if not isinstance(layer, EncoderLayer):
            raise TypeError(layer)
        prefix = f"encoder.layer.{number}"
        for part in ("weight", "bias"):
            packed = [source[f"{prefix}.attention.self.{name}.{part}"] for name in ("query", "key", "value")]
            with torch.no_grad():
                getattr(layer.query_key_value, part).copy_(torch.cat(packed))
        copy(layer.attention_output, f"{prefix}.attention.output.dense")
        copy(layer.attention_norm, f"{prefix}.attention.output.LayerNorm")
        copy(layer.up, f"{prefix}.intermediate.dense")
        copy(layer.down, f"{prefix}.output.dense")
        copy(layer.output_norm, f"{prefix}.output.LayerNorm")
