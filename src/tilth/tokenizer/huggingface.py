"""`tokenizer.json` in and out, the file of the Hugging Face `tokenizers` library.

Read is what gives the same ids here as there: byte-level BPE with GPT-2's split or one regex, and special
tokens. Any other part of the file is refused by name instead of being passed over. Written is the form that
`tokenizers`, `transformers` and llama.cpp's converter know, byte for byte the same from run to run.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from tilth.errors import DataError
from tilth.storage import read_json, write_bytes
from tilth.tokenizer.byte_level import from_characters, to_characters
from tilth.tokenizer.config import END_OF_TEXT
from tilth.tokenizer.split import PATTERNS, pattern_name
from tilth.tokenizer.vocabulary import Vocabulary

FILE_NAME = "tokenizer.json"

_Json = dict[str, Any]


def write_vocabulary(directory: Path, vocabulary: Vocabulary, merges: NDArray[np.uint32]) -> None:
    """Writes `tokenizer.json` and the `tokenizer_config.json` that `transformers` asks for, atomically.

    `merges` stands in for `vocabulary.merges` where that is None.
    """
    special_ids = set(vocabulary.special_tokens.values())
    texts = [to_characters(token) for token in vocabulary.tokens]
    content = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [_added_token(*item) for item in _by_id(vocabulary.special_tokens)],
        "normalizer": None,
        "pre_tokenizer": _pre_tokenizer(vocabulary.pattern),
        "post_processor": None,
        "decoder": _byte_level(use_regex=True),
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": vocabulary.ignore_merges or vocabulary.merges is None,
            "vocab": {text: i for i, text in enumerate(texts) if text and i not in special_ids},
            "merges": [[texts[left], texts[right]] for left, right in merges.tolist()],
        },
    }
    _write(directory / "tokenizer_config.json", _transformers_config(vocabulary.special_tokens))
    _write(directory / FILE_NAME, content)


def read_vocabulary(path: Path) -> Vocabulary:
    """Reads a `tokenizer.json`, or the one in the folder `path`.

    Raises: DataError naming the file and the part of it that is missing, broken or not supported.
    """
    file = path / FILE_NAME if path.is_dir() else path
    content = read_json(file)
    try:
        return _Reader(file).vocabulary(content)
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise DataError(
            f"{file} is not a tokenizer.json of byte-level BPE: {type(error).__name__} {error}.",
            fix="Give the `tokenizer.json` that Hugging Face `tokenizers` writes.",
        ) from None


def _by_id(special_tokens: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(special_tokens.items(), key=lambda item: item[1])


def _write(path: Path, content: _Json) -> None:
    write_bytes(path, (json.dumps(content, ensure_ascii=False, indent=2) + "\n").encode())


def _transformers_config(special_tokens: Mapping[str, int]) -> _Json:
    config: _Json = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}
    if END_OF_TEXT in special_tokens:
        config["eos_token"] = END_OF_TEXT
    return config


def _added_token(text: str, token_id: int) -> _Json:
    return {
        "id": token_id,
        "content": text,
        "single_word": False,
        "lstrip": False,
        "rstrip": False,
        "normalized": False,
        "special": True,
    }


def _byte_level(*, use_regex: bool) -> _Json:
    return {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": use_regex}


def _pre_tokenizer(pattern: str) -> _Json:
    if pattern == "gpt2":
        return _byte_level(use_regex=True)
    regex = {"Regex": PATTERNS.get(pattern, pattern)}
    split = {"type": "Split", "pattern": regex, "behavior": "Isolated", "invert": False}
    return {"type": "Sequence", "pretokenizers": [split, _byte_level(use_regex=False)]}


class _Reader:
    """Reads the parts of one file; every refusal names the file."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def refuse(self, what: str) -> NoReturn:
        raise DataError(
            f"{self.file}: {what} is not supported.",
            fix="Byte-level BPE with a ByteLevel or Split + ByteLevel pre-tokenizer is what can be read.",
        )

    def vocabulary(self, content: _Json) -> Vocabulary:
        for part in ("normalizer", "truncation", "padding"):
            if content.get(part) is not None:
                self.refuse(f"a {part} ({content[part].get('type', part)})")
        processor = content.get("post_processor")
        if processor is not None and processor["type"] != "ByteLevel":
            self.refuse(f"the post-processor {processor['type']}")
        pattern = self.pattern(content["pre_tokenizer"])
        special_tokens = self.special_tokens(content.get("added_tokens") or [])
        model = content["model"]
        self.check_model(model)
        ids = self.ids(model["vocab"], special_tokens)
        return Vocabulary(
            tokens=self.tokens(ids, special_tokens),
            merges=self.merges(model["merges"], ids),
            pattern=pattern,
            special_tokens=special_tokens,
            ignore_merges=bool(model.get("ignore_merges", False)),
        )

    def check_model(self, model: _Json) -> None:
        if model.get("type", "BPE") != "BPE":
            self.refuse(f"a model of type {model['type']}")
        for option in ("byte_fallback", "dropout", "continuing_subword_prefix", "end_of_word_suffix"):
            if model.get(option):
                self.refuse(f"the model option {option} = {model[option]!r}")

    def pattern(self, pre_tokenizer: _Json | None) -> str:
        if pre_tokenizer is None:
            self.refuse("a missing pre-tokenizer")
        parts: Sequence[_Json] = pre_tokenizer.get("pretokenizers", [pre_tokenizer])
        kinds = [part["type"] for part in parts]
        if kinds not in (["ByteLevel"], ["Split", "ByteLevel"]):
            self.refuse(f"the pre-tokenizer {' + '.join(kinds)}")
        byte_level = parts[-1]
        if byte_level["add_prefix_space"]:
            self.refuse("add_prefix_space")
        use_regex = byte_level.get("use_regex", True)
        if len(parts) == 1:
            return "gpt2" if use_regex else self.refuse("a pre-tokenizer that does not split")
        split = parts[0]
        if use_regex or split["behavior"] != "Isolated" or split["invert"] or "Regex" not in split["pattern"]:
            self.refuse("a Split other than by an isolated regex")
        regex: str = split["pattern"]["Regex"]
        return pattern_name(regex) or regex

    def special_tokens(self, added: Sequence[_Json]) -> dict[str, int]:
        for token in added:
            if not token["special"]:
                self.refuse(f"the added token {token['content']!r}, which is not special,")
            for option in ("single_word", "lstrip", "rstrip"):
                if token[option]:
                    self.refuse(f"{option} of the special token {token['content']!r}")
        return {token["content"]: token["id"] for token in added}

    def ids(self, vocab: Mapping[str, int], special_tokens: Mapping[str, int]) -> dict[str, int]:
        """Ids of the ordinary tokens by their text in the file."""
        for text, token_id in special_tokens.items():
            if vocab.get(text, token_id) != token_id:
                raise DataError(f"{self.file}: the special token {text!r} has two ids, {vocab[text]} and {token_id}.")
        ids = {text: token_id for text, token_id in vocab.items() if text not in special_tokens}
        taken: dict[int, str] = {}
        for text, token_id in [*ids.items(), *special_tokens.items()]:
            if taken.setdefault(token_id, text) != text:
                raise DataError(f"{self.file}: {taken[token_id]!r} and {text!r} have the same id {token_id}.")
        return ids

    def tokens(self, ids: Mapping[str, int], special_tokens: Mapping[str, int]) -> tuple[bytes, ...]:
        tokens = [b""] * (1 + max([*ids.values(), *special_tokens.values()]))
        for text, token_id in ids.items():
            try:
                tokens[token_id] = from_characters(text)
            except KeyError as error:
                raise DataError(f"{self.file}: {error} in the token {text!r} (id {token_id}) is no byte.") from None
        for text, token_id in special_tokens.items():
            tokens[token_id] = text.encode()
        return tuple(tokens)

    def merges(self, merges: Sequence[str | Sequence[str]], ids: Mapping[str, int]) -> NDArray[np.uint32]:
        pairs = np.zeros((len(merges), 2), dtype=np.uint32)
        for i, merge in enumerate(merges):
            parts = merge.split(" ") if isinstance(merge, str) else merge
            if len(parts) != 2 or parts[0] not in ids or parts[1] not in ids:
                raise DataError(f"{self.file}: merge {i}, {merge!r}, is not two tokens of the vocabulary.")
            pairs[i] = ids[parts[0]], ids[parts[1]]
        return pairs
