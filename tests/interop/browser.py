"""A headless browser opens a page that this process serves, and the page posts what it found."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import Any
from urllib.parse import quote

from tests.interop.conftest import HERE
from tests.tools import need

BROWSER_SECONDS = 240


class Pages:
    """A web server at an origin of its own, and the browser that opens its page."""

    def __init__(self, origin: str, found: Queue[Any], browser: Path, profile: Path) -> None:
        self.origin = origin
        self._found = found
        self._browser = browser
        self._profile = profile

    def open(self, **asked: Any) -> Any:
        """What the page found with `asked`."""
        url = f"{self.origin}/#{quote(json.dumps(asked))}"
        command: list[str | Path] = [
            self._browser,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
        ]
        command += ["--no-proxy-server", f"--user-data-dir={self._profile}", "--remote-debugging-port=0", url]
        with (self._profile.parent / "browser.log").open("ab") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        try:
            return self._found.get(timeout=BROWSER_SECONDS)
        finally:
            # The command is a script that waits for the browser, which is in its process group.
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)


@contextmanager
def serving_pages(scripts: Path, profile: Path, host: str = "localhost") -> Iterator[Pages]:
    """`scripts` has tus-js-client's build for browsers."""
    browser = need("chromium-headless-shell", why="in which pages of other origins run")
    found: Queue[Any] = Queue()
    files = {"/": HERE / "browser_page.html", "/tus.js": scripts / "tus-js-client" / "dist" / "tus.min.js"}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = files.get(self.path)
            self.send_response(404 if path is None else 200)
            self.send_header("content-type", "text/html" if self.path == "/" else "text/javascript")
            self.end_headers()
            if path is not None:
                self.wfile.write(path.read_bytes())

        def do_POST(self) -> None:
            found.put(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield Pages(f"http://{host}:{server.server_address[1]}", found, browser, profile)
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
