"""A recipe over a dataset: `synthesize`.

Two phases. First one event loop generates and judges: as many documents at once as keep the gateway full, across the
borders of shards, committed in the order of the documents to `work/judged`. Then each shard goes through its verifiers
and is written, by `execute.map_shards` on all workers. On Ray (`context.executor`) generation goes by shard through
`map_shards` as well, each shard with a loop and a share of the budget of its own; gates follow here, in order.

Every answer is in the request cache before it is used. So a killed run starts anew and asks only what was in flight, a
change of gates, parsers or post rules asks nothing, and the samples are the same bytes whatever order the answers came
in. Price: a re-run renders all prompts and judges all samples again.
"""

from __future__ import annotations

import importlib
import shutil
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import asdict, dataclass, replace
from functools import partial, reduce
from pathlib import Path
from typing import Any, cast

from tilth.errors import ConfigError
from tilth.event_loop import run_to_end
from tilth.execute import Context, map_shards
from tilth.files import clear_temporaries, read_json, write_json
from tilth.identity import canonical, claim
from tilth.paths import is_url
from tilth.progress import SILENT, Bar
from tilth.results import decode, read_result, write_result
from tilth.storage import Dataset, finish_dataset, shard_name
from tilth.synthesis.config import Budget, SynthesisConfig
from tilth.synthesis.define import Recipe, load_recipe
from tilth.synthesis.design import make_design
from tilth.synthesis.door import Teachers, check_budget, gateway_door, opened
from tilth.synthesis.gates import UniquenessMeter
from tilth.synthesis.gates.gate import CriticGate, Gate
from tilth.synthesis.generate import (
    WINDOW,
    MadeShard,
    OpenAsker,
    Plan,
    Stop,
    generate,
    left_of,
    made_before,
    make_shard,
    spending_rows,
)
from tilth.synthesis.judge import CRITIC, Counts, Judged, judge
from tilth.synthesis.judges import critic_of, gates_of, meter_for, router_of
from tilth.synthesis.prompt_files import is_built_in, load_prompts
from tilth.synthesis.result import SYNTHESIS, DiversityPoint, Example, Spending, SynthesisResult
from tilth.synthesis.router import LOG
from tilth.synthesis.routing_result import ROUTER
from tilth.synthesis.source_documents import SourceDocuments
from tilth.synthesis.tally import Tally
from tilth.synthesis.write import (
    DEAD,
    REJECTED,
    SAMPLES,
    VERIFIER,
    Columns,
    JudgedFiles,
    finish_shard,
    read_records,
)
from tilth.teacher.budget import NOTHING, Cost
from tilth.teacher.gateway import Gateway
from tilth.teacher.request import Asker, Teacher

STATUS = "status.json"
"""File name, in `Context.live`: where the gateway stands."""
MOST_EXAMPLES = 40
_JUDGED = "judged.json"
_LIVE_SECONDS = 1.0


def synthesize(
    dataset: Dataset | Path | str | None,
    out: Path | str,
    recipe: Recipe | str,
    teachers: Teachers,
    config: SynthesisConfig | None = None,
    context: Context | None = None,
    *,
    options: object | None = None,
    gates: Sequence[Gate] | None = None,
    critic: CriticGate | None = None,
    open_asker: OpenAsker | None = None,
) -> SynthesisResult:
    """Runs a recipe over a dataset into `out`: `samples/` (a dataset), `rejects/`, `dead_letters/`, `synthesis.json`.

    `recipe` is a recipe, the name of a built-in one, or `file.py:name`; `options` None: its defaults. `teachers` are
    one or several, or a function that opens them (which goes to other machines; the first answers unless a router
    chooses). `dataset` None: for recipes that need none. `gates` and `critic` None: those of `config.gates`.
    A killed run continues when it is called again; one that its budget stopped goes on with a new budget. In a script,
    more than one worker (`context`) needs the call under `if __name__ == "__main__":`.
    Raises: ConfigError for a recipe, option or teacher that does not work; DataError where more than
    `max_dead_letters` of the documents lost a request; AccessRefused; whatever a recipe raises that no answer causes.
    """
    out, config, context = Path(out), config or SynthesisConfig(), context or Context()
    recipe = load_recipe(recipe) if isinstance(recipe, str) else recipe
    dataset = Dataset.open(dataset) if isinstance(dataset, Path | str) else dataset
    sources = SourceDocuments.choose(dataset, config.documents, recipe)
    options = recipe.options() if options is None else options
    work = out / "work"
    given = {} if makes_its_teacher(recipe, teachers) else opened(teachers)
    if given:
        check_budget(config.budget, list(given.values()))
    teacher = next(iter(given), None) if config.router == "fixed" else None  # else the router names one
    plan_of = PlanOf.of(recipe, options, config, sources, teacher)
    plan = plan_of()
    claim(out, _identity(plan, given), kind="synthesis", outputs=(SAMPLES, REJECTED, DEAD, "work", SYNTHESIS))
    _clear_if_incomplete(out)
    if not (out / SYNTHESIS).exists():
        clear_temporaries(out)
        if not given:
            teachers = _prepared(recipe, dataset, options, work, context)
            given = opened(teachers)
        # On Ray each machine opens the teachers for itself; here those that are open serve.
        door = open_asker or gateway_door(teachers if context.executor == "ray" else given, config, context)
        run = _Run(plan, plan_of, sources, out, context, given, gates, critic, door)
        if not (work / _JUDGED).exists():
            run.generate_and_judge()
        run.finish()
    _keep_facts(work / "teacher", out)
    shutil.rmtree(work, ignore_errors=True)
    return read_result(SynthesisResult, out / SYNTHESIS)


