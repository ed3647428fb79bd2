"""A Hugging Face hub on the loopback interface, for tests that go through the real client."""

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Collection, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

COMMIT = "5ca1ab1e0ddba11decade0fca75ea7edfacade00"
"""The commit that every repository of a ``LoopbackHub`` is at."""

NOTICE = "unauthenticated; You are sending unauthenticated requests to the hub."
"""What the hub tells a client without a token; the client logs it as a warning."""


class Request(NamedTuple):
    """A request and how it was answered; status 0: the connection was closed without an answer."""

    method: str
    path: str
    status: int


class LoopbackHub:
    """Serves ``{"org/name": directory}`` at ``url`` while the context lasts, and records the requests.

    Faults are given to files, named "org/name/file". truncated: each download stops half-way, short of its
    Content-Length. short: a download is half of what its metadata promised. dead: connections close without an answer.
    gated: repositories whose terms nobody has accepted. A proxy request for another host is refused.
    """

    def __init__(
        self,
        repos: Mapping[str, Path],
        *,
        truncated: Collection[str] = (),
        short: Collection[str] = (),
        dead: Collection[str] = (),
        gated: Collection[str] = (),
    ) -> None:
        self.repos, self.gated = repos, gated
        self.truncated, self.short, self.dead = truncated, short, dead
        self.requests: list[Request] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    @property
    def url(self) -> str:
        """What HF_ENDPOINT is set to."""
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def downloads(self) -> list[str]:
        """Files that were sent, as "org/name/file", in order."""
        found = [path for method, path, status in self.requests if method == "GET" and status == 200]
        return [f"{repo[1:]}/{rest.partition('/')[2]}" for repo, _, rest in (p.partition("/resolve/") for p in found)]

    @property
    def strays(self) -> list[Request]:
        """Requests meant for other hosts, which came here because this is the proxy."""
        return [request for request in self.requests if not request.path.startswith("/")]

    def __enter__(self) -> "LoopbackHub":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def environment(endpoint: str, home: Path, **more: str) -> dict[str, str]:
    """This process's environment, empty as far as hubs, caches and proxies go, with a hub at ``endpoint``."""
    ours = ("HF_", "HUGGING", "TRANSFORMERS_", "TORCH_HOME", "XDG_CACHE_HOME")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(ours) and not k.lower().endswith("_proxy")}
    own = {
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(home),
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_ETAG_TIMEOUT": "120",  # machines are shared; what takes long is no fault
        "HF_HUB_DOWNLOAD_TIMEOUT": "120",
        "http_proxy": endpoint,
        "https_proxy": endpoint,
        "no_proxy": "127.0.0.1",
    }
    return {**kept, **own, **more}


def momos(*arguments: str, endpoint: str, home: Path, directory: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """Run the command line in ``directory`` against the hub at ``endpoint``."""
    directory.mkdir(exist_ok=True)
    return subprocess.run(
        [sys.executable, "-m", "momos_cli", *arguments],
        cwd=directory,
        env=environment(endpoint, home, **more),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def sha256(content: bytes) -> str:
    """Hexadecimal digest."""
    return hashlib.sha256(content).hexdigest()


def _files(directory: Path) -> dict[str, Path]:
    return {path.relative_to(directory).as_posix(): path for path in sorted(directory.rglob("*")) if path.is_file()}


def _handler(hub: LoopbackHub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            if not self.path.startswith("/"):
                return self._refuse(403, None, "no way out of here")
            path = urlsplit(self.path).path.strip("/")
            api = path.startswith("api/models/")
            repo, found, rest = path.removeprefix("api/models/").partition("/revision/" if api else "/resolve/")
            revision, _, name = rest.partition("/")
            if repo.count("/") > 1 or not (api or found):
                return self._refuse(404, None, "Sorry, we can't find the page you are looking for.")
            if repo not in hub.repos:
                return self._refuse(404, "RepoNotFound", "Repository not found")
            if repo in hub.gated:
                return self._refuse(403, "GatedRepo", f"Access to model {repo} is restricted")
            if unquote(revision) not in ("main", COMMIT) and (found or not api):
                return self._refuse(404, "RevisionNotFound", f"Invalid rev id: {unquote(revision)}")
            return self._model(repo) if api else self._file(repo, unquote(name))

        do_HEAD = do_GET  # noqa: N815

        def do_CONNECT(self) -> None:
            self._refuse(403, None, "no way out of here")

        def _model(self, repo: str) -> None:
            siblings = [{"rfilename": name} for name in _files(hub.repos[repo])]
            self._json(200, {"id": repo, "modelId": repo, "sha": COMMIT, "siblings": siblings})

        def _file(self, repo: str, name: str) -> None:
            path, full = _files(hub.repos[repo]).get(name), f"{repo}/{name}"
            if full in hub.dead:
                self.close_connection = True
                return self._record(0)
            if path is None:
                return self._refuse(404, "EntryNotFound", "Entry not found", {"X-Repo-Commit": COMMIT})
            content = path.read_bytes()
            headers = {"ETag": f'"{sha256(content)}"', "X-Repo-Commit": COMMIT, "X-HF-Warning": NOTICE}
            length = len(content)
            if full in (*hub.truncated, *hub.short) and self.command == "GET":
                content = content[: length // 2]
            return self._answer(200, content, headers, len(content) if full in hub.short else length)

        def _refuse(
            self, status: int, code: str | None, message: str, headers: Mapping[str, str] | None = None
        ) -> None:
            named = {"X-Error-Code": code} if code else {}
            self._json(status, {"error": message}, {**named, "X-Error-Message": message, **(headers or {})})

        def _json(self, status: int, record: dict[str, Any], headers: Mapping[str, str] | None = None) -> None:
            content = json.dumps(record).encode()
            self._answer(status, content, {"Content-Type": "application/json", **(headers or {})}, len(content))

        def _answer(self, status: int, content: bytes, headers: Mapping[str, str], length: int) -> None:
            self._record(status)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(length))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)
                self.close_connection = self.close_connection or len(content) < length

        def _record(self, status: int) -> None:
            hub.requests.append(Request(self.command, self.path, status))

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Handler
