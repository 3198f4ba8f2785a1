"""Published byte-level vocabularies against tiktoken and `tokenizers`, on all text of the data folder."""

from pathlib import Path
from typing import Protocol

import pytest
import tiktoken
from tiktoken.load import load_tiktoken_bpe
from tiktoken_ext import openai_public
from tokenizers import Tokenizer as Peer

from tilth.tokenizer import Tokenizer
from tilth.tokenizer.names import KNOWN
from tilth.tokenizer.split import PATTERNS, pattern_name

O200K = openai_public.o200k_base.__code__.co_consts

FILES = {
    "cl100k_base.tiktoken": "cl100k",
    "o200k_base.tiktoken": "o200k",
    "llama3_tokenizer.model": "llama3",
    "llama4_tokenizer.model": "llama4",
}


class ReadsFiles(Protocol):
    folder: Path

    def read(self, name: str) -> bytes: ...


def test_the_o200k_regex_is_tiktokens() -> None:
    # The parts of the pattern stand as constants in the function that would download the ranks.
    parts = next(c for c in O200K if isinstance(c, tuple) and any("Lu" in str(part) for part in c))
    assert pattern_name("|".join(parts)) == "o200k"


@pytest.mark.slow
@pytest.mark.parametrize("file", FILES)
def test_rank_files_give_tiktokens_ids(file: str, real_data: ReadsFiles, all_texts: list[str], tmp_path: Path) -> None:
    path = tmp_path / "ranks"
    path.write_bytes(real_data.read(f"vocabs/{file}"))
    ours = Tokenizer.load(path)
    assert ours.special_tokens == KNOWN[FILES[file]].special_tokens
    regex = PATTERNS.get(ours.pattern, ours.pattern)
    peer = tiktoken.Encoding(
        "peer", pat_str=regex, mergeable_ranks=load_tiktoken_bpe(str(path)), special_tokens=ours.special_tokens
    )
    for text in all_texts:
        assert ours.encode_to_numpy(text, disallowed_special=()).tolist() == peer.encode_ordinary(text), text[:80]


@pytest.mark.slow
def test_gpt2_files_give_tiktokens_ids(real_data: ReadsFiles, all_texts: list[str], tmp_path: Path) -> None:
    (tmp_path / "vocab.json").write_bytes(real_data.read("vocabs/gpt2_vocab.json.zst"))
    (tmp_path / "merges.txt").write_bytes(real_data.read("vocabs/gpt2_merges.txt.zst"))
    ours = Tokenizer.load(tmp_path)
    ours.save_ranks(tmp_path / "ranks")
    peer = tiktoken.Encoding(
        "peer",
        pat_str=openai_public.r50k_pat_str,
        mergeable_ranks=load_tiktoken_bpe(str(tmp_path / "ranks")),
        special_tokens=ours.special_tokens,
    )
    for text in all_texts:
        assert ours.encode_to_numpy(text, disallowed_special=()).tolist() == peer.encode_ordinary(text), text[:80]


@pytest.mark.slow
@pytest.mark.parametrize("source", ["llama3_tokenizer.model", "gpt_neo_test_tokenizer.json.zst"])
def test_converted_and_normalized_vocabularies_give_the_ids_of_tokenizers(
    source: str, real_data: ReadsFiles, all_texts: list[str], tmp_path: Path
) -> None:
    path = tmp_path / source.removesuffix(".zst")
    path.write_bytes(real_data.read(f"vocabs/{source}"))
    Tokenizer.load(path).save(tmp_path / "out")
    ours = Tokenizer.load(tmp_path / "out")
    peer = Peer.from_file(str(path if path.suffix == ".json" else tmp_path / "out" / "tokenizer.json"))
    for text in all_texts:
        short = text[:20_000]
        ids = ours.encode(short, allowed_special="all")
        assert ids == peer.encode(short, add_special_tokens=False).ids, text[:80]
