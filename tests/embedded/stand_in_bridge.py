"""A bridge with nothing behind it: it keeps the contract with its supervisor, and nothing else.

`stored_bytes` is what the file of that name in the data directory says; each question leaves a dot in `asked`.
"""

from __future__ import annotations

import argparse
import json
import os
import socketserver
import sys
import threading
from http.server import BaseHTTPRequestHandler
from pathlib import Path

PORT_TAKEN = 3


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        place = Path(os.environ["BROKER_PLANE_DATA_DIR"])
        stored = place / "stored_bytes"
        body = json.dumps({"stored_bytes": int(stored.read_text()) if stored.exists() else 0}).encode()
        with (place / "asked").open("a") as asked:
            asked.write(".")
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


def end_with_supervisor() -> None:
    sys.stdin.buffer.read()
    os._exit(0)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    try:
        server = Server(("127.0.0.1", parser.parse_args().port), Handler)
    except OSError:
        return PORT_TAKEN
    print(sys.stdin.readline().partition(":")[0], "given", file=sys.stderr)
    threading.Thread(target=end_with_supervisor, daemon=True).start()
    print(json.dumps({"bridge": f"http://127.0.0.1:{server.server_address[1]}"}), flush=True)
    server.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
