import json
from pathlib import Path

import pytest

from tilth.curation.operators import Drop
from tilth.errors import ConfigError, DataError
from tilth.storage import write_dataset
from tilth.synthesis.config import GateConfig
from tilth.synthesis.gates import ORDER, Gate, Pass, copied, make_gates, near_duplicate
from tilth.synthesis.gates.copied import CopyGate, longest_run
from tilth.synthesis.gates.language import LanguageGate
from tilth.synthesis.gates.length import LengthGate
from tilth.synthesis.gates.near_duplicate import NearDuplicateGate
from tilth.synthesis.gates.verified import VerifierGate, response_of
from tilth.types import Document, Message, Problem, Sample

SOURCE = (
    "Soil is made where rock breaks down and plants and animals leave their remains. Rain and frost open the rock, "
    "roots hold what the wind would carry away, and worms mix the layers year after year until a dark and loose earth "
    "lies over the stone. A hand's breadth of it may take a thousand years to form."
)
OTHER = (
    "Where do fields come from? Stone crumbles under ice and water; leaves fall on it and rot. Small creatures stir "
    "everything together. After many centuries there is enough ground for a farmer to plough."
)
GERMAN = (
    "Der Boden entsteht dort, wo Gestein zerfällt und Pflanzen und Tiere ihre Reste hinterlassen. Regen und Frost "
    "sprengen den Fels, und Würmer mischen die Schichten Jahr für Jahr."
)
SEED = Document.make(SOURCE, "texts/soil.txt", language="en")


def sample(text: str, **fields: object) -> Sample:
    made = Document.make(text, "", corpus="test")
    return Sample(**({"id": made.id, "text": text, "source": "wrap/texts/soil.txt"} | fields))


def verdict(gate: Gate, text: str, seed: Document = SEED, **fields: object) -> Drop | Pass:
    return gate.judge(sample(text, **fields), seed)


def reason(gate: Gate, text: str, seed: Document = SEED, **fields: object) -> str:
    found = verdict(gate, text, seed, **fields)
    return found.reason if isinstance(found, Drop) else ""


def test_the_gates_come_in_their_order_and_only_those_that_have_work(tmp_path: Path) -> None:
    assert [gate.name for gate in make_gates(GateConfig())] == ["length", "language", "copy", "near_duplicate"]
    evaluation = tmp_path / "set.jsonl"
    evaluation.write_text(json.dumps({"question": SOURCE}))
    gates = make_gates(GateConfig(decontaminate=(str(evaluation),)))
    assert [gate.name for gate in gates] == [name for name in ORDER if name not in ("parsed", "critic", "verifier")]
    with pytest.raises(DataError):
        make_gates(GateConfig(decontaminate=(str(tmp_path / "none.jsonl"),)))
    with pytest.raises(DataError):
        make_gates(GateConfig(against=(str(tmp_path),)))
    with pytest.raises(ConfigError):
        GateConfig(min_score=6)


# Length


def test_length_counts_words_at_both_limits() -> None:
    gate = LengthGate(3, 5)
    assert [reason(gate, " ".join("abcdefg"[:n])) for n in (2, 3, 5, 6)] == ["too_few_words", "", "", "too_many_words"]
    assert verdict(gate, "a b -- !") == Drop("too_few_words", "2 < 3 words", 2, 3)
    assert verdict(gate, "a b c d") == Pass(measure=4, limit=3)


def test_two_characters_are_a_word_in_scripts_without_spaces() -> None:
    gate = LengthGate(10, 100)
    assert reason(gate, "土壤是岩石风化以后形成的。") == "too_few_words"
    assert reason(gate, "土壤是岩石风化以后形成的，植物和动物留下残骸。") == ""


# Language


def test_the_language_is_that_of_the_source_or_of_the_config() -> None:
    assert reason(LanguageGate(None), OTHER) == ""
    assert reason(LanguageGate(None), GERMAN) == "other_language"
    assert reason(LanguageGate(None), GERMAN, Document.make(GERMAN, "x", language=None)) == ""
    assert reason(LanguageGate(("de",)), GERMAN) == ""
    assert reason(LanguageGate(("de", "fr")), OTHER) == "other_language"
    assert reason(LanguageGate(()), GERMAN) == ""


