"""What a run leaves: samples as a dataset, rejects with all of their text, dead letters with the raw answer.

Judged documents are appended to `work/judged/<shard>.jsonl` in their order. When all are there, each shard goes through
its verifiers and is written by a function for `execute.map_shards` (`finish_shard`), because verifiers may run code.
A shard's record in `work/final` is the mark that it is finished.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO, Any, cast

import pyarrow as pa

from tilth.curation.operators import DEAD_LETTERS, EXCERPT_CHARACTERS, REJECTS, Drop
from tilth.files import read_json, write_json
from tilth.storage import Dataset, shard_name, write_table
from tilth.synthesis.ask import LostPart, RejectedPart
from tilth.synthesis.config import GateConfig
from tilth.synthesis.define import Shape
from tilth.synthesis.gates import make_verifier
from tilth.synthesis.gates.verified import VerifierGate
from tilth.synthesis.judge import CRITIC, Counts, Dropped, Judged, verdict_row
from tilth.synthesis.render import Candidate, candidate_from_row, candidate_row, with_verdicts
from tilth.synthesis.result import Example
from tilth.types import DOCUMENT_SCHEMA, Document, Sample

SAMPLES, REJECTED, DEAD = "samples", "rejects", "dead_letters"
"""Folders of a run."""
VERIFIER = "verifier"
EXAMPLES_OF_PART = 3
EXAMPLES_OF_REASON = 2
EXAMPLE_CHARACTERS = 6000
"""Of an example's text: a page shows dozens of them. The whole text is in the samples or the rejects."""
_SEED_CHARACTERS = 800

REJECTS_WITH_TEXT = pa.schema(
    [
        *REJECTS,
        pa.field("source_id", pa.string()),
        pa.field("part", pa.string()),
        pa.field("prompt", pa.string()),
        pa.field("teacher", pa.string()),
        pa.field("key", pa.string()),
        pa.field("text", pa.large_string()),
        pa.field("lineage", pa.string()),
    ]
)
"""`REJECTS`, and the whole text: of an answer that could not be parsed the raw one, found under its `key`."""
DEAD_LETTERS_WITH_TEXT = pa.schema(
    [
        *DEAD_LETTERS,
        pa.field("prompt", pa.string()),
        pa.field("teacher", pa.string()),
        pa.field("key", pa.string()),
        pa.field("text", pa.large_string()),
    ]
)
"""`DEAD_LETTERS`, and what came back at last of the request that failed."""
_MESSAGES = pa.list_(pa.struct([pa.field("role", pa.string()), pa.field("content", pa.string())]))
_OF_SHAPE: Mapping[str, tuple[pa.Field, ...]] = {
    "text": (),
    "annotation": (),
    "chat": (pa.field("messages", _MESSAGES),),
    "preference": tuple(pa.field(name, pa.string()) for name in ("prompt", "chosen", "rejected")),
    "problem": tuple(pa.field(name, pa.string()) for name in ("prompt", "answer", "verifier")),
}


# Judged documents


class JudgedFiles:
    """Appends judged documents to the file of their shard; files of an earlier attempt are written anew."""

    def __init__(self, work: Path) -> None:
        self.work = work
        self._shard = -1
        self._file: IO[bytes] | None = None

    def append(self, judged: Judged) -> None:
        """Writes one complete document; documents come in order."""
        if judged.seed.shard != self._shard or self._file is None:
            self.close()
            self._shard = judged.seed.shard
            path = judged_path(self.work, self._shard)
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("wb")
        self._file.write(json.dumps(_judged_row(judged)).encode() + b"\n")

    def close(self) -> None:
        """Closes the file of the last shard."""
        if self._file is not None:
            self._file.close()
            self._file = None


def judged_path(work: Path, shard: int) -> Path:
    """Returns the file of a shard's judged documents."""
    return work / "judged" / f"{shard:05d}.jsonl"


