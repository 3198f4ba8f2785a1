"""The self-improving loop on a task with growing difficulty, beside the arms that show what it owes to what.

All arms start from one base model and take as many steps. A round: draw problems one step harder, answer
them, keep what the arm's verifier accepts, train on base data and everything kept so far. An arm is a pure
function of base model, name and config; each round leaves one file, whole or not at all, so that a killed run
goes on where it stopped and ends with the same weights. The price is that a round's optimizer starts afresh.
Equal steps are not equal FLOPs: harder problems are longer, and only some arms generate, so training and
generation are counted apart.
Source: Lee et al. 2025 (arXiv 2502.01612), made small.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from tilth import execute
from tilth.files import clear_temporaries, write_json
from tilth.improve.checkpoint import Harvest, Round, load_round, save_round
from tilth.improve.config import ARMS, Arm, LoopConfig
from tilth.improve.gather import gather
from tilth.improve.practice import Answering, Exercises, accuracy, one_quiet_thread, practise
from tilth.improve.task import Ints, Reverse, Task, fixed_prompts
from tilth.improve.verify import is_right, verifier
from tilth.model import ModelConfig, Transformer
from tilth.progress import SILENT, Progress

LONGEST_FIRST: tuple[Arm, ...] = ("vote", "unfiltered", "checker", "control", "frozen")
"""The order in which arms are started, so that side by side they end at about the same time."""
EXAMPLES = 4
"""Problems whose answers by all arms are shown, spread over the difficulties that rounds can reach."""


@dataclass(frozen=True, kw_only=True)
class ArmResult:
    """What one arm came to; lists hold a value for each round."""

    accuracy: list[list[float]]
    """Rows: the base model, then each round; columns: difficulties. In 0..1."""
    generated: list[int]
    """Problems answered."""
    kept: list[int]
    """Answers accepted and added to the training data."""
    label_accuracy: list[float]
    """Share of the kept answers that are right, which the loop itself never sees; nan where none was kept."""
    train_flops: float
    generation_flops: float
    """Every view of a vote counts; measuring does not."""
    seconds: float


@dataclass(frozen=True, kw_only=True)
class LoopResult:
    """What the loop came to."""

    n_params: int
    base_flops: float
    base_seconds: float
    arms: dict[Arm, ArmResult]

    @property
    def flops(self) -> float:
        """FLOPs of everything that was trained and generated."""
        return self.base_flops + sum(arm.train_flops + arm.generation_flops for arm in self.arms.values())


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What all arms share."""

    config: LoopConfig
    task: Task
    folder: Path
    """Holds `base.safetensors` and, for each arm, a file for each round."""
    device: str = "cpu"

    @property
    def base_file(self) -> Path:
        """Where the base model is."""
        return self.folder / "base.safetensors"

    @property
    def model_config(self) -> ModelConfig:
        """The shape of the model: without positions (NoPE), since rotary ones fail one step beyond
        training."""
        hardest = self.config.measured_difficulties[-1]
        prompt = self.task.prompts(hardest, 0, np.random.default_rng(0)).shape[1]
        return ModelConfig(
            vocab_size=self.task.vocab_size,
            d_model=self.config.d_model,
            n_layers=self.config.n_layers,
            n_heads=self.config.n_heads,
            d_ff=self.config.d_ff,
            context_length=prompt + 2 * self.task.answer_length(hardest),
            rope_theta=None,
        )

    def exercises(self) -> Exercises:
        """Returns the base data, with the prompts that are measured on kept out: the same for all arms and
        rounds."""
        held_out = {
            difficulty: fixed_prompts(
                self.task, difficulty, self.config.prompts_per_difficulty, self.rng(0, difficulty)
            )
            for difficulty in self.config.measured_difficulties
        }
        return Exercises(self.task, self.config, held_out)

    def rng(self, *place: int) -> np.random.Generator:
        """Returns the stream of chance of one place in the loop."""
        return np.random.default_rng([self.config.seed, *place])


def improve(config: LoopConfig, out: Path, context: execute.Context, task: Task | None = None) -> LoopResult:
    """Trains the base model once, runs all arms from it, and writes `improve.json`.

    Rounds stay under `out` as they end; called again, it goes on from there. The task is `Reverse` unless
    given.
    """
    clear_temporaries(out)
    setting = Setting(config=config, task=task or Reverse(), folder=out, device=context.device)
    if not setting.base_file.exists():
        train_base(setting, context.progress)
    base, _ = load_round(setting.base_file)
    results: dict[Arm, ArmResult] = {}
    outputs: dict[Arm, list[str]] = {}
    outcomes = execute.map_shards(partial(run_arm, setting), LONGEST_FIRST, context, name="improve", unit="arms")
    for arm, outcome in zip(LONGEST_FIRST, outcomes, strict=True):
        results[arm], outputs[arm] = outcome
    result = LoopResult(
        n_params=setting.model_config.n_params,
        base_flops=base.train_flops,
        base_seconds=base.seconds,
        arms={arm: results[arm] for arm in ARMS},
    )
    write_json(out / "improve.json", _artefact(setting, result, outputs))
    return result


