"""A prompt's context out of results: as much as fits a budget of tokens, nothing cut, nothing twice.

Source of the order ``ends``: models use best what stands at either end of their context (Liu et al., "Lost in the
Middle", TACL 2024).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Literal, NamedTuple

from rerank_core.errors import InvalidRequestError, ModelLoadError, RerankError
from rerank_core.option_checks import of_type, one_of, whole
from rerank_core.results import RerankResponse, RerankResult, Span

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Order = Literal["relevance", "ends"]
Pieces = Literal["documents", "passages"]
Counter = Callable[[str], int]


class Piece(NamedTuple):
    """A result's part of the context.

    Attributes:
        result: the result.
        span: the characters of its document's text.
    """

    result: RerankResult
    span: Span

    @property
    def text(self) -> str:
        """The text of the piece."""
        return self.result.text[self.span.start : self.span.end]


@dataclass(frozen=True, slots=True, repr=False)
class Packed:
    """What fits.

    Attributes:
        text: the pieces, with the separator between them.
        tokens: the tokens of ``text``, as the tokenizer counts them.
        pieces: in the order in which they stand there.
        left_out: how many results were left out, for want of room or because their text is there already.
    """

    text: str
    tokens: int
    pieces: tuple[Piece, ...]
    left_out: int

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self.pieces)} pieces, {self.tokens} tokens, {self.left_out} left out)"


def pack(
    results: Iterable[RerankResult],
    *,
    max_tokens: int,
    order: Order = "relevance",
    pieces: Pieces = "documents",
    separator: str = "\n\n",
    tokenizer: Counter | Tokenizer | None = None,
) -> Packed:
    """Fill a budget of tokens with results, the best first.

    A result that does not fit is left out whole, and the next ones are tried. Left out is also what is there already: a
    text that stands inside another piece, and of windows of one text that overlap, the less relevant one. A piece makes
    room for a longer one that contains it.

    Args:
        results: a response, or results of several, best first.
        max_tokens: most tokens of the whole text, separators included; special tokens are not counted.
        order: ``relevance``, best first; or ``ends``: the best at the start, the second at the end, and so on, so that
            the least relevant stand in the middle.
        pieces: whole ``documents``; or ``passages``, the window that got the score, where a result has one.
        separator: what stands between two pieces.
        tokenizer: a function from a text to its number of tokens, or a ``tokenizers.Tokenizer``; None for the one of
            the model that the response names.

    Raises:
        InvalidRequestError: when an argument is wrong, or no tokenizer is given and that of the response's model is not
            on this machine.

    Example:
        >>> from rerank_core import Reranker, pack
        >>> response = Reranker().rerank("capital of France", ["Berlin is big.", "Paris, of course."])
        >>> packed = pack(response, max_tokens=6)
        >>> packed.text, packed.tokens
        ('Paris, of course.', 5)
    """
    whole("max_tokens", max_tokens, 1, None)
    of_type("max_tokens", max_tokens, int, "a whole number")
    one_of("order", order, ("relevance", "ends"))
    one_of("pieces", pieces, ("documents", "passages"))
    of_type("separator", separator, str, "a string")
    if not isinstance(results, Iterable):
        raise InvalidRequestError(
            f"results must be a RerankResponse, or a list of RerankResult; got {type(results).__name__}.",
            param="results",
        )
    count = _counter(tokenizer, results)
    given = [_piece(position, result, pieces) for position, result in enumerate(results)]
    chosen, text, tokens = list[Piece](), "", 0
    for piece in given:
        if not piece.text or any(_there_already(piece, other) for other in chosen):
            continue
        tried = [other for other in chosen if other.text not in piece.text] + [piece]
        joined = separator.join(each.text for each in _arranged(tried, order))
        needed = count(joined)
        if needed <= max_tokens:
            chosen, text, tokens = tried, joined, needed
    return Packed(text, tokens, tuple(_arranged(chosen, order)), len(given) - len(chosen))


def _piece(position: int, result: object, pieces: Pieces) -> Piece:
    if not isinstance(result, RerankResult):
        raise InvalidRequestError(
            f"results[{position}] is {type(result).__name__}; expected a RerankResponse, or a list of RerankResult.",
            param="results",
        )
    whole_text = Span(0, len(result.text))
    return Piece(result, whole_text if pieces == "documents" or result.window is None else result.window)


def _there_already(piece: Piece, other: Piece) -> bool:
    if piece.text in other.text:
        return True
    overlap = piece.span.start < other.span.end and other.span.start < piece.span.end
    longer = other.text in piece.text
    return overlap and not longer and piece.result.text == other.result.text


def _arranged(pieces: list[Piece], order: Order) -> list[Piece]:
    return pieces if order == "relevance" else pieces[::2] + pieces[1::2][::-1]


def _counter(tokenizer: object, results: object) -> Counter:
    """A function that counts tokens, and is believed only where it gives a number that can be one."""
    count = _of_model(results) if tokenizer is None else _plain_counter(tokenizer)

    def counted(text: str) -> int:
        number = count(text)
        if isinstance(number, bool) or not isinstance(number, int) or number < 0:
            seen = number if isinstance(number, int | float) else type(number).__name__
            raise InvalidRequestError(
                f"tokenizer must give the number of a text's tokens, a whole number; it gave {seen}.", param="tokenizer"
            )
        return number

    return counted


def _plain_counter(tokenizer: object) -> Counter:
    from tokenizers import Tokenizer

    from rerank_core.inference.encoding import copy_tokenizer

    if isinstance(tokenizer, Tokenizer):
        copy = copy_tokenizer(tokenizer)  # the owner's may cut texts, or fill them up
        return lambda text: len(copy.encode(text, add_special_tokens=False).ids)
    if callable(tokenizer):
        return tokenizer
    raise InvalidRequestError(
        "tokenizer must be a function from a text to its number of tokens, or a tokenizers.Tokenizer; "
        f"got {type(tokenizer).__name__}.",
        param="tokenizer",
    )


def _of_model(results: object) -> Counter:
    model = results.model if isinstance(results, RerankResponse) else None
    try:
        return _counter_of_model(model or "")
    except RerankError as error:
        seen = f"that of {model!r} is not on this machine" if model else "results without a response name no model"
        raise InvalidRequestError(
            f"pack() needs a tokenizer, and {seen}; give tokenizer=, for example the one of the model that reads the "
            "text.",
            param="tokenizer",
        ) from error


@lru_cache(maxsize=4)
def _counter_of_model(model: str) -> Counter:
    from tokenizers import Tokenizer

    from rerank_core.models.source import locate

    file = locate(model, local_files_only=True).fetch(["tokenizer.json"]) / "tokenizer.json"
    try:
        return _plain_counter(Tokenizer.from_file(str(file)))
    except Exception as error:  # the library raises bare Exception
        raise ModelLoadError("the tokenizer file cannot be read.") from error