def _judged_row(judged: Judged) -> dict[str, Any]:
    document, lineage = judged.seed.document, judged.seed.lineage
    corpus = next((str(one.get("corpus", "")) for one in reversed(lineage) if one.get("stage") == "read"), "")

    def row(candidate: Candidate) -> dict[str, Any]:
        return candidate_row(candidate) | {"seed": _seed_text(candidate.sample, document.text)}

    dropped = [(one.candidate, one.gate, one.drop) for one in judged.dropped]
    # What no critic could judge is a dead letter with the critic's answer, and a reject with the sample's text.
    dropped += [(candidate, CRITIC, Drop("no_answer", part.error)) for candidate, part in judged.lost]
    return {
        "row": judged.seed.row,
        "id": document.id,
        "source": document.source,
        "corpus": _utf8(corpus),
        "seed": document.text[:_SEED_CHARACTERS],
        "bytes": len(document.text.encode()),
        "kept": [row(candidate) for candidate in judged.kept],
        "dropped": [row(candidate) | {"gate": gate, "drop": _drop_row(drop)} for candidate, gate, drop in dropped],
        "rejected": [asdict(part) for part in judged.made.rejected],
        "lost": [asdict(part) for part in (*judged.made.lost, *(part for _, part in judged.lost))],
    }


def _drop_row(drop: Drop) -> dict[str, Any]:
    return {"reason": drop.reason, "detail": drop.detail, "measure": drop.measure, "limit": drop.limit}


def _seed_text(sample: Sample, text: str) -> str:
    """Returns what a sample was made from, or its beginning."""
    span = cast("list[int] | None", sample.lineage[-1].get("span"))
    if span is None:
        return text[:_SEED_CHARACTERS]
    return text.encode()[span[0] : span[1]].decode(errors="replace")[:_SEED_CHARACTERS]


# Shards


@dataclass(frozen=True, kw_only=True)
class Columns:
    """The columns of the samples, the same in all shards."""

    shape: Shape
    scores: tuple[str, ...] = ()
    """Names, without `score_`."""
    messages: bool = False
    """Whether a sample has a conversation beside the columns of its shape."""
    extra_from: str | None = None
    """Dataset whose other columns travel along: the samples are its documents, annotated or edited."""

    def extra(self) -> pa.Schema:
        """Returns the other columns of the source dataset."""
        if self.extra_from is None:
            return pa.schema([])
        dataset = Dataset.open(self.extra_from)
        batch = next(dataset.batches(0, rows=1), None)
        own = {*DOCUMENT_SCHEMA.names, "lineage", *(f"score_{name}" for name in self.scores)}
        return pa.schema([] if batch is None else [field for field in batch.schema if field.name not in own])

    def own(self) -> pa.Schema:
        """Returns the columns that are written from the samples."""
        scores = [pa.field(f"score_{name}", pa.float64()) for name in self.scores]
        part = [] if "part" in self.extra().names else [pa.field("part", pa.string())]  # that of the source stays
        of_shape = [*_OF_SHAPE[self.shape]]
        if self.messages and self.shape not in ("chat", "annotation"):
            of_shape.append(pa.field("messages", _MESSAGES))
        rest = [*part, *of_shape, *scores, pa.field("lineage", pa.string())]
        return pa.schema([*DOCUMENT_SCHEMA, *rest])


def finish_shard(shard: int, *, work: Path, out: Path, columns: Columns, gates: GateConfig, own: bool) -> None:
    """Runs the verifiers over a shard's samples and writes what is kept, rejected and lost.

    `own`: the recipe is the user's, whose samples may name verifiers in files.
    """
    record = work / "final" / f"{shard:05d}.json"
    if record.exists():
        return
    tables = _Tables(columns, make_verifier(gates, allow_files=own))
    for row in _lines(judged_path(work, shard)):
        tables.add(row)
    name = shard_name(shard)
    if tables.samples:
        write_table(out / SAMPLES / name, tables.samples_table(shard))
    if tables.rejects:
        write_table(out / REJECTED / name, pa.Table.from_pylist(tables.rejects, schema=REJECTS_WITH_TEXT))
    if tables.dead:
        write_table(out / DEAD / name, pa.Table.from_pylist(tables.dead, schema=DEAD_LETTERS_WITH_TEXT))
    write_json(record, tables.record())


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    if path.exists():
        with path.open(encoding="utf-8") as file:
            for line in file:
                yield json.loads(line)


