"""What a run would do and cost, from a few documents, before money is spent on the rest.

The documents are those of the run with the lowest hashes of their ids, and are asked about as in the run: their answers
are in the request cache afterwards, and the run finds them there.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tilth.curation.operators import Drop
from tilth.errors import ConfigError
from tilth.event_loop import run_to_end
from tilth.execute import Context
from tilth.storage import Dataset
from tilth.synthesis.config import SynthesisConfig
from tilth.synthesis.define import Recipe, load_recipe
from tilth.synthesis.door import Teachers, check_budget, gateway_door, opened
from tilth.synthesis.gates import make_verifier
from tilth.synthesis.gates.gate import CriticGate, Gate
from tilth.synthesis.generate import Made, OpenAsker, Plan, make
from tilth.synthesis.judge import Judged, criticise, judge_without_teacher
from tilth.synthesis.judges import critic_of, gates_of, router_of
from tilth.synthesis.prompt_files import is_built_in, rendered
from tilth.synthesis.render import Candidate
from tilth.synthesis.run import PlanOf, makes_its_teacher, merged_spending
from tilth.synthesis.source_documents import SeedDocument, SourceDocuments
from tilth.teacher.faults import BudgetSpent, DeadLetter, RequestRefused
from tilth.teacher.request import Asker, Reply, Request, Teacher

ONLY_PROMPTS = 3
"""Documents whose prompts are shown where nothing is asked."""
_BYTES_OF_TOKEN = 4.0


@dataclass(frozen=True, kw_only=True)
class PreviewRequest:
    """A request that a document led to."""

    prompt: str
    answer: str | None = None
    """None: nothing was asked, or no answer came."""
    finish_reason: str = ""
    teacher: str = ""
    cached: bool = False
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class PreviewSample:
    """A sample and what the gates said."""

    part: str
    text: str
    verdicts: tuple[str, ...]
    """A line for each gate."""
    kept: bool


@dataclass(frozen=True, kw_only=True)
class PreviewDocument:
    """What one document led to."""

    id: str
    source: str
    requests: tuple[PreviewRequest, ...]
    samples: tuple[PreviewSample, ...] = ()
    rejected: tuple[str, ...] = ()
    """Reason and detail of what was dropped before the gates, and of requests that failed."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What all documents would come to, at the averages of the previewed ones."""

    documents: int
    requests: float
    prompt_tokens: float
    completion_tokens: float
    """Without answers: the most that may be asked for."""
    samples: float | None = None
    """Kept ones; the more documents, the more near duplicates there will be."""
    money: float = 0.0
    flops: float = 0.0
    seconds: float | None = None
    """At the measured time of an answer and `in_flight` at a time; None where no answer was waited for."""
    in_flight: int = 0


@dataclass(frozen=True, kw_only=True)
class Preview:
    """A few documents, and what all would come to."""

    recipe: str
    documents: tuple[PreviewDocument, ...]
    estimate: Estimate
    asked: bool
    """False: only prompts are shown, and nothing was spent."""
    spent: float = 0.0
    """Money that the preview itself cost."""


def preview(
    dataset: Dataset | Path | str | None,
    recipe: Recipe | str,
    teachers: Teachers,
    config: SynthesisConfig,
    context: Context,
    n: int = 3,
    *,
    options: object | None = None,
    gates: Sequence[Gate] | None = None,
    open_asker: OpenAsker | None = None,
) -> Preview:
    """Runs a recipe on `n` documents of a run and says what the whole of it would cost; `n` 0: shows prompts only.

    Raises: as `synthesize`.
    """
    recipe = load_recipe(recipe) if isinstance(recipe, str) else recipe
    dataset = Dataset.open(dataset) if isinstance(dataset, Path | str) else dataset
    sources = SourceDocuments.choose(dataset, config.documents, recipe)
    if makes_its_teacher(recipe, teachers):
        raise ConfigError(
            f"The recipe `{recipe.name}` makes its teacher from the documents: there is nothing to pay for.",
            fix="Leave `--preview` out.",
        )
    names = opened(teachers)
    check_budget(config.budget, list(names.values()))
    chosen = recipe.options() if options is None else options
    plan = PlanOf.of(recipe, chosen, config, sources, next(iter(names)))()
    seeds = preview_documents(sources, min(n or ONLY_PROMPTS, len(sources)), recipe)
    if not n:
        return _only_prompts(plan, sources, seeds)
    door = open_asker or gateway_door(teachers, config, context)
    found: list[Preview] = []
    checks = _Checks(
        gates=list(gates) if gates is not None else gates_of(plan, None),
        critic=critic_of(config, list(names)),
        plan=plan,
        teachers=names,
    )

    async def run() -> None:
        async with door(config.budget) as asker:
            found.append(await _asked(plan, sources, seeds, asker, checks, context))

    run_to_end(run())
    return found[0]


