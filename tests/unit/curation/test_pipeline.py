import gzip
import hashlib
import json
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tilth.curation import task as task_module
from tilth.curation.config import CurationConfig
from tilth.curation.operators import DEAD_LETTERS, REJECTS
from tilth.curation.pipeline import curate, plan_tasks
from tilth.curation.result import LEDGER, Amount, Ledger
from tilth.errors import ConfigError, DataError
from tilth.execute import Context
from tilth.files import InputFile, list_files
from tilth.progress import PlainProgress
from tilth.results import read_result
from tilth.storage import Dataset
from tilth.types import DOCUMENT_SCHEMA

CONFIG = CurationConfig(held_out_fraction=0.2, shard_bytes=20_000)
CONTEXT = Context(workers=1)
NOUNS = [
    "soil",
    "water",
    "morning",
    "gardener",
    "tree",
    "river",
    "light",
    "winter",
    "spring",
    "leaf",
    "stone",
    "path",
    "field",
    "house",
    "window",
    "bridge",
]
VERBS = ["keeps", "gives", "takes", "holds", "follows", "leaves", "crosses", "reaches", "covers", "opens"]


def essay(seed: int, n: int = 40) -> str:
    """English enough for language and rules, and different for each seed."""
    rng = random.Random(seed)
    noun, verb = lambda: rng.choice(NOUNS), lambda: rng.choice(VERBS)
    return " ".join(
        f"The {noun()} of the {noun()} {verb()} {noun()} {rng.randrange(9999)} and {noun()}." for _ in range(n)
    )


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Some of everything, broken files among it."""
    folder = tmp_path / "corpus"
    folder.mkdir()
    for n in range(12):
        (folder / f"essay{n:02d}.txt").write_text(essay(n))
        (folder / f"code{n:02d}.py").write_text(
            "\n".join(f"def f{n}_{k}(x):\n    return x + {k}" for k in range(20 + n))
        )
    (folder / "copy.txt").write_text(essay(3))
    (folder / "near.txt").write_text(essay(4) + " The end of it.")
    (folder / "short.txt").write_text("The end of it.")
    (folder / "german.txt").write_text("Der Gärtner gießt die Bäume am Morgen, weil die Erde das Wasser behält. " * 20)
    (folder / "binary.txt").write_bytes(b"\0\1\2" * 100)
    (folder / "empty.txt").write_bytes(b"")
    (folder / "latin.txt").write_bytes((essay(50) + " café déjà").encode("latin-1"))
    records = "".join(json.dumps({"text": essay(100 + n), "id": n}) + "\n" for n in range(30)) + "{broken\n"
    (folder / "records.jsonl").write_text(records)
    packed = gzip.compress(records.encode())
    (folder / "cut.jsonl.gz").write_bytes(packed[: len(packed) // 2])
    (folder / "page.html").write_text(f"<html><body><main><p>{essay(60)}</p><p>{essay(61)}</p></main></body></html>")
    return folder


def contents(folder: Path) -> dict[str, str]:
    """Hash of each file under a folder."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_the_chain_over_a_broken_corpus(corpus: Path, tmp_path: Path) -> None:
    files = list_files(str(corpus))
    ledger = curate(files, tmp_path / "out", CONFIG, CONTEXT)
    reasons = {(reject.stage, reject.reason): reject for reject in ledger.rejects}
    assert set(reasons) == {
        ("read", "binary_file"),
        ("read", "empty_file"),
        ("language", "other_language"),
        ("rules", "too_few_words"),
        ("dedup", "exact_duplicate"),
        ("dedup", "near_duplicate"),
    }
    copy = reasons["dedup", "exact_duplicate"].examples
    assert any("essay03.txt" in f"{example.source} {example.detail}" for example in copy)
    assert [letter.source for letter in ledger.dead_letters] == ["cut.jsonl.gz", "records.jsonl#31"]
    train, held_out = (Dataset.open(tmp_path / "out" / split) for split in ("train", "held_out"))
    documents = [*train.documents(), *held_out.documents()]
    assert ledger.train == Amount(documents=train.n_documents, bytes=train.n_bytes)
    assert ledger.held_out.documents > 0
    assert ledger.kinds == {"code": 12, "prose": len(documents) - 12}
    assert ledger.languages == {"en": len(documents) - 12}
    assert "café déjà" in next(document.text for document in documents if document.source == "latin.txt")
    assert read_result(Ledger, tmp_path / "out" / LEDGER) == ledger
    assert not (tmp_path / "out" / "work").exists()


