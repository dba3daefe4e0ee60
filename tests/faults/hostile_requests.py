"""Hostile requests: what a holder of one grant may send to stop a bridge for everybody else.

Payloads are made when they are asked for, because they are large. Each table is by name: what the payload is. They all
are sent with a genuine grant of unlimited use, for a body with the columns `n` (a number) and `text`.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from typing import Any

import httpx2
import msgpack
import nats
import nats.errors
import orjson
from nats.aio.msg import Msg

Make = Callable[[], bytes]
ROWS_COLUMNS = ("n", "text")
NUMBER = "A" * 22
MILLION = 1_000_000
_MIB = 1 << 20
_PATIENCE_SECONDS = 120.0


def _request(**fields: Any) -> Make:
    return lambda: _packed({"n": NUMBER, **fields})


def _packed(value: Any) -> bytes:
    packed: bytes = msgpack.packb(value)
    return packed


def _raw(member: str, raw: Callable[[], bytes]) -> Make:
    """A request with one more member, whose value is given as msgpack: nothing of it is made here."""
    head = b"\x82" + _packed("n") + _packed(NUMBER) + _packed(member)
    return lambda: head + raw()


def _array32(count: int, item: bytes) -> bytes:
    return b"\xdd" + count.to_bytes(4, "big") + item * count


def _nested(depth: int, level: bytes, end: bytes = b"\xc0") -> bytes:
    return level * depth + end


LARGE = 5_200_000
"""Just below the 5 MiB that a bridge takes as a request."""

LARGEST = 7_900_000
"""Just below the 8 MB that nats-server takes as one message."""

PULLS: Mapping[str, Make] = {
    "row_ids of 7.9 million empty arrays": _raw("row_ids", lambda: _array32(LARGEST, b"\x90")),
    "row_ids of 5.2 million empty arrays": _raw("row_ids", lambda: _array32(LARGE, b"\x90")),
    "row_ids of 5.2 million empty maps": _raw("row_ids", lambda: _array32(LARGE, b"\x80")),
    "row_ids of 5.2 million empty texts": _raw("row_ids", lambda: _array32(LARGE, b"\xa0")),
    "row_ids of 5.2 million nil": _raw("row_ids", lambda: _array32(LARGE, b"\xc0")),
    "row_ids of 5.2 million equal numbers": _raw("row_ids", lambda: _array32(LARGE, b"\x07")),
    "row_ids of 570,000 large numbers": _raw("row_ids", lambda: _array32(570_000, b"\xcf" + b"\xff" * 8)),
    "row_ids of 1.7 million pairs": _raw("row_ids", lambda: _array32(1_700_000, b"\x92\x00\x01")),
    "row_ids in one bucket and an outlier": lambda: _packed(
        {"n": NUMBER, "row_ids": [1 << 50, *(number * 7919 % (1 << 17) for number in range(1 << 17))]}
    ),
    "row_ids far apart": lambda: _packed({"n": NUMBER, "row_ids": [number * 7919 << 30 for number in range(500_000)]}),
    "row_ids of floats": _raw("row_ids", lambda: _array32(570_000, b"\xcb" + b"\x40" + bytes(7))),
    "columns of 5.2 million empty texts": _raw("columns", lambda: _array32(LARGE, b"\xa0")),
    "columns of 2.6 million short texts": _raw("columns", lambda: _array32(LARGE // 2, b"\xa1a")),
    "one column name of 5.2 MB": _raw("columns", lambda: b"\x91\xdb" + LARGE.to_bytes(4, "big") + b"a" * LARGE),
    "an unknown member of 5.2 million empty maps": _raw("more", lambda: _array32(LARGE, b"\x80")),
    "an unknown member of 5.2 MB": _raw("more", lambda: b"\xc6" + LARGE.to_bytes(4, "big") + bytes(LARGE)),
    "arrays nested 1,000 deep": _raw("row_ids", lambda: _nested(1_000, b"\x91")),
    "arrays nested 5.2 million deep": _raw("row_ids", lambda: _nested(LARGE, b"\x91")),
    "maps nested 500,000 deep": _raw("columns", lambda: _nested(500_000, b"\x81\xa1a")),
    "a map with a million keys": lambda: (
        b"\xdf"
        + MILLION.to_bytes(4, "big")
        + b"".join(b"\xce" + number.to_bytes(4, "big") + b"\xc0" for number in range(MILLION))
    ),
    "a map that says it has 4 billion keys": lambda: b"\xdf\xff\xff\xff\xff" + b"\xa0\xc0" * MILLION,
    "an array that says it has 4 billion items": _raw("row_ids", lambda: b"\xdd\xff\xff\xff\xff" + b"\x90" * MILLION),
    "no map, but 5.2 million empty arrays": lambda: _array32(LARGE, b"\x90"),
    "a lease of 5.2 MB": _raw("lease", lambda: b"\xdb" + LARGE.to_bytes(4, "big") + b"a" * LARGE),
    "a who of 5.2 MB": _raw("who", lambda: b"\xdb" + LARGE.to_bytes(4, "big") + b"a" * LARGE),
    "a durable of 5.2 MB": _raw("durable", lambda: b"\xdb" + LARGE.to_bytes(4, "big") + b"a" * LARGE),
    "5.2 MB of zeros": lambda: bytes(LARGE),
}
"""For `bp.pull.<grant>.<asker>`."""

_CONFIRM = {"lease": "", "status": "failure"}

CONFIRMATIONS: Mapping[str, Make] = {
    "a confirmation with 5.2 million empty arrays": lambda: (
        b"\x83"
        + _packed("lease")
        + _packed("")
        + _packed("status")
        + _packed("failure")
        + _packed("more")
        + _array32(LARGE, b"\x90")
    ),
    "a confirmation with a lease of 5.2 MB": lambda: _packed({**_CONFIRM, "lease": "a" * LARGE}),
    "a confirmation with a checksum of 5.2 MB": lambda: _packed({**_CONFIRM, "checksum": "a" * LARGE}),
    "a confirmation nested 500,000 deep": lambda: (
        b"\x83"
        + _packed("lease")
        + _packed("")
        + _packed("status")
        + _packed("failure")
        + _packed("more")
        + _nested(500_000, b"\x91")
    ),
    "a confirmation that is 5.2 million nil": lambda: _array32(LARGE, b"\xc0"),
}
"""For `bp.confirm.<grant>.<asker>`."""


def _json(head: bytes, item: bytes, size: int, tail: bytes) -> Make:
    return lambda: head + b",".join([item] * (size // (len(item) + 1))) + tail


def _ids(item: bytes, size: int = 7 * _MIB) -> Make:
    return _json(b'{"row_ids":[', item, size, b"]}")


def _distinct(count: int) -> Make:
    return lambda: b'{"row_ids":' + orjson.dumps(list(range(count))) + b"}"


BODIES: Mapping[str, tuple[str, Make]] = {
    "POST: row_ids of empty arrays": ("", _ids(b"[]")),
    "POST: row_ids of empty objects": ("", _ids(b"{}")),
    "POST: row_ids of empty texts": ("", _ids(b'""')),
    "POST: row_ids of equal numbers": ("", _ids(b"7")),
    "POST: row_ids of floats": ("", _ids(b"1.5")),
    "POST: row_ids that are not there": ("", _distinct(900_000)),
    "POST: columns of empty texts": ("", _json(b'{"columns":[', b'""', 7 * _MIB, b"]}")),
    "POST: columns of short texts": ("", _json(b'{"columns":[', b'"a"', 7 * _MIB, b"]}")),
    "POST: one column name of 7 MiB": ("", lambda: b'{"columns":["' + b"a" * (7 * _MIB) + b'"]}'),
    "POST: an unknown member of empty arrays": ("", _json(b'{"more":[', b"[]", 7 * _MIB, b"]}")),
    "POST: arrays nested 3.5 million deep": ("", lambda: b"[" * (7 * _MIB // 2) + b"]" * (7 * _MIB // 2)),
    "POST: a million members": ("", lambda: b"{" + b",".join(b'"%d":0' % number for number in range(600_000)) + b"}"),
    "POST: 7 MiB of blanks": ("", lambda: b" " * (7 * _MIB)),
    "POST: 7 MiB that are no JSON": ("", lambda: b"x" * (7 * _MIB)),
    "look: empty arrays": ("/look", _json(b'{"sample":[', b"[]", 7 * _MIB, b"]}")),
    "look: 7 MiB of an unknown member": ("/look", _json(b'{"more":[', b"{}", 7 * _MIB, b"]}")),
    "page: empty arrays": ("/page", _json(b'{"cursor":[', b"[]", 7 * _MIB, b"]}")),
    "page: a cursor of 7 MiB": ("/page", lambda: b'{"cursor":"' + b"a" * (7 * _MIB) + b'"}'),
    "confirm: empty arrays": ("/confirm", _json(b'{"error":[', b"[]", 7 * _MIB, b"]}")),
    "confirm: a lease of 7 MiB": ("/confirm", lambda: b'{"lease":"' + b"a" * (7 * _MIB) + b'"}'),
}
"""Of a POST to the grant's URL and what follows it there."""


