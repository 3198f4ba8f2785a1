"""`tilth synthesize`: a recipe over a dataset by a teacher, with a preview of what it makes and costs."""

from __future__ import annotations

import difflib
import inspect
import shlex
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import tyro

from tilth.cli import synthesis_shown, terminal
from tilth.cli.options import RuntimeOptions, call_with_options, run_single
from tilth.errors import ConfigError
from tilth.execute import Context
from tilth.synthesis.config import Budget, GateConfig, SynthesisConfig

if TYPE_CHECKING:
    from tilth.steps import Step
    from tilth.synthesis.define import Recipe
    from tilth.teacher.request import Teacher

_USAGE = "`tilth synthesize RECIPE DATASET --teacher TEACHER --out FOLDER`"


@dataclass(frozen=True, kw_only=True)
class TeacherOptions(RuntimeOptions):
    """How this machine does the work, and how it asks teachers. None of it changes what a step is."""

    cache: Path | None = None
    """Folder of the request cache (default: `cache` in `--runs`): no answer in it is paid for again."""
    max_in_flight: int = Context.max_in_flight
    """Requests to a teacher in flight at most."""

    def check(self) -> None:
        """Raises ConfigError if a value cannot work here."""
        super().check()
        if self.max_in_flight < 1:
            raise ConfigError(f"`--max-in-flight` is {self.max_in_flight}.", fix="Give 1 or more.")

    def context(self) -> Context:
        """Returns the context that steps run in."""
        cache = self.cache or self.runs / "cache"
        return replace(super().context(), cache=cache, max_in_flight=self.max_in_flight)


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What the command line asks for."""

    dataset: Path | None
    topics: str
    per_topic: int
    group_topics: int | None
    teacher: tuple[str, ...]
    out: Path | None
    preview: int | None
    json: bool
    options: Any
    config: SynthesisConfig


def synthesize(words: Sequence[str]) -> None:
    """`tilth synthesize RECIPE [DATASET] --teacher TEACHER --out FOLDER`."""
    if "--list" in words:
        synthesis_shown.show_recipes()
        return
    if not words or words[0] in ("-h", "--help"):
        synthesis_shown.show_usage()
        return
    if words[0].startswith("-"):
        raise ConfigError(f"The recipe comes first, before `{words[0]}`.", fix=_USAGE)
    from tilth.synthesis.door import check_budget

    recipe = load(words[0])
    if "-h" in words or "--help" in words:
        synthesis_shown.show_recipe(recipe, words[0])
    options, asked = call_with_options(
        _arguments(recipe), _with_preview(words[1:]), f"synthesize {words[0]}", TeacherOptions()
    )  # fmt: skip
    context = options.context()
    asked = replace(asked, dataset=_seeds(asked, context))
    teachers, context = open_checked(asked.teacher, recipe, context)
    if teachers:
        check_budget(asked.config.budget, list(teachers.values()))
    if asked.preview is not None:
        _preview(recipe, teachers, asked, context)
        return
    _run(words, recipe, teachers, asked, context)


def load(name: str) -> Recipe:
    """Returns a recipe. Raises: ConfigError with the closest names, for an unknown one."""
    from tilth.synthesis.define import BUILT_IN, load_recipe

    if name not in BUILT_IN and ":" not in name:
        if Path(name).exists():
            what = "a file" if Path(name).is_file() else "a folder"
            own = f"; one of your own is `{name}:NAME`" * (Path(name).suffix == ".py")
            raise ConfigError(f"`{name}` is {what}, no recipe.", fix=f"The recipe comes first: {_USAGE}{own}.")
        close = difflib.get_close_matches(name, BUILT_IN, n=2)
        hint = f"Did you mean {' or '.join(f'`{word}`' for word in close)}? " if close else ""
        raise ConfigError(
            f"There is no synthesis recipe called `{name}`.",
            fix=f"{hint}`tilth synthesize --list` shows all; your own: `path/to/file.py:name`.",
        )
    return load_recipe(name)


def _with_preview(words: Sequence[str]) -> list[str]:
    """Gives `--preview` its number where it has none."""
    found: list[str] = []
    for word, following in zip(words, [*words[1:], ""], strict=True):
        found.append(word)
        if word == "--preview" and not following.isdigit():
            found.append("3")
    return found


def _arguments(recipe: Recipe) -> Callable[..., Asked]:
    """Returns a function whose parameters are those of the command, the recipe's options among them."""
    kinds = (TeacherOptions, SynthesisConfig, GateConfig, Budget, Asked)
    taken = {field.name for kind in kinds for field in fields(kind)}
    # An option named as one of every recipe's is told from it by a prefix, as all of that recipe's then: `--recipe.`.
    clash = taken & {field.name for field in fields(recipe.options)}

    def build(
        dataset: Annotated[Path | None, tyro.conf.Positional, tyro.conf.arg(metavar="[DATASET]")] = None,
        *,
        topics: str = "",
        per_topic: int = 100,
        group_topics: int | None = None,
        teacher: tuple[str, ...] = (),
        out: Path | None = None,
        preview: int | None = None,
        json: bool = False,
        recipe: Any = None,
        run: tyro.conf.OmitArgPrefixes[SynthesisConfig] = SynthesisConfig(),
    ) -> Asked:
        """Make a dataset with a teacher. Killed at any moment, the same command continues and pays nothing twice.

        Args:
            dataset: A dataset folder, such as `train` in what `tilth curate` wrote.
            topics: A file with a topic a line, or `builtin`: only what a search finds is used; recipes see the topic.
            per_topic: Most documents of a topic that are used.
            group_topics: Group the documents into so many topics first; recipes see a document's topic.
            teacher: `http://HOST:PORT/v1#MODEL`, a model's folder, `scripted:echo`, or names in `teachers.toml`.
            out: Folder for the samples, the rejects and the page.
            preview: Show so many documents (3) with answers, gates and the cost of all; 0: prompts, nothing is asked.
            json: Print one JSON document.
            recipe: The recipe's options.
            run: How the recipe is run.
        """
        return Asked(
            dataset=dataset,
            topics=topics,
            per_topic=per_topic,
            group_topics=group_topics,
            teacher=teacher,
            out=out,
            preview=preview,
            json=json,
            options=recipe,
            config=run,
        )

    default = recipe.options()
    annotation: Any = recipe.options if clash else tyro.conf.OmitArgPrefixes[recipe.options]
    parameters = inspect.signature(build).parameters
    changed = [
        parameter.replace(annotation=annotation, default=default) if name == "recipe" else parameter
        for name, parameter in parameters.items()
    ]
    build.__signature__ = inspect.Signature(changed)  # pyright: ignore[reportFunctionMemberAccess]
    build.__annotations__["recipe"] = annotation
    return build


