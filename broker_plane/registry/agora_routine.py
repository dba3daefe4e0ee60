"""Routines of Agora as transfer code: the function that Agora's programmer had a model write, in our sandbox. Pure.

A routine is Python with a function `run(task_data)`, which calls `send_to_server(query)` and returns the task's result.
Here `send_to_server` is built on the sandbox's `fetch`, and the result is emitted as JSON.
"""

from __future__ import annotations

import ast
from typing import Final

from broker_plane.errors import RegistryError
from broker_plane.registry.agora import AgoraProtocol

MAX_ROUTINE_BYTES: Final = 100_000

_BEFORE = """\
import json as _agora_json

_AGORA_MESSAGE = {message}
_AGORA_CONVERSATION = [""]


def _agora_url():
    conversation = _AGORA_CONVERSATION[0]
    return ENDPOINT if conversation == "" else ENDPOINT.rstrip("/") + "/conversations/" + conversation


def send_to_server(query):
    message = dict(_AGORA_MESSAGE)
    message["body"] = query
    raw = _agora_json.dumps(message).encode()
    answer = fetch(_agora_url(), "POST", {{"content-type": "application/json"}}, raw)
    if answer["status"] != 200:
        raise OSError("The agent answered with the status " + str(answer["status"]))
    reply = _agora_json.loads(answer["body"].decode())
    if reply.get("status") != "success":
        raise OSError("The agent answered: " + str(reply.get("message"))[:500])
    if _AGORA_MESSAGE.get("multiround") and _AGORA_CONVERSATION[0] == "":
        _AGORA_CONVERSATION[0] = reply["conversationId"]
    return reply["body"]


"""

_AFTER = """


_agora_result = {function}(PARAMETERS["task_data"])
if _AGORA_CONVERSATION[0] != "":
    fetch(_agora_url(), "DELETE")
emit(_agora_json.dumps(_agora_result).encode())
"""


def transfer_code(protocol: AgoraProtocol, routine: str) -> str:
    """The code that carries out a task with a routine, for `ENDPOINT` and `PARAMETERS["task_data"]`.

    Raises:
        RegistryError: the routine is not Python with a function `run` or `send_query`, or is too large.
    """
    if len(routine.encode()) > MAX_ROUTINE_BYTES:
        raise RegistryError(f"A routine has at most {MAX_ROUTINE_BYTES:,} bytes")
    try:
        body = ast.parse(routine).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise RegistryError("The routine is not Python") from None
    functions = [statement.name for statement in body if isinstance(statement, ast.FunctionDef)]
    function = next((name for name in ("run", "send_query") if name in functions), "")
    if not function:
        raise RegistryError("The routine has no function run(task_data)")
    message = {"protocolHash": protocol.hash, "protocolSources": protocol.wire_sources}
    if protocol.multiround:
        message["multiround"] = True  # type: ignore[assignment]
    return _BEFORE.format(message=repr(message)) + routine.strip("\n") + _AFTER.format(function=function)
