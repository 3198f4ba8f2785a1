"""From a teacher's scores to a classifier that scores everything: the second half of quality annotation.

The teacher scores a few thousand documents (recipe `annotate`), a linear model learns from them, and curation applies
it to millions (`tilth.curation.quality`), as FineWeb-Edu did with a head on frozen embeddings. Here the features are
hashed words, word pairs and the form of the text, so that it runs at reading speed without a model.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from tilth.curation.hashed_features import hashed_features, sklearn
from tilth.curation.quality import CHARACTERS, QualityClassifier, form_features, tf_idf
from tilth.errors import ConfigError, DataError
from tilth.results import without_nan
from tilth.storage import Dataset

N_FEATURES = 1 << 16
ALPHAS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
"""Strengths of the ridge penalty; the best on inner folds is taken."""
FORM_WEIGHT = 0.1
"""Size of a feature of form, in standard deviations, beside the words, whose vector has length 1."""
LEAST_DOCUMENTS = 20


@dataclass(frozen=True, kw_only=True)
class Bin:
    """Held-out documents whose predicted scores lie together."""

    low: float
    high: float
    documents: int
    predicted: float
    """Mean of the predictions."""
    actual: float
    """Mean of the teacher's scores."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Predictions beside a teacher's scores, on documents that were held out."""

    precision: float
    """Of documents predicted at or above the threshold, the share that are."""
    recall: float
    f1: float
    rank_correlation: float
    """Spearman's."""
    mean_error: float
    """Mean absolute difference of scores."""
    mean_bias: float
    """Mean of predicted minus actual."""
    calibration: tuple[Bin, ...] = ()


@dataclass(frozen=True, kw_only=True)
class QualityReport:
    """How good a quality classifier is."""

    trained_on: int
    held_out: int
    good_share: float
    """Share of held-out documents whose score is at least the threshold."""
    threshold: float
    alpha: float
    classifier: Measured
    length_only: Measured
    """The same regression on the logarithm of the number of words alone: what looking at nothing else gives."""


@dataclass(frozen=True, kw_only=True)
class TrainedQuality:
    """A classifier and how good it is."""

    classifier: QualityClassifier
    report: QualityReport


def train_classifier(
    dataset: Dataset,
    out: Path | str | None = None,
    *,
    score: str = "score_quality",
    threshold: float = 3.0,
    held_out_fraction: float = 0.2,
    seed: int = 0,
) -> TrainedQuality:
    """Trains on the column `score` of a dataset, and writes the folder `out` for the operator `quality`.

    Which documents are held out follows from their ids and the seed. The classifier that is returned and written was
    trained on the others only, so the report speaks of it. Memory: the texts (20,000 characters of each) and some 16
    bytes a distinct word pair.
    Raises: DataError without the column, with fewer than 20 scored documents, or with one score for all.
    """
    if not 0 < held_out_fraction < 1:
        raise ConfigError(f"`held_out_fraction` is {held_out_fraction}.", fix="Give a share between 0 and 1.")
    ids, texts, scores = _read(dataset, score)
    held_out = np.array([_held_out(identifier, seed, held_out_fraction) for identifier in ids])
    train = [text for text, out_of_it in zip(texts, held_out, strict=True) if not out_of_it]
    test = [text for text, out_of_it in zip(texts, held_out, strict=True) if out_of_it]
    actual, test_scores = scores[~held_out], scores[held_out]
    if len(texts) < LEAST_DOCUMENTS or not len(test) or np.ptp(actual) == 0:
        raise DataError(
            f"{len(texts)} documents of {dataset.folder} have a `{score}`, {len(test)} of them held out, "
            f"{'with one score for all' if len(texts) and np.ptp(scores) == 0 else 'too few to train on'}.",
            fix=f"Annotate {LEAST_DOCUMENTS} documents or more, of different quality.",
        )
    classifier, alpha = fit(train, actual, threshold=threshold)
    baseline = _length_only(train, actual, test)
    report = QualityReport(
        trained_on=len(train),
        held_out=len(test),
        good_share=float((test_scores >= threshold).mean()),
        threshold=threshold,
        alpha=alpha,
        classifier=measure(classifier.score(test), test_scores, threshold),
        length_only=measure(baseline, test_scores, threshold),
    )
    if out is not None:
        classifier.save(Path(out), {"report": without_nan(asdict(report)), "dataset": dataset.fingerprint})
    return TrainedQuality(classifier=classifier, report=report)


def fit(texts: Sequence[str], scores: npt.NDArray[np.float64], *, threshold: float) -> tuple[QualityClassifier, float]:
    """Returns a classifier and the strength of its penalty, chosen on four inner folds."""
    begins = [text[:CHARACTERS] for text in texts]
    documents = np.asarray((hashed_features(begins, N_FEATURES) != 0).sum(axis=0)).ravel()
    idf = (np.log((1 + len(texts)) / (1 + documents)) + 1).astype(np.float32)
    form = form_features(texts)
    mean, scale = form.mean(axis=0), np.where(form.std(axis=0) > 1e-9, form.std(axis=0), 1.0)
    features = _stacked(tf_idf(begins, idf), (form - mean) / scale * FORM_WEIGHT)
    alpha = _best_alpha(features, scores)
    model = _ridge(alpha).fit(features, scores)
    weights: npt.NDArray[np.float64] = np.asarray(model.coef_)
    slope, shift = _recalibration(features, scores, alpha)
    classifier = QualityClassifier(
        weights=(slope * weights[:N_FEATURES]).astype(np.float32),
        idf=idf,
        form_weights=(slope * weights[N_FEATURES:] * FORM_WEIGHT).astype(np.float32),
        form_mean=mean.astype(np.float32),
        form_scale=scale.astype(np.float32),
        bias=float(slope * model.intercept_ + shift),
        low=float(scores.min()),
        high=float(scores.max()),
        threshold=threshold,
    )
    return classifier, alpha


