"""SentencePiece-style vocabularies against `sentencepiece` and `tokenizers`, trained here and published."""

import io
import json
import random
from pathlib import Path
from typing import Any, Protocol

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Peer

from tilth.tokenizer import Tokenizer
from unit.tokenizer import model_files as files

sentencepiece = pytest.importorskip("sentencepiece")

AWKWARD = [*"ab \n\t▁漢字é0<>x \x00😀QQ\u2581.\ufffd", "the", " in", "  ", "    ", "<0x41>", "<s>", "</s>", "e\u0301"]
awkward_text = st.lists(st.sampled_from(AWKWARD)).map("".join)
any_text = st.one_of(st.text(st.characters(exclude_categories=["Cs"])), awkward_text)
checked = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


class ReadsFiles(Protocol):
    folder: Path

    def read(self, name: str) -> bytes: ...


def train(texts: list[str], **options: Any) -> bytes:
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([line for text in texts for line in text.splitlines()]),
        model_writer=model,
        minloglevel=2,
        model_type="bpe",
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        **{"vocab_size": 900, "character_coverage": 0.99, "byte_fallback": True} | options,
    )
    return model.getvalue()


VARIANTS: dict[str, dict[str, Any]] = {
    "llama": {"split_digits": True, "allow_whitespace_only_pieces": True},
    "unknown": {"byte_fallback": False, "vocab_size": 600},
    "no prefix": {"add_dummy_prefix": False},
    "across words": {"split_by_whitespace": False},
    "user defined": {"user_defined_symbols": ["ing", "\u2581\u2581", "<x>"]},
}


@pytest.fixture(scope="module", params=VARIANTS)
def trained(request: pytest.FixtureRequest, texts: list[str], tmp_path_factory: pytest.TempPathFactory) -> Any:
    path = tmp_path_factory.mktemp("spm") / "tokenizer.model"
    path.write_bytes(train(texts, **VARIANTS[request.param]))
    return Tokenizer.load(path), sentencepiece.SentencePieceProcessor(model_file=str(path))


def test_sentencepiece_gives_the_same_ids(trained: Any, unseen_texts: list[str]) -> None:
    ours, peer = trained
    rng = random.Random(4)
    mixed = ["".join(rng.choices(AWKWARD, k=rng.randint(0, 25))) for _ in range(3000)]
    for text in [*unseen_texts, *mixed]:
        ids = peer.encode(text)
        assert ours.encode_ordinary(text) == ids, repr(text[:60])
        assert ours.decode(ids) == peer.decode(ids), repr(text[:60])


@checked
@given(text=any_text)
def test_sentencepiece_gives_the_same_ids_for_any_text(trained: Any, text: str) -> None:
    ours, peer = trained
    assert ours.encode_ordinary(text) == peer.encode(text)


def test_ranks_that_tie_merge_leftmost_first(tmp_path: Path) -> None:
    letters = [files.piece(letter, -9) for letter in "▁abc"]
    pieces = [*files.default_pieces()[:259], *letters, *(files.piece(p, -1) for p in ("ab", "bc", "ca", "abc", "bca"))]
    path = tmp_path / "tokenizer.model"
    path.write_bytes(files.model(pieces))
    ours, peer = Tokenizer.load(path), sentencepiece.SentencePieceProcessor(model_file=str(path))
    rng = random.Random(5)
    for _ in range(2000):
        text = "".join(rng.choices("abcd ", k=rng.randint(0, 80)))
        assert ours.encode(text) == peer.encode(text)


def test_a_converted_model_gives_the_same_ids_in_tokenizers(
    texts: list[str], unseen_texts: list[str], tmp_path: Path
) -> None:
    path = tmp_path / "tokenizer.model"
    path.write_bytes(train(texts, **VARIANTS["llama"]))
    ours = Tokenizer.load(path)
    ours.save(tmp_path)
    peer, again = Peer.from_file(str(tmp_path / "tokenizer.json")), Tokenizer.load(tmp_path / "tokenizer.json")
    for text in [*unseen_texts, "a<s>b</s> c", "<unk>"]:
        expected = peer.encode(text, add_special_tokens=False).ids
        assert ours.encode(text, allowed_special="all") == expected == again.encode(text, allowed_special="all")


METASPACES = [(scheme, split) for scheme in ("always", "first", "never") for split in (True, False)]


@pytest.mark.parametrize("kind", ["prepend", "replace", *METASPACES], ids=str)
def test_every_writing_of_spaces_is_that_of_tokenizers(kind: Any, tmp_path: Path) -> None:
    changes: dict[str, Any] = {}
    if kind == "replace":
        changes["normalizer"] = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    elif kind != "prepend":
        part = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": kind[0], "split": kind[1]}
        changes |= {"normalizer": None, "pre_tokenizer": part}
    content = files.llama_json(**changes)
    content["added_tokens"][1] |= {"rstrip": True}
    content["added_tokens"][2] |= {"lstrip": True, "special": False}
    path = files.write_json(tmp_path / "tokenizer.json", content)
    ours, peer = Tokenizer.load(path), Peer.from_file(str(path))
    rng = random.Random(6)
    for _ in range(5000):
        text = "".join(rng.choices([*AWKWARD, "cat", "hat", " "], k=rng.randint(0, 14)))
        assert ours.encode(text, allowed_special="all") == peer.encode(text, add_special_tokens=False).ids, repr(text)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["llama2", "mistral"])
def test_published_models_give_sentencepieces_ids(
    name: str, real_data: ReadsFiles, all_texts: list[str], tmp_path: Path
) -> None:
    path = tmp_path / "tokenizer.model"
    path.write_bytes(real_data.read(f"vocabs/{name}_tokenizer.model"))
    ours, peer = Tokenizer.load(path), sentencepiece.SentencePieceProcessor(model_file=str(path))
    for text in all_texts:
        assert ours.encode_to_numpy(text, disallowed_special=()).tolist() == peer.encode(text), text[:80]


@pytest.mark.slow
def test_mistrals_json_gives_the_ids_of_tokenizers(real_data: ReadsFiles, all_texts: list[str], tmp_path: Path) -> None:
    content = real_data.read("vocabs/mistral_tokenizer.json.zst")
    (tmp_path / "tokenizer.json").write_bytes(content)
    ours, peer = Tokenizer.load(tmp_path), Peer.from_str(content.decode())
    assert ours.with_template([5]) == [1, 5] and json.loads(content)["model"]["byte_fallback"]
    for text in all_texts:
        short = text[:20_000]
        ids = ours.encode(short, allowed_special="all")
        assert ids == peer.encode(short, add_special_tokens=False).ids, text[:80]
