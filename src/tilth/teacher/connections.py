"""HTTP to one server, with hundreds of requests in flight, by aiohttp.

Not by httpx: it looks through all connections of its pool whenever a request begins or ends, which takes more than ten
times the CPU with 500 in flight (`benchmarks/teacher_client.py`).
"""

from __future__ import annotations

import asyncio
import sys
import urllib.request
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from aiohttp import http_exceptions
from aiohttp.connector import Connection

from tilth.errors import ConfigError, TilthError
from tilth.teacher.endpoint import is_loopback
from tilth.teacher.faults import AccessRefused, BadAnswer, ConnectionFault, TeacherFault, TimedOut

MOST_ANSWER_BYTES = 64 << 20
"""A longer answer is cut off and counts as none."""
_READ_BYTES = 1 << 18
_HEADERS = {
    "Accept": "application/json",
    "Accept-Encoding": "identity",
    "Content-Type": "application/json",
    "User-Agent": "tilth",
}


@dataclass(frozen=True, kw_only=True)
class Response:
    """An HTTP answer, read whole."""

    status: int
    headers: Mapping[str, str]
    """The case of a name does not matter."""
    body: bytes


@dataclass(frozen=True, kw_only=True)
class Server:
    """Where requests go, and what they are to keep to."""

    url: str
    """Scheme, host and port."""
    headers: Mapping[str, str] = field(repr=False, default_factory=dict[str, str])
    """Sent with each request; the key is among them."""
    timeout: float = 600.0
    """Seconds for a whole request, from the moment that it has a place among `most_connections`."""
    connect_timeout: float = 10.0
    most_connections: int = 1024
    most_bytes: int = MOST_ANSWER_BYTES


class Exchange:
    """Carries requests to one server: by way of the proxy that the environment names, except to this machine.

    Connections belong to the event loop that opened them; a loop that closed without `aclose` leaves its own behind.
    """

    def __init__(self, server: Server) -> None:
        """Raises: ConfigError where the environment names a proxy that cannot be used."""
        self.server = server
        parts = urlsplit(server.url)
        host = parts.hostname or ""
        self._where = f"{host}:{parts.port or (443 if parts.scheme == 'https' else 80)}"
        self._proxy = _proxy_for(parts.scheme, host)
        # With each request and not in the session: aiohttp sends the session's headers, with the key, to a proxy too.
        self._headers = _HEADERS | dict(server.headers)
        self._pools: dict[asyncio.AbstractEventLoop, _Pool] = {}

    async def send(self, method: str, path: str, body: bytes = b"") -> Response:
        """Sends a request.

        Raises: ConnectionFault, TimedOut, BadAnswer, each with what came back as `raw`; AccessRefused for a
        certificate that is not valid.
        """
        loop = asyncio.get_running_loop()
        pool = self._pools.get(loop)
        if pool is None:
            pool = self._pools[loop] = _Pool(self.server)
            await self._close([other for other in self._pools if other.is_closed()])
        raw = bytearray()
        async with pool.slots:
            outcome = await self._try(pool.session, method, path, body, raw)
        if isinstance(outcome, Response):
            return outcome
        if isinstance(outcome, TeacherFault):
            outcome.raw = outcome.raw or raw.decode("utf-8", "replace")
        # Raised here, where aiohttp's error is not its context: that one holds the request's headers, with the key.
        raise outcome

    async def aclose(self) -> None:
        """Closes the connections of this event loop."""
        loop = asyncio.get_running_loop()
        await self._close([other for other in self._pools if other is loop or other.is_closed()])

    async def _close(self, loops: Iterable[asyncio.AbstractEventLoop]) -> None:
        for loop in loops:
            if (pool := self._pools.pop(loop, None)) is not None:
                await pool.session.close()

    async def _try(
        self, session: aiohttp.ClientSession, method: str, path: str, body: bytes, raw: bytearray
    ) -> Response | TeacherFault | TilthError:
        """Fills `raw` with the body as it comes, for a fault that breaks it off."""
        url, data = self.server.url + path, body or None
        try:
            async with session.request(
                method, url, data=data, headers=self._headers, proxy=self._proxy, allow_redirects=False
            ) as answer:
                async for piece in answer.content.iter_any():
                    raw += piece
                    if len(raw) > self.server.most_bytes:
                        answer.close()
                        return BadAnswer(f"The answer is longer than {self.server.most_bytes:,} bytes.")
                return Response(status=answer.status, headers=answer.headers, body=bytes(raw))
        except (aiohttp.ClientError, TimeoutError, UnicodeError) as error:
            return self._outcome(error, is_within=bool(raw))

    def _outcome(self, error: Exception, *, is_within: bool) -> TeacherFault | TilthError:
        """What an error of aiohttp comes to. Its own text is left out where it may hold a header or a password."""
        match error:
            case aiohttp.ServerTimeoutError():
                return TimedOut(f"No connection to {self._where} within {self.server.connect_timeout:g} s.")
            case TimeoutError():
                return TimedOut(f"No whole answer within {self.server.timeout:g} s.")
            case aiohttp.ClientConnectorCertificateError():
                reason = getattr(error.certificate_error, "verify_message", "") or "it was refused"
                return AccessRefused(
                    f"The certificate of {self._where} is not valid: {reason}.",
                    fix="For an authority of your own, set `SSL_CERT_FILE` to the file with its certificate.",
                )
            case aiohttp.ClientProxyConnectionError():
                return ConnectionFault(f"No connection to the proxy of the environment: {_reason(error)}.")
            case aiohttp.ClientConnectorError():
                return ConnectionFault(f"No connection to {self._where}: {_reason(error)}.")
            case aiohttp.ClientHttpProxyError():
                return ConnectionFault(f"The proxy of the environment answers {error.status}.")
            case aiohttp.ClientResponseError():
                return BadAnswer("What came back is not HTTP.", raw=error.message)
            case aiohttp.InvalidURL() | UnicodeError():  # the latter from a host such as `a..b`
                return AccessRefused(f"{self._where} is no address that can be asked.", fix="Check the teacher's URL.")
            case aiohttp.ClientPayloadError() if isinstance(error.__cause__, http_exceptions.ContentEncodingError):
                return BadAnswer("What came back is not compressed as it says.")
            case _:
                within = "within its answer" if is_within else "without an answer"
                return ConnectionFault(f"The server closed the connection {within}.")


