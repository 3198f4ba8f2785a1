"""Known names: the published file where other tools keep it, or an error that says which file to fetch."""

import base64
import hashlib
import json
import shutil
from pathlib import Path

import pytest

from tilth.errors import ConfigError, DataError
from tilth.tokenizer import Tokenizer, names, published
from tilth.tokenizer.names import KNOWN
from tilth.tokenizer.published import PUBLISHED

URL = "https://openaipublic.blob.core.windows.net/encodings/cl100k_base.tiktoken"
SHA1_OF_URL = "9b5ad71b2ce5302211f9c61530b329a4922fc6a4"


@pytest.fixture
def tiktoken_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for variable in ("DATA_GYM_CACHE_DIR", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "huggingface"))
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path / "tiktoken"))
    (tmp_path / "tiktoken").mkdir()
    return tmp_path / "tiktoken"


@pytest.fixture
def hub(tiktoken_cache: Path) -> Path:
    return tiktoken_cache.parent / "huggingface" / "hub"


def rank_file() -> bytes:
    tokens = [*(bytes([byte]) for byte in range(256)), b"th", b"the"]
    return b"".join(base64.b64encode(token) + b" %d\n" % rank for rank, token in enumerate(tokens))


def test_every_known_name_says_where_it_is_published() -> None:
    assert list(PUBLISHED) == list(KNOWN)


def test_a_rank_file_of_tiktoken(tiktoken_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = rank_file()
    monkeypatch.setitem(names.RANK_FILES, hashlib.sha256(content).hexdigest(), "cl100k")
    monkeypatch.setitem(KNOWN, "cl100k", names.Known(pattern="cl100k", special_tokens={"<|endoftext|>": 258}))
    (tiktoken_cache / SHA1_OF_URL).write_bytes(content)
    tokenizer = Tokenizer.load("cl100k")
    assert tokenizer.encode("the") == [257] and tokenizer.pattern == "cl100k"
    assert tokenizer.special_tokens == {"<|endoftext|>": 258}
    monkeypatch.delenv("TIKTOKEN_CACHE_DIR")
    monkeypatch.setenv("DATA_GYM_CACHE_DIR", str(tiktoken_cache))
    assert Tokenizer.load("cl100k", special_tokens={"<x>": 300}).special_tokens == {"<x>": 300}


def test_content_that_was_not_published_is_refused(tiktoken_cache: Path) -> None:
    (tiktoken_cache / SHA1_OF_URL).write_bytes(rank_file())
    with pytest.raises(DataError, match=f"{SHA1_OF_URL} does not hold what {URL}"):
        Tokenizer.load("cl100k")


def test_the_pair_of_files_that_tiktoken_has_for_gpt2(tiktoken_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Tokenizer.train(["the cat in the hat"] * 3, vocab_size=262, pattern="gpt2")
    made.save(tiktoken_cache)
    model = json.loads((tiktoken_cache / "tokenizer.json").read_text())["model"]
    files = [
        json.dumps(model["vocab"] | {"<|endoftext|>": made.end_of_text}),
        "\n".join(map(" ".join, model["merges"])),
    ]
    pair = {}
    for url, text in zip(published._GPT2_PAIR, files, strict=True):  # pyright: ignore[reportPrivateUsage]
        pair[url] = hashlib.sha256(text.encode()).hexdigest()
        (tiktoken_cache / hashlib.sha1(url.encode()).hexdigest()).write_text(text)
    monkeypatch.setattr(published, "_GPT2_PAIR", pair)
    assert Tokenizer.load("gpt2").fingerprint == made.fingerprint


def test_a_file_of_the_hugging_face_cache(hub: Path) -> None:
    made = {size: Tokenizer.train(["the cat"] * 3, vocab_size=size, pattern="smollm2") for size in (258, 259)}
    folder = hub / "models--HuggingFaceTB--SmolLM2-360M"
    for revision, size in (("0ld", 258), ("n3w", 259)):
        made[size].save(folder / "snapshots" / revision)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("0ld")
    assert Tokenizer.load("smollm2").fingerprint == made[258].fingerprint
    with pytest.raises(ConfigError, match="Leave out `pattern`"):
        Tokenizer.load("smollm2", pattern="gpt2")


def test_a_cached_file_that_cuts_otherwise_is_refused(hub: Path) -> None:
    Tokenizer.train(["the cat"] * 3, vocab_size=258).save(hub / "models--gpt2" / "snapshots" / "a")
    with pytest.raises(DataError, match="is not gpt2: it cuts text by llama3"):
        Tokenizer.load("gpt2")


@pytest.mark.parametrize("name", PUBLISHED)
def test_what_is_nowhere_is_asked_for(name: str, hub: Path) -> None:
    with pytest.raises(DataError, match=f"^{name} is no file here.*{hub.parent.parent}") as caught:
        Tokenizer.load(name)
    assert caught.value.fix is not None and "Fetch" in caught.value.fix and "https://" in caught.value.fix
    assert ("pattern=" in caught.value.fix) == (name in ("gpt2", "cl100k", "o200k", "llama3", "llama4"))


def test_a_folder_of_that_name_goes_before(hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    made = Tokenizer.train(["the cat"] * 3, vocab_size=258)
    made.save("gpt2")
    assert Tokenizer.load("gpt2").fingerprint == made.fingerprint
    shutil.rmtree("gpt2")
    with pytest.raises(DataError, match="no file here"):
        Tokenizer.load("gpt2")
