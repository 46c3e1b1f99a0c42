"""A small hub: as much of the Hugging Face Hub's HTTP interface as uploads and downloads of huggingface_hub speak."""

import base64
import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

LARGE = (".safetensors", ".onnx")


def _sha1(data):
    return hashlib.sha1(data, usedforsecurity=False)


class Hub:
    """Repositories in memory, served until ``close``.

    ``tokens`` may read and write everything. ``cut``: names of files whose next download is cut off at 90 %.
    ``damage``: names of files that are served with one bit turned. ``asked`` has a line for each request.
    """

    def __init__(self):
        self.repos = {}
        self.objects = {}
        self.tokens = {"writer-token"}
        self.cut = set()
        self.damage = set()
        self.asked = []
        hub = self

        class Handler(_Handler):
            pass

        Handler.hub = hub
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self.cdn = f"http://localhost:{self._server.server_address[1]}"  # another host, as on the real hub
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()

    def files(self, repo, revision="main"):
        found = self.repos[repo]
        return found["commits"][found["refs"].get(revision, revision)]

    def commit(self, repo, revision, files):
        found = self.repos[repo]
        text = repr(
            (
                sorted((name, hashlib.sha256(content).hexdigest()) for name, content in files.items()),
                len(found["commits"]),
            )
        )
        sha = _sha1(text.encode()).hexdigest()
        found["commits"][sha] = files
        found["refs"][revision] = sha
        return sha


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self._get(head=True)

    def do_GET(self):
        self._get(head=False)

    def _get(self, *, head):
        path = self._path()
        if match := re.fullmatch(r"/cdn/(\w+)/(.+)", path):
            return self._content(self.hub.objects[match[1]], match[2], head=head)
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/([^/]+))?", path):
            if (repo := self._repo(match[1])) and (sha := self._sha(repo, match[2] or "main")):
                siblings = [{"rfilename": name} for name in sorted(repo["commits"][sha])]
                return self._json(
                    {
                        "id": match[1],
                        "modelId": match[1],
                        "sha": sha,
                        "siblings": siblings,
                        "tags": [],
                        "downloads": 0,
                        "likes": 0,
                        "private": repo["private"],
                    }
                )
            return None
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/tree/([^/]+)(?:/(.*))?", path):
            if (repo := self._repo(match[1])) and (sha := self._sha(repo, match[2])):
                files = repo["commits"][sha].items()
                return self._json(
                    [
                        {"type": "file", "path": name, "size": len(data), "oid": _sha1(data).hexdigest()}
                        for name, data in files
                    ]
                )
            return None
        if match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            if (repo := self._repo(match[1])) and (sha := self._sha(repo, match[2])):
                return self._resolve(repo, sha, match[3], head=head)
            return None
        if path == "/api/whoami-v2":
            return (
                self._json({"type": "user", "name": "user", "orgs": [], "auth": {}})
                if self._may()
                else self._refuse(401, "")
            )
        return self._refuse(404, "")

    def _resolve(self, repo, sha, name, *, head):
        content = repo["commits"][sha].get(name)
        if content is None:
            return self._refuse(404, "EntryNotFound", sha)
        if not name.endswith(LARGE):
            etag = _sha1(content).hexdigest()
            return self._content(content, name, head=head, extra={"ETag": f'"{etag}"', "X-Repo-Commit": sha})
        oid = hashlib.sha256(content).hexdigest()
        self.hub.objects[oid] = content
        headers = {
            "Location": f"{self.hub.cdn}/cdn/{oid}/{name}",
            "X-Linked-Etag": f'"{oid}"',
            "X-Linked-Size": str(len(content)),
            "X-Repo-Commit": sha,
        }
        return self._send(302, b"", headers)

    def _content(self, content, name, *, head, extra=None):
        if name in self.hub.damage:
            middle = len(content) // 2
            content = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
        status, headers = 200, {"Accept-Ranges": "bytes", **(extra or {})}
        if match := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
            first, last = int(match[1]), int(match[2] or len(content) - 1)
            headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
            status, content = 206, content[first : last + 1]
        if head or name not in self.hub.cut:
            return self._send(status, b"" if head else content, headers, length=len(content))
        self.hub.cut.discard(name)
        self._send(status, content[: len(content) * 9 // 10], headers, length=len(content))
        self.close_connection = True
        return None

    def do_POST(self):
        path, body = self._path(), self._body()
        if path == "/api/validate-yaml":
            return self._json({"errors": [], "warnings": []})
        if not self._may():
            return self._refuse(401, "")
        if path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked.get('organization') or 'user'}/{asked['name']}"
            if name in self.hub.repos:
                return self._json({"url": f"{self.hub.url}/{name}"}, 409)
            self.hub.repos[name] = {
                "private": bool(asked.get("private")) or asked.get("visibility") == "private",
                "commits": {},
                "refs": {},
            }
            self.hub.commit(name, "main", {".gitattributes": b""})
            return self._json({"url": f"{self.hub.url}/{name}"})
        match = re.fullmatch(r"/api/models/([^/]+/[^/]+)/(preupload|commit|branch|tag)/([^/]+)", path)
        if match and (repo := self._repo(match[1])):
            return getattr(self, f"_{match[2]}")(match[1], repo, match[3], body)
        if match := re.fullmatch(r"/([^/]+/[^/]+)\.git/info/lfs/objects/batch", path):
            return self._batch(json.loads(body))
        return self._refuse(404, "")

    def _preupload(self, _name, repo, revision, body):
        if not self._sha(repo, revision):
            return None
        files = json.loads(body)["files"]
        modes = [
            {"path": f["path"], "uploadMode": "lfs" if f["path"].endswith(LARGE) else "regular", "shouldIgnore": False}
            for f in files
        ]
        return self._json({"files": modes})

    def _batch(self, asked):
        objects = []
        for entry in asked["objects"]:
            upload = {"href": f"{self.hub.url}/lfs/{entry['oid']}", "header": {}}
            objects.append({"oid": entry["oid"], "size": entry["size"], "actions": {"upload": upload}})
        return self._json({"transfer": "basic", "objects": objects})

    def do_PUT(self):
        oid, body = self._path().rpartition("/")[2], self._body()
        if hashlib.sha256(body).hexdigest() != oid:
            return self._refuse(400, "")
        self.hub.objects[oid] = body
        return self._send(200, b"", {})

    def _commit(self, name, repo, revision, body):
        sha = self._sha(repo, revision)
        files = dict(repo["commits"][sha])
        for line in body.splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "lfsFile":
                files[value["path"]] = self.hub.objects[value["oid"]]
            elif entry["key"] == "deletedFile":
                del files[value["path"]]
        oid = self.hub.commit(name, revision, files)
        return self._json({"success": True, "commitOid": oid, "commitUrl": f"{self.hub.url}/{name}/commit/{oid}"})

    def _branch(self, _name, repo, branch, _body):
        if branch in repo["refs"]:
            return self._json({"error": "Reference already exists"}, 409)
        repo["refs"][branch] = repo["refs"]["main"]
        return self._send(200, b"", {})

    def _tag(self, _name, repo, revision, body):
        repo["refs"][json.loads(body)["tag"]] = self._sha(repo, revision)
        return self._send(200, b"", {})

    def _path(self):
        path = unquote(urlsplit(self.path).path)
        self.hub.asked.append(f"{self.command} {path} {self.headers.get('Range', '')}".strip())
        return path

    def _body(self):
        if self.headers.get("Transfer-Encoding") == "chunked":
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _may(self):
        return self.headers.get("Authorization", "").removeprefix("Bearer ") in self.hub.tokens

    def _repo(self, name):
        repo = self.hub.repos.get(name)
        if repo is None or (repo["private"] and not self._may()):
            self._refuse(404 if self._may() else 401, "RepoNotFound")
            return None
        return repo

    def _sha(self, repo, revision):
        sha = repo["refs"].get(revision, revision)
        if sha not in repo["commits"]:
            self._refuse(404, "RevisionNotFound")
            return None
        return sha

    def _refuse(self, status, code, sha=None):
        headers = {"X-Error-Code": code, "X-Error-Message": code} if code else {}
        self._json({"error": code or "refused"}, status, {**headers, **({"X-Repo-Commit": sha} if sha else {})})

    def _json(self, value, status=200, headers=None):
        self._send(status, json.dumps(value).encode(), {"Content-Type": "application/json", **(headers or {})})

    def _send(self, status, content, headers, *, length=None):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content) if length is None else length))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)
