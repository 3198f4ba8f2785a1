"""The whole of curation over files: map (read, operators) -> dedup across tasks -> split and write.

Inputs are grouped into tasks by their sizes alone, and each task writes its own intermediate shards, so that the
result does not depend on how many workers there are, or on how often the run was killed: a file's presence means that
it is complete, and a run continues with the files that are missing. Price: the kept text is written twice.
"""

from __future__ import annotations

import hashlib
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np
import pyarrow.parquet as pq

from tilth import storage
from tilth.curation.columns import unify
from tilth.curation.config import CurationConfig
from tilth.curation.global_dedup import find_duplicates
from tilth.curation.guard import stop_guard
from tilth.curation.held_out import HeldOut, choose_held_out
from tilth.curation.inputs import Texts, input_files
from tilth.curation.language import choose_languages
from tilth.curation.live_ledger import watched
from tilth.curation.nothing_kept import check_something_kept
from tilth.curation.read import is_read
from tilth.curation.read_result import FileReading
from tilth.curation.result import LEDGER, Amount, InputAmount, LanguageChoice, Ledger
from tilth.curation.split import SPLITS, OutputShard, write_shard
from tilth.curation.tally import Tally, collect_dead_letters, collect_rejects, count_dead_letters, most_frequent_error
from tilth.curation.task import Task, run_task, shard_names, task_records
from tilth.curation.verdicts import LANGUAGES, Verdicts, minor_documents
from tilth.errors import DataError
from tilth.execute import Context, map_shards
from tilth.files import InputFile, clear_temporaries, list_files, read_json
from tilth.identity import claim
from tilth.paths import is_url
from tilth.results import read_result, write_result
from tilth.sources import content_hash
from tilth.storage import Dataset

FEW_DEAD_LETTERS = 10
"""So many are no reason to fail, as long as something could be read: a share of few records says little."""

_TASKS = 16
_MIN_TASK_BYTES = 1 << 20
_SKIPPED_FILE_BYTES = 8192
_PARTITION_BYTES = 256 << 20


def curate(
    texts: Texts, out: Path | str, config: CurationConfig | None = None, context: Context | None = None
) -> Ledger:
    """Curates texts into `out`: datasets `train/` and `held_out/`, `rejects/`, `dead_letters/`, `ledger.json`.

    `texts` is a file, a folder or a URL, or a list of them. In a script, more than one worker (`context`; default: one
    a core) needs the call under `if __name__ == "__main__":`, because worker processes import the script.

    A run that was killed continues where it stopped when it is called again, and one that had finished returns its
    ledger. The outcome is the same byte by byte for any number of workers.
    Raises: DataError if there are no files, if nothing is kept (the ledger and the rejects are there to read), or if
    more than `max_dead_letters` of the records cannot be read;
    ConfigError if `out` holds a curation of other files or with another config, or for operators and columns that
    do not work; whatever an operator or a disk raises that no document causes.
    """
    out, config, context = Path(out), config or CurationConfig(), context or Context()
    files = input_files(texts)
    if not files:
        raise DataError("There are no files to curate.", fix="Give the path of a file, or a folder that holds some.")
    files = sorted(files, key=lambda file: (file.corpus, file.name))
    identity = {"config": config, "files": len(files), "listing": _listing(files), "operators": _operators(config)}
    identity |= compared_content(config.decontaminate, config.against)
    claim(out, identity, kind="curation", outputs=(*SPLITS, "rejects", "dead_letters", "work", LEDGER))
    work = out / "work"
    if not (out / LEDGER).exists():
        clear_temporaries(out)
        try:
            _run(files, out, work, config, context)
        finally:
            stop_guard()
    shutil.rmtree(work, ignore_errors=True)
    ledger = read_result(Ledger, out / LEDGER)
    check_something_kept(ledger, out)
    return ledger


