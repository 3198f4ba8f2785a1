"""Bits per byte of single documents under reference models of any kind, by one definition.

It is that of `training.text_loss`: the losses of all tokens of a document and of its closing separator are summed, the
opening separator is given, and the sum is divided by the text's bytes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tilth.errors import DataError, DependencyError, TilthError
from tilth.evaluation.ngram import NgramModel
from tilth.intervals import Interval, ratio_interval
from tilth.model import load_model
from tilth.model.device import resolve_device
from tilth.model.loss import IGNORE_INDEX
from tilth.tokenizer import Tokenizer
from tilth.training.cpu import fast_cpu
from tilth.training.held_out import EVAL_BATCH_TOKENS, overlapping_windows

if TYPE_CHECKING:
    from tilth.model import Transformer

MOST_CONTEXT = 2048
"""Tokens that a reference model looks back on at most, so that a long context takes no more memory."""
_LOGITS = 1 << 27
"""Logits that are in memory at a time, of a model that `transformers` runs: half a gigabyte."""
_F64 = npt.NDArray[np.float64]


class Scorer(Protocol):
    """A reference model."""

    @property
    def note(self) -> str:
        """What it is, in a sentence."""
        ...

    def nats(self, texts: Sequence[str]) -> _F64:
        """Returns the summed loss of each text, its closing separator included: (texts,)."""
        ...


def sizes_of(texts: Sequence[str]) -> _F64:
    """Returns the bytes of each text in UTF-8."""
    return np.array([len(text.encode("utf-8", "surrogatepass")) for text in texts], np.float64)


def bits_per_byte(scorer: Scorer, texts: Sequence[str]) -> Interval:
    """Returns the bits per byte of texts taken together, with the interval over documents."""
    return ratio_interval((scorer.nats(texts) / math.log(2)).tolist(), sizes_of(texts).tolist())


class NgramScorer:
    """An n-gram model of tokens."""

    def __init__(self, model: NgramModel, tokenizer: Tokenizer, note: str) -> None:
        self.model, self.tokenizer, self.note = model, tokenizer, note

    def nats(self, texts: Sequence[str]) -> _F64:
        """As `Scorer.nats`."""
        tokens = self.tokenizer.encode_batch(list(texts), disallowed_special=())
        losses = self.model.token_losses(tokens)
        return np.add.reduceat(losses, np.cumsum([0, *(len(ids) + 1 for ids in tokens)])[:-1])


class TransformerScorer:
    """A model of ours, or of a folder that ours can read."""

    def __init__(self, model: Transformer, tokenizer: Tokenizer, note: str) -> None:
        model.config.check_vocabulary(tokenizer.vocab_size)
        self.model, self.tokenizer, self.note = model.eval(), tokenizer, note

    def nats(self, texts: Sequence[str]) -> _F64:
        """As `Scorer.nats`."""
        tokens = self.tokenizer.encode_batch(list(texts), disallowed_special=())
        context = min(self.model.config.context_length, MOST_CONTEXT)
        with fast_cpu():
            return _document_nats(
                lambda ids, targets: self.model.token_losses(
                    ids.to(self.model.device), targets.to(self.model.device)
                ).cpu(),
                tokens,
                self.tokenizer.end_of_text,
                context,
                max(1, EVAL_BATCH_TOKENS // context),
            )


class HuggingFaceScorer:
    """A causal language model that `transformers` runs, with its own tokenizer."""

    def __init__(self, folder: Path, device: str) -> None:
        """Raises: DependencyError without `transformers`; DataError for a folder that it cannot load."""
        try:
            import transformers
        except ImportError as error:
            raise DependencyError(
                f"{folder} holds a model of an architecture that tilth does not have, and `transformers` is not "
                "installed.",
                fix="Install it: `pip install transformers`.",
            ) from error
        library = cast(Any, transformers)
        try:
            self.tokenizer: Any = library.AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
            model: Any = library.AutoModelForCausalLM.from_pretrained(
                str(folder), local_files_only=True, dtype=torch.float32
            )
        except Exception as error:  # the library raises whatever its parts do
            text = " ".join(str(error).split())[:200]
            raise DataError(
                f"`transformers` cannot load {folder}: {text}", fix="Give the folder of a causal model."
            ) from error
        self.model = model.to(resolve_device(device)).eval()
        known = cast("dict[str, int]", self.tokenizer.get_vocab())
        self.separator: int | None = known.get("<|endoftext|>", self.tokenizer.eos_token_id)
        longest = int(getattr(self.model.config, "max_position_embeddings", None) or MOST_CONTEXT)
        self.context = min(longest, MOST_CONTEXT)
        n_params = sum(int(weight.numel()) for weight in self.model.parameters())
        kind = str(self.model.config.model_type)
        self.note = f"{kind} of {n_params:,} parameters, run by `transformers`; sees up to {self.context} tokens back."

    def nats(self, texts: Sequence[str]) -> _F64:
        """As `Scorer.nats`."""
        tokens = [cast("list[int]", self.tokenizer.encode(text, add_special_tokens=False)) for text in texts]
        vocabulary = int(self.model.config.get_text_config().vocab_size)
        rows = max(1, min(EVAL_BATCH_TOKENS, _LOGITS // vocabulary) // self.context)
        with torch.no_grad():
            return _document_nats(self._losses, tokens, self.separator, self.context, rows)

    def _losses(self, ids: Tensor, targets: Tensor) -> Tensor:
        logits = self.model(input_ids=ids.to(self.model.device), use_cache=False).logits.float().cpu()
        losses = torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORE_INDEX, reduction="none"
        )
        return losses.view(targets.shape)


def open_scorer(folder: Path, device: str) -> Scorer:
    """Opens the model of a folder: by our own class where that reads it, else by `transformers`.

    Raises: DataError or DependencyError if neither can.
    """
    if not folder.is_dir():
        raise DataError(f"There is no folder {folder}.", fix="Give the folder of a model: ours or Hugging Face's.")
    try:
        model = load_model(folder, device=device)
        tokenizer = Tokenizer.load(folder)
    except TilthError:
        if not (folder / "config.json").is_file():
            raise
        return HuggingFaceScorer(folder, device)
    context = min(model.config.context_length, MOST_CONTEXT)
    note = f"Transformer of {model.config.n_params:,} parameters; sees up to {context} tokens back."
    return TransformerScorer(model, tokenizer, note)


def _document_nats(
    token_losses: Callable[[Tensor, Tensor], Tensor],
    tokens: Sequence[Sequence[int]],
    separator: int | None,
    context: int,
    rows: int,
) -> _F64:
    """Returns the summed loss of each document; `rows` windows go through the model at a time."""
    edge = [] if separator is None else [separator]
    windows = [
        (ids, skipped, number)
        for number, document in enumerate(tokens)
        for ids, skipped in overlapping_windows([*edge, *document, *edge], context)
        if len(ids) > 1
    ]
    windows.sort(key=lambda window: len(window[0]))
    found = np.zeros(len(tokens))
    for start in range(0, len(windows), rows):
        batch = windows[start : start + rows]
        longest = len(batch[-1][0]) - 1
        inputs = torch.zeros(len(batch), longest, dtype=torch.int64)
        targets = torch.full((len(batch), longest), IGNORE_INDEX)
        for row, (ids, skipped, _) in enumerate(batch):
            inputs[row, : len(ids) - 1] = torch.tensor(ids[:-1])
            targets[row, skipped : len(ids) - 1] = torch.tensor(ids[skipped + 1 :])
        sums = token_losses(inputs, targets).double().sum(dim=1).numpy()
        np.add.at(found, [number for _, _, number in batch], sums)
    return found
