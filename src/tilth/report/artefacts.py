"""What the steps of a run leave behind, as the report reads it.

`RunArtefacts` names the files (or holds their parsed JSON); the frozen records below it are their contents,
key for key. Everything is optional, so that half a run gives half a page. The records stand here and not with
the stages because the report must read runs of other versions and lower floors must not know the report;
cost: a key lives in two places.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tilth.errors import ConfigError

Source = Path | Mapping[str, Any] | Sequence[Any]
"""A JSON file, or what `json.load` gives for it (`metrics`: a JSONL file, or its lines, parsed)."""

FILES = {
    "ledger.json": "ledger",
    "statistics.json": "tokenizer",
    "metrics.jsonl": "metrics",
    "summary.json": "training",
    "samples.json": "samples",
    "baselines.json": "baselines",
    "improve.json": "improve",
}
"""File name in a step's folder -> field of `RunArtefacts`."""


@dataclass(frozen=True, kw_only=True)
class RunArtefacts:
    """The files of one run that the report tells about. A path where nothing stands counts as left out."""

    name: str = "quickstart"
    """The recipe that was run."""
    ledger: Source | None = None
    """Curation: what was read, kept and dropped (`ledger.json`)."""
    tokenizer: Source | None = None
    """Tokenizer: `statistics.json`."""
    metrics: Source | None = None
    """Training: `metrics.jsonl`."""
    training: Source | None = None
    """Training: `summary.json`."""
    samples: Source | None = None
    """Text before and after training: `samples.json`."""
    baselines: Source | None = None
    """Bits per byte beside simple predictors: `baselines.json`."""
    improve: Source | None = None
    """The self-improving loop: `improve.json`."""
    recipes: Sequence[Source] = ()
    """The `recipe.json` of every step, in the order they ran."""
    cached: frozenset[str] | None = None
    """Names of the steps that this run took from the cache; None: not known, and not shown."""
    run_command: str | None = None
    """The command that makes this run again; None: `tilth run NAME`."""
    chat_command: str | None = None
    """The command to chat with the model."""

    @classmethod
    def collect(cls, folders: Iterable[Path], **fields: Any) -> RunArtefacts:
        """Finds the artefacts by their file names in the steps' folders; `fields` are passed on as they are.

        Raises: ConfigError where two folders hold a file of the same name.
        """
        found: dict[str, Any] = {"recipes": []}
        for folder in folders:
            if (folder / "recipe.json").is_file():
                found["recipes"].append(folder / "recipe.json")
            for file_name, field_name in FILES.items():
                path = folder / file_name
                if not path.is_file():
                    continue
                if field_name in found:
                    raise ConfigError(
                        f"`{found[field_name]}` and `{path}` are the same kind of artefact.",
                        fix=f"Pass the folders of one run, or name the file to show: `{field_name}=`.",
                    )
                found[field_name] = path
        return cls(**(found | fields))


@dataclass(frozen=True)
class Amount:
    """So many documents of so many bytes."""

    documents: int
    bytes: int


@dataclass(frozen=True)
class Input:
    """One corpus that was read."""

    name: str
    files: int
    bytes: int


@dataclass(frozen=True)
class Stage:
    """One stage of curation: what entered, what left."""

    stage: str
    documents_in: int
    documents_out: int
    bytes_in: int
    bytes_out: int


@dataclass(frozen=True)
class DropExample:
    """A document that was dropped: where it stood, what the rule measured, how the text begins."""

    source: str | None = None
    detail: str | None = None
    excerpt: str | None = None


@dataclass(frozen=True)
class Drop:
    """All documents that one stage dropped for one reason."""

    stage: str
    reason: str
    documents: int
    bytes: int
    examples: tuple[DropExample, ...] = ()


@dataclass(frozen=True)
class DeadLetter:
    """A file or record that made a stage raise."""

    stage: str
    error: str
    source: str | None = None


@dataclass(frozen=True)
class Ledger:
    """`ledger.json` of curation."""

    stages: tuple[Stage, ...]
    train: Amount
    held_out: Amount
    inputs: tuple[Input, ...] = ()
    drops: tuple[Drop, ...] = ()
    dead_letters: tuple[DeadLetter, ...] = ()
    n_dead_letters: int = 0
    languages: dict[str, int] = field(default_factory=dict[str, int])
    kinds: dict[str, int] = field(default_factory=dict[str, int])


