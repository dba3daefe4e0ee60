"""A server on standard streams that writes what no server should: `python -m tests.proxy.hostile_upstream`.

A call of the tool NAME is answered by ANSWERS[NAME], with its id in place of `@`; the tool `fine` is answered as it
should be. So that a list may be wrong too, `tools/list` is answered by the answer that the cursor names.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from typing import Any

DEEP = "[" * 900 + "]" * 900
DEEPER = "[" * 20_000 + "]" * 20_000
LARGE = "x" * 100_000
NUMBERS = ",".join(["9" * 300] * 400)
LONG = "x" * 3_000_000

CONTENTS: dict[str, str] = {
    "content-texts": '{"content": ["a", "b"]}',
    "content-object": '{"content": {"type": "text"}}',
    "content-number": '{"content": 5}',
    "content-null-block": '{"content": [null]}',
    "content-nested": '{"content": [[{"type": "text", "text": "x"}]]}',
    "type-list": '{"content": [{"type": []}]}',
    "type-missing": '{"content": [{"text": "x"}]}',
    "text-number": '{"content": [{"type": "text", "text": 7}]}',
    "text-missing": '{"content": [{"type": "text"}]}',
    "text-null": '{"content": [{"type": "text", "text": null}]}',
    "text-list": '{"content": [{"type": "text", "text": ["#LARGE"]}]}',
    "meta-list": '{"content": [], "_meta": []}',
    "meta-text": '{"content": [{"type": "text", "text": "#LARGE"}], "_meta": "x"}',
    "structured-deep": '{"content": [], "structuredContent": #DEEP}',
    "structured-deep-and-long": '{"content": [{"type": "text", "text": "#LARGE"}], "structuredContent": #DEEP}',
    "structured-deeper": '{"content": [], "structuredContent": #DEEPER}',
    "text-of-deep-json": '{"content": [{"type": "text", "text": "#OPEN"}]}',
    "is-error-object": '{"content": [], "isError": {}}',
    "result-type-list": '{"content": [], "resultType": []}',
    "surrogates": '{"content": [{"type": "text", "text": "\\ud800"}]}',
    "numbers": '{"content": [], "structuredContent": {"n": [#NUMBERS]}}',
    "exponents": '{"content": [], "structuredContent": {"n": 1e999}}',
}
"""Results of calls."""

LISTS: dict[str, str] = {
    "tools-texts": '{"tools": ["a"]}',
    "tools-null": '{"tools": null}',
    "tools-object": '{"tools": {"name": "x"}}',
    "tools-mixed": '{"tools": [5, null, [], {"name": "fine", "inputSchema": {"type": "object"}}]}',
    "tool-name-list": '{"tools": [{"name": [], "inputSchema": {}}]}',
    "tool-no-name": '{"tools": [{"inputSchema": {}}]}',
    "tool-schema-text": '{"tools": [{"name": "a", "inputSchema": "x"}]}',
    "tool-schema-list": '{"tools": [{"name": "a", "inputSchema": [1]}]}',
    "tool-properties-list": '{"tools": [{"name": "a", "inputSchema": {"properties": ["x"]}}]}',
    "tool-property-text": '{"tools": [{"name": "draw", "inputSchema": {"properties": {"data": "x"}}}]}',
    "tool-required-object": '{"tools": [{"name": "draw", "inputSchema": {"required": {"a": 1}}}]}',
    "tool-output-list": '{"tools": [{"name": "a", "outputSchema": ["x"]}]}',
    "tool-output-properties": '{"tools": [{"name": "a", "outputSchema": {"properties": [1]}}]}',
    "tool-output-deep": '{"tools": [{"name": "a", "outputSchema": {"properties": {"x": #DEEP}}}]}',
    "tool-description": '{"tools": [{"name": "draw", "description": {"a": 1}, "inputSchema": {}}]}',
    "tool-items-text": '{"tools": [{"name": "a", "outputSchema": {"type": "array", "items": "x"}}]}',
    "tool-reference": '{"tools": [{"name": "a", "outputSchema": {"$ref": "#/a/b/c"}}]}',
    "tools-meta-list": '{"tools": [], "_meta": []}',
}
"""Results of lists of tools."""

MESSAGES: dict[str, str] = {
    "result-text": '{"jsonrpc": "2.0", "id": @, "result": "text"}',
    "result-list": '{"jsonrpc": "2.0", "id": @, "result": []}',
    "result-null": '{"jsonrpc": "2.0", "id": @, "result": null}',
    "result-number": '{"jsonrpc": "2.0", "id": @, "result": 7}',
    "no-result": '{"jsonrpc": "2.0", "id": @}',
    "both": '{"jsonrpc": "2.0", "id": @, "result": {}, "error": {"code": 1, "message": "x"}}',
    "error-text": '{"jsonrpc": "2.0", "id": @, "error": "x"}',
    "error-no-code": '{"jsonrpc": "2.0", "id": @, "error": {"message": "x"}}',
    "error-code-list": '{"jsonrpc": "2.0", "id": @, "error": {"code": [], "message": "x"}}',
    "version": '{"jsonrpc": "1.0", "id": @, "result": {}}',
    "no-version": '{"id": @, "result": {}}',
    "id-object": '{"jsonrpc": "2.0", "id": {}, "result": {}}',
    "id-list": '{"jsonrpc": "2.0", "id": [], "result": {}}',
    "id-true": '{"jsonrpc": "2.0", "id": true, "result": {}}',
    "id-nested": '{"jsonrpc": "2.0", "id": {"id": [@]}, "result": {}}',
    "broken": '{"jsonrpc": "2.0", "id": @, "result": {',
    "broken-utf8": '{"jsonrpc": "2.0", "id": @, "result": {"content": [\udcff]}}',
    "long": '{"jsonrpc": "2.0", "id": @, "result": {"content": [{"type": "text", "text": "#LONG"}]}}',
    "long-id-last": '{"result": {"content": [{"type": "text", "text": "#LONG"}]}, "id": @, "jsonrpc": "2.0"}',
    "long-no-id": '{"result": {"id": 5, "content": "#LONG"}, "more": []}',
    "long-garbage": "#LONG",
    "long-spaces": "#SPACES x",
}
"""Whole lines, each in place of an answer."""

BEFORE: dict[str, str] = {
    "notification-list": '{"jsonrpc": "2.0", "method": "notifications/message", "params": []}',
    "method-list": '{"jsonrpc": "2.0", "method": []}',
    "request-object-id": '{"jsonrpc": "2.0", "id": {}, "method": "ping"}',
    "progress-token": '{"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": {}}}',
    "long-notification": '{"jsonrpc": "2.0", "method": "notifications/message", "params": {"a": "#LONG"}}',
    "long-request": '{"jsonrpc": "2.0", "id": 1, "method": "ping", "params": {"a": "#LONG"}}',
    "deep-line": "#DEEP",
    "batch": '[{"jsonrpc": "2.0", "id": 99, "result": {}}]',
    "text": '"x"',
    "number": "7",
    "zeros": "\x00\x00",
    "empty-object": "{}",
    "unknown-id": '{"jsonrpc": "2.0", "id": "nobody", "result": {}}',
    "null-id": '{"jsonrpc": "2.0", "id": null, "error": {"code": 1, "message": "x"}}',
}
"""Lines that come before a right answer."""

GREETINGS: dict[str, str] = {
    "capabilities-list": '{"protocolVersion": "2025-06-18", "capabilities": [], "serverInfo": {}}',
    "capabilities-text": '{"protocolVersion": "2025-06-18", "capabilities": "x"}',
    "tools-text": '{"protocolVersion": "2025-06-18", "capabilities": {"tools": "x"}}',
    "version-object": '{"protocolVersion": {}, "capabilities": {"tools": {"listChanged": []}}}',
    "version-list": '{"protocolVersion": [], "capabilities": null}',
}
"""Results of `initialize`; the client's name says which."""

