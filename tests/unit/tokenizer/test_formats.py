"""Every format in and out, with small files of our own; what cannot be read is refused by file and entry."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tilth.errors import ConfigError, DataError, DependencyError
from tilth.tokenizer import Tokenizer
from tilth.tokenizer.names import KNOWN, known
from unit.tokenizer import model_files as files


@pytest.fixture
def spm(tmp_path: Path) -> Tokenizer:
    (tmp_path / "tokenizer.model").write_bytes(files.model())
    return Tokenizer.load(tmp_path)


def pieces(tokenizer: Tokenizer, text: str) -> list[str]:
    vocabulary: Any = tokenizer.vocabulary
    return [vocabulary.pieces[i] or f"<{tokenizer.token_bytes(i).hex()}>" for i in tokenizer.encode(text)]


def test_a_rank_file_needs_a_pattern(tmp_path: Path) -> None:
    path = tmp_path / "my.tiktoken"
    path.write_bytes(files.ranks())
    with pytest.raises(ConfigError, match=r"my\.tiktoken is no rank file that is known"):
        Tokenizer.load(path)
    tokenizer = Tokenizer.load(path, pattern="gpt2", special_tokens={"<|x|>": 300})
    assert [tokenizer.token_bytes(i) for i in tokenizer.encode("the cat")] == [b"the", b" ", b"c", b"at"]
    assert tokenizer.encode("<|x|>", allowed_special="all") == [300]
    assert Tokenizer.load(tmp_path, pattern=r"\w+|\s+").pattern == r"\w+|\s+"
    with pytest.raises(ConfigError, match="llama2 is a SentencePiece vocabulary"):
        Tokenizer.load(path, pattern="llama2")


def test_a_known_name_brings_its_special_tokens(tmp_path: Path) -> None:
    path = tmp_path / "my.tiktoken"
    path.write_bytes(files.ranks())
    # Llama-3's special tokens belong to its 128,000 ranks, not to a vocabulary of another size that is cut alike.
    assert Tokenizer.load(path, pattern="llama3").special_tokens == {}
    assert len(KNOWN["llama3"].special_tokens) == 256 and len(KNOWN["llama4"].special_tokens) == 2048
    assert known("llama4").special_tokens["<|patch|>"] == 200092
    assert known("phi3").special_tokens["<|user|>"] == 32010
    with pytest.raises(ConfigError, match="Use one of gpt2"):
        known("gpt5")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"!!!! 300", r"line 2, b'!!!! 300', is not a token in base64"),
        (b"YWE= x", "line 2"),
        (b"YWE=", "line 2"),
        (b"AA== 300", r"token 300 has the same bytes as token 0"),
        (b"YWE= 0", "line 2 has the rank 0 of line 1 again"),
        (b"YWE= 99999999999", "is not between 0 and"),
        (b"YWE= -3", "is not between 0 and"),
    ],
)
def test_a_broken_rank_file_is_refused(line: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "my.tiktoken"
    first, rest = files.ranks().split(b"\n", 1)
    path.write_bytes(first + b"\n" + line + b"\n" + rest)
    with pytest.raises(DataError, match=message) as raised:
        Tokenizer.load(path, pattern="gpt2")
    assert str(path) in str(raised.value)


def test_a_cut_rank_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "my.tiktoken"
    path.write_bytes(files.ranks()[:1000])
    with pytest.raises(DataError, match=r"my\.tiktoken.*(no token for the byte|is not a token)"):
        Tokenizer.load(path, pattern="gpt2")


def test_gpt2_files(tmp_path: Path) -> None:
    files.write_gpt2(tmp_path)
    for path in (tmp_path, tmp_path / "vocab.json", tmp_path / "merges.txt"):
        tokenizer = Tokenizer.load(path)
        assert tokenizer.encode("the the") == [257, 258] and tokenizer.end_of_text == 259
        assert tokenizer.pattern == "gpt2"
    (tmp_path / "merges.txt").write_text("t h\nth q e\n")
    with pytest.raises(DataError, match=r"merges\.txt: line 2, 'th q e'"):
        Tokenizer.load(tmp_path)
    (tmp_path / "merges.txt").write_text("t h\nt h\n")
    with pytest.raises(DataError, match="merge 1 repeats"):
        Tokenizer.load(tmp_path)
    (tmp_path / "vocab.json").write_text('{"a": 1, "b": 1}')
    (tmp_path / "merges.txt").write_text("")
    with pytest.raises(DataError, match=r"vocab\.json: .* have the same id 1"):
        Tokenizer.load(tmp_path)


def test_ranks_out_and_in_again(tmp_path: Path) -> None:
    trained = Tokenizer.train(["the cat in the hat"] * 2, vocab_size=270, pattern="gpt2")
    trained.save_ranks(tmp_path / "out.tiktoken")
    loaded = Tokenizer.load(tmp_path / "out.tiktoken", pattern="gpt2", special_tokens=trained.special_tokens)
    assert loaded.encode("the cat in a hat") == trained.encode("the cat in a hat")


def test_what_ranks_cannot_say_is_refused(tmp_path: Path, spm: Tokenizer) -> None:
    with pytest.raises(DataError, match="plain byte-level BPE only"):
        spm.save_ranks(tmp_path / "x.tiktoken")
    files.write_gpt2(tmp_path)
    (tmp_path / "merges.txt").write_text("t h\nth e\n")
    with pytest.raises(DataError, match="no merge makes the token 258"):
        Tokenizer.load(tmp_path / "vocab.json").save_ranks(tmp_path / "x.tiktoken")


def test_sentencepiece_by_hand(spm: Tokenizer) -> None:
    assert pieces(spm, "the cat") == ["▁the", "▁cat"]
    assert pieces(spm, "hat") == ["▁hat"]
    assert pieces(spm, " x") == ["▁▁", "x"]
    assert pieces(spm, "Q漢字") == ["▁", "<51>", "漢字"]
    assert pieces(spm, "      a") == ["▁▁▁▁", "▁▁", "▁", "a"]
    assert spm.encode("") == []
    assert spm.special_tokens == {"<unk>": 0, "<s>": 1, "</s>": 2}
    assert spm.encode("<s>the", allowed_special="all") == [1, *spm.encode("the")]


@pytest.mark.parametrize("text", ["the cat", " the", "", "  ", "\n\tx", "漢字Q😀", "a\u2581b"])
def test_sentencepiece_text_comes_back(spm: Tokenizer, text: str) -> None:
    expected = text.replace("\u2581", " ")
    ids = spm.encode(text)
    assert spm.decode(ids) == expected
    stream = spm.stream_decoder()
    for _ in range(2):
        assert "".join([*map(stream.push, ids), stream.finish()]) == expected
    assert spm.encode_to_numpy(text).tolist() == ids == spm.encode_batch([text, text], 2)[1]


def test_sentencepiece_bytes_come_back(spm: Tokenizer) -> None:
    data = b"a\xff\xfe the\xe6\xbc \xed\xa0\x80"
    assert spm.decode_bytes(spm.encode(data)) == data


def test_unknown_text_without_byte_fallback_is_one_token(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.model"
    path.write_bytes(files.model(byte_fallback=False))
    tokenizer = Tokenizer.load(path)
    assert tokenizer.encode("QQQ the")[1:] == [0, *tokenizer.encode("the")]
    assert tokenizer.decode([0]) == " \u2047 "


def test_user_defined_pieces_are_taken_whole(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.model"
    path.write_bytes(files.model([*files.default_pieces(), files.piece("he▁c", 0, files.USER_DEFINED)]))
    assert pieces(Tokenizer.load(path), "the cat") == ["▁t", "he▁c", "at"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (files.model(model_type=1), "a model of type Unigram"),
        (files.model(remove_extra_whitespaces=True), "remove_extra_whitespaces"),
        (files.model(normalizer=files.message(2, b"map")), "the normalizer 'identity'"),
        (files.model(normalizer=files.number(5, 0)), "escape_whitespaces"),
        (files.model(trainer=files.number(24, 1)), "treat_whitespace_as_suffix"),
        (files.model([*files.default_pieces(), files.piece("q", 0, files.UNUSED)]), "the type 5 of the piece"),
        (files.model([*files.default_pieces(), files.piece("the", 0), files.piece("the", 0)]), "are the same, 'the'"),
        (files.model([*files.default_pieces(), files.piece("", 0)]), "is empty"),
        (files.model([*files.default_pieces(), files.piece(b"\xff", 0)]), "is not UTF-8"),
        (files.model([*files.default_pieces(), files.piece("qq", float("nan"))]), "no number as its score"),
        (files.model(files.default_pieces()[1:]), "0 pieces for unknown text"),
        (files.model([p for i, p in enumerate(files.default_pieces()) if i != 3]), "no piece <0x00>"),
        (files.model(files.default_pieces(), byte_fallback=False), "byte_fallback is off"),
        (files.model()[:-10], "is not a whole SentencePiece model"),
        (files.model()[:500], "is not a whole SentencePiece model"),
        (b"\x0a\xff\xff\xff\xff\x0f", "runs over the end"),
        (b"", "no tokenizer file of a known kind"),
        (b"\x00\x01\x02", "no tokenizer file of a known kind"),
    ],
)
def test_a_model_that_cannot_work_is_refused(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.model"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as raised:
        Tokenizer.load(path)
    assert str(path) in str(raised.value)


def test_llama_json_gives_the_ids_of_the_model(spm: Tokenizer, tmp_path: Path) -> None:
    loaded = Tokenizer.load(files.write_json(tmp_path / "tokenizer.json", files.llama_json()))
    for text in ["the cat in the hat", "  x", "漢字 éa", "", "Q\n", "the<s>the"]:
        options: Any = {"allowed_special": "all"}
        assert loaded.encode(text, **options) == spm.encode(text, **options)
    loaded.save(tmp_path / "again")
    again = Tokenizer.load(tmp_path / "again")
    assert again.fingerprint == loaded.fingerprint
    spm.save(tmp_path / "converted")
    assert Tokenizer.load(tmp_path / "converted").encode("the cat") == spm.encode("the cat")


@pytest.mark.parametrize(
    ("scheme", "split", "text", "expected"),
    [
        ("first", False, "the<s>the", ["▁the", "<s>", "t", "he"]),
        ("always", False, "the<s>the", ["▁the", "<s>", "▁the"]),
        ("never", False, "the the", ["t", "he", "▁the"]),
        ("first", False, " the", ["▁the"]),
        ("first", True, "    the", ["▁", "▁", "▁", "▁the"]),
        ("first", False, "    the", ["▁▁", "▁", "▁the"]),
    ],
)
def test_metaspace(scheme: str, split: bool, text: str, expected: list[str], tmp_path: Path) -> None:
    part = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": split}
    path = files.write_json(tmp_path / "tokenizer.json", files.llama_json(normalizer=None, pre_tokenizer=part))
    tokenizer = Tokenizer.load(path)
    vocabulary: Any = tokenizer.vocabulary
    ids = tokenizer.encode(text, allowed_special="all")
    names = {i: t for t, i in tokenizer.special_tokens.items()}
    assert [names.get(i) or vocabulary.pieces[i] for i in ids] == expected


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"normalizer": {"type": "NFKC"}}, "the normalizer NFKC"),
        ({"normalizer": None}, "a missing normalizer and pre-tokenizer"),
        ({"pre_tokenizer": {"type": "Whitespace"}}, "the pre-tokenizer Whitespace"),
        ({"decoder": {"type": "WordPiece"}}, "the decoder WordPiece"),
        ({"post_processor": {"type": "Strange"}}, "the post-processor Strange"),
        ({"padding": {}}, "a padding"),
    ],
)
def test_unknown_parts_are_refused_by_name(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = files.write_json(tmp_path / "tokenizer.json", files.llama_json(**changes))
    with pytest.raises(DataError, match=f"{message}.* is not supported"):
        Tokenizer.load(path)


def test_a_template_is_added_only_when_asked(tmp_path: Path) -> None:
    template = {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}},
    }
    path = files.write_json(tmp_path / "tokenizer.json", files.llama_json(post_processor=template))
    tokenizer = Tokenizer.load(path)
    ids = tokenizer.encode("the")
    assert tokenizer.with_template(ids) == [1, *ids]
    tokenizer.save(tmp_path / "again")
    assert Tokenizer.load(tmp_path / "again").with_template([]) == [1]
    template["special_tokens"]["<s>"]["ids"] = [7]  # pyright: ignore
    with pytest.raises(DataError, match="the template's token '<s>'"):
        Tokenizer.load(files.write_json(path, files.llama_json(post_processor=template)))


def test_added_tokens_strip_white_space(tmp_path: Path) -> None:
    content = files.llama_json()
    new = {"id": len(content["model"]["vocab"]), "content": "<|end|>", "rstrip": True, "lstrip": True}
    content["added_tokens"].append(content["added_tokens"][0] | new)
    tokenizer = Tokenizer.load(files.write_json(tmp_path / "tokenizer.json", content))
    the = tokenizer.encode("the")
    ids = tokenizer.encode("the \u3000<|end|> \n\tthe", allowed_special="all")
    assert ids == [*the, new["id"], *the]
    assert tokenizer.encode("the<|end|>", disallowed_special=())[0] == the[0]


def byte_level_json(tmp_path: Path) -> dict[str, Any]:
    Tokenizer.train(["the cat in the hat"] * 3, vocab_size=270, pattern="gpt2").save(tmp_path)
    return json.loads((tmp_path / "tokenizer.json").read_text())


def test_normalization_and_tokens_that_are_always_found(tmp_path: Path) -> None:
    content = byte_level_json(tmp_path)
    content["normalizer"] = {"type": "NFC"}
    content["added_tokens"].append(content["added_tokens"][0] | {"id": 270, "content": "  ", "special": False})
    tokenizer = Tokenizer.load(files.write_json(tmp_path / "tokenizer.json", content))
    assert tokenizer.encode("e\u0301") == tokenizer.encode("é")
    assert 270 in tokenizer.encode_ordinary("a  b") and tokenizer.decode(tokenizer.encode("a  b")) == "a  b"
    assert tokenizer.decode_bytes(tokenizer.encode(b"\xff \xc3")) == b"\xff \xc3"
    tokenizer.save(tmp_path / "again")
    assert Tokenizer.load(tmp_path / "again").fingerprint == tokenizer.fingerprint


def test_a_vocabulary_without_the_bytes_that_utf8_never_has(tmp_path: Path) -> None:
    content = byte_level_json(tmp_path)
    from tilth.tokenizer.byte_level import to_characters

    for byte in (0xC0, 0xFF):
        del content["model"]["vocab"][to_characters(bytes([byte]))]
    tokenizer = Tokenizer.load(files.write_json(tmp_path / "tokenizer.json", content))
    assert tokenizer.decode(tokenizer.encode("the é")) == "the é"
    assert tokenizer.decode(tokenizer.encode(b"a\xff")) == "a\ufffd"
    assert max(tokenizer.encode(b"\xc0\xff")) < tokenizer.vocab_size


def test_special_tokens_that_stand_first_or_apart_keep_their_ids(tmp_path: Path) -> None:
    ranks = {bytes([byte]): byte + 2 for byte in range(256)}
    tokenizer = Tokenizer.from_ranks(ranks, pattern="gpt2", special_tokens={"<a>": 0, "<b>": 1, "<c>": 400})
    tokenizer.save(tmp_path)
    assert Tokenizer.load(tmp_path).special_tokens == {"<a>": 0, "<b>": 1, "<c>": 400}
    peer = pytest.importorskip("tokenizers").Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert peer.encode("<a>x<c>").ids == tokenizer.encode("<a>x<c>", allowed_special="all")


def test_digits_one_by_one(tmp_path: Path) -> None:
    content = byte_level_json(tmp_path)
    byte_level = content["pre_tokenizer"]
    digits = {"type": "Digits", "individual_digits": True}
    content["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [digits, byte_level]}
    path = files.write_json(tmp_path / "tokenizer.json", content)
    tokenizer = Tokenizer.load(path)
    tokenizer.save(tmp_path / "again")
    assert json.loads((tmp_path / "again/tokenizer.json").read_text())["pre_tokenizer"] == content["pre_tokenizer"]
    peer = pytest.importorskip("tokenizers").Tokenizer.from_file(str(path))
    for text in ["12 the 34", "the  5", " 1  \n", "the  cat", "\n\n7", "½ 2"]:
        assert tokenizer.encode(text) == peer.encode(text).ids, text


def library_json(tmp_path: Path) -> Path:
    tokenizers = pytest.importorskip("tokenizers")
    model = tokenizers.models.WordPiece({"[UNK]": 0, "the": 1, "##re": 2, "cat": 3, "[CLS]": 4}, unk_token="[UNK]")
    peer = tokenizers.Tokenizer(model)
    peer.normalizer = tokenizers.normalizers.Lowercase()
    peer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    peer.decoder = tokenizers.decoders.WordPiece()
    peer.add_special_tokens(["[CLS]"])
    peer.save(str(tmp_path / "tokenizer.json"))
    return tmp_path / "tokenizer.json"


def test_wordpiece_through_the_library(tmp_path: Path) -> None:
    tokenizer = Tokenizer.load(library_json(tmp_path))
    assert tokenizer.encode("There CAT") == [1, 2, 3]
    assert tokenizer.encode("[CLS]the dog", allowed_special="all") == [4, 1, 0]
    assert 4 not in tokenizer.encode_ordinary("[CLS] the")
    assert tokenizer.decode([1, 2, 3]) == "there cat"
    stream = tokenizer.stream_decoder()
    assert "".join([*map(stream.push, [1, 2, 3]), stream.finish()]) == "there cat"
    tokenizer.save(tmp_path / "again")
    assert Tokenizer.load(tmp_path / "again").fingerprint == tokenizer.fingerprint


def test_a_missing_library_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = library_json(tmp_path)

    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr("tilth.tokenizer.library.import_module", missing)
    with pytest.raises(DependencyError, match="through the `tokenizers` library, which is not installed"):
        Tokenizer.load(path)


def test_options_that_the_file_answers_are_refused(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.model").write_bytes(files.model())
    with pytest.raises(ConfigError, match="says itself"):
        Tokenizer.load(tmp_path, pattern="gpt2")


def test_folders(tmp_path: Path) -> None:
    for name in ("a.tiktoken", "b.tiktoken"):
        (tmp_path / name).write_bytes(files.ranks())
    with pytest.raises(DataError, match="2 rank files"):
        Tokenizer.load(tmp_path, pattern="gpt2")


def test_ids_fit_arrays(spm: Tokenizer) -> None:
    out = np.zeros(10, dtype=np.uint16)
    assert spm.encode_to_numpy("the cat", out).tolist() == spm.encode("the cat")
    with pytest.raises(ConfigError, match="do not fit an array"):
        spm.encode_to_numpy("the cat", out[:1])
    with pytest.raises(DataError, match="is no token"):
        spm.decode([99999])
