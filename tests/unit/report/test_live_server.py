"""The server of the page: two files, to this machine, under its own name."""

from __future__ import annotations

import http.client
import threading
from pathlib import Path

import pytest

from tilth.files import write_bytes
from tilth.report.live import STATE
from tilth.report.live_server import PageServer
from tilth.run_record import LIVE, PAGE


def fetched(server: PageServer, path: str, host: str | None = None) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    connection.request("GET", path, headers={"Host": host or server.host})
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, content


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_bytes(tmp_path / PAGE, b"the page")
    write_bytes(tmp_path / LIVE / STATE, b"the state")
    write_bytes(tmp_path / "run.json", b"the record")
    return tmp_path


def test_it_serves_the_page_and_its_state_and_nothing_else(folder: Path) -> None:
    with PageServer(folder) as server:
        assert fetched(server, "/") == fetched(server, f"/{PAGE}") == (200, b"the page")
        assert fetched(server, f"/{LIVE}/{STATE}?123") == (200, b"the state")
        for path in ("/run.json", f"/{LIVE}/", f"/{LIVE}/../run.json", "/%2e%2e/", "//etc/passwd"):
            assert fetched(server, path)[0] == 404, path
        assert fetched(server, "/", host="evil.example")[0] == 404
        assert fetched(server, "/", host=f"localhost:{server.port}")[0] == 200
        (folder / PAGE).unlink()
        assert fetched(server, "/")[0] == 404


def test_at_the_end_it_waits_for_a_page_that_is_open(folder: Path) -> None:
    with PageServer(folder) as server:
        assert server.wait_for_reload(), "no page is open"
        fetched(server, f"/{LIVE}/{STATE}")
        server.seconds_to_reload = 0.2
        assert not server.wait_for_reload(), "the open page did not come"
        server.seconds_to_reload = 30
        reloading = threading.Timer(0.3, fetched, (server, "/"))
        reloading.start()
        assert server.wait_for_reload()
        reloading.join()
