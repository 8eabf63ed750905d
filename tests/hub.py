"""A small Hugging Face Hub on loopback: the real client library downloads from it over real HTTP."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

_INFO = re.compile(r"^/api/models/([^/]+/[^/]+)(?:/revision/([^/?]+))?(?:\?.*)?$")
_TREE = re.compile(r"^/api/models/([^/]+/[^/]+)/tree/([^/?]+)(?:\?.*)?$")
_FILE = re.compile(r"^/([^/]+/[^/]+)/resolve/([^/]+)/(.+)$")


class Hub:
    """Repositories in memory behind an HTTP server; ``requests`` lists what was asked for."""

    def __init__(self) -> None:
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.commits: dict[str, str] = {}
        self.requests: list[str] = []
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                hub._answer(self, body=True)

            def do_HEAD(self) -> None:
                hub._answer(self, body=False)

            def log_message(self, *_) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def publish(self, repository: str, folder: Path, commit: str | None = None) -> str:
        """Serve a folder as a repository, under this commit or one of its own; returns the commit."""
        files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        self.repositories[repository] = files
        if commit is not None:
            self.commits[repository] = commit
        return self.commit(repository)

    def commit(self, repository: str) -> str:
        if repository in self.commits:
            return self.commits[repository]
        digest = hashlib.sha1(usedforsecurity=False)
        for name, data in sorted(self.repositories[repository].items()):
            digest.update(name.encode() + data)
        return digest.hexdigest()

    def downloads(self, suffix: str) -> list[str]:
        """The GET requests for files with this suffix."""
        return [line for line in self.requests if line.startswith("GET") and line.endswith(suffix)]

    def _answer(self, request: BaseHTTPRequestHandler, *, body: bool) -> None:
        self.requests.append(f"{request.command} {request.path}")
        if match := _FILE.match(request.path):
            self._send_file(request, *match.groups(), body=body)
        elif (match := _TREE.match(request.path)) and match[1] in self.repositories:
            files = self.repositories[match[1]]
            tree = [{"type": "file", "path": name, "size": len(data), "oid": "0"} for name, data in files.items()]
            self._send_json(request, 200, tree)
        elif (match := _INFO.match(request.path)) and match[1] in self.repositories:
            commit = self.commit(match[1])
            if match[2] not in {None, "main", commit}:
                self._send_json(request, 404, {"error": "Revision Not Found"}, code="RevisionNotFound")
                return
            siblings = [{"rfilename": name} for name in self.repositories[match[1]]]
            self._send_json(request, 200, {"id": match[1], "sha": commit, "siblings": siblings})
        else:
            self._send_json(request, 404, {"error": "Repository not found"}, code="RepoNotFound")

    def _send_file(self, request, repository: str, _revision: str, name: str, *, body: bool) -> None:
        data = self.repositories.get(repository, {}).get(name)
        if data is None:
            self._send_json(request, 404, {"error": "Entry not found"}, code="EntryNotFound")
            return
        request.send_response(200)
        request.send_header("Content-Length", str(len(data)))
        request.send_header("ETag", f'"{hashlib.sha1(data, usedforsecurity=False).hexdigest()}"')
        request.send_header("X-Repo-Commit", self.commit(repository))
        request.end_headers()
        if body:
            request.wfile.write(data)

    def _send_json(self, request, status: int, content: object, *, code: str | None = None) -> None:
        data = json.dumps(content).encode()
        request.send_response(status)
        request.send_header("Content-Type", "application/json")
        request.send_header("Content-Length", str(len(data)))
        if code:
            request.send_header("X-Error-Code", code)
        request.end_headers()
        request.wfile.write(data)
