"""Source code: functions, classes and their methods apart, whatever the language."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rerank_core.reading.passages import Passage

SHORT, LONG = 10, 60
"""Lines: neighbours that are short together make one passage, blocks that are long are split further."""
_CLOSING = ("}", ")", "]", "end", "#endif")


def passages(text: str) -> Iterator[Passage]:
    """Blocks between blank lines that end where the outermost indentation begins again.

    A block longer than ``LONG`` lines is split at its own outermost blank lines; the parts have its first line as their
    context: the name of the class or function.
    """
    yield from _split(text.split("\n"), 1, "")


def _split(lines: Sequence[str], first: int, context: str) -> Iterator[Passage]:
    for start, end in _merged(_blocks(lines)):
        block = lines[start:end]
        inner = _head(block)
        if len(block) > LONG and inner and len(list(_blocks(block[inner:]))) > 1:
            head = block[inner - 1].strip()
            yield Passage(first + start, "\n".join(block[:inner]), context)
            yield from _split(block[inner:], first + start + inner, f"{context}\n{head}".strip())
        else:
            yield Passage(first + start, "\n".join(block), context)


def _head(block: Sequence[str]) -> int:
    """How many lines of a block come before what is indented in it: decorators, comments, and its name."""
    outer = _indent(block[0])
    return next((i for i, line in enumerate(block) if line.strip() and _indent(line) > outer), 0)


def _blocks(lines: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Half-open ranges of lines, without blank lines around them."""
    outer = min((_indent(line) for line in lines if line.strip()), default=0)
    start: int | None = None
    end = 0
    for position, line in enumerate(lines):
        if not line.strip():
            continue
        after_blank = position == 0 or not lines[position - 1].strip()
        begins = after_blank and _indent(line) == outer and not line.strip().startswith(_CLOSING)
        if start is None:
            start = position
        elif begins:
            yield start, end
            start = position
        end = position + 1
    if start is not None:
        yield start, end


def _merged(blocks: Iterator[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    held: tuple[int, int] | None = None
    for start, end in blocks:
        if held is not None and end - held[0] <= SHORT:
            held = (held[0], end)
            continue
        if held is not None:
            yield held
        held = (start, end)
    if held is not None:
        yield held


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())