def test_the_artefacts_have_the_promised_shape(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    ledger = curate(list_files(str(corpus)), out, CONFIG, CONTEXT)
    stored = json.loads((out / "ledger.json").read_text())
    assert set(stored) == {
        "inputs", "stages", "rejects", "dead_letters", "n_dead_letters", "languages", "kinds", "train", "held_out",
        "split", "code_languages", "language_choice", "cut_files", "cut_documents", "kept_examples",
    }  # fmt: skip
    assert [stage["stage"] for stage in stored["stages"]] == ["read", "extract", "language", "rules", "dedup"]
    for before, after in zip(stored["stages"], stored["stages"][1:], strict=False):
        assert before["documents_out"] == after["documents_in"]
        assert before["bytes_out"] == after["bytes_in"]
    assert stored["stages"][-1]["documents_out"] == ledger.train.documents + ledger.held_out.documents
    assert stored["stages"][-1]["bytes_out"] == ledger.train.bytes + ledger.held_out.bytes
    assert {entry["name"]: entry["files"] for entry in stored["inputs"]}[".py"] == 12
    stored_schema = DOCUMENT_SCHEMA.append(pa.field("lineage", pa.string()))
    for folder, schema in (("train", stored_schema), ("rejects", REJECTS), ("dead_letters", DEAD_LETTERS)):
        for path in (out / folder).glob("*.parquet"):
            assert pq.read_schema(path) == schema
    rows = ledger.table()
    assert rows[0][:2] == ("read", "found")
    dropped_or_kept = sum(documents for _, _, documents, _ in rows[1:])
    assert dropped_or_kept == rows[0][2]


def test_held_out_may_be_nothing(corpus: Path, tmp_path: Path) -> None:
    config = CurationConfig(held_out_fraction=0)
    ledger = curate(list_files(str(corpus)), tmp_path / "out", config, CONTEXT)
    assert ledger.held_out == Amount(documents=0, bytes=0)
    assert Dataset.open(tmp_path / "out" / "held_out").n_documents == 0


def test_tasks_follow_from_sizes_alone() -> None:
    files = [InputFile(path=f"/x/{n}", name=f"{n:03d}.txt", bytes=300_000) for n in range(40)]
    files += [InputFile(path="/x/lib", name="lib.so", bytes=10**9)]
    tasks = plan_tasks(files, CurationConfig())
    assert [file for task in tasks for file in task.files] == files
    assert len(tasks) == 14
    assert len(plan_tasks(files, CurationConfig(shard_bytes=1))) == 41


@pytest.mark.slow
def test_any_number_of_workers_gives_the_same_bytes(corpus: Path, tmp_path: Path) -> None:
    files = list_files(str(corpus))
    for workers in (1, 3):
        curate(files, tmp_path / str(workers), CONFIG, Context(workers=workers))
    assert contents(tmp_path / "1") == contents(tmp_path / "3")


def test_stopped_anywhere_and_resumed_gives_the_same_bytes(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At every file that is about to appear the run dies, once, at each of them in turn."""
    files = list_files(str(corpus))
    curate(files, tmp_path / "whole", CONFIG, CONTEXT)
    replace = Path.replace
    died = set()

    def die_once(self: Path, target: Path) -> Path:
        if target not in died:
            died.add(target)
            raise KeyboardInterrupt
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", die_once)
    for _ in range(1000):
        try:
            curate(files, tmp_path / "resumed", CONFIG, CONTEXT)
            break
        except KeyboardInterrupt:
            continue
    assert len(died) > 30
    assert contents(tmp_path / "resumed") == contents(tmp_path / "whole")


RUN = """
import sys
from pathlib import Path
from tilth.files import list_files
from tilth.curation.config import CurationConfig
from tilth.curation.pipeline import curate
from tilth.execute import Context
config = CurationConfig(held_out_fraction=0.2, shard_bytes=20_000)
if __name__ == "__main__":
    curate(list_files(sys.argv[1]), Path(sys.argv[2]), config, Context(workers=1))
"""


@pytest.mark.slow
def test_kill_9_and_resume_gives_the_same_bytes(corpus: Path, tmp_path: Path) -> None:
    script = tmp_path / "run.py"
    script.write_text(RUN)
    curate(list_files(str(corpus)), tmp_path / "whole", CONFIG, CONTEXT)
    out = tmp_path / "killed"
    killed = 0
    for wanted in ("tasks/00000.json", "tasks/00003.json", "drops.parquet"):
        process = subprocess.Popen([sys.executable, str(script), str(corpus), str(out)])
        while process.poll() is None and not (out / "work" / wanted).exists():
            time.sleep(0.001)
        killed += process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait()
    subprocess.run([sys.executable, str(script), str(corpus), str(out)], check=True)
    assert killed > 0
    assert contents(out) == contents(tmp_path / "whole")


def test_many_shards_and_partitions_find_the_same_duplicates(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = list_files(str(corpus))
    whole = curate(files, tmp_path / "whole", CurationConfig(), CONTEXT)
    monkeypatch.setattr(task_module, "_BATCH_ROWS", 3)
    monkeypatch.setattr("tilth.curation.pipeline._PARTITION_BYTES", 20_000)
    many = curate(files, tmp_path / "many", CurationConfig(shard_bytes=3000), CONTEXT)
    assert many.rejects == whole.rejects
    assert many.stages == whole.stages


def test_another_config_or_corpus_in_the_same_folder_is_refused(corpus: Path, tmp_path: Path) -> None:
    files = list_files(str(corpus))
    first = curate(files, tmp_path / "out", CONFIG, CONTEXT)
    assert curate(files, tmp_path / "out", CONFIG, CONTEXT) == first
    with pytest.raises(ConfigError, match="another call"):
        curate(files, tmp_path / "out", CurationConfig(), CONTEXT)
    with pytest.raises(ConfigError, match="another call"):
        curate(files[1:], tmp_path / "out", CONFIG, CONTEXT)
    (tmp_path / "strange" / "train").mkdir(parents=True)
    with pytest.raises(ConfigError, match="train of unknown origin"):
        curate(files, tmp_path / "strange", CONFIG, CONTEXT)
    with pytest.raises(DataError, match="no files"):
        curate([], tmp_path / "other", CONFIG, CONTEXT)


def test_other_content_of_the_same_size_is_another_curation(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one")
    files, config = list_files(str(tmp_path / "a.txt")), CurationConfig(operators=(), held_out_fraction=0)
    curate(files, tmp_path / "out", config, CONTEXT)
    assert curate(files, tmp_path / "out", config, CONTEXT).train.documents == 1
    (tmp_path / "a.txt").write_text("two")
    with pytest.raises(ConfigError, match="listing"):
        curate(files, tmp_path / "out", config, CONTEXT)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("languages", ("english",)),
        ("near_duplicate_threshold", 0.0),
        ("held_out_fraction", 1.0),
        ("shingle_words", 0),
        ("max_words", 10),
        ("shard_bytes", 0),
        ("seed", -1),
        ("operators", ("extracts",)),
        ("operators", ("rules", "rules")),
        ("held_out_by", "paragraph"),
        ("max_dead_letters", 1.1),
        ("document_seconds", 0.0),
    ],
)
def test_impossible_configs_say_what_to_do(field: str, value: object) -> None:
    with pytest.raises(ConfigError, match=field) as error:
        CurationConfig(**{field: value})  # type: ignore[arg-type]
    assert error.value.fix


def test_a_text_is_on_one_side_of_the_split_in_whichever_corpus_it_comes(tmp_path: Path) -> None:
    def held_out(corpus: str) -> set[str]:
        out = tmp_path / corpus / "out"
        folder = tmp_path / corpus
        folder.mkdir(exist_ok=True)
        for i in range(40):
            (folder / f"{corpus}{i}.py").write_text(f"def function_{i}() -> int:\n    return {i}\n")
        files = [replace(file, corpus=corpus) for file in list_files(str(folder)) if file.name.endswith(".py")]
        curate(files, out, CurationConfig(held_out_fraction=0.3, near_duplicate_threshold=None), Context(workers=1))
        return {document.text for document in Dataset.open(out / "held_out").documents()}

    assert 0 < len(held_out("a")) < 40
    assert held_out("a") == held_out("b")


GERMAN = (
    "Der Gärtner gießt am frühen Morgen die Bäume im Garten hinter dem alten Haus, weil die trockene Erde das Wasser "
    "dann bis zum Abend behält und die Blätter nicht in der heißen Sonne verbrennen. Er nennt die Zahl {n}. "
    "Danach geht er langsam den schmalen Weg zum Fluss hinunter und zählt die {n} Steine, die dort seit Jahren liegen."
)


def test_the_main_languages_are_kept_and_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for n in range(20):
        (folder / f"de{n:02d}.txt").write_text(GERMAN.format(n=n) + f"\n\nNoch {n} Worte mehr als {n * 7} zuvor.")
    (folder / "en.txt").write_text(" ".join(essay(n) for n in range(3))[:1200])
    (folder / "code.py").write_text("def f(x):\n    return x\n")
    (folder / "fr.txt").write_text(
        "Le jardinier arrose les arbres le matin, car la terre garde alors toute son eau. Puis il descend à la rivière "
        "par le petit chemin, où les pierres sont encore froides, et revient lentement vers sa vieille maison."
    )
    config = CurationConfig(languages=("auto",), near_duplicate_threshold=None, min_words=10)
    ledger = curate(list_files(str(folder)), tmp_path / "out", config, Context(workers=1, progress=PlainProgress()))
    assert ledger.language_choice is not None
    assert ledger.language_choice.kept == ("de", "en")
    assert set(ledger.language_choice.shares) == {"de", "en", "fr"}
    assert sum(ledger.language_choice.shares.values()) == pytest.approx(1)
    assert ledger.languages == {"de": 20, "en": 1}
    assert ledger.code_languages == {"Python": 1}
    assert [stage.stage for stage in ledger.stages] == ["read", "extract", "language", "rules", "languages", "dedup"]
    (reject,) = ledger.rejects
    assert (reject.stage, reject.reason, reject.documents) == ("languages", "other_language", 1)
    assert "Languages of the text: de (" in capsys.readouterr().err
    whole = curate(list_files(str(folder)), tmp_path / "all", replace(config, languages=None), CONTEXT)
    assert whole.languages == {"de": 20, "en": 1, "fr": 1}


def test_a_survivor_in_another_language_takes_no_document_along(tmp_path: Path) -> None:
    """Of two equal texts, the one with a language that is not kept must not be what the other is a duplicate of."""
    (tmp_path / "rule.py").write_text(
        "from tilth.curation import judge\n"
        "def factory(config):\n"
        "    return judge('label', lambda row: dict(row) | {'language': 'xx' if 'a.txt' in row['source'] else 'en'})\n"
    )
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.txt").write_text(essay(1))
    (folder / "b.txt").write_text(essay(1))
    (folder / "c.txt").write_text(" ".join(essay(n) for n in range(2, 30)))
    config = CurationConfig(operators=("language", f"{tmp_path / 'rule.py'}:factory"), languages=("auto",))
    ledger = curate(list_files(str(folder)), tmp_path / "out", config, CONTEXT)
    assert {(reject.stage, reject.reason, reject.documents) for reject in ledger.rejects} == {
        ("languages", "other_language", 1)
    }
    assert {example.source for example in ledger.kept_examples} == {"b.txt", "c.txt"}


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.txt", GERMAN.format(n=1), ["for their language (de: 3)", "`--languages de`", "`--languages auto`"]),
        (
            "a.txt",
            "The end of it.",
            ["all 3 documents were dropped, all of them as `too_few_words`", "5 words < 50", "Give more text"],
        ),
        ("a.txt", "The end of it. " + "-" * 300, ["as `too_few_words`", "`--operators extract language`"]),
        ("a.jsonl", '{"passage": "x"}', ["`no_text_field`", "passage", "`--text-field NAME`"]),
        ("a.doc", "some text", ["`unsupported_type`", "convert"]),
        ("a.jsonl", "{broken", ["could not be read"]),
        (
            "a.txt",
            "\n".join(["The end of it and that comes again with it."] * 60),
            ["`duplicate_", "`--operators extract language`"],
        ),
    ],
)
def test_nothing_kept_is_an_error_that_names_the_option_each_time(
    tmp_path: Path, name: str, content: str, says: list[str]
) -> None:
    folder = tmp_path / "in"
    for n in range(3):
        (folder / str(n)).mkdir(parents=True)
        (folder / str(n) / name).write_text(content + f"\n{n}" if name.endswith("txt") else content)
    config = CurationConfig(max_dead_letters=1, near_duplicate_threshold=None)
    for _ in range(2):
        with pytest.raises(DataError) as error:
            curate(list_files(str(folder)), tmp_path / "out", config, CONTEXT)
        said = f"{error.value.message} {error.value.fix}"
        assert "Nothing was kept" in said
        assert all(part in said for part in says), said
    assert read_result(Ledger, tmp_path / "out" / LEDGER).train.documents == 0
    assert list((tmp_path / "out").glob("*/*.parquet"))


def test_kept_documents_are_shown_at_random_and_rejects_with_measure_and_corpus(corpus: Path, tmp_path: Path) -> None:
    files = [replace(file, corpus="mine") for file in list_files(str(corpus))]
    ledger = curate(files, tmp_path / "out", CONFIG, CONTEXT)
    stored = {
        document.id: (side, document)
        for side in ("train", "held_out")
        for document in Dataset.open(tmp_path / "out" / side).documents()
    }
    assert len(ledger.kept_examples) == 20
    assert {example.split for example in ledger.kept_examples} == {"train", "held_out"}
    for example in ledger.kept_examples:
        side, document = stored[example.id]
        assert (example.split, example.source, example.bytes) == (side, document.source, len(document.text.encode()))
        assert document.text.startswith(example.excerpt)
        assert example.language == ("" if document.source.endswith(".py") else "en")
    again = curate(list(reversed(files)), tmp_path / "again", replace(CONFIG, shard_bytes=5000), CONTEXT)
    assert again.kept_examples == ledger.kept_examples
    rows = [row for path in (tmp_path / "out" / "rejects").glob("*") for row in pq.read_table(path).to_pylist()]
    assert {row["corpus"] for row in rows} == {"mine"}
    measures = {row["reason"]: (row["measure"], row["limit"]) for row in rows}
    assert measures["too_few_words"] == (4, 50)
    assert measures["near_duplicate"][1] == 0.8
    assert measures["binary_file"] == (None, None)
