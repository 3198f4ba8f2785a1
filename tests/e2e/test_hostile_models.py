"""Broken, hostile and unusual model folders: an error that names the file, or a model that works; never a traceback.

Memory is limited while a folder is opened, so that a config that is believed fails here and not on the machine.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import struct
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tilth.cli import main
from tilth.errors import ConfigError, DataError
from tilth.export import to_hf
from tilth.inference import Completion, Engine, SamplingParams
from tilth.model import ModelConfig, Transformer, load_model, save_model
from tilth.storage import write_dataset
from tilth.tokenizer import Tokenizer
from tilth.types import Document

Change = Callable[[Path], None]
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
CONFIG_OF = {"tilth": "model.json", "hf": "config.json"}
TEXT = "the cat sat on the mat and the dog sat on the log. " * 20
ALLOWED_BYTES = 6 << 30
"""Of addresses, not of memory in use: allocators reserve a gigabyte at a time, and crash where they may not."""


def tokenizer_of(vocab_size: int) -> Tokenizer:
    return Tokenizer.train([TEXT], vocab_size=vocab_size)


@pytest.fixture(scope="session")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of each kind, with a tokenizer and with random weights everywhere."""
    root, tokenizer = tmp_path_factory.mktemp("models"), tokenizer_of(270)
    config = ModelConfig(vocab_size=270, d_model=16, n_layers=2, n_heads=2, n_kv_heads=1, d_ff=24, context_length=32)
    torch.manual_seed(0)
    model = Transformer(config).eval()
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    save_model(model, root / "tilth")
    tokenizer.save(root / "tilth")
    to_hf(model, tokenizer, root / "hf")
    return root


@pytest.fixture
def folder_of(originals: Path, tmp_path: Path) -> Callable[[str], Path]:
    def copied(kind: str) -> Path:
        return Path(shutil.copytree(originals / kind, tmp_path / "folder"))

    return copied


@contextmanager
def limited_memory() -> Iterator[None]:
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + ALLOWED_BYTES, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def use(folder: Path) -> Completion:
    """What `tilth chat` does."""
    with limited_memory():
        engine = Engine(load_model(folder), Tokenizer.load(folder))
        return engine.generate(["the cat"], SamplingParams(max_tokens=4))[0]


# What is done to a folder


def content(name: str, data: bytes | str) -> Change:
    return lambda folder: (folder / name).write_bytes(data.encode() if isinstance(data, str) else data) and None


def replaced(name: str, by: Callable[[Path], object]) -> Change:
    def change(folder: Path) -> None:
        (folder / name).unlink()
        by(folder / name)

    return change


def fields(name: str, **values: Any) -> Change:
    """Changes fields of a JSON file; `...` takes one out."""

    def change(folder: Path) -> None:
        whole = json.loads((folder / name).read_text()) | values
        (folder / name).write_text(json.dumps({key: value for key, value in whole.items() if value is not ...}))

    return change


def forget_hash(folder: Path) -> None:
    """Makes the folder one that was written without hashes, so that the other checks are met."""
    path = folder / "model.json"
    if path.exists():
        fields("model.json", weights_sha256=...)(folder)


def tensors(edit: Callable[[dict[str, torch.Tensor]], object]) -> Change:
    """Changes tensors, and writes them as other tools do."""

    def change(folder: Path) -> None:
        forget_hash(folder)
        weights = {name: weight.clone() for name, weight in load_file(folder / WEIGHTS).items()}
        edit(weights)
        (folder / WEIGHTS).unlink()
        save_file(weights, folder / WEIGHTS, {"format": "pt"})

    return change


def as_type(dtype: torch.dtype) -> Change:
    return tensors(lambda weights: weights.update({name: weight.to(dtype) for name, weight in weights.items()}))


