"""Diffs as people and models read and write them."""

from __future__ import annotations

import difflib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker_plane.errors import ChangeError
from broker_plane.sessions.diffs import LONGEST, lines, unified
from broker_plane.sessions.hunks import patched

LINES = st.lists(st.sampled_from(["a", "b", "", " c", "-d", "+e", "é🌴", "\\ x"]), max_size=8)
TEXTS = st.builds(lambda lines, end: "\n".join(lines) + end, LINES, st.sampled_from(["", "\n"]))


@given(TEXTS, TEXTS)
def test_a_text_with_its_diff_is_the_other_text(before: str, after: str) -> None:
    diff = unified("text", before, after)
    assert patched(before, diff) == after if diff else before == after


@given(TEXTS, TEXTS)
def test_hunks_are_those_of_difflib(before: str, after: str) -> None:
    old, new = lines("text", before), lines("text", after)
    if not before.endswith("\n") or not after.endswith("\n"):
        return
    expected = [line.removesuffix("\n") for line in difflib.unified_diff(old, new)][2:]
    headers = [line for line in expected if line.startswith("@@")]
    assert [line for line in unified("text", before, after).split("\n") if line.startswith("@@")] == headers


def test_a_diff_shows_lines_with_context() -> None:
    before = "".join(f"line {n}\n" for n in range(1, 10))
    assert unified("text", before, before.replace("5", "five")) == (
        "@@ -2,7 +2,7 @@\n line 2\n line 3\n line 4\n-line 5\n+line five\n line 6\n line 7\n line 8"
    )
    assert unified("text", "a", "a\n") == "@@ -1 +1 @@\n-a\n\\ No newline at end of file\n+a"
    assert unified("text", "a", "a") == ""


def test_json_has_a_line_for_each_member_and_a_table_for_each_row() -> None:
    assert unified("json", {"b": [1.0], "a": "é"}, {"a": "é", "b": [1, 2]}) == (
        '@@ -1,6 +1,7 @@\n {\n   "a": "é",\n   "b": [\n-    1\n+    1,\n+    2\n   ]\n }'
    )
    assert unified("json", {"a": 1}, {"a": 1.0}) == ""
    assert unified("table", [{"b": 1, "a": "é"}], [{"a": "é", "b": 2}]) == (
        '@@ -1 +1 @@\n-{"a": "é", "b": 1}\n+{"a": "é", "b": 2}'
    )


def test_a_long_diff_is_cut_and_says_so() -> None:
    diff = unified("text", "", "".join(f"line {n}\n" for n in range(10_000)))
    assert len(diff) < LONGEST + 100
    assert diff.endswith("… The diff is longer than this. Read the artifact itself")
    assert "xxx… (a line of 5000 characters)" in unified("text", "", "x" * 5000)


def test_a_hunk_with_wrong_numbers_is_found_by_its_lines() -> None:
    text = "def a():\n    return 1\n\ndef b():\n    return 2\n"
    diff = "--- a/file\n+++ b/file\n@@ -40,9 +41,2 @@ def b\n def b():\n-    return 2\n+    return 3\n"
    assert patched(text, diff) == text.replace("return 2", "return 3")


def test_a_hunk_without_old_lines_inserts_after_the_line_that_it_names() -> None:
    assert patched("a\nb\n", "@@ -1,0 +2 @@\n+new\n") == "a\nnew\nb\n"
    assert patched("a\nb\n", "@@ -0,0 +1 @@\n+new\n") == "new\na\nb\n"
    assert patched("", "@@ -0,0 +1 @@\n+new\n") == "new\n"


@pytest.mark.parametrize(
    ("diff", "says"),
    [
        ("", "no hunk"),
        ("change a to b", "before the first hunk"),
        ("@@ -1 +1 @@\n-missing\n+x", "line 1 of the diff replaces is not in the text"),
        ("@@ -9 +9 @@\n-same\n+x", "2 times"),
        ("@@ -1 +1 @@\n-one\n*two", "Line 3 of the diff"),
    ],
)
def test_a_diff_that_does_not_fit_is_refused(diff: str, says: str) -> None:
    with pytest.raises(ChangeError, match=says):
        patched("one\nsame\nsame\n", diff)
