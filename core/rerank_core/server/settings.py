"""Everything that can be set: by argument, by ``RERANK_*`` environment variable, or in a TOML file."""

from __future__ import annotations

import ipaddress
import os
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from rerank_core.errors import InvalidRequestError
from rerank_core.files import accessing
from rerank_core.models.registry import DEFAULT_MODEL, REGISTRY
from rerank_core.option_fields import ServedOptionFields
from rerank_core.scoring.making import model_names
from rerank_core.server.environment import PREFIX, check_environment
from rerank_core.server.guard import LOOPBACK_HOSTS
from rerank_core.server.keys import KeyRing, RateLimits
from rerank_core.server.model_options import ModelOptions, read_options
from rerank_core.spelling import did_you_mean


def _split_commas(value: Any) -> Any:
    """Environment variables hold lists as ``a,b,c``."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _split_keys(value: Any) -> Any:
    """As above; a variable that is set and holds no key must not open the server."""
    keys = _split_commas(value)
    if isinstance(value, str) and not keys:
        raise ValueError("it is set and holds no key; leave it out to serve without keys")
    return keys


Strings = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split_commas)]
Secrets = Annotated[tuple[SecretStr, ...], NoDecode, BeforeValidator(_split_keys)]
Whole = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0, le=1_000_000)]  # clocks of the system take no number, however large


class ServerSettings(ServedOptionFields, BaseSettings):
    """What the server serves, to whom, and how much of it.

    Every field is also an environment variable: ``RERANK_PORT=9000``, ``RERANK_MODELS=a,b``. Arguments win over the
    environment, which wins over a file (:func:`load_settings`).

    Attributes:
        models: what is served: names of ``rerank models``, folders or Hub ids; ``NAME=MODEL`` serves MODEL under
            another name. The first one answers requests that name none, where a dialect allows that.
        host: the address to listen on.
        port: the port to listen on; 0 picks a free one.
        api_keys: keys that are let in.
        api_keys_file: a file of keys, one per line, each optionally followed by its requests per minute.
        no_auth: whether a server without keys may listen on an address that others can reach.
        rate_limit: requests per minute each key may make, unless the file says otherwise; None for no limit.
        max_documents: most documents of one request.
        max_body_bytes: most bytes of one request's body.
        max_connections: most connections at once, as far as ``rerank serve`` listens; what is more is refused, after
            those that are without a request have been closed.
        header_timeout: seconds in which the headers of a request must arrive.
        max_queued_pairs: most query-document pairs accepted and not yet answered, for each model.
        max_in_flight_requests: most requests accepted and not yet answered, for each model.
        request_timeout: seconds from a request's headers to its answer: for its body, waiting, ranking and writing. As
            far as ``rerank serve`` listens, the client has as long again to fetch the answer.
        drain_seconds: how long accepted requests may take to finish when the server stops.
        allowed_hosts: host names that requests may name in their Host header, ``*.example.com`` for all below a name;
            with none, any. A server without keys on a loopback address, as ``rerank serve`` starts it, answers to names
            of this machine and to these only: web pages could otherwise call it under a name of their own.
        cors_origins: origins whose web pages may call the API; ``*`` for all.
        cache_entries: how many scores to remember for each model; 0 for none.
        shadow: a model that scores the first served model's requests as well, on trial: nobody gets its answers, and
            the metrics say how they differ.
        shadow_log: a file for these differences, a line of JSON per request, without texts.
        options: options of single models, by the name they are served under; they win over those of all models, which
            are settings of their own: every option of :class:`~rerank_core.scoring.LocalOptions`, and ``max_latency``,
            ``check_first`` and ``price_per_million_tokens`` of :class:`~rerank_core.Reranker`.
        page: whether ``/`` answers with the playground, a page on which queries can be tried in a browser.
        log_format: ``text`` for people, ``json`` for programs.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True, hide_input_in_errors=True)

    models: Strings = (DEFAULT_MODEL,)
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    api_keys: Secrets = ()
    api_keys_file: Path | None = None
    no_auth: bool = False
    rate_limit: Whole | None = None
    max_documents: Whole = 100
    max_body_bytes: Whole = 8_000_000
    max_connections: Whole = 1024
    header_timeout: Seconds = 10.0
    max_queued_pairs: Whole = 4096
    max_in_flight_requests: Whole = 256
    request_timeout: Seconds = 60.0
    drain_seconds: Seconds = 30.0
    allowed_hosts: Strings = ()
    cors_origins: Strings = ()
    cache_entries: Annotated[int, Field(ge=0)] = 0
    shadow: str | None = None
    shadow_log: Path | None = None
    options: Annotated[dict[str, ModelOptions], NoDecode, BeforeValidator(read_options)] = Field(default_factory=dict)
    page: bool = True
    log_format: Literal["text", "json"] = "text"

    @field_validator("models")
    @classmethod
    def _known_models(cls, models: tuple[str, ...]) -> tuple[str, ...]:
        if not models:
            raise ValueError("name at least one model to serve")
        names = [name for name, _ in map(split_model, models)]
        for name, source in map(split_model, models):
            if not name or not source:
                raise ValueError(f"{name}={source} is not NAME=MODEL")
            if names.count(name) > 1:
                raise ValueError(f"the name {name} is given twice")
            for model in model_names(source):
                _check_known(str(model))
        return models

    @field_validator("options")
    @classmethod
    def _of_served_models(cls, options: dict[str, ModelOptions], info: ValidationInfo) -> dict[str, ModelOptions]:
        served = dict(map(split_model, info.data.get("models", ())))
        for name in options:
            if served and name not in served:
                raise ValueError(
                    f"no model is served as {name!r}.{did_you_mean(name, served)} Served are {', '.join(served)}"
                )
        return options

    def options_of(self, name: str) -> dict[str, Any]:
        """The options of the model that is served under this name: its own, and otherwise those of all models."""
        own = self.options.get(name, ModelOptions())
        return {
            option: getattr(own if option in own.model_fields_set else self, option)
            for option in ServedOptionFields.model_fields
        }

    @property
    def served(self) -> dict[str, str]:
        """Public name to model."""
        return dict(map(split_model, self.models))

    def key_ring(self, limits: RateLimits | None = None) -> KeyRing:
        """The keys that are let in, hashed; ``limits`` counts their requests, or else this process.

        Raises:
            InvalidRequestError: when the file cannot be read, or holds a line that is no key.
        """
        ring = KeyRing(rate_limit=self.rate_limit, limits=limits)
        for key in self.api_keys:
            ring.add(key.get_secret_value())
        if self.api_keys_file is not None:
            ring.add_file(self.api_keys_file)
        return ring

    def guarded(self, ring: KeyRing) -> ServerSettings:
        """These settings for a process that listens by itself: without keys it answers to its own names only."""
        if ring or self.no_auth:
            return self
        return self.model_copy(update={"allowed_hosts": (*LOOPBACK_HOSTS, self.host, *self.allowed_hosts)})

    def check_address(self, ring: KeyRing) -> None:
        """Whether it is safe to listen.

        Raises:
            InvalidRequestError: when others could reach a server that lets everybody in.
        """
        if ring or self.no_auth or _is_loopback(self.host):
            return
        raise InvalidRequestError(
            f"refusing to listen on {self.host} without API keys: anybody who reaches it could use it. Give "
            "--api-keys-file or RERANK_API_KEYS, listen on 127.0.0.1, or insist with --no-auth.",
            param="host",
        )


