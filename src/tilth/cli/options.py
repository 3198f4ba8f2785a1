"""How words on the command line become calls: tyro over typed functions and dataclasses."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_type_hints

import tyro

from tilth import steps
from tilth.cli import terminal
from tilth.errors import ConfigError
from tilth.execute import Context
from tilth.model.device import check_device
from tilth.steps import Step

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Facts of this machine. They change how fast the work goes, never what comes out."""

    runs: Path = Path("runs")
    """Folder that holds the outputs of all steps."""
    workers: int | None = None
    """Processes that work side by side (default: one a core)."""
    device: str = "auto"
    """Torch device for models: `auto`, `cpu`, `cuda`, `cuda:1`, `mps`."""

    def context(self) -> Context:
        """Returns the context that steps run in."""
        if self.workers is not None and self.workers < 1:
            raise ConfigError(f"`--workers` is {self.workers}.", fix="Give 1 or more.")
        check_device(self.device)
        workers = self.workers or os.cpu_count() or 1
        return Context(runs=self.runs, workers=workers, device=self.device, progress=terminal.progress())


M = TypeVar("M", bound=Machine)

ModelFolder = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]
DatasetFolder = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DATASET")]
TokenizerFolder = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="TOKENIZER")]


def call(fn: Callable[..., T], words: Sequence[str], verb: str) -> T:
    """Calls `fn` with the arguments that `words` give it; shows help or the mistake, and exits, where they don't."""
    return tyro.cli(fn, prog=f"tilth {verb}", args=list(words))


def call_with_machine(fn: Callable[..., T], words: Sequence[str], verb: str, default: M) -> tuple[M, T]:
    """Like `call`, with the fields of `default`, the options of the machine, added to those of `fn`; returns both."""

    def combined(*, machine: M, **fields: Any) -> tuple[M, T]:
        return machine, fn(**fields)

    hints = get_type_hints(fn, include_extras=True)
    parameters = [p.replace(annotation=hints[p.name]) for p in inspect.signature(fn).parameters.values()]
    flat = tyro.conf.OmitArgPrefixes[type(default)]
    machine = inspect.Parameter("machine", inspect.Parameter.KEYWORD_ONLY, default=default, annotation=flat)
    combined.__signature__ = inspect.Signature([*parameters, machine])  # pyright: ignore[reportFunctionMemberAccess]
    combined.__annotations__ = {p.name: p.annotation for p in [*parameters, machine]}
    combined.__doc__ = fn.__doc__
    combined.__name__ = getattr(fn, "__name__", "recipe")
    return call(combined, words, verb)


def run_single(step: Step, out: Path, context: Context) -> Path:
    """Runs one step into the folder that was asked for, and says so."""
    outcome = steps.run_into(step, out, context)
    terminal.say(
        f"{out} {'is there already' if outcome.cached else f'written in {terminal.duration(outcome.seconds)}'}."
    )
    return outcome.folder
