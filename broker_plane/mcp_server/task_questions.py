"""Questions that a task asks its client: the SDK's markers and requests, as wire requests, and their answers."""

from __future__ import annotations

from typing import Any

from mcp.server.elicitation import (
    AcceptedElicitation,
    CancelledElicitation,
    DeclinedElicitation,
    render_elicitation_schema,
)
from mcp.server.mcpserver import Elicit, ListRoots, Sample
from mcp.shared.exceptions import MCPError
from mcp.types import (
    MISSING_REQUIRED_CLIENT_CAPABILITY,
    ClientCapabilities,
    CreateMessageRequest,
    CreateMessageResult,
    CreateMessageResultWithTools,
    ElicitRequest,
    ElicitRequestFormParams,
    ElicitResult,
    ListRootsRequest,
    ListRootsResult,
)
from pydantic import TypeAdapter, ValidationError

from broker_plane.wire.exact_json import dumps
from broker_plane.wire.json_rpc import INVALID_PARAMS
from broker_plane.wire.tasks import MAX_INPUT_BYTES
from broker_plane.wire.urls import quoted

Question = Elicit[Any] | Sample | ListRoots | ElicitRequest | CreateMessageRequest | ListRootsRequest
"""What a task may ask: one of the SDK's markers for resolvers, or a request of the protocol itself."""

_ANSWERS: dict[str, TypeAdapter[Any]] = {
    "elicitation/create": TypeAdapter(ElicitResult),
    "sampling/createMessage": TypeAdapter(CreateMessageResultWithTools | CreateMessageResult),
    "roots/list": TypeAdapter(ListRootsResult),
}
_CAPABILITIES = {"elicitation/create": "elicitation", "sampling/createMessage": "sampling", "roots/list": "roots"}


def request_of(question: Question) -> dict[str, Any]:
    """The request on the wire."""
    request: ElicitRequest | CreateMessageRequest | ListRootsRequest
    if isinstance(question, Elicit):
        schema = render_elicitation_schema(question.schema)
        request = ElicitRequest(params=ElicitRequestFormParams(message=question.message, requested_schema=schema))
    elif isinstance(question, Sample):
        request = CreateMessageRequest(params=question.params)
    elif isinstance(question, ListRoots):
        request = ListRootsRequest()
    else:
        request = question
    return request.model_dump(mode="json", by_alias=True, exclude_none=True)


def check_declared(request: dict[str, Any], declared: ClientCapabilities | None) -> None:
    """Raise MCPError unless the client declared that it can answer such a request."""
    name = _CAPABILITIES[request["method"]]
    if getattr(declared, name, None) is None:
        required: dict[str, Any] = {"requiredCapabilities": {name: {}}}
        message = f"The task has a question, and its client did not declare the capability {name!r}"
        raise MCPError(MISSING_REQUIRED_CLIENT_CAPABILITY, message, required)


def check_answer(key: str, request: dict[str, Any], answer: Any) -> None:
    """Raise MCPError (-32602) unless the answer is one of that request. The client may then answer again."""
    try:
        if (size := len(dumps(answer))) > MAX_INPUT_BYTES:
            raise ValueError(f"it has {size:,} bytes as JSON; an answer has at most {MAX_INPUT_BYTES:,}")
        parsed = _ANSWERS[request["method"]].validate_python(answer, by_name=False, by_alias=True)
        if isinstance(parsed, ElicitResult) and parsed.action == "accept":
            _check_content(request.get("params") or {}, parsed.content)
    except (ValidationError, ValueError) as error:
        reason = "it has another form" if isinstance(error, ValidationError) else str(error)
        raise MCPError(
            INVALID_PARAMS, f"inputResponses[{quoted(key)}] is no answer to that request: {reason}"
        ) from error


def answer_of(question: Question, answer: dict[str, Any]) -> Any:
    """What the task's function gets: for an `Elicit` the outcome with its model, else the result of the protocol."""
    if not isinstance(question, Elicit):
        return _ANSWERS[request_of(question)["method"]].validate_python(answer, by_name=False, by_alias=True)
    if answer["action"] == "accept":
        return AcceptedElicitation[Any](data=question.schema.model_validate(answer.get("content") or {}))
    return DeclinedElicitation() if answer["action"] == "decline" else CancelledElicitation()


def _check_content(params: dict[str, Any], content: Any) -> None:
    schema = params.get("requestedSchema")
    if schema is None:  # an elicitation by URL
        return
    from jsonschema import Draft202012Validator  # slow to import, and few servers ask questions

    problem = next(Draft202012Validator(schema).iter_errors(content), None)
    if problem is not None:
        raise ValueError(f"its content does not match the requested schema ({problem.message[:200]})")
