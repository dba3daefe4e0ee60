"""The script that runs generated code within a process rung: `python -I -S -B child.py`. Standard library only.

It talks to its host over standard input and output, in frames: a kind (1 byte), the sizes of a JSON text and of the
bytes after it (4 bytes each, big-endian), then both. The text is `{"mark": …, "sizes": […], "value": …}`; in the value,
`{mark: n}` is the n-th of the bytes, which are cut by `sizes`. Standard error has all that the code prints.

The host trusts nothing that comes from here: once the code runs, every frame may be its own. The kernel confines
this process (`bwrap.py`).
"""

from __future__ import annotations

import json
import linecache
import os
import struct
import sys
import traceback
from collections.abc import Callable, Mapping
from typing import IO, Any, NoReturn

HEAD = struct.Struct(">cII")
READY, JOB, RESULT, ERROR, CALL, EMIT, END = b"Y", b"J", b"R", b"F", b"C", b"E", b"X"
MAX_TEXT_BYTES = 1 << 20
MAX_BLOB_BYTES = 33 << 20
MAX_EMIT_BYTES = 1 << 20
MAX_RAISED_CHARACTERS = 4096
MAX_PACKED_BYTES = 8 << 20  # that one `pack` returns, or one `unpack` reads
MAX_FORMAT_CHARACTERS = 4096

_GATHERED_BYTES = 64 << 10
_SOURCE_NAME = "<code>"
_ERRORS = {kind.__name__: kind for kind in (PermissionError, OSError, TypeError, ValueError, NameError)}
_OPEN_FILES = 32


def encode(kind: bytes, value: Any, mark: str) -> bytes:
    """A frame. `mark` must not be a key in the value; keys that others chose are why the host takes a random one."""
    blobs: list[bytes] = []

    def marked(found: Any) -> dict[str, int]:
        if not isinstance(found, bytes):
            raise TypeError(f"a {type(found).__name__} cannot be passed to a host function")
        blobs.append(found)
        return {mark: len(blobs) - 1}

    inner = json.dumps(value, default=marked)
    text = f'{{"mark":"{mark}","sizes":{[len(blob) for blob in blobs]},"value":{inner}}}'.encode()
    return b"".join((HEAD.pack(kind, len(text), sum(map(len, blobs))), text, *blobs))


def main() -> None:
    """Receive a job, run it, and say how it ended."""
    host = Host(os.fdopen(0, "rb"), os.fdopen(1, "wb", buffering=0))
    host.send(READY, None)
    job = host.receive()[1]
    limit(job["limits"])
    sys.stdin = None  # the pipe is the host's
    sys.stdout = sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", buffering=1)  # noqa: SIM115
    status, raised = execute(job, host)
    sys.stdout.flush()
    host.flush()
    host.send(END, {"status": status, "raised": raised[-MAX_RAISED_CHARACTERS:]})
    os._exit(0)  # nothing of the code's runs after its end


def limit(limits: Mapping[str, Any]) -> None:
    """Set the limits of the kernel, which cannot be raised again."""
    import resource

    for name, most in (
        ("AS", limits["memory_bytes"]),
        ("CPU", limits["cpu_seconds"]),
        ("FSIZE", 0),
        ("CORE", 0),
        ("NPROC", 0),
        ("MEMLOCK", 0),
        ("MSGQUEUE", 0),
        ("NOFILE", _OPEN_FILES),
    ):
        what = getattr(resource, f"RLIMIT_{name}", None)
        if what is not None:
            resource.setrlimit(what, (most, most))


def execute(job: Mapping[str, Any], host: Host) -> tuple[str, str]:
    """Run the code; returns the status and what it raised."""
    source = job["source"]
    linecache.cache[_SOURCE_NAME] = (len(source), None, source.splitlines(keepends=True), _SOURCE_NAME)
    names = {name: host.function(name) for name in job["functions"]}
    names |= {"emit": host.emit, "pack": pack, "unpack": unpack}
    scope = {"__name__": "__main__", "open": no_files, **names, **job["inputs"]}
    try:
        exec(compile(source, _SOURCE_NAME, "exec", dont_inherit=True), scope)  # noqa: S102  # what this process is for
    except SystemExit as error:
        return ("ok", "") if not error.code else ("failed", f"SystemExit: {error.code}")
    except MemoryError:
        scope.clear()  # so that there is memory to say so
        return "limit", "Limit exceeded: it used more memory than it may"
    except PermissionError as error:
        return "refused", shown(error)
    except BaseException as error:  # noqa: BLE001  # whatever it is, it ends the code
        return "failed", shown(error)
    return "ok", ""