class _Tables:
    """The rows of one shard, and what is counted on the way."""

    def __init__(self, columns: Columns, verifier: VerifierGate | None) -> None:
        self.columns, self.verifier = columns, verifier
        self.samples: list[dict[str, Any]] = []
        self.places: list[int | None] = []
        """Row of the source document, for samples that are it."""
        self.rejects: list[dict[str, Any]] = []
        self.dead: list[dict[str, Any]] = []
        self.counts = Counts()
        self.parts: Counter[str] = Counter()
        self.bytes = 0
        self.by_teacher: dict[str, list[int]] = {}
        self.kept_examples: list[Example] = []
        self.rejected_examples: list[Example] = []
        self._shown: Counter[tuple[str, str]] = Counter()

    def add(self, row: Mapping[str, Any]) -> None:
        for part in row["rejected"]:
            self._reject_part(row, RejectedPart(**part))
        for one in row["dropped"]:
            self._reject(row, Dropped(candidate=_candidate(one), gate=one["gate"], drop=Drop(**one["drop"])), one)
        answers: dict[tuple[str, str, int], int] = {}
        teachers: Counter[str] = Counter()
        for one in row["kept"]:
            candidate = self._verified(row, _candidate(one), one)
            if candidate is not None:
                self._keep(row, candidate, one)
                teachers.update(_count_answers(candidate.sample, answers))
        for (teacher, _, _), tokens in answers.items():
            self.by_teacher.setdefault(teacher, [0, 0])[1] += tokens
        for teacher, samples in teachers.items():
            self.by_teacher.setdefault(teacher, [0, 0])[0] += samples
        self.dead += [_dead_row(row, LostPart(**part)) for part in row["lost"]]

    def _verified(self, row: Mapping[str, Any], candidate: Candidate, one: Mapping[str, Any]) -> Candidate | None:
        sample = candidate.sample
        if self.verifier is None or not sample.verifier:
            return candidate
        verdict = self.verifier.judge(sample, Document(id=row["id"], text="", source=row["source"]))
        if not isinstance(verdict, Drop):
            self.counts.passed(VERIFIER)
            return replace(candidate, sample=with_verdicts(sample, [verdict_row(VERIFIER, verdict)]))
        self.counts.dropped(VERIFIER, verdict.reason)
        self._reject(row, Dropped(candidate=candidate, gate=VERIFIER, drop=verdict), one)
        return None

    def _keep(self, row: Mapping[str, Any], candidate: Candidate, one: Mapping[str, Any]) -> None:
        self.samples.append(_sample_row(candidate))
        self.places.append(row["row"] if candidate.keeps_id else None)
        self.parts[candidate.part] += 1
        self.bytes += len(candidate.sample.text.encode())
        if self._shows("", candidate.part, EXAMPLES_OF_PART):
            self.kept_examples.append(_example(row, candidate, one))

    def _reject(self, row: Mapping[str, Any], dropped: Dropped, one: Mapping[str, Any]) -> None:
        sample, drop = dropped.candidate.sample, dropped.drop
        self.rejects.append(
            _reject_row(row, sample.id, dropped.gate, drop, sample.text)
            | {"source": sample.source, "part": dropped.candidate.part, "lineage": _lineage(sample)}
        )
        if self._shows(dropped.gate, drop.reason, EXAMPLES_OF_REASON):
            example = _example(row, dropped.candidate, one)
            self.rejected_examples.append(
                replace(example, gate=dropped.gate, reason=drop.reason, detail=drop.detail)
            )  # fmt: skip

    def _reject_part(self, row: Mapping[str, Any], part: RejectedPart) -> None:
        rejected = _reject_row(row, row["id"], part.stage, Drop(part.reason, part.detail), _utf8(part.raw))
        self.rejects.append(rejected | {"prompt": part.prompt, "teacher": part.teacher, "key": part.key})
        if self._shows(part.stage, part.reason, EXAMPLES_OF_REASON):
            example = Example(
                id=row["id"],
                part="",
                source_id=row["id"],
                source_excerpt=row["seed"],
                prompt=_utf8(part.request),
                text=_utf8(part.raw)[:EXAMPLE_CHARACTERS],
                gate=part.stage,
                reason=part.reason,
                detail=_utf8(part.detail)[:EXAMPLE_CHARACTERS],
            )
            self.rejected_examples.append(example)

    def _shows(self, kind: str, name: str, most: int) -> bool:
        self._shown[kind, name] += 1
        return self._shown[kind, name] <= most

    def samples_table(self, shard: int) -> pa.Table:
        table = pa.Table.from_pylist(self.samples, schema=self.columns.own())
        extra = self.columns.extra()
        if not extra.names or self.columns.extra_from is None:
            return table
        batches = Dataset.open(self.columns.extra_from).batches(shard, extra.names)
        found = pa.Table.from_batches(batches, schema=extra).take(pa.array(self.places, type=pa.int64()))
        for field in extra:
            table = table.append_column(field, found.column(field.name))
        return table

    def record(self) -> dict[str, Any]:
        return {
            "samples": len(self.samples),
            "bytes": self.bytes,
            "parts": dict(self.parts),
            "by_teacher": self.by_teacher,
            "verifier": [
                self.counts.entered[VERIFIER],
                self.counts.left[VERIFIER],
                dict(self.counts.reasons.get(VERIFIER, {})),
            ],
            "kept_examples": [asdict(one) for one in self.kept_examples],
            "rejected_examples": [asdict(one) for one in self.rejected_examples],
        }


