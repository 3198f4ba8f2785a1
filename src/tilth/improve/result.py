"""What a loop leaves behind: `improve.json`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from tilth.errors import DataError
from tilth.improve.arms import ARMS

LOOP_RESULT = "improve.json"


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What the controller spends next, and why."""

    round: int
    action: Literal["train", "sample", "harder", "stop"]
    """More training on the same data; more pseudo-labels of the same difficulty, then training; harder problems, then
    training; or no more."""
    why: str
    """In one sentence, with the figures that decided."""
    gain_per_pflop: dict[str, float] = field(default_factory=dict[str, float])
    """Action -> expected gain (of the label-free score on validation problems) for 10^15 FLOPs; nan: not yet tried."""
    flops: float = 0.0
    """What it then took."""


@dataclass(frozen=True, kw_only=True)
class MonitorReading:
    """What the collapse monitor saw after a round."""

    round: int
    values: dict[str, float]
    """`answered`, `distinct_answers` (shares of validation problems); with real text, too: `held_out_bits_per_byte`,
    and of texts that the model writes `tail_mass`, `distinct_4`, `opening_share`."""
    verdict: Literal["ok", "fall_back", "stop"]
    """fall_back: the round's model and data are thrown away and the last good ones are used; stop: that, too, and the
    arm ends."""
    why: str = ""
    acted: bool = True
    """Whether the arm did so; a control is only read."""


@dataclass(frozen=True, kw_only=True)
class ArmResult:
    """What one arm came to in one run; tuples hold a value for each round."""

    accuracy: tuple[tuple[float, ...], ...]
    """On the test problems, in 0..1. Rows: the base model, then each round; columns: difficulties."""
    validation_accuracy: tuple[float, ...] = ()
    """On the validation problems, after the last round: what settings are to be chosen on. nan for base data."""
    difficulty: tuple[int, ...] = ()
    """The newest difficulty after each round."""
    generated: tuple[int, ...] = ()
    """Problems answered for pseudo-labels."""
    kept: tuple[int, ...] = ()
    """Pseudo-labels added to the training data."""
    label_accuracy: tuple[float, ...] = ()
    """Share of the pseudo-labels that are right, which no arm but the oracle sees; nan where none was kept."""
    train_flops: float = 0.0
    generation_flops: float = 0.0
    """Every augmentation of a vote counts, and the gate's; measuring does not."""
    seconds: float = 0.0
    bits_per_label: tuple[float, ...] = ()
    """Mean -log2 p(accepted answer) under the model before the round's training: what a pseudo-label still tells it."""
    bits_per_label_token: tuple[float, ...] = ()
    """The same for a token of an answer, its end included."""
    pass_rate: tuple[float, ...] = ()
    """Share of the answered problems that gave a pseudo-label; above 1 where a problem may give several."""
    distinct_labels: tuple[float, ...] = ()
    """Different answers among the pseudo-labels, as a share of them."""
    held_out_bits_per_byte: tuple[float, ...] = ()
    """On held-out real text: the base model, then each round; empty without real text."""
    decisions: tuple[Decision, ...] = ()
    """The controller's, one for each round; empty: the arm has none."""
    monitor: tuple[MonitorReading, ...] = ()
    ended: str = ""
    """Why the arm ended early, in words; empty: it did not. Its last rows are those of its last good model."""

    @property
    def flops(self) -> float:
        """FLOPs of training and generation."""
        return self.train_flops + self.generation_flops

    @property
    def bits_per_sample(self) -> tuple[float, ...]:
        """Bits that an answered problem is expected to give in each round: pass rate times bits per label."""
        return tuple(p * bits if p else 0.0 for p, bits in zip(self.pass_rate, self.bits_per_label, strict=True))


@dataclass(frozen=True, kw_only=True)
class LoopExample:
    """A test problem with the answers of all arms."""

    prompt: str
    answer: str
    outputs: dict[str, str]
    """Arm -> what its last model wrote."""


@dataclass(frozen=True, kw_only=True)
class SeedResult:
    """The whole loop with one seed."""

    seed: int
    arms: dict[str, ArmResult]
    base_flops: float = 0.0
    base_seconds: float = 0.0
    examples: tuple[LoopExample, ...] = ()

    @property
    def flops(self) -> float:
        """FLOPs of everything that was trained and generated."""
        return self.base_flops + sum(arm.flops for arm in self.arms.values())


@dataclass(frozen=True, kw_only=True)
class LoopResult:
    """What a loop came to."""

    task: str
    base_difficulty: int
    """Hardest problems that came with right answers."""
    difficulties: tuple[int, ...]
    """What accuracy is measured on."""
    rounds: int
    seeds: tuple[SeedResult, ...]
    test_problems: tuple[int, ...] = ()
    """For each difficulty."""
    validation_problems: tuple[int, ...] = ()
    n_params: int | None = None
    settings: str = ""
    """Fingerprint of the config without its seeds: results with equal settings differ by seed alone."""

    def __post_init__(self) -> None:
        if not self.seeds or not self.difficulties:
            raise DataError(f"There are no {'difficulties' if self.seeds else 'seeds'}.")
        columns = len(self.difficulties)
        for index, seed in enumerate(self.seeds):
            for name, arm in seed.arms.items():
                if not arm.accuracy or any(len(row) != columns for row in arm.accuracy):
                    raise DataError(
                        f"`seeds[{index}].arms.{name}.accuracy` must have one or more rows of {columns} difficulties."
                    )

    @property
    def flops(self) -> float:
        """FLOPs of everything that was trained and generated."""
        return sum(seed.flops for seed in self.seeds)

    @property
    def arms(self) -> tuple[str, ...]:
        """Names of the arms that every seed has, in the order in which they are shown: unknown ones last."""
        first, *others = (seed.arms for seed in self.seeds)
        common = [name for name in first if all(name in arms for arms in others)]
        return (*(arm for arm in ARMS if arm in common), *sorted(set(common) - set(ARMS)))

    def of_arm(self, arm: str) -> tuple[ArmResult, ...]:
        """Returns what an arm came to, one for each seed."""
        return tuple(seed.arms[arm] for seed in self.seeds)

    def final_accuracy(self, arm: str) -> tuple[tuple[float, ...], ...]:
        """Returns an arm's accuracy after the last round: a row for each seed, a column for each difficulty."""
        return tuple(seed.arms[arm].accuracy[-1] for seed in self.seeds)