def test_what_cannot_be_told_passes_and_says_why() -> None:
    gate = LanguageGate(("en",))
    short = verdict(gate, "Das ist kurz.")
    assert isinstance(short, Pass)
    assert short.detail == "too short to tell (13 characters)"
    code = verdict(gate, GERMAN, Document.make("x = 1", "a.py", meta={"kind": "code"}))
    assert code == Pass(detail="source code")
    assert verdict(gate, GERMAN, meta={"kind": "code"}) == Pass(detail="source code")
    numbers = verdict(gate, "12345 " * 40)
    assert isinstance(numbers, Pass)
    unknown = verdict(LanguageGate(None), GERMAN, Document.make("", "none/1"))
    assert unknown == Pass(detail="the source's language is not known")


# Copy


def test_the_share_of_copied_sequences_is_exact() -> None:
    begin = " ".join(SOURCE.split()[:20])
    text = f"{begin} {' '.join(OTHER.split()[:20])}"
    found = verdict(CopyGate(0.5), text)
    assert isinstance(found, Pass)
    assert found.measure == 13 / 33
    assert found.detail == "the longest span has 20 words"
    assert reason(CopyGate(13 / 33), text) == ""
    assert reason(CopyGate(13 / 33 - 1e-9), text) == "copies_source"


def test_a_source_is_split_into_words_once_for_all_its_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    split: list[str] = []
    words_of = copied.words_of
    monkeypatch.setattr(copied, "words_of", lambda text: [split.append(text), words_of(text)][1])
    gate, other = CopyGate(0.5), Document.make(OTHER, "other/1")
    found = [verdict(gate, text, seed) for seed in (SEED, other) for text in (OTHER, SOURCE, "Soil is made", "")]
    assert [one.measure for one in found] == [0.0, 1.0, 1.0, 0.0, 1.0, 0.0, 0.0, 0.0]
    assert (split.count(SOURCE), split.count(OTHER)) == (1, 1)  # as sources; samples have their hashes from elsewhere


def test_case_and_punctuation_hide_no_copy() -> None:
    assert reason(CopyGate(0.5), SOURCE.upper().replace(",", " -- ")) == "copies_source"
    assert reason(CopyGate(0.5), OTHER) == ""
    assert reason(CopyGate(0.5), "Soil is made where rock") == "copies_source"
    assert reason(CopyGate(1.0), SOURCE) == ""


def test_a_sample_that_appends_its_source_is_judged_on_the_rest() -> None:
    text = f"{SOURCE}\n\nQuestion: What do worms do? Answer: They stir the ground so that its parts are spread evenly."
    assert reason(CopyGate(0.5), text) == "copies_source"
    assert reason(CopyGate(0.5), text, meta={"appends_source": True}) == ""
    again = f"{SOURCE}\n\nIn short: {' '.join(SOURCE.split()[:40])}"
    assert reason(CopyGate(0.5), again, meta={"appends_source": True}) == "copies_source"
    assert reason(CopyGate(0.5), SOURCE, meta={"appends_source": True}) == "only_source"


def test_the_source_itself_annotated_passes() -> None:
    assert CopyGate(0.0).judge(sample(SOURCE, id=SEED.id), SEED) == Pass(detail="the source itself")


def test_an_echo_of_the_prompt_file_is_dropped() -> None:
    prompt = (
        "{# version: 1 #}{% block user %}Write the passage {{ passage }} again in words that a small child who has "
        "never seen a field can follow without help.{% endblock %}"
    )
    gate = CopyGate(0.5, [prompt])
    echo = "Sure: again in words that a small child who has never seen a field can follow. Here it is."
    found = verdict(gate, echo)
    assert isinstance(found, Drop)
    assert (found.reason, found.measure, found.limit) == ("echoes_instruction", 15, 12)
    assert reason(gate, "again in words that a small child can follow") == ""
    assert reason(gate, echo, meta={"quotes_prompt": True}) == ""
    # What stands on both sides of a variable is not one text.
    assert reason(gate, "Write the passage again in words that a small child who likes it") == ""


def test_the_longest_run() -> None:
    import numpy as np

    assert longest_run(np.array([True, False, True, True, False]), 8) == (9, 2)
    assert longest_run(np.array([False]), 8) == (0, 0)
    assert longest_run(np.array([], bool), 8) == (0, 0)


# Near duplicates


