from __future__ import annotations

from importlib.util import find_spec

# The lower bounds are tested without the server.
collect_ignore = [] if find_spec("uvicorn") and find_spec("fastapi") else ["test_clients.py"]
