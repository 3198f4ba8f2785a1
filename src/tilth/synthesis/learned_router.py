"""A classifier that says which teacher will win a request, from the request's text, its language and its topic."""

from __future__ import annotations

import io
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from tilth.curation.hashed_features import hashed_features, sklearn
from tilth.errors import DataError
from tilth.files import atomic_path, read_json, write_json

N_FEATURES = 1 << 14
BUCKET_WEIGHT = 0.5
"""Length of the vector of language and topic, beside that of the words, which is 1."""
HELD_OUT = 5
"""One request in so many is held out to measure the agreement; the classifier is then trained on all."""
LEAST_HELD_OUT = 20
"""Requests from which some are held out."""


@dataclass(frozen=True, kw_only=True)
class Contest:
    """A request that all teachers answered."""

    prompt: str
    bucket: str
    winner: str
    margin: float
    """Reward of the winner minus that of the next: how much the choice matters."""


@dataclass(frozen=True, kw_only=True)
class TeacherClassifier:
    """Logistic regression on hashed words of the prompt."""

    teachers: tuple[str, ...]
    """One for each row of `weights`."""
    weights: npt.NDArray[np.float32]
    """(teachers, N_FEATURES)."""
    bias: npt.NDArray[np.float32]
    trained_on: int
    agreement: float = math.nan
    always_best: float = math.nan

    def predict(self, prompt: str, bucket: str) -> str:
        """Returns the teacher that is likeliest to win; ties go to the first."""
        scores = _features([prompt], [bucket]) @ self.weights.T + self.bias
        return self.teachers[int(np.argmax(np.asarray(scores)[0]))]

    def save(self, folder: Path) -> None:
        """Writes `router_classifier.npz` and `.json`; nothing is pickled."""
        with atomic_path(folder / "router_classifier.npz") as target, target.open("wb") as stream:
            np.savez_compressed(stream, weights=self.weights, bias=self.bias)
        facts: Mapping[str, object] = {
            "teachers": list(self.teachers),
            "trained_on": self.trained_on,
            "agreement": None if math.isnan(self.agreement) else self.agreement,
            "always_best": None if math.isnan(self.always_best) else self.always_best,
        }
        write_json(folder / "router_classifier.json", facts)

    @classmethod
    def load(cls, folder: Path) -> TeacherClassifier:
        """Reads what `save` wrote. Raises: DataError."""
        facts = read_json(folder / "router_classifier.json")
        try:
            content = (folder / "router_classifier.npz").read_bytes()
            with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
                return cls(
                    teachers=tuple(facts["teachers"]),
                    weights=arrays["weights"],
                    bias=arrays["bias"],
                    trained_on=int(facts["trained_on"]),
                    agreement=math.nan if facts["agreement"] is None else float(facts["agreement"]),
                    always_best=math.nan if facts["always_best"] is None else float(facts["always_best"]),
                )
        except (OSError, ValueError, KeyError, TypeError, BadZipFile) as error:
            raise DataError(f"{folder} holds no classifier of a router: {error}.", fix="Delete it.") from None


def train_classifier(contests: Sequence[Contest], teachers: Sequence[str]) -> TeacherClassifier:
    """Trains on who won. Requests on which teachers tied teach nothing and are left out.

    Where one teacher won them all, or nothing was decided, it is the answer for everything.
    """
    decided = [contest for contest in contests if contest.margin > 0]
    held_out = decided[::HELD_OUT] if len(decided) >= LEAST_HELD_OUT else []
    agreement = always_best = math.nan
    if held_out:
        rest = [contest for index, contest in enumerate(decided) if index % HELD_OUT]
        trial = _fitted(rest, teachers)
        agreement = float(np.mean([trial.predict(one.prompt, one.bucket) == one.winner for one in held_out]))
        always_best = float(np.mean([_favourite(rest, teachers) == one.winner for one in held_out]))
    fitted = _fitted(decided, teachers)
    return TeacherClassifier(
        teachers=fitted.teachers,
        weights=fitted.weights,
        bias=fitted.bias,
        trained_on=len(decided),
        agreement=agreement,
        always_best=always_best,
    )


def _favourite(contests: Sequence[Contest], teachers: Sequence[str]) -> str:
    wins = Counter(contest.winner for contest in contests)
    return max(teachers, key=lambda teacher: (wins[teacher], -list(teachers).index(teacher)))


def _fitted(contests: Sequence[Contest], teachers: Sequence[str]) -> TeacherClassifier:
    winners = sorted({contest.winner for contest in contests})
    if len(winners) < 2:
        zeros = np.zeros((1, N_FEATURES), dtype=np.float32)
        only = (_favourite(contests, teachers),)
        return TeacherClassifier(teachers=only, weights=zeros, bias=zeros[:, 0], trained_on=len(contests))
    model: Any = sklearn("linear_model").LogisticRegression(C=10.0, max_iter=500, random_state=0)
    features = _features([contest.prompt for contest in contests], [contest.bucket for contest in contests])
    mean_margin = float(np.mean([contest.margin for contest in contests]))
    model.fit(
        features,
        [contest.winner for contest in contests],
        sample_weight=[contest.margin / mean_margin for contest in contests],
    )
    weights, bias = np.asarray(model.coef_), np.asarray(model.intercept_)
    if len(weights) == 1:  # two classes share one row, for the second
        weights, bias = np.concatenate([-weights, weights]) / 2, np.concatenate([-bias, bias]) / 2
    return TeacherClassifier(
        teachers=tuple(str(name) for name in model.classes_),
        weights=weights.astype(np.float32),
        bias=bias.astype(np.float32),
        trained_on=len(contests),
    )


def _features(prompts: Sequence[str], buckets: Sequence[str]) -> Any:
    """Words and bucket, hashed into the same columns."""
    preprocessing = sklearn("preprocessing")
    words = preprocessing.normalize(hashed_features(prompts, N_FEATURES))
    names = preprocessing.normalize(
        hashed_features([f"bucket{bucket.encode().hex()}" for bucket in buckets], N_FEATURES)
    )
    return words + names * BUCKET_WEIGHT
