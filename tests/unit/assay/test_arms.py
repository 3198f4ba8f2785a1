"""The texts of a value measurement's arms."""

from __future__ import annotations

import json
from collections import Counter
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tilth.assay import arms
from tilth.assay.arms import ARMS, SeedTexts, Text, Texts, arm_texts, draw_texts, held_out_texts, read_texts
from tilth.assay.config import ValueConfig
from tilth.errors import DataError
from tilth.storage import Dataset, finish_dataset, write_table
from tilth.tokenizer import Tokenizer
from tilth.types import DOCUMENT_SCHEMA, Document
from unit.assay.texts import dataset, docstrings

CONFIG = ValueConfig(
    seeds=(0, 1), vocab_size=300, context_length=16, before_tokens=4000, arm_tokens=2000, batch_tokens=64
)
TEXTS = docstrings()
SOURCE, FRESH, HELD_OUT, OTHER = TEXTS[:150], TEXTS[150:250], TEXTS[250:280], TEXTS[280:380]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train(SOURCE, vocab_size=300)


def drawn(
    folder: Path,
    of: list[str] | Dataset,
    tokenizer: Tokenizer,
    fresh: list[str] | None = None,
    source: list[str] | None = None,
    config: ValueConfig = CONFIG,
) -> Texts:
    return draw_texts(
        of if isinstance(of, Dataset) else dataset(folder / "dataset", of),
        source=dataset(folder / "source", source or SOURCE),
        held_out=dataset(folder / "held_out", HELD_OUT),
        fresh=None if fresh is None else dataset(folder / "fresh", fresh),
        config=config,
        tokenizer=tokenizer,
    )


def read(texts: Texts, arm: str, seed: int = 0) -> list[str]:
    return list(islice(arm_texts(arm, texts.seeds[seed]), 500))


def test_the_order_of_documents_in_a_folder_does_not_matter(tmp_path: Path, tokenizer: Tokenizer) -> None:
    a = drawn(tmp_path / "a", OTHER, tokenizer, FRESH)
    b = drawn(tmp_path / "b", OTHER[::-1], tokenizer, FRESH[::-1], source=SOURCE[::-1])
    assert [read(a, arm) for arm in ARMS] == [read(b, arm) for arm in ARMS]
    assert a.seeds[0].before == b.seeds[0].before
    assert [text.text for text in a.held_out] == [text.text for text in b.held_out]


def test_another_seed_draws_other_text(tmp_path: Path, tokenizer: Tokenizer) -> None:
    texts = drawn(tmp_path, OTHER, tokenizer, FRESH)
    assert set(texts.seeds[0].before) != set(texts.seeds[1].before)
    assert read(texts, "dataset", 0) != read(texts, "dataset", 1)


def test_arms_of_equal_text_read_it_in_one_order(tmp_path: Path, tokenizer: Tokenizer) -> None:
    texts = drawn(tmp_path, FRESH, tokenizer, FRESH)
    assert read(texts, "dataset") == read(texts, "fresh")


def test_a_copy_of_the_source_is_what_the_learner_has_read(tmp_path: Path, tokenizer: Tokenizer) -> None:
    # Without fresh text a part of the source is set aside: of a copy, neither that nor what is not read may count.
    texts = drawn(tmp_path, SOURCE, tokenizer)
    assert read(texts, "dataset") == read(texts, "repeat")
    assert texts.seeds[0].left_out == len(SOURCE) - len(texts.seeds[0].before) > 0


def test_what_is_set_aside_is_never_read_before(tmp_path: Path, tokenizer: Tokenizer) -> None:
    texts = drawn(tmp_path, OTHER, tokenizer)
    assert 0 < texts.set_aside < 0.5
    for one in texts.seeds:
        assert one.fresh
        assert not {text.text for text in one.fresh} & {text.text for text in one.before}
        assert {text.text for text in one.fresh} | {text.text for text in one.before} <= set(SOURCE)
    assert drawn(tmp_path / "given", OTHER, tokenizer, FRESH).set_aside == 0


def test_documents_made_of_source_text_that_is_not_read_are_left_out(tmp_path: Path, tokenizer: Tokenizer) -> None:
    ids = [Document.make(text, source="", corpus="source").id for text in SOURCE]
    made = [f"{text} said otherwise." for text in SOURCE]
    of = with_lineage(tmp_path / "made", made, ids)
    texts = drawn(tmp_path, of, tokenizer)
    for one in texts.seeds:
        read_ids = {text.id for text in one.before}
        assert {text.text for text in one.dataset} <= {m for m, name in zip(made, ids, strict=True) if name in read_ids}
        assert one.left_out + len(read_ids) == len(SOURCE)


