"""`subscriptions/listen` with `taskIds` (SEP-2663): the changes of tasks, which any process makes.

The acknowledgement names the tasks that are sent: those that exist and belong to this client. Then the state of each is
sent once, so that no change before the acknowledgement is missed, and again whenever it has changed. A client that
reads slowly gets the newest state only.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from mcp.server.context import ServerRequestContext
from mcp.server.mcpserver.server import require_client_extension
from mcp.server.subscriptions import SUBSCRIPTION_ID_META_KEY, ServerEvent, SubscriptionBus
from mcp.shared.exceptions import MCPError
from mcp.shared.subscriptions import event_matches, event_to_notification
from mcp.types import (
    SubscriptionFilter,
    SubscriptionsAcknowledgedNotification,
    SubscriptionsAcknowledgedNotificationParams,
    SubscriptionsListenRequestParams,
)
from pydantic import ValidationError

from broker_plane.errors import BodyLostError, TaskNotFoundError, WireError
from broker_plane.mcp_server.task_shapes import TaskNotification, TaskNotificationParams, task_client
from broker_plane.plane.durable_tasks.parts import detailed
from broker_plane.plane.redacted_logs import redacted_logger
from broker_plane.wire.json_rpc import INTERNAL_ERROR, INVALID_PARAMS
from broker_plane.wire.tasks import TASKS

if TYPE_CHECKING:
    from broker_plane.plane.durable_tasks.watch import TaskNews
    from broker_plane.runtime.tasks import ServerTasks

log = redacted_logger(__name__)

MAX_TASKS = 1_000
"""Tasks that one subscription may name."""

MAX_LISTENERS = 1_024
"""Subscriptions with tasks that one process serves at once, as the SDK does for others."""

_MAX_EVENTS = 1_024
"""Other events that wait for a slow client; more of them end its subscription."""

_TASK_IDS = "taskIds"


def wanted_tasks(params: Any) -> list[str] | None:
    """The `taskIds` of the parameters of a request to listen; None if it names no tasks.

    Raises:
        MCPError: they are not valid.
    """
    notifications = params.get("notifications") if isinstance(params, Mapping) else None
    wanted = notifications.get(_TASK_IDS) if isinstance(notifications, Mapping) else None
    if wanted is None or wanted == []:
        return None
    if not isinstance(wanted, list) or not all(isinstance(each, str) for each in wanted) or len(wanted) > MAX_TASKS:
        raise MCPError(INVALID_PARAMS, f"{_TASK_IDS} has to be a list of at most {MAX_TASKS:,} texts")
    return list(dict.fromkeys(wanted))


class TaskListener:
    """One subscription of one client."""

    def __init__(self, server: ServerTasks, ctx: ServerRequestContext[Any, Any], wanted: Sequence[str]) -> None:
        require_client_extension(ctx, TASKS)
        self._server = server
        self._ctx = ctx
        self._wanted = wanted
        self._client = task_client()
        self._meta: dict[str, Any] = {SUBSCRIPTION_ID_META_KEY: ctx.request_id}
        self._sent: dict[str, float] = {}
        self._events: deque[ServerEvent] = deque()
        try:
            self._others = SubscriptionsListenRequestParams.model_validate(ctx.params, by_name=False).notifications
        except ValidationError as error:
            raise MCPError(INVALID_PARAMS, "The parameters of subscriptions/listen are not valid") from error

    async def serve(self, bus: SubscriptionBus | None) -> dict[str, Any]:
        """Send notifications until the client leaves. Other kinds of events come from `bus`."""
        async with self._server.watch.news(self._wanted) as news:
            agreed = [each for each in self._wanted if await self._exists(each)]
            for other in set(self._wanted) - set(agreed):
                news.discard(other)
            honored = self._honored(agreed, others=bus is not None)
            uris = frozenset(honored.resource_subscriptions or ())

            def deliver(event: ServerEvent) -> None:
                if event_matches(honored, uris, event):
                    self._events.append(event)
                    news.wake()

            leave = bus.subscribe(deliver) if bus is not None else None
            try:
                await self._acknowledge(honored)
                await self._send_all(agreed, news)
            finally:
                if leave is not None:
                    leave()
        return {"resultType": "complete", "_meta": self._meta}

    async def _send_all(self, agreed: Iterable[str], news: TaskNews) -> None:
        changed = agreed
        while len(self._events) <= _MAX_EVENTS:
            for task_id in changed:
                await self._send_task(task_id)
            while self._events:
                await self._send(event_to_notification(self._events.popleft(), self._meta))
            changed = await news.next()

    async def _send_task(self, task_id: str) -> None:
        """Send a task's state unless it was sent already."""
        try:
            record = await self._server.tasks.get(task_id, self._client)
            if self._sent.get(task_id) == record.updated:
                return
            fields = await detailed(self._server.tasks.store, record, self._server.tasks.now())
        except TaskNotFoundError:  # it has expired
            return
        except (WireError, BodyLostError) as error:  # the other tasks are sent nevertheless
            log.warning("A client that listens to the task %s does not hear of it: %s", task_id, error.brief)
            return
        self._sent[task_id] = record.updated
        params = TaskNotificationParams.model_validate({"_meta": self._meta, **fields}, by_name=False)
        await self._send(TaskNotification(method="notifications/tasks", params=params))

    async def _acknowledge(self, honored: SubscriptionFilter) -> None:
        params = SubscriptionsAcknowledgedNotificationParams(notifications=honored, _meta=self._meta)
        await self._send(SubscriptionsAcknowledgedNotification(params=params))

    async def _send(self, notification: Any) -> None:
        # The SDK is typed for its own notifications only, but sends any.
        await self._ctx.session.send_notification(cast("Any", notification), related_request_id=self._ctx.request_id)

    async def _exists(self, task_id: str) -> bool:
        try:
            await self._server.tasks.get(task_id, self._client)
        except (TaskNotFoundError, WireError):
            return False
        return True

    def _honored(self, agreed: list[str], *, others: bool) -> SubscriptionFilter:
        """What is sent of what was asked for: the tasks, and other events as the SDK's own handler has them."""
        asked = self._others if others else SubscriptionFilter()
        return SubscriptionFilter.model_validate(
            {
                "toolsListChanged": asked.tools_list_changed or None,
                "promptsListChanged": asked.prompts_list_changed or None,
                "resourcesListChanged": asked.resources_list_changed or None,
                "resourceSubscriptions": asked.resource_subscriptions or None,
                _TASK_IDS: agreed,
            },
            by_name=False,
        )


def too_many() -> MCPError:
    """The error for one subscription more than the process serves."""
    return MCPError(INTERNAL_ERROR, f"This process serves {MAX_LISTENERS:,} subscriptions already; poll with tasks/get")
