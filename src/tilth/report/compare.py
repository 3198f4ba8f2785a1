"""Several runs on one page: curves, key figures, differing fields, what was dropped, samples side by side.

A run is the results of its steps, whatever wrote them: a step whose results this version cannot read is left out and
named. Of a run that is not finished, what there is so far is compared.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

from markupsafe import Markup

from tilth.curation.result import Ledger
from tilth.errors import DataError
from tilth.report import charts, figures
from tilth.report.load import collect
from tilth.report.page import write_page
from tilth.report.run import RunResults, TrainingRun
from tilth.report.views.header import Header
from tilth.report.views.training import averaged
from tilth.run_record import RunRecord
from tilth.training.result import Metrics, TrainingSummary

MOST_SAMPLES = 6
"""Prompts that are shown."""


@dataclass(frozen=True, kw_only=True)
class ComparedRun:
    """One of the runs."""

    name: str
    """Unique among the runs."""
    results: RunResults
    record: RunRecord | None = None
    """None for a step with what it was made from."""
    unreadable: tuple[str, ...] = ()
    """Why results were left out."""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A figure of every run; None where a run has it not."""

    name: str
    values: tuple[float | None, ...]
    texts: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class FieldValues:
    """What a field is in every run, as text: empty where a run has it not, None where it has not the field's step."""

    name: str
    values: tuple[str | None, ...]

    @property
    def differs(self) -> bool:
        """Whether it differs among the runs that have its step."""
        return len({value for value in self.values if value is not None}) > 1


@dataclass(frozen=True, kw_only=True)
class Drops:
    """Documents that each run kept or dropped for a reason, with their share of those read; None: no curation."""

    reason: str
    documents: tuple[int | None, ...]
    shares: tuple[float | None, ...]


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """What the models of the runs wrote after a prompt, by run and label of the training."""

    prompt: str
    texts: tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What several runs have in common and where they differ."""

    runs: tuple[ComparedRun, ...]
    figures: tuple[Figure, ...]
    fields: tuple[FieldValues, ...]
    drops: tuple[Drops, ...]
    prompts: tuple[Prompt, ...]
    same_prompts: bool
    """Whether all prompts that are shown were given to more than one model."""
    same_held_out: bool | None
    """Whether the bits per byte were measured on the same text; None where that is not known."""


def read_compared(name: str, folders: Iterable[Path], record: RunRecord | None = None) -> ComparedRun:
    """Reads the results in the folders of a run's steps; those that cannot be read are left out and named."""
    readable: list[Path] = []
    unreadable: list[str] = []
    for folder in dict.fromkeys(folders):
        try:
            collect([folder])
            readable.append(folder)
        except DataError as error:
            unreadable.append(error.message)
    return ComparedRun(
        name=name, results=collect(readable, name=name), record=record, unreadable=tuple(unreadable)
    )  # fmt: skip


def compare(runs: Sequence[ComparedRun]) -> Comparison:
    """Compares runs; equal names get a number."""
    runs = _with_unique_names(runs)
    prompts, same_prompts = _prompts(runs)
    return Comparison(
        runs=tuple(runs),
        figures=tuple(_figures(runs)),
        fields=tuple(_fields(runs)),
        drops=tuple(_drops([run.results for run in runs])),
        prompts=tuple(prompts),
        same_prompts=same_prompts,
        same_held_out=_same_held_out([run.results for run in runs]),
    )


def _with_unique_names(runs: Sequence[ComparedRun]) -> list[ComparedRun]:
    seen: dict[str, int] = {}
    named: list[ComparedRun] = []
    for run in runs:
        seen[run.name] = seen.get(run.name, 0) + 1
        named.append(run if seen[run.name] == 1 else replace(run, name=f"{run.name} ({seen[run.name]})"))
    return named


# Key figures


