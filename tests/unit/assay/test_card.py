"""Whole assays of small texts: known cases, continuing after a kill, parts that cannot be measured."""

import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from tilth.assay import AssayCard, AssayConfig, assay, card
from tilth.assay.card import NGRAM, PROXY
from tilth.assay.cost import measure_cost
from tilth.assay.text import excerpt
from tilth.errors import ConfigError, DataError, StepError
from tilth.files import write_json
from tilth.results import read_result
from tilth.storage import Dataset, finish_dataset, shard_name, write_table
from tilth.types import DOCUMENT_SCHEMA, Document, extend_lineage
from unit.assay.texts import dataset, docstrings

CONFIG = AssayConfig(
    max_bytes=120_000, scored_bytes=20_000, structure_bytes=15_000, proxy_tokens=8_000, sampled_documents=60, seed=1
)
REAL = random.Random(11).sample(docstrings(), 320)
GOOD = "Nothing that was measured without training on it speaks against the dataset."
SOURCE, FRESH, HELD_OUT = REAL[:160], REAL[160:260], REAL[260:320]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("assay")
    dataset(made / "source", SOURCE)
    dataset(made / "held_out", HELD_OUT)
    return made


def measured(folder: Path, name: str, texts: Sequence[str], **options: object) -> AssayCard:
    dataset(folder / name, texts)
    config = options.pop("config", CONFIG)
    return assay(
        folder / name, folder / f"{name}-card", source=folder / "source", held_out=folder / "held_out", config=config,
        **options,
    )  # type: ignore[arg-type]  # fmt: skip


def salad(texts: Sequence[str]) -> list[str]:
    rng = random.Random(7)
    shuffled = [text.split() for text in texts]
    for words in shuffled:
        rng.shuffle(words)
    return [" ".join(words) for words in shuffled]


def test_fresh_real_text_is_not_flagged(folder: Path) -> None:
    card = measured(folder, "fresh", FRESH)
    assert [one for one in card.findings if "held-out text. They are left out" not in one] in ([], [GOOD])
    assert card.density.word_order == pytest.approx(card.density.source_word_order, rel=0.4)
    assert set(card.density.bits_per_byte) == {NGRAM, PROXY}
    for name, bits in card.density.bits_per_byte.items():
        assert 0 < bits < 8
        assert bits == pytest.approx(card.density.source_bits_per_byte[name], rel=0.25)
    assert card.novelty is not None
    assert card.novelty.copied_documents == 0
    assert card.structure.epiplexity_per_byte > 0
    assert not (folder / "fresh-card" / "work").exists()
    assert read_result(AssayCard, folder / "fresh-card" / "assay.json") == card


def test_copies_are_caught(folder: Path) -> None:
    card = measured(folder, "copies", SOURCE[20:120])
    assert card.novelty is not None
    assert card.novelty.copied_documents == 1
    assert card.findings[0] == "100% of the documents are in the source nearly word for word."
    assert (card.density.compressed_given_source or 9) < 0.1 * card.density.compressed


@pytest.mark.slow
def test_word_salad_and_random_text_are_recognised(folder: Path) -> None:
    words = measured(folder, "salad", salad(FRESH))
    assert any("next to nothing" in finding for finding in words.findings)
    assert abs(words.density.word_order) < 0.3 * words.density.source_word_order
    assert words.novelty is not None
    assert words.novelty.overlap_with_source < 0.01
    rng = random.Random(3)
    letters = ["".join(rng.choice("abcdefghijklmnop QRSTUVWXYZ0123") for _ in range(900)) for _ in range(60)]
    noise = measured(folder, "noise", letters)
    assert any("hard to predict" in finding for finding in noise.findings)
    assert any("words are not in the source" in finding for finding in noise.findings)
    assert any("next to nothing" in finding for finding in noise.findings)
    assert noise.structure.entropy > 1.2 * words.structure.entropy


