"""The whole of curation over files: map (read, extract, language, rules) -> dedup across units -> split and write.

Inputs are grouped into units of work by their sizes alone, and each unit writes its own intermediate shards, so that
the result does not depend on how many workers there are, or on how often the run was killed: a file's presence means
that it is complete, and a run goes on with the files that are missing. Price: the kept text is written twice.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path, PurePosixPath

from tilth import storage
from tilth.curation.config import CurationConfig
from tilth.curation.global_dedup import find_duplicates
from tilth.curation.ledger import LEDGER, STAGES, Ledger, Tally, collect_dead_letters, collect_drops
from tilth.curation.read import is_read
from tilth.curation.split import split_rule, write_part
from tilth.curation.unit import Unit, part_names, work_unit
from tilth.errors import DataError
from tilth.execute import Context, map_shards
from tilth.files import InputFile, clear_temporaries, read_json, write_json

PLAN = "curation.json"
"""What a folder's curation was asked to do: a run goes on only with the same files and config."""

_UNITS = 16
_MIN_UNIT_BYTES = 1 << 20
_SKIPPED_FILE_BYTES = 8192
_PARTITION_BYTES = 256 << 20


def curate(files: Sequence[InputFile], out: Path, config: CurationConfig, context: Context) -> Ledger:
    """Curates files into `out`: datasets `train/` and `held_out/`, `rejects/`, `dead_letters/`, `ledger.json`.

    A run that was killed goes on where it stopped when it is called again, and one that had finished returns its
    ledger. The outcome is the same byte by byte for any number of workers.
    Raises: DataError if there are no files, or if `out` holds a curation of other files or with another config.
    """
    if not files:
        raise DataError("There are no files to curate.", fix="Give the path of a file, or a folder that holds some.")
    files = sorted(files, key=lambda file: file.name)
    _check_plan(files, out, config)
    work = out / "work"
    if not (out / LEDGER).exists():
        clear_temporaries(out)
        _run(files, out, work, config, context)
    shutil.rmtree(work, ignore_errors=True)
    return Ledger.read(out)


def _run(files: Sequence[InputFile], out: Path, work: Path, config: CurationConfig, context: Context) -> None:
    units = plan_units(files, config)
    n_partitions = 1 + sum(file.bytes for file in files if is_read(file.name)) // _PARTITION_BYTES
    fn = partial(work_unit, work=work, config=config, n_partitions=n_partitions)
    _drain(map_shards(fn, [unit for unit in units if not unit.mark(work).exists()], context, name="read and filter"))
    names = part_names(work)
    find_duplicates(names, work, n_partitions, config, context)
    rule = split_rule(names, work, files, config)
    tasks = [(place, name) for place, name in enumerate(names) if not (work / "final" / f"{name}.json").exists()]
    _drain(map_shards(partial(write_part, work=work, out=out, rule=rule), tasks, context, name="write"))
    _finish(files, names, out, work)


def _drain(results: Iterator[None]) -> None:
    for _ in results:
        pass


def plan_units(files: Sequence[InputFile], config: CurationConfig) -> list[Unit]:
    """Groups files in order into units of about a sixteenth of the corpus each, from 1 MB to `shard_bytes`."""
    costs = [file.bytes if is_read(file.name) else min(file.bytes, _SKIPPED_FILE_BYTES) for file in files]
    target = min(config.shard_bytes, max(sum(costs) // _UNITS, _MIN_UNIT_BYTES))
    groups: list[list[InputFile]] = [[]]
    filled = 0
    for file, cost in zip(files, costs, strict=True):
        if groups[-1] and filled + cost > target:
            groups.append([])
            filled = 0
        groups[-1].append(file)
        filled += cost
    return [Unit(index=index, files=tuple(group)) for index, group in enumerate(groups)]


def _check_plan(files: Sequence[InputFile], out: Path, config: CurationConfig) -> None:
    listing = hashlib.sha256()
    for file in files:
        listing.update(f"{file.name}\0{file.bytes}\n".encode("utf-8", "surrogatepass"))
    facts = {"config": asdict(config), "n_files": len(files), "listing_sha256": listing.hexdigest()}
    plan = json.loads(json.dumps(facts))  # tuples become lists, as in the file
    path = out / PLAN
    if not path.exists():
        write_json(path, plan)
    elif read_json(path) != plan:
        raise DataError(
            f"{out} holds a curation of other files or with another config.",
            fix=f"Choose another folder, or delete {out} to curate again.",
        )


def _finish(files: Sequence[InputFile], names: Sequence[str], out: Path, work: Path) -> None:
    datasets = {
        split: storage.finish_dataset(
            out / split, shards=[path.name for path in (out / split).glob("*.parquet")], made_by="curation"
        )
        for split in ("train", "held_out")
    }
    for folder in ("rejects", "dead_letters"):
        (out / folder).mkdir(exist_ok=True)
    tally = Tally()
    for mark in sorted((work / "units").glob("*.json")):
        tally.merge(read_json(mark)["tally"])
    for name in names:
        tally.merge(read_json(work / "final" / f"{name}.json"))
    n_dead_letters, dead_letters = collect_dead_letters(sorted((out / "dead_letters").glob("*.parquet")))
    sizes = {split: {"documents": data.n_documents, "bytes": data.n_bytes} for split, data in datasets.items()}
    Ledger(
        inputs=_inputs(files),
        stages=[_stage(stage, tally) for stage in STAGES],
        drops=collect_drops(sorted((out / "rejects").glob("*.parquet"))),
        dead_letters=dead_letters,
        n_dead_letters=n_dead_letters,
        languages=dict(sorted(tally.languages.items())),
        kinds=dict(sorted(tally.kinds.items())),
        train=sizes["train"],
        held_out=sizes["held_out"],
    ).write(out)


def _stage(stage: str, tally: Tally) -> dict[str, str | int]:
    documents_in, documents_out, bytes_in, bytes_out = tally.stages.get(stage, [0, 0, 0, 0])
    return {
        "stage": stage,
        "documents_in": documents_in,
        "documents_out": documents_out,
        "bytes_in": bytes_in,
        "bytes_out": bytes_out,
    }


def _inputs(files: Sequence[InputFile]) -> list[dict[str, str | int]]:
    """Returns files and bytes by file type, the largest first."""
    n_files: Counter[str] = Counter()
    n_bytes: Counter[str] = Counter()
    for file in files:
        kind = PurePosixPath(file.name).suffix.lower() or "no suffix"
        n_files[kind] += 1
        n_bytes[kind] += file.bytes
    return [
        {"name": kind, "files": n_files[kind], "bytes": total}
        for kind, total in sorted(n_bytes.items(), key=lambda item: (-item[1], item[0]))
    ]
