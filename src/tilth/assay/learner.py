"""Learners of a value measurement: trained on the source, then on in each arm, and measured document by document.

Each training is a unit of work of its own folder, which a record ends; a unit that was killed continues from its
checkpoint and writes the same bytes. What the arms of a seed have in common (first weights, number of steps, replayed
rows and their order) follows from the seed alone, so differences between arms are paired.
"""

from __future__ import annotations

import hashlib
import io
import math
import shutil
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray

from tilth.assay.arms import Ids, row_order, rows_of
from tilth.assay.config import ValueConfig
from tilth.errors import DataError, DivergedError
from tilth.execute import Context
from tilth.files import write_bytes
from tilth.model import ModelConfig, Transformer, load_model, save_model
from tilth.model.loss import IGNORE_INDEX
from tilth.results import read_result, write_result
from tilth.training import Batch, Schedule, TrainConfig, Trainer, initial_model, make_optimizers
from tilth.training.bigrams import count_pairs, factored
from tilth.training.cpu import fast_cpu
from tilth.training.held_out import EVAL_BATCH_TOKENS, overlapping_windows
from tilth.training.metrics import read_metrics
from tilth.training.result import METRICS

BEFORE = "before"
TEXT = "text"
"""Folder of the arms' tokens; removed when all arms are done."""
RECORD = "loss.json"
WARMUP = 0.1
"""Share of the steps over which the learning rate rises."""
_MODEL, _TRAINING = "model", "training"
_REPLAY, _OWN, _FIRST = 0, 1, 2
"""Keys of the streams of chance that order rows."""
_CHECKSUM_BYTES = 16


@dataclass(frozen=True, kw_only=True)
class LossRecord:
    """What a finished training leaves: the loss on each held-out document."""

    nats: tuple[float, ...]
    """Of each held-out document; empty where the training ended early."""
    tokens: int
    """Trained on, replayed ones included."""
    flops: float
    ended: str = ""
    """Why the training ended early; empty: it did not."""


@dataclass(frozen=True, kw_only=True)
class Learner:
    """One size of learner with one seed."""

    depth: int
    seed: int
    vocab_size: int
    config: ValueConfig
    root: Path
    """Of the measurement: `text/` and `depth-D/seed-S/ARM/` are in it."""
    longer_steps: int = 0
    """Steps of the arm `longer`."""
    context: Context = field(default_factory=Context)

    @property
    def shape(self) -> ModelConfig:
        """The shape of the model."""
        return ModelConfig.from_depth(self.depth, vocab_size=self.vocab_size, context_length=self.config.context_length)

    def folder(self, arm: str) -> Path:
        """Returns the folder of a training."""
        return self.root / f"depth-{self.depth}" / f"seed-{self.seed}" / arm

    def text(self, arm: str) -> Path:
        """Returns the file of an arm's tokens."""
        return self.root / TEXT / f"seed-{self.seed}-{arm}.npy"


def batch_rows(config: ValueConfig) -> int:
    """Returns the rows of a step."""
    return config.batch_tokens // config.context_length


def own_rows(config: ValueConfig) -> int:
    """Returns the rows of a step in an arm that are not replayed, at least one."""
    return max(1, round(batch_rows(config) * (1 - config.replay)))