def _figures(runs: Sequence[ComparedRun]) -> Iterable[Figure]:
    results = [run.results for run in runs]
    rows: list[tuple[str, Callable[[RunResults], float | None], Callable[[float | None], str]]] = [
        ("documents read", lambda r: _of_ledgers(r, _read), figures.count),
        ("documents kept", lambda r: _of_ledgers(r, lambda o: o.train.documents + o.held_out.documents), figures.count),
        ("training text", lambda r: _of_ledgers(r, lambda ledger: ledger.train.bytes), figures.size),
        ("held-out text", lambda r: _of_ledgers(r, lambda ledger: ledger.held_out.bytes), figures.size),
        ("vocabulary", lambda r: _first(e.result.vocab_size for e in r.tokenizers), figures.count),
        ("bytes per token", lambda r: _first(e.result.bytes_per_token for e in r.tokenizers), figures.bits),
        ("parameters", lambda r: _first(s.n_params for s in _summaries(r)), figures.short),
        ("training tokens", _tokens, figures.short),
        ("training FLOPs", lambda r: _first(s.flops for s in _summaries(r)), figures.flops),
        ("training time", _seconds, figures.duration),
        ("time of all steps", lambda r: sum(s.result.seconds for s in r.steps) or None, figures.duration),
        (
            "bits per byte before training",
            lambda r: _first(s.bits_per_byte_before for s in _summaries(r)),
            figures.bits,
        ),
        ("bits per byte", lambda r: _bits(r), _three),
    ]
    predictors = dict.fromkeys(name for r in results for e in r.baselines for name in e.result.bits_per_byte)
    rows += [
        (f"bits per byte, {name}", lambda r, name=name: _predictor(r, name), _three)
        for name in predictors
        if name not in ("model", "model before")
    ]
    for name, value, form in rows:
        values = tuple(value(result) for result in results)
        if any(one is not None for one in values):
            yield Figure(name=name, values=values, texts=tuple(form(one) for one in values))


def _three(value: float | None) -> str:
    return figures.DASH if value is None else f"{value:.3f}"


def _of_ledgers(results: RunResults, amount: Callable[[Ledger], int]) -> float | None:
    return sum(amount(entry.result) for entry in results.ledgers) if results.ledgers else None


def _read(ledger: Ledger) -> int:
    return ledger.stages[0].documents_in if ledger.stages else 0


def _first(values: Iterable[float | None]) -> float | None:
    return next((value for value in values if value is not None), None)


def _summaries(results: RunResults) -> list[TrainingSummary]:
    return [entry.result.summary for entry in results.trainings if entry.result.summary is not None]


def _metrics(results: RunResults) -> list[Metrics]:
    return [entry.result.metrics for entry in results.trainings if entry.result.metrics is not None]


def _tokens(results: RunResults) -> float | None:
    logged = (m.train[-1].tokens for m in _metrics(results) if m.train)
    return _first([*(summary.tokens for summary in _summaries(results)), *logged])


def _seconds(results: RunResults) -> float | None:
    logged = (m.train[-1].seconds for m in _metrics(results) if m.train)
    return _first([*(summary.seconds for summary in _summaries(results)), *logged])


def _bits(results: RunResults) -> float | None:
    """On the whole measured text, else at the last point of the curve."""
    logged = (m.held_out[-1].held_out_bits_per_byte for m in _metrics(results) if m.held_out)
    after = (summary.bits_per_byte_after for summary in _summaries(results))
    return _first([_predictor(results, "model"), *after, *logged])


def _predictor(results: RunResults, name: str) -> float | None:
    return _first(entry.result.bits_per_byte.get(name) for entry in results.baselines)


def _same_held_out(results: Sequence[RunResults]) -> bool | None:
    """Whether all were measured on the same text: as many bytes and documents, and as many bits for a compressor."""
    texts = [
        (one.held_out_bytes, one.held_out_documents, *(v for k, v in one.bits_per_byte.items() if k.startswith("zstd")))
        for result in results
        for one in [entry.result for entry in result.baselines[:1]]
    ]
    return len(set(texts)) == 1 if len(texts) == len(results) else None


# Fields


