"""Every file of the folder of real data: all instruction sets cut alike, and the ids are the peers'."""

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pyarrow as pa
import pytest
import tiktoken
from tiktoken.load import load_tiktoken_bpe
from tokenizers import Regex
from tokenizers.pre_tokenizers import Split

from real_data import MISSING
from tilth import native
from tilth.tokenizer import Tokenizer
from tilth.tokenizer.split import PATTERNS

SAMPLE = 60_000
"""Characters of each file that the slower peers see."""
TIKTOKEN_CL100K = (
    r"""'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$"""
    r"""|\s*[\r\n]|\s+(?!\S)|\s"""
)


class ReadsFiles(Protocol):
    folder: Path

    def read(self, name: str) -> bytes: ...


def contents(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Every file, decompressed, and the files within archives joined up."""
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or path.suffix in (".lz4", ".arc", ".bad"):
            continue
        with pa.input_stream(str(path)) as stream:
            data = stream.read()
        if ".tar" in path.name:
            with tarfile.open(fileobj=io.BytesIO(data)) as archive:
                members = [archive.extractfile(member) for member in archive if member.isfile()]
                data = b"\n".join(member.read() for member in members if member is not None)
        yield path.name, data


@pytest.fixture(scope="module")
def all_data(real_data: ReadsFiles) -> list[tuple[str, bytes]]:
    if not real_data.folder.exists():
        pytest.skip(MISSING)
    return list(contents(real_data.folder))


def samples(all_data: list[tuple[str, bytes]]) -> Iterator[tuple[str, str]]:
    for name, data in all_data:
        text = data[len(data) // 3 :].decode("utf-8", "replace")[:SAMPLE]
        yield name, text


@pytest.mark.slow
@pytest.mark.parametrize("pattern", PATTERNS)
def test_instruction_sets_cut_alike(pattern: str, all_data: list[tuple[str, bytes]]) -> None:
    best, *others = native.instruction_sets().split()
    for name, data in all_data:
        native.use_instruction_set(best)
        expected = native.piece_ends(data, pattern)
        for other in others:
            native.use_instruction_set(other)
            assert (native.piece_ends(data, pattern) == expected).all(), name
    native.use_instruction_set(best)


@pytest.mark.slow
@pytest.mark.parametrize("pattern", PATTERNS)
def test_pieces_are_those_of_tokenizers(pattern: str, all_data: list[tuple[str, bytes]]) -> None:
    split = Split(Regex(PATTERNS[pattern]), "isolated")
    for name, text in samples(all_data):
        data = text.encode()
        ends = native.piece_ends(data, pattern).tolist()
        ours = [data[a:b].decode() for a, b in zip([0, *ends], ends, strict=False)]
        assert ours == [piece for piece, _ in split.pre_tokenize_str(text)], name


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "pattern"),
    [("cl100k_base.tiktoken", "cl100k"), ("o200k_base.tiktoken", "o200k"), ("llama3_tokenizer.model", "llama3")],
)
def test_ids_are_those_of_tiktoken(
    file: str, pattern: str, real_data: ReadsFiles, all_data: list[tuple[str, bytes]], tmp_path: Path
) -> None:
    (tmp_path / "ranks").write_bytes(real_data.read(f"vocabs/{file}"))
    ranks = load_tiktoken_bpe(str(tmp_path / "ranks"))
    regex = TIKTOKEN_CL100K if pattern == "cl100k" else PATTERNS[pattern]
    peer = tiktoken.Encoding("peer", pat_str=regex, mergeable_ranks=ranks, special_tokens={})
    ours = Tokenizer.from_ranks(ranks, pattern=pattern)
    for name, text in samples(all_data):
        assert ours.encode_ordinary(text) == peer.encode_ordinary(text), name
