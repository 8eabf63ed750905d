"""The server on Ray Serve: one application, each of its replicas with an engine, a queue and limits of its own.

``rerank serve --ray`` runs it from here; a cluster takes it by its import path, ``rerank_core.server.ray:app``, in a
Serve config file, whose ``args`` are the server's settings.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rerank_core.errors import InvalidRequestError, RerankError
from rerank_core.optional import optional
from rerank_core.server.app import create_app
from rerank_core.server.keys import LocalLimits
from rerank_core.server.ray_metrics import RayMetrics
from rerank_core.server.run import configure_logging
from rerank_core.server.served import State
from rerank_core.server.settings import ServerSettings, load_settings

with optional("Ray Serve", extra="ray"):
    import ray
    from ray import serve
    from ray.serve.config import AutoscalingConfig, AutoscalingPolicy, BackpressureConfig
    from ray.serve.handle import DeploymentHandle
    from ray.serve.schema import LoggingConfig

NAME = "rerank"
"""The name of the deployment, and of the application that ``rerank serve --ray`` starts."""

WAITING = "waiting_seconds"
"""What a replica reports to the autoscaler: seconds until what it has accepted should be answered."""

_REQUEST_ID = "x-request-id"
_HEALTH_SECONDS = 10.0
_COUNT_SECONDS = 1.0  # for one count elsewhere; requests do not wait longer for it
_EXIT_SECONDS = 5.0  # after the drain
_START_TRIES = 3  # a download may fail
_LEAST_QUEUED = 100  # to Serve a request is queued until a replica has taken it, so that every burst is at first
_COUNTING = 1000  # at once, by the one place that counts


def app(arguments: dict[str, Any]) -> serve.Application:
    """The application, as a Serve config file or ``serve run rerank_core.server.ray:app`` asks for it.

    Args:
        arguments: settings of :class:`~rerank_core.server.ServerSettings`, before the environment's ``RERANK_*``
            variables. ``config`` names a TOML file of more. ``host`` and ``port`` have no effect: Serve listens.

    Raises:
        InvalidRequestError: when a setting is wrong, or an API key is among them: whoever sees the cluster's dashboard
            sees these arguments.
    """
    if "api_keys" in arguments:
        raise InvalidRequestError(
            "api_keys would be shown on the cluster's dashboard. Name a file that every node has (api_keys_file), or "
            "set RERANK_API_KEYS on the nodes.",
            code="invalid_setting",
            param="api_keys",
        )
    given = dict(arguments)
    file = given.pop("config", None)
    return application(load_settings(None if file is None else Path(file), **given))


def application(settings: ServerSettings, *, replicas: int | None = None, cpus: int = 1) -> serve.Application:
    """The application for these settings, to be given to ``serve.run``.

    Args:
        settings: what to serve.
        replicas: how many there are; None for as many as keep queues short.
        cpus: CPUs of a replica.

    Raises:
        InvalidRequestError: when the settings are not safe, or the API keys cannot be read.
    """
    ring = settings.key_ring()
    settings.check_address(ring)
    limit = settings.max_in_flight_requests * len(settings.models)
    replica = serve.deployment(
        name=NAME,
        num_replicas="auto" if replicas is None else replicas,
        autoscaling_config=_autoscaling() if replicas is None else None,
        ray_actor_options={"num_cpus": cpus},
        # More than a replica lets in: what is too much is refused by it, in the words of the request's dialect.
        max_ongoing_requests=4 * limit,
        max_queued_requests=max(limit, _LEAST_QUEUED),
        backpressure_config=BackpressureConfig(retry_after_s=1.0),
        max_constructor_retry_count=_START_TRIES,
        max_surge_percent=25,  # in an update the old replicas go on until new ones are ready
        health_check_period_s=_HEALTH_SECONDS,
        health_check_timeout_s=3 * _HEALTH_SECONDS,
        graceful_shutdown_timeout_s=settings.drain_seconds + _EXIT_SECONDS,
        logging_config=LoggingConfig(enable_access_log=False),  # the application's own lines say more
    )(serve.ingress()(Replica))
    counts = serve.deployment(
        name="rate-limits",
        ray_actor_options={"num_cpus": 0},
        max_ongoing_requests=_COUNTING,
        logging_config=LoggingConfig(enable_access_log=False),
    )(Counts)
    return replica.bind(settings.guarded(ring), counts.bind() if ring else None)


def _autoscaling() -> AutoscalingConfig:
    return AutoscalingConfig(
        min_replicas=1,
        max_replicas=10,
        upscale_delay_s=10,
        downscale_delay_s=300,
        policy=AutoscalingPolicy(policy_function=f"{__name__}:{WaitingTime.__name__}"),
    )


class Replica:
    """One replica: the ASGI application in a process of its own.

    Args:
        settings: what to serve; ``threads`` are as many as the replica has CPUs, unless they say otherwise.
        counts: where requests of a key are counted for all replicas; None without keys.
    """

    def __init__(self, settings: ServerSettings, counts: DeploymentHandle | None) -> None:
        self._settings = _with_threads(settings)
        self._limits = None if counts is None else SharedLimits(counts)

    async def __serve_build_asgi_app__(self) -> FastAPI:
        """The application, once every model is loaded: a replica is sent no request before."""
        configure_logging(self._settings)
        made = create_app(self._settings, limits=self._limits)
        made.add_middleware(OneRequestId)
        self._served = made.state.server.served
        self._metrics = RayMetrics(made.state.server.metrics)
        await self._served.loaded()
        return made

    async def check_health(self) -> None:
        """What Serve asks every few seconds; a replica that raises is replaced. Metrics are published as often.

        Raises:
            RerankError: when a model cannot answer.
        """
        self._metrics.publish()
        for model in self._served.models:
            if model.state is not State.READY:
                raise RerankError(f"the model {model.name!r} is {model.state}.")

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """How long the longest queue is, in seconds."""
        return {WAITING: max(model.admission.estimated_wait() for model in self._served.models)}


class OneRequestId:
    """Leaves the id of a request to Serve, which adds it to each answer: twice would be another id to clients.

    Args:
        app: the application, which answers with the id that it was given, or one of its own.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one exchange on."""
        given = Headers(scope=scope).get(_REQUEST_ID) if scope["type"] == "http" else None

        async def send_without_id(message: Message) -> None:
            if given and message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                if headers.get(_REQUEST_ID) == given:
                    del headers[_REQUEST_ID]
            await send(message)

        await self._app(scope, receive, send_without_id)


class WaitingTime:
    """Autoscaling by work, not by requests, which differ a hundredfold: as many replicas as keep queues short.

    Args:
        seconds: how long the mean queue may be.
    """

    def __init__(self, seconds: float = 1.0) -> None:
        self._seconds = seconds

    def __call__(self, context: Any) -> tuple[float, dict[str, Any]]:
        """How many replicas there should be; Serve rounds, and keeps to the bounds and delays of its configuration."""
        queues = context.aggregated_metrics.get(WAITING, {})
        if not queues:
            return context.target_num_replicas, {}
        return sum(queues.values()) / self._seconds, {}


class Counts:
    """One place that counts the requests of every key, for all replicas."""

    def __init__(self) -> None:
        self._limits = LocalLimits()

    async def take(self, key: bytes, per_minute: int) -> float:
        """As :meth:`rerank_core.server.RateLimits.take`."""
        return await self._limits.take(key, per_minute)


class SharedLimits:
    """Limits that hold for all replicas together; while the one place cannot be reached, for each of them.

    Args:
        counts: a handle to :class:`Counts`.
    """

    def __init__(self, counts: DeploymentHandle) -> None:
        self._counts = counts
        self._here = LocalLimits()

    async def take(self, key: bytes, per_minute: int) -> float:
        """Count a request of the key with this digest: 0.0, or the seconds until it may make one."""
        try:
            async with asyncio.timeout(_COUNT_SECONDS):
                wait: float = await self._counts.take.remote(key, per_minute)
        except (TimeoutError, ray.exceptions.RayError, serve.exceptions.RayServeException):
            return await self._here.take(key, per_minute)
        return wait


def _with_threads(settings: ServerSettings) -> ServerSettings:
    """Threads for the CPUs that Ray has given this replica: a process sees those of the whole machine."""
    cpus = ray.get_runtime_context().get_assigned_resources().get("CPU", 0)
    if settings.threads is not None or cpus < 1:
        return settings
    return settings.model_copy(update={"threads": int(cpus)})