def shown(error: BaseException) -> str:
    """The traceback of an error, without the lines of this file."""
    whole = traceback.TracebackException.from_exception(error, limit=50, compact=True)
    link: traceback.TracebackException | None = whole
    while link is not None:
        link.stack[:] = [frame for frame in link.stack if frame.filename != __file__]
        link = link.__cause__ or link.__context__
    return "".join(whole.format())


def no_files(*_: Any, **__: Any) -> NoReturn:
    """In place of `open`."""
    raise PermissionError("Permission denied: there are no files here")


def pack(format: str, *values: Any) -> bytes:
    """`struct.pack`, within bounds. Raises TypeError, ValueError."""
    check_layout("pack", format)
    if not all(isinstance(value, int | float | bytes) for value in values):
        raise TypeError("pack: values must be int, float, bool or bytes")
    try:
        return struct.pack(format, *values)
    except (struct.error, OverflowError) as error:
        raise ValueError(f"pack: {error}") from None


def unpack(format: str, data: bytes) -> list[Any]:
    """`struct.unpack`, within bounds, as a list. Raises TypeError, ValueError."""
    check_layout("unpack", format)
    if not isinstance(data, bytes):
        raise TypeError(f"unpack: data must be bytes, not {type(data).__name__}")
    try:
        return list(struct.unpack(format, data))
    except struct.error as error:
        raise ValueError(f"unpack: {error}") from None


def check_layout(function: str, format: str) -> None:
    """A short format may ask for any number of bytes, so the size is known before memory is taken."""
    if not isinstance(format, str):
        raise TypeError(f"{function}: format must be str, not {type(format).__name__}")
    try:
        large = len(format) > MAX_FORMAT_CHARACTERS or struct.calcsize(format) > MAX_PACKED_BYTES
    except (struct.error, ValueError) as error:
        raise ValueError(f"{function}: {error}") from None
    if large:
        raise ValueError(f"{function}: the format describes more than {MAX_PACKED_BYTES} bytes, or is too long")


class Host:
    """The other side of the pipes."""

    def __init__(self, source: IO[bytes], target: IO[bytes]) -> None:
        self._source = source
        self._target = target
        self._gathered: list[bytes] = []
        self._gathered_bytes = 0

    def function(self, name: str) -> Callable[..., Any]:
        """The host function of this name."""

        def call(*values: Any, **named: Any) -> Any:
            return self.call(name, values, named)

        call.__name__ = call.__qualname__ = name
        return call

    def call(self, name: str, values: tuple[Any, ...], named: Mapping[str, Any]) -> Any:
        """Ask the host, and wait for its answer."""
        self.flush()
        self.send(CALL, {"name": name, "values": values, "named": named})
        kind, answer = self.receive()
        if kind == RESULT:
            return answer
        raise _ERRORS[answer["kind"]](answer["message"])

    def emit(self, *values: Any, **named: Any) -> None:
        """Append bytes to the result; the host takes them without an answer, at its own pace."""
        if len(values) != 1 or named or type(values[0]) is not bytes:
            self.call("emit", values, named)  # the host knows what is wrong
            return
        self._gathered.append(values[0])
        self._gathered_bytes += len(values[0]) + HEAD.size
        if self._gathered_bytes >= _GATHERED_BYTES:
            self.flush()

    def flush(self) -> None:
        """Send what was emitted."""
        whole = memoryview(b"".join(self._gathered))
        self._gathered.clear()
        self._gathered_bytes = 0
        for start in range(0, len(whole), MAX_EMIT_BYTES):
            piece = whole[start : start + MAX_EMIT_BYTES]
            self._write(HEAD.pack(EMIT, 0, len(piece)))
            self._write(piece)

    def send(self, kind: bytes, value: Any) -> None:
        """Send a frame. Raises ValueError: it is too large for one."""
        frame = encode(kind, value, "$bytes")
        _, text, blobs = HEAD.unpack_from(frame)
        if text > MAX_TEXT_BYTES or blobs > MAX_BLOB_BYTES:
            raise ValueError("the arguments are too large")
        self._write(frame)

    def receive(self) -> tuple[bytes, Any]:
        """The next frame: its kind and its value."""
        kind, text_size, _ = HEAD.unpack(self._source.read(HEAD.size))
        text = json.loads(self._source.read(text_size))
        blobs = [self._source.read(size) for size in text["sizes"]]
        mark = text["mark"]

        def restored(value: Any) -> Any:
            if isinstance(value, dict):
                if mark in value:
                    return blobs[value[mark]]
                return {key: restored(each) for key, each in value.items()}
            return [restored(each) for each in value] if isinstance(value, list) else value

        return kind, restored(text["value"])

    def _write(self, data: bytes | memoryview) -> None:
        view = memoryview(data)
        while view:
            view = view[self._target.write(view) :]


if __name__ == "__main__":
    main()
