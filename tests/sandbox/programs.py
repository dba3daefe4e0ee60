"""Programs that end in the same way on every rung."""

from __future__ import annotations

import hashlib
import hmac
from typing import NamedTuple

from broker_plane.sandbox.ports import Status
from tests.sandbox.doors import MEGABYTE, SECRET


class Program(NamedTuple):
    """A program, how it ends, and what it emits."""

    name: str
    source: str
    status: Status
    emitted: bytes = b""
    detail: str = ""
    """A part of the verdict's detail."""


PROGRAMS = (
    Program("ends", "x = 1", "ok"),
    Program("emits", "emit(b'a')\nemit(b'')\nemit(data=b'b\\x00\\xff')", "ok", b"ab\x00\xff"),
    Program("prints", "print('one', 2)\nprint('three')", "ok", b"", "one 2\nthree"),
    Program(
        "fetches",
        "r = fetch('https://here/megabyte')\nif r['headers']['content-type']:\n    emit(r['body'])",
        "ok",
        MEGABYTE,
    ),
    Program(
        "posts",
        "r = fetch('https://here/echo', method='POST', headers={'X-Asked': 'é'}, body=b'\\x00\\xff')\n"
        "emit(r['body'] + r['headers']['x-method'].encode() + r['headers']['x-asked'].encode())",
        "ok",
        b"\x00\xffPOST\xc3\xa9",
    ),
    Program(
        "redirect is a response",
        "r = fetch('https://here/moved')\nemit(str(r['status']).encode() + r['headers']['location'].encode())",
        "ok",
        b"302https://elsewhere/",
    ),
    Program(
        "event stream",
        "r = open_url('https://here/events')\nif r['status'] != 200: raise ValueError('status')\n"
        "while True:\n    piece = receive(r['handle'], 5)\n    if not piece: break\n    emit(piece + b'|')\n"
        "close(r['handle'])",
        "ok",
        b"data:| 1\n\nd|ata: |2\n\n|",
    ),
    Program(
        "connection",
        "c = connect('here', 7)\nsend(c, pack('>IH', 5, 258))\nsend(c, b'hello')\n"
        "n, kind = unpack('>IH', receive(c, 6))\nemit(receive(c, n) + str(kind).encode())\nclose(c)\nclose(c)",
        "ok",
        b"hello258",
    ),
    Program(
        "pack and unpack",
        "v = unpack('<b?dQ3s', pack('<b?dQ3s', -1, True, 0.5, 2**64 - 1, b'abc'))\n"
        "if v == [-1, True, 0.5, 2**64 - 1, b'abc']: emit(pack('4B', 1, 2, 3, 4))",
        "ok",
        b"\x01\x02\x03\x04",
    ),
    Program("hmac", "emit(hmac_sha256(b'm'))", "ok", hmac.new(SECRET, b"m", hashlib.sha256).digest()),
    Program("now", "if type(now()) == int and now() > 1600000000: emit(b'y')", "ok", b"y"),
    Program("sleeps", "sleep(0)\nsleep(0.001)\nimport time\ntime.sleep(0.001)\nemit(b'x')", "ok", b"x"),
    Program(
        "inputs",
        "if TEXT == 'é' and RAW == b'\\x00\\xff' and NONE is None and TABLE['rows'][1]['a'] == 2.5: emit(RAW)",
        "ok",
        b"\x00\xff",
    ),
    Program("function as a value", "put = emit\ndef twice(f, v):\n    f(v)\n    f(v)\ntwice(put, b'z')", "ok", b"zz"),
    Program("subset", "import json, re, hashlib, base64, datetime, math, csv, itertools, functools, collections", "ok"),
    Program("comprehension", "for x in [emit(bytes(n)) for n in range(3)]: pass", "ok", b"\0\0\0"),
    Program("raises", "def f(n):\n    return 1 / n\nf(0)", "failed", b"", "ZeroDivisionError: division by zero"),
    Program(
        "raises after emitting", "emit(b'half')\nraise ValueError('the end is missing')", "failed", b"half", "the end"
    ),
    Program("line of the error", "x = 1\ny = 2\nraise ValueError('bad')", "failed", b"", "line 3"),
    Program("prints and raises", "print('got 3 rows')\nraise ValueError('bad')", "failed", b"", "got 3 rows"),
    Program("bad syntax", "def (:", "failed", b"", "SyntaxError"),
    Program("undefined name", "emit(nothing_like_it)", "failed", b"", "nothing_like_it"),
    Program("unknown module", "import no_such_module_at_all", "failed", b"", "no_such_module_at_all"),
    Program("recursion", "def f():\n    return f()\nf()", "failed", b"", "RecursionError"),
    Program("refused", "fetch('https://elsewhere/')", "refused", b"", "https://elsewhere/ is not on the list"),
    Program("refused connection", "connect('elsewhere', 7)", "refused", b"", "elsewhere:7 is not on the list"),
    Program(
        "refusal handled",
        "try:\n    fetch('https://elsewhere/')\nexcept PermissionError as error:\n    emit(str(error).encode())",
        "ok",
        b"https://elsewhere/ is not on the list",
    ),
    Program("files are off", "open('/etc/passwd')", "refused"),
    Program("failed", "fetch('https://here/broken')", "failed", b"", "OSError: the connection broke"),
    Program(
        "failure handled",
        "try:\n    fetch('https://here/broken')\nexcept OSError as error:\n    emit(str(error).encode())",
        "ok",
        b"the connection broke",
    ),
    Program("emits text", "emit('text')", "failed", b"", "TypeError: emit: data must be bytes, not str"),
    Program("argument missing", "fetch()", "failed", b"", "missing a required argument: 'url'"),
    Program("argument unknown", "fetch('https://here/echo', verify=False)", "failed", b"", "verify"),
    Program(
        "headers of another type", "fetch('https://here/echo', headers={'a': 1})", "failed", b"", "headers must be"
    ),
    Program("port out of range", "connect('here', 70000)", "failed", b"", "ValueError: connect: port"),
    Program("foreign handle", "receive(1)", "failed", b"", "ValueError: this handle is not open"),
    Program(
        "closed handle", "c = connect('here', 7)\nclose(c)\nsend(c, b'x')", "failed", b"", "this handle is not open"
    ),
    Program("receives nothing", "receive(connect('here', 7), 0)", "failed", b"", "at_most must be between"),
    Program("unpacks too little", "unpack('>I', b'abc')", "failed", b"", "ValueError: unpack: "),
    Program("packs out of range", "pack('B', 256)", "failed", b"", "ValueError: pack: "),
    Program(
        "packs a gigabyte", "pack('1000000000x')", "failed", b"", "ValueError: pack: the format describes more than"
    ),
    Program("sleeps backwards", "sleep(-1)", "failed", b"", "ValueError: sleep: "),
    Program("sleeps for no number", "sleep(float('nan'))", "failed", b"", "ValueError: sleep: "),
    Program("calls a number true", "connect('here', True)", "failed", b"", "port must be int, not bool"),
    Program(
        "stack of emits",
        "for i in range(2000): emit(pack('>I', i))",
        "ok",
        b"".join(i.to_bytes(4) for i in range(2000)),
    ),
    Program("20 MB", "data = bytes(1000000)\nfor i in range(20): emit(data)", "ok", bytes(20_000_000)),
    Program("20 MB at once", "emit(b'0123456789' * 2000000)", "ok", b"0123456789" * 2_000_000),
)

INPUTS = {"TEXT": "é", "RAW": b"\x00\xff", "NONE": None, "TABLE": {"rows": [{"a": 1}, {"a": 2.5}]}}
