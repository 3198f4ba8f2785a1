"""`Exchange`: event loops, limits, proxies, TLS, and what its faults show."""

import asyncio
import gzip
import json
import shutil
import ssl
import subprocess
import sys
import threading
import time
from base64 import b64encode
from pathlib import Path

import pytest

from raw_server import raw_server
from tilth.errors import ConfigError
from tilth.teacher.connections import Exchange, Response, Server
from tilth.teacher.faults import AccessRefused, BadAnswer, ConnectionFault, TeacherFault, TimedOut
from tilth.teacher.loopback import LoopbackServer

SECRET = "sk-hush-0123456789"
HELLO = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


def send(url: str, path: str = "/models", **options: object) -> Response:
    async def work() -> Response:
        exchange = Exchange(Server(url=url.removesuffix("/v1"), **options))  # type: ignore[arg-type]
        try:
            return await exchange.send("POST", path, b"{}")
        finally:
            await exchange.aclose()

    return asyncio.run(work())


def echo(request: object, sample: int) -> str:
    return "said"


def clear_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "no_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


# Event loops and limits


def test_one_exchange_serves_several_event_loops() -> None:
    with LoopbackServer(echo) as server:
        exchange = Exchange(Server(url=server.url.removesuffix("/v1")))
        statuses: list[int] = []

        async def ask(*, again: bool) -> None:
            for _ in range(2):
                statuses.append((await exchange.send("GET", "/v1/models")).status)
            await exchange.aclose()
            if again:
                statuses.append((await exchange.send("GET", "/v1/models")).status)
                await exchange.aclose()

        asyncio.run(ask(again=False))
        threads = [threading.Thread(target=lambda: asyncio.run(ask(again=True))) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert statuses == [200] * (2 + 3 * 3)
        assert not exchange._pools


def test_a_loop_that_closed_without_aclose_is_forgotten() -> None:
    with raw_server(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello") as (url, _):
        exchange = Exchange(Server(url=url.removesuffix("/v1")))

        async def ask() -> bytes:
            return (await exchange.send("POST", "/x", b"{}")).body

        assert [asyncio.run(ask()) for _ in range(3)] == [b"hello"] * 3
        assert len(exchange._pools) == 1
        asyncio.run(exchange.aclose())
        assert not exchange._pools


def test_waiting_for_a_connection_is_not_time_of_the_request() -> None:
    with LoopbackServer(echo, latency=0.15) as server:
        exchange = Exchange(Server(url=server.url.removesuffix("/v1"), timeout=0.6, most_connections=1))
        body = json.dumps({"model": "scripted", "prompt": "x"}).encode()

        async def many() -> list[int]:
            answers = await asyncio.gather(*(exchange.send("POST", "/v1/completions", body) for _ in range(6)))
            await exchange.aclose()
            return [answer.status for answer in answers]

        assert asyncio.run(many()) == [200] * 6
        assert server.n_connections == 1


@pytest.mark.parametrize("compressed", [False, True])
def test_a_long_answer_is_cut_off(compressed: bool) -> None:
    text = b"a" * 5_000_000
    body, field = (gzip.compress(text), b"Content-Encoding: gzip\r\n") if compressed else (text, b"")
    whole = b"HTTP/1.1 200 OK\r\n" + field + b"Content-Length: %d\r\n\r\n" % len(body) + body
    with raw_server(whole) as (url, _):
        assert send(url).body == text
        with pytest.raises(BadAnswer, match="longer than 1,000,000 bytes") as caught:
            send(url, most_bytes=1_000_000)
    assert caught.value.raw.startswith("aaa")
    assert compressed or len(caught.value.raw) < len(text)  # aiohttp bounds what a piece may unpack to on its own


def test_nothing_is_asked_for_compressed_and_no_cookie_is_kept() -> None:
    with raw_server(HELLO.replace(b"\r\n\r\n", b"\r\nSet-Cookie: a=b\r\n\r\n")) as (url, received):

        async def twice() -> None:
            exchange = Exchange(Server(url=url.removesuffix("/v1")))
            for _ in range(2):
                await exchange.send("POST", "/x", b"{}")
                await asyncio.sleep(0.05)
            await exchange.aclose()

        asyncio.run(twice())
    assert len(received) == 2
    assert all(b"Accept-Encoding: identity\r\n" in head and b"cookie" not in head.lower() for head in received)


def test_what_is_not_compressed_as_it_says_is_a_fault() -> None:
    with raw_server(HELLO.replace(b"\r\n\r\n", b"\r\nContent-Encoding: gzip\r\n\r\n")) as (url, _), pytest.raises(
        BadAnswer, match="compressed"
    ):  # fmt: skip
        send(url)


def test_a_connection_has_a_time_limit_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    clear_proxies(monkeypatch)

    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async def ask() -> None:
        server = await asyncio.start_server(hold, "127.0.0.1", 0)
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"  # it never answers the handshake
        exchange = Exchange(Server(url=url, connect_timeout=0.2))
        with pytest.raises(TimedOut, match=r"No connection to 127.0.0.1:\d+ within 0.2 s"):
            await exchange.send("GET", "/models")
        await exchange.aclose()
        await asyncio.sleep(0.05)
        server.close()

    began = time.monotonic()
    asyncio.run(ask())
    assert time.monotonic() - began < 10


def test_a_name_without_an_address_is_a_fault_and_an_odd_address_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    clear_proxies(monkeypatch)
    with pytest.raises((ConnectionFault, TimedOut), match="No connection to nowhere.invalid:8000"):
        send("http://nowhere.invalid:8000", connect_timeout=1.0)
    with pytest.raises(AccessRefused, match="no address"):
        send("http://a..b:8000")


@pytest.mark.parametrize(
    "answer", [b"", b"SSH-2.0\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhe", HELLO.replace(b"5", b"-5")]
)
def test_a_fault_does_not_hold_the_key(answer: bytes) -> None:
    with raw_server(answer) as (url, _), pytest.raises(TeacherFault) as caught:
        send(url, headers={"Authorization": f"Bearer {SECRET}"})
    # Tools that report errors show the context too, where aiohttp's errors hold the request's headers.
    assert caught.value.__context__ is None and caught.value.__cause__ is None
    assert SECRET not in repr(caught.value) + caught.value.raw


# Proxies


def test_a_proxys_password_goes_to_the_proxy_and_into_no_message(monkeypatch: pytest.MonkeyPatch) -> None:
    clear_proxies(monkeypatch)
    with raw_server(HELLO) as (proxy, received):
        address = proxy.removesuffix("/v1").removeprefix("http://")
        monkeypatch.setenv("http_proxy", f"me:hush@{address}")  # curl takes it without a scheme
        assert send("http://teacher.example:8000", "/v1/models").body == b"hello"
        assert received[0].startswith(b"POST http://teacher.example:8000/v1/models HTTP/1.1\r\n")
        assert b"Proxy-Authorization: Basic " + b64encode(b"me:hush") in received[0]
    with pytest.raises(ConnectionFault, match="No connection to the proxy") as caught:
        send("http://teacher.example:8000")
    assert "hush" not in str(caught.value) + caught.value.raw
    monkeypatch.setenv("no_proxy", "teacher.example")
    with pytest.raises((ConnectionFault, TimedOut), match="No connection to teacher.example:8000"):
        send("http://teacher.example:8000", connect_timeout=1.0)


def test_a_proxy_that_cannot_be_used_is_named_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    clear_proxies(monkeypatch)
    monkeypatch.setenv("all_proxy", "socks5://me:hush@127.0.0.1:1080")
    with pytest.raises(ConfigError, match="kind socks5") as caught:
        Exchange(Server(url="http://teacher.example:8000"))
    assert "hush" not in str(caught.value)
    Exchange(Server(url="http://127.0.0.1:8000"))


def test_a_proxy_may_refuse_to_tunnel(monkeypatch: pytest.MonkeyPatch) -> None:
    clear_proxies(monkeypatch)
    with raw_server(b"HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n") as (proxy, received):
        monkeypatch.setenv("https_proxy", proxy.removesuffix("/v1"))
        with pytest.raises(ConnectionFault, match="proxy of the environment answers 407"):
            send("https://teacher.example", headers={"Authorization": f"Bearer {SECRET}"})
        assert received[0].startswith(b"CONNECT teacher.example:443 ") and SECRET.encode() not in received[0]


# TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ssl.SSLContext]:
    """A certificate for 127.0.0.1 and teacher.example, signed by itself."""
    if shutil.which("openssl") is None:
        pytest.skip("makes its certificate with openssl")
    folder = tmp_path_factory.mktemp("tls")
    names = "subjectAltName=IP:127.0.0.1,DNS:teacher.example"
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=teacher -keyout key.pem -out cert.pem"
    subprocess.run([*command.split(), "-addext", names], cwd=folder, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return folder / "cert.pem", context


def send_elsewhere(url: str, environment: dict[str, str]) -> str:
    """Sends a request from a process that reads the environment anew; returns the answer."""
    code = (
        "import asyncio, sys\nfrom tilth.teacher.connections import Exchange, Server\n"
        "async def work():\n"
        "    exchange = Exchange(Server(url=sys.argv[1]))\n"
        "    print((await exchange.send('POST', '/v1/models', b'{}')).body.decode())\n"
        "    await exchange.aclose()\n"
        "asyncio.run(work())"
    )
    command = [sys.executable, "-W", "error", "-c", code, url]
    paths = {"PYTHONPATH": ":".join(sys.path)}
    return subprocess.run(command, env=paths | environment, capture_output=True, text=True, check=True).stdout.strip()


def test_a_certificate_that_is_not_valid_ends_the_run(certificate: tuple[Path, ssl.SSLContext]) -> None:
    with raw_server(HELLO, context=certificate[1]) as (url, received):
        with pytest.raises(AccessRefused, match=r"certificate of 127.0.0.1:\d+ is not valid: self.signed") as caught:
            send(url, headers={"Authorization": f"Bearer {SECRET}"})
        assert not received and "SSL_CERT_FILE" in str(caught.value)


def test_an_authority_of_ones_own(certificate: tuple[Path, ssl.SSLContext]) -> None:
    with raw_server(HELLO, context=certificate[1]) as (url, received):
        assert send_elsewhere(url.removesuffix("/v1"), {"SSL_CERT_FILE": str(certificate[0])}) == "hello"
        assert received[0].startswith(b"POST /v1/models HTTP/1.1\r\n")


def test_tls_by_way_of_a_proxy(certificate: tuple[Path, ssl.SSLContext]) -> None:
    with raw_server(HELLO, context=certificate[1], tunnels=True) as (proxy, received):
        environment = {"SSL_CERT_FILE": str(certificate[0]), "HTTPS_PROXY": proxy.removesuffix("/v1")}
        assert send_elsewhere("https://teacher.example:8443", environment) == "hello"
    assert received[0].startswith(b"CONNECT teacher.example:8443 HTTP/1.1\r\n")
    assert received[1].startswith(b"POST /v1/models HTTP/1.1\r\n")


def test_plain_http_where_tls_is_asked_for_is_a_fault() -> None:
    async def plain(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async def ask() -> None:
        server = await asyncio.start_server(plain, "127.0.0.1", 0)
        exchange = Exchange(Server(url=f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"))
        with pytest.raises(ConnectionFault, match=r"No connection to 127.0.0.1:\d+: .*SSL"):
            await exchange.send("GET", "/models")
        await exchange.aclose()
        await asyncio.sleep(0.05)
        server.close()

    asyncio.run(ask())