def _run(files: Sequence[InputFile], out: Path, work: Path, config: CurationConfig, context: Context) -> None:
    tasks = plan_tasks(files, config)
    n_partitions = 1 + sum(file.bytes for file in files if _is_opened(file)) // _PARTITION_BYTES
    fn = partial(run_task, work=work, config=_with_indexes(config, work), n_partitions=n_partitions)
    unread = [task for task in tasks if not task.record(work).exists()]
    n_done = len(tasks) - len(unread)
    results = map_shards(fn, unread, context, name="read and filter", done=n_done)
    _drain(watched(results, work, _inputs(files), context.live))
    _check_dead_letters(files, work, config)
    names = shard_names(work)
    records = [read_json(record) for record in task_records(work)]
    columns = {path.stem: read_json(path)["columns"] for path in task_records(work)}
    paths = [work / "documents" / f"{name}.parquet" for name in names]
    schema = unify((pq.read_schema(path), columns[path.stem.split("-")[0]]) for path in paths)
    tally = _tally(work)
    choice = choose_languages(tally.language_bytes) if config.detects_languages and tally.language_bytes else None
    minor = [minor_documents(name, work, choice) for name in names]
    find_duplicates(names, work, n_partitions, config, context, np.concatenate(minor) if minor else None)
    verdicts = Verdicts(work, choice, config.near_duplicate_threshold)
    held_out = choose_held_out(names, work, config, verdicts)
    for line in _lines(tally, choice, held_out, n_files=sum(not file.skipped for file in files)):
        context.progress.say(line)
    operators: list[str] = records[0]["stages"]
    shards = [OutputShard(index=index, name=name) for index, name in enumerate(names)]
    todo = [shard for shard in shards if not (work / "final" / f"{shard.name}.json").exists()]
    write = partial(write_shard, verdicts=verdicts, out=out, held_out=held_out, schema=schema, operators=operators)
    _drain(map_shards(write, todo, context, name="write", done=len(shards) - len(todo)))
    stages = ["read", *operators, *([LANGUAGES] if choice else []), "dedup"]
    _finish(files, shards, out, verdicts, held_out, stages)


def compared_content(decontaminate: Sequence[str], against: Sequence[str]) -> dict[str, object]:
    """Returns what tells the content of evaluation sets and earlier datasets, where there are any; raises DataError."""
    compared: dict[str, object] = {}
    if decontaminate:
        compared["decontaminate"] = _listing([file for path in decontaminate for file in list_files(path)])
    if against:
        compared["against"] = [Dataset.open(path).fingerprint for path in against]
    return compared


def _with_indexes(config: CurationConfig, work: Path) -> CurationConfig:
    """Returns the config with indexes in place of what they are made of: made once, and loaded by each worker."""
    if config.decontaminate:
        from tilth.curation.decontamination import keep_evaluation_index

        config = replace(config, decontaminate=(keep_evaluation_index(config.decontaminate, work),))
    if config.against:
        from tilth.curation.near_duplicates import keep_earlier_index, settings_of

        config = replace(config, against=(keep_earlier_index(config.against, work, **settings_of(config)),))
    return config


def _tally(work: Path) -> Tally:
    """Returns what all tasks counted."""
    tally = Tally()
    for record in task_records(work):
        tally.merge(read_json(record)["tally"])
    return tally


def _count(number: int, unit: str) -> str:
    return f"{number:,} {unit}{'' if number == 1 else 's'}"


def _lines(tally: Tally, choice: LanguageChoice | None, held_out: HeldOut, *, n_files: int) -> list[str]:
    """Returns what the user should know before the documents are written."""
    lines = list(tally.notes)
    if tally.cut["files"]:
        (read,) = tally.amounts(["read"])
        cut, parts = tally.cut["files"], tally.cut["documents"]
        lines.append(
            f"{_count(n_files, 'file')}, {_count(read.documents_out, 'document')}: {_count(cut, 'long text file')} "
            f"{'was' if cut == 1 else 'were'} cut into {parts:,} documents, at headings, chapters or paragraphs."
        )
    if choice is not None:
        kept = ", ".join(f"{code} ({choice.shares[code]:.0%})" for code in choice.kept)
        left_out = [code for code in choice.shares if code not in choice.kept]
        rest = f"; not kept: {', '.join(left_out[:8])}{', ...' if len(left_out) > 8 else ''}" if left_out else ""
        lines.append(f"Languages of the text: {kept}{rest}. `--languages` chooses others.")
    if held_out.split.line:
        lines.append(held_out.split.line)
    return lines


def _drain(results: Iterator[None]) -> None:
    for _ in results:
        pass


def _is_opened(file: InputFile) -> bool:
    return not file.skipped and is_read(file.name)