def bytes_of_weights(edit: Callable[[bytes], bytes]) -> Change:
    def change(folder: Path) -> None:
        forget_hash(folder)
        whole = (folder / WEIGHTS).read_bytes()
        (folder / WEIGHTS).unlink()
        (folder / WEIGHTS).write_bytes(edit(whole))

    return change


def header(edit: Callable[[dict[str, Any]], object]) -> Change:
    def edited(whole: bytes) -> bytes:
        (length,) = struct.unpack("<Q", whole[:8])
        entries = json.loads(whole[8 : 8 + length])
        entries.pop("__metadata__", None)
        edit(entries)
        encoded = json.dumps(entries).encode()
        return struct.pack("<Q", len(encoded)) + encoded + whole[8 + length :]

    return bytes_of_weights(edited)


def first(entries: dict[str, Any]) -> Any:
    return entries[min(entries)]


def sharded(edit: Callable[[dict[str, Any], Path], object], n: int = 2) -> Change:
    """Splits the weights over files with an index, which `edit` changes."""

    def change(folder: Path) -> None:
        weights = load_file(folder / WEIGHTS)
        names = {name: f"part-{number % n}.safetensors" for number, name in enumerate(sorted(weights))}
        for file in set(names.values()):
            save_file({name: weights[name] for name in names if names[name] == file}, folder / file)
        (folder / WEIGHTS).unlink()
        index: dict[str, Any] = {"metadata": {}, "weight_map": names}
        edit(index, folder)
        (folder / INDEX).write_text(json.dumps(index))

    return change


def point_to(file: str) -> Change:
    return sharded(lambda index, folder: index["weight_map"].update({min(index["weight_map"]): file}))


def moved_out(name: str) -> Change:
    """An index that names a file outside the folder, which is there."""

    def edit(index: dict[str, Any], folder: Path) -> None:
        (folder / "part-0.safetensors").rename(folder.parent / "outside.safetensors")
        file = name or str(folder.parent / "outside.safetensors")
        weight_map = index["weight_map"]
        index["weight_map"] = {
            key: file if value == "part-0.safetensors" else value for key, value in weight_map.items()
        }

    return sharded(edit)


def broken_json(name: str) -> dict[str, Change]:
    def far_too_large(folder: Path) -> None:
        with (folder / name).open("r+b") as file:
            file.truncate(100 << 20)

    return {
        "empty": content(name, ""),
        "cut": content(name, "{"),
        "null": content(name, "null"),
        "a list": content(name, "[]"),
        "a string": content(name, '"x"'),
        "a number": content(name, "NaN"),
        "an empty object": content(name, "{}"),
        "not UTF-8": content(name, b"\xff\xfe{}"),
        "100,000 lists": content(name, "[" * 100_000),
        "a number of 5,000 digits": content(name, '{"vocab_size": ' + "9" * 5000 + "}"),
        "100 MB": far_too_large,
        "a directory": replaced(name, Path.mkdir),
        "a FIFO": replaced(name, os.mkfifo),
        "a link to /dev/zero": replaced(name, lambda path: path.symlink_to("/dev/zero")),
    }


def field_cases() -> dict[str, tuple[str, Change, str]]:
    """Each field with values that it cannot have, in both spellings."""
    sizes = {
        "vocab_size": "vocab_size",
        "d_model": "hidden_size",
        "n_layers": "num_hidden_layers",
        "n_heads": "num_attention_heads",
        "context_length": "max_position_embeddings",
        "n_kv_heads": "num_key_value_heads",
        "head_dim": "head_dim",
        "d_ff": "intermediate_size",
    }
    wrong: dict[str, list[Any]] = {
        **{name: [0, -1, 1.5, "16", True, [], 10**12, 10**400] for name in sizes},
        "rope_theta": [float("nan"), float("inf"), 0, -1.0, "10000", [1], 1e-300, 10**400],
        "norm_eps": [float("nan"), float("inf"), 0, -1e-5, "1e-5", {}],
        "tie_embeddings": [1, "yes", None],
    }
    other = {"rope_theta": "rope_theta", "norm_eps": "rms_norm_eps", "tie_embeddings": "tie_word_embeddings"}
    cases: dict[str, tuple[str, Change, str]] = {}
    for name, values in wrong.items():
        for value in values:
            shown = str(value) if len(str(value)) < 14 else "10^400"
            for kind, key in (("tilth", name), ("hf", (sizes | other)[name])):
                cases[f"{kind}: {key} {shown}"] = (kind, fields(CONFIG_OF[kind], **{key: value}), CONFIG_OF[kind])
    return cases