def preview_documents(sources: SourceDocuments, n: int, recipe: Recipe) -> list[SeedDocument]:
    """Returns the documents with the lowest hashes, at their places in the run."""
    few = SourceDocuments.choose(sources.dataset, n, recipe)
    found: list[SeedDocument] = []
    for shard, count in enumerate(few.counts):
        if count:
            rows = {seed.row for seed in few.of_shard(shard)}
            found += [seed for seed in sources.of_shard(shard) if seed.row in rows]
    return found


@dataclass
class _Recorder:
    """An `Asker` that keeps what one document asked."""

    asker: Asker | None
    """None: nothing is asked, and every request fails."""
    requests: list[PreviewRequest] = field(default_factory=list[PreviewRequest])

    async def ask(
        self, request: Request, *, recipe: str, teacher: str | None = None, n: int = 1, first_sample: int = 0
    ) -> list[Reply]:
        """Asks, and keeps the request with its answers and the time that they took."""
        if self.asker is None:
            self.requests += [PreviewRequest(prompt=rendered(request), completion_tokens=request.params.max_tokens)] * n
            raise DeadLetter(RequestRefused("only prompts are shown"), tries=0, key="", teacher="")
        began = time.monotonic()
        more: dict[str, Any] = {"first_sample": first_sample} if first_sample else {}
        try:
            replies = await self.asker.ask(request, recipe=recipe, teacher=teacher, n=n, **more)
        except DeadLetter:
            self.requests.append(PreviewRequest(prompt=rendered(request), teacher=teacher or ""))
            raise
        seconds = time.monotonic() - began
        for reply in replies:
            usage = reply.answer.usage
            self.requests.append(
                PreviewRequest(
                    prompt=rendered(request),
                    answer=reply.text,
                    finish_reason=reply.answer.finish_reason,
                    teacher=reply.teacher,
                    cached=reply.cached,
                    prompt_tokens=usage.prompt_tokens,
                    completion_tokens=usage.completion_tokens,
                    seconds=seconds,
                )
            )
        return replies


def _only_prompts(plan: Plan, sources: SourceDocuments, seeds: Sequence[SeedDocument]) -> Preview:
    recorders = [_Recorder(None) for _ in seeds]

    async def run() -> None:
        for seed, recorder in zip(seeds, recorders, strict=True):
            await make(plan, seed, recorder)

    run_to_end(run())
    documents = tuple(
        PreviewDocument(id=seed.document.id, source=seed.document.source, requests=tuple(recorder.requests))
        for seed, recorder in zip(seeds, recorders, strict=True)
    )
    asked = [request for recorder in recorders for request in recorder.requests]
    scale = len(sources) / max(len(seeds), 1)
    estimate = Estimate(
        documents=len(sources),
        requests=len(asked) * scale,
        prompt_tokens=sum(len(one.prompt.encode()) / _BYTES_OF_TOKEN for one in asked) * scale,
        completion_tokens=sum(one.completion_tokens for one in asked) * scale,
    )
    return Preview(recipe=plan.recipe.name, documents=documents, estimate=estimate, asked=False)


@dataclass(frozen=True, kw_only=True)
class _Checks:
    gates: Sequence[Gate]
    critic: CriticGate | None
    plan: Plan
    teachers: Mapping[str, Teacher]


async def _made(seed: SeedDocument, recorder: _Recorder, checks: _Checks) -> Made:
    """Runs the recipe as the run would; a router is asked as at the run's beginning, when all teachers answer."""
    plan = checks.plan
    router = router_of(plan.config, checks.teachers, recorder, checks.gates, None)
    if router is None:
        return await make(plan, seed, recorder)
    async with router.document(seed.document, 0) as routed:
        return await make(replace(plan, teacher=None), seed, routed)