# Teachers


def open_checked(
    specs: Sequence[str], recipe: Recipe, context: Context
) -> tuple[dict[str, Teacher], Context]:  # fmt: skip
    """Returns the teachers, and the context that says where they are.

    Raises: ConfigError if none is given, or one cannot be reached; AccessRefused for a key that is not taken.
    """
    from tilth.synthesis.door import check_reachable
    from tilth.teacher.teachers import open_teacher

    if not specs and recipe.prepare is None:
        raise ConfigError(
            "No teacher is given.",
            fix="Name one: `--teacher http://HOST:PORT/v1#MODEL`, the folder of a model, a name in `teachers.toml`, or "
            "`scripted:echo` to try things out.",
        )
    found: dict[str, Teacher] = {}
    endpoints: dict[str, str] = {}
    for spec in specs:
        teacher = open_teacher(spec, context)
        if teacher.name in found:
            raise ConfigError(f"Two teachers are called `{teacher.name}`.", fix="Name them in `teachers.toml`.")
        found[teacher.name], endpoints[teacher.name] = teacher, spec
    for name in check_reachable(list(found.values())):
        found[name] = open_teacher(endpoints[name], context)  # that one was closed
    return found, replace(context, endpoints={**context.endpoints, **endpoints})


# Preview and run


def _preview(recipe: Recipe, teachers: Mapping[str, Teacher], asked: Asked, context: Context) -> None:
    from tilth.synthesis.preview_run import preview

    shown = preview(
        _dataset(asked.dataset), recipe, teachers, asked.config, context, asked.preview or 0, options=asked.options
    )
    synthesis_shown.show_preview(shown, as_json=asked.json)


