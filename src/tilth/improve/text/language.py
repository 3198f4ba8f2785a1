"""Does a small model's own text pay? It writes from its corpus, the texts are measured, and mixed in only if they do.

For each seed: a model is trained on organic text; it writes `bootstrapped` texts and `continuations` (`own_texts`);
their value nu is measured by learners of their own (`assay/value.py`) on validation documents. A kind is mixed in only
if the interval of nu over seeds lies above 0 and above that of the noise arm. Whatever is decided, every arm is run as
well, from the same weights, for equal tokens and steps, and compared on test documents that decided nothing: so the
decision itself is checked. Half of what an arm reads is organic text, the other half is what names it.

Every piece of work (texts of a seed, one value, one arm) has a folder and a result file of its own: a run that was
killed goes on with the rest and ends with the same bytes.
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tilth import execute
from tilth.assay.experiment import EXPERIMENT_RESULT, Arm, Comparison, Ended, Example, Experiment, Measure, Point
from tilth.assay.result import Value
from tilth.assay.value import measure_value
from tilth.errors import DataError, DivergedError
from tilth.files import clear_temporaries
from tilth.identity import claim
from tilth.improve.fine_tune import one_thread
from tilth.improve.text.language_config import LanguageConfig
from tilth.improve.text.own_texts import KINDS, Kind, Written, write_texts
from tilth.intervals import Interval, difference_interval, mean_interval
from tilth.model import load_model
from tilth.model.config import ModelConfig
from tilth.results import read_result, write_result
from tilth.storage import Dataset, write_dataset
from tilth.tokenizer import Tokenizer
from tilth.training import TrainConfig, train
from tilth.training.held_out import held_out_excerpt, text_loss
from tilth.training.pretraining import pass_tokens
from tilth.training.trainer import CHECKPOINT
from tilth.types import Document

ARMS: tuple[Arm, ...] = (
    Arm(name="stop", meaning="The model as it is: no training after the organic text.", role="control"),
    Arm(name="repeat", meaning="Organic text again, as many tokens as the other arms.", role="control"),
    Arm(
        name="repeat_longer",
        meaning="Organic text again, for as many FLOPs as the dearest arm spent on writing and training.",
        role="control",
    ),
    Arm(name="bootstrapped", meaning="Half organic text, half texts by the model of related passages."),
    Arm(name="continuations", meaning="Half organic text, half the model's continuations of organic passages."),
    Arm(name="fresh", meaning="Half organic text, half real text that it has not seen.", role="upper_bound"),
)
BITS = "bits_per_byte"
MANY_EPOCHS = 1000.0
"""No limit: `repeat_longer` reads its text as often as its FLOPs allow."""
_ARM, _VALUE = "arm.json", "value.json"


@dataclass(frozen=True, kw_only=True)
class Texts:
    """The parts of a corpus that an experiment works on, and the tokenizer."""

    organic: Dataset
    fresh: Dataset
    validation: Dataset
    """Held-out documents on which the value is measured, and with it the decision."""
    test: Dataset
    """Held-out documents on which the arms are compared."""
    tokenizer: Path


@dataclass(frozen=True, kw_only=True)
class SeedWork:
    """What all work of one seed shares."""

    config: LanguageConfig
    texts: Texts
    seed: int
    folder: Path
    context: execute.Context

    @property
    def model(self) -> Path:
        """The folder of the model that writes, and that every arm starts from."""
        return self.folder / "base" / "model"

    def written(self, kind: Kind) -> Path:
        """The folder of one kind of texts."""
        return self.folder / kind


@dataclass(frozen=True, kw_only=True)
class ArmRecord:
    """What one arm of one seed came to."""

    bits_per_byte: float
    tokens: int
    train_flops: float
    own_share: float
    """Share of the bytes it read from that are its own half's: texts that the gates left may be too few for half."""
    ended: str = ""


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """Whether one kind of texts is mixed in."""

    kind: str
    value: Interval
    """nu, over seeds."""
    above_noise: Interval
    """nu less that of the noise arm, paired by seed."""
    mixed_in: bool
    why: str


