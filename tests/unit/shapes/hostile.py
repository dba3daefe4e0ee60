"""Inputs that try to take time, memory or the stack. Run as a process, it recognises each of them within its limits."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable
from contextlib import suppress

from broker_plane.errors import TabularError
from broker_plane.shapes.recognise import recognise_text

SCALE = float(sys.argv[1]) if __name__ == "__main__" else 1.0
MIB = int((1 << 20) * SCALE)
N = int(1_000_000 * SCALE)
CPU_SECONDS = int(20 + 40 * SCALE)
MEMORY = 3 << 30
"""Address space; on this scale a quadratic algorithm would take hours."""

INPUTS: dict[str, tuple[str, Callable[[], str]]] = {
    "nested arrays": ("auto", lambda: "[" * 100_000 + "]" * 100_000),
    "nested objects": ("auto", lambda: '{"a":' * 100_000 + "1" + "}" * 100_000),
    "nested rows": ("auto", lambda: "[" + '{"a":' * 250 + "1" + "}" * 250 + "]"),
    "unclosed arrays": ("auto", lambda: "[" * N),
    "nested tuples": ("auto", lambda: "[" + "(" * 100_000 + "1" + ")" * 100_000 + "]"),
    "nested tuples in a row": ("auto", lambda: "[(" * 59 + "1" + ",)]" * 59),
    "minus signs": ("auto", lambda: "[(" + "-" * N + "1,)]"),
    "attributes": ("auto", lambda: "[(a" + ".a" * N + ",)]"),
    "sums": ("auto", lambda: "[(1" + "+1" * N + ",)]"),
    "comparisons": ("auto", lambda: "[(1" + " if 1 else 1" * 100_000 + ",)]"),
    "a huge integer": ("auto", lambda: "[(" + "9" * N + ",)]"),
    "a huge hexadecimal": ("auto", lambda: "[(0x" + "f" * N + ",)]"),
    "a huge power": ("auto", lambda: "[(10**1000000000,)]"),
    "a repeated list": ("auto", lambda: "[(([1] * 1000000000),)]"),
    "a huge integer in JSON": ("auto", lambda: '[{"a":' + "9" * N + "}]"),
    "a Decimal of many digits": ("auto", lambda: "[(Decimal('" + "9" * N + "'),)]"),
    "a Decimal of a large exponent": ("auto", lambda: "[(Decimal('1E+999999999'), Decimal('1E-999999999'))] "),
    "a call": ("auto", lambda: "[(__import__('os').system('true'),)]"),
    "calls": ("auto", lambda: "[(" + "timedelta(" * 58 + "1" + ")" * 58 + ",)]"),
    "triple quotes": ("auto", lambda: "[('''" + "'['" * 100_000 + "''',)]"),
    "f-strings": ("auto", lambda: "[(f'{1}',)]" + "x" * N),
    "one long row of a repr": ("auto", lambda: "[(" + "1, " * 1_300_000 + "1)]"),
    "columns of a CSV": ("auto", lambda: "\n".join([",".join(f"c{n}" for n in range(N)), *["1" + ",1" * (N - 1)] * 2])),
    "columns of rows": ("auto", lambda: "[{" + ",".join(f'"c{n}":1' for n in range(N)) + "}]"),
    "ragged columns": ("auto", lambda: "[" + ",".join(f'{{"c{n}":1}}' for n in range(N)) + "]"),
    "ragged columns of NDJSON": ("auto", lambda: "\n".join(f'{{"c{n}":1}}' for n in range(N // 5))),
    "columns of one name": (
        "auto",
        lambda: '{"columns":[' + '"a",' * 16_000 + '"a"],"rows":[[' + "1," * 16_000 + "1]]}",
    ),
    "columns of no name": ("auto", lambda: '{"columns":[' + '"",' * 16_000 + '""],"rows":[[' + "1," * 16_000 + "1]]}"),
    "columns of Markdown": ("auto", lambda: "\n".join(["a|" * N, "-|" * N, "1|" * N])),
    "a rule of Markdown": ("auto", lambda: "a|b\n" + "- | " * N + "x\n1|2"),
    "bars of Markdown": ("auto", lambda: "|" * (8 * MIB)),
    "members": ("auto", lambda: "{" + ",".join(f'"m{n}":[]' for n in range(N)) + "}"),
    "tables in an envelope": ("auto", lambda: "{" + ",".join(f'"m{n}":[{{"a":1}}]' for n in range(N // 5)) + "}"),
    "names of features": (
        "auto",
        lambda: (
            '[{"type":"Feature","geometry":null,"properties":{'
            + ",".join(f'"geometry_{n}":1' for n in range(2, 10_000))
            + ',"geometry":1}}]'
        ),
    ),
    "backticks": ("auto", lambda: "`" * (8 * MIB)),
    "tildes": ("auto", lambda: "~" * (8 * MIB)),
    "an info string": ("auto", lambda: "```" + "a" * (8 * MIB)),
    "fences": ("auto", lambda: "```\n" * MIB),
    "an open quote": ("auto", lambda: 'a,b\n1,"' + "x,\n" * (4 * MIB)),
    "quotes": ("auto", lambda: "a,b\n" + '"' * (8 * MIB)),
    "commas": ("auto", lambda: "," * (20 * MIB)),
    "line feeds": ("auto", lambda: "\n" * (20 * MIB)),
    "blanks": ("auto", lambda: " " * (20 * MIB)),
    "digits in a CSV": ("auto", lambda: "a,b\n" + "\n".join(["1," + "1" * 100_000] * 20)),
    "dashes and digits": ("auto", lambda: "a,b\n" + "\n".join(["1,-" + "0" * 100_000 + ".5"] * 20)),
    "100 MB of prose": ("auto", lambda: "Well, this is a sentence.\n" * (4 * MIB)),
    "100 MB of CSV": ("auto", lambda: "a,b,c,d\n" + "1234567,abcdefghijk,2.25,true\n" * (100 * MIB // 30)),
    "100 MB of JSON text": ("auto", lambda: '["' + "x" * (100 * MIB) + '"]'),
    "100 MB of JSON rows": ("auto", lambda: "[" + '{"a":1},' * (12 * MIB) + '{"a":1}]'),
    "a span of HTML": ("html", lambda: "<table><tr><td>a<tr><td colspan=999999999 rowspan=999999999>b</table>"),
    "spans of HTML": (
        "html",
        lambda: "<table><tr><td>a" + "<tr><td colspan=1000 rowspan=1000>b" * (N // 20) + "</table>",
    ),
    "tables of HTML": ("html", lambda: "<table>" * (N // 2)),
    "cells of HTML": ("html", lambda: "<table><tr>" + "<td>" * N + "<tr>"),
    "comments of HTML": ("html", lambda: "<!--" * N),
    "declarations of HTML": ("html", lambda: "<!" * N),
    "open tags of HTML": ("html", lambda: "<a " * N),
    "attributes of HTML": ("html", lambda: "<a" + " a='" * 500_000),
    "entities of HTML": ("html", lambda: "<table><tr><td>" + "&#" * N),
    "processing instructions": ("html", lambda: "<?" * N),
    "end tags": ("html", lambda: "</" * N),
    "a script": ("html", lambda: "<script>" + "</" * N),
    "references": ("html", lambda: "&" * (2 * N)),
}


def main() -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    for name, (shape, make) in INPUTS.items():
        text = make()
        start, found = time.process_time(), "refused"
        with suppress(TabularError):
            made = recognise_text(text, shape=shape)
            found = getattr(made, "kind", "") or made.__class__.__name__
        print(f"{name}: {len(text):,} characters, {found}, {time.process_time() - start:.2f} s", flush=True)


if __name__ == "__main__":
    main()
