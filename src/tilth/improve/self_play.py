"""A proposer of problems that is a small model itself, rewarded for problems that the solver solves sometimes.

It writes prompts token by token; the family reads them, and what is no prompt, was proposed before, or is measured on,
is dropped and earns nothing. Of the others, the solver's pass rate p over its samples gives the reward 4 p (1 - p): 0
for what is never or always solved, 1 at p = 1/2. The proposer then learns its own prompts, drawn in proportion to their
rewards, beside prompts of the base data, without which it would forget their form. The reward is symmetric, unlike that
of Absolute Zero, which prefers hard problems and with them those that have no answer; p (-log2 p) peaks at 0.37 and is
nearly the same where pass rates come from a few samples.
Sources: Zhao et al. 2025 (Absolute Zero), Huang et al. 2025 (R-Zero: 1 - 2 |p - 1/2|), made small.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from tilth.errors import ConfigError, DataError
from tilth.improve.answering import parsed, training_flops_per_token, which_right
from tilth.improve.config import LoopConfig
from tilth.improve.family import end_token
from tilth.improve.fine_tune import fine_tune
from tilth.improve.problem_pool import collate
from tilth.inference import SamplingParams, generate_tokens
from tilth.model import ModelConfig, Transformer, load_model, save_model
from tilth.results import read_result, write_result
from tilth.synthesis.verify.task_family import ProblemSource, TaskFamily
from tilth.training import Batch, initial_model
from tilth.types import Problem, Rollout

MODEL, STATE = "model", "proposer.json"
ReadPrompt = Callable[[str], Problem | None]


@runtime_checkable
class Proposable(Protocol):
    """A family that reads prompts which others wrote."""

    def read_prompt(self, text: str) -> Problem | None:
        """Returns the problem that a text states, without an answer; None unless the text has the form of a prompt."""
        ...


def _string(match: re.Match[str]) -> int:
    return len(match["string"])


def _sum(match: re.Match[str]) -> int:
    return len(match["first"]) if len(match["first"]) == len(match["second"]) else 0


_STRING = re.compile(r"(?P<string>[a-z]+)=")
_SUM = re.compile(r"(?P<first>[0-9]+)\+(?P<second>[0-9]+)=")
_FORMS: Mapping[str, tuple[re.Pattern[str], Callable[[re.Match[str]], int]]] = {
    "reverse": (_STRING, _string),
    "copy": (_STRING, _string),
    "addition": (_SUM, _sum),
    "reverse_addition": (_SUM, _sum),
}
"""Name of a family -> the form of its prompts, and the difficulty of one; 0: it is no prompt."""


def prompt_reader(family: ProblemSource) -> ReadPrompt:
    """Returns what reads prompts of a family: its own method, or the known form of strings and sums.

    Raises: ConfigError for a family that offers neither.
    """
    if isinstance(family, Proposable):
        return family.read_prompt
    if family.name not in _FORMS:
        raise ConfigError(
            f"Nobody can read prompts of the family {family.name}.", fix="Give it a method `read_prompt(text)`."
        )
    pattern, difficulty_of = _FORMS[family.name]

    def read(text: str) -> Problem | None:
        found = pattern.fullmatch(text)
        difficulty = difficulty_of(found) if found else 0
        return Problem.make(text, verifier=family.name, difficulty=difficulty) if difficulty else None

    return read


@dataclass(frozen=True, kw_only=True)
class ProposerConfig:
    """A proposer's model and how it learns."""

    d_model: int = 48
    """Width of the model."""
    n_layers: int = 2
    """Its blocks."""
    n_heads: int = 4
    """Its attention heads."""
    base_steps: int = 200
    """Steps on base prompts, before it proposes anything."""
    learn_steps: int = 30
    """Steps after each round."""
    batch_size: int = 64
    """Prompts in a step."""
    replay_share: float = 0.5
    """Share of base prompts in the batches after the first training."""
    learning_rate: float = 3e-3
    """Peak learning rate of AdamW."""
    muon_learning_rate: float = 0.01
    """Peak learning rate of Muon."""
    max_tokens: int = 32
    """Longest prompt."""
    temperature: float = 1.0
    """Of the prompts that it writes."""
    seed: int = 0
    """Of its first weights and its first training."""

    def __post_init__(self) -> None:
        for name in ("d_model", "n_layers", "n_heads", "base_steps", "learn_steps", "batch_size", "max_tokens"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}.", fix="Give 1 or more.")
        if not 0 <= self.replay_share < 1:
            raise ConfigError(f"replay_share is {self.replay_share}.", fix="Give a share from 0 up to below 1.")
        for name in ("learning_rate", "muon_learning_rate", "temperature"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} is {getattr(self, name)}.", fix=f"Give a positive {name}.")


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """What one call of `propose` gave."""

    problems: tuple[Problem, ...]
    """New, valid and different, without answers."""
    written: int
    invalid: int
    """Texts that are no prompt, or were cut."""
    repeats: int
    """Prompts that were proposed before or are base prompts."""
    excluded: int
    """Prompts that are measured on."""

    @property
    def difficulties(self) -> dict[int, int]:
        """Difficulty -> number of problems."""
        return dict(sorted(Counter(int(problem.difficulty or 0) for problem in self.problems).items()))


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a proposed problem."""

    problem: Problem
    pass_rate: float
    """Share of the solver's answers that were accepted, in 0..1."""


