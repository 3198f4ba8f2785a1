"""What the bits per byte of trained models and of simple predictors say, in sentences."""

from __future__ import annotations

import math

from tilth.evaluation.result import Baselines
from tilth.report import figures
from tilth.report.run import Entry, RunResults, TrainingRun
from tilth.training.result import TrainingSummary

MODEL, BEFORE = "model", "model before"
"""Names of the trained and the untrained model in `Baselines.bits_per_byte`; others are simple predictors."""


def takeaway(run: RunResults) -> str:
    """Returns how many bits per byte the models need on held-out text, and which predictors need fewer."""
    if len(run.trainings) > 1:
        return _of_several(run)
    training = run.trainings[0].result if run.trainings else TrainingRun()
    baselines = comparison_of(run, run.trainings[0] if run.trainings else None)
    after, before = bits_after(training, baselines), bits_before(training, baselines)
    if after is None:
        return "There is no measurement on held-out text yet."
    if not math.isfinite(after):
        return "Training diverged: the loss on held-out text is not a number."
    sentences = [f"The model needs {figures.bits(after)} bits per byte on held-out text{_beside(baselines, after)}."]
    if before is not None and math.isfinite(before):
        untrained = f"Before the first step it needed {figures.bits(before)}"
        sentences.append(f"{untrained}{'' if after < before else ': training did not help'}.")
    return " ".join(sentences + _kept(training.summary))


def _kept(summary: TrainingSummary | None) -> list[str]:
    """Which weights are kept, where they are not the last ones, and whether training stopped before its budget."""
    if summary is None or summary.best_tokens is None or summary.best_tokens >= summary.tokens:
        return []
    best, tokens = figures.short(summary.best_tokens), figures.short(summary.tokens)
    if summary.stopped_early:
        budget = f" of {figures.short(summary.budget_tokens)}" if summary.budget_tokens else ""
        return [
            f"Training stopped early, after {tokens}{budget} tokens, because the loss on held-out text no longer fell; "
            f"the weights after {best} tokens are kept."
        ]
    return [f"The weights after {best} of {tokens} tokens are kept: later ones were worse on held-out text."]


def comparison_of(run: RunResults, entry: Entry[TrainingRun] | None) -> Baselines | None:
    """Returns the comparison that a training's model is in; the only training's is the first of the run."""
    found = run.baselines_of(entry) if entry is not None else None
    if found is None and len(run.trainings) < 2 and run.baselines:
        return run.baselines[0].result
    return found


def peers(baselines: Baselines | None) -> dict[str, float]:
    """Returns the bits per byte of the predictors that are not the model."""
    bits = baselines.bits_per_byte if baselines else {}
    return {name: value for name, value in bits.items() if name not in (MODEL, BEFORE)}


def bits_after(training: TrainingRun, baselines: Baselines | None) -> float | None:
    """Returns the bits per byte of the trained model: from the comparison, the summary, or the last measurement."""
    if baselines is not None and MODEL in baselines.bits_per_byte:
        return baselines.bits_per_byte[MODEL]
    if training.summary is not None and training.summary.bits_per_byte_after is not None:
        return training.summary.bits_per_byte_after
    held_out = training.metrics.held_out if training.metrics else ()
    return held_out[-1].held_out_bits_per_byte if held_out else None


def bits_before(training: TrainingRun, baselines: Baselines | None) -> float | None:
    """Returns the bits per byte of the untrained model."""
    if baselines is not None and BEFORE in baselines.bits_per_byte:
        return baselines.bits_per_byte[BEFORE]
    return training.summary.bits_per_byte_before if training.summary else None


def _of_several(run: RunResults) -> str:
    measured = [(entry, bits_after(entry.result, run.baselines_of(entry))) for entry in run.trainings]
    known = [(entry, bits) for entry, bits in measured if bits is not None]
    finite = [(bits, entry) for entry, bits in known if math.isfinite(bits)]
    number = f"{len(run.trainings)} trainings"
    if not known:
        return f"{number}, none of them measured on held-out text yet."
    if not finite:
        return f"{number}, all of which diverged: the loss on held-out text is not a number."
    bits, best = min(finite, key=lambda pair: pair[0])
    spread = figures.span([bits for bits, _ in finite], figures.bits)
    sentences = [f"{number} need {spread} bits per byte on held-out text, least with “{best.label}”{_listed(run)}."]
    diverged = len(known) - len(finite)
    if diverged:
        sentences.append(f"{figures.plural(diverged, 'training')} diverged.")
    ahead = _ahead(peers(run.baselines_of(best)), bits)
    if ahead:
        sentences.append(f"None of them is better than {figures.join([_with_article(name) for name in ahead], 'or')}.")
    return " ".join(sentences)


def _listed(run: RunResults) -> str:
    """What simple predictors need, where all trainings are compared with the same."""
    compared = [peers(entry.result) for entry in run.baselines]
    if not compared or any(_shown(other) != _shown(compared[0]) for other in compared):
        return ""
    needs = [f"{_with_article(name)} needs {bits}" for name, bits in _shown(compared[0]).items()]
    return f"; {figures.join(needs)}" if needs else ""


def _shown(bits: dict[str, float]) -> dict[str, str]:
    return {name: figures.bits(value) for name, value in bits.items() if math.isfinite(value)}


def _beside(baselines: Baselines | None, after: float) -> str:
    compared = {name: bits for name, bits in peers(baselines).items() if math.isfinite(bits)}
    if not compared:
        return ""
    needs = figures.join([f"{_with_article(name)} needs {figures.bits(bits)}" for name, bits in compared.items()])
    ahead = _ahead(compared, after)
    even = [name for name, bits in compared.items() if figures.bits(bits) == figures.bits(after)]
    if ahead:
        verdict = f"the model is worse than {figures.join([_with_article(name) for name in ahead])}"
    elif even:
        verdict = f"the model is equal to {figures.join([_with_article(name) for name in even])}"
    else:
        verdict = "the model predicts this text better" if len(compared) == 1 else "the model predicts this text best"
    return f"; {needs}: {verdict}"


def _ahead(compared: dict[str, float], bits: float) -> list[str]:
    """The predictors that need fewer bits, by the figures as printed: equal ones are never called different."""
    shown = float(figures.bits(bits))
    return [name for name, value in compared.items() if math.isfinite(value) and float(figures.bits(value)) < shown]


def _with_article(name: str) -> str:
    return f"a {name} model" if name.endswith("-gram") else name


def row(run: RunResults, entry: Entry[TrainingRun]) -> tuple[str, ...]:
    """Returns the figures of one training, for the table of several."""
    summary, baselines = entry.result.summary, run.baselines_of(entry)
    return (
        entry.label,
        figures.bits(bits_after(entry.result, baselines)),
        figures.bits(bits_before(entry.result, baselines)),
        figures.short(summary.n_params if summary else None),
        figures.short(summary.tokens if summary else None),
        figures.flops(summary.flops if summary else None),
        figures.duration(summary.seconds if summary else None),
        figures.count(summary.tokens_per_second if summary else None),
    )


COLUMNS = ("Training", "Bits per byte", "Before training", "Parameters", "Tokens", "FLOPs", "Time", "Tokens per second")
