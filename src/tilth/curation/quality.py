"""A quality score for each document, from a small linear classifier that was trained on scores of a teacher.

The classifier is a folder of `quality.json` and `weights.npz` (nothing is pickled), made by
`tilth.synthesis.quality.train_classifier`. The operator `quality` writes its score into the column `score_quality` and
drops documents below `CurationConfig.min_quality`.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from tilth.curation.config import CurationConfig
from tilth.curation.hashed_features import hashed_features, sklearn
from tilth.curation.operators import Drop, Operator, Row, judge
from tilth.errors import ConfigError, DataError
from tilth.files import read_json, write_bytes, write_json

FACTS, WEIGHTS = "quality.json", "weights.npz"
VERSION = 1
"""Of the features: a classifier of another version is refused."""
CHARACTERS = 20_000
"""How much of a document is looked at."""
N_FORM = 7
"""Features of the form of a text."""


@dataclass(frozen=True, kw_only=True, eq=False)
class QualityClassifier:
    """Ridge regression on hashed words and word pairs (TF-IDF) and on the form of a text."""

    weights: npt.NDArray[np.float32]
    """Of the hashed features, (n_features,)."""
    idf: npt.NDArray[np.float32]
    """(n_features,)."""
    form_weights: npt.NDArray[np.float32]
    """Of the features of form, (N_FORM,)."""
    form_mean: npt.NDArray[np.float32]
    form_scale: npt.NDArray[np.float32]
    bias: float
    low: float
    """Lowest score that it was trained on; no text gets less."""
    high: float
    threshold: float
    """Score from which a document counts as good."""

    def score(self, texts: Sequence[str]) -> npt.NDArray[np.float64]:
        """Returns the score of each text, (texts,), in the scale that it was trained on."""
        words = tf_idf([text[:CHARACTERS] for text in texts], self.idf) @ self.weights.astype(np.float64)
        form = (form_features(texts) - self.form_mean) / self.form_scale
        return np.clip(words + form @ self.form_weights + self.bias, self.low, self.high)

    @property
    def fingerprint(self) -> str:
        """Hash of all that decides scores."""
        return hashlib.sha256(self._content()).hexdigest()[:16]

    def save(self, folder: Path, facts: dict[str, object]) -> None:
        """Writes the folder; `facts` are for people (measurements)."""
        folder.mkdir(parents=True, exist_ok=True)
        write_bytes(folder / WEIGHTS, self._content())
        write_json(folder / FACTS, {"version": VERSION, "fingerprint": self.fingerprint, **facts})

    def _content(self) -> bytes:
        buffer = io.BytesIO()
        scalars = np.array([self.bias, self.low, self.high, self.threshold])
        np.savez(
            buffer,
            weights=self.weights,
            idf=self.idf,
            form=np.stack([self.form_weights, self.form_mean, self.form_scale]),
            scalars=scalars,
        )
        return buffer.getvalue()

    @classmethod
    def load(cls, folder: Path | str) -> QualityClassifier:
        """Reads a folder; `FOLDER@FINGERPRINT` asks for a certain content.

        Raises: DataError if there is none, or another one.
        """
        path, wanted = _divided(str(folder))
        facts: Any = _facts(path)
        try:
            with np.load(io.BytesIO((path / WEIGHTS).read_bytes()), allow_pickle=False) as arrays:
                form, scalars = arrays["form"], arrays["scalars"].tolist()
                found = cls(
                    weights=arrays["weights"],
                    idf=arrays["idf"],
                    form_weights=form[0],
                    form_mean=form[1],
                    form_scale=form[2],
                    bias=scalars[0],
                    low=scalars[1],
                    high=scalars[2],
                    threshold=scalars[3],
                )
        except (OSError, ValueError, KeyError, IndexError, BadZipFile) as error:
            raise DataError(f"{path / WEIGHTS} cannot be read: {error}.", fix="Train the classifier again.") from None
        if found.fingerprint != facts["fingerprint"]:
            raise DataError(f"{path / WEIGHTS} is not what {FACTS} says.", fix="Train the classifier again.")
        if wanted and found.fingerprint != wanted:
            raise DataError(
                f"{path} holds another quality classifier ({found.fingerprint}) than the run began with ({wanted}).",
                fix="Name a new output folder, or put the first classifier back.",
            )
        return found


def tf_idf(texts: Sequence[str], idf: npt.NDArray[np.floating[Any]]) -> Any:
    """Returns rows of length 1, a sparse matrix (texts, n_features)."""
    counts = hashed_features(texts, len(idf))
    return sklearn("preprocessing").normalize(counts.multiply(idf).tocsr())


def form_features(texts: Sequence[str]) -> npt.NDArray[np.float64]:
    """Returns what can be told without reading, (texts, N_FORM): logarithms of the lengths in words, of a line and of
    a word, and shares of capitals, digits, other signs, and lines that end a sentence."""
    return np.array([_form(text[:CHARACTERS]) for text in texts], dtype=np.float64).reshape(len(texts), N_FORM)


def _form(text: str) -> tuple[float, ...]:
    words, lines = text.split(), [line for line in text.splitlines() if line.strip()]
    n, n_words, n_lines = max(len(text), 1), max(len(words), 1), max(len(lines), 1)
    return (
        float(np.log1p(len(words))),
        float(np.log1p(n_words / n_lines)),
        float(np.log1p(n / n_words)),
        sum(character.isupper() for character in text) / n,
        sum(character.isdigit() for character in text) / n,
        len(re.findall(r"[^\w\s]", text)) / n,
        sum(line.rstrip().endswith((".", "!", "?", '"', "。")) for line in lines) / n_lines,
    )


def pinned(config: CurationConfig) -> CurationConfig:
    """Returns a config that names the classifier with its fingerprint: another one makes other documents.

    Raises: DataError if there is no classifier in the folder.
    """
    if config.quality_classifier is None:
        return config
    path, wanted = _divided(config.quality_classifier)
    return config if wanted else replace(config, quality_classifier=f"{path}@{_facts(path)['fingerprint']}")


def operator(config: CurationConfig) -> Operator:
    """Adds `score_quality`. Drops: `low_quality`, below `min_quality`.

    Raises: ConfigError without a classifier.
    """
    if config.quality_classifier is None:
        raise ConfigError(
            "The operator `quality` has no classifier.", fix="Name its folder: `--quality-classifier FOLDER`."
        )
    classifier, least = QualityClassifier.load(config.quality_classifier), config.min_quality
    classifier.score([""])  # loads scikit-learn now, and not in the time of the first document

    def rate(row: Row) -> Row | Drop | None:
        score = float(classifier.score([str(row["text"])])[0])
        if least is not None and score < least:
            return Drop("low_quality", f"{score:.2f} < {least:g}", measure=score, limit=least)
        return dict(row) | {"score_quality": score}

    return judge("quality", rate)


def _divided(name: str) -> tuple[Path, str]:
    folder, at, fingerprint = name.rpartition("@")
    if at and re.fullmatch("[0-9a-f]{16}", fingerprint) and not Path(name).exists():
        return Path(folder), fingerprint
    return Path(name), ""


def _facts(folder: Path) -> Any:
    if not (folder / FACTS).is_file():
        raise DataError(
            f"{folder} holds no quality classifier.", fix="`tilth.synthesis.quality.train_classifier` makes one."
        )
    facts = read_json(folder / FACTS)
    if not isinstance(facts, dict) or "fingerprint" not in facts or facts.get("version") != VERSION:
        raise DataError(
            f"{folder / FACTS} is not of version {VERSION} of quality classifiers.", fix="Train the classifier again."
        )
    return facts
