"""Which model and which tokenizer a command works with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tilth.errors import DataError
from tilth.run_record import LATEST

if TYPE_CHECKING:
    from tilth.tokenizer import Tokenizer

_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "*.tiktoken", "vocab.json")
_MODEL_FILES = ("model.json", "config.json")
_INSIDE = (".", "export", "model")


def model_in(folder: Path) -> Path:
    """Returns the folder of a model: `folder`, or `export` or `model` in it where a run or a training is named."""
    for name in _INSIDE:
        if any((folder / name / file).is_file() for file in _MODEL_FILES):
            return folder / name
    return folder


def newest_model(runs: Path) -> Path:
    """Returns the model of the newest run under `runs`: that of `latest`, else the export or training written last.

    Raises: DataError if there is none.
    """
    latest = model_in(runs / LATEST)
    if has_model(latest):
        return latest
    for pattern in ("*/*/generation_config.json", "*/*/model/model.json"):
        found = [path for path in runs.glob(pattern) if not path.parts[-3].startswith(".") and has_model(path.parent)]
        if found:
            return max(found, key=lambda path: path.stat().st_mtime).parent
    raise DataError(
        f"There is no model under {runs}.",
        fix="`tilth run quickstart` makes one; `tilth chat MODEL` opens any other folder, `--runs FOLDER` other runs.",
    )


def check_model(folder: Path) -> None:
    """Raises DataError if a folder holds no model."""
    if not has_model(folder):
        raise DataError(
            f"{folder} holds no model." if folder.exists() else f"There is no folder {folder}.",
            fix="Give the folder of an export or a training, or of a run; `tilth ls` lists what was run.",
        )


def has_model(folder: Path) -> bool:
    """Tells whether a folder holds a model."""
    return any((folder / file).is_file() for file in _MODEL_FILES)


def load_tokenizer(model: Path, given: Path | None) -> Tokenizer:
    """Loads the tokenizer that was given, or that of the model's folder.

    Raises: DataError naming the option, if there is none.
    """
    from tilth.tokenizer import Tokenizer

    if given is None and not has_tokenizer(model):
        raise DataError(f"{model} holds no tokenizer.", fix="Say where it is: `--tokenizer FOLDER`.")
    return Tokenizer.load(given or model)


def has_tokenizer(folder: Path) -> bool:
    """Tells whether a folder holds a tokenizer's files."""
    return any(path for kind in _TOKENIZER_FILES for path in folder.glob(kind))
