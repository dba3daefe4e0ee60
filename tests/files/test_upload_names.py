"""The names of uploads arrive as they were, by every way of uploading, and what can be no file's name is refused."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import httpx2
import pytest

from broker_plane.errors import WireError
from broker_plane.wire.disposition import check_file_name, disposition_of, file_name_of
from tests.files.command_line import CommandLine

# ruff: noqa: RUF001
NAMES = [
    "report.pdf",
    "résumé.pdf",
    "re\u0301sume\u0301.pdf",
    "100%.pdf",
    "100%25 of r%C3%A9sum%C3%A9.pdf",
    "a & b #1.pdf",
    "Screenshot 2026-01-02 at 9.41.00\u202fAM.png",
    "narrow\u2009no-break\u00a0ideographic\u3000.txt",
    "数据 表.csv",
    "отчёт.docx",
    "تقرير.pdf",
    "דוח \u200fסופי.pdf",
    "\u202eevil.txt",
    "👩\u200d👩\u200d👧 family 🎉.png",
    'the "final" one.txt',
    "it's (1) [2] {3}.txt",
    "a;b=c,d.txt",
    "semi; filename=other.txt",
    "filename*=UTF-8''x.txt",
    "q?x=1&y=2.html",
    "tilde~ back`tick ^caret| pipe<>.txt",
    "plus+plus = sum.txt",
    " leading and trailing ",
    ".hidden",
    "..two",
    "a..b",
    "ends with dots..",
    "no ending",
    "NUL",
    "€uro ½ ÿ.txt",
    "x" * 251 + ".txt",
]
REFUSED = [
    "../x",
    "..",
    ".",
    "a/b",
    "/etc/passwd",
    "a\\b",
    "C:\\x.pdf",
    "..\\x",
    "a\nb",
    "a\tb",
    "\x1b[31m",
    "a\x7fb",
    "a\x85b",
    "x" * 256,
    "a\x00b",
]
DATA = b"%PDF"
Sent = Callable[[httpx2.Client, str, str], httpx2.Response]


def put(client: httpx2.Client, url: str, name: str) -> httpx2.Response:
    return client.put(url, content=DATA, headers={"Content-Disposition": extended(name)})


def tus(client: httpx2.Client, url: str, name: str) -> httpx2.Response:
    metadata = f"filename {b64encode(name.encode()).decode()}"
    headers = {"Tus-Resumable": "1.0.0", "Upload-Length": str(len(DATA)), "Upload-Metadata": metadata}
    made = client.post(url, headers=headers)
    if made.status_code != 201:
        return made
    told = client.head(url, headers={"Tus-Resumable": "1.0.0"}).headers["upload-metadata"]
    assert metadata in told.split(",")
    part = {"Tus-Resumable": "1.0.0", "Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"}
    return client.patch(url, content=DATA, headers=part)


def resumable(client: httpx2.Client, url: str, name: str) -> httpx2.Response:
    begun = {"Content-Disposition": extended(name), "Upload-Complete": "?0", "Upload-Length": str(len(DATA))}
    made = client.post(url, content=DATA[:1], headers=begun)
    if made.status_code != 201:
        return made
    part = {"Upload-Offset": "1", "Upload-Complete": "?1", "Content-Type": "application/partial-upload"}
    return client.patch(url, content=DATA[1:], headers=part)


def extended(name: str) -> str:
    return f"attachment; filename*=UTF-8''{quote(name, safe='')}"


@pytest.fixture
def url(shell: CommandLine) -> Callable[[], str]:
    """A new URL to upload to."""
    return lambda: str(json.loads(shell.run("upload-grant", "--uses", "unlimited", "--json"))["upload_url"])


@pytest.fixture
def client() -> Iterator[httpx2.Client]:
    with httpx2.Client(trust_env=False) as made:
        yield made


def arrived(client: httpx2.Client, upload_url: str, location: str) -> str:
    """What the body behind an upload is called, as `plane.pull` reads it and as it is listed."""
    answer = client.get(httpx2.URL(upload_url).join(location))
    assert answer.content == DATA
    return file_name_of(answer.headers["content-disposition"])


@pytest.mark.parametrize("sent", [put, tus, resumable])
def test_a_name_arrives_over_http(
    shell: CommandLine, url: Callable[[], str], client: httpx2.Client, sent: Sent
) -> None:
    for name in NAMES:
        upload_url = url()
        answer = sent(client, upload_url, name)
        assert answer.status_code in (200, 201, 204), answer.text
        assert arrived(client, upload_url, answer.headers["content-location"]) == name
        if answer.content:
            assert answer.json()["name"] == name


@pytest.mark.parametrize("sent", [put, tus, resumable])
def test_what_names_no_file_is_refused_over_http(url: Callable[[], str], client: httpx2.Client, sent: Sent) -> None:
    upload_url = url()
    for name in REFUSED:
        answer = sent(client, upload_url, name)
        assert (answer.status_code, answer.json()["code"]) == (400, "bad_request"), name
    assert put(client, upload_url, "a.txt").status_code == 201


def test_a_name_arrives_from_the_command_line(
    shell: CommandLine, url: Callable[[], str], client: httpx2.Client, tmp_path: Path
) -> None:
    for number, name in enumerate(NAMES):
        upload_url = url()
        file = tmp_path / name
        try:
            file.write_bytes(DATA)
            named: tuple[object, ...] = (file,)
        except OSError:  # in bytes the name is longer than a file system takes
            (tmp_path / "short").write_bytes(DATA)
            named = (tmp_path / "short", "--name", name)
        said = json.loads(shell.run("upload", *named, upload_url, "--json"))
        assert arrived(client, upload_url, said["resource_url"]) == name
        if number == 1:
            assert name in [body["name"] for body in json.loads(shell.run("ls", "--json"))]


def test_what_names_no_file_is_refused_on_the_command_line(
    shell: CommandLine, url: Callable[[], str], tmp_path: Path
) -> None:
    (tmp_path / "x").write_bytes(DATA)
    upload_url = url()
    for name in REFUSED:
        assert "The file name" in shell.refused("upload", tmp_path / "x", upload_url, "--name", name)
    no_text = tmp_path / "caf\udce9"
    no_text.write_bytes(DATA)
    assert "is not UTF-8" in shell.refused("upload", no_text, upload_url)


HEADERS: list[tuple[str, str]] = [
    ("attachment; filename=report.pdf", "report.pdf"),
    ("filename=report.pdf", "report.pdf"),
    ("attachment; FileName = my report.pdf ; size=3", "my report.pdf"),
    ('attachment; filename="a;b.pdf"; size=3', "a;b.pdf"),
    ('attachment; filename="the \\"final\\" one.txt"', 'the "final" one.txt'),
    ('attachment; filename="100%25.pdf"', "100%25.pdf"),
    ('form-data; name="f"; filename="a.txt"', "a.txt"),
    ("attachment; filename=\"plain.pdf\"; filename*=UTF-8''%e2%82%ac.pdf", "€.pdf"),
    ("attachment; filename*=utf-8'en'%e2%82%ac(1).pdf; filename=\"plain.pdf\"", "€(1).pdf"),
    ("attachment; filename*=ISO-8859-1''%e9t%e9.pdf", "été.pdf"),
    ("attachment; filename*=UTF-8''%ff; filename=\"plain.pdf\"", "plain.pdf"),
    ("attachment; filename*=\"UTF-8''a%20b.pdf\"", "a b.pdf"),
    ('attachment; filename="résumé.pdf"', "résumé.pdf"),
    ("attachment", ""),
    ('attachment; filename=""', ""),
    ("", ""),
    ("inline; other=x", ""),
]


@pytest.mark.parametrize(("header", "name"), HEADERS, ids=[header for header, _ in HEADERS])
def test_a_header_as_clients_write_it(url: Callable[[], str], client: httpx2.Client, header: str, name: str) -> None:
    answer = client.put(url(), content=DATA, headers=[(b"Content-Disposition", header.encode())])
    assert answer.status_code == 201, answer.text
    assert answer.json()["name"] == name


@pytest.mark.parametrize(
    "header",
    [
        "attachment; filename*=UTF-8''%ff",
        "attachment; filename*=koi8-r''x",
        "attachment; filename*0=a; filename*1=b",
        'attachment; filename="C:\\dir\\x.pdf"',
        "attachment; filename=../x",
        "attachment; filename*=UTF-8''%2e%2e%2fx; filename=x",
    ],
)
def test_a_header_whose_name_is_lost_or_dangerous_is_refused(
    url: Callable[[], str], client: httpx2.Client, header: str
) -> None:
    answer = client.put(url(), content=DATA, headers={"Content-Disposition": header})
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_request")


@pytest.mark.parametrize("name", NAMES)
def test_our_header_is_read_as_it_was_meant(name: str) -> None:
    assert file_name_of(disposition_of(name)) == check_file_name(name) == name


def test_half_a_character_is_refused() -> None:
    with pytest.raises(WireError, match="not UTF-8"):
        check_file_name("a\ud83d")


@pytest.mark.parametrize("method", ["PUT", "POST"])
def test_a_form_is_refused_and_says_what_to_send(url: Callable[[], str], client: httpx2.Client, method: str) -> None:
    upload_url = url()
    for given in ({"files": {"file": ("x.txt", DATA)}}, {"files": {"a": DATA, "b": DATA}, "data": {"c": "d"}}):
        answer = client.request(method, upload_url, **given)
        assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_type")
        assert "curl -T" in answer.json()["detail"]
    for kind in ("multipart/form-data", "Multipart/Form-Data; boundary=x"):
        assert client.request(method, upload_url, content=DATA, headers={"Content-Type": kind}).status_code == 415
    assert client.put(upload_url, content=DATA, headers={"Content-Type": "multipart/mixed"}).status_code == 201
