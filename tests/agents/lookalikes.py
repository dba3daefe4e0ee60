"""Results of other people's tools that have an abstract and a body, and are no table that was split in two."""

from __future__ import annotations

import json
from typing import Any

PAPER = {"title": "On tides", "abstract": "We measure …", "body": "Full text\n\n1 Introduction", "doi": "10.1/x"}
ISSUE = {"number": 7, "title": "Crash", "body": "Steps: …", "abstract": None, "labels": ["bug"]}
MAIL = {"subject": "Hi", "abstract": "Ann asks …", "body": {"text": "Hello", "html": "<p>Hello</p>"}}
ROWS = [{"_row_id": 0, "text": "a"}, {"_row_id": 1, "text": "b"}]

LOOKALIKES: dict[str, Any] = {
    "a paper": PAPER,
    "a paper in sections": PAPER | {"body": [{"heading": "1", "text": "…"}, {"heading": "2", "text": "…"}]},
    "a paper of paragraphs": PAPER | {"abstract": ["We", "measure"], "body": ["One", "Two"]},
    "a paper whose abstract has parts": PAPER | {"abstract": {"aim": "…", "result": "…"}, "body": [{"text": "…"}]},
    "an issue": ISSUE,
    "an issue without a text": ISSUE | {"body": None},
    "an empty issue": ISSUE | {"abstract": "", "body": ""},
    "a mail": MAIL,
    "a mail in parts": MAIL | {"body": [{"type": "text/plain", "content": "Hello"}]},
    "a web request": {"abstract": False, "method": "POST", "body": [], "headers": {}},
    "a class": {"name": "Shape", "abstract": True, "body": [{"kind": "method", "name": "area"}]},
    "an anatomy": {"abstract": [], "body": ["head", "arm"]},
    "a list of papers": [PAPER, PAPER | {"title": "On waves"}],
    "papers in a page": {"items": [PAPER, ISSUE], "next": None},
    "a paper deep inside": {"data": {"search": {"hits": [{"source": {"doc": PAPER}}]}}},
    "a paper as text": json.dumps(PAPER),
    "a list of papers as text": json.dumps([PAPER, MAIL]),
    "a paper as text in text": json.dumps({"result": json.dumps(PAPER)}),
    "a paper in a block": [{"type": "text", "text": json.dumps(PAPER)}],
    "a paper in Claude's result": {"content": [{"type": "text", "text": json.dumps(PAPER)}], "is_error": False},
    "a post with comments by id": {"abstract": "…", "body": ROWS},
    "rows of another table": {"abstract": [{"_row_id": 5, "name": "Ann"}], "body": ROWS},
    "rows without an abstract": {"abstract": None, "body": ROWS},
    "rows in part": {"abstract": [], "body": [*ROWS, {"text": "c"}]},
    "rows whose ids are none": {"abstract": [], "body": [{"_row_id": None}, {"_row_id": True}]},
    "empty rows": {"abstract": [], "body": []},
    "two tables": {"abstract": [{"name": "Ann"}], "body": [{"salary": 1}]},
    "rows by name": {"abstract": {"0": "Ann"}, "body": {"0": {"_row_id": 0}}},
    "a preprint with numbers": PAPER | {"body": 12345678901234567890123, "abstract": 1.5},
    "numbers as text": '{"abstract": 1, "body": 123456789012345678901234567890, "big": 1e400}',
    "a cut emoji as text": '{"abstract": "a", "body": "cut \\ud83d"}',
    "what is no JSON": '{"abstract": "a", "body": "b"',
    "prose": 'It has an "abstract" and a "body".',
}
SPLIT: dict[str, Any] = {
    "S2SP": {
        "total_rows": 2,
        "columns": ["name", "text"],
        "abstract_domains": ["name"],
        "body_domains": ["text"],
        "abstract": [{"_row_id": 0, "name": "Ann"}, {"_row_id": 1, "name": "Bo"}],
        "body": ROWS,
    },
    "mcp-sd's tests": {"abstract": {"count": 2}, "body": ROWS},
    "ids that are text": {"abstract": [{"name": "Ann"}], "body": [{"_row_id": "r1", "text": "a"}]},
    "some rows shown": {"abstract": [{"_row_id": 1}], "body": ROWS},
    "big numbers": {"abstract": [], "body": [{"_row_id": 0, "text": 123456789012345678901234567890}]},
    "a cut emoji": {"abstract": [], "body": [{"_row_id": 0, "text": "cut \ud83d"}]},
}
"""These are tables that were split: their body never reaches a model."""
