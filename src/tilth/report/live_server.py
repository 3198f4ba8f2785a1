"""Serves the page of a run to this machine's browser: two files of one folder, and nothing else."""

from __future__ import annotations

import threading
import time
import webbrowser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any

from tilth.report.live import STATE
from tilth.run_record import LIVE, PAGE

HOST = "127.0.0.1"
SECONDS_TO_RELOAD = 6.0
"""That the server waits at the end for an open page to fetch its final state."""


class PageServer:
    """Serves `folder/report.html` on a free port of this machine; a context manager."""

    def __init__(self, folder: Path) -> None:
        """Raises: OSError if no port can be had."""
        self.seconds_to_reload = SECONDS_TO_RELOAD
        self._is_open, self._fetched_at = False, 0.0
        served = self
        files = {
            "/": (folder / PAGE, "text/html; charset=utf-8"),
            f"/{PAGE}": (folder / PAGE, "text/html; charset=utf-8"),
            f"/{LIVE}/{STATE}": (folder / LIVE / STATE, "text/javascript; charset=utf-8"),
        }

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path = self.path.partition("?")[0]
                # Another site's page, whose name was pointed at this address, sends its own name.
                if path not in files or self.headers.get("Host") not in (served.host, f"localhost:{served.port}"):
                    self.send_error(404)
                    return
                file, kind = files[path]
                if file.name == STATE:
                    served.note_open()
                try:
                    content = file.read_bytes()
                except OSError:
                    self.send_error(404)
                    return
                self.send_response(200)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(content)))
                self.send_header("Cache-Control", "no-store")
                self.send_header("X-Content-Type-Options", "nosniff")
                self.end_headers()
                self.wfile.write(content)
                if file.name == PAGE:
                    served.note_fetched()

            def log_message(self, format: str, *args: Any) -> None:
                """Says nothing: the terminal shows the run."""

        self._server = ThreadingHTTPServer((HOST, 0), Handler)
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        self.host = f"{HOST}:{self.port}"
        self.url = f"http://{self.host}/"
        self._thread = threading.Thread(target=self._server.serve_forever, name="page server", daemon=True)

    def note_open(self) -> None:
        """Notes that a page asks for the newest state."""
        self._is_open = True

    def note_fetched(self) -> None:
        """Notes that a browser has the page as it is now."""
        self._fetched_at = time.monotonic()

    def __enter__(self) -> PageServer:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def open(self) -> None:
        """Opens the page in the browser, from a thread: some browsers keep their caller waiting."""
        threading.Thread(target=webbrowser.open, args=(self.url,), daemon=True).start()

    def wait_for_reload(self) -> bool:
        """Waits a few seconds until a page that is open has fetched the final one, which then needs no server.

        Returns whether it has; also True where no page is open.
        """
        ended = time.monotonic()
        while self._is_open and self._fetched_at < ended:
            if time.monotonic() > ended + self.seconds_to_reload:
                return False
            time.sleep(0.05)
        return True
