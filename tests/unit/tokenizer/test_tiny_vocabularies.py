"""Vocabularies of 0 to 3 tokens in every format that can say them: they encode, or are refused; nothing crashes."""

import base64
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tilth import native
from tilth.errors import DataError
from tilth.tokenizer import Tokenizer, Vocabulary
from unit.tokenizer import model_files as files

TOKENS = ["a", "b", "ab"]
NO_MERGES = np.zeros((0, 2), dtype=np.uint32)
SIZES = range(4)


def byte_level_json(size: int) -> dict[str, object]:
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    merges = [["a", "b"]] if size == 3 else []
    model = {"type": "BPE", "vocab": {token: i for i, token in enumerate(TOKENS[:size])}, "merges": merges}
    return {"added_tokens": [], "pre_tokenizer": byte_level, "decoder": byte_level, "model": model}


def write_byte_level(folder: Path, size: int, form: str) -> Path:
    tokens = TOKENS[:size]
    if form == "ranks":
        path = folder / "tiny.tiktoken"
        path.write_bytes(b"".join(base64.b64encode(t.encode()) + f" {i}\n".encode() for i, t in enumerate(tokens)))
        return path
    if form == "pair":
        (folder / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(tokens)}))
        (folder / "merges.txt").write_text("#version: 0.2\n" + "a b\n" * (size == 3))
        return folder
    return files.write_json(folder / "tokenizer.json", byte_level_json(size))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("form", ["ranks", "pair", "json"])
def test_byte_level_files_without_all_bytes_are_refused(form: str, size: int, tmp_path: Path) -> None:
    # In a process of its own, which a crash would end.
    path = write_byte_level(tmp_path, size, form)
    load = f"Tokenizer.load({str(path)!r}, pattern={'gpt2' if form == 'ranks' else None!r})"
    program = f"from tilth.tokenizer import Tokenizer\ntry:\n    {load}\nexcept ValueError as error:\n    print(error)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"exit code {done.returncode}: {done.stderr}"
    # With no entry at all, two of the readers say so before any table is built.
    assert "no token for the byte" in done.stdout or (size == 0 and str(tmp_path) in done.stdout)


@pytest.mark.parametrize("size", SIZES)
def test_byte_level_vocabularies_in_memory_are_refused(size: int) -> None:
    tokens = [token.encode() for token in TOKENS[:size]]
    for merges in (None, NO_MERGES):
        with pytest.raises(DataError, match="no token for the byte 0"):
            Tokenizer(Vocabulary(tokens=tuple(tokens), merges=merges, pattern="gpt2", special_tokens={}))
    with pytest.raises(DataError, match="no token for the byte 0"):
        Tokenizer.from_ranks({token: i for i, token in enumerate(tokens)}, pattern="gpt2")
    with pytest.raises(ValueError, match="no token for the byte 0"):
        native.SuperwordEncoder(tokens, [], NO_MERGES, 3)
    with pytest.raises(ValueError, match="a byte or a merge has no token"):
        native.BpeDropout(tokens, [], NO_MERGES)
    # Special tokens only, and ids without a token.
    specials = {token: i for i, token in enumerate(TOKENS[:size])}
    with pytest.raises(DataError, match="no token for the byte 0"):
        Tokenizer.from_ranks({}, pattern="gpt2", special_tokens=specials)


@pytest.mark.parametrize(("size", "expected"), [(1, [0]), (2, [1, 0]), (3, [1, 2, 0])])
def test_small_sentencepiece_models_encode(size: int, expected: list[int], tmp_path: Path) -> None:
    pieces = [files.piece("<unk>", 0, files.UNKNOWN), files.piece("a", -1), files.piece("b", -2)][:size]
    path = tmp_path / "tokenizer.model"
    path.write_bytes(files.model(pieces, byte_fallback=False, add_dummy_prefix=False))
    tokenizer = Tokenizer.load(path)
    assert tokenizer.vocab_size == size and tokenizer.encode("") == []
    assert tokenizer.encode("abc") == expected
    assert tokenizer.encode_batch(["abc"] * 3, 2) == [expected] * 3


def test_sentencepiece_vocabularies_without_unknown_or_bytes_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.model"
    path.write_bytes(files.model([], byte_fallback=False))
    with pytest.raises(DataError, match="no tokenizer file of a known kind"):
        Tokenizer.load(path)
    with pytest.raises(ValueError, match="it has no pieces"):
        native.read_sentencepiece_model(path.read_bytes())
    for size in SIZES:
        ranks = np.full(size, 0xFFFFFFFF, dtype=np.uint32)
        with pytest.raises(ValueError, match="neither a token for unknown text nor byte fallback"):
            native.SentencePieceEncoder(TOKENS[:size], ranks, None, [], None, [], False)
    llama = files.llama_json()
    llama["model"] |= {"vocab": {"<unk>": 0}, "merges": []}
    llama["added_tokens"] = llama["added_tokens"][:1]
    with pytest.raises(DataError):
        Tokenizer.load(files.write_json(tmp_path / "tokenizer.json", llama))


@pytest.mark.parametrize("size", SIZES[1:])
def test_small_word_vocabularies_encode(size: int, tmp_path: Path) -> None:
    pytest.importorskip("tokenizers")
    vocab = {token: i for i, token in enumerate(["<unk>", "a", "b"][:size])}
    content = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None,
        "pre_tokenizer": {"type": "Whitespace"}, "post_processor": None, "decoder": None,
        "model": {"type": "WordLevel", "vocab": vocab, "unk_token": "<unk>"},
    }  # fmt: skip
    tokenizer = Tokenizer.load(files.write_json(tmp_path / "tokenizer.json", content))
    assert tokenizer.encode("a b c") == [vocab.get(word, 0) for word in "abc"]
