"""The door of generated code: carries out its requests in this process, within the lists, the guard and the limits.

Every host passes `reach_list` and then the request guard; its name is resolved once in a run, and every connection goes
to that address. Errors name hosts and reasons, never a credential.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

import httpx2

from broker_plane.client.addresses import resolve
from broker_plane.client.capped import head, read
from broker_plane.client.guard import RequestGuard, RequestTarget, Resolver
from broker_plane.errors import (
    BrokerUnavailableError,
    TooLargeError,
    UntrustedHostError,
    WrongCompressionError,
)
from broker_plane.levels.code_connections import CodeConnection, ResponseConnection, TcpConnection
from broker_plane.levels.code_requests import MAX_BODY_BYTES, CodeRequest, code_host, code_port, code_request
from broker_plane.levels.credential import EndpointCredential
from broker_plane.levels.origin_clients import OriginClients
from broker_plane.levels.pinned_names import PinnedNames
from broker_plane.levels.reach_list import ReachList, endpoint_place
from broker_plane.sandbox.host_api import MAX_RECEIVE_BYTES
from broker_plane.sandbox.ports import DoorFailedError, DoorRefusedError, DoorResponse, RunLimits
from broker_plane.transfer.secret_logs import keep_from_logs, release_logs
from broker_plane.wire.descriptor import Descriptor
from broker_plane.wire.protocols import BUILT_IN, HTTP_SCHEMES

MAX_RESPONSE_BYTES = 32 << 20
"""Maximum number of bytes of a response of `fetch`; `open_url` reads longer ones."""

LEAST_TRAFFIC_BYTES = 16 << 20
"""What every run may send, and may receive, however little it may emit."""

MAX_OPEN = 16
"""Maximum number of handles that are open at once."""

_CALL_SECONDS = 30.0
_RECEIVED_PER_OUTPUT = 8
"""Bytes that a run may receive for each byte that it may emit: formats in text are longer than what they encode."""

_PUBLIC_PORTS = frozenset(port for each in BUILT_IN.values() for scheme in each.schemes for port in scheme.public_ports)
_HTTPS, _HTTP = HTTP_SCHEMES


class HostDoor:
    """The Door of one run: for one descriptor, with the lists of hosts in `reach`.

    `networks` are allowed besides public hosts (BROKER_PLANE_TRANSFER_NETWORKS). `limits.seconds` start with the first
    call.
    """

    def __init__(
        self,
        descriptor: Descriptor,
        limits: RunLimits,
        *,
        reach: ReachList,
        networks: Sequence[str] = (),
        resolver: Resolver = resolve,
    ) -> None:
        self._endpoint = endpoint_place(descriptor.endpoint)
        self._credential = EndpointCredential.of(descriptor)
        self._secrets = self._credential.filter()
        keep_from_logs(self._secrets)
        self._limits = limits
        self._reach = reach
        self._networks = networks
        self._names = PinnedNames(resolver)
        self._clients = OriginClients(self._credential, seconds=_CALL_SECONDS)
        self._open: dict[int, CodeConnection] = {}
        self._handles = 0
        self._deadline: float | None = None
        self._requests = 0
        self._bytes_received = 0
        self._bytes_sent = 0

    async def check_endpoint(self) -> None:
        """Return if code could reach the endpoint, or if the server's list does not have it: nothing is sent.

        Raises:
            DoorRefusedError: it may not be reached. DoorFailedError: its name does not resolve.
        """
        place = self._endpoint
        if place is not None and self._reach.offers(place.host, place.port):
            await self._target("https", place.host, place.port)

    async def fetch(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> DoorResponse:
        """As `Door.fetch`; a compressed response is decompressed."""
        request = code_request(method, url, headers, body)
        most = min(MAX_RESPONSE_BYTES, self._most_received)
        async with self._call(f"The response of {request.host}"):
            response = await self._responded(request)
            try:
                content = self._secrets.whole(await read(response, most))
            except TooLargeError:
                raise DoorRefusedError(f"The response has more than {most} bytes; read it with open_url") from None
            finally:
                await response.aclose()
        self._count_received(len(content))
        return DoorResponse(response.status_code, self._headers(response), content)

    async def open(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, int, dict[str, str]]:
        """As `Door.open`; a compressed response is decompressed."""
        request = code_request(method, url, headers, body)
        async with self._call(f"The response of {request.host}"):
            self._check_room()
            response = await self._responded(request)
        handle = self._opened(ResponseConnection(response, self._credential.filter(), self._most_received))
        return handle, response.status_code, self._headers(response)

    async def connect(self, host: str, port: int, tls: bool) -> int:
        """As `Door.connect`. No credential is sent over it."""
        host, port = code_host(host), code_port(port)
        scheme = "https" if tls else "http"
        async with self._call(f"The connection to {host}"):
            self._check_room()
            connection = await TcpConnection.to(await self._target(scheme, host, port))
        return self._opened(connection)

    async def send(self, handle: int, data: bytes) -> None:
        """As `Door.send`."""
        if not isinstance(data, bytes) or len(data) > MAX_BODY_BYTES:
            raise DoorRefusedError(f"send takes bytes, at most {MAX_BODY_BYTES} of them at once")
        self._count_sent(len(data))
        connection = self._connection(handle)
        async with self._call("Sending"):
            await connection.send(data)

    async def receive(self, handle: int, at_most: int) -> bytes:
        """As `Door.receive`; at most 1 MiB at once."""
        if not isinstance(at_most, int) or not at_most > 0:
            raise DoorRefusedError("receive needs the number of bytes that it may return, at least 1")
        connection = self._connection(handle)
        async with self._call("Receiving"):
            piece = await connection.receive(min(at_most, MAX_RECEIVE_BYTES))
        self._count_received(len(piece))
        return piece

    async def close(self, handle: int) -> None:
        """As `Door.close`."""
        if (connection := self._open.pop(handle, None)) is not None:
            with suppress(httpx2.TransportError, OSError):
                await connection.aclose()

    def hmac_sha256(self, message: bytes) -> bytes:
        """As `Door.hmac_sha256`."""
        return self._credential.hmac_sha256(message)

    async def aclose(self) -> None:
        """As `Door.aclose`. Idempotent."""
        await asyncio.gather(*map(self.close, list(self._open)))
        await self._clients.aclose()
        release_logs(self._secrets)

    async def _responded(self, request: CodeRequest) -> httpx2.Response:
        """The response to a request, whose body has not been read."""
        self._count_sent(len(request.body))
        target = await self._target(request.scheme, request.host, request.port, request.rest)
        return await head(
            self._clients.of(target),
            request.method,
            target.url,
            seconds=_CALL_SECONDS,
            content=request.body or None,
            headers=_encoded(
                {"user-agent": "broker-plane", "accept-encoding": "identity"}
                | dict(request.headers)
                | {"host": target.authority}
            ),
            extensions={"sni_hostname": target.host},
        )

    async def _target(self, scheme: str, host: str, port: int, rest: str = "/") -> RequestTarget:
        """The checked address of a host on the lists.

        Raises:
            DoorRefusedError: it may not be reached. DoorFailedError: its name does not resolve.
        """
        self._requests += 1
        if self._requests > self._limits.requests:
            raise DoorRefusedError(f"A run may make {self._limits.requests} requests")
        self._reach.check(host, port)
        unusual = frozenset({port}) if self._reach.names_port(host, port) else frozenset()
        encrypted = replace(_HTTPS, public_ports=_PUBLIC_PORTS | unusual)
        guard = RequestGuard(
            subject="Generated code",
            setting="BROKER_PLANE_TRANSFER_NETWORKS",
            networks=self._networks,
            resolver=self._names.resolve,
        )
        written = f"[{host}]" if ":" in host else host
        try:
            return await guard.check(f"{scheme}://{written}:{port}{rest}", (encrypted, _HTTP))
        except UntrustedHostError as error:
            raise DoorRefusedError(str(error)) from None
        except BrokerUnavailableError:
            raise DoorFailedError(f"The name {host} does not resolve") from None

    @asynccontextmanager
    async def _call(self, what: str) -> AsyncGenerator[None, None]:
        """Limit one call in time, and translate what other libraries raise."""
        now = asyncio.get_running_loop().time()
        if self._deadline is None:
            self._deadline = now + self._limits.seconds
        seconds = max(0.0, min(_CALL_SECONDS, self._deadline - now))
        try:
            async with asyncio.timeout(seconds):
                yield
        except (TimeoutError, httpx2.TimeoutException):
            raise DoorFailedError(f"{what} took longer than {seconds:.3g} s") from None
        except (httpx2.TransportError, httpx2.InvalidURL, OSError) as error:
            raise DoorFailedError(f"{what} failed: {self._secrets.text(str(error) or type(error).__name__)}") from None
        except (WrongCompressionError, TooLargeError) as error:
            raise DoorFailedError(f"{what} cannot be read: {error}") from None

    def _headers(self, response: httpx2.Response) -> dict[str, str]:
        """The headers as code sees them; without those that describe the compressed form, if there is one."""
        found: dict[str, str] = {}
        for name, value in response.headers.multi_items():
            found[name.lower()] = f"{found[name.lower()]}, {value}" if name.lower() in found else value
        if found.pop("content-encoding", ""):
            found.pop("content-length", None)
        return {self._secrets.text(name): self._secrets.text(value) for name, value in found.items()}

    def _opened(self, connection: CodeConnection) -> int:
        self._handles += 1
        self._open[self._handles] = connection
        return self._handles

    def _connection(self, handle: int) -> CodeConnection:
        try:
            return self._open[handle]
        except (KeyError, TypeError):
            raise DoorRefusedError("This handle is not open") from None

    def _check_room(self) -> None:
        if len(self._open) >= MAX_OPEN:
            raise DoorRefusedError(f"{MAX_OPEN} handles are open; close one first")

    @property
    def _most_received(self) -> int:
        return max(LEAST_TRAFFIC_BYTES, _RECEIVED_PER_OUTPUT * self._limits.output_bytes)

    def _count_received(self, size: int) -> None:
        self._bytes_received += size
        if self._bytes_received > self._most_received:
            raise DoorRefusedError(f"A run may receive {self._most_received} bytes")

    def _count_sent(self, size: int) -> None:
        self._bytes_sent += size
        most = max(LEAST_TRAFFIC_BYTES, self._limits.output_bytes)
        if self._bytes_sent > most:
            raise DoorRefusedError(f"A run may send {most} bytes")


def _encoded(headers: Mapping[str, str]) -> dict[bytes, bytes]:
    """Headers as they are sent; the client would encode text in ASCII."""
    return {name.encode("ascii"): value.encode("latin-1") for name, value in headers.items()}