@dataclass(frozen=True)
class PlanOf:
    """What a plan is made of; it pickles, where the recipe is a module's own."""

    recipe: Recipe
    options: object
    config: SynthesisConfig
    sources: SourceDocuments
    teacher: str | None

    @classmethod
    def of(
        cls, recipe: Recipe, options: object, config: SynthesisConfig, sources: SourceDocuments, teacher: str | None
    ) -> PlanOf:
        """Checks that options and samples are such as the recipe takes. Raises: ConfigError."""
        if recipe.shape == "annotation" and config.samples > 1:
            raise ConfigError(
                f"The recipe `{recipe.name}` gives back each document under its id: with {config.samples} samples, it "
                "would be there as often.",
                fix="Leave `--samples` out.",
            )
        if not isinstance(options, recipe.options):
            raise ConfigError(
                f"The options of the recipe `{recipe.name}` are a {type(options).__name__}.",
                fix=f"Give a `{recipe.options.__name__}`.",
            )
        return cls(recipe, options, config, sources, teacher)

    def __reduce__(self) -> tuple[Any, ...]:
        fn = self.recipe.fn
        where = fn.__module__, getattr(fn, "__name__", "")
        return _plan_of, (*where, self.options, self.config, self.sources, self.teacher)

    def __call__(self) -> Plan:
        return Plan(
            recipe=self.recipe,
            prompts=load_prompts(self.recipe),
            options=self.options,
            config=self.config,
            dataset=self.sources.fingerprint,
            cells=make_design(self.recipe.axes, self.config.design, self.config.seed, len(self.sources)),
            teacher=self.teacher,
        )


def _plan_of(module: str, name: str, *rest: Any) -> PlanOf:
    return PlanOf(getattr(importlib.import_module(module), name), *rest)


def makes_its_teacher(recipe: Recipe, teachers: Teachers) -> bool:
    """Whether no teacher is given, and the recipe makes one."""
    return recipe.prepare is not None and not callable(teachers) and not isinstance(teachers, Teacher) and not teachers


def _prepared(recipe: Recipe, dataset: Dataset | None, options: object, work: Path, context: Context) -> Teachers:
    if dataset is None or recipe.prepare is None:
        raise ConfigError(f"The recipe `{recipe.name}` makes its teacher from documents.", fix="Give a dataset.")
    folder = work / "teacher"
    folder.mkdir(parents=True, exist_ok=True)
    return recipe.prepare(dataset, folder, options, context)


def _identity(plan: Plan, teachers: Mapping[str, Teacher]) -> dict[str, object]:
    """Returns what decides the samples; the budget only decides how many of them there will be.

    What gates compare with counts by its content, wherever it is.
    """
    gates = plan.config.gates
    compared = dict[str, object]()
    if gates.decontaminate or gates.against:
        from tilth.curation.pipeline import compared_content

        compared = compared_content(gates.decontaminate, gates.against)
    return {
        "recipe": [plan.recipe.name, plan.recipe.version],
        "prompts": {name: file.sha256 for name, file in plan.prompts.items()},
        "options": canonical(plan.options),
        "config": canonical(replace(plan.config, budget=Budget(), gates=replace(gates, decontaminate=(), against=()))),
        "compared": compared,
        # In their order: the first one answers.
        "teachers": [{"name": name, "identity": dict(teacher.identity)} for name, teacher in teachers.items()],
        "dataset": plan.dataset,
    }


