"""The page of a run while it is at work: written at once, refreshed until the run ends.

`report.html` holds the results of the steps that are done, and above them a region on the steps at work.
`live/state.js` holds the newest state of that region: a script in the page loads it again and again by adding a script
element, since a page that was opened as a file may not fetch anything. When the page itself has changed, it reloads.

Rendering happens in a thread, and takes at most about `SHARE` of one core. An error in it never ends a run.
"""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import TracebackType

from tilth.curation.result import LEDGER, Ledger
from tilth.errors import TilthError
from tilth.files import write_bytes
from tilth.inference.result import LIVE_SAMPLES
from tilth.progress import RecordedProgress
from tilth.report import page
from tilth.report.live_logs import MetricsReader, SamplesReader
from tilth.report.load import collect
from tilth.report.run import RunResults
from tilth.report.views import live as views
from tilth.report.views.live import StepState
from tilth.results import read_result
from tilth.run_record import LIVE, PAGE, RunRecord
from tilth.training.result import METRICS

EVERY_SECONDS = 2.0
"""Between refreshes of the region, where it renders quickly."""
SHARE = 0.015
"""Share of one core that rendering takes at most, averaged over the pauses after it."""
STATE = "state.js"


class LivePage:
    """Keeps `folder/report.html` up to date; a context manager around the run."""

    def __init__(
        self,
        folder: Path,
        record: RunRecord,
        labels: Sequence[str],
        progress: RecordedProgress,
        *,
        every_seconds: float = EVERY_SECONDS,
    ) -> None:
        """Takes the run's folder and record, and the labels of its steps in order."""
        self.folder, self.record, self.progress = folder, record, progress
        self.every_seconds = every_seconds
        self.live = folder / LIVE
        """`Context.live` of the run."""
        self._steps = {label: StepState(label=label) for label in labels}
        self._folders: dict[str, Path] = {}
        self._expected: Mapping[str, float] = {}
        self._lock, self._changed, self._stopped = threading.Lock(), threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._keep_up, name="live page", daemon=True)
        self._metrics: dict[str, MetricsReader] = {}
        self._samples: dict[str, SamplesReader] = {}
        self._made: dict[str, str] = dict.fromkeys(("steps", "samples", "training", "curation", "messages"), "")
        """The parts of the region."""
        self._shown: frozenset[str] = frozenset()
        """Labels of the steps whose results are in the page."""
        self._page = 0
        self._page_due, self._pause = 0.0, every_seconds
        self._began = time.monotonic()
        self._told = False

    def __enter__(self) -> LivePage:
        """Writes the page for the first time, and begins to refresh it."""
        shutil.rmtree(self.live, ignore_errors=True)
        self.live.mkdir(parents=True, exist_ok=True)
        self._try(self._write_page)
        self._try(self._write_state)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stops refreshing; the final page is for the caller to write, and `end` to be called after that."""
        self._stopped.set()
        self._changed.set()
        if self._thread.is_alive():
            self._thread.join()

    def expect(self, seconds: Mapping[str, float]) -> None:
        """Takes the seconds that steps will take, about, by label, where that is known."""
        self._expected = dict(seconds)
        self._changed.set()

    def started(self, label: str, folder: Path) -> None:
        """Notes that a step is at work; its output will be `folder`."""
        with self._lock:
            self._folders[label] = folder
            self._steps[label] = replace(self._steps[label], state="at work", started_at=time.monotonic())
        self._changed.set()

    def finished(self, label: str, folder: Path, *, cached: bool, seconds: float) -> None:
        """Notes that a step is done."""
        with self._lock:
            self._folders[label] = folder
            state = "cached" if cached else "done"
            self._steps[label] = replace(self._steps[label], state=state, seconds=seconds)
        self._changed.set()

    def end(self) -> None:
        """Tells pages that are open to reload, once the final page is written, and removes what was only for them."""
        shutil.rmtree(self.live, ignore_errors=True)
        with suppress(OSError):
            write_bytes(self.live / STATE, _script({"ended": True, "started": self.record.started_at}))

    # In the thread

    def _keep_up(self) -> None:
        while not self._stopped.is_set():
            self._changed.wait(self._pause)
            self._changed.clear()
            if self._stopped.is_set():
                return
            self._pause = max(self.every_seconds, self._try(self._refresh) / SHARE)
            self._stopped.wait(self._pause / 4)  # however often steps end

    def _try(self, write: Callable[[], None]) -> float:
        """Calls a function that may fail; returns the processor's seconds that it took."""
        began = time.thread_time()
        try:
            write()
        except Exception as error:
            if not self._told:
                self._told = True
                reason = error.message if isinstance(error, TilthError) else f"{type(error).__name__}: {error}"
                self.progress.say(f"The page of the run could not be refreshed ({reason}). The run continues.")
        return time.thread_time() - began

    def _refresh(self) -> None:
        done = frozenset(step.label for step in self._snapshot() if step.is_done)
        if done != self._shown and time.monotonic() >= self._page_due:
            began = time.thread_time()
            self._write_page()
            self._page_due = time.monotonic() + (time.thread_time() - began) / SHARE
        self._write_state()

    def _write_page(self) -> None:
        steps = self._snapshot()
        done = [step.label for step in steps if step.is_done]
        results = collect(
            [self._folders[label] for label in done], name=self.record.name, run_command=self.record.command
        )
        self._shown = frozenset(done)
        self._page += 1
        live = page.LivePart(
            parts=self._parts(steps),
            run=self.record,
            page=self._page,
            updated=time.time(),
            every_seconds=self._pause,
        )
        write_bytes(self.folder / PAGE, page.page_text(results, live=live).encode("utf-8"))

    def _write_state(self) -> None:
        state = {
            "ended": False,
            "started": self.record.started_at,
            "page": self._page,
            "updated": time.time(),
            "every": self._pause,
            "parts": self._parts(self._snapshot()),
        }
        write_bytes(self.live / STATE, _script(state))

    def _snapshot(self) -> tuple[StepState, ...]:
        with self._lock:
            return tuple(self._steps.values())

    def _parts(self, steps: Sequence[StepState]) -> dict[str, str]:
        """Returns the parts of the region as markup, empty where there is nothing to show."""
        pending = [step for step in steps if step.label in self._folders and step.label not in self._shown]
        begun = [step for step in steps if step.label in self._folders and step.state != "cached"]
        now = time.monotonic()
        views_of: dict[str, Callable[[], object]] = {
            "steps": lambda: views.steps(steps, self.progress.bars(), self._expected, began=self._began, now=now),
            "samples": lambda: views.samples([(step, self._samples_of(step.label)) for step in begun]),
            "training": lambda: views.training([(step.label, self._metrics_of(step.label)) for step in pending]),
            "curation": lambda: views.curation([(step.label, self._ledger_of(step.label)) for step in pending]),
            "messages": lambda: views.messages(self.progress.lines()),
        }
        for key, view_of in views_of.items():
            self._try(partial(self._make_part, key, view_of))
        return dict(self._made)

    def _make_part(self, key: str, view_of: Callable[[], object]) -> None:
        """Makes one part anew; where that fails, it stays as it was, and the others go on."""
        view = view_of()
        self._made[key] = "" if view is None else page.live_part(key, view)

    def _ledger_of(self, label: str) -> Ledger | None:
        path = self.live / label / LEDGER
        return read_result(Ledger, path) if path.exists() else None

    def _metrics_of(self, label: str) -> RunResults | None:
        folder = self._folders[label]
        reader = self._metrics.setdefault(label, MetricsReader())
        partial = folder.with_name(f"{folder.name}.partial")
        return reader.results(label, [folder / METRICS, partial / METRICS])

    def _samples_of(self, label: str) -> Sequence[views.LiveSample]:
        return self._samples.setdefault(label, SamplesReader()).read(self.live / label / LIVE_SAMPLES)


def _script(state: Mapping[str, object]) -> bytes:
    """Returns a state as the script that the page loads: ASCII, so that no text in it ends a line or a string."""
    return f"window.tilthLive?.({json.dumps(state, ensure_ascii=True)});\n".encode("ascii")
