"""A server that answers from a script: `python -m tests.proxy.scripted SCRIPT [PORT]`.

SCRIPT is a file of JSON: `tools`, what is listed, or `pages` of them; `log`, a file to which requests are written;
`capabilities` of the server; `results`, by the name of a tool the text of its result, which goes
out as it stands there; `lines`, whole messages, with the request's id in place of `@` in `"id":@`. Any other tool
answers with the arguments that it got, or their digest. With PORT it is a stateless HTTP server.
"""

from __future__ import annotations

import json
import sys
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

SHOWN = 60_000
GREETING = {
    "protocolVersion": "2025-06-18",
    "capabilities": {"tools": {"listChanged": True}},
    "serverInfo": {"name": "scripted", "version": "1"},
}


def answer(script: dict[str, Any], message: dict[str, Any], raw: str) -> bytes:
    key, params = json.dumps(message["id"]), message.get("params") or {}
    name = params.get("name", "")
    if message["method"] == "tools/call" and name in script.get("lines", {}):
        said: str = script["lines"][name]
        return said.replace('"id":@', f'"id":{key}').encode("utf-8", "surrogateescape")
    if log := script.get("log"):
        with Path(log).open("a") as file:
            file.write(raw + "\n")
    if message["method"] == "initialize":
        result = json.dumps(GREETING | {"capabilities": script.get("capabilities", GREETING["capabilities"])})
    elif message["method"] == "tools/list":
        result = json.dumps(page(script.get("pages") or [script.get("tools", [])], int(params.get("cursor", 0))))
    elif message["method"].startswith("resources/"):
        error = {"code": -32601, "message": "Method not found"}
        return json.dumps({"jsonrpc": "2.0", "id": message["id"], "error": error}).encode()
    elif message["method"] == "tools/call" and name in script.get("results", {}):
        result = script["results"][name]
    else:
        result = json.dumps(
            {"content": [{"type": "text", "text": raw if len(raw.encode()) < SHOWN else digested(message)}]}
        )
    return f'{{"jsonrpc":"2.0","id":{key},"result":{result}}}'.encode("utf-8", "surrogateescape")


def page(pages: list[Any], number: int) -> dict[str, Any]:
    return {"tools": pages[number]} | ({"nextCursor": str(number + 1)} if number + 1 < len(pages) else {})


def digested(message: dict[str, Any]) -> str:
    """The request, with the digest of a body that is too long to be shown."""
    body = message["params"]["arguments"]["body"]
    arguments = {"body": sha256(body.encode()).hexdigest()}
    return json.dumps({"params": {"arguments": arguments}})


def requested(raw: bytes) -> dict[str, Any] | None:
    try:
        message = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    return message if isinstance(message, dict) and "id" in message and "method" in message else None


def over_http(script: dict[str, Any], port: int) -> None:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            """Nobody reads it."""

        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers["content-length"]))
            message = requested(raw)
            said = answer(script, message, raw.decode("utf-8", "replace")) if message else b""
            self.send_response(200 if message else 202)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

    ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()


def main() -> None:
    script = json.loads(Path(sys.argv[1]).read_text())
    if len(sys.argv) > 2:
        over_http(script, int(sys.argv[2]))
    for line in sys.stdin.buffer:
        if message := requested(line):
            sys.stdout.buffer.write(answer(script, message, line.decode("utf-8", "replace").rstrip("\n")) + b"\n")
            sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
