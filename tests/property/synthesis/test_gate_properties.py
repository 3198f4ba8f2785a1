"""Gates on any text: they never fail, say the same twice, and drop no less where the limit is stricter."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tilth.curation.decontamination import EvaluationIndex
from tilth.curation.evaluation_sets import Item
from tilth.curation.near_duplicates import NearDuplicateIndex
from tilth.curation.operators import Drop
from tilth.synthesis.config import GateConfig
from tilth.synthesis.gates import Gate, Pass, UniquenessMeter, make_gates
from tilth.synthesis.gates.contaminated import DecontaminationGate
from tilth.synthesis.gates.copied import CopyGate
from tilth.synthesis.gates.language import LanguageGate
from tilth.synthesis.gates.length import LengthGate
from tilth.synthesis.gates.near_duplicate import NearDuplicateGate
from tilth.types import Document, Sample

vocabulary = st.sampled_from(
    ["soil", "water", "gives", "the", "rock", "12", "...", "gieß", "水", "土", "\ud800", "a\n\nb"]
)
anything = st.text(st.characters(), max_size=200)  # lone surrogates too
texts = st.one_of(anything, st.lists(vocabulary, max_size=80).map(" ".join))
HARD = [
    "",
    " ",
    "\ud800",
    "\udfff\ud800" * 50,
    "a" * 1_000_000,
    "a " * 300_000,
    "水" * 200_000,
    "\0" * 1000,
    "\n" * 9999,
]
ITEM = "The soil gives water to the rock and the rock gives the water back to the soil 12 times"
EVALUATION = EvaluationIndex([Item(name="set#1", prompts=(ITEM,)), Item(name="set#2", prompts=("a " * 500,))])


def sample(text: str) -> Sample:
    return Sample(id="s", text=text, source="r/x")


def seed(text: str) -> Document:
    return Document(id="d", text=text, source="x")


def gates() -> list[Gate]:
    return [
        *make_gates(GateConfig(min_words=0), instructions=[f"{{{{ text }}}} {ITEM}"]),
        DecontaminationGate(EVALUATION),
    ]


def reason(verdict: Drop | Pass) -> str:
    return verdict.reason if isinstance(verdict, Drop) else ""


@pytest.mark.parametrize("text", HARD, ids=range(len(HARD)))
def test_no_text_is_too_strange(text: str) -> None:
    meter = UniquenessMeter(every=1)
    for source in ("", "soil gives water", text):
        for gate in gates():
            assert isinstance(gate.judge(sample(text), seed(source)), Drop | Pass)
    meter.add("a", text)
    assert meter.points


@settings(max_examples=150, deadline=None)
@given(texts, texts)
def test_a_verdict_is_given_again(text: str, source: str) -> None:
    for gate in gates():
        first = gate.judge(sample(text), seed(source))
        if gate.name == "near_duplicate":  # it remembers what it let through: now the sample is its own copy
            assert reason(gate.judge(sample(text), seed(source))) == "exact_duplicate"
        else:
            assert gate.judge(sample(text), seed(source)) == first
            assert gate.judge(sample(text + " other"), seed(source)) is not None
            assert gate.judge(sample(text), seed(source)) == first


@settings(max_examples=150, deadline=None)
@given(texts, texts, st.lists(st.floats(0, 1), min_size=2, max_size=2).map(sorted))
def test_a_stricter_limit_drops_no_less(text: str, source: str, limits: list[float]) -> None:
    strict, lax = limits
    pairs: list[tuple[Gate, Gate]] = [
        (CopyGate(strict), CopyGate(lax)),
        (LengthGate(round(100 * lax), 100), LengthGate(round(100 * strict), 100)),
        (LengthGate(0, round(100 * strict)), LengthGate(0, round(100 * lax))),
        (LanguageGate(("de",)), LanguageGate(("de", "en"))),
    ]
    for strict_gate, lax_gate in pairs:
        if reason(lax_gate.judge(sample(text), seed(source))):
            assert reason(strict_gate.judge(sample(text), seed(source)))


@settings(max_examples=60, deadline=None)
@given(st.lists(texts, min_size=1, max_size=12), st.sampled_from([0.5, 0.8, 1.0]))
def test_near_duplicates_are_truly_near_and_copies_are_always_found(batch: list[str], threshold: float) -> None:
    gate = NearDuplicateGate(threshold)
    index = NearDuplicateIndex(threshold)
    for number, text in enumerate(batch):
        verdict = gate.judge(Sample(id=str(number), text=text, source="r/x"), seed(""))
        match = index.find(text)
        assert (match is not None) == isinstance(verdict, Drop)
        if match is None:
            index.add(str(number), text)
        else:
            assert match.is_copy or match.similarity >= threshold
            assert int(match.id) < number
        assert index.find(text) is not None


@settings(max_examples=100, deadline=None)
@given(texts, texts, st.integers(0, 30), st.integers(13, 17))
def test_thirteen_words_of_an_item_are_found_wherever_they_stand(before: str, after: str, start: int, n: int) -> None:
    words = ITEM.split()
    piece = " ".join(words[start % (len(words) - n + 1) :][:n])
    found = EVALUATION.find(f"{before} {piece} {after}")
    assert found is not None
    assert found.reason == "shared_13_gram"
    assert found.measure >= n
    assert np.isfinite(found.measure)