def shape_cases() -> dict[str, tuple[str, Change, str]]:
    """Shapes that a config may have, and that these weights do not."""
    large = 2**31 - 1
    changes: dict[str, dict[str, Any]] = {
        "a layer more": {"n_layers": 3},
        "a layer less": {"n_layers": 1},
        "2^31 layers": {"n_layers": large},
        "2^31 tokens": {"vocab_size": large},
        "2^31 wide": {"d_model": large, "head_dim": 8},
        "2^31 heads, as wide": {"n_heads": large, "n_kv_heads": large, "head_dim": large - 1},
        "a wide feed-forward": {"d_ff": large},
        "everything large": {"n_layers": large, "d_model": large, "head_dim": 8, "vocab_size": large},
        "an output matrix": {"tie_embeddings": False},
        "more key/value heads": {"n_kv_heads": 2},
    }
    hf = {
        "n_layers": "num_hidden_layers",
        "d_model": "hidden_size",
        "n_heads": "num_attention_heads",
        "n_kv_heads": "num_key_value_heads",
        "d_ff": "intermediate_size",
        "tie_embeddings": "tie_word_embeddings",
    }
    cases: dict[str, tuple[str, Change, str]] = {}
    for name, values in changes.items():
        cases[f"tilth: {name}"] = ("tilth", fields("model.json", **values), "weight")
        translated = {hf.get(key, key): value for key, value in values.items()}
        cases[f"hf: {name}"] = ("hf", fields("config.json", **translated), "weight")
    return cases


