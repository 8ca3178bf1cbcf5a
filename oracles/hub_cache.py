"""The cache that Python's huggingface_hub leaves after fetching three files of a repository from a server on loopback.

Usage: hub_cache.py OUTPUT_FOLDER
Writes:
  hub_cache.json   path below the cache -> where a link points, or a file's content; locks and CACHEDIR.TAG aside

The server answers as the Hub does: for a large file with a redirect to another host, and with the headers that name commit,
tag and size. What it serves is written down a second time in `crates/regraft-hub/tests/hub.rs`.
Versions: huggingface_hub 2.4.0.
"""

import hashlib
import http.server
import json
import os
import pathlib
import sys
import tempfile
import threading

COMMIT = "0123456789abcdef0123456789abcdef01234567"
LARGE = bytes((index * 7 + index // 251) % 256 for index in range(1000))
SMALL = {"config.json": (b"{}", "5f3c"), "1_Pooling/config.json": (b"[]", "77aa")}


class Hub(http.server.BaseHTTPRequestHandler):
    def answer(self, with_body):
        port = self.server.server_address[1]
        name = self.path.split("/resolve/main/")[-1]
        body = b""
        if self.path == "/store":
            body = LARGE
            self.send_response(200)
        elif name in SMALL:
            body, tag = SMALL[name]
            self.send_response(200)
            self.send_header("ETag", f'"{tag}"')
        else:
            self.send_response(302)
            self.send_header("X-Linked-Etag", f'"{hashlib.sha256(LARGE).hexdigest()}"')
            self.send_header("X-Linked-Size", str(len(LARGE)))
            self.send_header("Location", f"http://localhost:{port}/store")
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def do_HEAD(self):
        self.answer(False)

    def do_GET(self):
        self.answer(True)

    def log_message(self, *_):
        pass


def tree(folder):
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if name.startswith(".locks") or name == "CACHEDIR.TAG":
            continue
        if path.is_symlink():
            found[name] = {"link": os.readlink(path)}
        elif path.is_file():
            content = path.read_bytes()
            found[name] = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    return found


def main():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as home:
        os.environ |= {"HF_HOME": home, "HF_ENDPOINT": f"http://127.0.0.1:{server.server_address[1]}"}
        os.environ |= {"HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_UPDATE_CHECK": "1"}
        # Settings are read at import.
        from huggingface_hub import hf_hub_download

        for name in ["model.safetensors", *SMALL]:
            hf_hub_download("timm/tiny", name)
        found = tree(pathlib.Path(home) / "hub")
    pathlib.Path(sys.argv[1], "hub_cache.json").write_text(json.dumps(found, indent=1) + "\n")


main()
