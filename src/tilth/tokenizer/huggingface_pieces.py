"""SentencePiece-style BPE in `tokenizer.json`: Llama-2, Phi-3, Mistral, Gemma.

Three forms are in use to say that a space is U+2581 and that one is put in front: a normalizer that prepends
and replaces, one that only replaces, and the pre-tokenizer Metaspace. Each is read as what it does, which differs in
corners (Metaspace adds no space before a space).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tilth.errors import DataError
from tilth.tokenizer.huggingface_parts import Json, PartsReader
from tilth.tokenizer.sentencepiece import NOT_MERGED, SPACE_MARK, SentencePieceVocabulary

_REPLACE = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE_MARK}
_PREPEND = {"type": "Prepend", "prepend": SPACE_MARK}
_SPLIT_AT_SPACES = {"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": False}
_DECODERS = ("Replace", "ByteFallback", "Fuse", "Strip", "Metaspace")


class PiecesReader(PartsReader):
    """BPE with byte fallback."""

    readable = "SentencePiece-style BPE with byte fallback, Prepend and Replace or Metaspace is what can be read."

    def vocabulary(self, content: Json) -> SentencePieceVocabulary:
        """The vocabulary of a whole file."""
        self.refuse_cutting(content)
        spaces = self.spaces(content.get("normalizer"), content.get("pre_tokenizer"))
        self.check_decoder(content.get("decoder"), _DECODERS)
        added = self.added_tokens(content.get("added_tokens") or [])
        for token in added:
            if token.normalized:
                self.refuse(f"normalized of the added token {token.text!r}")
        model = content["model"]
        self.check_model(model)
        if model.get("ignore_merges"):
            self.refuse("the model option ignore_merges = True")
        added_ids = {token.text: token.token_id for token in added}
        ids = self.ids(model["vocab"], added_ids)
        special_tokens = {token.text: token.token_id for token in added if token.special}
        ordinary = ids | {t: i for t, i in added_ids.items() if t in model["vocab"] and t not in special_tokens}
        byte_ids = self.byte_ids(ids)
        taking_part = {text: i for text, i in ordinary.items() if i not in set(byte_ids) and " " not in text}
        size = 1 + max([*ids.values(), *added_ids.values()])
        pieces, tokens = [""] * size, [b""] * size
        for text, token_id in [*ids.items(), *added_ids.items()]:
            tokens[token_id] = text.replace(SPACE_MARK, " ").encode()
        for byte, token_id in enumerate(byte_ids):
            tokens[token_id] = bytes([byte])
        for text, token_id in taking_part.items():
            pieces[token_id] = text
        unknown = model.get("unk_token")
        return SentencePieceVocabulary(
            tokens=tuple(tokens),
            merges=self.merges(model["merges"], taking_part),
            pattern="",
            special_tokens=special_tokens,
            template=self.template(content.get("post_processor"), special_tokens),
            added=tuple(added),
            pieces=tuple(pieces),
            ranks=None,
            byte_ids=byte_ids,
            unknown_id=model["vocab"].get(unknown),
            **spaces,
        )

    def byte_ids(self, ids: Mapping[str, int]) -> tuple[int, ...]:
        """Ids of the tokens for the 256 bytes."""
        names = [f"<0x{byte:02X}>" for byte in range(256)]
        for name in names:
            if name not in ids:
                raise DataError(f"{self.file} has byte_fallback, but no token {name}.")
        return tuple([ids[name] for name in names])

    def spaces(self, normalizer: Json | None, pre_tokenizer: Json | None) -> Json:
        """What happens to spaces, as fields of the vocabulary."""
        steps = [] if normalizer is None else normalizer.get("normalizers", [normalizer])
        if pre_tokenizer is not None and pre_tokenizer["type"] == "Metaspace":
            if steps:
                self.refuse(f"a normalizer ({steps[0]['type']}) before Metaspace")
            return self._metaspace(pre_tokenizer)
        if pre_tokenizer is not None and pre_tokenizer != _SPLIT_AT_SPACES:
            self.refuse(f"the pre-tokenizer {pre_tokenizer['type']}")
        if steps == [_PREPEND, _REPLACE]:
            return {"prefix": "always"}
        if steps == [_REPLACE]:
            return {"prefix": "never"}
        kinds = " + ".join(str(step["type"]) for step in steps)
        return self.refuse(f"the normalizer {kinds}" if steps else "a missing normalizer and pre-tokenizer")

    def _metaspace(self, part: Json) -> Json:
        if part["replacement"] != SPACE_MARK:
            self.refuse(f"Metaspace with {part['replacement']!r}")
        default = "always" if part.get("add_prefix_space", True) else "never"
        scheme = part.get("prepend_scheme", default)
        if scheme not in ("always", "first", "never"):
            self.refuse(f"Metaspace with the prepend_scheme {scheme!r}")
        return {"prefix": scheme, "prefix_unless_space": True, "split_at_spaces": bool(part.get("split", True))}


def write_pieces(directory: Path, vocabulary: SentencePieceVocabulary) -> None:
    """Writes `tokenizer.json` and `tokenizer_config.json`.

    Raises: DataError if the vocabulary has no byte fallback, user-defined pieces, or merges that the format lacks.
    """
    from tilth.tokenizer.huggingface import write_parts

    if not vocabulary.byte_ids:
        raise DataError("A SentencePiece vocabulary without byte fallback cannot be written as tokenizer.json.")
    if vocabulary.user_defined:
        raise DataError("User-defined pieces cannot be written as tokenizer.json with the same meaning.")
    merges = vocabulary.merges if vocabulary.merges is not None else merges_of_ranks(vocabulary)
    pieces = {piece: i for i, piece in enumerate(vocabulary.pieces) if piece}
    added = {token.text: token.token_id for token in vocabulary.added} | vocabulary.special_tokens
    texts = {i: text for text, i in added.items()}
    vocab = pieces | {f"<0x{byte:02X}>": i for byte, i in enumerate(vocabulary.byte_ids)}
    vocab |= {text: i for i, text in texts.items()}
    model: dict[str, Any] = {
        "type": "BPE",
        "dropout": None,
        "unk_token": texts.get(-1 if vocabulary.unknown_id is None else vocabulary.unknown_id),
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": True,
        "byte_fallback": True,
        "ignore_merges": False,
        "vocab": dict(sorted(vocab.items(), key=lambda item: item[1])),
        "merges": [[vocabulary.pieces[left], vocabulary.pieces[right]] for left, right in merges.tolist()],
    }
    metaspace = {
        "type": "Metaspace",
        "replacement": SPACE_MARK,
        "prepend_scheme": vocabulary.prefix,
        "split": vocabulary.split_at_spaces,
    }
    steps = [_PREPEND, _REPLACE] if vocabulary.prefix == "always" else [_REPLACE]
    strip = [{"type": "Strip", "content": " ", "start": 1, "stop": 0}] if vocabulary.prefix != "never" else []
    back = {"type": "Replace", "pattern": {"String": SPACE_MARK}, "content": " "}
    write_parts(
        directory,
        vocabulary,
        model,
        normalizer=None if vocabulary.prefix_unless_space else {"type": "Sequence", "normalizers": steps},
        pre_tokenizer=metaspace if vocabulary.prefix_unless_space else None,
        decoder={"type": "Sequence", "decoders": [back, {"type": "ByteFallback"}, {"type": "Fuse"}, *strip]},
    )


def merges_of_ranks(vocabulary: SentencePieceVocabulary) -> NDArray[np.uint32]:
    """Ranks of pieces as a list of pairs, shape (merges, 2): every way to make a piece, pieces in order of rank.

    Raises: DataError if a piece holds a character that is no piece itself, which a list of pairs cannot say.
    """
    assert vocabulary.ranks is not None
    ids = {piece: i for i, piece in enumerate(vocabulary.pieces) if piece}
    merged = np.flatnonzero(vocabulary.ranks != NOT_MERGED)
    pairs: list[tuple[int, int]] = []
    for token_id in merged[np.argsort(vocabulary.ranks[merged], kind="stable")].tolist():
        piece = vocabulary.pieces[token_id]
        for character in piece:
            if character not in ids:
                raise DataError(f"The piece {piece!r} holds {character!r}, which is no piece, so no merge can make it.")
        splits = [(ids.get(piece[:at]), ids.get(piece[at:])) for at in range(1, len(piece))]
        pairs += sorted((left, right) for left, right in splits if left is not None and right is not None)
    return np.array(pairs, dtype=np.uint32).reshape(-1, 2)