def _texts(count: int) -> str:
    return ",".join(f"'{number:02}'" for number in range(count))


WHERES: Mapping[str, str] = {
    "in, of many texts": f"text in ({_texts(58)})",
    "in, of many numbers": f"n in ({','.join(str(number) for number in range(58))})",
    "not in, of many texts": f"text not in ({_texts(56)})",
    "many comparisons, or": " or ".join(["n=-1"] * 31),
    "many comparisons, and": " and ".join(["n>-9"] * 31),
    "texts beside texts": " or ".join([f"text>'{number}'" for number in range(25)]),
    "not, nested": "not(" * 7 + " or ".join(["n=-1"] * 16) + ")" * 7,
    "dates as texts": " or ".join([f"text<'20{number}-01-01'" for number in range(10, 32)]),
    "decimals": " or ".join([f"n={number}.5" for number in range(31)]),
    "null tests": " or ".join(["n is null", "text is null"] * 15),
    "alternating and, or": " or ".join(["(n=-1 and n=-2)"] * 20),
    "two columns": " and ".join(["n!=-1", "text!='a'"] * 15),
}
"""Each of them makes one pass over a body expensive, and selects something else than the others."""


async def ask_at_once(url: str, subject: str, payloads: Iterable[bytes]) -> list[dict[str, Any]]:
    """Send all of them to one subject at once, over one connection; the answers that came."""
    client = await nats.connect(url)
    try:
        asked = [client.request(subject, payload, timeout=_PATIENCE_SECONDS) for payload in payloads]
        return [msgpack.unpackb(answer.data) for answer in await asyncio.gather(*asked)]
    finally:
        await client.close()