def before_steps(config: ValueConfig) -> int:
    """Returns the steps before the arms part."""
    return max(1, config.before_epochs * config.before_tokens // (batch_rows(config) * config.context_length))


def arm_steps(config: ValueConfig) -> int:
    """Returns the steps of an arm."""
    return max(1, config.arm_tokens // (batch_rows(config) * config.context_length))


def own_tokens(config: ValueConfig) -> int:
    """Returns the tokens of its own text that an arm reads."""
    return arm_steps(config) * own_rows(config) * config.context_length


def train_before(learner: Learner) -> None:
    """Trains a learner on the source, unless that is done, and keeps its weights for the arms."""
    folder = learner.folder(BEFORE)
    if (folder / RECORD).exists():
        return
    ids = load_ids(learner.text(BEFORE))
    with one_thread():
        model = initial_model(learner.shape, learner.seed)
        _start_from_pairs(model, ids, learner.seed)
        rows = rows_of(ids, learner.config.context_length)
        n = batch_rows(learner.config)
        steps = before_steps(learner.config)
        order = row_order(len(rows), n * steps, learner.seed, _FIRST)
        record = _train(learner, BEFORE, model, [(rows, order, n)], steps, rate=1.0)
    if not record.ended:
        save_model(model, folder / _MODEL)
    _finish(folder, record)


def train_arm(unit: tuple[Learner, str]) -> None:
    """Trains a learner on in an arm, unless that is done."""
    learner, arm = unit
    folder, config = learner.folder(arm), learner.config
    if (folder / RECORD).exists():
        return
    before = read_record(learner, BEFORE)
    if before.ended:
        ended = f"The learner ended before the arms parted: {before.ended}"
        _finish(folder, LossRecord(nats=(), tokens=0, flops=0.0, ended=ended))
        return
    steps = learner.longer_steps if arm == "longer" else arm_steps(config)
    own, all_rows = own_rows(config), batch_rows(config)
    parts: list[tuple[Ids, Ids, int]] = []
    for name, n, key in ((arm, own, _OWN), (BEFORE, all_rows - own, _REPLAY)):
        if not n:
            continue
        rows = rows_of(load_ids(learner.text(name)), config.context_length)
        parts.append((rows, row_order(len(rows), n * steps, learner.seed, key), n))
    with one_thread():
        model = load_model(learner.folder(BEFORE) / _MODEL)
        record = _train(learner, arm, model, parts, steps, rate=config.arm_rate)
    _finish(folder, record)


def read_record(learner: Learner, arm: str) -> LossRecord:
    """Returns what a finished training left."""
    return read_result(LossRecord, learner.folder(arm) / RECORD)


def _finish(folder: Path, record: LossRecord) -> None:
    """Removes the checkpoint and then writes the record: it is there only when all else is as it stays."""
    shutil.rmtree(folder / _TRAINING, ignore_errors=True)
    write_result(folder / RECORD, record)


def remove_weights(learner: Learner) -> None:
    """Removes the weights that the arms started from; nothing needs them any more."""
    shutil.rmtree(learner.folder(BEFORE) / _MODEL, ignore_errors=True)


def _train(
    learner: Learner,
    arm: str,
    model: Transformer,
    parts: list[tuple[Ids, Ids, int]],
    steps: int,
    *,
    rate: float,
) -> LossRecord:
    """Trains a model in place and measures it; a loss that is not finite ends in words."""
    config = learner.config
    model.to(learner.context.device)
    training = TrainConfig(
        learning_rate=rate * config.learning_rate, muon_learning_rate=rate * config.muon_learning_rate
    )
    tokens = steps * batch_rows(config) * config.context_length
    flops = tokens * learner.shape.flops_per_token
    trainer = Trainer(
        model,
        _batches(parts, steps),
        optimizers=make_optimizers(model, training),
        schedule=Schedule(steps=steps, warmup_steps=WARMUP * steps, decay_fraction=training.decay_fraction),
        out=learner.folder(arm) / _TRAINING,
        identity={"config": config, "depth": learner.depth, "seed": learner.seed, "arm": arm},
        # Units run side by side, so a thread that makes batches would only take time from another one.
        ahead=0,
        name=f"depth {learner.depth}, seed {learner.seed}, {arm}",
        context=replace(learner.context),
    )
    try:
        trainer.run()
    except DivergedError as error:
        # By the log: how many more steps the trainer took before it looked at the loss is a matter of time.
        done = 1 + len(read_metrics(learner.folder(arm) / _TRAINING / METRICS).train)
        return LossRecord(nats=(), tokens=tokens * done // steps, flops=flops * done / steps, ended=error.message)
    nats = document_nats(model, load_held_out(learner.root / TEXT))
    if not all(map(math.isfinite, nats)):
        return LossRecord(nats=(), tokens=tokens, flops=flops, ended="The held-out loss is not finite.")
    return LossRecord(nats=nats, tokens=tokens, flops=flops)


def _batches(parts: list[tuple[Ids, Ids, int]], steps: int) -> Iterator[Batch]:
    """Yields batches that take the next `n` rows in order of each `(rows, order, n)`."""
    for step in range(steps):
        rows = np.concatenate([rows[order[step * n : (step + 1) * n]] for rows, order, n in parts])
        batch = torch.from_numpy(rows.astype(np.int64))
        yield Batch(batch[:, :-1].contiguous(), batch[:, 1:].contiguous())


@torch.no_grad()
def _start_from_pairs(model: Transformer, ids: Ids, seed: int) -> None:
    """Starts embeddings and output from counts of pairs, which saves steps: see `training.bigrams`."""
    pairs, counts = count_pairs(iter([ids.astype(np.int32)]), model.config.vocab_size)
    generator = torch.Generator().manual_seed(seed)
    embedding, head = factored(pairs, counts, model.config.vocab_size, model.config.d_model, generator)
    model.embedding.weight.copy_(embedding)
    assert model.head is not None
    model.head.weight.copy_(head)


def document_nats(model: Transformer, documents: list[list[int]]) -> tuple[float, ...]:
    """Returns the loss of each document in nats, read as in `training.text_loss`.

    Documents begin and end with the separator, which is not counted at the beginning.
    """
    length = model.config.context_length
    windows = [
        (index, ids, context)
        for index, document in enumerate(documents)
        for ids, context in overlapping_windows(document, length)
    ]
    windows.sort(key=lambda window: len(window[1]))
    nats = np.zeros(len(documents))
    model.eval()
    size = max(1, EVAL_BATCH_TOKENS // length)
    for start in range(0, len(windows), size):
        batch = windows[start : start + size]
        longest = len(batch[-1][1]) - 1
        inputs = torch.zeros(len(batch), longest, dtype=torch.int64)
        targets = torch.full((len(batch), longest), IGNORE_INDEX)
        for row, (_, ids, context) in enumerate(batch):
            inputs[row, : len(ids) - 1] = torch.tensor(ids[:-1])
            targets[row, context : len(ids) - 1] = torch.tensor(ids[context + 1 :])
        losses = model.token_losses(inputs.to(model.device), targets.to(model.device)).cpu().double().sum(dim=1)
        for (index, _, _), loss in zip(batch, losses.tolist(), strict=True):
            nats[index] += loss
    return tuple(nats.tolist())


def load_ids(path: Path) -> Ids:
    """Returns the tokens in a file that `save_array` wrote.

    Raises: DataError if it is missing, or not as it was written.
    """
    try:
        content = path.read_bytes()
        array, checksum = content[:-_CHECKSUM_BYTES], content[-_CHECKSUM_BYTES:]
        if _checksum(array) != checksum:
            raise ValueError("its content is not what was written")
        return cast(Ids, np.load(io.BytesIO(array)).astype(np.int64))
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path} cannot be read: {error}.", fix=f"Delete {path.parent} and run the same again."
        ) from None


def save_array(path: Path, array: NDArray[np.int64]) -> None:
    """Writes an array, ids as small as they go, and behind it a checksum; equal arrays give equal bytes."""
    stream = io.BytesIO()
    np.save(stream, array.astype(np.uint16) if array.max(initial=0) < 1 << 16 else array)
    write_bytes(path, stream.getvalue() + _checksum(stream.getvalue()))


def _checksum(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()[:_CHECKSUM_BYTES]


def load_held_out(folder: Path) -> list[list[int]]:
    """Returns the held-out documents as ids between separators."""
    ids, ends = load_ids(folder / "held_out.npy"), load_ids(folder / "held_out_ends.npy")
    return [part.tolist() for part in np.split(ids, ends[:-1])]


@contextmanager
def one_thread() -> Generator[None]:
    """One torch thread, so that sums have one order and units run side by side, with the settings that suit a CPU."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with fast_cpu():
            yield
    finally:
        torch.set_num_threads(threads)