@pytest.mark.slow
def test_templates_and_repetition_are_recognised(folder: Path) -> None:
    wrapped = [f"Sure, here is the text in other words. {text[:300]} I hope that this helps you." for text in FRESH]
    card = measured(folder, "template", wrapped)
    assert any("begin with the words “sure here is the text”" in finding for finding in card.findings)
    assert any("end with the words “hope that this helps you”" in finding for finding in card.findings)
    again = measured(folder, "again", FRESH[:3] * 20)
    assert again.diversity.near_duplicates == 57 / 60
    assert again.diversity.vendi == pytest.approx(3, abs=0.5)
    assert any("nearly equal another one" in finding for finding in again.findings)


def test_documents_that_hold_held_out_text_are_left_out_and_counted(folder: Path) -> None:
    card = measured(folder, "leak", [*FRESH[:50], *(f"Read this: {text}" for text in HELD_OUT[:10])])
    assert card.contaminated_documents >= 8
    assert card.dataset.measured_documents + card.contaminated_documents == card.dataset.documents == 60
    assert card.held_out.fingerprint and card.held_out.fingerprint != card.dataset.fingerprint
    assert any("hold held-out text" in finding for finding in card.findings)
    with pytest.raises(DataError, match="All 60 documents"):
        measured(folder, "all-leak", HELD_OUT)


def test_each_document_is_held_against_the_seed_that_its_lineage_names(folder: Path) -> None:
    seeds = [Document.make(text, source="source", corpus="source") for text in SOURCE[:40]]
    texts = [seed.text if number < 30 else FRESH[number] for number, seed in enumerate(seeds)]
    rows = [
        {
            **Document.make(f"{text}\n", source="made").row(),
            "lineage": extend_lineage(None, stage="synthesize", source_id=seed.id),
        }
        for text, seed in zip(texts, seeds, strict=True)
    ]
    (folder / "lineage").mkdir()
    schema = DOCUMENT_SCHEMA.append(pa.field("lineage", pa.string()))
    write_table(folder / "lineage" / shard_name(0), pa.Table.from_pylist(rows, schema=schema))
    finish_dataset(folder / "lineage", shards=[shard_name(0)], made_by="test")
    card = assay(
        folder / "lineage",
        folder / "lineage-card",
        source=folder / "source",
        held_out=folder / "held_out",
        config=CONFIG,
    )
    assert card.novelty is not None
    n, counts = card.dataset.measured_documents, card.novelty.by_seed
    assert sum(counts.values()) == n >= 35  # some docstrings share a sentence with held-out ones and are left out
    assert 25 <= counts["copy"] <= 30
    assert counts["drift"] + counts["rephrase"] >= 8
    copied = f"{counts['copy'] / n:.0%} of the documents copy the document that they were made from ({n} compared)."
    assert copied in card.findings
    assert {example.kind for example in card.novelty.examples} >= {"copy"}


def test_what_cannot_be_measured_is_a_note_and_the_rest_is_there(folder: Path, tmp_path: Path) -> None:
    card = measured(folder, "with-model", FRESH[:40], models=[tmp_path])
    assert any("holds no model" in note for note in card.notes)
    assert any("names its seed document" in note for note in card.notes)
    assert any("synthesis.json" in note for note in card.notes)
    assert card.density.bits_per_byte
    assert card.novelty is not None


def test_files_are_read_and_another_assay_in_the_same_folder_is_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "made.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in FRESH[:40]))
    arguments = {"source": folder / "source", "held_out": folder / "held_out"}
    card = assay(tmp_path / "made.jsonl", tmp_path / "card", config=CONFIG, **arguments)
    assert card.dataset.documents == 40
    known = [one.fingerprint for one in (card.dataset, card.source, card.held_out) if one is not None]
    assert len(set(known)) == 3 and all(known)  # cards of different held-out texts are not compared
    with pytest.raises(ConfigError, match="another call"):
        assay(tmp_path / "made.jsonl", tmp_path / "card", config=replace(CONFIG, seed=9), **arguments)
    (tmp_path / "page.html").write_text("<p>A web page</p>")
    with pytest.raises(DataError, match="web pages"):
        assay(tmp_path / "page.html", tmp_path / "card-2", config=CONFIG, **arguments)


@pytest.mark.slow
def test_a_tenth_of_the_text_is_read_where_that_is_the_limit(folder: Path) -> None:
    card = measured(folder, "much", FRESH, config=replace(CONFIG, max_bytes=12_000))
    assert 8_000 < card.dataset.measured_bytes <= 12_000
    assert any("of the dataset" in note.lower() and "--max-bytes" in note for note in card.notes)