def study_language(
    config: LanguageConfig,
    out: Path,
    train_text: Dataset,
    held_out: Dataset,
    tokenizer: Path,
    context: execute.Context | None = None,
) -> Experiment:
    """Runs the experiment into `out`, or continues it, and writes `experiment.json`.

    Raises: DataError where there is too little text; ConfigError if `out` holds an experiment of other settings.
    """
    started = time.monotonic()
    context = context or execute.Context()
    identity = {
        "config": config, "train": train_text.fingerprint, "held_out": held_out.fingerprint,
        "tokenizer": Tokenizer.load(tokenizer).fingerprint,
    }  # fmt: skip
    claim(out, identity, kind="language", outputs=(EXPERIMENT_RESULT, "data", *(f"seed-{s}" for s in config.seeds)))
    clear_temporaries(out)
    texts = _divide(config, train_text, held_out, tokenizer, out / "data")
    machine = execute.Context(device=context.device, checkpoint_seconds=context.checkpoint_seconds, workers=1)
    works = [
        SeedWork(config=config, texts=texts, seed=seed, folder=out / f"seed-{seed}", context=machine)
        for seed in config.seeds
    ]
    list(execute.map_shards(train_writer, works, context, name="models", unit="seeds"))
    pairs: list[tuple[SeedWork, Kind]] = [(work, kind) for kind in KINDS for work in works]
    written = dict(zip(_keys(pairs), execute.map_shards(_write, pairs, context, name="texts"), strict=True))
    values = dict(zip(_keys(pairs), execute.map_shards(_value, pairs, context, name="values"), strict=True))
    judgements = [judge(kind, [values[work.seed, kind] for work in works]) for kind in KINDS]
    arms = [(work, arm.name, _budget(work, arm.name, written)) for arm in reversed(ARMS) for work in works]
    outcomes = list(execute.map_shards(_run_arm, arms, context, name="arms", unit="arms"))
    records = {(work.seed, arm): record for (work, arm, _), record in zip(arms, outcomes, strict=True)}
    experiment = _experiment(config, texts, written, judgements, records, time.monotonic() - started)
    write_result(out / EXPERIMENT_RESULT, experiment)
    return experiment


def _keys(pairs: Sequence[tuple[SeedWork, Kind]]) -> list[tuple[int, str]]:
    return [(work.seed, kind) for work, kind in pairs]


