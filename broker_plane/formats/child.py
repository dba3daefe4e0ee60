"""The process that reads one Parquet, Arrow or XLSX file from its standard input, in limited memory and time.

    python -P -m broker_plane.formats.child FORMAT MEMORY SHEET

A file of these formats is a program for its reader: some bytes of it can claim gigabytes, or crash a parser. So it is
parsed here, where that ends this process alone. It has an empty environment, opens no other file, and writes messages
(formats/messages.py) to standard output.
"""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO

from broker_plane.errors import BrokerPlaneError
from broker_plane.formats.messages import END, ERROR, packed_message
from broker_plane.tabular.arrow_types import pyarrow_module

_CPU_SECONDS = 1800
"""Much more than the largest files of the memory limit take."""

_OPEN_FILES = 64
_MOST_SAID = 300

Messages = Iterator[bytes]


def main(form: str, memory: int, sheet: str) -> None:
    """Send the content of the file, or the reason why it has none."""
    with os.fdopen(os.dup(1), "wb") as out, os.fdopen(0, "rb", closefd=False) as file:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # whatever a library prints is not a message
        read = _reader(form)
        _limit(memory)
        with suppress(BrokenPipeError):  # the other side needs no more
            for message in _guarded(lambda: read(file, sheet), form, memory):
                out.write(message)
                out.flush()


def _reader(form: str) -> Callable[[IO[bytes], str], Messages]:
    if form == "xlsx":
        from broker_plane.formats.workbook_reader import read_workbook

        return read_workbook
    from broker_plane.formats.arrow_reader import read_arrow, read_parquet

    pa = pyarrow_module()
    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    return read_parquet if form == "parquet" else read_arrow


def _guarded(read: Callable[[], Messages], form: str, memory: int) -> Messages:
    """The messages of `read` and the end, or the error as a sentence."""
    try:
        yield from read()
        yield packed_message(END)
    except BrokerPlaneError as error:
        yield packed_message(ERROR, str(error).encode())
    except MemoryError:  # pyarrow's ArrowMemoryError as well
        yield packed_message(ERROR, _too_large(memory).encode())
    except Exception as error:  # noqa: BLE001 - parsers of damaged files raise errors of any class
        said = " ".join(str(error).split())[:_MOST_SAID] or type(error).__name__
        yield packed_message(ERROR, f"The file is not valid {form}: {said}".encode(errors="replace"))


def _limit(memory: int) -> None:
    """Limit what this process may take, beyond what it has already for its code."""
    with suppress(OSError, ValueError):  # without /proc, or with lower limits already
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = pages * resource.getpagesize() + memory
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    for what, most in (
        (resource.RLIMIT_CPU, _CPU_SECONDS),
        (resource.RLIMIT_NOFILE, _OPEN_FILES),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        with suppress(OSError, ValueError):
            resource.setrlimit(what, (most, most))


def _too_large(memory: int) -> str:
    return (
        f"Reading the file needs more than {memory >> 20} MiB of memory: it is damaged, or too large in one piece. "
        "Write it in smaller row groups or batches, or as CSV"
    )


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