def test_source_documents_that_the_dataset_was_made_of_are_read_first(tmp_path: Path, tokenizer: Tokenizer) -> None:
    short = sorted(SOURCE, key=len)[:10]
    ids = [Document.make(text, source="", corpus="source").id for text in short]
    of = with_lineage(tmp_path / "made", [f"{text} again" for text in short], ids)
    texts = drawn(tmp_path, of, tokenizer, FRESH)
    for one in texts.seeds:
        assert set(ids) <= {text.id for text in one.before}
        assert one.left_out == 0


def test_copies_of_source_text_beyond_the_part_that_is_read_are_left_out(tmp_path: Path, tokenizer: Tokenizer) -> None:
    part, rest = SOURCE[:100], SOURCE[100:]
    texts = draw_texts(
        dataset(tmp_path / "dataset", OTHER + rest),
        source=dataset(tmp_path / "source", part),
        held_out=dataset(tmp_path / "held_out", HELD_OUT),
        fresh=dataset(tmp_path / "fresh", FRESH),
        config=CONFIG,
        tokenizer=tokenizer,
        whole_source=dataset(tmp_path / "whole", SOURCE),
    )
    for one in texts.seeds:
        assert one.left_out == len(rest)
        assert not {text.text for text in one.dataset} & set(rest)


def with_lineage(folder: Path, texts: list[str], source_ids: list[str]) -> Dataset:
    rows = [
        {
            **Document.make(text, source="made").row(),
            "lineage": json.dumps([{"stage": "synthesize", "source_id": name}]),
        }
        for text, name in zip(texts, source_ids, strict=True)
    ]
    schema = DOCUMENT_SCHEMA.append(pa.field("lineage", pa.string()))
    write_table(folder / "shard-00000.parquet", pa.Table.from_pylist(rows, schema=schema))
    return finish_dataset(folder, shards=["shard-00000.parquet"], made_by="test")


