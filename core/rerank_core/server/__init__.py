"""The rerank HTTP API as an ASGI application: ``rerank serve``, or :func:`create_app` in one's own server."""

from rerank_core.server.app import create_app
from rerank_core.server.keys import RateLimits
from rerank_core.server.settings import ServerSettings

__all__ = ["RateLimits", "ServerSettings", "create_app"]
