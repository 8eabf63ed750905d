"""From paths to documents with their place of origin."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rerank_core.errors import InvalidRequestError, MissingDependencyError
from rerank_core.files import accessing
from rerank_core.reading import code, markup, notebook, office, text
from rerank_core.reading.contents import contents, decoded
from rerank_core.reading.passages import Passage, context_length
from rerank_core.reading.rows import ROW_SUFFIXES, row_documents
from rerank_core.reading.selection import Selection
from rerank_core.results import Document

STDIN = "-"
PROSE = frozenset({".txt", ".md", ".markdown", ".rst"})
CODE = frozenset(
    [
        ".py",
        ".pyi",
        ".js",
        ".jsx",
        ".mjs",
        ".ts",
        ".tsx",
        ".go",
        ".rs",
        ".java",
        ".kt",
        ".scala",
        ".swift",
        ".c",
        ".h",
        ".cc",
        ".cpp",
        ".hpp",
        ".cs",
        ".rb",
        ".php",
        ".pl",
        ".lua",
        ".r",
        ".jl",
        ".sh",
        ".bash",
        ".zsh",
        ".ps1",
        ".sql",
        ".toml",
        ".yaml",
        ".yml",
        ".ini",
        ".cfg",
        ".css",
        ".scss",
        ".vue",
        ".svelte",
    ]
)
_SPLITTERS: dict[str, Callable[[str], Iterator[Passage]]] = {
    **dict.fromkeys(PROSE, text.passages),
    **dict.fromkeys(CODE, code.passages),
    ".rst": lambda read: text.passages(read, restructured=True),
}
_TEXT_IN_MARKUP: dict[str, Callable[[str], Iterator[Passage]]] = {
    **dict.fromkeys((".html", ".htm", ".xhtml"), markup.passages),
    ".ipynb": notebook.passages,
}
_BINARY: dict[str, Callable[[bytes], Iterator[Passage]]] = {
    ".pdf": office.pdf_passages,
    ".docx": office.docx_passages,
}
KNOWN = frozenset({*_SPLITTERS, *_TEXT_IN_MARKUP, *_BINARY, *ROW_SUFFIXES})


@dataclass(frozen=True, slots=True, repr=False)
class Corpus:
    """What was read.

    Args:
        documents: the passages or rows, file by file, in order; their metadata hold ``file`` and ``line`` (from 1), and
            where there is one ``context``, ``page``, ``cell`` or the row's other ``fields``.
        lines: those of each file whose passages stand in it word for word.
        left_out: a message for each file of a folder that could not be read.
    """

    documents: list[Document] = field(default_factory=list)
    lines: dict[str, list[str]] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)

    def line(self, document: Document, position: int) -> int:
        """The line of the file on which a character of one of its documents stands.

        Where a passage is not the file's own text this is the line on which it begins.
        """
        first: int = document.metadata["line"]
        if document.metadata["file"] not in self.lines:
            return first
        return first + document.text.count("\n", context_length(document), position)


def read(
    paths: Sequence[str],
    *,
    split: str = "paragraph",
    field: str = "text",
    selection: Selection | None = None,
) -> Corpus:
    """Every document in the given files, in order.

    Args:
        paths: files, folders, or ``-`` for standard input (read as Markdown). Folders are searched for files of the
            known kinds. A file that is named may be text of any kind.
        split: what a document is in text: ``file``, ``line``, or ``paragraph``, which is also a list item, a fenced
            block, a function in code, a row of a table in HTML.
        field: where the text stands in data files.
        selection: what to leave out of folders.

    Raises:
        InvalidRequestError: when a file that was named does not exist, is not text and of no known kind or cannot be
            understood; the message names the file and, where there is one, the line. Without the library that a kind
            needs it names the extra.
    """
    corpus = Corpus()
    for path in paths:
        if path == STDIN:
            _add_text(corpus, decoded(_standard_input(), "standard input"), STDIN, text.passages, split)
        else:
            _add_path(corpus, path, split, field, selection or Selection())
    return corpus


def _standard_input() -> bytes:
    if sys.stdin is None:
        raise InvalidRequestError("standard input is closed; name files, or pipe text in.")
    with accessing("standard input"):
        return sys.stdin.buffer.read()


def _add_path(corpus: Corpus, name: str, split: str, field: str, selection: Selection) -> None:
    path = Path(name)
    with accessing(name[:200]):
        if not path.exists():
            raise InvalidRequestError(f"there is no file {path}.")
        if not path.is_dir():
            _add_file(corpus, path, split, field)
            return
    problems: list[InvalidRequestError] = []
    files = selection.files(path, lambda file: file.suffix.lower() in KNOWN, problems)
    folders = len(problems)
    if not files:
        raise InvalidRequestError(
            f"the folder {path} holds no files of a known kind that .gitignore and patterns leave; known: {_known()}."
        )
    for file in files:
        try:
            _add_file(corpus, file, split, field)
        except InvalidRequestError as problem:
            problems.append(problem)
    if len(problems) - folders == len(files):
        raise problems[-1]
    corpus.left_out.extend(map(str, problems))


def _add_file(corpus: Corpus, file: Path, split: str, field: str) -> None:
    kind, name = file.suffix.lower(), str(file)
    if kind in ROW_SUFFIXES:
        corpus.documents.extend(list(row_documents(file, field)))  # all of them or none
    elif kind in _BINARY:
        data = contents(file)
        _add_passages(corpus, _understood(file, lambda: list(_BINARY[kind](data))), name, split)
    elif kind in _TEXT_IN_MARKUP:
        source = decoded(contents(file), name)
        _add_passages(corpus, _understood(file, lambda: list(_TEXT_IN_MARKUP[kind](source))), name, split)
    else:
        source = _text_of(file, known=kind in KNOWN or not kind)
        _add_text(corpus, source, name, _SPLITTERS.get(kind, text.passages), split)


def _text_of(file: Path, *, known: bool) -> str:
    data = contents(file)
    if not known and (b"\0" in data or not data):
        raise InvalidRequestError(f"{file} is of an unknown kind, and not text; known are {_known()}.")
    return decoded(data, str(file))


def _understood(file: Path, read: Callable[[], list[Passage]]) -> list[Passage]:
    try:
        return read()
    except MissingDependencyError as error:
        raise InvalidRequestError(error.message) from error  # an input that cannot be read, not a model
    except Exception as error:  # the libraries' own errors, of which there is no list
        kind = file.suffix.lower().removeprefix(".").upper()
        raise InvalidRequestError(
            f"{file} is not a {kind} file that can be read: {error or type(error).__name__}."
        ) from error


def _add_text(corpus: Corpus, source: str, name: str, splitter: Callable[[str], Iterator[Passage]], split: str) -> None:
    """Passages that stand in the file word for word."""
    corpus.lines[name] = lines = source.split("\n")
    if split == "file":
        pieces = [Passage(1, source)]
    elif split == "line":
        pieces = [Passage(number, line.strip()) for number, line in enumerate(lines, 1)]
    else:
        pieces = list(splitter(source))
    corpus.documents.extend(piece.document(name) for piece in pieces if piece.text.strip())


def _add_passages(corpus: Corpus, passages: Sequence[Passage], name: str, split: str) -> None:
    """Passages that were made from what stands in the file."""
    if split == "file" and passages:
        passages = [Passage(1, "\n\n".join(passage.text for passage in passages))]
    elif split == "line":
        passages = [
            Passage(passage.line, line.strip(), origin=passage.origin)
            for passage in passages
            for line in passage.text.split("\n")
        ]
    corpus.documents.extend(passage.document(name) for passage in passages if passage.text.strip())


def _known() -> str:
    return ", ".join(sorted(KNOWN))