def weight_changes() -> dict[str, tuple[Change, str]]:
    """What is wrong with a file of weights, whatever the kind of folder; and a word that the error must have."""

    def bad(value: float) -> Callable[[dict[str, torch.Tensor]], object]:
        return lambda weights: weights[max(weights)].view(-1)[-1:].fill_(value)

    def entry(**values: Any) -> Callable[[dict[str, Any]], object]:
        return lambda entries: first(entries).update(values)

    def overlap(entries: dict[str, Any]) -> None:
        by_start = sorted(entries.values(), key=lambda e: e["data_offsets"])
        by_start[1]["data_offsets"] = by_start[0]["data_offsets"]

    def transpose(weights: dict[str, torch.Tensor]) -> None:
        name = next(name for name in weights if "down" in name)
        weights[name] = weights[name].T.contiguous()

    def huge(whole: bytes) -> bytes:
        return b"\xff" * 7 + b"\x7f" + whole[8:]

    file = WEIGHTS
    return {
        "missing": (lambda folder: (folder / WEIGHTS).unlink(), file),
        "empty": (bytes_of_weights(lambda _: b""), file),
        "four bytes": (bytes_of_weights(lambda whole: whole[:4]), file),
        "half": (bytes_of_weights(lambda whole: whole[: len(whole) // 2]), file),
        "a byte short": (bytes_of_weights(lambda whole: whole[:-1]), file),
        "a byte long": (bytes_of_weights(lambda whole: whole + b"\0"), file),
        "a header of 2^63 bytes": (bytes_of_weights(huge), file),
        "a header past the end": (bytes_of_weights(lambda w: struct.pack("<Q", len(w)) + w[8:]), file),
        "a header of 40 MB": (header(lambda entries: entries.update(padding="x" * (40 << 20))), file),
        "no JSON": (bytes_of_weights(lambda whole: whole[:8] + b"x" + whole[9:]), file),
        "a pickle": (bytes_of_weights(lambda _: b"\x80\x02}q\x00." * 10), file),
        "overlap": (header(overlap), file),
        "offsets past the end": (header(entry(data_offsets=[0, 1 << 60])), file),
        "offsets backwards": (header(entry(data_offsets=[64, 0])), file),
        "negative shape": (header(entry(shape=[-1, 16])), file),
        "a shape that overflows": (header(entry(shape=[1 << 40, 1 << 40])), file),
        "a shape of strings": (header(entry(shape=["16"])), file),
        "an unknown type": (header(entry(dtype="X9")), file),
        "entries without offsets": (header(lambda entries: first(entries).pop("data_offsets")), file),
        "an entry null": (header(lambda entries: entries.update({min(entries): None})), file),
        "int32": (as_type(torch.int32), file),
        "int8": (as_type(torch.int8), file),
        "bool": (as_type(torch.bool), file),
        "float8": (as_type(torch.float8_e4m3fn), file),
        "NaN": (tensors(bad(float("nan"))), file),
        "infinite": (tensors(bad(float("inf"))), file),
        "too large for float32": (
            tensors(lambda weights: weights.update({max(weights): weights[max(weights)].double().fill_(1e300)})),
            file,
        ),
        "one less": (tensors(lambda weights: weights.pop(max(weights))), "weight"),
        "one more": (tensors(lambda weights: weights.update(colour=torch.zeros(3))), "colour"),
        "a bias": (tensors(lambda w: w.update({min(w).replace("weight", "bias"): torch.zeros(3)})), "bias"),
        "one transposed": (
            tensors(transpose),
            "should be",
        ),
        "none": (tensors(lambda weights: weights.clear()), "weight"),
        "a directory": (replaced(WEIGHTS, Path.mkdir), file),
        "a FIFO": (replaced(WEIGHTS, os.mkfifo), file),
        "a link to /dev/zero": (replaced(WEIGHTS, lambda path: path.symlink_to("/dev/zero")), file),
        "a dangling link": (replaced(WEIGHTS, lambda path: path.symlink_to("nowhere")), file),
    }


def flipped(folder: Path) -> None:
    data = bytearray((folder / WEIGHTS).read_bytes())
    data[-100] ^= 1
    (folder / WEIGHTS).write_bytes(data)


def other_model(folder: Path) -> None:
    torch.manual_seed(1)
    save_model(Transformer(load_model(folder).config), folder.parent / "other")
    shutil.copy(folder.parent / "other" / WEIGHTS, folder)


HF_ONLY: dict[str, tuple[Change, str]] = {
    "GPT-2": (fields("config.json", model_type="gpt2"), "model_type"),
    "no model_type": (fields("config.json", model_type=...), "model_type"),
    "model_type a list": (fields("config.json", model_type=[]), "model_type"),
    "rope scaled": (fields("config.json", rope_scaling={"rope_type": "llama3", "factor": 8.0}), "rope_type"),
    "rope scaling a string": (fields("config.json", rope_scaling="linear"), "rope_scaling"),
    "rope parameters a list": (fields("config.json", rope_parameters=[1]), "rope_parameters"),
    "rope_theta null": (fields("config.json", rope_theta=None), "rope_theta"),
    "no hidden_size": (fields("config.json", hidden_size=...), "hidden_size"),
    "intermediate_size null": (fields("config.json", intermediate_size=None), "intermediate_size"),
    "index: a file missing": (point_to("part-7.safetensors"), "part-7.safetensors"),
    "index: ../outside": (moved_out("../outside.safetensors"), INDEX),
    "index: an absolute path": (moved_out(""), INDEX),
    "index: a URL": (point_to("https://example.org/x.safetensors"), INDEX),
    "index: ..": (point_to(".."), ".."),
    "index: no name": (point_to(""), INDEX),
    "index: a NUL": (point_to("a\0b"), INDEX),
    "index: a number": (sharded(lambda index, _: index["weight_map"].update(x=1)), INDEX),
    "index: a list": (sharded(lambda index, _: index["weight_map"].update(x=["y"])), INDEX),
    "index: no map": (sharded(lambda index, _: index.pop("weight_map")), INDEX),
    "index: an empty map": (sharded(lambda index, _: index.update(weight_map={})), INDEX),
    "index: the map a list": (sharded(lambda index, _: index.update(weight_map=["a"])), INDEX),
    "index: a file twice": (
        sharded(lambda index, folder: (shutil.copy(folder / "part-0.safetensors", folder / "b.safetensors"),
                                       index["weight_map"].update(b="b.safetensors"))),
        "b.safetensors",
    ),
    "index: half of the files": (
        sharded(lambda index, _: index.update(weight_map={"x": "part-0.safetensors"})), "weight",
    ),
}  # fmt: skip

BOTH: dict[str, tuple[Change, str]] = {
    "weights: a flipped byte": (flipped, WEIGHTS),
    "tokenizer: missing": (lambda folder: (folder / "tokenizer.json").unlink(), "tokenizer"),
    "tokenizer: too large": (lambda folder: tokenizer_of(300).save(folder), "tokenizer"),
    **{f"tokenizer: {name}": (content("tokenizer.json", data), "tokenizer.json")
       for name, data in {"empty": "", "cut": "{", "null": "null", "a list": "[]", "empty object": "{}"}.items()},
}  # fmt: skip


def all_cases() -> dict[str, tuple[str, Change, str]]:
    cases = field_cases() | shape_cases()
    for kind, config in CONFIG_OF.items():
        cases |= {f"{kind}: config {name}": (kind, change, config) for name, change in broken_json(config).items()}
        cases |= {f"{kind}: weights {name}": (kind, *case) for name, case in weight_changes().items()}
        cases |= {f"{kind}: {name}": (kind, *case) for name, case in BOTH.items()}
    cases |= {f"hf: {name}": ("hf", *case) for name, case in HF_ONLY.items()}
    for name, change in broken_json(INDEX).items():

        def after_sharding(folder: Path, change: Change = change) -> None:
            sharded(lambda index, folder: None)(folder)
            change(folder)

        cases[f"hf: index {name}"] = ("hf", after_sharding, INDEX)
    cases["tilth: an unknown field"] = ("tilth", fields("model.json", colour="red"), "colour")
    cases["tilth: no vocab_size"] = ("tilth", fields("model.json", vocab_size=...), "vocab_size")
    cases["tilth: the hash a number"] = ("tilth", fields("model.json", weights_sha256=7), "weights_sha256")
    cases["tilth: weights of another model"] = ("tilth", other_model, WEIGHTS)
    return cases


CASES = all_cases()


@pytest.mark.parametrize("name", CASES)
def test_an_error_names_what_is_wrong(name: str, folder_of: Callable[[str], Path]) -> None:
    kind, change, word = CASES[name]
    folder = folder_of(kind)
    change(folder)
    with pytest.raises((DataError, ConfigError)) as caught:
        use(folder)
    assert word in caught.value.message
    assert caught.value.fix or "tokenizer" in name
    assert len(str(caught.value)) < 1000


@contextmanager
def without_rights(folder: Path) -> Iterator[None]:
    """Gives the folder to a user who is not root, and acts as that user."""
    if os.geteuid() != 0:
        yield
        return
    nobody = 65534
    for path in (folder, *folder.iterdir()):
        os.chown(path, nobody, nobody)
    os.seteuid(nobody)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize("name", [*CONFIG_OF.values(), WEIGHTS])
def test_files_that_may_not_be_read_are_named(name: str, originals: Path) -> None:
    with tempfile.TemporaryDirectory() as root:  # pytest's own folders are closed to other users
        Path(root).chmod(0o755)
        folder = Path(shutil.copytree(originals / ("hf" if name == "config.json" else "tilth"), Path(root) / "folder"))
        load_model(folder)  # which imports what it needs: the other user may not
        with without_rights(folder):
            load_model(folder)
            (folder / name).chmod(0)
            with pytest.raises(DataError, match=name) as caught:
                load_model(folder)
    assert "ermission" in str(caught.value)


# What is unusual and works


def as_links(folder: Path) -> None:
    """As the Hugging Face cache has it: each file is a link to one outside the folder."""
    sharded(lambda index, folder: None)(folder)
    (folder.parent / "blobs").mkdir()
    for path in list(folder.iterdir()):
        path.rename(folder.parent / "blobs" / path.name)
        path.symlink_to(Path("..", "blobs", path.name))


UNUSUAL: dict[str, tuple[str, Change]] = {
    "nothing changed": ("tilth", lambda folder: None),
    "nothing changed, hf": ("hf", lambda folder: None),
    "without hashes": ("tilth", tensors(lambda weights: None)),
    "without hashes, hf": ("hf", tensors(lambda weights: None)),
    "bfloat16": ("tilth", as_type(torch.bfloat16)),
    "float16": ("hf", as_type(torch.float16)),
    "float64": ("hf", as_type(torch.float64)),
    "131,072 positions": ("hf", fields("config.json", max_position_embeddings=131_072)),
    "10^9 positions": ("hf", fields("config.json", max_position_embeddings=10**9)),
    "10^9 positions of ours": ("tilth", fields("model.json", context_length=10**9)),
    "sharded": ("hf", sharded(lambda index, folder: None, n=3)),
    "links": ("hf", as_links),
    "stored frequencies": ("hf", tensors(
        lambda weights: weights.update({"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4)}))),
    "a tied matrix twice": ("hf", tensors(
        lambda weights: weights.update({"lm_head.weight": weights["model.embed_tokens.weight"].clone()}))),
    "a smaller tokenizer": ("hf", lambda folder: tokenizer_of(258).save(folder)),
}  # fmt: skip


@pytest.mark.parametrize("name", UNUSUAL)
def test_unusual_folders_work(name: str, originals: Path, folder_of: Callable[[str], Path]) -> None:
    kind, change = UNUSUAL[name]
    folder = folder_of(kind)
    change(folder)
    completion = use(folder)
    assert len(completion.tokens) == len(completion.logprobs) > 0
    expected, loaded = load_model(originals / kind), load_model(folder)
    ids = torch.arange(20)[None]
    with torch.no_grad():
        torch.testing.assert_close(loaded(ids), expected(ids), atol=0.1 if "float16" in name else 1e-6, rtol=0)


# Through the command line


CLI_CASES = [
    "tilth: n_layers 1000000000000",
    "hf: 2^31 layers",
    "tilth: weights NaN",
    "hf: weights half",
    "tilth: weights: a flipped byte",
    "hf: tokenizer: too large",
    "hf: index: ../outside",
    "hf: config null",
]


@pytest.mark.parametrize("verb", ["chat", "eval", "export"])
@pytest.mark.parametrize("name", CLI_CASES)
def test_every_verb_shows_a_box(
    verb: str, name: str, folder_of: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kind, change, _ = CASES[name]
    folder = folder_of(kind)
    change(folder)
    write_dataset(tmp_path / "dataset", [Document.make(TEXT, source="a")], made_by="test")
    words = {
        "chat": ["chat", str(folder), "--prompt", "the"],
        "eval": ["eval", str(folder), str(tmp_path / "dataset")],
        "export": ["export", str(folder), "--tokenizer", str(folder), "--out", str(tmp_path / "out")],
    }[verb]
    with limited_memory(), pytest.raises(SystemExit) as caught:
        main(words)
    shown = capsys.readouterr()
    assert caught.value.code == 2
    assert "Traceback" not in shown.err + shown.out
    assert shown.err
    assert not (tmp_path / "out").exists()
