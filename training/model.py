"""The model: a cross-encoder that starts out as a bi-encoder, in one graph without control flow.

One joint sequence ``[CLS] query [SEP] [CLS] document [SEP]``. Positions restart at the document and the
attention logits between the two sides carry a learned bias per layer and head, so that at a very low bias both
sides look exactly as they did when the base (all-MiniLM-L6-v2) was trained; raising the bias opens the gates
between them. The score is a weighted sum of cosine, late interaction, exact match and a zero-initialised head.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from .lexical import CLS_ID, SEP_ID, LexicalMatch

MASKED = -10000.0
"""Added to the logits of masked keys: exp() of it is exactly 0 in float32, without the NaN of -inf."""


class Block(NamedTuple):
    """Padded pairs, each [batch, sequence]: what the graph takes."""

    input_ids: Tensor
    attention_mask: Tensor
    token_type_ids: Tensor

    def content(self) -> Tensor:
        """1 for every token but [CLS] and [SEP], [batch, sequence]."""
        return ((self.input_ids != CLS_ID) & (self.input_ids != SEP_ID)).to(torch.float32)


@dataclass(frozen=True)
class Focus:
    """Upper layers that read only the document's passages which resemble the query.

    Tokens are left out as in PoWER-BERT (Goyal et al. 2020), but by their likeness to the query: MaxSim, a large part
    of the score, is a maximum over the document's tokens, so those far from every query token say little in it.

    Attributes:
        after: how many layers read all tokens.
        percent: of a document's tokens, its [CLS] and [SEP] included, how many go on.
        least: so many go on at any rate, the same two included.
        around: a token goes on for the likest one at most so many places away, so that words stay in their context.
    """

    after: int = 1
    percent: int = 35
    least: int = 16
    around: int = 2


class Encoded(NamedTuple):
    """Last-layer states [batch, kept, hidden], the tokens they belong to, and what is known of the others.

    Where all tokens were kept, ``columns`` [batch, kept], the places of the kept ones, is None, and ``rest`` [batch,
    hidden], the sum that those left out would add to the document's, is 0.
    """

    states: Tensor
    tokens: Block
    columns: Tensor | None
    rest: Tensor

    def in_float32(self) -> Encoded:
        """Scores are formed in float32: a MaxSim weight of 10 would turn bfloat16's rounding into visible noise."""
        return self._replace(states=self.states.float(), rest=self.rest.float())

    def like(self, other: Encoded) -> Tensor:
        """The cosine of every state with ``other``'s of the same token, which kept all; [batch, kept]."""
        wanted = other.states
        if self.columns is not None:
            wanted = wanted.gather(1, self.columns[:, :, None].expand(-1, -1, wanted.shape[2]))
        return functional.cosine_similarity(self.states, wanted, dim=-1)

    def means(self) -> tuple[Tensor, Tensor]:
        """The query's and the document's normalised mean, each [batch, hidden]."""
        query, document = sides(self.states, self.tokens)
        return pool(self.states, query), pool(self.states, document, self.rest)


@dataclass(frozen=True)
class EncoderShape:
    """The dimensions of an encoder; by default those of MiniLM-L6-H384."""

    vocab_size: int = 30522
    positions: int = 512
    layers: int = 6
    hidden: int = 384
    heads: int = 12
    intermediate: int = 1536
    norm_epsilon: float = 1e-12
    focus: Focus | None = None
    relative: bool = False
    """Whether the distance of two tokens adds to their attention logit (MPNet; the same table in every layer)."""