def test_named_documents_of_a_large_source_come_first(folder: Path, tmp_path: Path) -> None:
    source = Dataset.open(folder / "source")
    last = [document.id for document in sorted(source.documents(), key=lambda one: one.id)][-10:]
    found = excerpt("source", source, tmp_path / "named", 20_000, first=last)
    ids = {document.id for document in found.dataset.documents()}
    assert set(last) <= ids
    assert len(ids) > len(last)
    assert found.size.measured_bytes <= 20_000
    assert found.size.fingerprint == source.fingerprint
    assert not set(last) & {d.id for d in excerpt("source", source, tmp_path / "plain", 20_000).dataset.documents()}


@pytest.mark.slow
def test_a_synthesis_result_that_changed_is_another_assay(folder: Path, tmp_path: Path) -> None:
    dataset(tmp_path / "run" / "samples", FRESH[:30])
    arguments = {"source": folder / "source", "held_out": folder / "held_out", "config": CONFIG}
    assay(tmp_path / "run" / "samples", tmp_path / "card", **arguments)
    write_json(tmp_path / "run" / "synthesis.json", {})
    with pytest.raises(ConfigError, match="another call"):
        assay(tmp_path / "run" / "samples", tmp_path / "card", **arguments)


SCRIPT = """
import sys
from tilth.assay import AssayConfig, assay
from tilth.execute import Context
folder, out = sys.argv[1:]
config = AssayConfig(max_bytes=120_000, scored_bytes=20_000, structure_bytes=15_000, proxy_tokens=8_000,
                     sampled_documents=60, seed=1)
assay(f"{folder}/fresh-again", out, source=f"{folder}/source", held_out=f"{folder}/held_out", config=config,
      context=Context(checkpoint_seconds=0.0))
"""


@pytest.mark.slow
def test_killed_at_any_point_it_ends_with_the_same_card(folder: Path, tmp_path: Path) -> None:
    dataset(folder / "fresh-again", FRESH)

    def command(out: Path) -> list[str]:
        return [sys.executable, "-c", SCRIPT, str(folder), str(out)]

    subprocess.run(command(tmp_path / "whole"), check=True, capture_output=True)
    kills = 0
    for wait in ("sizes.json", "training.claim", "density.json", "structure", "structure.json"):
        process = subprocess.Popen(command(tmp_path / "killed"), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        while process.poll() is None and not list((tmp_path / "killed").rglob(f"*{wait}*")):
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        kills += process.wait() == -signal.SIGKILL
        process.communicate()
    subprocess.run(command(tmp_path / "killed"), check=True, capture_output=True)
    assert kills >= 3

    def files(out: Path) -> dict[str, object]:
        found = {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()}
        card = json.loads(found.pop("assay.json"))
        del card["seconds"]
        return {**found, "card": card}

    assert files(tmp_path / "killed") == files(tmp_path / "whole")


def test_a_damaged_card_is_named(folder: Path) -> None:
    measured(folder, "damaged", FRESH[:40])
    write_json(folder / "damaged-card" / "assay.json", {"dataset": {}})
    with pytest.raises(DataError, match=r"assay\.json"):
        assay(
            folder / "damaged", folder / "damaged-card", source=folder / "source", held_out=folder / "held_out",
            config=CONFIG,
        )  # fmt: skip


def test_a_worker_that_dies_leaves_no_card(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def dies(*_: object, **__: object) -> None:
        raise StepError("A worker process was killed by signal 9 (SIGKILL), 3 times.")

    monkeypatch.setattr(card, "measure_cost", dies)
    with pytest.raises(StepError, match="SIGKILL"):
        measured(folder, "dies", FRESH[:40])
    monkeypatch.setattr(card, "measure_value", dies)
    monkeypatch.setattr(card, "measure_cost", measure_cost)
    given = {"source": folder / "source", "held_out": folder / "held_out", "config": replace(CONFIG, value=True)}
    with pytest.raises(StepError, match="SIGKILL"):
        assay(folder / "dies", folder / "dies-value", **given)  # type: ignore[arg-type]
    assert not list(folder.glob("dies-*/assay.json"))