GREETING = (
    '{"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": {"name": "h", "version": "1"}}'
)
FINE = '{"content": [{"type": "text", "text": "fine"}]}'


WORDS = {
    "#LARGE": LARGE,
    "#LONG": LONG,
    "#SPACES": " " * len(LONG),
    "#DEEPER": DEEPER,
    "#DEEP": DEEP,
    "#OPEN": "[" * 90_000,
    "#NUMBERS": NUMBERS,
}


def filled(said: str) -> str:
    for word, text in WORDS.items():
        said = said.replace(word, text)
    return said


def answer(key: Any, result: str) -> str:
    return f'{{"jsonrpc": "2.0", "id": {json.dumps(key)}, "result": {result}}}'


def lines_for(message: dict[str, Any]) -> Iterable[str]:
    key, params = message.get("id"), message.get("params")
    params = params if isinstance(params, dict) else {}
    match message.get("method"):
        case "initialize":
            name = params.get("clientInfo", {}).get("name")
            yield answer(key, GREETINGS.get(name, GREETING))
        case "tools/list":
            yield answer(key, LISTS.get(params.get("cursor", ""), '{"tools": []}'))
        case "tools/call":
            name = str(params.get("name"))
            if name in MESSAGES:
                yield MESSAGES[name].replace("@", json.dumps(key))
            else:
                if name in BEFORE:
                    yield BEFORE[name]
                yield answer(key, CONTENTS.get(name, FINE))


def main() -> None:
    for line in sys.stdin.buffer:
        try:
            message = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(message, dict) and "id" in message and "method" in message:
            for said in lines_for(message):
                sys.stdout.buffer.write(filled(said).encode("utf-8", "surrogateescape") + b"\n")
            sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