def _fields(runs: Sequence[ComparedRun]) -> Iterable[FieldValues]:
    labels = [{step.label for step in run.results.steps} for run in runs]
    general = [_general_fields(run) for run in runs]
    for name in dict.fromkeys(name for one in general for name in one):
        yield FieldValues(name=name, values=tuple(one.get(name, "") for one in general))
    for label in dict.fromkeys(step.label for run in runs for step in run.results.steps):
        yield FieldValues(
            name=f"step {label}", values=tuple("done" if label in known else "not done" for known in labels)
        )
        of_step = [
            _step_fields(run, label) if label in known else None for run, known in zip(runs, labels, strict=True)
        ]
        for name in dict.fromkeys(name for one in of_step if one is not None for name in one):
            values = tuple(None if one is None else one.get(name, "") for one in of_step)
            yield FieldValues(name=f"{label}.{name}", values=values)


def _general_fields(run: ComparedRun) -> dict[str, str]:
    """Returns what a run was asked for, and the versions and machines that made its steps."""
    found: dict[str, str] = {}
    if run.record is not None:
        found |= {"recipe": run.record.recipe, "corpus": ", ".join(run.record.corpora), "status": run.record.status}
        found |= {f"field {name}": value for name, value in run.record.fields.items()}
    versions: dict[str, set[str]] = {}
    for record in (step.result for step in run.results.steps):
        facts = {"tilth": record.tilth_version, "git commit": record.git_commit or "", "device": record.device}
        for name, value in (facts | {"threads": str(record.threads or "")} | record.libraries).items():
            versions.setdefault(name, set()).add(value)
    return found | {name: ", ".join(sorted(filter(None, values))) for name, values in versions.items()}


def _step_fields(run: ComparedRun, label: str) -> dict[str, str]:
    """Returns the config of a step, its version, and what its inputs from outside were."""
    record = next(step.result for step in run.results.steps if step.label == label)
    data = {f"input {name} by {basis}": record.inputs.get(name, "")[:12] for name, basis in record.source_bases.items()}
    return data | _flat(record.config) | {"version of the step": str(record.version)}


def _flat(config: Mapping[str, object], prefix: str = "") -> dict[str, str]:
    values: dict[str, str] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            values |= _flat(cast("Mapping[str, object]", value), f"{prefix}{key}.")
        else:
            values[f"{prefix}{key}"] = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return values


# Curation


def _drops(results: Sequence[RunResults]) -> Iterable[Drops]:
    counts: list[dict[str, int]] = []
    for result in results:
        count: dict[str, int] = {}
        for ledger in (entry.result for entry in result.ledgers):
            _add(count, "kept for training", ledger.train.documents)
            _add(count, "held out", ledger.held_out.documents)
            for reject in ledger.rejects:
                _add(count, f"{reject.stage}: {reject.reason.replace('_', ' ')}", reject.documents)
            if ledger.n_dead_letters:
                _add(count, "could not be read", ledger.n_dead_letters)
        counts.append(count)
    read = [_of_ledgers(result, _read) for result in results]
    for reason in dict.fromkeys(reason for count in counts for reason in count):
        documents = tuple(count.get(reason, 0) if count else None for count in counts)
        shares = tuple(None if n is None or not of else n / of for n, of in zip(documents, read, strict=True))
        yield Drops(reason=reason, documents=documents, shares=shares)


def _add(count: dict[str, int], name: str, amount: int) -> None:
    count[name] = count.get(name, 0) + amount


# Samples


def _prompts(runs: Sequence[ComparedRun]) -> tuple[list[Prompt], bool]:
    """Returns prompts that more than one model continued; where there are none, the first of each model."""
    written: dict[str, list[tuple[str, str]]] = {}
    for run in runs:
        several = len(run.results.samples) > 1
        for entry in run.results.samples:
            for sample in entry.result:
                label = f"{run.name}, {entry.label}" if several else run.name
                written.setdefault(sample.prompt, []).append((label, sample.after.removeprefix(sample.prompt)))
    shared = [Prompt(prompt=prompt, texts=tuple(texts)) for prompt, texts in written.items() if len(texts) > 1]
    if shared:
        return shared[:MOST_SAMPLES], True
    firsts: dict[str, Prompt] = {}
    for prompt, texts in written.items():
        firsts.setdefault(texts[0][0], Prompt(prompt=prompt, texts=tuple(texts)))
    return list(firsts.values())[:MOST_SAMPLES], False


# The page


@dataclass(frozen=True)
class Section:
    """A section of the page, as `page.Section`; None: nothing to show."""

    key: str
    title: str
    view: KeyFigures | Curves | Fields | Curation | Samples | None