def read_records(work: Path, shards: int) -> list[dict[str, Any]]:
    """Returns the records of all shards, in order."""
    return [read_json(work / "final" / f"{shard:05d}.json") for shard in range(shards)]


def _candidate(row: Mapping[str, Any]) -> Candidate:
    return candidate_from_row(row)


def _count_answers(sample: Sample, answers: dict[tuple[str, str, int], int]) -> list[str]:
    """Adds the answers that a sample was made from, each once, and returns its teachers."""
    teachers: dict[str, None] = {}
    for answer in cast("list[dict[str, Any]]", sample.lineage[-1].get("answers", [])):
        answers[answer["teacher"], answer["key"], answer["sample"]] = answer["tokens"][1]
        teachers[answer["teacher"]] = None
    return list(teachers)


def _sample_row(candidate: Candidate) -> dict[str, Any]:
    sample = candidate.sample
    row: dict[str, Any] = {
        "id": sample.id,
        "text": sample.text,
        "url": sample.url,
        "source": sample.source,
        "language": sample.language,
        "meta": json.dumps(dict(sample.meta), ensure_ascii=False, sort_keys=True),
        "part": candidate.part,
        "messages": [{"role": turn.role, "content": turn.content} for turn in sample.messages],
        "prompt": sample.prompt,
        "chosen": sample.chosen,
        "rejected": sample.rejected,
        "answer": sample.answer,
        "verifier": sample.verifier,
        "lineage": _lineage(sample),
    }
    return row | {f"score_{name}": value for name, value in sample.scores.items()}


def _lineage(sample: Sample) -> str:
    return json.dumps(list(sample.lineage), ensure_ascii=False)


def _reject_row(row: Mapping[str, Any], identifier: str, stage: str, drop: Drop, text: str) -> dict[str, Any]:
    return {
        "id": identifier,
        "reason": drop.reason,
        "detail": _utf8(drop.detail),
        "stage": stage,
        "source": row["source"],
        "excerpt": text[:EXCERPT_CHARACTERS],
        "bytes": len(text.encode()),
        "corpus": row["corpus"],
        "measure": drop.measure,
        "limit": drop.limit,
        "source_id": row["id"],
        "text": text,
    }


def _dead_row(row: Mapping[str, Any], part: LostPart) -> dict[str, Any]:
    raw = _utf8(part.raw)
    return {
        "id": row["id"],
        "error": _utf8(part.error),
        "stage": "ask",
        "source": row["source"],
        "excerpt": raw[:EXCERPT_CHARACTERS],
        "bytes": row["bytes"],
        "prompt": part.prompt,
        "teacher": part.teacher,
        "key": part.key,
        "text": raw,
    }


def _example(row: Mapping[str, Any], candidate: Candidate, one: Mapping[str, Any]) -> Example:
    return Example(
        id=candidate.sample.id,
        part=candidate.part,
        source_id=row["id"],
        source_excerpt=one["seed"],
        prompt=candidate.prompt,
        text=candidate.sample.text[:EXAMPLE_CHARACTERS],
    )


def _utf8(text: str) -> str:
    """A raw answer may hold halves of surrogate pairs, which a table cannot."""
    return text.encode("utf-8", "replace").decode()