class EncoderLayer(nn.Module):
    """One BERT layer (post-norm, exact GELU) with an additive attention bias between the sides."""

    def __init__(self, shape: EncoderShape, gate: float) -> None:
        super().__init__()
        self.heads = shape.heads
        self.head_size = shape.hidden // shape.heads
        self.query_key_value = nn.Linear(shape.hidden, 3 * shape.hidden)
        self.attention_output = nn.Linear(shape.hidden, shape.hidden)
        self.attention_norm = nn.LayerNorm(shape.hidden, eps=shape.norm_epsilon)
        self.up = nn.Linear(shape.hidden, shape.intermediate)
        self.down = nn.Linear(shape.intermediate, shape.hidden)
        self.output_norm = nn.LayerNorm(shape.hidden, eps=shape.norm_epsilon)
        self.gate = nn.Parameter(torch.full((shape.heads,), gate))
        self.fused = False
        """Whether attention between two sides too is torch's fused one, which saves memory; a graph has it in parts."""

    def forward(self, states: Tensor, bias: Tensor, crossing: Tensor | None) -> Tensor:
        """``bias`` [batch, 1 or heads, 1 or s, s] is additive; ``crossing`` [batch, 1, s, s] flags cross-side pairs.

        Without ``crossing`` the texts have one side only, and attention is always torch's fused one.
        """
        batch, length, hidden = states.shape
        packed = self.query_key_value(states).reshape(batch, length, 3, self.heads, self.head_size)
        query, key, value = packed.permute(2, 0, 3, 1, 4).unbind(0)
        if crossing is None or self.fused:
            mask = bias.to(query.dtype)
            if crossing is not None:  # one pass over [batch, heads, s, s]: the mask costs as much as the attention
                mask = torch.addcmul(mask, crossing.to(query.dtype), self.gate.view(1, -1, 1, 1).to(query.dtype))
            context = attention(query, key, value, mask.expand(batch, self.heads, length, length))
        else:
            logits = torch.matmul(query * self.head_size**-0.5, key.transpose(2, 3))
            logits = logits + crossing * self.gate.view(1, -1, 1, 1) + bias
            context = torch.matmul(torch.softmax(logits, dim=-1), value)
        context = context.transpose(1, 2).reshape(batch, length, hidden)
        states = self.attention_norm(states + self.attention_output(context))
        output: Tensor = self.output_norm(states + self.down(functional.gelu(self.up(states))))
        return output


def attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
    """Attention as one operator; in parts where a CPU needs gradients, which take four times as long through one.

    Args:
        query: what asks; [batch, heads, sequence, size].
        key: what answers; the same shape.
        value: what is taken; the same shape.
        mask: added to the logits; [batch, heads, sequence, sequence].
    """
    if query.requires_grad and query.device.type == "cpu":
        logits = torch.matmul(query * query.shape[-1] ** -0.5, key.transpose(2, 3)) + mask
        return torch.matmul(torch.softmax(logits, dim=-1), value)
    return functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)


def sides(states: Tensor, block: Block) -> tuple[Tensor, Tensor]:
    """Flags [batch, sequence] of the query's and of the document's tokens, special tokens included."""
    present = block.attention_mask.to(states.dtype)
    document = present * block.token_type_ids.to(states.dtype)
    return present - document, document


