"""Prose, code, logs and the like have commas, bars and brackets, and are not tables: they stay what they were."""

from __future__ import annotations

import pytest

from broker_plane.shapes.recognise import Opaque, recognise, recognise_text
from tests.house.source import ROOT

PLAIN, JSON = "text/plain; charset=utf-8", "application/json"

TEXTS = {
    "prose": "Hello, world\nFoo, bar\nBaz, qux\n",
    "prose without blanks": "Ja,nein\nDoch,eben\nSo,so\n",
    "lines with a comma": "Roses are red,\nviolets are blue,\nsugar is sweet,\n",
    "names without a header": "Doe,John\nRoe,Jane\nPoe,Edgar\n",
    "numbers without a header": "1,2,3\n4,5,6\n7,8,9\n",
    "dates without a header": "2026-01-01,a\n2026-01-02,b\n2026-01-03,c\n",
    "booleans without a header": "true,abc\nfalse,def\ntrue,ghi\n",
    "hashes without a header": "a1b2c3,fix\nd4e5f6,add one\n0a1b2c,drop two\n",
    "German numbers": "Der Preis ist 3,50\nDer Preis ist 4,50\nDer Preis ist 5,50\n",
    "a log": "2026-01-02 03:04:05,123 INFO start\n2026-01-02 03:04:05,456 INFO stop\n2026-01-02 03:04:06,789 INFO x\n",
    "an access log": '127.0.0.1 - - [01/Jan/2026] "GET / HTTP/1.1" 200 1\n' * 5,
    "calls": "foo(a,b)\nbar(c,d)\nbaz(e,f)\n",
    "imports": "import os,sys\nimport re,json\nimport a,b\n",
    "assignments": "a,b = 1,2\nc,d = 3,4\ne,f = 5,6\n",
    "assembly": "mov eax,ebx\nadd ecx,edx\nsub esi,edi\n",
    "JavaScript": "const a = [1,2];\nconst b = [3,4];\nconst c = [5,6];\n",
    "SQL": "INSERT INTO t VALUES (1,'a');\nINSERT INTO t VALUES (2,'b');\nINSERT INTO t VALUES (3,'c');\n",
    "CSS": "h1,h2 { color: red }\nh3,h4 { color: blue }\nh5,h6 { color: green }\n",
    "a diff": "--- a/x.csv\n+++ b/x.csv\n@@ -1,3 +1,4 @@\n a,b\n-1,x\n+1,y\n",
    "git's name-status": "A\tMakefile\nM\tsrc/a.py\nM\tsrc/b.py\n",
    "names and cities without a header": "alice,Paris\nbob,New York\ncarol,Los Angeles\n",
    "an absent value without a header": "localhost,null\nalpha,5\nbeta,7\n",
    "a number that is too large": '[{"n": 1e400}, {"n": 1}]',
    "numstat": "10\t2\ta.py\n3\t0\tb.py\n1\t1\tc.py\n",
    "a Makefile": "all:\n\tcc -o x x.c\n\tstrip x\n",
    "tabs at the start": "\ta\n\tb\n\tc\n",
    "YAML": "a: 1\nb: [1, 2]\nc: {d: 1, e: 2}\n",
    "YAML lists": "- a, b\n- c, d\n- e, f\n",
    "TOML": "[a]\nb = [1, 2]\nc = [3, 4]\n",
    "INI": "[a]\nb=1,2\nc=3,4\n",
    "XML": "<a>\n<b c='1,2'/>\n<b c='3,4'/>\n</a>\n",
    "HTML": "<table><tr><th>a</th></tr><tr><td>1</td></tr></table>",
    "Markdown": "# Title\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\nText.\n",
    "Markdown after a table": "| a | b |\n|---|---|\n| 1 | 2 |\n\nText.\n",
    "a header without rows": "| a | b |\n|---|---|\n",
    "ragged Markdown": "| a | b |\n|---|---|\n| 1 |\n",
    "a box": "+---+---+\n| a | b |\n+---+---+\n| 1 | 2 |\n+---+---+\n",
    "bars": "a | b\nc | d\ne | f\n",
    "a ragged CSV": "a,b\n1,2\n3\n",
    "a long line in a CSV": "a,b\n1,2\n3,4,5\n",
    "a CSV with a footer": "a,b\n1,2\n3,4\n(2 rows)\n",
    "a CSV with a comment": "# generated\na,b\n1,2\n3,4\n",
    "a CSV of one row": "a,b\n1,2\n",
    "a CSV of one column": "a\n1\n2\n3\n",
    "a CSV with an open quote": 'a,b\n1,"x\n2,y\n',
    "a CSV with a column twice": "a,a\n1,2\n3,4\n",
    "a CSV with blank lines": "a,b\n\n1,2\n\n3,4\n",
    "semicolons": "a;b\n1;2\n3;4\n",
    "a fence in prose": 'See:\n```json\n[{"a": 1}]\n```\n',
    "two fences": '```json\n[{"a": 1}]\n```\n```json\n[{"a": 2}]\n```',
    "an open fence": '```json\n[{"a": 1}]\n',
    "code in a fence": "```python\nprint(1)\n```",
    "Python": "[x for x in y]",
    "a call in a list": "[(open('x'),)]",
    "a name in a list": "[(secret,)]",
    "a repr of objects": "[<object at 0x1>, <object at 0x2>]",
    "a repr of ragged tuples": "[(1, 2), (3,)]",
    "a repr of texts": "['a', 'b']",
    "a repr of mixed rows": "[(1, 2), {'a': 1}]",
    "a repr of sets": "[({1, 2},)]",
    "a repr with other keys": "[{1: 'a'}]",
    "arithmetic": "[(1 + 1,)]",
    "a repr and more": "[(1, 2)] and more",
    "deep tuples": "[(" + "[" * 70 + "]" * 70 + ",)]",
    "an open repr": "[(1, 2), (3, 4)",
    "objects and text": '{"a":1}\nand\n{"a":2}\n',
    "objects and lists": '{"a":1}\n[2]\n',
    "half of JSON": '[{"a": 1}, {"a":',
    "a number": "42",
    "a quoted text": '"hello"',
    "nothing": "",
    "blanks": " \n\t\n",
    "a control character": "\x00\x01\x02",
    "a lone BOM": "\ufeff",
}
JSON_TEXTS = {
    "one record": '{"id": 1, "name": "x"}',
    "a record with a list": '{"id": 1, "name": "x", "roles": [{"r": 1}]}',
    "two tables": '{"nodes": [{"a": 1}], "edges": [{"b": 2}]}',
    "two tables of known names": '{"rows": [{"a": 1}], "items": [{"b": 2}]}',
    "no rows": '{"rows": [], "rowCount": 0}',
    "an empty list": "[]",
    "an empty object": "{}",
    "empty objects": "[{}, {}]",
    "objects and numbers": '[{"a": 1}, 2]',
    "only null": "[null, null]",
    "ragged lists": "[[1, 2], [3]]",
    "one list": "[[1, 2]]",
    "lists of objects": '[[{"a": 1}], [{"a": 2}]]',
    "ragged rows": '{"columns": ["a", "b"], "rows": [[1, 2], [3]]}',
    "rows of another width": '{"columns": ["a"], "rows": [[1, 2]]}',
    "a large text beside": '{"rows": [{"a": 1}], "log": "' + "x" * 20_000 + '"}',
    "a document": '{"title": "t", "body": "a text"}',
    "a document with a table in its text": '{"title": "a,b\\n1,2\\n3,4", "summary": "c,d\\n1,2\\n3,4"}',
    "a feature": '{"type": "Feature", "properties": {}, "geometry": null}',
    "a lone surrogate in a name": '[{"\\ud800": 1}]',
    "deep columns": '{"columns": ["a"], "rows": [[' + "[" * 300 + "]" * 300 + "]]}",
    "deep rows": '[{"a": ' + "[" * 300 + "]" * 300 + "}]",
}


