"""Steps side by side: each in a process of its own, all ended by the first error or by Ctrl-C."""

from __future__ import annotations

import pickle
from dataclasses import replace

from tilth import workers
from tilth.errors import StepError
from tilth.execute import Context
from tilth.perform import Done, Work, perform
from tilth.progress import SILENT, ForwardedProgress, ProgressEvent, Replay
from tilth.workers import Died, Raised, Returned, Worker


class Jobs:
    """At most `context.jobs` steps at work."""

    def __init__(self, context: Context) -> None:
        self.progress, self.limit = context.progress, context.jobs
        # The cores are shared out; what is shown goes through this process, which has the terminal.
        share = max(1, context.workers // context.jobs)
        self.context = replace(context, jobs=1, workers=share, progress=SILENT)
        self.running: dict[Worker, tuple[Work, Replay]] = {}

    @property
    def has_room(self) -> bool:
        """Whether another step may be started."""
        return len(self.running) < self.limit

    def start(self, work: Work) -> None:
        """Starts a step."""
        try:
            task = workers.pickled_task(_perform, work, self.context)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise StepError(
                f"The step {work.label!r} cannot be sent to a process of its own: {error}.",
                fix="Define its function and the classes of its config at the top level of their file, or use "
                "`--jobs 1`.",
            ) from error
        worker = Worker(task)
        self.running[worker] = work, Replay(self.progress, work.label)
        worker.start(task)

    def finished(self) -> list[tuple[Work, Done]]:
        """Waits until a process has something to tell; returns the steps that are done by then.

        Raises: what a step raises; StepError if its process died.
        """
        done: list[tuple[Work, Done]] = []
        for worker in workers.wait(list(self.running)):
            work, replay = self.running[worker]
            event = worker.receive()
            if isinstance(event, ProgressEvent):
                replay.show(event)
                continue
            del self.running[worker]
            replay.close()
            worker.end()
            if isinstance(event, Returned):
                done.append((work, event.value))
            elif isinstance(event, Raised):
                event.throw()
            elif isinstance(event, Died):
                raise StepError(
                    f"The process of the step {work.label!r} {event}.",
                    fix="Run the same command again: what is finished is kept."
                    + (" If memory ran out, use fewer `--jobs`." if event.was_killed_for_memory else ""),
                )
        return done

    def end(self) -> None:
        """Ends all processes; their partial folders are continued by the next run."""
        for worker in self.running:
            worker.process.terminate()
        for worker, (_, replay) in self.running.items():
            for event in worker.last_words():  # what it kept, in the end
                if isinstance(event, ProgressEvent) and event.kind == "say":
                    replay.show(event)
            worker.end()
            replay.close()
        self.running.clear()


def _perform(work: Work, context: Context) -> Done:
    return perform(work, replace(context, progress=ForwardedProgress(workers.report)))
