"""Files travel from one server to another by transfer descriptors; the agent sees only names and sizes.

python -m demos.files [--cuts N] [--json]
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from time import perf_counter
from typing import Any
from urllib.parse import urlsplit

import orjson
from mcp import Client
from rich.console import Console
from rich.table import Table

from broker_plane import Plane, parse_descriptor
from broker_plane.testing.proxy import CuttingProxy

from .around import demo_parser, is_ready, saying_what_runs
from .bars import working
from .sample_files import LARGE, PAGES, TEXT, WORDS, make_files
from .stage import call, perform, servers

_DIRECTORY = "BROKER_PLANE_FILES_DIR"
_TRUSTED = "BROKER_PLANE_TRUSTED_HOSTS"
_WIDTH = 320
MOST_CUTS = 20


@dataclass
class Result:
    """The result for one file. If `skipped`, its tool needs a program that is not installed; `note` names it."""

    file: str
    tool: str
    size: int
    result_bytes: int
    ms: float
    verified: bool = False
    skipped: bool = False
    note: str = ""
    cuts: int = 0
    sent_again_percent: float = 0.0


@dataclass
class Story:
    """All results. `agent_bytes` is the text that the agent read and wrote, `file_bytes` the size of the files."""

    files: list[dict[str, Any]] = field(default_factory=list)
    results: list[Result] = field(default_factory=list)
    agent_bytes: int = 0

    @property
    def file_bytes(self) -> int:
        return sum(each["size"] for each in self.files)

    @property
    def verified(self) -> bool:
        return bool(self.results) and all(result.verified or result.skipped for result in self.results)

    def to_json(self) -> dict[str, Any]:
        return {
            "demo": "files",
            "files": self.files,
            "results": [vars(result) for result in self.results],
            "file_bytes": self.file_bytes,
            "agent_bytes": self.agent_bytes,
            "verified": self.verified,
        }


def run(*, json: bool = False, cuts: int = 3) -> int:
    """Run the demo; 0 if every result matches its file, 1 if not, 130 after Ctrl-C."""
    if not is_ready("files"):
        return 1
    return perform(_tell(cuts), partial(_report, json=json), lambda story: story.verified, _own_files())


@contextmanager
def _own_files() -> Iterator[None]:
    """In the block, the file server serves new files."""
    with saying_what_runs(), tempfile.TemporaryDirectory(prefix="broker-plane-files-") as directory:
        make_files(Path(directory))
        os.environ[_DIRECTORY] = directory
        # The interrupted connection uses another port of this machine than the bridge.
        os.environ[_TRUSTED] = ",".join(filter(None, (os.environ.get(_TRUSTED), "127.0.0.1")))
        yield


async def _tell(cuts: int) -> Story:
    story = Story()
    with working("files: start the servers"):
        plane_block, servers_block = Plane.connect(), servers("files", "processor")
        async with plane_block as plane, servers_block as (files, processor):
            story.files = (await _ask(story, files, "list_files", {}))["files"]
            agent = _Agent(story, plane, files, processor)
            await agent.hand("minutes.pdf", "extract_text", lambda raw, _: all(_has(raw, page) for page in PAGES))
            await agent.hand("tides.txt", "extract_text", lambda raw, _: raw.decode() == TEXT)
            await agent.hand("sign.png", "read_image", lambda raw, _: WORDS in raw.decode())
            await agent.hand("harbour.png", "resize", _is_smaller, cuts=cuts, width=_WIDTH)
    return story


class _Agent:
    """The agent: it gets a descriptor from one tool and passes it to the other."""

    def __init__(self, story: Story, plane: Plane, files: Client, processor: Client) -> None:
        self._story = story
        self._plane = plane
        self._files = files
        self._processor = processor

    async def hand(self, name: str, tool: str, holds: Any, *, cuts: int = 0, **more: Any) -> None:
        """Let `tool` convert the file; `holds(bytes, said)` returns whether the result is right."""
        began = perf_counter()
        size = next(each["size"] for each in self._story.files if each["name"] == name)
        descriptor = await _ask(self._story, self._files, "offer_file", {"name": name})
        where = [size // (cuts + 1)] * cuts
        async with CuttingProxy(self._plane.bridge_url, cuts=where) as proxy:
            if cuts:  # a proxy between the two servers interrupts connections
                rest = urlsplit(descriptor["endpoint"]).path
                descriptor |= {"endpoint": proxy.url + rest}
            said = await _ask(self._story, self._processor, tool, {"descriptor": descriptor, **more})
            again = 100 * max(0, proxy.received / size - 1) if cuts else 0.0
            result = Result(name, tool, size, said.get("bytes", 0), 0.0, cuts=proxy.cut, sent_again_percent=again)
        if "descriptor" in said:
            raw = await self._plane.transfers.fetch(parse_descriptor(said["descriptor"]))
            whole = sha256(raw).hexdigest() == said["descriptor"]["checksum"].partition(":")[2]
            result.verified = whole and bool(holds(raw, said))
        else:
            result.skipped, result.note = said.get("read") is False, said.get("why", "")
        result.ms = (perf_counter() - began) * 1000
        self._story.results.append(result)


async def _ask(story: Story, client: Client, tool: str, arguments: dict[str, Any]) -> Any:
    with working(f"files: {tool}") as now:
        answer = await call(client, tool, arguments, now)
    story.agent_bytes += len(orjson.dumps(arguments)) + len(answer.text.encode())
    return answer.said


def _has(raw: bytes, lines: list[str]) -> bool:
    return all(line in raw.decode() for line in lines)


def _is_smaller(raw: bytes, said: dict[str, Any]) -> bool:
    from PIL import Image  # from an extra, which `is_ready` checks first

    with Image.open(BytesIO(raw)) as image:
        return image.size == (_WIDTH, round(LARGE[1] * _WIDTH / LARGE[0])) == (said["width"], said["height"])


def _report(story: Story, *, json: bool) -> None:
    if json:
        print(orjson.dumps(story.to_json()).decode())
        return
    console = Console(highlight=False, soft_wrap=True)
    console.print("A file server has files, a processor works on them; the agent hands descriptors on, and no bytes.")
    table = Table("file", "tool", title="files", title_justify="left")
    for heading in ("bytes", "result", "ms"):
        table.add_column(heading, justify="right")
    table.add_column("")
    for one in story.results:
        outcome = "verified" if one.verified else "skipped" if one.skipped else "[bold red]NOT verified[/]"
        result = "" if one.skipped else f"{one.result_bytes:,}"
        table.add_row(one.file, one.tool, f"{one.size:,}", result, f"{one.ms:,.0f}", outcome)
    console.print(table)
    for one in story.results:
        if one.note:
            console.print(f"{one.file}: {one.note}.", markup=False)
        if one.cuts:
            console.print(
                f"{one.file}: cuts of its connection: {one.cuts}; the transfer went on where it was, "
                f"and {one.sent_again_percent:.1f} % was sent twice."
            )
    console.print("Results are bodies as well: the demo pulls each and compares it with what its file gives.")
    console.print(
        f"The files have {story.file_bytes:,} bytes; through the agent went {story.agent_bytes:,} "
        f"({story.agent_bytes // 4:,} tokens, counted as bytes / 4)."
    )


def main(argv: Sequence[str] | None = None) -> int:
    parser = demo_parser("files", __doc__)
    parser.add_argument("--cuts", type=int, default=3, help="how often the large file's transfer is cut off")
    parser.add_argument("--json", action="store_true", help="one JSON object in place of the table")
    chosen = parser.parse_args(argv)
    if not 0 <= chosen.cuts <= MOST_CUTS:
        parser.error(f"--cuts is a number from 0 to {MOST_CUTS}")
    return run(**vars(chosen))


if __name__ == "__main__":
    sys.exit(main())