async def _asked(
    plan: Plan,
    sources: SourceDocuments,
    seeds: Sequence[SeedDocument],
    asker: Asker,
    checks: _Checks,
    context: Context,
) -> Preview:
    recorders = [_Recorder(asker) for _ in seeds]
    made = await asyncio.gather(
        *(_made(seed, recorder, checks) for seed, recorder in zip(seeds, recorders, strict=True))
    )
    documents: list[PreviewDocument] = []
    for one, recorder in zip(made, recorders, strict=True):
        judged = judge_without_teacher(one, checks.gates)
        if checks.critic is not None and one.complete:
            judged = await criticise(judged, checks.critic, recorder)
        if not judged.complete:
            raise BudgetSpent("The budget is spent before the preview is done.", fix="Allow more, or preview less.")
        documents.append(_document(one, judged, recorder, checks))
    requests = [request for recorder in recorders for request in recorder.requests]
    kept = sum(sample.kept for document in documents for sample in document.samples)
    estimate = _estimate(len(sources), len(seeds), requests, kept, checks.teachers, context.max_in_flight)
    spending: Any = getattr(asker, "spending", None)
    spent = 0.0 if spending is None else sum(one.paid_money for one in merged_spending([vars(s) for s in spending()]))
    return Preview(recipe=plan.recipe.name, documents=tuple(documents), estimate=estimate, asked=True, spent=spent)


def _estimate(
    total: int, n: int, requests: Sequence[PreviewRequest], kept: int, teachers: Mapping[str, Teacher], in_flight: int
) -> Estimate:
    scale = total / max(n, 1)
    waited = [one.seconds for one in requests if not one.cached and one.answer is not None]
    money = flops = 0.0
    for one in requests:
        teacher = teachers.get(one.teacher)
        if teacher is not None and one.answer is not None:
            price, tokens = teacher.price, one.prompt_tokens + one.completion_tokens
            money += (price.prompt * one.prompt_tokens + price.completion * one.completion_tokens) / 1e6 if price else 0
            flops += 2.0 * (teacher.n_params or 0) * tokens
    seconds = None
    if waited:
        seconds = len(requests) * scale * (sum(waited) / len(waited)) / max(min(in_flight, len(requests) * scale), 1)
    return Estimate(
        documents=total,
        requests=len(requests) * scale,
        prompt_tokens=sum(one.prompt_tokens for one in requests) * scale,
        completion_tokens=sum(one.completion_tokens for one in requests) * scale,
        samples=kept * scale,
        money=money * scale,
        flops=flops * scale,
        seconds=seconds,
        in_flight=in_flight,
    )


def _document(made: Made, judged: Judged, recorder: _Recorder, checks: _Checks) -> PreviewDocument:
    samples = [_sample(one.candidate, f"{one.gate}: {_drop(one.drop)}") for one in judged.dropped]
    verifier = make_verifier(checks.plan.config.gates, allow_files=not is_built_in(checks.plan.recipe))
    for candidate in judged.kept:
        verdict = None
        if verifier is not None and candidate.sample.verifier:
            verdict = verifier.judge(candidate.sample, made.seed.document)
        if isinstance(verdict, Drop):
            samples.append(_sample(candidate, f"verifier: {_drop(verdict)}"))
        else:
            samples.append(
                _sample(candidate, "" if verdict is None else f"verifier: {verdict.detail or 'passed'}", kept=True)
            )
    samples += [_sample(candidate, f"critic: no answer: {part.error}") for candidate, part in judged.lost]
    rejected = [f"{part.reason}{f': {part.detail}' if part.detail else ''}" for part in made.rejected]
    rejected += [f"no answer: {part.error}" for part in made.lost]
    return PreviewDocument(
        id=made.seed.document.id,
        source=made.seed.document.source,
        requests=tuple(recorder.requests),
        samples=tuple(samples),
        rejected=tuple(rejected),
    )


def _drop(drop: Drop) -> str:
    return f"dropped, {drop.reason}{f' ({drop.detail})' if drop.detail else ''}"


def _sample(candidate: Candidate, last: str, *, kept: bool = False) -> PreviewSample:
    verdicts: Any = candidate.sample.lineage[-1].get("gates", [])
    lines = [f"{one['gate']}: {_pass(one)}" for one in verdicts]
    return PreviewSample(
        part=candidate.part, text=candidate.sample.text, verdicts=(*lines, *([last] if last else [])), kept=kept
    )


def _pass(verdict: Mapping[str, Any]) -> str:
    if verdict.get("detail"):
        return str(verdict["detail"])
    limit = f" (limit {verdict['limit']:g})" if verdict.get("limit") is not None else ""
    return f"{verdict['measure']:.3g}{limit}" if verdict.get("measure") is not None else "passed"
