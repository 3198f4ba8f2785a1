"""Small tokenizer files of our own making, written by hand so that nothing needs to be installed."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
WORDS = ["▁t", "he", "▁the", "at", "▁c", "▁cat", "in", "▁▁", "▁▁▁▁", "hat", "▁hat", "漢字", "éa"]
LETTERS = "▁thecainos漢字éx"


def varint(value: int) -> bytes:
    out = b""
    while value >= 0x80:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def message(number: int, data: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(data)) + data


def number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value)


def piece(text: str | bytes, score: float, kind: int = NORMAL) -> bytes:
    data = text if isinstance(text, bytes) else text.encode()
    body = message(1, data) + varint(2 << 3 | 5) + struct.pack("<f", score)
    return message(1, body if kind == NORMAL else body + number(3, kind))


def default_pieces(*, byte_fallback: bool = True) -> list[bytes]:
    start = [piece("<unk>", 0, UNKNOWN), piece("<s>", 0, CONTROL), piece("</s>", 0, CONTROL)]
    fallback = [piece(f"<0x{byte:02X}>", 0, BYTE) for byte in range(256)] if byte_fallback else []
    words = [piece(word, -i) for i, word in enumerate(WORDS)]
    return start + fallback + words + [piece(letter, -100 - i) for i, letter in enumerate(LETTERS)]


def model(
    pieces: Sequence[bytes] | None = None,
    *,
    model_type: int = 2,
    byte_fallback: bool = True,
    trainer: bytes = b"",
    add_dummy_prefix: bool = True,
    remove_extra_whitespaces: bool = False,
    normalizer: bytes = b"",
) -> bytes:
    """A SentencePiece model."""
    given = default_pieces(byte_fallback=byte_fallback) if pieces is None else pieces
    normal = message(1, b"identity") + number(3, add_dummy_prefix) + number(4, remove_extra_whitespaces) + normalizer
    return (
        b"".join(given) + message(2, number(3, model_type) + number(35, byte_fallback) + trainer) + message(3, normal)
    )


def ranks(extra: Sequence[bytes] = (b"th", b"the", b" the", b"at")) -> bytes:
    """A rank file."""
    tokens = [*(bytes([byte]) for byte in range(256)), *extra]
    return b"".join(base64.b64encode(token) + f" {i}\n".encode() for i, token in enumerate(tokens))


def llama_json(**changes: Any) -> dict[str, Any]:
    """A `tokenizer.json` in the manner of Llama-2, with the vocabulary of `model()`."""
    vocab = {"<unk>": 0, "<s>": 1, "</s>": 2} | {f"<0x{byte:02X}>": 3 + byte for byte in range(256)}
    for text in [*WORDS, *LETTERS]:
        vocab[text] = len(vocab)
    merges = [(w[:i], w[i:]) for w in WORDS for i in range(1, len(w)) if w[:i] in vocab and w[i:] in vocab]
    options = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    content: dict[str, Any] = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": i, "content": t} | options for t, i in list(vocab.items())[:3]],
        "normalizer": {
            "type": "Sequence",
            "normalizers": [
                {"type": "Prepend", "prepend": "▁"},
                {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
            ],
        },
        "pre_tokenizer": None,
        "post_processor": None,
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"},
            {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
        "model": {
            "type": "BPE", "dropout": None, "unk_token": "<unk>", "continuing_subword_prefix": None,
            "end_of_word_suffix": None, "fuse_unk": True, "byte_fallback": True, "ignore_merges": False,
            "vocab": vocab, "merges": [list(merge) for merge in merges]},
    }  # fmt: skip
    return content | changes


def write_json(path: Path, content: object) -> Path:
    path.write_text(json.dumps(content))
    return path


def write_gpt2(folder: Path) -> Path:
    """`vocab.json` and `merges.txt`."""
    from tilth.tokenizer.byte_level import BYTE_ORDER, to_characters

    texts = [to_characters(bytes([byte])) for byte in BYTE_ORDER] + ["th", "the", "Ġthe", "<|endoftext|>"]
    write_json(folder / "vocab.json", {text: i for i, text in enumerate(texts)})
    (folder / "merges.txt").write_text("#version: 0.2\nt h\nth e\nĠ the\n", encoding="utf-8")
    return folder