def _dataset(folder: Path | None) -> Path | None:
    """Raises ConfigError for a path that is no dataset, with the command that makes one of it."""
    from tilth.storage import MANIFEST, Dataset

    if folder is None:
        return None
    if folder.exists() and not (folder / MANIFEST).exists():
        inside = [child.parent for child in sorted(folder.glob(f"*/{MANIFEST}"))] if folder.is_dir() else []
        raise ConfigError(
            f"{folder} is no dataset: it holds no {MANIFEST}.",
            fix=f"Give {' or '.join(map(str, inside))}."
            if inside
            else f"Make one of it: `{shlex.join(['tilth', 'curate', str(folder), '--out', 'curated'])}`, then give "
            "`curated/train`.",
        )
    Dataset.open(folder)
    return folder


def _seeds(asked: Asked, context: Context) -> Path | None:
    """Returns the folder of the documents to work on: the dataset, or what a search or grouping by topic made of it,
    in the folder of runs."""
    if not asked.topics and asked.group_topics is None:
        return asked.dataset
    from tilth import steps
    from tilth.recipes import singles
    from tilth.synthesis.topic_config import TopicConfig

    folder = _dataset(asked.dataset)
    if folder is None:
        raise ConfigError("There is no dataset to search or group by topic.", fix=f"{_USAGE}.")
    if asked.topics and asked.group_topics is not None:
        raise ConfigError("`--topics` and `--group-topics` are two ways to find topics.", fix="Give one of them.")
    if asked.topics:
        step = singles.seeds(folder, asked.topics, asked.per_topic)
    else:
        step = singles.topics(folder, TopicConfig(topics=asked.group_topics, seed=asked.config.seed))
    found = steps.run(step, context)[-1]
    if not asked.json:
        terminal.say(f"{step.name}: {found.folder}{' is there already' if found.cached else ''}.")
    return found.folder


def _run(
    words: Sequence[str], recipe: Recipe, teachers: dict[str, Teacher], asked: Asked, context: Context
) -> None:  # fmt: skip
    from tilth.cli.stages import check_datasets
    from tilth.recipes import singles
    from tilth.storage import Dataset
    from tilth.synthesis.judges import critic_of
    from tilth.synthesis.source_documents import SourceDocuments

    if asked.out is None:
        raise ConfigError("`--out` is not given.", fix=f"{_USAGE}, or `--preview` first.")
    folder = _dataset(asked.dataset)
    # What is wrong with documents, critic or earlier datasets is told before `out` is claimed.
    SourceDocuments.choose(None if folder is None else Dataset.open(folder), asked.config.documents, recipe)
    check_datasets(asked.config.gates.against)
    if teachers:
        critic_of(asked.config, list(teachers))
    identities = {name: teacher.identity for name, teacher in teachers.items()}
    teachers.clear()  # a model in this process is opened again by the step, and is not to be here twice
    step = singles.synthesize(words[0], folder, identities, asked.config, asked.options)
    budget = settle_budget(asked.out, step, context)
    if budget is not None:
        step = singles.synthesize(words[0], folder, identities, replace(asked.config, budget=budget), asked.options)
    done = run_single(step, asked.out, context)
    from tilth.report.synthesis import render_synthesis

    page = render_synthesis(done)
    synthesis_shown.show_result(done, page, words, as_json=asked.json)


def settle_budget(out: Path, step: Step, context: Context) -> Budget | None:
    """Returns the budget of a complete run that is in `out` already, where this one differs by its budget alone.

    What a run left that its budget stopped is removed: the answers are in the request cache, so nothing is lost, and
    nothing is paid again.
    """
    from tilth import steps
    from tilth.perform import full_config
    from tilth.results import read_result
    from tilth.step_record import read_record
    from tilth.synthesis.result import SYNTHESIS, SynthesisResult

    record = read_record(out) if (out / SYNTHESIS).is_file() else None
    if record is None or record.name != step.name:
        return None
    before: dict[str, Any] = dict(record.config)
    now = full_config(step.config)
    budget: dict[str, Any] = before["config"]["budget"]
    for config in (before, now):
        config["config"] = dict(cast("Mapping[str, Any]", config["config"])) | {"budget": None}
    inputs: Mapping[str, str] = steps.Identities(context.runs).of(step)["inputs"]
    if before != now or record.version != step.version or record.inputs != dict(inputs):
        return None
    if read_result(SynthesisResult, out / SYNTHESIS).complete:
        return Budget(**budget)
    shutil.rmtree(out)
    terminal.say(f"{out} was stopped by its budget: it is made anew from the answers that were paid for.")
    return None
