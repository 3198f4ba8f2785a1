"""A run with its page: kept up to date while steps are at work, and complete when they have ended."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tilth.errors import TilthError
from tilth.execute import Context
from tilth.perform import Work
from tilth.progress import RecordedProgress
from tilth.recipes.run_page import write_page
from tilth.steps import Step, StepResult, needed_steps

if TYPE_CHECKING:
    from tilth.report.live import LivePage
    from tilth.report.live_server import PageServer
    from tilth.run_record import ActiveRun


@dataclass
class LiveRun:
    """A run that is at work."""

    context: Context
    """For the steps: its progress and what they write while at work is what the page shows."""
    page: LivePage
    path: Path | None = None
    """The final page, once it is written."""
    problem: str = ""
    """Why there is none."""
    folders: list[Path] = field(default_factory=list[Path])
    """Of the steps that are done."""
    all_cached: bool = True
    """Whether no step had to be run so far."""

    def started(self, work: Work) -> None:
        """Notes that a step begins."""
        self.page.started(work.label, work.folder)

    def finished(self, result: StepResult) -> None:
        """Notes that a step is done."""
        self.folders.append(result.folder)
        self.all_cached = self.all_cached and result.cached
        self.page.finished(result.step.label, result.folder, cached=result.cached, seconds=result.seconds)


@contextmanager
def live_run(active: ActiveRun, target: Step, context: Context, *, serve: bool = False) -> Generator[LiveRun]:
    """Keeps the page of a run while its block runs the steps, and writes the final one however that ends.

    `serve` opens the page in the browser, from a server that lives as long as the run.
    """
    from tilth.report.live import LivePage

    progress = RecordedProgress(context.progress)
    labels = list(dict.fromkeys(step.label for step in needed_steps(target)))
    page = LivePage(active.folder, active.record, labels, progress)
    live = LiveRun(context=replace(context, progress=progress, live=page.live), page=page)
    with ExitStack() as stack:
        server: PageServer | None = None
        try:
            with page:
                server = _server(stack, active.folder, progress) if serve else None
                yield live
        except BaseException as error:
            with suppress(Exception):  # the error that ended the run is the one to tell
                write_page(
                    active.record, live.folders, context, unfinished=_unfinished(error, len(live.folders), len(labels))
                )
            raise
        else:
            try:
                live.path = write_page(active.record, live.folders, context)
            except TilthError as error:  # a step of the user's own may write what only looks like a result of ours
                live.problem = error.message
        finally:
            page.end()
            if server is not None:
                server.wait_for_reload()


def _server(stack: ExitStack, folder: Path, progress: RecordedProgress) -> PageServer | None:
    from tilth.report.live_server import PageServer

    try:
        server = stack.enter_context(PageServer(folder))
    except OSError as error:
        progress.say(f"The page cannot be served ({error.strerror or error}); open {folder / 'report.html'} instead.")
        return None
    progress.say(f"Page:    {server.url} (as long as the run; {folder / 'report.html'} afterwards)")
    server.open()
    return server


def _unfinished(error: BaseException, n_done: int, n_steps: int) -> str:
    """Says on the final page how the run ended before its end."""
    done = f"{n_done} of {n_steps} steps are done."
    if not isinstance(error, Exception):
        return f"The run was stopped. {done} The same command continues it."
    if isinstance(error, TilthError):
        return " ".join(filter(None, [f"The run failed. {error.message}", error.fix, done]))
    return f"The run failed: {type(error).__name__}: {error}. {done}"
