"""``rerank serve``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from rerank_core.cli.app import app
from rerank_core.cli.commands import interruptible
from rerank_core.cli.completions import model_names
from rerank_core.cli.engine_options import takes
from rerank_core.optional import optional
from rerank_core.options import of_server

_MODELS, _ACCESS, _LIMITS, _ENGINE, _RAY = "Models", "Access", "Limits", "Engine", "Ray"


@app.command()
@takes(of_server(), {"local": _ENGINE, "both": _ENGINE}, unset=True)
def serve(  # noqa: PLR0917  (typer reads them by name)
    models: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            "-m",
            autocompletion=model_names,
            help="What to serve; may be repeated. NAME=MODEL serves MODEL under another name.",
            rich_help_panel=_MODELS,
        ),
    ] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on. Default: 127.0.0.1.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 for any. Default: 8000.")] = None,
    config: Annotated[Path | None, typer.Option(help="A TOML file with any of these settings.")] = None,
    api_keys_file: Annotated[
        Path | None, typer.Option(help="File of API keys, one per line.", rich_help_panel=_ACCESS)
    ] = None,
    no_auth: Annotated[
        bool | None,
        typer.Option("--no-auth", help="Listen anywhere without keys.", rich_help_panel=_ACCESS),
    ] = None,
    rate_limit: Annotated[
        int | None, typer.Option(help="Requests per minute for each key.", rich_help_panel=_ACCESS)
    ] = None,
    cors_origins: Annotated[
        list[str] | None,
        typer.Option("--cors-origin", help="Origin whose pages may call; may be repeated.", rich_help_panel=_ACCESS),
    ] = None,
    allowed_hosts: Annotated[
        list[str] | None,
        typer.Option(
            "--allowed-host",
            help="Host name that requests may name; may be repeated. Default without keys: this machine's own.",
            rich_help_panel=_ACCESS,
        ),
    ] = None,
    max_documents: Annotated[
        int | None, typer.Option(help="Most documents of a request. Default: 100.", rich_help_panel=_LIMITS)
    ] = None,
    max_body_bytes: Annotated[
        int | None, typer.Option(help="Most bytes of a request. Default: 8000000.", rich_help_panel=_LIMITS)
    ] = None,
    max_queued_pairs: Annotated[
        int | None, typer.Option(help="Most pairs waiting for a model. Default: 4096.", rich_help_panel=_LIMITS)
    ] = None,
    max_in_flight_requests: Annotated[
        int | None, typer.Option(help="Most requests waiting for a model. Default: 256.", rich_help_panel=_LIMITS)
    ] = None,
    max_connections: Annotated[
        int | None, typer.Option(help="Most connections at once. Default: 1024.", rich_help_panel=_LIMITS)
    ] = None,
    header_timeout: Annotated[
        float | None,
        typer.Option(help="Seconds for the headers of a request. Default: 10.", rich_help_panel=_LIMITS),
    ] = None,
    request_timeout: Annotated[
        float | None, typer.Option(help="Seconds a request may take. Default: 60.", rich_help_panel=_LIMITS)
    ] = None,
    drain_seconds: Annotated[
        float | None, typer.Option(help="Seconds to finish requests at the end. Default: 30.", rich_help_panel=_LIMITS)
    ] = None,
    cache_entries: Annotated[
        int | None, typer.Option(help="Scores to remember. Default: 0.", rich_help_panel=_ENGINE)
    ] = None,
    shadow: Annotated[
        str | None,
        typer.Option(help="A model on trial: it scores beside the first one, unseen.", rich_help_panel=_MODELS),
    ] = None,
    shadow_log: Annotated[
        Path | None, typer.Option(help="File for how its answers differ, without texts.", rich_help_panel=_MODELS)
    ] = None,
    options: Annotated[
        list[str] | None,
        typer.Option(
            "--option",
            metavar="NAME.OPTION=VALUE",
            help="An option for one of several models, by the name it is served under; may be repeated.",
            rich_help_panel=_ENGINE,
        ),
    ] = None,
    page: Annotated[bool | None, typer.Option("--page/--no-page", help="The playground at /. Default: --page.")] = None,
    log_format: Annotated[str | None, typer.Option(help="text or json. Default: text.")] = None,
    ray: Annotated[
        bool,
        typer.Option("--ray", help="Ray Serve: several processes behind one address.", rich_help_panel=_RAY),
    ] = False,
    replicas: Annotated[
        int, typer.Option(min=1, help="Processes with --ray, which share this machine's CPUs.", rich_help_panel=_RAY)
    ] = 1,
    **engine: Any,
) -> None:
    """Serve the rerank HTTP API; with no option at all, the default model on http://127.0.0.1:8000.

    Opened in a browser, this address is a playground for queries and documents of your own.

    Every option is also an environment variable (RERANK_PORT, RERANK_MODELS=a,b, ...) and a name in the TOML file of
    --config; options win over the environment, which wins over the file. API keys come from RERANK_API_KEYS
    (comma-separated) or --api-keys-file, never from the command line.
    """
    settings = dict(locals())
    settings |= settings.pop("engine")
    file = settings.pop("config")
    del settings["ray"], settings["replicas"]
    with interruptible():
        with optional("rerank serve", extra="server"):
            from rerank_core.server.run import end_process
            from rerank_core.server.run import serve as serve_until_stopped
            from rerank_core.server.settings import load_settings
        given = {name: value for name, value in settings.items() if value not in (None, [])}
        if ray:
            from rerank_core.server.ray_process import serve_on_ray

            serve_on_ray(load_settings(file, **given), replicas)
        else:
            serve_until_stopped(load_settings(file, **given))
            end_process()
