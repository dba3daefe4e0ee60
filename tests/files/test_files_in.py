"""Files in: what their ending says, how other programs write them, and the types of a CSV's columns."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.files.command_line import CommandLine

BIG = 123456789012345678901234567890
TABLE = "id,name\r\n1,Ann\r\n2,Bö\r\n"
ROWS = [{"id": 1, "name": "Ann"}, {"id": 2, "name": "Bö"}]
NESTED: list[dict[str, Any]] = [{"a": 'x":', "b": {"a": "\\"}}, {"a": '{"a":1,"a":2}'}]


def given(tmp_path: Path, name: str, content: str | bytes) -> Path:
    file = tmp_path / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return file


def test_a_published_table_is_narrowed_by_its_numbers_and_pulled(shell: CommandLine, tmp_path: Path) -> None:
    table = given(tmp_path, "table.csv", "event,severity\nFlood,3\nWind,1\nFire,10\n")
    shell.run("publish", table, "--abstract", "event")
    made = shell.run("grant", shell.publish(table), "--where", "severity > 2", "--columns", "event")
    assert shell.rows(made.decode().split()[0]) == [{"event": "Flood"}, {"event": "Fire"}]


def test_a_header_without_rows_keeps_its_columns(shell: CommandLine, tmp_path: Path) -> None:
    url = shell.publish(given(tmp_path, "a.csv", "event,severity\n"))
    assert shell.rows(url) == []
    assert shell.run("pull", url, "--format", "csv") == b"event,severity\r\n"


FILES: list[tuple[str, str | bytes, list[dict[str, Any]]]] = [
    ("a.csv", TABLE, ROWS),
    ("a.CSV", TABLE.replace("\r\n", "\n"), ROWS),
    ("a.csv", b"\xef\xbb\xbf" + TABLE.encode(), ROWS),
    ("a.csv", TABLE.encode("utf-16"), ROWS),
    ("a.csv", b"\xfe\xff" + TABLE.encode("utf-16-be"), ROWS),
    ("a.csv", TABLE.replace("\r\n", "\r"), ROWS),
    ("a.csv", '"id","name"\n"1","Ann"\n\n"2","Bö"', ROWS),
    ("a.csv", 'a,b\n"x,\n""y""",1\n', [{"a": 'x,\n"y"', "b": 1}]),
    ("a.csv", "a,b,c\n1\n2,x\n", [{"a": 1, "b": None, "c": None}, {"a": 2, "b": "x", "c": None}]),
    ("a.csv", ",a\n0,x\n", [{"": 0, "a": "x"}]),
    ("a.csv", " a,b \n1,2\n", [{" a": 1, "b ": 2}]),
    ("a.csv", f"cell\n{'x' * 200_000}\n", [{"cell": "x" * 200_000}]),
    ("a.csv", "a;b\n1\n", [{"a;b": 1}]),
    ("a.csv", "", []),
    ("a.json", b"\xef\xbb\xbf" + json.dumps(ROWS).encode(), ROWS),
    ("a.json", json.dumps(ROWS, ensure_ascii=False).encode("utf-16"), ROWS),
    ("a.json", json.dumps(ROWS[0]), ROWS[:1]),
    ("a.json", '[{"a" : "x\\":", "b":{"a":"\\\\"}}, {"a": "{\\"a\\":1,\\"a\\":2}"}]', NESTED),
    ("a.json", f'[{{"wei": {BIG}}}, {{"wei": -{BIG}}}]', [{"wei": str(BIG)}, {"wei": str(-BIG)}]),
    (
        "a.json",
        '[{"n": 9007199254740993}, {"n": 18446744073709551616}]',
        [{"n": "9007199254740993"}, {"n": str(2**64)}],
    ),
    ("a.ndjson", f'{{"wei": {BIG}}}\r\n\r\n{{"wei": 1}}', [{"wei": str(BIG)}, {"wei": 1}]),
    ("a.jsonl", b"\xef\xbb\xbf" + b'{"a": 1}\n{"b": 2}\n', [{"a": 1}, {"b": 2}]),
    ("a.ndjson", '{"a": "ö"}\n{"a": "€"}\n'.encode("utf-16"), [{"a": "ö"}, {"a": "€"}]),
]


@pytest.mark.parametrize(("name", "content", "rows"), FILES, ids=[f"{n}-{name}" for n, (name, *_) in enumerate(FILES)])
def test_a_file_is_the_rows_in_it(
    shell: CommandLine, tmp_path: Path, name: str, content: str | bytes, rows: list[dict[str, Any]]
) -> None:
    assert shell.rows(shell.publish(given(tmp_path, name, content))) == rows


