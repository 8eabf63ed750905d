"""How the values of options are checked: pure functions that name the option and never repeat a secret."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rerank_core.errors import InvalidRequestError
from rerank_core.ranking import as_float

if TYPE_CHECKING:
    from pydantic import SecretStr

# Each takes an option's name and value, and raises InvalidRequestError with the name as its ``param``.


def one_of(name: str, value: object, choices: Sequence[str]) -> None:
    """Whether a value is one of the choices."""
    if value not in choices:
        raise InvalidRequestError(f"{name} must be one of {', '.join(choices)}; got {value!r}.", param=name)


def of_type(name: str, value: object, kinds: Any, expected: str) -> None:
    """Whether a value is of one of the types, which ``expected`` names."""
    if not isinstance(value, kinds):
        raise InvalidRequestError(f"{name} must be {expected}; got {type(value).__name__}.", param=name)


def whole(name: str, value: object, least: int, most: int | None) -> None:
    """Whether a value is a whole number within bounds, or None."""
    if value is None:
        return
    number = isinstance(value, int) and not isinstance(value, bool)
    if not number or not least <= value <= (math.inf if most is None else most):  # type: ignore[operator]
        bounds = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise InvalidRequestError(f"{name} must be a whole number {bounds}, or None; got {value!r}.", param=name)


def seconds(name: str, value: object) -> None:
    """Whether a value is a finite number above 0, or None."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if value is not None and not (number and 0 < value < math.inf):  # type: ignore[operator]
        raise InvalidRequestError(f"{name} must be seconds above 0, or None; got {value!r}.", param=name)


def price(name: str, value: object) -> float | None:
    """A finite number from 0, or None."""
    number = None if value is None else as_float(value)
    if value is not None and (number is None or not 0 <= number < math.inf):
        raise InvalidRequestError(f"{name} must be dollars, 0 or more, or None; got {value!r}.", param=name)
    return number


def share(name: str, value: object) -> float | None:
    """A number from 0 to 1, or None."""
    number = None if value is None else as_float(value)
    if value is not None and (number is None or not 0 <= number <= 1):
        raise InvalidRequestError(f"{name} must be a number from 0 to 1, or None; got {value!r}.", param=name)
    return number


def address(name: str, value: Any) -> Any:
    """An http or https address that can be shown, logged and saved, or None."""
    of_type(name, value, str | None, "a string or None")
    if value is not None:
        from rerank_core.client.urls import check_base_url

        check_base_url(value)
    return value


def api_key(name: str, value: Any) -> SecretStr | None:
    """An API key, hidden; or None."""
    return None if value is None else hidden_key(name, value)


def hidden_key(name: str, value: Any) -> SecretStr:
    """An API key that fits a header, hidden from representations; the error does not repeat it."""
    from pydantic import SecretStr

    text = value.get_secret_value() if isinstance(value, SecretStr) else value
    if not isinstance(text, str):
        raise InvalidRequestError(f"{name} must be a string or a SecretStr, got {type(text).__name__}.", param=name)
    text = text.strip()  # keys read from files end in a newline
    if not text or not text.isascii() or not text.isprintable() or " " in text:
        raise InvalidRequestError(
            f"{name} must be one word of visible ASCII characters; it is empty or has others in it.", param=name
        )
    return SecretStr(text)


def http_client(name: str, value: Any) -> Any:
    """An ``httpx`` client of either kind, or None."""
    if value is not None:
        import httpx

        if not isinstance(value, httpx.Client | httpx.AsyncClient):
            raise InvalidRequestError(
                f"{name} must be an httpx.Client or httpx.AsyncClient, got {type(value).__name__}.", param=name
            )
    return value
