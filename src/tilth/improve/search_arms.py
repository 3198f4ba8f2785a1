"""One arm of a search experiment with one seed: rounds of labelling and training, each in a folder of its own.

An arm is a pure function of base model, name, seed and config (`flop_matched` also of what `samples` spent). A round's
record is written last, so a run that was killed continues after the last finished round and ends with the same bytes.
All arms of a seed are asked the same problems in the same round, so that they differ by their labels alone.
"""

from __future__ import annotations

import itertools
import json
import math
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np

from tilth.errors import DivergedError
from tilth.execute import Context
from tilth.files import write_bytes
from tilth.improve.answering import Answerer, answer_bits, which_right
from tilth.improve.config import LoopConfig
from tilth.improve.family import distinct, end_token, without_answers
from tilth.improve.fine_tune import fine_tune, one_thread, worth
from tilth.improve.problem_pool import Example, collate
from tilth.improve.pseudo_labels import PseudoLabel, labelled
from tilth.improve.rounds import PSEUDO_LABELS, read_pseudo_labels
from tilth.improve.search_config import FOLLOWS_SAMPLES, SearchArm, SearchConfig
from tilth.improve.search_labels import SearchParams, search_labeller
from tilth.model import ModelConfig, Transformer, load_model, save_model
from tilth.progress import SILENT, Progress
from tilth.results import read_result, write_result
from tilth.synthesis.verify.task_family import TaskFamily
from tilth.training import Batch, initial_model
from tilth.types import Problem, Rollout

MODEL, RECORD = "model", "round.json"
_DATA, _BASE, _PROMPTS, _ROUND = 0, 1, 2, 3
_ARM_KEYS: dict[SearchArm, int] = {
    "control": 1, "flop_matched": 2, "unfiltered": 3, "vote": 4, "samples": 5, "tree": 6, "bits": 7, "noise": 8,
    "oracle": 9,
}  # fmt: skip
"""Keys of the arms' streams of chance, written out so that another arm does not change the others' results."""
FROM_BASE_DATA: frozenset[SearchArm] = frozenset(("control", "flop_matched"))
"""Arms that ask nothing."""


class SearchTask(TaskFamily, Protocol):
    """A family for these experiments: it also knows right answers by brute force, for the oracle arm."""

    @property
    def fingerprint(self) -> str:
        """Of whatever decides which problems there are: part of an experiment's identity."""
        ...

    def solutions(self, problem: Problem) -> list[str]:
        """Returns right answers to a problem: all, or those that are known."""
        ...


@dataclass(frozen=True, kw_only=True)
class SearchRecord:
    """What a round of an arm came to; the base model has one, too."""

    right: str
    """A digit for each test problem, in order: 1 where the greedy answer is right."""
    pass_share: float = math.nan
    """Share of the measured problems of which one sample is right; nan where it was not measured."""
    distinct: float = math.nan
    """Different right answers among the samples of such a problem, on average."""
    kept: int = 0
    label_accuracy: float = math.nan
    bits_per_label: float = math.nan
    """Mean -log2 p(accepted answer) under the model before this round's training."""
    solved_share: float = math.nan
    """Share of the round's problems with an accepted answer."""
    answers: int = 0
    """Whole answers that were written for the labels."""
    train_flops: float = 0.0
    generation_flops: float = 0.0
    seconds: float = 0.0
    ended: str = ""
    """Why the arm ended here, in words."""

    @property
    def accuracy(self) -> float:
        """Share of test problems answered right."""
        return self.right.count("1") / len(self.right) if self.right else math.nan


@dataclass(frozen=True, kw_only=True)
class SearchRun:
    """What all arms of one seed share."""

    config: SearchConfig
    task: SearchTask
    seed: int
    folder: Path
    context: Context = field(default_factory=Context)

    def rng(self, *key: int) -> np.random.Generator:
        """Returns the stream of chance that belongs to a key."""
        return np.random.default_rng([self.seed, *key])

    @cached_property
    def test(self) -> list[Problem]:
        """The problems that are reported on."""
        return distinct(self.task, self.config.difficulty, self.config.test_problems, self.rng(_DATA, 0))

    @cached_property
    def labelled(self) -> list[Problem]:
        """The problems that come with an answer; none is a test problem."""
        excluded = {problem.prompt for problem in self.test}
        return distinct(self.task, self.config.difficulty, self.config.labelled, self.rng(_DATA, 1), excluded)

    def prompts(self, number: int) -> list[Problem]:
        """Returns the problems of a round, without answers: none is measured, labelled, or of an earlier round."""
        excluded = {problem.prompt for problem in (*self.test, *self.labelled)}
        found: list[Problem] = []
        for earlier in range(1, number + 1):
            rng = self.rng(_PROMPTS, earlier)
            found = distinct(self.task, self.config.difficulty, self.config.prompts, rng, excluded)
            excluded |= {problem.prompt for problem in found}
        return without_answers(found)

    def round_folder(self, arm: SearchArm, number: int) -> Path:
        """Returns the folder of a round, counted from 1; 0 is the base model's."""
        return self.folder / "base" if number == 0 else self.folder / arm / f"round-{number:02d}"

    @property
    def model_config(self) -> ModelConfig:
        """The shape of the model; its context has room for twice the longest measured problem."""
        config, tokenizer = self.config, self.task.tokenizer
        prompt = max(len(tokenizer.encode_ordinary(problem.prompt)) for problem in (*self.test, *self.labelled))
        return ModelConfig(
            vocab_size=tokenizer.vocab_size,
            d_model=config.d_model,
            n_layers=config.n_layers,
            n_heads=config.n_heads,
            d_ff=config.d_ff,
            context_length=2 * (prompt + self.task.answer_tokens(config.difficulty)),
        )

    def examples(self, pairs: Sequence[tuple[Problem, Sequence[int]]]) -> list[Example]:
        """Returns prompts and answers as tokens."""
        encode = self.task.tokenizer.encode_ordinary
        return [(encode(problem.prompt), list(answer)) for problem, answer in pairs]

    @cached_property
    def base_examples(self) -> list[Example]:
        """The labelled problems as tokens."""
        encode, end = self.task.tokenizer.encode_ordinary, end_token(self.task.tokenizer)
        return self.examples([(problem, [*encode(problem.answer or ""), end]) for problem in self.labelled])


