"""What mcp-sd's weather demos ask for, on loopback: the weather service, and a model behind OpenAI's chat API.

The model asks for the alerts of California, takes those about wind, and hands them to the chart.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

EVENTS = ("Wind Advisory", "Flood Watch", "High Wind Warning", "Heat Advisory")
DOMAINS = "event,severity,urgency,status,headline,areaDesc"
SECRET = "read by the chart server only"


def alerts(count: int = 40) -> dict[str, Any]:
    """In the form of api.weather.gov."""
    return {
        "features": [
            {
                "properties": {
                    "@id": f"urn:{n}",
                    "id": f"urn:{n}",
                    "event": EVENTS[n % 4],
                    "severity": ("Severe", "Minor")[n % 2],
                    "urgency": "Expected",
                    "certainty": "Likely",
                    "status": "Actual",
                    "headline": f"{EVENTS[n % 4]} number {n}",
                    "areaDesc": f"County {n % 5}; County {n % 7}",
                    "senderName": f"NWS office {n % 3}",
                    "messageType": "Alert",
                    "category": "Met",
                    "description": f"{SECRET} {n}",
                    "parameters": {"NWSheadline": [f"headline {n}"]},
                    "geocode": {"UGC": [f"CAZ{n:03}"]},
                }
            }
            for n in range(count)
        ]
    }


class Service(ThreadingHTTPServer):
    """Both, on one port; `prompts` are all the texts that the model was given."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answering)
        self.prompts: list[str] = []
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Answering(BaseHTTPRequestHandler):
    server: Service

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        self._say(alerts())

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers["content-length"])).decode()
        asked = json.loads(raw)
        self.server.prompts.append(raw)
        message = {"role": "assistant", "content": None} | _said(asked["messages"])
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        made = {"id": "c", "object": "chat.completion", "created": 1, "model": asked["model"], "usage": usage}
        self._say(made | {"choices": [choice]})

    def _say(self, value: Any) -> None:
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


def _said(messages: list[dict[str, Any]]) -> dict[str, Any]:
    """What the model says next."""
    tools = [message for message in messages if message["role"] == "tool"]
    if not tools:
        return _call("get_alerts", {"area": "CA", "abstract_domains": DOMAINS})
    found = json.loads(tools[-1]["content"])
    if "abstract" not in found:
        return {"content": f"analyzed={found['alerts_analyzed']}"}
    chosen = [row for row in found["abstract"] if "Wind" in row["event"]]
    handed: dict[str, Any] = {"abstract_data": json.dumps(chosen)}
    if "body" in found:
        ids = {row["_row_id"] for row in chosen}
        handed["body_data"] = json.dumps([row for row in found["body"] if row["_row_id"] in ids])
    else:
        handed["resource_url"] = found["resource_url"]
    return _call("draw_chart", handed)


def _call(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    function = {"name": name, "arguments": json.dumps(arguments)}
    return {"tool_calls": [{"id": f"call_{name}", "type": "function", "function": function}]}


@contextmanager
def serving() -> Iterator[Service]:
    service = Service()
    thread = Thread(target=service.serve_forever, daemon=True)
    thread.start()
    try:
        yield service
    finally:
        service.shutdown()
        thread.join()
        service.server_close()