@dataclass(frozen=True)
class Piece:
    """One token of the example text."""

    text: str
    id: int


@dataclass(frozen=True)
class TokenizedExample:
    """A text and the tokens that it is cut into."""

    text: str
    pieces: tuple[Piece, ...]


@dataclass(frozen=True)
class TokenizerStatistics:
    """`statistics.json` of the tokenizer."""

    vocab_size: int
    bytes_per_token: float
    """On held-out text."""
    pattern: str = ""
    fingerprint: str = ""
    used_tokens: int | None = None
    training_bytes: int | None = None
    longest_tokens: tuple[str, ...] = ()
    example: TokenizedExample | None = None


@dataclass(frozen=True)
class TrainPoint:
    """A line of `metrics.jsonl` written in training."""

    tokens: float
    loss: float
    """Nats per token."""
    learning_rate: float | None = None
    grad_norm: float | None = None


@dataclass(frozen=True)
class EvalPoint:
    """A line of `metrics.jsonl` written when the held-out text was read."""

    tokens: float
    held_out_bits_per_byte: float
    held_out_nats_per_token: float | None = None


@dataclass(frozen=True)
class Metrics:
    """`metrics.jsonl`, sorted into its two kinds of lines."""

    train: tuple[TrainPoint, ...]
    held_out: tuple[EvalPoint, ...]


@dataclass(frozen=True)
class TrainingSummary:
    """`summary.json` of training."""

    n_params: int
    tokens: int
    bits_per_byte_before: float
    bits_per_byte_after: float
    steps: int | None = None
    flops: float | None = None
    seconds: float | None = None
    tokens_per_second: float | None = None


@dataclass(frozen=True)
class TextSample:
    """What the model wrote after one prompt, before and after training."""

    prompt: str
    before: str
    after: str


@dataclass(frozen=True)
class Baselines:
    """`baselines.json`: bits per byte of several predictors on the same held-out text."""

    bits_per_byte: dict[str, float]
    held_out_bytes: int | None = None
    held_out_documents: int | None = None
    notes: dict[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True)
class Arm:
    """One arm of the loop's experiment."""

    accuracy: tuple[tuple[float, ...], ...]
    """Shape (rounds + 1, lengths), in 0..1; row 0 is the base model."""
    generated: tuple[int, ...] = ()
    """Samples drawn in each round."""
    kept: tuple[int, ...] = ()
    """Samples kept for training in each round."""
    label_accuracy: tuple[float, ...] = ()
    """Share of the kept samples that are right, per round (nan where none was kept)."""
    train_flops: float = 0.0
    generation_flops: float = 0.0
    seconds: float = 0.0


@dataclass(frozen=True)
class LoopExample:
    """One test prompt and what each arm's last model answers."""

    prompt: str
    answer: str
    outputs: dict[str, str]


@dataclass(frozen=True)
class Improve:
    """`improve.json` of the self-improving loop."""

    task: str
    base_lengths: tuple[int, ...]
    """First and last length of the base data."""
    lengths: tuple[int, ...]
    rounds: int
    prompts_per_length: int
    arms: dict[str, Arm]
    n_params: int | None = None
    base_flops: float = 0.0
    base_seconds: float = 0.0
    examples: tuple[LoopExample, ...] = ()


@dataclass(frozen=True)
class StepRecord:
    """`recipe.json` of one step."""

    name: str
    fingerprint: str
    seconds: float
    version: int | None = None
    config: dict[str, object] = field(default_factory=dict[str, object])
    inputs: dict[str, str] = field(default_factory=dict[str, str])
    counts: dict[str, object] = field(default_factory=dict[str, object])
    git_commit: str | None = None
    tilth_version: str | None = None
    finished_at: str | None = None

    @property
    def flops(self) -> float | None:
        """FLOPs that the step counted, where it did."""
        flops = self.counts.get("flops")
        return float(flops) if isinstance(flops, int | float) else None


@dataclass(frozen=True)
class RunData:
    """Everything that a run left behind, read and checked."""

    ledger: Ledger | None = None
    tokenizer: TokenizerStatistics | None = None
    metrics: Metrics | None = None
    training: TrainingSummary | None = None
    samples: tuple[TextSample, ...] = ()
    baselines: Baselines | None = None
    improve: Improve | None = None
    steps: tuple[StepRecord, ...] = ()
