"""`tokenizer.json` in and out, the file of the Hugging Face `tokenizers` library.

Read is what gives the same ids here as there: byte-level BPE here, SentencePiece-style BPE in `huggingface_pieces`,
Unigram, WordPiece and WordLevel through the library itself. Any other part of the file is refused by name instead of
being passed over. Written is the form that `tokenizers`, `transformers` and llama.cpp's converter know, byte for byte
the same from run to run.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tilth.errors import DataError
from tilth.files import read_json, write_bytes
from tilth.tokenizer.byte_level import from_characters, to_characters
from tilth.tokenizer.config import END_OF_TEXT
from tilth.tokenizer.huggingface_parts import PartsReader
from tilth.tokenizer.huggingface_pieces import PiecesReader
from tilth.tokenizer.library import LIBRARY_MODELS, read_library
from tilth.tokenizer.names import FILE_NAME
from tilth.tokenizer.normalized import NORMAL_FORMS, NormalizedVocabulary, missing_bytes
from tilth.tokenizer.segmented import AddedToken, SegmentedVocabulary
from tilth.tokenizer.split import PATTERNS, pattern_name
from tilth.tokenizer.vocabulary import Vocabulary, tokens_by_id

_Json = dict[str, Any]


def write_vocabulary(directory: Path, vocabulary: Vocabulary, merges: NDArray[np.uint32]) -> None:
    """Writes `tokenizer.json` and the `tokenizer_config.json` that `transformers` asks for, atomically.

    `merges` is used where `vocabulary.merges` is None.
    """
    added = vocabulary.added if isinstance(vocabulary, SegmentedVocabulary) else ()
    added_ids = {*vocabulary.special_tokens.values(), *(token.token_id for token in added)}
    texts = [to_characters(token) for token in vocabulary.tokens]
    vocab = {text: i for i, text in enumerate(texts) if text and i not in added_ids}
    if sorted(added_ids) != list(range(len(vocab), len(texts))):
        # `tokenizers` numbers added tokens on behind the vocabulary, unless it finds them in there.
        named = {token.text: token.token_id for token in added} | vocabulary.special_tokens
        vocab = dict(sorted([*vocab.items(), *named.items()], key=lambda item: item[1]))
    model = {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": False,
        "ignore_merges": vocabulary.ignore_merges or vocabulary.merges is None,
        "vocab": vocab,
        "merges": [[texts[left], texts[right]] for left, right in merges.tolist()],
    }
    form = vocabulary.normal_form if isinstance(vocabulary, NormalizedVocabulary) else None
    write_parts(
        directory,
        vocabulary,
        model,
        normalizer=None if form is None else {"type": form},
        pre_tokenizer=_pre_tokenizer(vocabulary.pattern),
        decoder=_byte_level(use_regex=True),
    )


def write_parts(
    directory: Path,
    vocabulary: Vocabulary,
    model: _Json,
    *,
    normalizer: _Json | None,
    pre_tokenizer: _Json | None,
    decoder: _Json,
) -> None:
    """Writes the two files of a vocabulary whose parts are said."""
    added = vocabulary.added if isinstance(vocabulary, SegmentedVocabulary) else ()
    named = {token.token_id: token for token in added}
    for text, token_id in vocabulary.special_tokens.items():
        named.setdefault(token_id, AddedToken(text=text, token_id=token_id))
    content = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [_added_token(named[token_id]) for token_id in sorted(named)],
        "normalizer": normalizer,
        "pre_tokenizer": pre_tokenizer,
        "post_processor": _template(vocabulary),
        "decoder": decoder,
        "model": model,
    }
    _write(directory / "tokenizer_config.json", _transformers_config(vocabulary.special_tokens))
    _write(directory / FILE_NAME, content)


def _template(vocabulary: Vocabulary) -> _Json | None:
    before, after = vocabulary.template
    if not before and not after:
        return None
    texts = {token_id: text for text, token_id in vocabulary.special_tokens.items()}

    def single(part: str, type_id: int) -> list[_Json]:
        sequence = {"Sequence": {"id": part, "type_id": type_id}}
        around = [[{"SpecialToken": {"id": texts[i], "type_id": type_id}} for i in ids] for ids in (before, after)]
        return [*around[0], sequence, *around[1]]

    return {
        "type": "TemplateProcessing",
        "single": single("A", 0),
        "pair": [*single("A", 0), *single("B", 1)],
        "special_tokens": {
            texts[i]: {"id": texts[i], "ids": [i], "tokens": [texts[i]]} for i in sorted({*before, *after})
        },
    }


def read_vocabulary(path: Path) -> Vocabulary:
    """Reads a `tokenizer.json`, or the one in the folder `path`.

    Raises: DataError naming the file and the part of it that is missing, broken or not supported; DependencyError
    if its kind is read through the `tokenizers` library and that is not installed.
    """
    file = path / FILE_NAME if path.is_dir() else path
    content = read_json(file)
    try:
        kind = content["model"].get("type", "BPE")
        if kind in LIBRARY_MODELS:
            return read_library(file)
        reader = PiecesReader(file) if content["model"].get("byte_fallback") else _ByteLevelReader(file)
        return reader.vocabulary(content)
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise DataError(
            f"{file} is not a tokenizer.json that can be read: {type(error).__name__} {error}.",
            fix="Give the `tokenizer.json` that Hugging Face `tokenizers` writes.",
        ) from None


def _write(path: Path, content: _Json) -> None:
    write_bytes(path, (json.dumps(content, ensure_ascii=False, indent=2) + "\n").encode())


def _transformers_config(special_tokens: Mapping[str, int]) -> _Json:
    config: _Json = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}
    if END_OF_TEXT in special_tokens:
        config["eos_token"] = END_OF_TEXT
    return config


def _added_token(token: AddedToken) -> _Json:
    return {
        "id": token.token_id,
        "content": token.text,
        "single_word": False,
        "lstrip": token.lstrip,
        "rstrip": token.rstrip,
        "normalized": token.normalized,
        "special": token.special,
    }


def _byte_level(*, use_regex: bool) -> _Json:
    return {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": use_regex}


def _pre_tokenizer(pattern: str) -> _Json:
    if pattern == "gpt2":
        return _byte_level(use_regex=True)
    if pattern == "smollm2":
        digits = {"type": "Digits", "individual_digits": True}
        return {"type": "Sequence", "pretokenizers": [digits, _byte_level(use_regex=True)]}
    regex = {"Regex": PATTERNS.get(pattern, pattern)}
    split = {"type": "Split", "pattern": regex, "behavior": "Isolated", "invert": False}
    return {"type": "Sequence", "pretokenizers": [split, _byte_level(use_regex=False)]}


class _ByteLevelReader(PartsReader):
    """Byte-level BPE."""

    readable = (
        "Byte-level BPE with a ByteLevel, Split + ByteLevel or Digits + ByteLevel pre-tokenizer is what can be read."
    )

    def vocabulary(self, content: _Json) -> Vocabulary:
        self.refuse_cutting(content)
        form = self.normal_form(content.get("normalizer"))
        pattern = self.pattern(content["pre_tokenizer"])
        self.check_decoder(content.get("decoder"), ("ByteLevel",))
        added = self.added_tokens(content.get("added_tokens") or [])
        model = content["model"]
        self.check_model(model)
        added_ids = {token.text: token.token_id for token in added}
        ids = self.ids(model["vocab"], added_ids)
        special_tokens = {token.text: token.token_id for token in added if token.special}
        plain = Vocabulary(
            tokens=self.tokens(ids, added_ids),
            merges=self.merges(model["merges"], ids),
            pattern=pattern,
            special_tokens=special_tokens,
            ignore_merges=bool(model.get("ignore_merges", False)),
            template=self.template(content.get("post_processor"), special_tokens),
        )
        # Without a normalizer `normalized` says only which tokens are found first, which needs two kinds to matter.
        is_simple = all(t.special and not t.lstrip and not t.rstrip for t in added)
        if form is None and is_simple and len({t.normalized for t in added}) < 2 and not missing_bytes(plain):
            return plain
        return NormalizedVocabulary(**vars(plain), added=tuple(added), normal_form=form)

    def normal_form(self, normalizer: _Json | None) -> str | None:
        if normalizer is None:
            return None
        if normalizer["type"] not in NORMAL_FORMS:
            self.refuse(f"a normalizer ({normalizer['type']})")
        return normalizer["type"]

    def pattern(self, pre_tokenizer: _Json | None) -> str:
        if pre_tokenizer is None:
            self.refuse("a missing pre-tokenizer")
        parts: Sequence[_Json] = pre_tokenizer.get("pretokenizers", [pre_tokenizer])
        kinds = [part["type"] for part in parts]
        if kinds not in (["ByteLevel"], ["Split", "ByteLevel"], ["Digits", "ByteLevel"]):
            self.refuse(f"the pre-tokenizer {' + '.join(kinds)}")
        byte_level = parts[-1]
        if byte_level["add_prefix_space"]:
            self.refuse("add_prefix_space")
        use_regex = byte_level.get("use_regex", True)
        if len(parts) == 1:
            return "gpt2" if use_regex else self.refuse("a pre-tokenizer that does not split")
        if kinds[0] == "Digits":
            if not parts[0]["individual_digits"] or not use_regex:
                self.refuse("Digits other than one by one before GPT-2's split")
            return "smollm2"
        split = parts[0]
        if use_regex or split["behavior"] != "Isolated" or split["invert"] or "Regex" not in split["pattern"]:
            self.refuse("a Split other than by an isolated regex")
        regex: str = split["pattern"]["Regex"]
        return pattern_name(regex) or regex

    def tokens(self, ids: Mapping[str, int], added: Mapping[str, int]) -> tuple[bytes, ...]:
        tokens: dict[bytes, int] = {}
        for text, token_id in ids.items():
            try:
                tokens[from_characters(text)] = token_id
            except KeyError as error:
                raise DataError(f"{self.file}: {error} in the token {text!r} (id {token_id}) is no byte.") from None
        return tokens_by_id(str(self.file), tokens, added)