@dataclass(frozen=True)
class KeyFigures:
    """The section of key figures."""

    takeaway: str
    table: Markup
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Curves:
    """The section of curves."""

    takeaway: str
    held_out: tuple[Markup, ...]
    loss: tuple[Markup, ...]


@dataclass(frozen=True)
class Fields:
    """The section of fields and data."""

    takeaway: str
    different: Markup | None
    equal: Markup | None
    n_equal: int


@dataclass(frozen=True)
class Curation:
    """The section of kept and dropped documents."""

    takeaway: str
    table: Markup


@dataclass(frozen=True)
class Samples:
    """The section of samples."""

    takeaway: str
    prompts: tuple[Prompt, ...] = field(default=())


def render_comparison(comparison: Comparison, out: Path) -> Path:
    """Writes the page; returns its path: `out` if that ends in `.html`, else `out/compare.html`."""
    names = [run.name for run in comparison.runs]
    unfinished = [run.name for run in comparison.runs if run.record is not None and run.record.status != "finished"]
    lead = f"{figures.plural(len(names), 'run')} side by side."
    header = Header(
        title=f"{' · '.join(names)}" if len(names) <= 3 else figures.plural(len(names), "run"),
        takeaway=f"{lead} Not finished: {figures.join(unfinished)}." if unfinished else lead,
        finished="",
        key_figures=(),
        chat_command=None,
    )
    sections = [
        Section("compare_figures", "Key figures", _key_figures(comparison)),
        Section("compare_curves", "Training curves", _curves(comparison)),
        Section("compare_fields", "Differences in fields and data", _field_tables(comparison)),
        Section("compare_curation", "Kept and dropped documents", _curation(comparison)),
        Section("compare_samples", "Samples", _samples(comparison)),
    ]
    shown = [section for section in sections if section.view is not None]
    return write_page(header, shown, out if out.suffix == ".html" else out / "compare.html")


def takeaway(comparison: Comparison) -> str:
    """Says which run needs the fewest bits per byte, and whether they compare."""
    bits = next((one for one in comparison.figures if one.name == "bits per byte"), None)
    measured = [] if bits is None else [
        (value, run.name) for value, run in zip(bits.values, comparison.runs, strict=True) if value is not None
    ]  # fmt: skip
    if len(measured) < 2:
        return "Fewer than two of these runs have measured bits per byte."
    (best, name), (next_best, _) = sorted(measured)[:2]
    text = f"“{name}” needs the fewest bits per byte, {best:.3f}"
    text += f": {100 * (1 - best / next_best):.1f}% fewer than the next." if best < next_best else ", as does another."
    if comparison.same_held_out is None:
        return f"{text} It is not known whether all were measured on the same held-out text."
    if not comparison.same_held_out:
        return f"{text} They were measured on different held-out text, so the figures do not compare directly."
    return f"{text} All were measured on the same held-out text."


def _key_figures(comparison: Comparison) -> KeyFigures | None:
    if not comparison.figures:
        return None
    names = [run.name for run in comparison.runs]
    rows = [(figure.name, *figure.texts) for figure in comparison.figures]
    notes = [f"{run.name}: {why}" for run in comparison.runs for why in run.unreadable]
    return KeyFigures(takeaway(comparison), charts.table(("", *names), rows), tuple(notes))


@dataclass(frozen=True)
class _Log:
    label: str
    tone: str
    training: TrainingRun

    def scales(self) -> dict[str, Callable[[float], float] | None]:
        """Returns what the x axis shows for a number of tokens, by the name of the axis."""
        summary, metrics = self.training.summary, self.training.metrics
        flops = None if summary is None or not summary.tokens else summary.flops / summary.tokens
        points = [] if metrics is None else [(point.tokens, point.seconds) for point in metrics.train]
        return {
            "tokens": lambda tokens: tokens,
            "FLOPs": None if flops is None else lambda tokens: tokens * flops,
            "seconds of training": (lambda tokens: _interpolated(points, tokens)) if points else None,
        }


