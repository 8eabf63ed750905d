"""The protocol's side of the tools of ``rerank mcp``: names, schemas, and errors that a model can read."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Annotated, TypeVar

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import ToolAnnotations
from pydantic import Field

from rerank_core import __version__
from rerank_core.cli.mcp_tools import RankedPassages, RankedTexts, Split, Tools
from rerank_core.errors import RerankError

_INSTRUCTIONS = (
    "Ranks texts, or passages of files, by how well they answer a query. "
    "Scores are probabilities of relevance, 0 to 1. "
    "Use rank_texts on search results before reading them, and rank_files to find where files answer a question."
)

Answer = TypeVar("Answer")
Query = Annotated[str, Field(description="What is looked for: a question or keywords.")]
Texts = Annotated[list[str], Field(description="The texts to rank.")]
Paths = Annotated[
    tuple[str, ...], Field(description="Files or folders, relative to the server's folder; none for all of it.")
]
HowSplit = Annotated[Split, Field(description="What is ranked: paragraphs, lines or whole files.")]
TopN = Annotated[int | None, Field(description="Most results to return; null for all.")]
Threshold = Annotated[float | None, Field(description="Leave out results below this score, 0 to 1.")]


def make_server(tools: Tools) -> MCPServer:
    """A server with both tools; ``run()`` serves them on standard input and output until the client is gone."""
    server: MCPServer = MCPServer("rerank", instructions=_INSTRUCTIONS, version=__version__, log_level="WARNING")
    harmless = ToolAnnotations(read_only_hint=True, idempotent_hint=True, open_world_hint=False)

    @server.tool(annotations=harmless)
    async def rank_texts(
        query: Query, texts: Texts, top_n: TopN = 10, score_threshold: Threshold = None
    ) -> RankedTexts:
        """Rank texts by relevance to a query, best first, with a score for each."""
        return await _readable(tools.rank_texts(query, texts, top_n, score_threshold))

    @server.tool(annotations=harmless)
    async def rank_files(
        query: Query,
        paths: Paths = (),
        split: HowSplit = "paragraph",
        top_n: TopN = 10,
        score_threshold: Threshold = None,
    ) -> RankedPassages:
        """Find the passages of text files that answer a query, best first, with file, line and score."""
        return await _readable(tools.rank_files(query, paths, split, top_n, score_threshold))

    return server


async def _readable(answer: Awaitable[Answer]) -> Answer:
    """What went wrong, as an error that the model gets to read."""
    try:
        return await answer
    except RerankError as error:
        raise ToolError(str(error)) from error