WRONG: list[tuple[str, str | bytes, str]] = [
    ("a.csv", "id,Email,Email\n1,work@x,home@x\n", "'Email' (columns 2, 3)"),
    ("a.csv", "a,,b,\n1,2,3,4\n", "no name (columns 2, 4)"),
    ("a.csv", '"a","a"\n', "'a' (columns 1, 2)"),
    ("a.csv", "a\n,\n", "Line 2 has 2 fields, but the header has 1"),
    ("a.csv", "a,b\n1,2\n1,2,3\n", "Line 3 has 3 fields, but the header has 2"),
    ("a.csv", TABLE.encode("cp1252"), "iconv -f cp1252 -t utf-8"),
    ("a.csv", TABLE.encode("utf-16-le"), "UTF-16"),
    ("a.csv", TABLE.encode("utf-32"), "UTF-32"),
    ("a.csv", "a;b\n1;2\n", "separated by ';'"),
    ("a.csv", "a\tb\n1\t2\n", "separated by '\\t'"),
    ("a.csv", 'a,b\n1,"open\n', "not valid CSV: unexpected end of data"),
    ("a.json", '[{"a": "Bö"}]'.encode("cp1252"), "is not UTF-8 (byte 0xf6)"),
    ("a.ndjson", b'{"a": 1}\n{"a": "\xe9"}\n', "Line 2 is not UTF-8 (byte 0xe9)"),
    ("a.ndjson", '{"a": 1}\n{"a": \n', "Line 2 is not valid JSON"),
    ("a.json", '{"a": 1}\n{"a": 2}\n', "not valid JSON"),
    ("a.json", "3", "not contain a list of rows"),
    ("a.json", '[{"a": 1}, {"Email": "x", "Email": "y"}]', "two values for 'Email'"),
    ("a.ndjson", '{"a": 1}\n{"a": 1, "\\u0061": 2}\n', "Line 2 has an object with two values for 'a'"),
    ("a.json", '[{"a" : 1, "b": 2, "a"\t: 3}]', "two values for 'a'"),
    ("a.json", '[{"a": {"b": [{"c": 1, "c": 2}]}, "t": "x\\":"}]', "two values for 'c'"),
    ("a.msgpack", "[]", ""),
    ("a.csv", "_row_id,a\n1,2\n", "_row_id"),
]


@pytest.mark.parametrize(("name", "content", "says"), WRONG, ids=[f"{n}-{name}" for n, (name, *_) in enumerate(WRONG)])
def test_a_file_that_is_not_what_its_ending_says_is_an_error(
    shell: CommandLine, tmp_path: Path, name: str, content: str | bytes, says: str
) -> None:
    said = shell.refused("publish", given(tmp_path, name, content), "--uses", "unlimited")
    assert said.startswith("broker-plane: ")
    assert says in said


TABLES = ("A.XLS", "a.ods", "a.avro", "a.orc", "a.psv", "a.csv.bz2", "a.json.zst", "a.parquet.gz", "a.xlsx.zip")


@pytest.mark.parametrize("name", TABLES)
def test_a_table_that_cannot_be_read_is_an_error_and_not_an_opaque_body(
    shell: CommandLine, tmp_path: Path, name: str
) -> None:
    file = given(tmp_path, name, "a\tb\n1\t2\n")
    said = shell.refused("publish", file)
    assert "files cannot be read as tables" in said
    assert "--format bytes" in said
    assert shell.run("pull", shell.publish(file, "--format", "bytes")) == file.read_bytes()


@pytest.mark.parametrize("name", ["a.pdf", "notes.txt", "picture.png", "README", "archive.tar.gz", "a.csv.bak"])
def test_a_file_of_any_other_ending_is_its_bytes(shell: CommandLine, tmp_path: Path, name: str) -> None:
    file = given(tmp_path, name, "a,b\n1,2\n")
    assert shell.run("pull", shell.publish(file)) == file.read_bytes()