def learnability(pass_rate: float) -> float:
    """Returns the reward of a problem, 4 p (1 - p): 0 for what is never or always solved, 1 at one half."""
    return 4 * pass_rate * (1 - pass_rate)


def pass_rates(family: TaskFamily, problems: Sequence[Problem], rollouts: Sequence[Sequence[Rollout]]) -> list[Outcome]:
    """Returns the share of right rollouts of each problem, by the family's verifier."""
    pairs = [(problem, one) for problem, group in zip(problems, rollouts, strict=True) for one in group]
    right = iter(which_right(family, pairs))
    return [
        Outcome(problem=problem, pass_rate=sum(next(right) for _ in group) / max(len(group), 1))
        for problem, group in zip(problems, rollouts, strict=True)
    ]


def agreement_rates(
    source: ProblemSource, problems: Sequence[Problem], rollouts: Sequence[Sequence[Rollout]]
) -> list[Outcome]:
    """Returns the share of rollouts that give the commonest answer: a pass rate without labels, as R-Zero has it."""
    found: list[Outcome] = []
    for problem, group in zip(problems, rollouts, strict=True):
        votes = Counter(text for one in group if (text := parsed(source, one)) is not None)
        most = votes.most_common(1)[0][1] if votes else 0
        found.append(Outcome(problem=problem, pass_rate=most / max(len(group), 1)))
    return found


@dataclass(frozen=True, kw_only=True)
class _State:
    """What a proposer remembers beside its weights."""

    seen: tuple[str, ...]
    rounds: int
    flops: float