def _keep_facts(prepared: Path, out: Path) -> None:
    """Keeps what the preparation of a recipe's own teacher wrote down about it; the rest goes with the work."""
    for path in sorted(prepared.glob("[!.]*.json")):
        shutil.copyfile(path, out / path.name)


def _clear_if_incomplete(out: Path) -> None:
    """Removes what a run left that its budget stopped: its answers are in the cache, and this run goes on from them."""
    if (out / SYNTHESIS).exists() and not read_result(SynthesisResult, out / SYNTHESIS).complete:
        for name in (SAMPLES, REJECTED, DEAD, "work"):
            shutil.rmtree(out / name, ignore_errors=True)
        for name in (SYNTHESIS, ROUTER, LOG):
            (out / name).unlink(missing_ok=True)


class _Run:
    """One call of `synthesize`."""

    def __init__(
        self,
        plan: Plan,
        plan_of: PlanOf,
        sources: SourceDocuments,
        out: Path,
        context: Context,
        teachers: Mapping[str, Teacher],
        gates: Sequence[Gate] | None,
        critic: CriticGate | None,
        door: OpenAsker,
    ) -> None:
        self.plan, self.plan_of, self.sources, self.teachers = plan, plan_of, sources, teachers
        self.out, self.work, self.context, self.config = out, out / "work", context, plan.config
        self.door = door
        self.gates, self.critic = list(gates or ()), critic
        self._default_gates = gates is None
        self.meter: UniquenessMeter | None = None
        self.tally, self.stop = Tally(), Stop()
        self.began, self._live_due = time.monotonic(), 0.0

    # Generation and gates

    def generate_and_judge(self) -> None:
        """Leaves all documents judged in `work/judged`, and what was counted in `work/judged.json`."""
        for name in ("judged", "final", "meter"):
            shutil.rmtree(self.work / name, ignore_errors=True)
        (self.work / "gates").mkdir(parents=True, exist_ok=True)
        if self._default_gates:
            self.gates = gates_of(self.plan, self.work / "gates")
        self.critic = self.critic or critic_of(self.config, list(self.teachers))
        self.names = [gate.name for gate in self.gates] + ([CRITIC] if self.critic else [])
        self.meter = meter_for(len(self.sources), self.work / "meter")
        by_shard = self.context.executor == "ray" and self.config.router == "fixed"
        run_to_end(self._judge_all(self._generate_by_shard() if by_shard else None))

    def _generate_by_shard(self) -> list[MadeShard]:
        """Has shards generated elsewhere."""
        fn = partial(
            make_shard,
            work=self.work,
            sources=self.sources,
            plan=self.plan_of,
            open_asker=self.door,
            context=replace(self.context, live=None, progress=SILENT),
        )
        made = list(map_shards(fn, range(self.sources.n_shards), self.context, name="generate"))
        if not all(shard.complete for shard in made):
            self.stop.reason = "the budget is spent"
        return made

    async def _judge_all(self, generated: list[MadeShard] | None) -> None:
        spent = [row for shard in generated or () for row in shard.spending]
        paid = reduce(Cost.plus, (shard.paid for shard in generated or ()), NOTHING)
        budget = left_of(self.config.budget, paid)  # for the critic, where the rest was done elsewhere
        window = WINDOW * self.context.max_in_flight
        files = JudgedFiles(self.work)
        with self.context.progress.bar("synthesize", len(self.sources), "documents") as bar:
            async with self.door(budget) as asker:
                router = router_of(self.config, self.teachers, asker, self.gates, self.out)
                try:
                    if generated is None:
                        made = generate(self.plan, self.sources, asker, self.stop, window=window, router=router)
                    else:
                        made = made_before(self.work, self.sources)
                    found = judge(made, self.gates, self.critic, asker, self.stop, window=window)
                    async with aclosing(found):
                        async for judged in found:
                            self._commit(judged, files, bar, asker)
                finally:
                    files.close()
                if router is not None:
                    router.close()
                spending = merged_spending([*spent, *spending_rows(asker)])
        self._write_judged(spending)

    def _commit(self, judged: Judged, files: JudgedFiles, bar: Bar, asker: Asker) -> None:
        if judged.complete:
            self.tally.add(judged, self.names)
            files.append(judged)
            for candidate in judged.kept:
                if self.meter is not None and not candidate.keeps_id:
                    self.meter.add(candidate.sample.id, candidate.sample.text)
            self.tally.check_lost(len(self.sources), self.config.max_dead_letters)
            bar.advance(1, **self._facts(asker))
            self._show_live(asker)

    def _diversity(self, *, end: bool = False) -> tuple[DiversityPoint, ...]:
        """Returns the points so far; at the end, of the last samples too."""
        if self.meter is None or not self.meter.samples:
            return ()
        points = tuple(self.meter.points)
        covered = points[-1].samples if points else 0
        return (*points, self.meter.point()) if end and covered < self.meter.samples else points

    def _facts(self, asker: Asker) -> dict[str, str | float]:
        facts: dict[str, str | float] = {"kept": f"{self.tally.kept:,}"}
        if points := self._diversity():
            facts["new"] = f"{points[-1].unique_share:.0%}"
        if isinstance(asker, Gateway):
            status = asker.status()
            # As many requests a document as there were so far; more documents are answered than committed.
            answered = max(self.tally.done, self.stop.generated)
            asker.expected = round(status.done / answered * len(self.sources)) if answered else None
            facts[""] = asker.status_line()
        return facts

    def _show_live(self, asker: Asker) -> None:
        """Writes what there is so far for whoever looks; a disk that cannot take it ends nothing."""
        if self.context.live is None or time.monotonic() < self._live_due:
            return
        self._live_due = time.monotonic() + _LIVE_SECONDS
        spending = merged_spending(spending_rows(asker))
        result = replace(self._result(spending, [], complete=False), diversity=self._diversity())
        with suppress(OSError):
            write_result(self.context.live / SYNTHESIS, result)
            if isinstance(asker, Gateway):
                write_result(self.context.live / STATUS, asker.status())

    def _write_judged(self, spending: Sequence[Spending]) -> None:
        tally = self.tally
        state = {
            "gates": [asdict(gate) for gate in tally.counts.table()],
            "done": tally.done,
            "documents_lost": tally.documents_lost,
            "samples_lost": tally.samples_lost,
            "scores": sorted(tally.scores),
            "messages": tally.messages,
            "spending": [asdict(one) for one in spending],
            "diversity": [asdict(point) for point in self._diversity(end=True)],
            "stopped_by": self.stop.reason,
            "seconds": time.monotonic() - self.began,
        }
        write_json(self.work / _JUDGED, state)

    # Verifiers and files

    def finish(self) -> None:
        """Writes samples, rejects and dead letters of all shards, and the result."""
        state = read_json(self.work / _JUDGED)
        self._take_up(state)
        shards = range(self.sources.n_shards)
        fn = partial(
            finish_shard,
            work=self.work,
            out=self.out,
            columns=self._columns(state),
            gates=self.config.gates,
            own=not is_built_in(self.plan.recipe),
        )
        todo = [shard for shard in shards if not (self.work / "final" / f"{shard:05d}.json").exists()]
        for _ in map_shards(fn, todo, self.context, name="verify and write", done=len(shards) - len(todo)):
            pass
        records = read_records(self.work, len(shards))
        names = [shard_name(shard) for shard, record in zip(shards, records, strict=True) if record["samples"]]
        parents = [self.sources.fingerprint] if self.sources.fingerprint else []
        for folder in (SAMPLES, REJECTED, DEAD):
            (self.out / folder).mkdir(exist_ok=True)
        finish_dataset(self.out / SAMPLES, shards=names, made_by="synthesis", parents=parents)
        write_result(self.out / SYNTHESIS, self._final_result(state, records))

    def _columns(self, state: Mapping[str, Any]) -> Columns:
        folder = self.sources.folder
        extra = str(folder) if self.plan.recipe.shape == "annotation" and folder is not None else None
        scores = tuple(state["scores"])
        return Columns(shape=self.plan.recipe.shape, scores=scores, messages=state["messages"], extra_from=extra)

    def _take_up(self, state: Mapping[str, Any]) -> None:
        """Sets what an earlier attempt counted, or this one."""
        tally, self.stop.reason = Tally(), state["stopped_by"]
        for gate in state["gates"]:
            tally.counts.entered[gate["gate"]], tally.counts.left[gate["gate"]] = (
                gate["samples_in"],
                gate["samples_out"],
            )
            tally.counts.reasons[gate["gate"]] = Counter(gate["reasons"])
        tally.done, tally.documents_lost = state["done"], state["documents_lost"]
        tally.samples_lost = state["samples_lost"]
        self.tally = tally

    def _final_result(self, state: Mapping[str, Any], records: Sequence[Mapping[str, Any]]) -> SynthesisResult:
        tally = self.tally
        by_teacher: Counter[str] = Counter()
        tokens: Counter[str] = Counter()
        for record in records:
            verified = Counts()
            verified.entered[VERIFIER], verified.left[VERIFIER] = record["verifier"][:2]
            verified.reasons = {VERIFIER: Counter(record["verifier"][2])}
            tally.counts.add(verified)
            tally.kept += record["samples"]
            tally.bytes += record["bytes"]
            tally.parts.update(record["parts"])
            by_teacher.update({name: samples for name, (samples, _) in record["by_teacher"].items()})
            tokens.update({name: found for name, (_, found) in record["by_teacher"].items()})
        spending = [
            replace(one, samples_kept=by_teacher[one.teacher], tokens_kept=tokens[one.teacher])
            if one.recipe == self.plan.recipe.name
            else one
            for one in decode(tuple[Spending, ...], state["spending"], _JUDGED)
        ]
        diversity = decode(tuple[DiversityPoint, ...], state["diversity"], _JUDGED)
        result = self._result(spending, records, complete=not self.stop)
        return replace(result, diversity=diversity, seconds=state["seconds"])

    def _result(
        self, spending: Sequence[Spending], records: Sequence[Mapping[str, Any]], *, complete: bool
    ) -> SynthesisResult:
        tally, recipe = self.tally, self.plan.recipe
        return SynthesisResult(
            recipe=recipe.name,
            recipe_version=recipe.version,
            shape=recipe.shape,
            prompts={file.name: file.version for file in self.plan.prompts.values()},
            teachers=tuple(self.teachers),
            documents=len(self.sources),
            documents_done=tally.done,
            complete=complete,
            gates=tally.counts.table(),
            parts=dict(sorted(tally.parts.items())),
            spending=tuple(spending),
            samples_kept=tally.kept,
            bytes_kept=tally.bytes,
            seconds=time.monotonic() - self.began,
            kept_examples=_examples(records, "kept_examples", lambda one: ("", one.part), 3),
            rejected_examples=_examples(records, "rejected_examples", lambda one: (one.gate, one.reason), 2),
            stopped_by=self.stop.reason,
            documents_lost=tally.documents_lost,
            samples_lost=tally.samples_lost,
            dataset=_whole_path(self.sources.folder),
            options=cast("dict[str, object]", canonical(self.plan.options, defaults=True)),
            samples_per_prompt=self.config.samples,
        )


