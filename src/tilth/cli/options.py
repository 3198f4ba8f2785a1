"""How words on the command line become calls: tyro over typed functions and dataclasses."""

from __future__ import annotations

import inspect
import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, cast

import tyro

from tilth import steps
from tilth.cli import terminal
from tilth.cli.arguments import REGISTRY, annotated, merged
from tilth.errors import ConfigError
from tilth.execute import Context
from tilth.model.device import check_device
from tilth.paths import check_local
from tilth.steps import Step

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class RuntimeOptions:
    """How this machine does the work. None of it changes what a step is."""

    runs: Path = Path("runs")
    """Folder that holds the outputs of all steps."""
    workers: int | None = None
    """Processes that work side by side (default: one a core)."""
    device: str = "auto"
    """Torch device for models: `auto`, `cpu`, `cuda`, `cuda:1`, `mps`."""
    jobs: int = 1
    """Independent steps that run side by side; they share the workers."""
    executor: Literal["local", "ray"] = "local"
    """Where shards are worked on: processes of this machine, or a Ray cluster (`RAY_ADDRESS`)."""
    micro_batch_size: int | None = None
    """Rows that go through a model at a time in training; lower it if memory runs out (default: all of a step)."""
    checkpoint_seconds: float = Context.checkpoint_seconds
    """Most seconds of training between checkpoints."""

    def check(self) -> None:
        """Raises ConfigError if a value cannot work here, before anything is done with it."""
        check_local(self.runs)
        check_device(self.device)
        for name in ("workers", "jobs", "micro_batch_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"`--{name.replace('_', '-')}` is {value}.", fix="Give 1 or more.")
        if not self.checkpoint_seconds >= 0:
            raise ConfigError(f"`--checkpoint-seconds` is {self.checkpoint_seconds}.", fix="Give 0 or more.")

    def context(self) -> Context:
        """Returns the context that steps run in."""
        return Context(
            runs=self.runs,
            workers=self.workers or os.cpu_count() or 1,
            device=self.device,
            executor=self.executor,
            progress=terminal.progress(),
            jobs=self.jobs,
            micro_batch_size=self.micro_batch_size,
            checkpoint_seconds=self.checkpoint_seconds,
        )


@dataclass(frozen=True, kw_only=True)
class RecipeOptions(RuntimeOptions):
    """How this machine does the work, and what the run is called."""

    name: str | None = None
    """Name of the run, a folder in `--runs` (default: made from the corpus or the recipe)."""


Chosen = TypeVar("Chosen", bound=RuntimeOptions)

ModelFolder = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]
DatasetFolder = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DATASET")]
TokenizerFolder = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="TOKENIZER")]


def call(fn: Callable[..., T], words: Sequence[str], verb: str) -> T:
    """Calls `fn` with the arguments that `words` give it; shows help or the mistake, and exits, where they don't."""
    return tyro.cli(fn, prog=f"tilth {verb}", args=merged(words, fn), registry=REGISTRY)


def call_with_options(fn: Callable[..., T], words: Sequence[str], verb: str, default: Chosen) -> tuple[Chosen, T]:
    """Like `call`, with the fields of `default` added to the options of `fn`; returns both."""

    def combined(*, runtime: Chosen, **arguments: Any) -> tuple[Chosen, T]:
        runtime.check()
        return runtime, fn(**arguments)

    taken = {field.name for field in fields(default)} & set(inspect.signature(fn).parameters)
    if taken:
        names = ", ".join(f"`{name}`" for name in sorted(taken))
        raise ConfigError(f"`{verb}` has fields named as options of every recipe: {names}.", fix="Rename the fields.")
    parameters = annotated(fn)
    flat = tyro.conf.OmitArgPrefixes[type(default)]
    runtime = inspect.Parameter("runtime", inspect.Parameter.KEYWORD_ONLY, default=default, annotation=flat)
    combined.__signature__ = inspect.Signature([*parameters, runtime])  # pyright: ignore[reportFunctionMemberAccess]
    combined.__annotations__ = {p.name: p.annotation for p in [*parameters, runtime]}
    combined.__doc__ = fn.__doc__
    combined.__name__ = getattr(fn, "__name__", "recipe")
    return call(combined, words, verb)


def given_fields(fn: Callable[..., object], arguments: Mapping[str, object]) -> dict[str, str]:
    """Returns the arguments of a call that are not the defaults of `fn`, as text."""
    parameters = inspect.signature(fn).parameters
    return {name: _text(value) for name, value in arguments.items() if value != parameters[name].default}


def _text(value: object) -> str:
    if isinstance(value, list | tuple):
        return shlex.join(map(str, cast("Sequence[object]", value)))
    return str(value)


def run_single(step: Step, out: Path, context: Context) -> Path:
    """Runs one step into the folder that was asked for, and says so."""
    result = steps.run_into(step, out, context)
    terminal.say(f"{out} {'is there already' if result.cached else f'written in {terminal.duration(result.seconds)}'}.")
    return result.folder