def test_near_duplicates_of_what_was_let_through_are_dropped() -> None:
    gate = NearDuplicateGate(0.8)
    near = SOURCE.replace("thousand", "hundred")
    assert reason(gate, SOURCE) == ""
    found = verdict(gate, near)
    assert isinstance(found, Drop)
    assert found.reason == "near_duplicate"
    assert sample(SOURCE).id in found.detail
    assert found.measure is not None
    assert found.measure >= 0.8
    assert reason(gate, SOURCE) == "exact_duplicate"
    assert reason(gate, OTHER) == ""
    # What was dropped is not remembered.
    assert len(gate.index) == 2
    assert reason(NearDuplicateGate(None), near) == ""


def test_documents_of_earlier_datasets_count(tmp_path: Path) -> None:
    write_dataset(tmp_path / "data", [SEED], made_by="test")
    config = GateConfig(against=(str(tmp_path / "data"),))
    for work in (None, tmp_path / "work", tmp_path / "work"):
        gate = make_gates(config, work=work)[3]
        assert reason(gate, SOURCE) == "exact_duplicate"
        assert reason(gate, SOURCE.replace("thousand", "hundred")) == "near_duplicate"
        found = verdict(gate, SOURCE)
        assert isinstance(found, Drop)
        assert f"data#{SEED.id}" in found.detail
        assert reason(gate, OTHER) == ""


def test_what_it_remembers_on_disk_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near_duplicate, "_SAVED", 2)
    expected = ["", "", "exact_duplicate", "", "exact_duplicate"]
    for threshold in (0.8, 0.8, 0.9):  # a second run finds what the first left, and goes by another limit
        gate = make_gates(GateConfig(near_duplicate_threshold=threshold), work=tmp_path)[3]
        assert [reason(gate, text) for text in (SOURCE, OTHER, SOURCE, GERMAN, OTHER)] == expected
    assert len(list(tmp_path.rglob("part-*.arrow"))) == 2


# Decontamination


def test_a_sample_that_holds_an_item_is_dropped_with_it(tmp_path: Path) -> None:
    evaluation = tmp_path / "set.jsonl"
    evaluation.write_text(json.dumps({"question": OTHER}))
    for work in (None, tmp_path / "work", tmp_path / "work"):
        gate = make_gates(GateConfig(decontaminate=(str(evaluation),)), work=work)[4]
        found = verdict(gate, f"Listen. {OTHER}")
        assert isinstance(found, Drop)
        assert (found.reason, found.limit) == ("shared_13_gram", 13)
        assert "set.jsonl#1" in found.detail
        assert verdict(gate, SOURCE) == Pass(measure=0, limit=13)


# Verifier


class Halves:
    """A verifier of the tests' own: the answer is half of the prompt's number."""

    passed, score, detail = False, 0.0, ""

    def verify(self, problem: Problem, answer: str) -> "Halves":
        made = Halves()
        made.passed = float(answer) * 2 == float(problem.prompt)
        made.score, made.detail = float(made.passed), f"{answer} of {problem.prompt}, reference {problem.answer}"
        return made


def test_the_answer_goes_to_the_verifier_that_the_sample_names() -> None:
    asked: list[str] = []

    def find(name: str) -> Halves:
        asked.append(name)
        return Halves()

    gate = VerifierGate(find)
    assert verdict(gate, "x") == Pass(detail="no verifier")
    right = verdict(gate, "x", prompt="8", answer="4", verifier="halves")
    assert right == Pass(measure=1.0, limit=1.0, detail="4 of 8, reference 4")
    wrong = verdict(gate, "x", prompt="8", answer="5", verifier="halves")
    assert wrong == Drop("not_verified", "halves: 5 of 8, reference 5", 0.0, 1.0)
    assert reason(gate, "x", prompt="8", verifier="halves") == "no_answer"
    assert asked == ["halves", "halves"]


def test_the_last_word_of_a_chat_is_its_answer() -> None:
    chat = tuple(Message(role=role, content=text) for role, text in (("user", "8"), ("assistant", "3")))
    made = sample("x", messages=chat, answer="4", verifier="halves")
    assert response_of(made) == "3"
    found = VerifierGate(lambda _: Halves()).judge(made, SEED)
    assert isinstance(found, Drop)
    assert found.detail == "halves: 3 of 8, reference 4"
    assert response_of(sample("x", chosen="2", answer="4")) == "2"
