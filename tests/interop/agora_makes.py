"""Runs where agora-protocol is installed: documents and routines as Agora itself makes them, with a scripted model."""

from __future__ import annotations

import json
import sys
from typing import Any

from agora.common.core import Protocol  # type: ignore[import-not-found]
from agora.sender.components.negotiator import SenderNegotiator  # type: ignore[import-not-found]
from agora.sender.components.programmer import SenderProgrammer  # type: ignore[import-not-found]
from agora.utils import download_and_verify_protocol, encode_as_data_uri  # type: ignore[import-not-found]


class Scripted:
    """A toolformer whose model says what the script has for a category."""

    def __init__(self, script: dict[str, str]) -> None:
        self.script = script

    def new_conversation(self, prompt: str, tools: list[Any], category: str | None = None) -> Any:
        return lambda message, print_output=True: self.script[str(category)]


def described(protocol: Any) -> dict[str, Any]:
    return {
        "document": protocol.protocol_document,
        "hash": protocol.hash,
        "metadata": {name: str(value) for name, value in protocol.metadata.items()},
        "data_uri": encode_as_data_uri(protocol.protocol_document),
    }


def main() -> None:
    asked = json.load(sys.stdin)
    answer: dict[str, Any] = {"documents": [described(Protocol(text, [], None)) for text in asked["documents"]]}
    answer["verified"] = [download_and_verify_protocol(name, source) for name, source in asked.get("sources", [])]
    if script := asked.get("script"):
        schema = asked["schema"]
        negotiated = SenderNegotiator(Scripted(script))(schema, lambda query: {"status": "success", "body": "Agreed"})
        answer["negotiated"] = described(negotiated)
        answer["routine"] = SenderProgrammer(Scripted(script))(schema, negotiated.protocol_document)
    json.dump(answer, sys.stdout)


main()
