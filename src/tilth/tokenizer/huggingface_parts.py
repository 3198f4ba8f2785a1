"""The parts of a `tokenizer.json` that every kind of model shares; every refusal names the file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from tilth.errors import DataError
from tilth.tokenizer.segmented import AddedToken
from tilth.tokenizer.vocabulary import MAX_ID

Json = dict[str, Any]
Template = tuple[tuple[int, ...], tuple[int, ...]]


class PartsReader:
    """Reads the parts of one file."""

    readable = ""
    """What can be read, for refusals."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def refuse(self, what: str) -> NoReturn:
        """Raises the DataError that names a part which is not supported."""
        raise DataError(f"{self.file}: {what} is not supported.", fix=self.readable)

    def refuse_cutting(self, content: Json) -> None:
        """Refuses a file that makes `tokenizers` cut or fill up what it encodes."""
        for part in ("truncation", "padding"):
            if content.get(part) is not None:
                self.refuse(f"a {part} ({part})")

    def check_model(self, model: Json) -> None:
        """Refuses options of a BPE model that would change ids."""
        if model.get("type", "BPE") != "BPE":
            self.refuse(f"a model of type {model['type']}")
        for option in ("dropout", "continuing_subword_prefix", "end_of_word_suffix"):
            if model.get(option):
                self.refuse(f"the model option {option} = {model[option]!r}")

    def check_decoder(self, decoder: Json | None, known: Sequence[str]) -> None:
        """Refuses a decoder, or a part of one, that is not of the `known` types."""
        parts = [] if decoder is None else decoder.get("decoders", [decoder])
        for part in parts:
            if part["type"] not in known:
                self.refuse(f"the decoder {part['type']}")

    def added_tokens(self, added: Sequence[Json]) -> list[AddedToken]:
        """The added tokens, special ones and others."""
        tokens: dict[str, AddedToken] = {}
        for entry in added:
            text, token_id = entry["content"], entry["id"]
            if not isinstance(text, str) or not text or type(token_id) is not int or not 0 <= token_id <= MAX_ID:
                raise DataError(f"{self.file}: the added token {text!r} with the id {token_id!r} cannot work.")
            if text in tokens:
                raise DataError(f"{self.file}: the added token {text!r} is there twice.")
            if entry["single_word"]:
                self.refuse(f"single_word of the added token {text!r}")
            options = {name: bool(entry[name]) for name in ("special", "normalized", "lstrip", "rstrip")}
            tokens[text] = AddedToken(text=text, token_id=token_id, **options)
        return list(tokens.values())

    def template(self, processor: Json | None, special_tokens: Mapping[str, int]) -> Template:
        """Ids that the post-processor puts before and behind one text."""
        parts = [] if processor is None else processor.get("processors", [processor])
        before: tuple[int, ...] = ()
        after: tuple[int, ...] = ()
        for part in parts:
            kind = part["type"]
            if kind == "TemplateProcessing":
                before, after = self._single(part, special_tokens)
            elif kind in ("BertProcessing", "RobertaProcessing"):
                before, after = (int(part["cls"][1]),), (int(part["sep"][1]),)
            elif kind != "ByteLevel":
                self.refuse(f"the post-processor {kind}")
        return before, after

    def _single(self, part: Json, special_tokens: Mapping[str, int]) -> Template:
        around: tuple[list[int], list[int]] = ([], [])
        n_texts = 0
        for item in part["single"]:
            if "Sequence" in item:
                n_texts += 1
                continue
            name = item["SpecialToken"]["id"]
            ids: list[int] = part["special_tokens"][name]["ids"]
            if name not in special_tokens or ids != [special_tokens[name]]:
                self.refuse(f"the template's token {name!r}, which is not the special token of that name,")
            around[min(n_texts, 1)].extend(ids)
        if n_texts != 1:
            self.refuse("a template that does not hold the text once")
        return tuple(around[0]), tuple(around[1])

    def ids(self, vocab: Mapping[str, int], added: Mapping[str, int]) -> dict[str, int]:
        """Ids of the ordinary tokens by their text in the file."""
        for text, token_id in added.items():
            if vocab.get(text, token_id) != token_id:
                raise DataError(f"{self.file}: the special token {text!r} has two ids, {vocab[text]} and {token_id}.")
        ids = {text: token_id for text, token_id in vocab.items() if text not in added}
        taken: dict[int, str] = {}
        for text, token_id in [*ids.items(), *added.items()]:
            if type(token_id) is not int or not 0 <= token_id <= MAX_ID:
                raise DataError(f"{self.file}: the id {token_id!r} of {text!r} is not between 0 and {MAX_ID}.")
            if taken.setdefault(token_id, text) != text:
                raise DataError(f"{self.file}: {taken[token_id]!r} and {text!r} have the same id {token_id}.")
        return ids

    def merges(self, merges: Sequence[str | Sequence[str]], ids: Mapping[str, int]) -> NDArray[np.uint32]:
        """Pairs of ids, shape (merges, 2)."""
        pairs = np.zeros((len(merges), 2), dtype=np.uint32)
        for i, merge in enumerate(merges):
            parts = merge.split(" ") if isinstance(merge, str) else merge
            if len(parts) != 2 or parts[0] not in ids or parts[1] not in ids:
                raise DataError(f"{self.file}: merge {i}, {merge!r}, is not two tokens of the vocabulary.")
            pairs[i] = ids[parts[0]], ids[parts[1]]
        return pairs