def attention_terms(block: Block, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """What every layer adds to its logits but for distances: see ``EncoderLayer.forward``."""
    types = block.token_type_ids
    padding = (1.0 - block.attention_mask.to(dtype))[:, None, None, :] * MASKED
    return padding, (types[:, None, :, None] != types[:, None, None, :]).to(dtype)


def likeness(states: Tensor) -> Tensor:
    """The cosine of every token with every other, [batch, sequence, sequence]."""
    tokens = functional.normalize(states, dim=-1)
    return torch.matmul(tokens, tokens.transpose(1, 2))


def likest_tokens(states: Tensor, block: Block, focus: Focus) -> tuple[Tensor, Tensor]:
    """The columns [batch, kept] of the tokens that go on, and flags of those that are not filling.

    The query and the special tokens come first, then the document's tokens, those most like a token of the query
    first. A row's choice does not depend on the rows beside it; the shorter ones are filled up.
    """
    states = states.float()
    query, document = sides(states, block)
    content = block.content()
    unlike = 2 * MASKED
    pairs = likeness(states) + (1.0 - (query * content)[:, None, :]) * MASKED
    own = torch.where(document * content > 0, pairs.amax(2), unlike)
    # A plain maximum over shifts: pooling would fix the sequence length in the exported graph.
    padded = functional.pad(own, (focus.around, focus.around), value=unlike)
    shifted = [padded[:, shift : shift + own.shape[1]] for shift in range(2 * focus.around + 1)]
    nearby = torch.stack(shifted).amax(0)
    # Between tokens of the same neighbourhood the likest one decides.
    rank = torch.where(document * content > 0, nearby + 0.01 * own, unlike)
    order = torch.arange(states.shape[1], device=states.device)[None, :]
    rank = torch.where(document * (1.0 - content) > 0, 2.0, rank)
    rank = torch.where(query > 0, 4.0 - order / states.shape[1], rank)

    length = document.sum(1)
    wanted = torch.clamp(torch.floor(length * focus.percent / 100), min=float(focus.least))
    count = query.sum(1) + torch.minimum(wanted, length)
    columns = rank.topk(int(count.max()), dim=1).indices
    present = torch.arange(columns.shape[1], device=states.device)[None, :] < count[:, None]
    return columns, present.to(block.attention_mask.dtype)


def document_sum(states: Tensor, block: Block) -> Tensor:
    """The sum of the document's tokens, [batch, hidden], in float32."""
    _, document = sides(states.float(), block)
    return (states.float() * document[:, :, None]).sum(1)


def pool(states: Tensor, side: Tensor, rest: Tensor | float = 0.0) -> Tensor:
    """The normalised mean of the flagged tokens, [batch, hidden]; ``rest`` is the sum of tokens beside ``states``."""
    return functional.normalize((states * side[:, :, None]).sum(1) + rest, dim=-1)


class RerankMini(nn.Module):
    """(input_ids, attention_mask, token_type_ids) -> logits [batch, 1]; padding has no influence."""

    FEATURES = ("cosine", "maxsim", *LexicalMatch.FEATURES)
    HEAD_SIZE = 64

    def __init__(
        self,
        idf: npt.NDArray[np.float32],
        continuation: npt.NDArray[np.uint8],
        *,
        gate: float,
        shape: EncoderShape | None = None,
    ) -> None:
        super().__init__()
        shape = shape or EncoderShape()
        self.shape = shape
        self.words = nn.Embedding(shape.vocab_size, shape.hidden)
        self.positions = nn.Embedding(shape.positions, shape.hidden)
        self.distances = nn.Embedding(2 * shape.positions - 1, shape.heads) if shape.relative else None
        self.embedding_norm = nn.LayerNorm(shape.hidden, eps=shape.norm_epsilon)
        self.layers = nn.ModuleList([EncoderLayer(shape, gate) for _ in range(shape.layers)])
        self.overview: nn.Linear | None = None
        """From the sum of the states of the tokens that are left out to what they would add to the last layer's."""
        if shape.focus is not None:
            self.overview = nn.Linear(shape.hidden, shape.hidden, bias=False)
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

    def encode(self, block: Block) -> Encoded:
        """The last layer's states."""
        states, focus = self.first_states(block), self.shape.focus
        if focus is None or self.overview is None:
            return Encoded(states, block, None, torch.zeros_like(states[:, 0]))
        columns, present = likest_tokens(states, block, focus)
        kept = states.gather(1, columns[:, :, None].expand(-1, -1, self.shape.hidden))
        tokens = Block(block.input_ids.gather(1, columns), present, block.token_type_ids.gather(1, columns))
        # Three dimensions, so that the exporter writes a MatMul.
        left_out = document_sum(states, block)[:, None] - document_sum(kept, tokens)[:, None]
        places = self.places(block).gather(1, columns)
        kept = self.read(kept, tokens, places, focus.after)
        return Encoded(kept, tokens, columns, self.overview(left_out)[:, 0])

    def first_states(self, block: Block) -> Tensor:
        """The states [batch, sequence, hidden] after the layers that read all tokens."""
        end = None if self.shape.focus is None else self.shape.focus.after
        return self.read(self.embedded(block), block, self.places(block), 0, end)

    def places(self, block: Block) -> Tensor:
        """The place of every token on its side, [batch, sequence]."""
        types = block.token_type_ids
        query_length = (block.attention_mask * (1 - types)).sum(1, keepdim=True)
        places = torch.arange(types.shape[1], device=types.device)[None, :] - types * query_length
        return places.clamp(0, self.shape.positions - 1)

    def embedded(self, block: Block) -> Tensor:
        """The states before the first layer."""
        # The base's token-type embedding (always 0 in its training) is folded into the positions.
        states: Tensor = self.embedding_norm(self.words(block.input_ids) + self.positions(self.places(block)))
        return states

    def read(self, states: Tensor, block: Block, places: Tensor, start: int, end: int | None = None) -> Tensor:
        """``states`` after the layers from ``start`` to ``end``."""
        bias, crossing = attention_terms(block, states.dtype)
        bias = bias + self.distance_bias(places)
        for layer in self.layers[start:end]:
            states = layer(states, bias, crossing)
        return states

    def read_alone(self, block: Block) -> Iterator[Tensor]:
        """The states after each layer of texts with one side only, as the bi-encoder reads them."""
        states = self.embedded(block)
        bias = attention_terms(block, states.dtype)[0] + self.distance_bias(self.places(block))
        for layer in self.layers:
            states = layer(states, bias, None)
            yield states

    def distance_bias(self, places: Tensor) -> Tensor | float:
        """What the distances between tokens add to the attention logits, [batch, heads, s, s]."""
        if self.distances is None:
            return 0.0
        apart = places[:, None, :] - places[:, :, None] + self.shape.positions - 1
        bias: Tensor = self.distances(apart).permute(0, 3, 1, 2)
        return bias

    def score_parts(self, encoded: Encoded, block: Block) -> tuple[Tensor, Tensor]:
        """The interpretable features [batch, 5] in the order of ``FEATURES``, and the head's term [batch].

        ``block`` is what was encoded: exact matches are looked for in all of it.
        """
        states, tokens = encoded.states, encoded.tokens
        query, document = sides(states, tokens)
        content = tokens.content()
        query_content, document_content = query * content, document * content

        # Mean pooling over each side, its [CLS] and [SEP] included, as the base was trained.
        query_mean, document_mean = encoded.means()
        cosine = (query_mean * document_mean).sum(-1)

        # Late interaction (ColBERT's MaxSim), a weighted mean over the query's content tokens.
        similarity = likeness(states)
        blocked = (1.0 - document_content)[:, None, :] * MASKED
        has_document = (document_content.sum(1, keepdim=True) > 0).to(states.dtype)
        best = (similarity + blocked).amax(2) * has_document
        idf = self.lexical.idf[tokens.input_ids]
        importance = (states * self.token_weight).sum(-1) + self.idf_power * torch.log(idf + 0.1)
        importance = torch.softmax(importance + (1.0 - query_content) * MASKED, dim=1) * query_content
        maxsim = (importance * best).sum(1)

        # Joint head: both [CLS] states, the interaction of the means, and max-pooled document evidence.
        query_first = states[:, 0]
        starts = document * (tokens.input_ids == CLS_ID).to(states.dtype)
        document_first = (states * starts[:, :, None]).sum(1) / starts.sum(1, keepdim=True).clamp(min=1.0)
        evidence = (self.evidence(states) + blocked.transpose(1, 2)).amax(1) * has_document
        joint = torch.cat(
            [query_first, document_first, query_mean * document_mean, (query_mean - document_mean).abs(), evidence],
            dim=-1,
        )
        # Three dimensions, so that the exporter writes a MatMul, which int8 quantisation covers, not a Gemm.
        head = self.head(functional.gelu(self.joint(joint[:, None, :])))[:, 0, 0]

        query, document = sides(states, block)
        content = block.content()
        lexical = self.lexical(block.input_ids, query * content, document * content)
        return torch.cat([torch.stack([cosine, maxsim], dim=1), lexical], dim=1), head

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> Tensor:
        """The calibrated logit [batch, 1]."""
        block = Block(input_ids, attention_mask, token_type_ids)
        features, head = self.score_parts(self.encode(block), block)
        return (self.raw_score(features, head) * self.scale + self.offset)[:, None]

    def raw_score(self, features: Tensor, head: Tensor) -> Tensor:
        """The score before calibration, [batch]."""
        return (features * self.mix).sum(1) + head
