"""A few documents, what they cost, and what the run then need not pay for again."""

from pathlib import Path

import pytest

from tilth.execute import Context
from tilth.storage import Dataset, write_dataset
from tilth.synthesis.config import SynthesisConfig
from tilth.synthesis.preview_run import Preview, preview, preview_documents
from tilth.synthesis.recipes.wrap import Wrap
from tilth.synthesis.run import synthesize
from tilth.synthesis.source_documents import SourceDocuments
from tilth.teacher.request import Price
from tilth.types import Document
from toy_recipe import LongEnough, NoTeacher, ScriptedDoor, toy

N = 40


class Priced(NoTeacher):
    """A teacher that costs something."""

    price, n_params = Price(prompt=100_000.0, completion=0.0), 1000


@pytest.fixture
def source(tmp_path: Path) -> Path:
    documents = [Document.make(f"Text {i} about soil and {i} stones.", f"corpus/{i}.txt") for i in range(N)]
    write_dataset(tmp_path / "source", documents, made_by="test", shard_bytes=200)
    return tmp_path / "source"


def look(source: Path, door: ScriptedDoor, n: int, **changes: object) -> Preview:
    return preview(
        source,
        toy,
        Priced(),
        SynthesisConfig(**changes),  # pyright: ignore[reportArgumentType]
        Context(max_in_flight=4),
        n,
        gates=[LongEnough(45)],
        open_asker=door,
    )


@pytest.mark.parametrize("design", ["weighted", "grid"])
def test_the_run_pays_only_for_what_the_preview_left(source: Path, tmp_path: Path, design: str) -> None:
    first, second = ScriptedDoor(tmp_path / "cache"), ScriptedDoor(tmp_path / "cache")
    shown = look(source, first, 3, design=design)
    assert sum(first.answered.values()) == 6 and len(shown.documents) == 3
    synthesize(
        source,
        tmp_path / "out",
        toy,
        NoTeacher(),
        SynthesisConfig(design=design),  # pyright: ignore[reportArgumentType]
        Context(workers=1),
        gates=[LongEnough(45)],
        open_asker=second,
    )
    assert sum(second.answered.values()) == 2 * N - 6


def test_the_estimate_is_the_average_times_the_documents(source: Path, tmp_path: Path) -> None:
    door = ScriptedDoor(tmp_path / "cache", max_delay=0.01)
    shown = look(source, door, 4)
    estimate, answers = shown.estimate, [one for document in shown.documents for one in document.requests]
    assert (estimate.documents, estimate.requests, estimate.prompt_tokens) == (N, 2 * N, 20 * N)
    assert estimate.completion_tokens == sum(one.completion_tokens for one in answers) * N / 4
    assert estimate.money == pytest.approx(20 * N * 0.1)
    assert estimate.flops == pytest.approx(2000 * (estimate.prompt_tokens + estimate.completion_tokens))
    assert estimate.seconds is not None
    assert look(source, door, 4).estimate.seconds is None  # all from the cache: nothing was waited for
    samples = [sample for document in shown.documents for sample in document.samples]
    assert {sample.kept for sample in samples} == {True, False}
    assert all(sample.verdicts and sample.verdicts[0].startswith("length") for sample in samples)


def test_prompts_alone_ask_nothing(source: Path, tmp_path: Path) -> None:
    door = ScriptedDoor(tmp_path / "cache")
    shown = look(source, door, 0)
    assert not door.answered and not door.budgets and not shown.asked
    assert all("Text" in request.prompt and request.answer is None for d in shown.documents for request in d.requests)
    by_name = preview(source, "wrap", Priced(), SynthesisConfig(), Context(), 0, options=Wrap(min_passage_tokens=1))
    assert by_name.recipe == "wrap" and by_name.documents
    assert shown.estimate.completion_tokens == N * 100  # the most of the one prompt that needs no answer before it


@pytest.mark.parametrize("n", [None, 25])
def test_previewed_documents_have_their_places_in_the_run(source: Path, n: int | None) -> None:
    sources = SourceDocuments.choose(Dataset.open(source), n, toy)
    places = {seed.document.id: seed.index for seed in sources}
    assert sources.n_shards > 3 and list(places.values()) == list(range(n or N))
    some = preview_documents(sources, 6, toy)
    assert len(some) == 6 and all(places[seed.document.id] == seed.index for seed in some)
    assert any(seed.index > 6 for seed in some)
