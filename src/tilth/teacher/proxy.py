"""HTTP by way of the proxy that the environment names (`HTTPS_PROXY`, `HTTP_PROXY`, `NO_PROXY`), by httpx."""

from __future__ import annotations

import asyncio
import importlib.util
import urllib.request
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tilth.errors import ConfigError
from tilth.teacher.connections import DirectExchange, Exchange, Response, Server
from tilth.teacher.endpoint import is_loopback
from tilth.teacher.faults import BadAnswer, ConnectionFault, TimedOut

if TYPE_CHECKING:
    import httpx


_FIX = "Set `HTTPS_PROXY` or `HTTP_PROXY` to `http://host:port`, or list the server in `NO_PROXY`."


def exchange_with(server: Server) -> Exchange:
    """Returns what carries requests to a server: a proxy where the environment names one, except for this machine."""
    parts = urlsplit(server.url)
    host = parts.hostname or ""
    proxies = urllib.request.getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not proxy or is_loopback(host) or urllib.request.proxy_bypass(host):
        return DirectExchange(server)
    # `proxy.example:3128` is as common as the whole URL.
    return ProxyExchange(server, proxy if "://" in proxy else f"http://{proxy}")


class ProxyExchange:
    """Requests through a proxy. httpx's pool makes it slow above a hundred requests in flight."""

    def __init__(self, server: Server, proxy: str) -> None:
        self.server, self._proxy = server, proxy
        self._loop: asyncio.AbstractEventLoop | None = None
        self._client: httpx.AsyncClient | None = None

    async def send(self, method: str, path: str, body: bytes = b"") -> Response:
        """Sends a request through the proxy."""
        import httpx

        raw = bytearray()
        try:
            async with (
                asyncio.timeout(self.server.timeout),
                self._opened().stream(method, self.server.url + path, content=body) as answer,
            ):
                async for piece in answer.aiter_bytes():
                    raw += piece
                    if len(raw) > self.server.most_bytes:
                        raise BadAnswer(f"The answer is longer than {self.server.most_bytes:,} bytes.")
                headers = {name.lower(): value for name, value in answer.headers.items()}
                return Response(status=answer.status_code, headers=headers, body=bytes(raw))
        except (TimeoutError, httpx.TimeoutException):
            raise TimedOut(f"No whole answer within {self.server.timeout:g} s.", raw=_text(raw)) from None
        except httpx.HTTPError as error:
            # Its text may hold the proxy's address with a password.
            raise ConnectionFault(f"The request failed: {type(error).__name__}.", raw=_text(raw)) from None

    async def aclose(self) -> None:
        """Closes the client."""
        client, self._client = self._client, None
        if client is not None and asyncio.get_running_loop() is self._loop:
            await client.aclose()

    def _opened(self) -> httpx.AsyncClient:
        import httpx

        loop = asyncio.get_running_loop()
        if self._client is None or loop is not self._loop:
            most = self.server.most_connections
            self._loop = loop
            try:
                proxy = httpx.Proxy(self._proxy)
            except (ValueError, httpx.InvalidURL):
                # Its text may hold the proxy's password.
                raise ConfigError("The proxy that the environment names is no URL.", fix=_FIX) from None
            if proxy.url.scheme.startswith("socks") and importlib.util.find_spec("socksio") is None:
                raise ConfigError("The environment names a SOCKS proxy.", fix=f"{_FIX} Or `pip install httpx[socks]`.")
            self._client = httpx.AsyncClient(
                proxy=proxy,
                # Authorities of the environment (`SSL_CERT_FILE`), as proxies that look into the traffic need them.
                verify=httpx.create_ssl_context(),
                trust_env=False,
                follow_redirects=False,
                headers={**self.server.headers, "Content-Type": "application/json", "Accept": "application/json"},
                timeout=httpx.Timeout(self.server.timeout, connect=self.server.connect_timeout),
                limits=httpx.Limits(max_connections=most, max_keepalive_connections=most),
            )
        return self._client


def _text(raw: bytearray) -> str:
    return bytes(raw).decode("utf-8", "replace")
