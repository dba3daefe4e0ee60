"""The process that runs JSON Schemas and Python callables, one at a time: `python -m broker_plane.validators.child`.

It reads jobs from standard input and writes an answer for each to standard output; both are a length in four bytes and
then msgpack. Its first message says that it is ready. It ends with its standard input. A job that takes much longer
than its limit ends the process, even if the other side was killed meanwhile.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import IO, Any, Final

import msgpack

_GRACE_SECONDS: Final = 5.0
_MOST_SAID: Final = 500


def main() -> None:
    """Answer jobs until standard input ends."""
    with os.fdopen(os.dup(1), "wb") as out, os.fdopen(0, "rb", closefd=False) as jobs:
        os.dup2(2, 1)  # whatever a callable prints is not an answer
        _send(out, {"ready": True})
        while (job := receive(jobs.read)) is not None:
            _begin_deadline(float(job["seconds"]) + _GRACE_SECONDS)
            answer = _answer(job)
            _begin_deadline(0)
            _send(out, answer)


def receive(read: Callable[[int], bytes]) -> Any:
    """The next message; None at the end."""
    head = read(4)
    return msgpack.unpackb(read(int.from_bytes(head))) if len(head) == len(b"size") else None


def pack(message: Mapping[str, Any]) -> bytes:
    """A message with its length."""
    packed: bytes = msgpack.packb(message)
    return len(packed).to_bytes(4) + packed


def _send(out: IO[bytes], message: Mapping[str, Any]) -> None:
    out.write(pack(message))
    out.flush()


def _begin_deadline(seconds: float) -> None:
    """Have the kernel end this process after `seconds`; 0 is never."""
    if sys.platform != "win32":
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, seconds)


def _answer(job: Mapping[str, Any]) -> dict[str, Any]:
    """`{"refusal": reason}`, empty if the artifact is accepted."""
    try:
        if job["do"] == "check":
            return {"refusal": _schema_fault(job["schema"])}
        if job["do"] == "schema":
            return {"refusal": _schema_refusal(job["schema"], job["value"])}
        return {"refusal": _callable_refusal(job["function"], job["value"])}
    except Exception as error:  # noqa: BLE001  # a callable may raise anything
        return {"refusal": _words(error)}


def _schema_fault(schema: Any) -> str:
    from jsonschema.exceptions import SchemaError

    try:
        _validator_class(schema).check_schema(schema)
    except SchemaError as error:
        return f"it is not a JSON Schema: {error.message[:_MOST_SAID]}"
    return ""


def _schema_refusal(schema: Any, value: Any) -> str:
    from jsonschema.exceptions import best_match
    from referencing import Registry

    # With a registry of its own, a `$ref` to another host is an error instead of a request.
    error = best_match(_validator_class(schema)(schema, registry=Registry()).iter_errors(value))
    return "" if error is None else f"{error.json_path}: {error.message[:_MOST_SAID]}"


def _validator_class(schema: Any) -> Any:
    from jsonschema import Draft202012Validator
    from jsonschema.validators import validator_for

    return validator_for(schema, default=Draft202012Validator)


def _callable_refusal(place: str, value: Any) -> str:
    """The callable accepts by returning None, True or an empty text; False or a text refuses."""
    module, _, function = place.partition(":")
    said = getattr(import_module(module), function)(value)
    if said is None or said is True or said == "":
        return ""
    return said[:_MOST_SAID] if isinstance(said, str) else "it returned False" if said is False else _odd(said)


def _odd(said: object) -> str:
    return f"it returned a {type(said).__name__}, where None, True, False or a text is expected"


def _words(error: Exception) -> str:
    said = " ".join(str(error).split())[:_MOST_SAID]
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


if __name__ == "__main__":
    main()
