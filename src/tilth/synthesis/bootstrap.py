"""Synthetic bootstrapped pairs: a model is trained on how documents of a corpus relate, and writes new ones.

After Yang et al. 2025 (synthetic bootstrapped pretraining): pairs of near documents are found in the corpus itself, the
pretrained model is trained further on p(second | first), and then draws a second document for each seed. No other
teacher is needed. A pair is read as

    <|endoftext|> first <|endoftext|> second <|endoftext|>

in one segment, so that attention reaches the first document; only the tokens of the second, and its end, count.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from tilth.errors import ConfigError, DataError
from tilth.execute import Context
from tilth.identity import claim
from tilth.inference import Engine
from tilth.model import IGNORE_INDEX, Transformer, load_model
from tilth.model.device import resolve_device
from tilth.results import write_result
from tilth.storage import Dataset
from tilth.synthesis.pairs import Pair, Pairs, chosen_documents, find_pairs, lsa_vectors
from tilth.synthesis.recipes.bootstrap_options import Bootstrap
from tilth.teacher.chat_format import ChatFormat
from tilth.teacher.local import LocalTeacher, model_folder
from tilth.tokenizer import Tokenizer
from tilth.training import Batch, Schedule, TrainConfig, Trainer, make_optimizers
from tilth.training.cpu import fast_cpu
from tilth.training.pretraining import weights_fingerprint
from tilth.types import Document, Message

if TYPE_CHECKING:
    from torch import Tensor

HELD_OUT = 20
"""One pair in so many is held out, to see whether the first document helps with the second."""
MAX_HELD_OUT = 64
RESULT = "bootstrap.json"
"""File name, in the folder of the preparation."""
EMBEDDED_AT_A_TIME = 32


@dataclass(frozen=True, kw_only=True)
class BootstrapResult:
    """What the model of related documents was trained on, and what it learned."""

    documents: int
    """Documents that were compared."""
    pairs: int
    """Pairs that it was trained on."""
    too_alike: int
    """Pairs that were left out because the texts nearly agree."""
    steps: int
    tokens: int
    """Read in training, padding included."""
    held_out_pairs: int
    loss_before: float
    """Nats a token of the second documents of held-out pairs, given the first, before the training; NaN without any."""
    loss_after: float
    loss_unrelated: float
    """The same after the training, given the first document of another pair: the difference to `loss_after` is what the
    model takes from the first document."""


@dataclass(frozen=True, kw_only=True)
class PairFormat(ChatFormat):
    """Turns a document, as the only message, into the prompt that a pair begins with."""

    context_length: int

    def encode(self, messages: Sequence[Message], tokenizer: Tokenizer) -> list[int]:
        """Returns the ids; of a long document its beginning, so that half of the context is left for the second."""
        return _beginning(tokenizer, "\n\n".join(message.content for message in messages), self.context_length)


def prepare(dataset: Dataset, work: Path, options: Bootstrap, context: Context) -> LocalTeacher:
    """Trains the model of related documents in `work`, or continues to, and returns it as a teacher.

    Raises: ConfigError without a model; DataError if it is none, or if too few documents relate to each other.
    """
    if not options.model:
        raise ConfigError(
            "The recipe `bootstrap` trains a model of your own.", fix="Name its folder: `--model FOLDER`."
        )
    folder = model_folder(Path(options.model))
    device = resolve_device(context.device)
    model, tokenizer = load_model(folder, device=str(device)), Tokenizer.load(folder)
    if tokenizer.end_of_text is None:
        raise ConfigError(
            f"The tokenizer of {folder} has no `<|endoftext|>` to put between documents.",
            fix="Use a model whose tokenizer has it.",
        )
    weights = weights_fingerprint(model)
    identity = {"dataset": dataset.fingerprint, "model": weights, "tokenizer": tokenizer.fingerprint,
                "options": replace(options, model="")}  # fmt: skip
    claim(work, identity, kind="bootstrap", outputs=("training", RESULT))
    pairs = _pairs(dataset, model, tokenizer, options)
    context.progress.say(
        f"bootstrap: {len(pairs.pairs):,} pairs of {len(pairs.documents):,} documents "
        f"({pairs.too_alike:,} were too alike)."
    )
    _train(model, tokenizer, pairs, options, work, weights, context)
    pair_format = PairFormat(context_length=model.config.context_length)
    return LocalTeacher(Engine(model, tokenizer), name="bootstrap", chat=pair_format)


def _pairs(dataset: Dataset, model: Transformer, tokenizer: Tokenizer, options: Bootstrap) -> Pairs:
    documents = chosen_documents(dataset, options.max_documents, options.training_seed)
    if options.features == "model":
        vectors = model_vectors(model, tokenizer, documents)
    else:
        vectors = lsa_vectors(documents, options.training_seed)
    pairs = find_pairs(
        documents,
        vectors,
        neighbours=options.neighbours,
        threshold=options.threshold,
        max_overlap=options.max_overlap,
    )
    if len(pairs.pairs) < 2:
        raise DataError(
            f"{len(pairs.pairs)} pairs of {len(documents)} documents of {dataset.folder} are similar and not the same.",
            fix="Give more documents, or a lower `threshold`.",
        )
    return pairs


def model_vectors(model: Transformer, tokenizer: Tokenizer, documents: Sequence[Document]) -> npt.NDArray[np.float32]:
    """Returns the means of the model's last states over each document's beginning, centred, (documents, d_model)."""
    vectors = np.zeros((len(documents), model.config.d_model), dtype=np.float32)
    ids = [_ids(tokenizer, document.text)[: model.config.context_length] or [0] for document in documents]
    order = sorted(range(len(ids)), key=lambda index: len(ids[index]))
    with torch.inference_mode():
        for start in range(0, len(order), EMBEDDED_AT_A_TIME):
            rows = order[start : start + EMBEDDED_AT_A_TIME]
            longest = max(len(ids[row]) for row in rows)
            filled = torch.tensor([ids[row] + [0] * (longest - len(ids[row])) for row in rows])
            states = model.hidden(filled.to(model.device)).float().cpu()
            for state, row in zip(states, rows, strict=True):
                vectors[row] = state[: len(ids[row])].mean(dim=0).numpy()
    # All states have a large part in common, which says nothing about a text.
    return vectors - vectors.mean(axis=0)


def _train(
    model: Transformer,
    tokenizer: Tokenizer,
    pairs: Pairs,
    options: Bootstrap,
    work: Path,
    weights: str,
    context: Context,
) -> None:
    """Trains the model in place; the trainer's checkpoint is what a killed training goes on from."""
    held_out = list(pairs.pairs[::HELD_OUT][:MAX_HELD_OUT]) if len(pairs.pairs) >= 2 * HELD_OUT else []
    # A pair that is held out is not trained on the other way round either.
    sealed = {frozenset((pair.first, pair.second)) for pair in held_out}
    trained_on = [pair for pair in pairs.pairs if frozenset((pair.first, pair.second)) not in sealed]
    examples = _Examples(model, tokenizer, pairs.documents)
    before = _loss(model, [examples.tokens(pair) for pair in held_out], tokenizer)
    steps = max(1, round(options.epochs * len(trained_on) / options.batch_pairs))
    config = TrainConfig(optimizer="adamw", learning_rate=options.learning_rate, beta1=0.9, beta2=0.95)
    with fast_cpu():
        trainer = Trainer(
            model,
            PairBatches(examples, trained_on, batch_pairs=options.batch_pairs, seed=options.training_seed),
            optimizers=make_optimizers(model, config),
            schedule=Schedule(steps=steps, warmup_steps=max(1, steps // 20), decay_fraction=1.0),
            out=work / "training",
            identity={"weights": weights, "steps": steps, "pairs": len(trained_on)},
            ahead=0,
            name="bootstrap",
            context=context,
        )
        trainer.run()
    after = _loss(model, [examples.tokens(pair) for pair in held_out], tokenizer)
    shifted = [
        examples.tokens(replace(pair, first=other.first))
        for pair, other in zip(held_out, [*held_out[1:], *held_out[:1]], strict=True)
    ]
    result = BootstrapResult(
        documents=len(pairs.documents),
        pairs=len(trained_on),
        too_alike=pairs.too_alike,
        steps=trainer.step,
        tokens=trainer.tokens,
        held_out_pairs=len(held_out),
        loss_before=before,
        loss_after=after,
        loss_unrelated=_loss(model, shifted, tokenizer),
    )
    write_result(work / RESULT, result)
    if held_out:
        context.progress.say(
            f"bootstrap: {before:.2f} -> {after:.2f} nats a token on {len(held_out)} held-out pairs; "
            f"{result.loss_unrelated:.2f} behind a document that is not related."
        )


@dataclass(frozen=True)
class _Example:
    """A pair as tokens."""

    ids: tuple[int, ...]
    counted_from: int
    """Index of the second document's first token."""


@dataclass
class _Examples:
    """Makes tokens of pairs."""

    model: Transformer
    tokenizer: Tokenizer
    documents: Sequence[Document]

    def tokens(self, pair: Pair) -> _Example:
        """Returns a pair as the model reads it, at most a context long; a second document that is cut has no end."""
        context = self.model.config.context_length
        assert self.tokenizer.end_of_text is not None
        prompt = _beginning(self.tokenizer, self.documents[pair.first].text, context)
        second = [*_ids(self.tokenizer, self.documents[pair.second].text), self.tokenizer.end_of_text]
        return _Example((*prompt, *second[: context + 1 - len(prompt)]), len(prompt))


class PairBatches:
    """Endless batches of pairs, in a new order each time round; the same again for the same seed."""

    def __init__(self, examples: _Examples, pairs: Sequence[Pair], *, batch_pairs: int, seed: int) -> None:
        self.examples, self.pairs, self.batch_pairs, self.seed = examples, pairs, batch_pairs, seed
        self.given = 0
        self._order: tuple[int, npt.NDArray[np.int64]] = (-1, np.empty(0, dtype=np.int64))

    def __iter__(self) -> Iterator[Batch]:
        while True:
            chosen = [self._pair(self.given * self.batch_pairs + place) for place in range(self.batch_pairs)]
            self.given += 1
            yield batch_of([self.examples.tokens(pair) for pair in chosen], self.examples.tokenizer)

    def state_dict(self) -> dict[str, int]:
        """Returns the position, as plain JSON."""
        return {"given": self.given}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Continues where `state_dict` was called."""
        self.given = state["given"]

    def _pair(self, index: int) -> Pair:
        epoch, place = divmod(index, len(self.pairs))
        if self._order[0] != epoch:
            self._order = epoch, np.random.default_rng([self.seed, epoch]).permutation(len(self.pairs))
        return self.pairs[int(self._order[1][place])]


def batch_of(examples: Sequence[_Example], tokenizer: Tokenizer) -> Batch:
    """Returns rows of pairs, filled up on the right, where nothing counts."""
    longest = max(len(example.ids) for example in examples) - 1
    inputs = torch.full((len(examples), longest), tokenizer.end_of_text or 0, dtype=torch.int64)
    targets = torch.full((len(examples), longest), IGNORE_INDEX, dtype=torch.int64)
    for row, example in enumerate(examples):
        ids = torch.tensor(example.ids)
        inputs[row, : len(ids) - 1] = ids[:-1]
        targets[row, example.counted_from - 1 : len(ids) - 1] = ids[example.counted_from :]
    return Batch(inputs, targets)


def _loss(model: Transformer, examples: Sequence[_Example], tokenizer: Tokenizer) -> float:
    """Returns nats a counted token, NaN without examples."""
    if not examples:
        return float("nan")
    nats, counted = 0.0, 0
    model.eval()
    with torch.inference_mode():
        for start in range(0, len(examples), EMBEDDED_AT_A_TIME):
            batch = batch_of(examples[start : start + EMBEDDED_AT_A_TIME], tokenizer).to(model.device)
            logits: Tensor = model(batch.inputs).float()
            losses = nn.functional.cross_entropy(
                logits.flatten(0, 1), batch.targets.flatten(), ignore_index=IGNORE_INDEX, reduction="sum"
            )
            nats += float(losses)
            counted += int((batch.targets != IGNORE_INDEX).sum())
    return nats / max(counted, 1)


def _beginning(tokenizer: Tokenizer, text: str, context_length: int) -> list[int]:
    """Returns the ids before a second document: those of the first, or of its beginning, between separators."""
    separator = tokenizer.end_of_text
    assert separator is not None
    most = max(1, context_length // 2 - 2)
    return [separator, *_ids(tokenizer, text.strip())[:most], separator]


def _ids(tokenizer: Tokenizer, text: str) -> list[int]:
    return tokenizer.encode_ordinary(text)
