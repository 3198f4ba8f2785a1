"""Packages that load their modules at first use show what they hold, and functions take folders as strings."""

from __future__ import annotations

import importlib
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tilth import Context, Dataset, ModelConfig, Tokenizer, load_model
from tilth.curation import CurationConfig, curate
from tilth.errors import ConfigError, DataError
from tilth.model import save_model
from tilth.report import collect, render
from tilth.training import TrainConfig, read_metrics, train

PACKAGES = [
    "tilth",
    *(
        f"tilth.{path.parent.name}"
        for path in sorted((Path(__file__).parents[2] / "src" / "tilth").glob("*/__init__.py"))
        if "attach(" in path.read_text()
    ),
]


def test_there_are_lazy_packages() -> None:
    assert {"tilth.curation", "tilth.training", "tilth.model"} <= set(PACKAGES)


@pytest.mark.parametrize("package", PACKAGES)
def test_public_names_are_listed_before_anything_is_loaded(package: str) -> None:
    code = f"import sys, {package} as p; print('torch' in sys.modules, *dir(p))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded, *listed = done.stdout.split()
    assert loaded == "False"
    module = importlib.import_module(package)
    assert set(module.__all__) - set(listed) <= {"__version__"}
    assert listed == sorted(listed)
    namespace: dict[str, object] = {}
    exec(f"from {package} import *", namespace)
    assert set(module.__all__) <= set(namespace)


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    folder = tmp_path / "texts"
    folder.mkdir()
    for path in (Path(sysconfig.get_path("stdlib")) / "email").glob("*.py"):
        shutil.copy(path, folder)
    return folder


def test_curate_and_train_as_functions(texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = CurationConfig(held_out_fraction=0.1)
    ledger = curate("texts", "curated", config, Context(workers=1))
    assert ledger.train.documents > 5
    dataset = Dataset.open("curated/train")
    assert len(dataset) == ledger.train.documents
    again = curate([texts], tmp_path / "again", config, Context(workers=1))
    assert again.train == ledger.train
    assert dataset[0].id == Dataset.open("again/train")[0].id
    tokenizer = Tokenizer.train(dataset, vocab_size=300)
    model = ModelConfig(vocab_size=300, d_model=16, n_layers=1, n_heads=1, context_length=16)
    result = train(model, TrainConfig(tokens=512, global_batch_tokens=64), dataset, tokenizer, "trained")
    assert read_metrics("trained/metrics.jsonl").train
    save_model(result.model, "copied")
    assert load_model("copied").config == model
    assert render(collect(["trained"]), "page").read_text().startswith("<!")


def test_two_corpora_of_one_name_are_refused(texts: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "texts").symlink_to(texts)
    (tmp_path / "more" / "texts").mkdir(parents=True)
    with pytest.raises(ConfigError, match="Two corpora are called `texts`"):
        curate([texts, tmp_path / "more" / "texts"], tmp_path / "out")
    with pytest.raises(DataError, match="does not exist"):
        curate("nothing here", tmp_path / "out")
