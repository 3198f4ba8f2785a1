"""One round of an arm: choose, propose, generate, gate, assay, mix, train, evaluate, decide.

A round is a pure function of the arm's state and its own stream of chance. It ends with a record in its folder; killed
before, it is run again and gives the same bytes. What goes wrong ends the arm with a sentence in the record.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from tilth.errors import DivergedError
from tilth.improve.answering import Answerer, accuracy, which_right
from tilth.improve.arm_state import ArmState
from tilth.improve.arms import PLANS, Arm, ArmPlan
from tilth.improve.collect import Collected, Collector
from tilth.improve.controller import allowed_actions, decide
from tilth.improve.family import Unlabelled, propose_other_than
from tilth.improve.fine_tune import FineTuned, batches_worth, fine_tune
from tilth.improve.label_assay import assay_labels
from tilth.improve.label_noise import corrupted
from tilth.improve.labellers import labeller_of
from tilth.improve.monitor import Limits, judge, monitor_values
from tilth.improve.problem_pool import ProblemPool
from tilth.improve.proposed import collect_proposed
from tilth.improve.pseudo_labels import PseudoLabel
from tilth.improve.result import Decision, MonitorReading
from tilth.improve.rounds import RoundRecord, read_record, save_round
from tilth.improve.seed_run import SeedRun
from tilth.model import Transformer
from tilth.synthesis.verify.task_family import ProblemSource, TaskFamily
from tilth.types import Problem

EXHAUSTED_ROUNDS = 2
"""Exhausted rounds in a row, without harder problems, that end an arm."""


def source_for(arm: Arm, family: TaskFamily) -> ProblemSource:
    """Returns what an arm draws problems from: the oracle from the family, all others from one without answers."""
    return family if PLANS[arm].labels == "oracle" else Unlabelled(family)


@dataclass(frozen=True, kw_only=True)
class Round:
    """What a round begins with."""

    run: SeedRun
    arm: Arm
    number: int
    state: ArmState
    model: Transformer
    """The arm's last good one; it is trained in place."""
    rng: np.random.Generator

    @property
    def plan(self) -> ArmPlan:
        """The arm's row in the table."""
        return PLANS[self.arm]

    @cached_property
    def source(self) -> ProblemSource:
        """What problems are drawn from."""
        return source_for(self.arm, self.run.family)

    @cached_property
    def collector(self) -> Collector:
        """What pseudo-labels are collected with."""
        label = labeller_of(self.plan, self.run, self.source, self.rng, difficulty=self.state.difficulty)
        return Collector(Answerer(self.model, self.source), label, self.propose, self.run.config)

    def propose(self, difficulty: int, n: int) -> list[Problem]:
        """Draws problems that are not measured on."""
        return propose_other_than(self.run.split.excluded, self.source, difficulty, n, self.rng)

    def can_follow(self) -> bool:
        """Whether the leading arm had this round; labels are followed only into a round that was trained."""
        leading = self.followed()
        return leading is not None and (
            self.plan.problems != "followed" or not leading.ended or leading.train_flops > 0
        )

    def followed(self) -> RoundRecord | None:
        """Returns the leading arm's record of the same round; None where it ended before."""
        return read_record(self.run.round_folder(self.run.config.leading_arm, self.number))


def run_round(run: SeedRun, arm: Arm, number: int, model: Transformer, state: ArmState) -> RoundRecord:
    """Runs one round from the arm's state and saves it; `model` is trained in place."""
    started = time.monotonic()
    this = Round(run=run, arm=arm, number=number, state=state, model=model, rng=run.rng(PLANS[arm].key, number))
    if this.plan.follows and not this.can_follow():
        record = _ended(this, f"The arm `{run.config.leading_arm}`, which this one follows, ended before.")
        return _save(this, None, (), record, started)
    shares, decision = _choose(this)
    collected = _collect(this, decision)
    labels = collected.pseudo_labels
    before = replace(_about(this, collected), decision=decision, shares_before=shares)
    if (ended := _nothing_to_train_on(this, decision, collected)) is not None:
        record = replace(
            before, good=False, difficulty=state.difficulty, shares=shares, ended=f"Round {number}: {ended}"
        )
        return _save(this, None, labels, record, started)
    try:
        trained = _train(this, state.pool.plus(collected.difficulty, labels), collected.difficulty)
    except DivergedError as error:
        record = replace(
            before, good=False, difficulty=state.difficulty, shares=shares,
            ended=f"Round {number}: the training diverged. {error.message}",
        )  # fmt: skip
        return _save(this, None, labels, record, started)
    record = _evaluated(this, replace(before, train_flops=trained.flops))
    return _save(this, model, labels, record, started)


def _choose(this: Round) -> tuple[dict[str, float], Decision | None]:
    """Lets the controller choose, where the arm has one; returns the accepted shares that it saw, too."""
    if this.plan.problems != "controller":
        return {}, None
    config, state = this.run.config, this.state
    # After a round these are on record: nothing is generated twice.
    shares = state.records[-1].shares or this.collector.accepted_shares(this.run.validation)
    allowed = allowed_actions(
        next_share=shares.get(str(state.difficulty + 1), math.nan),
        promote_at=config.promote_at,
        beyond_base=state.difficulty > config.base_difficulty,
        exhausted=state.exhausted > 0,
    )
    return shares, decide(this.number, state.spends, allowed, max_flops=config.max_flops, min_gain=config.min_gain)