def train_base(run: SearchRun, progress: Progress = SILENT) -> None:
    """Trains the model that all arms start from, unless that is done; killed, it continues from a checkpoint."""
    folder, config = run.round_folder("control", 0), run.config
    if read_record(folder) is None:
        _train_base(run, folder, config, progress)
    # Also after a kill between the record and this: the checkpoint is needed no more, and must not stay.
    shutil.rmtree(folder / "training", ignore_errors=True)


def _train_base(run: SearchRun, folder: Path, config: SearchConfig, progress: Progress) -> None:
    with one_thread():
        model = initial_model(run.model_config, run.seed).to(run.context.device)
        rng = run.rng(_BASE)
        trained = fine_tune(
            model,
            itertools.islice(_batches(run, (), rng), config.base_steps),
            config.base_steps,
            _optimization(config, 1.0),
            out=folder / "training",
            identity={
                "config": replace(config, arms=("control",), seeds=(0,)),
                "task": run.task.name,
                "seed": run.seed,
            },
            name="base model",
            context=replace(run.context, progress=progress),
        )
        record = SearchRecord(right="", train_flops=trained.flops, seconds=trained.seconds)
        _save(folder, model, [], _measured(run, model, record, whole=True))


def run_arm(run: SearchRun, arm: SearchArm) -> list[SearchRecord]:
    """Runs an arm, or continues it; returns the records of its rounds, as far as it came."""
    records: list[SearchRecord] = []
    pool: list[PseudoLabel] = []
    with one_thread():
        for number in range(1, run.config.rounds + 1):
            folder = run.round_folder(arm, number)
            record = read_record(folder)
            if record is None:
                before = load_model(run.round_folder(arm, number - 1) / MODEL, device=run.context.device)
                record = run_round(run, arm, number, before, pool)
            records.append(record)
            if record.ended:
                break
            pool += read_pseudo_labels(folder)
    return records


def run_round(
    run: SearchRun, arm: SearchArm, number: int, model: Transformer, pool: Sequence[PseudoLabel]
) -> SearchRecord:
    """Runs one round from an arm's last model and labels, and saves it; `model` is trained in place."""
    started, config, folder = time.monotonic(), run.config, run.round_folder(arm, number)
    followed = read_record(run.round_folder("samples", number)) if arm in FOLLOWS_SAMPLES else None
    if arm in FOLLOWS_SAMPLES and followed is None:
        record = SearchRecord(
            right="", ended=f"The arm `samples`, which this one follows, ended before round {number}."
        )
        write_result(folder / RECORD, record)
        return record
    problems = [] if arm in FROM_BASE_DATA else run.prompts(number)
    answerer = Answerer(model, run.task)
    labels = collect(run, arm, number, answerer, problems)
    pairs = [(label.problem, label.rollout) for label in labels]
    bits, right = answer_bits(model, run.task, pairs), which_right(run.task, pairs)
    record = SearchRecord(
        right="",
        kept=len(labels),
        label_accuracy=_mean(right),
        bits_per_label=_mean(bits),
        solved_share=len({label.problem.id for label in labels}) / len(problems) if problems else math.nan,
        answers=answerer.answers,
        generation_flops=answerer.flops,
    )
    if problems and not labels and not pool:
        record = replace(record, ended=f"No answer to the {len(problems)} problems of round {number} was accepted.")
        write_result(folder / RECORD, replace(record, seconds=time.monotonic() - started))
        return record
    try:
        flops = _train(run, arm, number, model, [*pool, *labels], followed)
    except DivergedError as error:
        record = replace(record, ended=f"Training broke down in round {number}: {error.message}")
        write_result(folder / RECORD, replace(record, seconds=time.monotonic() - started))
        return record
    record = _measured(run, model, replace(record, train_flops=flops), whole=number == config.rounds)
    record = replace(record, seconds=time.monotonic() - started)
    _save(folder, model, labels, record)
    return record


