"""A small Hub on 127.0.0.1: enough of its HTTP interface for the real client to create, push to and pull from."""

import base64
import hashlib
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

import yaml

USER = "tester"


@dataclass
class Repository:
    """Files by path, and what each commit added: (title, paths)."""

    files: dict[str, bytes] = field(default_factory=dict)
    commits: list[tuple[str, dict[str, bytes]]] = field(default_factory=list)

    @property
    def sha(self) -> str:
        return hashlib.sha1(str(len(self.commits)).encode()).hexdigest()


class Hub:
    """Context manager that serves repositories of one user, who writes with ``token``."""

    def __init__(self, token: str) -> None:
        self.token = token
        self.repositories: dict[str, Repository] = {}
        self.bodies: list[bytes] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": self}))
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> "Hub":
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.hub.bodies.append(body)
        path = urlsplit(self.path).path
        if path == "/api/validate-yaml":
            return self._validate(json.loads(body)["content"])
        if self.headers.get("Authorization") != f"Bearer {self.hub.token}":
            return self._answer(401, {"error": "Invalid username or password."})
        if path == "/api/repos/create":
            request = json.loads(body)
            name = f"{request.get('organization') or USER}/{request['name']}"
            status = 409 if name in self.hub.repositories else 200
            self.hub.repositories.setdefault(name, Repository())
            return self._answer(status, {"url": f"{self.hub.url}/{name}", "id": name})
        _, _, _, owner, name, action, _ = path.split("/")
        repository = self.hub.repositories[f"{owner}/{name}"]
        if action == "preupload":
            files = json.loads(body)["files"]
            plain = {"uploadMode": "regular", "shouldIgnore": False}
            return self._answer(200, {"files": [{"path": file["path"]} | plain for file in files]})
        header, *operations = (json.loads(line) for line in body.splitlines())
        added = {one["value"]["path"]: base64.b64decode(one["value"]["content"]) for one in operations}
        repository.files |= added
        repository.commits.append((header["value"]["summary"], added))
        url = f"{self.hub.url}/{owner}/{name}/commit/{repository.sha}"
        return self._answer(200, {"success": True, "commitOid": repository.sha, "commitUrl": url})

    def do_GET(self) -> None:
        parts = unquote(urlsplit(self.path).path).split("/")[1:]
        is_api = parts[:2] == ["api", "models"]
        owner, name, *rest = [*(parts[2:] if is_api else parts), ""]
        repository = self.hub.repositories.get(f"{owner}/{name}")
        if repository is None:
            return self._answer(404, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"})
        commit = {"X-Repo-Commit": repository.sha}
        if is_api and rest[0] in ("", "revision"):
            siblings = [{"rfilename": path} for path in sorted(repository.files)]
            return self._answer(200, {"id": f"{owner}/{name}", "sha": repository.sha, "siblings": siblings})
        if is_api and rest[0] == "tree":
            entries = [
                {"type": "file", "path": path, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
                for path, content in sorted(repository.files.items())
            ]
            return self._answer(200, entries)
        content = repository.files.get("/".join(rest[2:-1])) if rest[0] == "resolve" else None
        if content is None:
            return self._answer(404, {"error": "Entry not found"}, commit | {"X-Error-Code": "EntryNotFound"})
        return self._answer(200, content, commit | {"ETag": f'"{hashlib.sha1(content).hexdigest()}"'})

    do_HEAD = do_GET

    def _validate(self, content: str) -> None:
        try:
            valid = isinstance(yaml.safe_load(content.split("---\n")[1]), dict)
        except (IndexError, yaml.YAMLError):
            valid = False
        errors = [] if valid else [{"message": "metadata is no YAML mapping"}]
        self._answer(200 if valid else 400, {"errors": errors, "warnings": []})

    def _answer(self, status: int, content: Any, headers: dict[str, str] | None = None) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Keep the tests' output clean."""