@pytest.mark.parametrize("name", TEXTS)
def test_a_text_stays_what_it_was(name: str) -> None:
    found = recognise_text(TEXTS[name])
    assert found == Opaque(TEXTS[name].encode(), PLAIN, {}, "text")


@pytest.mark.parametrize("name", JSON_TEXTS)
def test_json_stays_what_it_was(name: str) -> None:
    found = recognise_text(JSON_TEXTS[name])
    assert found == Opaque(JSON_TEXTS[name].encode(), JSON, {}, "text")


@pytest.mark.parametrize("name", TEXTS)
def test_a_wrapped_text_stays_what_it_was(name: str) -> None:
    text = TEXTS[name]
    result = {"content": [{"type": "text", "text": text}], "structuredContent": {"content": text, "lines": 3}}
    if text:
        assert recognise(result) == Opaque(text.encode(), PLAIN, {"lines": 3}, "structuredContent#/content")


def test_the_files_of_this_project_are_no_tables() -> None:
    files = [path for folder in ("broker_plane", "docs", "tests") for path in sorted((ROOT / folder).rglob("*"))]
    texts = {path: path.read_text() for path in files if path.suffix in (".py", ".md", ".yaml", ".toml", ".cfg", ".sh")}
    assert len(texts) > 300
    assert [path for path, text in texts.items() if not isinstance(recognise_text(text), Opaque)] == []


@pytest.mark.parametrize(
    "media_type", ["text/x-python", "text/html", "application/yaml", "text/x-diff", "application/xml", "image/svg+xml"]
)
def test_a_media_type_of_another_format_is_believed(media_type: str) -> None:
    assert recognise_text("a,b\n1,2\n3,4\n", media_type=media_type) == Opaque(
        b"a,b\n1,2\n3,4\n", media_type, {}, "text"
    )


def test_half_of_a_surrogate_pair_is_kept() -> None:
    found = recognise_text("a\ud800b")
    assert isinstance(found, Opaque)
    assert found.raw.decode("utf-8", "surrogatepass") == "a\ud800b" and found.media_type == "application/octet-stream"