def collect(
    run: SearchRun, arm: SearchArm, number: int, answerer: Answerer, problems: Sequence[Problem]
) -> list[PseudoLabel]:
    """Returns what an arm learns from in a round."""
    if not problems:
        return []
    config = run.config
    if arm == "oracle":
        return _oracle_labels(run, problems, run.rng(_ROUND, _ARM_KEYS[arm], number, 1))
    params = SearchParams(
        samples=config.samples,
        tree_tokens=config.tree_tokens,
        per_problem=config.per_problem,
        min_agreement=config.min_agreement,
        bits_share=config.bits_share,
        noise_share=config.noise_share,
    )
    assert arm not in ("control", "flop_matched")
    name = "everything" if arm == "unfiltered" else arm
    return search_labeller(name, run.task, params, run.seed)(answerer, problems, config.difficulty)


def _oracle_labels(run: SearchRun, problems: Sequence[Problem], rng: np.random.Generator) -> list[PseudoLabel]:
    encode, end = run.task.tokenizer.encode_ordinary, end_token(run.task.tokenizer)
    found: list[PseudoLabel] = []
    for problem in problems:
        known = run.task.solutions(problem)
        order = rng.permutation(len(known))[: run.config.per_problem].tolist()
        for text in (known[index] for index in sorted(order)):
            rollout = Rollout(problem_id=problem.id, text=text, tokens=(*encode(text), end), reward=1.0)
            found.append(labelled(problem, rollout))
    return found


def _train(
    run: SearchRun,
    arm: SearchArm,
    number: int,
    model: Transformer,
    pool: Sequence[PseudoLabel],
    followed: SearchRecord | None,
) -> float:
    """Trains a round; returns its FLOPs. `followed` is the record whose FLOPs are to be spent instead of its steps."""
    rng = run.rng(_ROUND, _ARM_KEYS[arm], number)
    settings, steps = _optimization(run.config, run.config.round_lr_multiplier), run.config.round_steps
    batches: Iterable[Batch] = _batches(run, pool, rng)
    if followed is not None:
        batches = worth(batches, model, followed.train_flops + followed.generation_flops)
        steps = len(batches)
    return fine_tune(model, itertools.islice(batches, steps), steps, settings, context=run.context).flops


def _batches(run: SearchRun, pool: Sequence[PseudoLabel], rng: np.random.Generator) -> Iterator[Batch]:
    """Draws batches without end."""
    base, own = run.base_examples, run.examples([(label.problem, label.rollout.tokens) for label in pool])
    size = run.config.batch_size
    n_own = size - round(run.config.replay_share * size) if own else 0
    while True:
        drawn = [base[index] for index in rng.integers(0, len(base), size - n_own)]
        if n_own:
            drawn += [own[index] for index in rng.integers(0, len(own), n_own)]
        yield collate(drawn, padding=end_token(run.task.tokenizer))


def _optimization(config: SearchConfig, multiplier: float) -> LoopConfig:
    return LoopConfig(
        learning_rate=multiplier * config.learning_rate, muon_learning_rate=multiplier * config.muon_learning_rate
    )


def _measured(run: SearchRun, model: Transformer, record: SearchRecord, *, whole: bool) -> SearchRecord:
    """Adds the greedy answers, and with `whole` what samples solve; nothing of it is counted as spent."""
    config, task = run.config, run.task
    answerer = Answerer(model, task)
    greedy = answerer(run.test, config.difficulty)
    right = which_right(task, list(zip(run.test, greedy, strict=True)))
    record = replace(record, right="".join("1" if one else "0" for one in right))
    if not whole:
        return record
    problems = run.test[: config.pass_problems]
    # A seed of its own: the samples are others than those that labels are made from.
    drawn = answerer.sample(problems, config.difficulty, config.pass_samples, seed=run.seed + (1 << 32))
    pairs = [(p, rollout) for p, rollouts in zip(problems, drawn, strict=True) for rollout in rollouts]
    texts: dict[str, set[str]] = {problem.id: set() for problem in problems}
    for (problem, rollout), is_right in zip(pairs, which_right(task, pairs), strict=True):
        if is_right:
            texts[problem.id].add(rollout.text)
    return replace(
        record,
        pass_share=_mean([bool(one) for one in texts.values()]),
        distinct=_mean([len(one) for one in texts.values()]),
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan


def _save(folder: Path, model: Transformer, labels: Sequence[PseudoLabel], record: SearchRecord) -> None:
    save_model(model, folder / MODEL)
    lines = [json.dumps(asdict(label), ensure_ascii=False, sort_keys=True) + "\n" for label in labels]
    write_bytes(folder / PSEUDO_LABELS, "".join(lines).encode())
    write_result(folder / RECORD, record)


def read_record(folder: Path) -> SearchRecord | None:
    """Returns the record of a finished round, or None."""
    path = folder / RECORD
    return read_result(SearchRecord, path) if path.exists() else None