def plan_tasks(files: Sequence[InputFile], config: CurationConfig) -> list[Task]:
    """Groups files in order into tasks of about a sixteenth of the corpus each, from 1 MB to `shard_bytes`."""
    sizes = [file.bytes if _is_opened(file) else min(file.bytes, _SKIPPED_FILE_BYTES) for file in files]
    target = min(config.shard_bytes, max(sum(sizes) // _TASKS, _MIN_TASK_BYTES))
    groups: list[list[InputFile]] = [[]]
    filled = 0
    for file, size in zip(files, sizes, strict=True):
        if groups[-1] and filled + size > target:
            groups.append([])
            filled = 0
        groups[-1].append(file)
        filled += size
    return [Task(index=index, files=tuple(group)) for index, group in enumerate(groups)]


def _listing(files: Sequence[InputFile]) -> str:
    """Returns a hash of the files and, where they are local, of what they hold: reading is the least of the work."""
    listing = hashlib.sha256()
    for file in files:
        content = "" if file.skipped or is_url(file.path) else content_hash(file)
        line = f"{file.corpus}\0{file.name}\0{file.bytes}\0{file.skipped}\0{content}\n"
        listing.update(line.encode("utf-8", "surrogatepass"))
    return listing.hexdigest()


def _operators(config: CurationConfig) -> dict[str, str]:
    """Returns the hashes of the files that operators come from: unfinished work of another rule is not continued."""
    hashes: dict[str, str] = {}
    for spec in config.operators:
        path = Path(spec.rpartition(":")[0])
        if path.suffix == ".py" and path.is_file():
            hashes[spec] = hashlib.sha256(path.read_bytes()).hexdigest()
    return hashes


def _check_dead_letters(files: Sequence[InputFile], work: Path, config: CurationConfig) -> None:
    """Fails where so much could not be read that something else than the data is likely to be wrong.

    A file that breaks off is one dead letter, however many records it takes along: so files are counted, too.
    """
    (read,) = _tally(work).amounts(["read"])
    paths = sorted((work / "dead_letters").glob("*.parquet"))
    names = {FileReading(file, config).source() for file in files if _is_opened(file)}
    n_letters, n_files = count_dead_letters(paths, names)
    limit = config.max_dead_letters
    if n_letters > FEW_DEAD_LETTERS and n_letters > limit * read.documents_in:
        lost = f"{n_letters:,} of {read.documents_in:,} records"
    elif n_files > FEW_DEAD_LETTERS and n_files > limit * len(names):
        lost = f"{n_files:,} of {len(names):,} files"
    elif n_letters and not read.documents_out and limit < 1:
        lost = f"All of {n_letters:,} records"
    else:
        return
    error, n_same, source = most_frequent_error(paths)
    raise DataError(
        f"{lost} cannot be read, more than the share of {limit:g} that `max_dead_letters` allows. "
        f"The most frequent error, {n_same:,} times, first in {source}: {error}",
        fix="Mend the input, leave those files out with `--exclude`, or allow more with `--max-dead-letters`. "
        f"To use the same output folder for that, delete {work.parent} first.",
    )


def _finish(
    files: Sequence[InputFile],
    shards: Sequence[OutputShard],
    out: Path,
    verdicts: Verdicts,
    held_out: HeldOut,
    stages: Sequence[str],
) -> None:
    work = verdicts.work
    tally = _tally(work)
    written: dict[str, list[str]] = {side: [] for side in SPLITS}
    for shard in shards:
        record = read_json(work / "final" / f"{shard.name}.json")
        tally.merge(record)
        for side in record["splits"]:
            written[side].append(shard.file)
    datasets = {
        side: storage.finish_dataset(out / side, shards=names, made_by="curation") for side, names in written.items()
    }
    for folder in ("rejects", "dead_letters"):
        (out / folder).mkdir(exist_ok=True)
    n_dead_letters, dead_letters = collect_dead_letters(sorted((out / "dead_letters").glob("*.parquet")))
    amounts = {side: Amount(documents=data.n_documents, bytes=data.n_bytes) for side, data in datasets.items()}
    ledger = Ledger(
        inputs=_inputs(files),
        stages=tally.amounts(stages),
        rejects=collect_rejects(sorted((out / "rejects").glob("*.parquet")), stages),
        dead_letters=dead_letters,
        n_dead_letters=n_dead_letters,
        languages=dict(sorted(tally.languages.items())),
        kinds=dict(sorted(tally.kinds.items())),
        train=amounts["train"],
        held_out=amounts["held_out"],
        split=held_out.split,
        code_languages=dict(sorted(tally.code_languages.items())),
        language_choice=verdicts.choice,
        cut_files=tally.cut["files"],
        cut_documents=tally.cut["documents"],
        kept_examples=tuple(tally.examples),
    )
    write_result(out / LEDGER, ledger)


def _inputs(files: Sequence[InputFile]) -> tuple[InputAmount, ...]:
    """Returns files and bytes by file type, the largest first."""
    n_files: Counter[str] = Counter()
    n_bytes: Counter[str] = Counter()
    for file in files:
        kind = PurePosixPath(file.name).suffix.lower() or "no suffix"
        n_files[kind] += 1
        n_bytes[kind] += file.bytes
    return tuple(
        InputAmount(name=kind, files=n_files[kind], bytes=total)
        for kind, total in sorted(n_bytes.items(), key=lambda item: (-item[1], item[0]))
    )
