"""HTTP/1.1 to one server, with hundreds of requests in flight: kept connections and little work for each request.

httpx looks through all connections of its pool whenever a request begins or ends: with 500 in flight that took 24 ms of
CPU a request, and its HTTP stack alone 0.4 ms, where this takes 0.06 (`benchmarks/teacher_client.py`). A teacher's
needs are few: a POST with a JSON body, an answer that is read whole, no redirects, no cookies, no compression. httpx
still makes the TLS context, and carries everything where the environment names a proxy (`proxy.py`).
"""

from __future__ import annotations

import asyncio
import ssl
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import urlsplit

from tilth.teacher.faults import AccessRefused, BadAnswer, ConnectionFault, TeacherFault, TimedOut

MOST_ANSWER_BYTES = 64 << 20
"""A longer answer is cut off and counts as none."""
_MOST_HEAD_BYTES = 1 << 16
_NO_BODY = (204, 304)


@dataclass(frozen=True, kw_only=True)
class Response:
    """An HTTP answer, read whole."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes


class Exchange(Protocol):
    """Carries requests to one server."""

    async def send(self, method: str, path: str, body: bytes = b"") -> Response:
        """Sends a request. Raises: ConnectionFault, TimedOut, BadAnswer, each with what came back as `raw`."""
        ...

    async def aclose(self) -> None:
        """Closes all connections."""
        ...


@dataclass(frozen=True, kw_only=True)
class Server:
    """Where requests go, and what they are to keep to."""

    url: str
    """Scheme, host and port."""
    headers: Mapping[str, str] = field(repr=False, default_factory=dict[str, str])
    """Sent with each request; the key is among them."""
    timeout: float = 600.0
    """Seconds for a whole request."""
    connect_timeout: float = 10.0
    most_connections: int = 1024
    most_bytes: int = MOST_ANSWER_BYTES

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        parts = urlsplit(self.url)
        return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)


class DirectExchange:
    """Connections of our own to a server. They belong to the event loop that opened them."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self._is_tls = server.url.startswith("https:")
        self._host, self._port = server.address
        lines = {"Host": _host_header(server), "Accept": "application/json", "Accept-Encoding": "identity"}
        pairs = (lines | {"Content-Type": "application/json"} | dict(server.headers)).items()
        self._headers = "".join(f"{name}: {value}\r\n" for name, value in pairs).encode("latin-1")
        self._context: ssl.SSLContext | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._idle: list[_Connection] = []
        self._most = min(server.most_connections, _most_sockets())
        self._slots = asyncio.Semaphore(self._most)

    async def send(self, method: str, path: str, body: bytes = b"") -> Response:
        """Sends a request over a kept connection, or a new one."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._loop, self._idle, self._slots = loop, [], asyncio.Semaphore(self._most)
        head = f"{method} {path} HTTP/1.1\r\n".encode() + self._headers + b"Content-Length: %d\r\n\r\n" % len(body)
        async with self._slots:
            connection = self._kept() or await self._open(loop)
            answer = connection.ask(head + body)
            timer = loop.call_later(self.server.timeout, connection.expire, self.server.timeout)
            try:
                response = await answer
            except BaseException:
                connection.close()
                raise
            finally:
                timer.cancel()
            if connection.is_usable:
                self._idle.append(connection)
            return response

    async def aclose(self) -> None:
        """Closes the kept connections."""
        idle, self._idle = self._idle, []
        if asyncio.get_running_loop() is self._loop:
            for connection in idle:
                connection.close()
            await asyncio.gather(*(connection.closed for connection in idle))

    def _kept(self) -> _Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.is_usable:
                return connection
        return None

    async def _open(self, loop: asyncio.AbstractEventLoop) -> _Connection:
        where = f"{self._host}:{self._port}"
        try:
            async with asyncio.timeout(self.server.connect_timeout):
                _, connection = await loop.create_connection(
                    lambda: _Connection(loop, self.server.most_bytes), self._host, self._port, ssl=self._tls()
                )
        except TimeoutError:
            raise TimedOut(f"No connection to {where} within {self.server.connect_timeout:g} s.") from None
        except ssl.SSLCertVerificationError as error:
            raise AccessRefused(f"The certificate of {where} is not valid: {error.verify_message}.") from None
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise ConnectionFault(f"No connection to {where}: {reason}.") from None
        return connection

    def _tls(self) -> ssl.SSLContext | None:
        if self._is_tls and self._context is None:
            import httpx

            self._context = httpx.create_ssl_context()
            self._context.set_alpn_protocols(["http/1.1"])
        return self._context


class _Connection(asyncio.Protocol):
    """One connection, with at most one request under way."""

    def __init__(self, loop: asyncio.AbstractEventLoop, most_bytes: int) -> None:
        self._loop, self._most_bytes = loop, most_bytes
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[Response] | None = None
        self._buffer = bytearray()
        self._reader: _Body | None = None
        self.closed: asyncio.Future[None] = loop.create_future()
        self._is_lost = False

    @property
    def is_usable(self) -> bool:
        """Whether another request can go over it."""
        return not self._is_lost and self._answer is None and not self._buffer

    def ask(self, data: bytes) -> asyncio.Future[Response]:
        """Writes a request; returns its answer to come."""
        assert self._transport is not None and self._answer is None
        self._answer = self._loop.create_future()
        self._buffer.clear()
        self._reader = None
        self._transport.write(data)
        return self._answer

    def expire(self, seconds: float) -> None:
        """The answer took too long."""
        self._fail(TimedOut(f"No whole answer within {seconds:g} s.", raw=self._partial()))

    def close(self) -> None:
        """Closes the connection, whatever is under way."""
        self._is_lost = True
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_lost = True
        if self._reader is not None and self._reader.until_close and exc is None:
            self._finish()
        raw = self._partial()
        within = "within its answer" if self._buffer else "without an answer"
        self._fail(ConnectionFault(f"The server closed the connection {within}.", raw=raw))
        if not self.closed.done():
            self.closed.set_result(None)

    def data_received(self, data: bytes) -> None:
        if self._answer is None or self._answer.done():
            self.close()  # nothing was asked: whatever this is, it must not be taken for the next answer
            return
        self._buffer += data
        try:
            if self._reader is None:
                self._read_head()
            if self._reader is not None and self._reader.is_whole():
                self._finish()
        except ValueError as error:
            self._fail(BadAnswer(f"What came back is not HTTP: {error}.", raw=self._partial()))
            self.close()
        if len(self._buffer) > self._most_bytes:
            self._fail(BadAnswer(f"The answer is longer than {self._most_bytes:,} bytes.", raw=self._partial()))
            self.close()

    def _read_head(self) -> None:
        while self._reader is None and (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            lines = self._buffer[:end].decode("latin-1").split("\r\n")
            del self._buffer[: end + 4]
            version, _, rest = lines[0].partition(" ")
            status = int(rest[:3])
            if not version.startswith("HTTP/1."):
                raise ValueError(f"the answer begins with {lines[0][:40]!r}")
            if status >= 200:  # those below come before the answer
                pairs = (line.partition(":") for line in lines[1:])
                headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
                self._reader = _Body(self._buffer, status, headers, is_old=version == "HTTP/1.0")
        if self._reader is None and len(self._buffer) > _MOST_HEAD_BYTES:
            raise ValueError("a head without an end")

    def _finish(self) -> None:
        reader, answer = self._reader, self._answer
        if reader is None or answer is None:
            return
        self._answer = None
        body, left = reader.take()
        if left or reader.closes:
            self.close()
        self._buffer.clear()
        if not answer.done():
            answer.set_result(Response(status=reader.status, headers=reader.headers, body=body))

    def _fail(self, fault: TeacherFault) -> None:
        answer, self._answer = self._answer, None
        if answer is not None and not answer.done():
            answer.set_exception(fault)

    def _partial(self) -> str:
        return bytes(self._buffer[:_MOST_HEAD_BYTES]).decode("utf-8", "replace")


class _Body:
    """How far the body of an answer has come in `buffer`, which holds what follows the head."""

    def __init__(self, buffer: bytearray, status: int, headers: Mapping[str, str], *, is_old: bool) -> None:
        """Raises: ValueError for a length that is no number."""
        self.buffer, self.status, self.headers = buffer, status, headers
        self.is_chunked = "chunked" in headers.get("transfer-encoding", "").lower()
        length = headers.get("content-length")
        self.length = 0 if status in _NO_BODY else None if length is None or self.is_chunked else int(length)
        if self.length is not None and self.length < 0:
            raise ValueError("a negative length")
        self.until_close = self.length is None and not self.is_chunked
        connection = headers.get("connection", "").lower()
        self.closes = self.until_close or "close" in connection or (is_old and "keep-alive" not in connection)
        self._chunks: list[bytes] = []
        self._at = 0
        self._end: int | None = None

    def is_whole(self) -> bool:
        """Whether the body has ended. Raises: ValueError for chunks that cannot be read."""
        if self.length is not None:
            return len(self.buffer) >= self.length
        return self.is_chunked and self._read_chunks()

    def take(self) -> tuple[bytes, bool]:
        """Returns the body, and whether there is more behind it than the answer."""
        if self.is_chunked:
            return b"".join(self._chunks), len(self.buffer) > (self._end or 0)
        end = len(self.buffer) if self.length is None else self.length
        return bytes(self.buffer[:end]), len(self.buffer) > end

    def _read_chunks(self) -> bool:
        while (line_end := self.buffer.find(b"\r\n", self._at)) >= 0:
            size = int(bytes(self.buffer[self._at : line_end]).partition(b";")[0], 16)
            if size < 0:
                raise ValueError("a negative length")
            if size == 0:
                # Trailers may follow, each on a line of its own, then an empty line.
                end = self.buffer.find(b"\r\n\r\n", self._at)
                self._end = end + 4
                if end < 0:
                    self._check_line()
                return end >= 0
            if len(self.buffer) < line_end + 2 + size + 2:
                return False
            self._chunks.append(bytes(self.buffer[line_end + 2 : line_end + 2 + size]))
            self._at = line_end + 2 + size + 2
        self._check_line()
        return False

    def _check_line(self) -> None:
        """A line is searched for its end whenever more of it comes, so it must not grow with the answer."""
        if len(self.buffer) - self._at > _MOST_HEAD_BYTES:
            raise ValueError("a line of a chunk without an end")


def _most_sockets() -> int:
    """Connections that leave the process files for all else: with none left, a run could not write its answers."""
    try:
        import resource
    except ImportError:  # not a Unix
        return sys.maxsize
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return sys.maxsize if soft == resource.RLIM_INFINITY else max(soft - 64, soft // 4, 1)


def _host_header(server: Server) -> str:
    return urlsplit(server.url).netloc