def measure(predicted: npt.NDArray[np.float64], actual: npt.NDArray[np.float64], threshold: float) -> Measured:
    """Returns how predictions compare with actual scores. Precision of no prediction, and recall of nothing to find,
    are NaN."""
    found, good = predicted >= threshold, actual >= threshold
    hits = float((found & good).sum())
    precision = hits / found.sum() if found.any() else math.nan
    recall = hits / good.sum() if good.any() else math.nan
    return Measured(
        precision=float(precision),
        recall=float(recall),
        f1=float(2 * hits / max(found.sum() + good.sum(), 1)),
        rank_correlation=_spearman(predicted, actual),
        mean_error=float(np.abs(predicted - actual).mean()),
        mean_bias=float((predicted - actual).mean()),
        calibration=_bins(predicted, actual),
    )


def _bins(predicted: npt.NDArray[np.float64], actual: npt.NDArray[np.float64], n: int = 5) -> tuple[Bin, ...]:
    """Equally many documents in each bin."""
    order = np.argsort(predicted, kind="stable")
    return tuple(
        Bin(
            low=float(predicted[part].min()),
            high=float(predicted[part].max()),
            documents=len(part),
            predicted=float(predicted[part].mean()),
            actual=float(actual[part].mean()),
        )
        for part in np.array_split(order, min(n, len(order)))
    )


def _spearman(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> float:
    ranks = [_ranks(values) for values in (x, y)]
    if any(np.ptp(rank) == 0 for rank in ranks):
        return math.nan
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def _ranks(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Ranks, those of equal values being their mean."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[inverse]


def _read(dataset: Dataset, score: str) -> tuple[list[str], list[str], npt.NDArray[np.float64]]:
    ids: list[str] = []
    texts: list[str] = []
    scores: list[float] = []
    for shard in range(len(dataset.shards)):
        for batch in dataset.batches(shard):
            if score not in batch.schema.names:
                raise DataError(
                    f"{dataset.folder} has no column `{score}`.",
                    fix="`tilth synthesize annotate DATASET --teacher ... --out FOLDER` adds `score_quality`.",
                )
            rows = cast("list[dict[str, Any]]", batch.select(["id", "text", score]).to_pylist())
            for row in rows:
                if row[score] is not None and math.isfinite(row[score]):
                    ids.append(row["id"])
                    texts.append(str(row["text"])[:CHARACTERS])
                    scores.append(float(row[score]))
    return ids, texts, np.array(scores, dtype=np.float64)


def _held_out(identifier: str, seed: int, fraction: float) -> bool:
    digest = hashlib.sha256(f"{seed}\0{identifier}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64 < fraction


def _ridge(alpha: float) -> Any:
    # The features are sparse and many: conjugate gradients, which draw nothing.
    return sklearn("linear_model").Ridge(alpha=alpha, solver="sparse_cg", tol=1e-6, max_iter=2000)


def _folds(n: int, k: int = 4) -> list[npt.NDArray[np.int64]]:
    return [np.arange(fold, n, k) for fold in range(min(k, n))]


def _out_of_fold(features: Any, scores: npt.NDArray[np.float64], alpha: float) -> npt.NDArray[np.float64]:
    """Returns predictions for each document by a model that did not see it."""
    predicted = np.empty(len(scores))
    for fold in _folds(len(scores)):
        rest = np.setdiff1d(np.arange(len(scores)), fold)
        predicted[fold] = _ridge(alpha).fit(features[rest], scores[rest]).predict(features[fold])
    return predicted


def _best_alpha(features: Any, scores: npt.NDArray[np.float64]) -> float:
    errors = {alpha: float(((_out_of_fold(features, scores, alpha) - scores) ** 2).mean()) for alpha in ALPHAS}
    return min(ALPHAS, key=lambda alpha: errors[alpha])


def _recalibration(features: Any, scores: npt.NDArray[np.float64], alpha: float) -> tuple[float, float]:
    """Returns slope and shift that make predictions for unseen documents right on average: ridge predicts too close to
    the mean."""
    predicted = _out_of_fold(features, scores, alpha)
    if np.ptp(predicted) < 1e-9:
        return 1.0, 0.0
    slope, shift = np.polyfit(predicted, scores, 1)
    # Where nothing is learned, the slope is noise around 0 and would turn the order round.
    return (float(slope), float(shift)) if slope > 0 else (1.0, 0.0)


def _length_only(train: Sequence[str], scores: npt.NDArray[np.float64], test: Sequence[str]) -> npt.NDArray[np.float64]:
    lengths, others = form_features(train)[:, 0], form_features(test)[:, 0]
    if np.ptp(lengths) == 0:
        return np.full(len(test), scores.mean())
    slope, shift = np.polyfit(lengths, scores, 1)
    return np.clip(slope * others + shift, scores.min(), scores.max())


def _stacked(words: Any, form: npt.NDArray[np.float64]) -> Any:
    import scipy.sparse as sparse  # pyright: ignore[reportMissingTypeStubs] (comes with scikit-learn)

    stack: Any = sparse.hstack  # pyright: ignore[reportUnknownMemberType]
    return stack([words, form]).tocsr()
