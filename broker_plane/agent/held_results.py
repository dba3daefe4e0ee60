"""Which results are held back, and the text that stands for a held one in memory. Pure.

The rules are those of the proxy: reading/clients.py has the thresholds and reading/held_back.py what is shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from broker_plane.errors import TabularError
from broker_plane.reading.clients import Threshold, client_of
from broker_plane.reading.held_back import RecognisedTable, kept_text, recognised_table
from broker_plane.reading.tokens import TOKEN_BYTES
from broker_plane.shapes.recognise import recognise_text
from broker_plane.shapes.results import texts_of
from broker_plane.shapes.table import Opaque, Table
from broker_plane.tabular.frame import frame_of
from broker_plane.tabular.json_values import exact_json_bytes, json_bytes
from broker_plane.wire.exact_json import MALFORMED, loads

JSON = "application/json"
_URL = "resource_url"


@dataclass(frozen=True, slots=True)
class HoldingRule:
    """Results of more than `tokens` are held back; with None, what the MCP client named `client` would cut off."""

    tokens: int | None = None
    client: str = ""
    shapes: Mapping[str, str] = field(default_factory=dict)
    """What a tool returns, by its name."""

    def applies(self, result: Mapping[str, Any]) -> bool:
        """Whether a result, in its wire form, is large. An abstract that the model asked for does not count."""
        threshold, client = Threshold(self.tokens), client_of(self.client)
        try:
            if not threshold.exceeded_by(result, client):
                return False
            offer = _offer(result)
            return offer is None or threshold.exceeded_by({"content": [], "structuredContent": offer}, client)
        except TabularError:  # nested too deeply to be measured
            return False

    @property
    def least_characters(self) -> int:
        """No text of fewer characters is held back."""
        return Threshold(self.tokens).least_bytes(client_of(self.client)) // TOKEN_BYTES


@dataclass(frozen=True, slots=True)
class HeldText:
    """A held result as the text that it was. It is JSON itself, for snapshots."""

    text: str
    media_type: str

    def to_json(self) -> dict[str, str]:
        """The value that `held_text` reads."""
        return {"text": self.text, "media_type": self.media_type}

    def table(self) -> RecognisedTable | None:
        """The table that the text contains; finding it may take seconds."""
        found = recognise_text(self.text, media_type="" if self.media_type == JSON else self.media_type)
        return recognised_table(found, summarize=False) if isinstance(found, Table) else None

    def body_data(self) -> str:
        """What a consumer tool gets in `body_data`: rows with their `_row_id` if it is a table, else the text."""
        table = self.table()
        return self.text if table is None else json_bytes(frame_of(table.rows, 0).rows(with_ids=True)).decode()


@dataclass(frozen=True, slots=True)
class HeldResult:
    """A result to be held: what it is, and the text that it was."""

    tool: str
    found: RecognisedTable | Opaque
    text: HeldText

    @property
    def is_text(self) -> bool:
        """Whether a consumer gets it byte for byte, and not as rows."""
        return isinstance(self.found, Opaque) or kept_text(self.found.table) is not None


def held_text(body: Any) -> HeldText:
    """The held text of a stored value."""
    return HeldText(body["text"], body["media_type"])


def text_of_result(result: Mapping[str, Any], found: RecognisedTable | Opaque) -> HeldText:
    """The text that a result was, byte for byte; for structured content its JSON."""
    source = found if isinstance(found, Opaque) else found.table.source
    if source is not None:
        return HeldText(source.raw.decode("utf-8", "surrogatepass"), source.media_type)
    if result.get("structuredContent") is not None:
        return HeldText(exact_json_bytes(result["structuredContent"]).decode("utf-8", "surrogatepass"), JSON)
    return HeldText("\n".join(texts_of(result)), "application/x-ndjson")


def _offer(result: Mapping[str, Any]) -> dict[str, Any] | None:
    """The members of a resource tool's result without its abstract; None for any other result."""
    shape, texts = result.get("structuredContent"), texts_of(result)
    if shape is None and len(texts) == 1 and f'"{_URL}"' in texts[0]:
        try:
            shape = loads(texts[0])
        except MALFORMED:
            return None
    if not isinstance(shape, Mapping) or not isinstance(shape.get(_URL), str):
        return None
    if not isinstance(shape.get("abstract"), list):
        return None
    return {name: value for name, value in shape.items() if name != "abstract"}