def _divide(config: LanguageConfig, train_text: Dataset, held_out: Dataset, tokenizer: Path, out: Path) -> Texts:
    """Writes the parts: organic and fresh text are of different documents, and so are validation and test.

    Documents are taken in the order of their ids, which is random and stable. In that of the dataset, which is by path,
    fresh text would be of other folders than organic text, and might be worth more for its kind alone.
    """
    parts: dict[str, list[Document]] = {"organic": [], "fresh": []}
    room = min(config.organic_bytes, train_text.n_bytes // 2)
    sizes = dict.fromkeys(parts, 0)
    for document in held_out_excerpt(train_text.documents(), 2 * room):
        name = "organic" if sizes["organic"] < room else "fresh"
        parts[name].append(document)
        sizes[name] += len(document.text.encode("utf-8", "surrogatepass"))
    kept = sorted(held_out.documents(), key=lambda document: document.id)
    parts |= {"validation": kept[::2], "test": kept[1::2]}
    for name, documents in parts.items():
        if len(documents) < 1:
            raise DataError(
                f"There is no document for the {name} text.", fix="Give a corpus of more documents, or more text."
            )
    source = (train_text.fingerprint, held_out.fingerprint)
    made = {
        name: write_dataset(
            out / name,
            # Models this small read no more than a passage; held-out text is measured whole.
            _passages(documents, config.passage_characters) if name in ("organic", "fresh") else documents,
            made_by=f"language/{name}",
            parents=source,
            identity={"config": config, "source": list(source), "part": name},
        )
        for name, documents in parts.items()
    }
    return Texts(**made, tokenizer=tokenizer)


def _passages(documents: Sequence[Document], characters: int) -> Iterator[Document]:
    """Cuts documents behind the first end of a line after so many characters."""
    for document in documents:
        begin, text = 0, document.text
        while begin < len(text):
            end = text.find("\n", begin + characters) + 1 or len(text)
            if text[begin:end].strip():
                source = f"{document.source}#{begin}"
                yield Document.make(text[begin:end], source, corpus=source, language=document.language)
            begin = end


def train_writer(work: SeedWork) -> None:
    """Trains the model that writes and that every arm starts from, unless it is there."""
    if (work.model / "tokenizer.json").exists():
        return
    tokenizer = Tokenizer.load(work.texts.tokenizer)
    shape = ModelConfig.from_depth(
        work.config.depth, vocab_size=tokenizer.vocab_size, context_length=work.config.context_length
    )
    training = TrainConfig(tokens=work.config.base_tokens, seed=work.seed)
    with one_thread():
        train(shape, training, work.texts.organic, tokenizer, work.folder / "base", context=work.context)
    shutil.rmtree(work.folder / "base" / CHECKPOINT, ignore_errors=True)
    tokenizer.save(work.model)


def _write(shard: tuple[SeedWork, Kind]) -> Written:
    work, kind = shard
    out = work.written(kind)
    out.mkdir(parents=True, exist_ok=True)
    try:
        with one_thread():
            return write_texts(kind, work.texts.organic, work.model, out, work.config, work.seed, work.context)
    except DataError as error:  # such as a corpus without related passages: the other kind goes on
        written = Written(kind=kind, generated=0, kept=0, kept_bytes=0, dropped={}, generation_flops=0.0,
                          ended=str(error))  # fmt: skip
        write_result(out / "written.json", written)
        return written


def _value(shard: tuple[SeedWork, Kind]) -> Value | None:
    """Measures one kind of texts with the learners of one seed; None where there are none."""
    work, kind = shard
    folder, texts = work.written(kind), work.texts
    path = folder / _VALUE
    written = read_result(Written, folder / "written.json")
    if not written.kept:
        return None
    if path.exists():
        return read_result(Value, path)
    with one_thread():
        value = measure_value(
            Dataset.open(folder / "texts"),
            folder / "value",
            source=texts.organic,
            held_out=texts.validation,
            fresh=texts.fresh,
            config=replace(work.config.value, seeds=(work.seed,)),
            tokenizer=Tokenizer.load(texts.tokenizer),
            generation_flops=written.flops,
            context=work.context,
        )
    write_result(path, value)
    return value


def judge(kind: str, values: Sequence[Value | None]) -> Judgement:
    """Decides whether texts are mixed in: only if nu lies above 0 and above the noise arm's, by intervals over seeds.

    The largest learner counts: it is nearest to the model that would read them.
    """
    known = [max(value.learners, key=lambda learner: learner.n_params) for value in values if value is not None]
    nus, noise = [one.value.mean for one in known], [one.noise_value.mean for one in known]
    finite = [(v, n) for v, n in zip(nus, noise, strict=True) if math.isfinite(v) and math.isfinite(n)]
    nu = mean_interval([v for v, _ in finite])
    above = difference_interval([v for v, _ in finite], [n for _, n in finite])
    pays = nu.low > 0 and above.low > 0
    if len(finite) < 2:
        why = f"{kind} are left out: their value is known for {len(finite)} of {len(values)} seeds, too few to tell."
    else:
        why = (
            f"{kind} are {'mixed in' if pays else 'left out'}: nu {_shown(nu)}, "
            f"{_shown(above)} above noise, over {len(finite)} seeds (0: no better than stopping or repeating; 1: as "
            "good as fresh text)."
        )
    return Judgement(kind=kind, value=nu, above_noise=above, mixed_in=pays, why=why)


def _budget(work: SeedWork, arm: str, written: dict[tuple[int, str], Written]) -> float:
    """Returns the FLOPs that `repeat_longer` has beyond those of the other arms; 0 for these."""
    return max(written[work.seed, kind].flops for kind in KINDS) if arm == "repeat_longer" else 0.0


def _run_arm(shard: tuple[SeedWork, str, float]) -> ArmRecord:
    work, arm, more_flops = shard
    folder = work.folder / "arms" / arm
    path = folder / _ARM
    if path.exists():
        return read_result(ArmRecord, path)
    folder.mkdir(parents=True, exist_ok=True)
    with one_thread():
        record = _trained(work, arm, folder, more_flops)
    write_result(path, record)
    # The optimizer's state, which nothing needs any more.
    shutil.rmtree(folder / "training" / CHECKPOINT, ignore_errors=True)
    return record


def _trained(work: SeedWork, arm: str, folder: Path, more_flops: float) -> ArmRecord:
    """Trains an arm from the model of its seed, and measures it on the test text."""
    config, tokenizer = work.config, Tokenizer.load(work.texts.tokenizer)
    model = load_model(work.model, device=work.context.device)
    excerpt = held_out_excerpt(work.texts.test.documents(), config.test_bytes)
    if arm == "stop":
        bits = text_loss(model, tokenizer, excerpt).bits_per_byte
        return ArmRecord(bits_per_byte=bits, tokens=0, train_flops=0.0, own_share=0.0)
    own = _own_half(work, arm)
    if own is None:
        why = read_result(Written, work.folder / arm / "written.json").ended
        return ArmRecord(bits_per_byte=math.nan, tokens=0, train_flops=0.0, own_share=0.0, ended=why)
    text, share = _mixture(work, arm, own, folder / "text", pass_tokens(work.texts.organic, tokenizer))
    tokens = config.arm_tokens + round(more_flops / model.config.flops_per_token)
    training = TrainConfig(
        tokens=tokens,
        max_epochs=MANY_EPOCHS,
        seed=work.seed,
        learning_rate=config.learning_rate,
        muon_learning_rate=config.learning_rate,
    )
    try:
        result = train(model, training, text, tokenizer, folder / "training", context=work.context)
    except DivergedError as error:  # this arm ends, the others go on
        return ArmRecord(bits_per_byte=math.nan, tokens=0, train_flops=0.0, own_share=share, ended=str(error))
    bits = text_loss(result.model, tokenizer, excerpt).bits_per_byte
    return ArmRecord(
        bits_per_byte=bits,
        tokens=result.summary.tokens,
        train_flops=result.summary.flops,
        own_share=share,
        ended="" if math.isfinite(bits) else "the bits per byte are not finite",
    )


def _own_half(work: SeedWork, arm: str) -> Dataset | None:
    """Returns what the half of an arm that is its own is drawn from; None where nothing was kept."""
    if arm == "fresh":
        return work.texts.fresh
    if arm in KINDS:
        return Dataset.open(work.folder / arm / "texts") if read_result(
            Written, work.folder / arm / "written.json"
        ).kept else None  # fmt: skip
    return work.texts.organic


def _mixture(work: SeedWork, arm: str, own: Dataset, out: Path, organic_tokens: int) -> tuple[Dataset, float]:
    """Writes what an arm reads in one pass: `arm_tokens` of text, and the share of its bytes that are its own."""
    organic = work.texts.organic
    half = work.config.arm_tokens * organic.n_bytes / max(organic_tokens, 1) / 2
    # `repeat` takes its second half from where the first one ends.
    first, end = _taken(organic, 0, half)
    second, _ = _taken(own, end if own is organic else 0, half)
    size = _bytes(second)
    identity = {"arm": arm, "own": own.fingerprint, "organic": organic.fingerprint, "config": work.config}
    text = write_dataset(
        out, [*first, *second], made_by=f"language/{arm}", parents=(organic.fingerprint,), identity=identity
    )
    return text, size / max(text.n_bytes, 1)


def _taken(dataset: Dataset, start: int, n_bytes: float) -> tuple[list[Document], int]:
    """Returns documents from the `start`-th on, around the end if need be but none twice, until they hold `n_bytes`."""
    documents = dataset[:]
    found: list[Document] = []
    size = 0
    for index in range(len(documents)):
        if size >= n_bytes:
            break
        found.append(documents[(start + index) % len(documents)])
        size += len(found[-1].text.encode("utf-8", "surrogatepass"))
    return found, (start + len(found)) % max(len(documents), 1)


def _bytes(documents: Sequence[Document]) -> int:
    return sum(len(document.text.encode("utf-8", "surrogatepass")) for document in documents)


def _experiment(
    config: LanguageConfig,
    texts: Texts,
    written: dict[tuple[int, str], Written],
    judgements: Sequence[Judgement],
    records: dict[tuple[int, str], ArmRecord],
    seconds: float,
) -> Experiment:
    points: list[Point] = []
    for (seed, arm), record in sorted(records.items()):
        made = written[seed, arm].flops if arm in KINDS else 0.0
        points.append(Point(arm=arm, seed=seed, x=0.0, values={BITS: records[seed, "stop"].bits_per_byte}))
        if arm != "stop":
            points.append(
                Point(
                    arm=arm,
                    seed=seed,
                    x=float(record.tokens),
                    values={BITS: record.bits_per_byte},
                    flops=record.train_flops + made,
                )
            )
    experiment = Experiment(
        name="language",
        title="Does a small model's own text pay?",
        question="A small model writes new texts from its own corpus. Is training on them worth as much as training on "
        "new real text, or no more than reading the old text again?",
        x_title="tokens of continued training",
        arms=ARMS,
        measures=(Measure(name=BITS, title="bits per byte on held-out text", better="lower"),),
        points=tuple(points),
        comparisons=(
            *(
                Comparison(measure=BITS, arm=kind, other=other, claim=f"{kind.capitalize()} {claim}")
                for other, claim in (
                    ("repeat", "teach more than reading the organic text again."),
                    ("stop", "teach more than nothing: the model is better than if training had stopped."),
                    (
                        "repeat_longer",
                        "teach more than reading the organic text again for the FLOPs of the dearest arm.",
                    ),
                )
                for kind in KINDS
            ),
            Comparison(measure=BITS, arm="fresh", other="repeat", claim="New real text teaches more than old text."),
        ),
        n=f"{texts.test.n_documents} test documents, up to {config.test_bytes:,} bytes; value on "
        f"{texts.validation.n_documents} other documents",
        settings=_settings(config, texts, written),
        ended=tuple(
            Ended(arm=arm, seed=seed, x=0.0, why=record.ended)
            for (seed, arm), record in sorted(records.items())
            if record.ended
        ),
        examples=_examples(written, config.seeds[0]),
        seconds=seconds,
    )
    return replace(experiment, findings=_findings(experiment, judgements, written))


def _settings(config: LanguageConfig, texts: Texts, written: dict[tuple[int, str], Written]) -> dict[str, object]:
    settings: dict[str, object] = {
        "organic bytes": texts.organic.n_bytes, "organic passages": texts.organic.n_documents,
        "fresh bytes": texts.fresh.n_bytes, "depth": config.depth, "tokens before": config.base_tokens,
        "tokens of an arm": config.arm_tokens,
    }  # fmt: skip
    for kind in KINDS:
        of_kind = [one for (_, name), one in sorted(written.items()) if name == kind]
        settings[f"{kind}: written"] = sum(one.generated for one in of_kind)
        settings[f"{kind}: kept"] = sum(one.kept for one in of_kind)
        dropped: dict[str, int] = {}
        for one in of_kind:
            for reason, n in one.dropped.items():
                dropped[reason] = dropped.get(reason, 0) + n
        settings[f"{kind}: dropped"] = ", ".join(f"{reason} {n}" for reason, n in sorted(dropped.items())) or "none"
    return settings


def _examples(written: dict[tuple[int, str], Written], seed: int) -> tuple[Example, ...]:
    return tuple(
        Example(title=f"{kind}, from a passage", text=f"{passage}\n\n---\n\n{text}")
        for kind in KINDS
        for passage, text in written[seed, kind].examples[:1]
    )


def _findings(
    experiment: Experiment, judgements: Sequence[Judgement], written: dict[tuple[int, str], Written]
) -> tuple[str, ...]:
    found = [judgement.why for judgement in judgements]
    for kind in KINDS:
        comparison = next(one for one in experiment.comparisons if one.arm == kind)
        difference = experiment.difference(comparison)
        found.append(_compared(kind, difference, next(one for one in judgements if one.kind == kind).mixed_in))
    fresh = experiment.difference(next(one for one in experiment.comparisons if one.arm == "fresh"))
    found.append(f"Fresh real text in the same place: {_shown(fresh)} bits per byte against repeating.")
    gains = [one.pair_gain for (_, kind), one in sorted(written.items()) if kind == "bootstrapped" and one.pairs]
    if gains:
        found.append(f"A related passage saves the model of pairs {_shown(mean_interval(gains))} nats a token.")
    return tuple(found)


def _compared(kind: str, difference: Interval, mixed_in: bool) -> str:
    """Says what mixing in did in fact, and so whether the decision was right."""
    if not difference.excludes(0.0):
        verdict = "no difference that the seeds can tell"
    else:
        verdict = "better" if difference.mean < 0 else "worse"
    return (
        f"With {kind} mixed in all the same, {_shown(difference)} bits per byte against repeating organic text for as "
        f"many tokens: {verdict}. The decision was to {'mix them in' if mixed_in else 'leave them out'}."
    )


def _shown(interval: Interval) -> str:
    if not math.isfinite(interval.low):
        return f"{interval.mean:.3f}"
    return f"{interval.mean:.3f} ({interval.low:.3f} to {interval.high:.3f})"