def _whole_path(folder: Path | str | None) -> str:
    """A relative path would lead nowhere from another working directory."""
    if folder is None:
        return ""
    return str(folder) if is_url(str(folder)) else str(Path(folder).absolute())


def _examples(
    records: Sequence[Mapping[str, Any]], name: str, kind: Callable[[Example], tuple[str, str]], most: int
) -> tuple[Example, ...]:
    """Returns the first few examples of each kind, in the order of the documents."""
    shown: Counter[tuple[str, str]] = Counter()
    found: list[Example] = []
    for record in records:
        for example in decode(tuple[Example, ...], record[name], "examples"):
            shown[kind(example)] += 1
            if shown[kind(example)] <= most and len(found) < MOST_EXAMPLES:
                found.append(example)
    return tuple(found)


def merged_spending(rows: Sequence[Mapping[str, Any]]) -> list[Spending]:
    """Adds up what several gateways spent, by recipe and teacher."""
    sums: dict[tuple[str, str], Spending] = {}
    for row in rows:
        one = decode(Spending, dict(row), "spending")
        before = sums.get((one.recipe, one.teacher))
        if before is not None:
            numbers = {
                name: value + getattr(before, name) for name, value in asdict(one).items() if not isinstance(value, str)
            }
            one = replace(one, **numbers)
        sums[one.recipe, one.teacher] = one
    return [sums[key] for key in sorted(sums)]
