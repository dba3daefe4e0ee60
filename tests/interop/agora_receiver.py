"""Runs where agora-protocol is installed: Agora's own receiver over HTTP, whose model is scripted."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from agora.receiver import Receiver, ReceiverServer  # type: ignore[import-not-found]
from werkzeug.serving import make_server  # type: ignore[import-not-found]


class Scripted:
    """A toolformer whose model says what the script has for a category."""

    def __init__(self, script: dict[str, str]) -> None:
        self.script = script

    def new_conversation(self, prompt: str, tools: list[Any], category: str | None = None) -> Any:
        return lambda message, print_output=True: self.script[str(category)]


def main(directory: str, script: str) -> None:
    storage = str(Path(directory) / "receiver.json")
    toolformer = Scripted(json.loads(script))
    receiver = Receiver.make_default(toolformer, storage_path=storage, implementation_threshold=0)
    server = make_server("127.0.0.1", 0, ReceiverServer(receiver).app)
    print(json.dumps({"url": f"http://127.0.0.1:{server.server_port}/"}), flush=True)
    server.serve_forever()


main(*sys.argv[1:])