def train_base(setting: Setting, progress: Progress = SILENT) -> None:
    """Trains the model that all arms start from, on right answers to easy problems, and writes it as round
    0."""
    started = time.monotonic()
    config, exercises, rng = setting.config, setting.exercises(), setting.rng(1)
    with torch.random.fork_rng(devices=[]), one_quiet_thread():
        torch.manual_seed(config.seed)
        model = Transformer(setting.model_config).to(setting.device)
        batches = partial(exercises.batch, rng)
        flops = practise(model, batches, config.base_steps, config.learning_rate, progress, "base model")
        record = Round(
            difficulty=config.base_difficulty,
            accuracy=accuracy(model, setting.task, exercises.held_out),
            train_flops=flops,
            seconds=time.monotonic() - started,
        )
    save_round(setting.base_file, model, record, Harvest(difficulty=config.base_difficulty))


def run_arm(setting: Setting, arm: Arm) -> tuple[ArmResult, list[str]]:
    """Runs an arm, or goes on with it; returns what it came to, and its last model's answers to the
    examples."""
    exercises = setting.exercises()
    model = Transformer(setting.model_config).to(setting.device).eval()
    rounds = [load_round(setting.base_file, model)[0]]
    with one_quiet_thread():
        for number in range(1, setting.config.rounds + 1):
            if arm == "frozen":
                rounds.append(Round(difficulty=rounds[0].difficulty, accuracy=rounds[0].accuracy))
                continue
            file = setting.folder / arm / f"round-{number:02d}.safetensors"
            if not file.exists():
                run_round(setting, arm, number, model, exercises, rounds[-1].difficulty, file)
            record, added = load_round(file, model)
            exercises = exercises.plus(record.difficulty, *added)
            rounds.append(record)
        answers = [_answer(setting.task, model, *example) for example in _examples(setting, exercises.held_out)]
    return _arm_result(rounds), answers


def run_round(
    setting: Setting,
    arm: Arm,
    number: int,
    model: Transformer,
    exercises: Exercises,
    difficulty: int,
    file: Path,
) -> None:
    """Runs one round from the arm's last model, data and difficulty, and writes it; the exercises stay as
    they are."""
    started = time.monotonic()
    config, task = setting.config, setting.task
    rng = setting.rng(2 + ARMS.index(arm), number)
    harvest, newest = Harvest(difficulty=difficulty), None
    if arm != "control":
        gated = arm != "unfiltered"
        harvest = gather(model, exercises, verifier(arm, task, config, rng), difficulty, rng, gated=gated)
        newest = harvest.difficulty
    practised = exercises.plus(harvest.difficulty, harvest.prompts, harvest.answers)
    batches = partial(practised.batch, rng, newest=newest)
    flops = practise(model, batches, config.round_steps, config.learning_rate)
    record = Round(
        difficulty=harvest.difficulty,
        accuracy=accuracy(model, task, exercises.held_out),
        generated=harvest.generated,
        kept=len(harvest.prompts),
        right=int(is_right(harvest.answers, harvest.prompts, task).sum()) if len(harvest.prompts) else 0,
        train_flops=flops,
        generation_flops=harvest.flops,
        seconds=time.monotonic() - started,
    )
    save_round(file, model, record, harvest)


def _arm_result(rounds: list[Round]) -> ArmResult:
    after = rounds[1:]
    return ArmResult(
        accuracy=[record.accuracy for record in rounds],
        generated=[record.generated for record in after],
        kept=[record.kept for record in after],
        label_accuracy=[record.right / record.kept if record.kept else math.nan for record in after],
        train_flops=sum(record.train_flops for record in after),
        generation_flops=sum(record.generation_flops for record in after),
        seconds=sum(record.seconds for record in after),
    )


def _examples(setting: Setting, held_out: Mapping[int, Ints]) -> list[tuple[int, Ints]]:
    """Returns (difficulty, prompt), evenly spread over what is beyond the base data."""
    config = setting.config
    hardest = config.base_difficulty + config.rounds
    spread = np.linspace(config.base_difficulty + 1, hardest, min(EXAMPLES, config.rounds))
    return [(int(difficulty), held_out[int(difficulty)][0]) for difficulty in spread]


def _answer(task: Task, model: Transformer, difficulty: int, prompt: Ints) -> str:
    return task.show(Answering(model, task, difficulty)(prompt[None])[0])


def _artefact(setting: Setting, result: LoopResult, outputs: Mapping[Arm, list[str]]) -> dict[str, object]:
    """Returns what `improve.json` holds; a label accuracy without labels is null."""
    config, task = setting.config, setting.task
    arms: dict[str, object] = {}
    for arm, outcome in result.arms.items():
        shares = [None if math.isnan(share) else share for share in outcome.label_accuracy]
        arms[arm] = asdict(outcome) | {"label_accuracy": shares}
    examples = [
        {
            "prompt": task.show(prompt),
            "answer": task.show(task.answers(prompt[None])[0]),
            "outputs": {arm: answers[place] for arm, answers in outputs.items()},
        }
        for place, (_, prompt) in enumerate(_examples(setting, setting.exercises().held_out))
    ]
    return {
        "task": task.name,
        "base_lengths": [1, config.base_difficulty],
        "lengths": list(config.measured_difficulties),
        "rounds": config.rounds,
        "prompts_per_length": config.prompts_per_difficulty,
        "n_params": result.n_params,
        "arms": arms,
        "base_flops": result.base_flops,
        "base_seconds": result.base_seconds,
        "examples": examples,
    }
