"""A server that answers each connection with given bytes, for what no well-behaved server sends."""

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


@contextmanager
def raw_server(
    *answers: bytes, context: ssl.SSLContext | None = None, tunnels: bool = False
) -> Iterator[tuple[str, list[bytes]]]:
    """Yields its URL and what it received; connection i gets `answers[i]`, later ones the last; each is closed then.

    `context` makes it speak TLS; `tunnels`, after a CONNECT as a proxy would get it.
    """
    listener = socket.create_server(("127.0.0.1", 0))
    received: list[bytes] = []

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection, suppress(OSError):
                if tunnels:
                    received.append(_request(connection))
                    connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                with context.wrap_socket(connection, server_side=True) if context else connection as stream:
                    received.append(_request(stream))
                    stream.sendall(answers[min(len(received), len(answers)) - 1])

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"{'https' if context and not tunnels else 'http'}://127.0.0.1:{listener.getsockname()[1]}/v1", received
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(10)


def _request(connection: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        if not (piece := connection.recv(65536)):
            raise ConnectionError("closed within the head")
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    lengths = [line.split(b":")[1] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")]
    while len(body) < int(lengths[0] if lengths else 0):
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body
