"""A small hub on this machine that speaks what the clients of Hugging Face and ModelScope ask of the real ones."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

COMMIT = "a" * 40


class Hub(ThreadingHTTPServer):
    """Serves the files of `folder` as the model `name`; `cut` says how often the transfer of a file breaks off half-way,
    `spoiled` how often it is sent with other bytes than announced."""

    daemon_threads = True

    def __init__(self, folder: Path, name: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder, self.name = folder, name
        self.cut: dict[str, int] = {}
        self.spoiled: dict[str, int] = {}
        self.asked: list[tuple[str, str | None]] = []  # (file, Range)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def files(self) -> dict[str, bytes]:
        return {p.name: p.read_bytes() for p in sorted(self.folder.iterdir()) if p.is_file()}


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def blob_id(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        parts = urlsplit(self.path)
        path, query = unquote(parts.path), parse_qs(parts.query)
        hub, files = self.server, self.server.files()
        if path.rstrip("/") in (f"/api/models/{hub.name}/revision/main", f"/api/models/{hub.name}"):
            return self._json({"id": hub.name, "sha": COMMIT, "siblings": [{"rfilename": n} for n in files]})
        if path.startswith(f"/api/models/{hub.name}/tree/"):
            return self._json([_entry(name, data) for name, data in files.items()])
        if path == f"/api/v1/models/{hub.name}/repo/files":
            rows = [{"Name": n, "Path": n, "Type": "blob", "Size": len(d), "Sha256": sha256(d)} for n, d in files.items()]
            return self._json({"Code": 200, "Success": True, "Data": {"Files": rows}})
        match = re.fullmatch(rf"/{re.escape(hub.name)}/resolve/[^/]+/(.+)", path)
        name = match[1] if match else query.get("FilePath", [""])[0] if path == f"/api/v1/models/{hub.name}/repo" else ""
        if name in files:
            return self._file(name, files[name], body)
        return self._json({"error": "not found", "Code": 404, "Success": False, "Message": "not found"}, 404)

    def _json(self, value: object, status: int = 200) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        if status == 404:
            self.send_header("X-Error-Code", "RepoNotFound")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)

    def _file(self, name: str, data: bytes, body: bool) -> None:
        hub, asked = self.server, self.headers.get("Range")
        etag = sha256(data) if name.endswith(".safetensors") else blob_id(data)
        start = int(re.match(r"bytes=(\d+)-", asked)[1]) if asked else 0
        self.send_response(206 if asked else 200)
        self.send_header("ETag", f'"{etag}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Type", "application/octet-stream")
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        if not body:
            return
        hub.asked.append((name, asked))
        if hub.spoiled.get(name, 0) > 0:
            hub.spoiled[name] -= 1
            data = bytes(len(data))
        if hub.cut.get(name, 0) > 0:
            hub.cut[name] -= 1
            self.wfile.write(data[start : start + (len(data) - start) // 2])
            self.wfile.flush()
            self.close_connection = True
            self.connection.close()
            return
        self.wfile.write(data[start:])


def _entry(name: str, data: bytes) -> dict:
    entry = {"type": "file", "path": name, "size": len(data), "oid": blob_id(data)}
    if name.endswith(".safetensors"):
        entry["lfs"] = {"oid": sha256(data), "size": len(data), "pointerSize": 134}
    return entry