def test_what_only_the_whole_source_holds_is_left_out(tmp_path: Path, tokenizer: Tokenizer) -> None:
    part, rest = SOURCE[: len(SOURCE) // 2], SOURCE[len(SOURCE) // 2 :]
    given = {
        "source": dataset(tmp_path / "part", part),
        "held_out": dataset(tmp_path / "held", HELD_OUT),
        "fresh": dataset(tmp_path / "new", FRESH),
        "config": CONFIG,
        "tokenizer": tokenizer,
    }
    made, whole = dataset(tmp_path / "copies", [*rest, *OTHER]), dataset(tmp_path / "whole", SOURCE)
    without = draw_texts(made, **given)  # type: ignore[arg-type]
    assert all(one.left_out == 0 for one in without.seeds)
    for one in draw_texts(made, whole_source=whole, **given).seeds:  # type: ignore[arg-type]
        assert one.left_out == len(set(rest)) and not {text.text for text in one.dataset} & set(rest)


@pytest.mark.parametrize("lineage", ["no JSON", "[1]", "{}", "[" * 100_000])
def test_a_lineage_that_is_none_is_named(tmp_path: Path, lineage: str) -> None:
    row = {**Document.make("a text", source="made").row(), "lineage": lineage}
    schema = DOCUMENT_SCHEMA.append(pa.field("lineage", pa.string()))
    write_table(tmp_path / "shard-00000.parquet", pa.Table.from_pylist([row], schema=schema))
    made = finish_dataset(tmp_path, shards=["shard-00000.parquet"], made_by="test")
    with pytest.raises(DataError, match="lineage"):
        list(read_texts(made))


def test_held_out_documents_are_in_no_arm(tmp_path: Path, tokenizer: Tokenizer) -> None:
    texts = drawn(tmp_path, OTHER + HELD_OUT, tokenizer, FRESH + HELD_OUT, source=SOURCE + HELD_OUT)
    for one in texts.seeds:
        assert not {text.text for text in (*one.before, *one.fresh, *one.dataset)} & set(HELD_OUT)
        assert one.left_out == len(HELD_OUT)


def test_fresh_text_that_the_source_holds_is_not_fresh(tmp_path: Path, tokenizer: Tokenizer) -> None:
    texts = drawn(tmp_path, OTHER, tokenizer, FRESH + SOURCE)
    assert {text.text for text in texts.seeds[0].fresh} <= set(FRESH)


def test_long_documents_do_not_crowd_out_the_others(tmp_path: Path) -> None:
    held_out = dataset(tmp_path / "long", ["word " * 3000, *(f"text {number} " * 30 for number in range(60))])
    texts = held_out_texts(held_out, ValueConfig(held_out_bytes=5000))
    assert len(texts) == 50
    assert sum(len(text.text) for text in texts) == 5000
    few = held_out_texts(dataset(tmp_path / "few", ["word " * 3000, "text " * 100]), ValueConfig(held_out_bytes=5000))
    assert sorted(len(text.text) for text in few) == [500, 4500]


def test_an_empty_held_out_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no held-out text"):
        held_out_texts(dataset(tmp_path / "empty", [" \n"]), CONFIG)


def test_word_salad_has_the_same_words_in_another_order() -> None:
    salad = arms.word_salad(SOURCE[:20], 0)
    assert Counter(" ".join(salad).split()) == Counter(" ".join(SOURCE[:20]).split())
    assert [len(text.split()) for text in salad] == [len(text.split()) for text in SOURCE[:20]]
    first = SOURCE[0].split()
    assert sum(a == b for a, b in zip(salad[0].split(), first, strict=True)) < len(first) / 2
    assert salad == arms.word_salad(SOURCE[:20], 0) != arms.word_salad(SOURCE[:20], 1)


def test_noise_has_the_characters_of_the_text_as_often() -> None:
    made = "".join(islice(arms.noise(SOURCE, 0), 50))
    text = "".join(SOURCE)
    assert set(made) <= set(text)
    for character in "e t":
        assert made.count(character) / len(made) == pytest.approx(text.count(character) / len(text), rel=0.1)
    assert " the " not in made[:2000]


def test_tokens_are_cut_and_counted(tokenizer: Tokenizer) -> None:
    separator = tokenizer.end_of_text
    whole = arms.to_tokens(SOURCE[:3], tokenizer, 10**6)
    assert whole.ids.tolist().count(separator) == 4
    assert tokenizer.decode([i for i in whole.ids.tolist() if i != separator]) == "".join(SOURCE[:3])
    assert whole.bytes == len("".join(SOURCE[:3]).encode())
    assert whole.unique == len(whole.ids) - 1
    twice = arms.to_tokens([*SOURCE[:3], *SOURCE[:3]], tokenizer, 10**6)
    assert (twice.unique, twice.documents) == (whole.unique, 6)
    cut = arms.to_tokens(SOURCE[:3], tokenizer, 100)
    assert cut.ids.tolist() == [*whole.ids.tolist()[:100], separator]
    assert 0 < cut.bytes < whole.bytes


@given(n_ids=st.integers(1, 200), length=st.integers(1, 20))
def test_rows_follow_the_text(n_ids: int, length: int) -> None:
    ids = np.arange(n_ids)
    rows = arms.rows_of(ids, length)
    assert rows.shape[1] == length + 1
    assert ((rows[:, 1:] - rows[:, :-1]) % n_ids == 1 % n_ids).all()
    if n_ids > length:
        assert rows[:, :-1].flatten().tolist() == ids[: len(rows) * length].tolist()
        assert len(rows) == (n_ids - 1) // length


@given(n_rows=st.integers(1, 50), n=st.integers(1, 200), seed=st.integers(0, 9))
def test_every_row_is_read_as_often_as_the_others(n_rows: int, n: int, seed: int) -> None:
    order = arms.row_order(n_rows, n, seed, 0)
    counts = np.bincount(order, minlength=n_rows)
    assert len(order) == n
    assert counts.max() - counts.min() <= 1
    assert sorted(order[:n_rows].tolist()) == list(range(n_rows))[: len(order[:n_rows])] or n < n_rows


@given(texts=st.lists(st.text(min_size=1, max_size=20), min_size=1, max_size=20), most=st.integers(1, 60))
def test_a_draw_keeps_the_smallest_keys(texts: list[str], most: int) -> None:
    def keys(order: list[str]) -> list[str]:
        draw = arms.Draw(most)
        for text in order:
            draw.offer(Text(text, text), arms.digest(text, "x"))
        return [text.text for text in draw.texts()]

    kept, all_sorted = keys(texts), sorted(texts, key=lambda text: (arms.digest(text, "x"), text))
    assert kept == all_sorted[: len(kept)]
    assert len(kept) == len(texts) or sum(map(len, kept)) >= most > sum(map(len, kept[:-1]))
    assert kept == keys(texts[::-1])


def test_arms_know_nothing_of_each_other() -> None:
    one = Text("a", SOURCE[0])
    texts = SeedTexts(seed=0, before=(one,), fresh=(), dataset=(), left_out=0)
    more = SeedTexts(seed=0, before=(one,), fresh=(Text("b", "new"),), dataset=(Text("c", "other"),), left_out=3)
    for arm in ("repeat", "word_salad", "noise"):
        assert list(islice(arm_texts(arm, texts), 3)) == list(islice(arm_texts(arm, more), 3))
