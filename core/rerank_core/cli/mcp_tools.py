"""The tools of ``rerank mcp``, as functions that know nothing of the protocol.

What a model asks for stays within bounds that a person has set: folders that files are read from, and how much is
ranked at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field

from rerank_core import Document, Reranker, RerankResponse
from rerank_core.errors import InvalidRequestError
from rerank_core.files import resolved
from rerank_core.inference.workers import SLOW_CALLS
from rerank_core.reading import read

Split = Literal["paragraph", "line", "file"]


class RankedText(BaseModel):
    """A text with its score."""

    rank: int = Field(description="Place in the new order, from 1.")
    index: int = Field(description="Position in the list that was given, from 0.")
    score: float = Field(description="Probability of relevance, 0 to 1.")
    text: str
    truncated: bool = Field(description="Whether the model read only the beginning of the text.")


class RankedTexts(BaseModel):
    """An answer of ``rank_texts``."""

    model: str = Field(description="The model that scored.")
    results: list[RankedText] = Field(description="The best texts, best first.")


class RankedPassage(BaseModel):
    """A passage of a file with its score."""

    rank: int = Field(description="Place in the new order, from 1.")
    score: float = Field(description="Probability of relevance, 0 to 1.")
    file: str = Field(description="The file, below the folder that the tool may read.")
    line: int = Field(description="The line the passage begins on, from 1.")
    text: str
    truncated: bool = Field(description="Whether the model read only the beginning of the passage.")


class RankedPassages(BaseModel):
    """An answer of ``rank_files``."""

    model: str = Field(description="The model that scored.")
    passages: int = Field(description="How many passages were ranked.")
    results: list[RankedPassage] = Field(description="The best passages, best first.")


@dataclass(frozen=True)
class Tools:
    """What a client can call.

    Attributes:
        reranker: ranks.
        root: the folder that files are read from, and no other; its links are followed, theirs are not left.
        max_documents: most texts or passages of one call.
    """

    reranker: Reranker
    root: Path
    max_documents: int

    async def rank_texts(
        self, query: str, texts: Sequence[str], top_n: int | None, score_threshold: float | None
    ) -> RankedTexts:
        """The best of ``texts``, best first.

        Raises:
            InvalidRequestError: when the query is blank, a limit is none, or there are too many texts.
            RerankError: when the model cannot be loaded or fails.
        """
        response = await self._ranked(query, [Document(text) for text in texts], top_n, score_threshold)
        results = [
            RankedText(
                rank=found.rank,
                index=found.index,
                score=found.relevance_score,
                text=found.text,
                truncated=found.truncated,
            )
            for found in response
        ]
        return RankedTexts(model=response.model, results=results)

    async def rank_files(
        self, query: str, paths: Sequence[str], split: Split, top_n: int | None, score_threshold: float | None
    ) -> RankedPassages:
        """The best passages of the files and folders, best first.

        Raises:
            InvalidRequestError: also when a path is outside :attr:`root`, or cannot be read.
            RerankError: when the model cannot be loaded or fails.
        """
        root = resolved(self.root)
        documents = await SLOW_CALLS.run(lambda: _read(root, paths, split))
        response = await self._ranked(query, documents, top_n, score_threshold)
        results = [
            RankedPassage(
                rank=found.rank,
                score=found.relevance_score,
                file=_of(found.document).relative_to(root).as_posix(),
                line=int(found.document.metadata["line"]),
                text=found.text,
                truncated=found.truncated,
            )
            for found in response
        ]
        return RankedPassages(model=response.model, passages=len(documents), results=results)

    async def _ranked(
        self, query: str, documents: list[Document], top_n: int | None, score_threshold: float | None
    ) -> RerankResponse:
        if len(documents) > self.max_documents:
            raise InvalidRequestError(
                f"There are {len(documents)} texts or passages, and at most {self.max_documents} are ranked at once. "
                "Give fewer texts, or name the files or a smaller folder.",
                code="too_many_documents",
            )
        return await self.reranker.arerank(query, documents, top_n=top_n, score_threshold=score_threshold)


def _read(root: Path, paths: Sequence[str], split: Split) -> list[Document]:
    """The passages of files and folders below ``root``; what links in them lead out to is left out."""
    named = [str(_inside(root, path)) for path in paths or ["."]]
    found = read(named, split=split).documents
    return [document for document in found if resolved(_of(document)).is_relative_to(root)]


def _inside(root: Path, path: str) -> Path:
    """The file or folder that ``path`` means: below ``root``, once all links are followed.

    Raises:
        InvalidRequestError: when it is elsewhere, or no path at all.
    """
    found = resolved(root / path)
    if not found.is_relative_to(root):
        raise InvalidRequestError(
            "A path is outside the folder that this server reads from. Give paths relative to that folder; "
            "`rerank mcp --root DIR` names another one."
        )
    return found


def _of(document: Document) -> Path:
    return Path(document.metadata["file"])