class _Pool:
    """The connections of one event loop."""

    def __init__(self, server: Server) -> None:
        # Not `limit`, whose waiting aiohttp would count as time of the request, and not `trust_env`, which reads
        # passwords in ~/.netrc and starts a thread for each request.
        self.slots = asyncio.Semaphore(min(server.most_connections, most_sockets()))
        self.session = aiohttp.ClientSession(
            connector=_Connector(limit=0),
            timeout=aiohttp.ClientTimeout(total=server.timeout, connect=server.connect_timeout),
            cookie_jar=aiohttp.DummyCookieJar(),
            read_bufsize=_READ_BYTES,
        )


class _Connector(aiohttp.TCPConnector):
    """Leaves connections over which something came unasked: aiohttp takes it for the next request's answer (#13656)."""

    async def connect(self, *args: Any, **options: Any) -> Connection:
        while True:
            connection = await super().connect(*args, **options)
            if connection.protocol is None or not connection.protocol.should_close:
                return connection
            connection.close()


def most_sockets() -> int:
    """Connections that leave the process files for all else: with none left, a run could not write its answers."""
    try:
        import resource
    except ImportError:  # not a Unix
        return sys.maxsize
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return sys.maxsize if soft == resource.RLIM_INFINITY else max(soft - 64, soft // 4, 1)


def _reason(error: aiohttp.ClientConnectorError) -> str:
    return error.os_error.strerror or type(error.os_error).__name__


def _proxy_for(scheme: str, host: str) -> str | None:
    proxies = urllib.request.getproxies()
    proxy = proxies.get(scheme) or proxies.get("all")
    if not proxy or is_loopback(host) or urllib.request.proxy_bypass(host):
        return None
    proxy = proxy if "://" in proxy else f"http://{proxy}"
    kind = urlsplit(proxy).scheme
    if kind not in ("http", "https"):
        raise ConfigError(
            f"The environment names a proxy of the kind {kind} for {host}; HTTP proxies can be used.",
            fix=f"Add {host} to `NO_PROXY`, or set `{scheme.upper()}_PROXY` to an HTTP proxy.",
        )
    return proxy