async def ask_at_rate(
    url: str, subject: str, payloads: Iterator[bytes], *, a_second: int, seconds: float
) -> Counter[str]:
    """Send so many a second, and wait for no answer before the next; the codes of the errors that came, "" is none."""
    client = await nats.connect(url)
    codes: Counter[str] = Counter()

    async def answered(message: Msg) -> None:
        codes[(msgpack.unpackb(message.data).get("error") or {"code": ""})["code"]] += 1

    try:
        inbox = client.new_inbox()
        await client.subscribe(inbox, cb=answered)
        for _ in range(int(seconds * 20)):
            for _ in range(a_second // 20):
                await client.publish(subject, next(payloads), reply=inbox)
            await asyncio.sleep(1 / 20)
        await client.flush()
        return codes
    finally:
        await client.close()


async def post_at_once(url: str, bodies: Iterable[bytes]) -> list[int]:
    """POST all of them to one URL at once; the statuses that came."""
    return [answer.status_code for answer in await _at_once([_post(url, body) for body in bodies])]


async def _at_once(requests: list[Awaitable[httpx2.Response]]) -> list[httpx2.Response]:
    return await asyncio.gather(*requests)


async def _post(url: str, body: bytes) -> httpx2.Response:
    async with httpx2.AsyncClient(trust_env=False, timeout=_PATIENCE_SECONDS) as client:
        return await client.post(url, content=body, headers={"content-type": "application/json"})