def _interpolated(points: Sequence[charts.Point], x: float) -> float:
    before, after = (0.0, 0.0), points[-1]
    for point in points:
        if point[0] >= x:
            after = point
            break
        before = point
    if after[0] <= before[0]:
        return before[1]
    return before[1] + (after[1] - before[1]) * (x - before[0]) / (after[0] - before[0])


def _logs(comparison: Comparison) -> list[_Log]:
    found = [
        (f"{run.name}, {entry.label}" if len(run.results.trainings) > 1 else run.name, entry.result)
        for run in comparison.runs
        for entry in run.results.trainings
        if entry.result.metrics is not None
    ]
    return [_Log(label, tone, run) for (label, run), tone in zip(found, charts.tones(len(found)), strict=True)]


def _curves(comparison: Comparison) -> Curves | None:
    logs = _logs(comparison)
    held_out = [_chart(logs, axis, "Held-out text", "bits per byte", _held_out) for axis in _X]
    loss = [_chart(logs, axis, "Training loss", "nats per token", _loss) for axis in _X]
    held_out, loss = list(filter(None, held_out)), list(filter(None, loss))
    if not held_out and not loss:
        return None
    text = f"{figures.plural(len(logs), 'training')} in the same charts, against tokens, FLOPs and seconds of training."
    return Curves(text, tuple(held_out), tuple(loss))


_X = ("tokens", "FLOPs", "seconds of training")


def _held_out(metrics: Metrics) -> list[charts.Point]:
    return [(point.tokens, point.held_out_bits_per_byte) for point in metrics.held_out]


def _loss(metrics: Metrics) -> list[charts.Point]:
    return averaged([(point.tokens, point.loss) for point in metrics.train], 80)


def _chart(
    logs: Sequence[_Log], x: str, title: str, unit: str, values: Callable[[Metrics], list[charts.Point]]
) -> Markup:
    lines: list[charts.Line] = []
    for log in logs:
        scale = log.scales()[x]
        if log.training.metrics is None or scale is None:
            continue
        points = [(scale(tokens), value) for tokens, value in values(log.training.metrics)]
        if points:
            lines.append(charts.Line(label=log.label, points=points, tone=log.tone))
    return charts.line_chart(lines, charts.Axes(x_label=x, y_label=title, y_format=figures.bits), note=unit)


def _field_tables(comparison: Comparison) -> Fields | None:
    if not comparison.fields:
        return None
    names = [run.name for run in comparison.runs]
    different = [one for one in comparison.fields if one.differs]
    equal = [one for one in comparison.fields if not one.differs]
    text = f"{figures.plural(len(different), 'field')} differ, {figures.count(len(equal))} are equal."
    return Fields(
        takeaway=text.replace("1 field differ,", "1 field differs,"),
        different=charts.table(("", *names), [_row(one) for one in different]) if different else None,
        equal=charts.table(("", "in all runs"), [_row(one)[:2] for one in equal]) if equal else None,
        n_equal=len(equal),
    )


def _row(one: FieldValues) -> tuple[str, ...]:
    return (one.name, *(figures.DASH if value is None or value == "" else value for value in one.values))


def _curation(comparison: Comparison) -> Curation | None:
    if not comparison.drops:
        return None
    rows = [(one.reason, *map(_drop_text, one.documents, one.shares)) for one in comparison.drops]
    kept = next(figure for figure in comparison.figures if figure.name == "documents kept")
    pairs = zip(comparison.runs, kept.texts, kept.values, strict=True)
    kept_text = figures.join([f"“{run.name}” {text}" for run, text, value in pairs if value is not None])
    columns = ("Documents", *(run.name for run in comparison.runs))
    return Curation(f"Documents kept: {kept_text}.", charts.table(columns, rows))


def _drop_text(documents: int | None, share: float | None) -> str:
    if documents is None:
        return figures.DASH
    return figures.count(documents) + (f" ({figures.percent(share)})" if documents and share is not None else "")


def _samples(comparison: Comparison) -> Samples | None:
    if not comparison.prompts:
        return None
    if comparison.same_prompts:
        text = f"{figures.plural(len(comparison.prompts), 'prompt')} that more than one model continued."
    else:
        text = "These models continued different prompts: their held-out text differs."
    return Samples(text, comparison.prompts)