TYPES: list[tuple[list[str], list[Any]]] = [
    (["1", "-2", "0"], [1, -2, 0]),
    (["1", "", "3"], [1, None, 3]),
    (["1.5", "2.0", "-0.25"], [1.5, 2.0, -0.25]),
    (["12.50", "3.00", "4"], [12.5, 3.0, 4.0]),
    (["1", "2.5"], [1.0, 2.5]),
    (["1e-07", "2.5", "1e+16"], [1e-07, 2.5, 1e16]),
    (["true", "false", ""], [True, False, None]),
    (["TRUE", "FALSE"], [True, False]),
    (["True", "False"], [True, False]),
    (["999999999999999999"], ["999999999999999999"]),  # a whole number: as text in JSON, since it is beyond 2^53
    (["2026-01-02", "2024-02-29"], ["2026-01-02", "2024-02-29"]),
    (["", ""], [None, None]),
    # what stays text
    (["007", "042"], ["007", "042"]),
    (["00501", "10001"], ["00501", "10001"]),
    (["+15550100", "+15550101"], ["+15550100", "+15550101"]),
    (["555-0100", "5550101"], ["555-0100", "5550101"]),
    (["1e5", "2E10"], ["1e5", "2E10"]),
    (["inf", "1.5"], ["inf", "1.5"]),
    (["nan", "NaN"], ["nan", "NaN"]),
    (["-inf", "Infinity"], ["-inf", "Infinity"]),
    (["-0", "1"], ["-0", "1"]),
    (["1_000", "2"], ["1_000", "2"]),
    (["1,000", "2"], ["1,000", "2"]),
    (["0x10", "1"], ["0x10", "1"]),
    ([" 1", "2"], [" 1", "2"]),
    (["٣", "4"], ["٣", "4"]),
    (["1.10", "1.9"], ["1.10", "1.9"]),
    (["1.", ".5"], ["1.", ".5"]),
    (["0.12345678901234567890", "1.5"], ["0.12345678901234567890", "1.5"]),
    (["123456789012345678901234567890"], ["123456789012345678901234567890"]),
    (["4111111111111111111", "4"], ["4111111111111111111", "4"]),
    (["9007199254740993", "0.5"], ["9007199254740993", "0.5"]),
    (["1", "N/A"], ["1", "N/A"]),
    (["true", "1"], ["true", "1"]),
    (["yes", "no"], ["yes", "no"]),
    (["true", "unknown", ""], ["true", "unknown", ""]),
    (["x", ""], ["x", ""]),
    (["2026-02-30", "2026-01-02"], ["2026-02-30", "2026-01-02"]),
    (["NULL", "1"], ["NULL", "1"]),
]


def columns_of(cells: list[list[str]]) -> str:
    """A CSV with a column for each list, as long as the longest; what is missing is empty beside a mark."""
    lines = [",".join(f"c{number}" for number in range(len(cells)))]
    lines += [",".join(f'"{column[row]}"' for column in cells) for row in range(len(cells[0]))]
    return "\n".join(lines) + "\n"


def test_a_column_has_the_type_of_all_its_values_or_is_text(shell: CommandLine, tmp_path: Path) -> None:
    for length in {len(texts) for texts, _ in TYPES}:
        those = [(texts, values) for texts, values in TYPES if len(texts) == length]
        file = given(tmp_path, "types.csv", columns_of([texts for texts, _ in those]))
        rows = shell.rows(shell.publish(file))
        for number, (texts, values) in enumerate(those):
            found = [row[f"c{number}"] for row in rows]
            assert (found, list(map(type, found))) == (values, list(map(type, values))), texts
        texts_only = shell.rows(shell.publish(file, "--text"))
        assert [[row[name] for row in texts_only] for name in texts_only[0]] == [texts for texts, _ in those]


def test_a_type_is_decided_by_the_last_line_too(shell: CommandLine, tmp_path: Path) -> None:
    numbers = [str(number) for number in range(3_000)]
    file = given(tmp_path, "long.csv", "\n".join(["n,m", *(f"{n},{n}" for n in numbers), "x,7"]))
    rows = shell.rows(shell.publish(file))
    assert [row["n"] for row in rows] == [*numbers, "x"]
    assert [row["m"] for row in rows] == [*map(int, numbers), 7]


def test_standard_input_is_read_as_a_file_is(shell: CommandLine) -> None:
    assert shell.rows(shell.publish("-", "--format", "csv", given=b"a,b\n1,x\n")) == [{"a": 1, "b": "x"}]
    assert shell.rows(shell.publish("-", "--format", "csv", "--text", given=b"a\n1\n")) == [{"a": "1"}]
    assert shell.rows(shell.publish("-", "--format", "json", given=b'\xef\xbb\xbf[{"a": 1}]')) == [{"a": 1}]


def test_text_is_an_option_of_csv_files(shell: CommandLine, tmp_path: Path) -> None:
    assert "--text is only for CSV and TSV" in shell.refused("publish", given(tmp_path, "a.json", "[]"), "--text")


def test_what_is_printed_of_rows_is_exact_too(shell: CommandLine, tmp_path: Path) -> None:
    file = given(tmp_path, "a.json", f'[{{"wei": {BIG}, "big": {2**64}, "t": "[red]x[/red]"}}]')
    shown = json.loads(shell.run("publish", file, "--abstract", "wei,big,t", "--json"))["abstract"]
    assert shown == [{"_row_id": 0, "wei": str(BIG), "big": str(2**64), "t": "[red]x[/red]"}]
    said = shell.ran("publish", file, "--abstract", "wei,t").stderr  # standard output is for the URL alone
    assert f'"wei":"{BIG}","t":"[red]x[/red]"' in said
