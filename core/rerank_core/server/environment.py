"""The ``RERANK_*`` variables that nobody reads: a key under a name that is nearly right would leave the server open."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from rerank_core.errors import InvalidRequestError
from rerank_core.spelling import did_you_mean
from rerank_core.variables import OTHERS

PREFIX = "RERANK_"
# What Kubernetes sets in every container for a service called "rerank" or "rerank-...".
_SERVICE = re.compile(r"_SERVICE_HOST$|_SERVICE_PORT(_\w+)?$|_PORT_\d+_(TCP|UDP|SCTP)(_(ADDR|PORT|PROTO))?$")
_SERVICE_ADDRESS = re.compile(r"(tcp|udp|sctp)://")


def check_environment(environment: Mapping[str, str], settings: Iterable[str]) -> None:
    """Whether every ``RERANK_*`` variable is a setting.

    Raises:
        InvalidRequestError: when one is not, or holds the address of a Kubernetes service; never with its value.
    """
    known = [PREFIX + name.upper() for name in settings] + sorted(OTHERS)
    for variable, value in environment.items():
        name = variable.upper()
        if not name.startswith(PREFIX) or _SERVICE.search(name):
            continue
        if _SERVICE_ADDRESS.match(value):
            if name in known:
                raise _wrong(
                    f"{variable} holds the address of a Kubernetes service of that name. Set enableServiceLinks: false "
                    "in the pod, or give the service another name."
                )
        elif name not in known:
            raise _wrong(f"{variable}: there is no such setting.{did_you_mean(name, known)}")


def _wrong(message: str) -> InvalidRequestError:
    return InvalidRequestError(message, code="invalid_setting", param="environment")
