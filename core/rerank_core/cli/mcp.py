"""``rerank mcp``: the Model Context Protocol over standard input and output."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Annotated, Any

import typer

from rerank_core.cli.app import api_key_from, app, import_heavy_libraries
from rerank_core.cli.engine_options import PANELS, KeyVariable, ModelName, takes
from rerank_core.errors import InvalidRequestError
from rerank_core.optional import optional
from rerank_core.options import OPTIONS, effective_provider


@app.command()
@takes(OPTIONS, PANELS)
def mcp(
    root: Annotated[
        Path, typer.Option(help="The folder that rank_files may read, with all below it. Default: this one.")
    ] = Path(),
    max_documents: Annotated[int, typer.Option(min=1, help="Most texts or passages of one call.")] = 5000,
    model: ModelName = None,
    api_key_env: KeyVariable = None,
    **options: Any,
) -> None:
    """Give a language model two tools, by the Model Context Protocol: rank_texts and rank_files.

    A client starts this command and talks to it over standard input and output:

        {"mcpServers": {"rerank": {"command": "rerank", "args": ["mcp", "--root", "/my/notes"]}}}

    Needs: pip install 'rerank-plugins[mcp]'.
    """
    from rerank_core import Reranker
    from rerank_core.cli.mcp_tools import Tools

    if effective_provider(options["provider"], options["base_url"]) == "local":
        import_heavy_libraries()
    with optional("rerank mcp", extra="mcp"):
        from rerank_core.cli.mcp_server import make_server
    if not root.is_dir():
        raise InvalidRequestError(f"--root {root} is not a folder.")
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # standard input is read in a thread, which an exception does not end
    with Reranker(model, api_key=api_key_from(api_key_env), **options) as reranker:
        make_server(Tools(reranker, root, max_documents)).run()