def load_settings(file: Path | None = None, **arguments: Any) -> ServerSettings:
    """Settings from arguments (those that are not None), the environment and a TOML file, in this order of weight.

    Raises:
        InvalidRequestError: when a value, a name or the file is wrong; the message names the setting.
    """
    check_environment(os.environ, ServerSettings.model_fields)
    given = {name: value for name, value in arguments.items() if value is not None}
    in_environment = {variable.upper() for variable in os.environ}
    in_file = {} if file is None else _read_toml(file)
    for name, value in in_file.items():
        if PREFIX + name.upper() not in in_environment:
            given.setdefault(name, value)
    try:
        return ServerSettings(**given)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = [str(each) for each in first["loc"]] or ["settings"]
        name = ".".join(place) if place[0] == "options" else place[0]
        if first["type"] == "extra_forbidden":
            reason = "there is no such setting." + did_you_mean(name, ServerSettings.model_fields)
        else:
            reason = first["msg"].removeprefix("Value error, ")
            reason += "" if reason.endswith((".", "?")) else "."
        raise InvalidRequestError(f"{name}: {reason}", code="invalid_setting", param=name) from None


def split_model(text: str) -> tuple[str, str]:
    """``NAME=MODEL`` as (name, model); a plain MODEL is served under its own name."""
    name, equals, source = text.partition("=")
    return (name, source) if equals else (text, text)


def _check_known(model: str) -> None:
    if model not in REGISTRY and "/" not in model and not Path(model).exists():
        raise ValueError(
            f"unknown model {model!r}.{did_you_mean(model, REGISTRY)} Known are {', '.join(REGISTRY)}, any folder, any "
            "Hub id (owner/name), and CHEAP>EXPENSIVE of two such"
        )


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        with accessing(f"the settings in {file}", param="config"):
            content = file.read_bytes()
        return tomllib.loads(content.decode())
    except (UnicodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise InvalidRequestError(
            f"cannot read the settings in {file}: it is not valid TOML.", param="config"
        ) from error


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