def _collect(this: Round, decision: Decision | None) -> Collected:
    """Collects the arm's pseudo-labels, as its plan says."""
    difficulty, collector = this.state.difficulty, this.collector
    policy = this.plan.problems
    if policy == "none":
        return Collected(difficulty=difficulty)
    if policy == "one_harder":
        found = collector.one_harder(difficulty)
    elif policy == "followed":
        leading = this.followed()
        assert leading is not None
        # A round that the monitor threw away left the leading arm no labels; its record has the difficulty before it.
        found = collector.fill(leading.difficulty, leading.kept if leading.good else 0)
    elif policy == "controller":
        assert decision is not None
        if decision.action in ("train", "stop"):
            return collector.nothing(difficulty)
        found = collector.fill(difficulty + (decision.action == "harder"), this.run.config.samples)
    elif policy == "self_play":
        found = collect_proposed(
            this.run,
            this.source,
            collector,
            this.rng,
            difficulty=difficulty,
            before=this.state.folder,
            after=this.run.round_folder(this.arm, this.number),
        )
    else:
        found = collector.gated(difficulty, this.run.validation)
    if this.plan.labels == "corrupted":
        noisy = corrupted(found.pseudo_labels, this.run.config.label_noise, this.rng)
        return replace(found, pseudo_labels=tuple(noisy))
    return found


def _about(this: Round, collected: Collected) -> RoundRecord:
    """Returns the record as far as it is known before the training; the accuracy is that of the last good model."""
    labels = collected.pseudo_labels
    assayed = assay_labels(this.model, this.source, labels)
    return RoundRecord(
        difficulty=collected.difficulty,
        accuracy=this.state.good.accuracy,
        generated=collected.generated,
        accepted=collected.accepted,
        kept=len(labels),
        right=sum(which_right(this.run.family, [(label.problem, label.rollout) for label in labels])),
        bits_per_label=assayed.bits_per_label,
        bits_per_label_token=assayed.bits_per_token,
        distinct_labels=assayed.distinct,
        exhausted=assayed.bits_per_label < this.run.config.min_bits_per_label,
        generation_flops=collected.flops,
    )


def _nothing_to_train_on(this: Round, decision: Decision | None, collected: Collected) -> str | None:
    """Says why the arm ends before this round's training; None: it does not."""
    if decision is not None and decision.action == "stop":
        return f"the controller stopped. {decision.why}"
    if collected.generated and not collected.pseudo_labels:
        return (
            f"none of the model's answers to {collected.generated:,} problems of difficulty {collected.difficulty} "
            "was accepted."
        )
    return None


def _train(this: Round, pool: ProblemPool, difficulty: int) -> FineTuned:
    config, rng = this.run.config, this.rng
    newest = difficulty if this.plan.newest_share else None
    if this.plan.steps == "followed_flops":
        leading = this.followed()
        assert leading is not None
        batches = batches_worth(pool, rng, this.model, leading.train_flops + leading.generation_flops)
        return fine_tune(this.model, batches, len(batches), config, context=this.run.context)
    steps = config.round_steps
    return fine_tune(this.model, pool.batches(rng, steps, newest=newest), steps, config, context=this.run.context)


def _evaluated(this: Round, record: RoundRecord) -> RoundRecord:
    """Measures the trained model, lets the monitor judge it, and says whether and how the arm goes on."""
    run, state = this.run, this.state
    measured = accuracy(this.model, run.family, run.split.test)
    reading = _reading(this)
    good = reading.verdict == "ok" or not reading.acted
    if not good:
        record = replace(
            record, good=False, rejected_accuracy=measured, difficulty=state.difficulty, shares=record.shares_before
        )
    else:
        record = replace(record, accuracy=measured)
        if this.plan.problems == "controller":
            spent = this.collector.answerer.flops
            record = replace(
                record,
                shares=this.collector.accepted_shares(run.validation),
                generation_flops=record.generation_flops + this.collector.answerer.flops - spent,
            )
    return replace(record, monitor=reading, ended=_end(this, record, reading))


def _reading(this: Round) -> MonitorReading:
    references: list[Mapping[str, float]] = [
        record.monitor.values for record in (this.state.base, this.state.good) if record.monitor is not None
    ]
    return judge(
        this.number,
        monitor_values(this.run, this.model),
        references,
        Limits.of(this.run.config),
        thrown_away_before=this.state.thrown_away,
        acts=this.plan.monitored and this.run.config.monitor,
    )


def _end(this: Round, record: RoundRecord, reading: MonitorReading) -> str:
    """Says why this is the arm's last round; empty: it is not, or all rounds are done."""
    answered_first = this.state.base.monitor.values.get("answered", 0.0) if this.state.base.monitor else 0.0
    if this.number == this.run.config.rounds:
        return ""
    if reading.acted and reading.verdict == "stop":
        thrown = this.state.thrown_away + 1
        return f"Round {this.number}: the monitor threw away {thrown} rounds in a row. {_sentence(reading.why)}"
    if answered_first and reading.values.get("answered") == 0:
        return f"Round {this.number}: the model gives no answer any more; all are empty or do not end."
    exhausted = replace(this.state, records=(*this.state.records, record)).exhausted
    if this.plan.problems in ("gated", "self_play") and record.good and exhausted >= EXHAUSTED_ROUNDS:
        return (
            f"Round {this.number}: the labels are exhausted. The model was sure of them before "
            f"({record.bits_per_label:.3f} bits each), and harder problems do not pass the gate."
        )
    return ""


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _ended(this: Round, why: str) -> RoundRecord:
    return RoundRecord(difficulty=this.state.difficulty, accuracy=this.state.good.accuracy, good=False, ended=why)


def _save(
    this: Round, model: Transformer | None, labels: Sequence[PseudoLabel], record: RoundRecord, started: float
) -> RoundRecord:
    record = replace(record, seconds=time.monotonic() - started)
    save_round(this.run.round_folder(this.arm, this.number), model, labels, record)
    return record