@dataclass
class Proposer:
    """A model that writes prompts; `make` trains a first one, `load` continues a saved one."""

    model: Transformer
    source: ProblemSource
    config: ProposerConfig
    base_prompts: list[str]
    """Replayed, so that the form is not forgotten."""
    excluded: Collection[str] = ()
    """Prompts that are measured on."""
    seen: dict[str, None] = field(default_factory=dict[str, None])
    """All prompts that were proposed, in order."""
    rounds: int = 0
    """Times that it has learned."""
    flops: float = 0.0
    """Of all its writing and learning."""

    @classmethod
    def make(
        cls,
        source: ProblemSource,
        config: ProposerConfig,
        base_prompts: Sequence[str],
        excluded: Collection[str] = (),
        device: str = "cpu",
    ) -> Proposer:
        """Trains a proposer on the prompts of the base data.

        Raises: ConfigError for a family whose prompts nobody can read; DataError without prompts, or for a long one.
        """
        prompt_reader(source)
        longest = max((len(source.tokenizer.encode_ordinary(prompt)) for prompt in base_prompts), default=0)
        if not 0 < longest < config.max_tokens:
            raise DataError(
                f"The longest of {len(base_prompts)} base prompts has {longest} tokens; at most "
                f"{config.max_tokens - 1} can be proposed.",
                fix="Give base prompts, and a `max_tokens` that is larger than the longest.",
            )
        shape = ModelConfig(
            vocab_size=source.tokenizer.vocab_size,
            d_model=config.d_model,
            n_layers=config.n_layers,
            n_heads=config.n_heads,
            d_ff=3 * config.d_model,
            context_length=config.max_tokens + 2,
        )
        model = initial_model(shape, config.seed).to(device)
        made = cls(model, source, config, list(base_prompts), excluded)
        made._train({}, config.base_steps, np.random.default_rng([config.seed, 0]))
        return made

    def propose(self, n: int, rng: np.random.Generator) -> Proposal:
        """Writes `n` prompts and returns the problems that are valid and new; `rng` decides what is written."""
        tokenizer, end = self.source.tokenizer, end_token(self.source.tokenizer)
        params = SamplingParams(
            max_tokens=self.config.max_tokens, temperature=self.config.temperature, stop_tokens=(end,)
        )
        seeds = rng.integers(0, 1 << 62, n).tolist()
        written = generate_tokens(self.model, [[end]] * n, params, batch_size=512, seeds=seeds)
        per_token = training_flops_per_token(self.model, self.config.max_tokens) / 3
        self.flops += per_token * sum(len(one.tokens) for one in written)
        read, known = prompt_reader(self.source), {*self.base_prompts}
        problems: list[Problem] = []
        invalid = repeats = excluded = 0
        for one in written:
            text = tokenizer.decode(one.tokens[:-1])
            problem = read(text) if one.finish_reason == "stop" else None
            if problem is None:
                invalid += 1
            elif problem.prompt in self.seen or problem.prompt in known:
                repeats += 1
            elif problem.prompt in self.excluded:
                excluded += 1
            else:
                self.seen[problem.prompt] = None
                problems.append(problem)
        return Proposal(problems=tuple(problems), written=n, invalid=invalid, repeats=repeats, excluded=excluded)

    def learn(self, outcomes: Sequence[Outcome]) -> list[float]:
        """Learns prompts in proportion to their rewards, which it returns; without any reward nothing is learned.

        Raises: DataError for a prompt that this proposer did not propose.
        """
        for outcome in outcomes:
            if outcome.problem.prompt not in self.seen:
                raise DataError(
                    f"The prompt {outcome.problem.prompt!r} was not proposed here.",
                    fix="Give outcomes of problems that `propose` returned.",
                )
        rewards = [learnability(outcome.pass_rate) for outcome in outcomes]
        self.rounds += 1
        if sum(rewards) > 0:
            weights: dict[str, float] = {}
            for outcome, reward in zip(outcomes, rewards, strict=True):
                weights[outcome.problem.prompt] = weights.get(outcome.problem.prompt, 0.0) + reward
            rng = np.random.default_rng([self.config.seed, self.rounds])
            self._train(weights, self.config.learn_steps, rng)
        return rewards

    def save(self, folder: Path) -> None:
        """Writes weights and memory; equal proposers give equal bytes."""
        save_model(self.model, folder / MODEL)
        write_result(folder / STATE, _State(seen=tuple(self.seen), rounds=self.rounds, flops=self.flops))

    @classmethod
    def load(
        cls,
        folder: Path,
        source: ProblemSource,
        config: ProposerConfig,
        base_prompts: Sequence[str],
        excluded: Collection[str] = (),
        device: str = "cpu",
    ) -> Proposer:
        """Returns a saved proposer, which goes on as the one that was saved would have."""
        state = read_result(_State, folder / STATE)
        return cls(
            load_model(folder / MODEL, device=device),
            source,
            config,
            list(base_prompts),
            excluded,
            dict.fromkeys(state.seen),
            state.rounds,
            state.flops,
        )

    def _train(self, weights: Mapping[str, float], steps: int, rng: np.random.Generator) -> None:
        config = self.config
        settings = LoopConfig(learning_rate=config.learning_rate, muon_learning_rate=config.muon_learning_rate)
        self.flops += fine_tune(self.model, self._batches(weights, steps, rng), steps, settings).flops
        self.model.eval()

    def _batches(self, weights: Mapping[str, float], steps: int, rng: np.random.Generator) -> Iterator[Batch]:
        encode, end = self.source.tokenizer.encode_ordinary, end_token(self.source.tokenizer)
        prompts, base, size = list(weights), self.base_prompts, self.config.batch_size
        shares = np.array(list(weights.values())) / sum(weights.values()) if prompts else None
        n_base = round(self.config.replay_share * size) if prompts else size
        for _ in range(steps):
            drawn = [base[index] for index in rng.integers(0, len(base), n_base)]
            if prompts:
                drawn += [prompts[index] for index in rng.choice(len(prompts), size - n_base, p=shares)]
            yield collate([([end], [*encode(prompt), end]) for prompt in drawn], padding=end)
