"""nats-py's client with shorter ways for what each message costs; everything unusual takes nats-py's own way.

In nats-py a message passes a queue and a task of its subscription, and a publish passes a queue and the flusher's task.
Here a message is handed over where it is read, and what one turn of the event loop has published is written once, in
the next turn (decision 0068).
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Mapping
from typing import Any

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from broker_plane.broker.quick_parser import QuickParser
from broker_plane.broker.quick_reader import QuickReader

log = logging.getLogger("nats.aio.client")

Take = Callable[[Msg], None]
"""Called with a message. It does not wait, and takes microseconds: everything else that arrives waits for it."""

_LINE = b"NATS/1.0\r\n"
_END = b"\r\n"
_ADDRESS = re.compile(r"[^ \t\r\n]+ [^ \t\r\n]*")
_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE = re.compile(r"[!-~]+(?: +[!-~]+)*")
_BLANKS = " \t\r\n\x0b\x0c"


class QuickClient(Client):
    """A client for connections without nats-py's buffer of unsent messages (`pending_size=0`)."""

    def __init__(self) -> None:
        super().__init__()
        self._ps = self._parser = QuickParser(self)
        self._takers: dict[int, Take] = {}
        self._reporting: set[asyncio.Future[None]] = set()
        self._flushes = False
        """Whether what is pending is written in the next turn of the event loop."""

    async def listen(self, subject: str, take: Take, *, queue: str = "") -> Subscription:
        """Subscribe, and call `take` with each message as it is read."""

        async def unused(message: Msg) -> None:
            take(message)

        number = self._sid + 1  # nats-py counts before it first suspends
        self._takers[number] = take
        try:
            return await self.subscribe(subject, queue=queue, cb=unused, pending_bytes_limit=0, pending_msgs_limit=0)
        except BaseException:
            self._takers.pop(number, None)
            raise

    def _remove_sub(self, sid: int, max_msgs: int = 0) -> None:
        self._takers.pop(sid, None)
        super()._remove_sub(sid, max_msgs)

    async def _read_loop(self) -> None:
        """As nats-py's, but most of what arrives is handled where it is read, without this task."""
        reader = getattr(self._transport, "_io_reader", None)
        if reader is None:  # another transport, or another version of nats-py
            await super()._read_loop()
            return
        arriving = QuickReader(reader, self._take_arrived)
        try:
            while (data := await arriving.next()) is not None and not self._is_leaving:
                await self._ps.parse(data)
            if not self._is_leaving:
                ended = nats.errors.UnexpectedEOF()
                await self._error_cb(ended)
                await self._process_op_err(ended)
        except (nats.errors.ProtocolError, OSError) as error:
            await self._process_op_err(error)
        except asyncio.CancelledError:
            pass
        except Exception:
            log.exception("nats: encountered error")
        finally:
            arriving.close()

    @property
    def _is_leaving(self) -> bool:
        return self.is_closed or self.is_reconnecting

    def _take_arrived(self, data: bytes) -> bool:
        return self._is_leaving or self._parser.take(data)

    def take_message(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes) -> bool:
        """Hand a message over; returns False if it is for nats-py to do so."""
        take = self._takers.get(sid)
        if take is None or sid not in self._subs:
            return False
        found = parse_headers(headers) if headers else None
        if headers and found is None:
            return False
        self._hand_over(take, Msg(self, subject.decode(), reply.decode(), data, found, _sid=sid))
        return True

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes) -> None:
        take = self._takers.get(sid)
        if take is None or sid not in self._subs:
            await super()._process_msg(sid, subject, reply, data, headers)
        else:
            found = await self._process_headers(headers)
            self._hand_over(take, Msg(self, subject.decode(), reply.decode(), data, found, _sid=sid))

    def _hand_over(self, take: Take, message: Msg) -> None:
        self.stats["in_msgs"] += 1
        self.stats["in_bytes"] += len(message.data)
        try:
            take(message)
        except Exception as error:  # noqa: BLE001  # as nats-py: what arrives after it is read
            reporting = asyncio.ensure_future(self._error_cb(error))
            self._reporting.add(reporting)
            reporting.add_done_callback(self._reporting.discard)

    async def publish(
        self, subject: str, payload: bytes = b"", reply: str = "", headers: dict[str, str] | None = None
    ) -> None:
        command = publish_command(subject, reply, payload, headers)
        if (
            command is None
            or self._status != Client.CONNECTED
            or self._max_pending_size > 0
            or len(payload) > self._max_payload
        ):
            await super().publish(subject, payload, reply, headers)
            return
        self.stats["out_msgs"] += 1
        self.stats["out_bytes"] += len(payload)
        self._pending.append(command)
        self._pending_data_size += len(command)
        self._write_soon()

    async def _flush_pending(self, force_flush: bool = False) -> Any:
        if force_flush or self._status != Client.CONNECTED:
            return await super()._flush_pending(force_flush)
        self._write_soon()
        return None

    def _write_soon(self) -> None:
        if not self._flushes:
            self._flushes = True
            asyncio.get_running_loop().call_soon(self._write_pending)

    def _write_pending(self) -> None:
        self._flushes = False
        if self._status != Client.CONNECTED:
            return
        try:
            if self._pending:
                self._transport.writelines(self._pending)  # type: ignore[union-attr]  # there is one once it is connected
        except Exception:  # noqa: BLE001  # the flusher meets it, too, and handles it
            self._flush_queue.put_nowait(asyncio.get_running_loop().create_future())  # type: ignore[union-attr]
        else:
            self._pending = []
            self._pending_data_size = 0


def parse_headers(raw: bytes) -> dict[str, str] | None:
    """The headers of a message, as nats-py parses them; None if they are not plain: a status, or not ASCII."""
    if not raw.startswith(_LINE):
        return None
    try:
        lines = raw[len(_LINE) :].decode("ascii").split("\r\n")
    except UnicodeDecodeError:
        return None
    found: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if colon:
            if not name.isprintable() or " " in name:
                return None
            found[name] = value.strip(_BLANKS)
    return found or None


def publish_command(subject: str, reply: str, payload: bytes, headers: Mapping[str, Any] | None) -> bytes | None:
    """What is written to publish; None if nats-py has to look at it, which refuses or changes what is not plain."""
    address = f"{subject} {reply}"
    if not _ADDRESS.fullmatch(address):
        return None
    if not headers:
        return b"".join((f"PUB {address} {len(payload)}\r\n".encode(), payload, _END))
    lines = ""
    for name, value in headers.items():
        if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
            return None
        lines += f"{name}: {value}\r\n"
    size = len(_LINE) + len(lines) + len(_END)
    start = f"HPUB {address} {size} {size + len(payload)}\r\nNATS/1.0\r\n{lines}\r\n"
    return b"".join((start.encode(), payload, _END))
