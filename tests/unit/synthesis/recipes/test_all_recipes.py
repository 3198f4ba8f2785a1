"""Every recipe of the list: on real documents with an engine in this process, and with broken answers of all kinds.

The same recipes over HTTP: `test_dialogues_end_to_end`, `test_text_recipes_end_to_end`; `bootstrap` asks no server.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tilth import ModelConfig, Tokenizer, Transformer
from tilth.execute import Context
from tilth.inference import Completion, Engine, SamplingParams
from tilth.model import save_model
from tilth.progress import SILENT, Progress
from tilth.storage import Dataset
from tilth.synthesis.config import GateConfig, SynthesisConfig
from tilth.synthesis.define import BUILT_IN, load_recipe
from tilth.synthesis.lineage import lines, origins
from tilth.synthesis.recipes.bootstrap_options import Bootstrap
from tilth.synthesis.run import synthesize
from tilth.synthesis.trial import AnswerFunction, try_recipe
from tilth.teacher.chat_format import ChatFormat
from tilth.teacher.http import HttpTeacher
from tilth.teacher.local import LocalTeacher
from tilth.teacher.loopback import LoopbackServer
from tilth.teacher.request import Answer, GenerationParams, Request, Usage
from tilth.teacher.script import Script, cut, prompt_text
from tilth.types import Document, Message
from unit.synthesis.recipes.test_dialogues_end_to_end import PEOPLE, PLACES, SOURCE_OF, THINGS, rows, written
from unit.synthesis.recipes.test_dialogues_end_to_end import plausible as talk
from unit.synthesis.recipes.test_text_recipes_end_to_end import PARTS, real_documents
from unit.synthesis.recipes.text_answers import ANSWERS
from unit.synthesis.recipes.text_answers import plausible as write

ASKING = sorted(set(BUILT_IN) - {"bootstrap"})
"""Recipes that ask a teacher that they are given."""
GATES = ["parsed", "length", "language", "copy"]


def rate(request: Request, sample: int) -> str:
    return f"Facts in order, {len(prompt_text(request))} characters of them.\nEducational score: 4"


def answerer(name: str) -> Script:
    return rate if name == "annotate" else write_text if name in PARTS else talk


def write_text(request: Request, sample: int) -> str:
    """As `plausible`; of a chat that is one text, a task without a known phrase is its end."""
    said = request.messages[-1].content
    if not any(phrase in said for phrase in ANSWERS):
        request = replace(request, messages=(Message(role="user", content=said[-300:]),))
    return write(request, sample)


def passed(entry: dict[str, Any]) -> list[str]:
    """The gates that a lineage names."""
    return [gate["gate"] for gate in entry.get("gates", [])]


class AnsweringEngine(Engine):
    """An engine that writes what a script says; tokens, batches and all of its teacher are the real ones."""

    script: Script

    def generate(  # type: ignore[override]
        self,
        prompts: Sequence[str] | Sequence[Sequence[int]],
        params: SamplingParams = SamplingParams(),  # noqa: B008
        *,
        seeds: Sequence[int] | None = None,
        stop_texts: Sequence[str] = (),
        progress: Progress = SILENT,
    ) -> list[Completion]:
        return [
            self._completion(prompt, params, seed, tuple(stop_texts))
            for prompt, seed in zip(prompts, seeds or [0] * len(prompts), strict=True)
        ]

    def _completion(
        self, prompt: str | Sequence[int], params: SamplingParams, seed: int, stop: tuple[str, ...]
    ) -> Completion:
        ids = self.tokenizer.encode_ordinary(prompt) if isinstance(prompt, str) else list(prompt)
        asked = Request(
            messages=(Message(role="user", content=self.tokenizer.decode(ids)),), params=GenerationParams(seed=seed)
        )
        text, reason = cut(self.script(asked, 0), GenerationParams(max_tokens=params.max_tokens, stop=stop))
        tokens = tuple(self.tokenizer.encode_ordinary(text))
        return Completion(
            text=text,
            tokens=tokens,
            logprobs=(-1.0,) * len(tokens),
            finish_reason="length" if reason == "length" else "stop",
            prompt_tokens=tuple(ids),
        )


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    texts = [document.text for document in real_documents()]
    return Tokenizer.train(texts, vocab_size=512, special_tokens=["<|endoftext|>"])


@pytest.fixture(scope="module")
def model(tokenizer: Tokenizer) -> Transformer:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Transformer(
            ModelConfig(vocab_size=tokenizer.vocab_size, d_model=16, n_layers=1, n_heads=1, context_length=8192)
        )


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path | None]:
    folder = tmp_path_factory.mktemp("sources")
    people = [
        Document.make(f"A {who} in {where} who repairs {what}.", f"people/{who}")
        for who, what, where in zip(PEOPLE, THINGS, PLACES, strict=False)
    ]
    return {
        "documents": written(real_documents(), folder / "documents"),
        "personas": written(people, folder / "people"),
        "none": None,
    }


def test_every_recipe_is_tried_end_to_end() -> None:
    assert {*PARTS, *SOURCE_OF, "annotate", "bootstrap"} == set(BUILT_IN)


@pytest.mark.parametrize("name", ASKING)
def test_a_recipe_with_the_engine_in_this_process(
    name: str, sources: dict[str, Path | None], tokenizer: Tokenizer, model: Transformer, tmp_path: Path
) -> None:
    """Through chat format, tokens and batches; each sample leads back to its gates, its prompts and its document."""
    source = sources[SOURCE_OF.get(name, "documents")]
    engine = AnsweringEngine(model, tokenizer)
    engine.script = answerer(name)
    config = SynthesisConfig(documents=4, gates=GateConfig(near_duplicate_threshold=None, languages=()))
    teacher = LocalTeacher(engine, name="ours", chat=ChatFormat())
    result = synthesize(source, tmp_path / "out", name, teacher, config, Context(cache=tmp_path / "cache"))
    made = rows(tmp_path / "out" / "samples")
    assert result.complete and result.samples_kept == len(made) > 0 and sum(teacher.batches) > 0
    edited = load_recipe(name).shape == "annotation"  # the document itself, which curation has judged
    assert [gate.gate for gate in result.gates][: len(GATES)] == (["parsed"] if edited else GATES)
    for before, after in itertools.pairwise(result.gates):
        assert after.samples_in == before.samples_out == before.samples_in - sum(before.reasons.values())
    for row in made:
        entry = json.loads(row["lineage"])[-1]
        assert entry["recipe"] == name and {answer["teacher"] for answer in entry["answers"]} == {"ours"}
        (origin,) = origins(row["lineage"], [source] if source else [])
        said = "\n".join(lines(origin))
        for wanted in (f"prompt {name}/", "version", "teacher ours", *(f"{gate}: passed" for gate in passed(entry))):
            assert wanted in said
        assert origin.text is not None or source is None


@pytest.mark.parametrize("name", ASKING)
def test_a_recipe_with_an_untrained_model(
    name: str, sources: dict[str, Path | None], tokenizer: Tokenizer, model: Transformer, tmp_path: Path
) -> None:
    """It writes noise until it is cut off: every answer of it is in the rejects, with the reason and the raw text."""
    source = sources[SOURCE_OF.get(name, "documents")]
    config = SynthesisConfig(documents=2, max_answer_tokens=6, max_dead_letters=1.0)
    teacher = LocalTeacher(Engine(model, tokenizer), name="untrained")
    result = synthesize(source, tmp_path / "out", name, teacher, config, Context(cache=tmp_path / "cache"))
    rejects = rows(tmp_path / "out" / "rejects")
    parsed = result.gates[0]
    assert result.complete and parsed.samples_in - parsed.samples_out == sum(parsed.reasons.values())
    assert len(rejects) == sum(sum(gate.reasons.values()) for gate in result.gates)
    assert rejects or result.documents_lost  # a prompt with the context's length has no answer
    assert all(row["reason"] and (row["text"] or row["reason"] == "empty") for row in rejects if row["key"])


def test_related_documents_by_a_model_of_ones_own(tokenizer: Tokenizer, tmp_path: Path) -> None:
    """The recipe that needs no teacher: trains on pairs of real documents and writes, in this process alone."""
    pieces = [
        Document.make(" ".join(words[at : at + 40]), document.source)
        for document in real_documents()
        for words in [document.text.split()]
        for at in range(0, min(len(words), 400) - 40, 40)
    ]
    own = tmp_path / "model"
    tokenizer.save(own)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        small = ModelConfig(vocab_size=tokenizer.vocab_size, d_model=32, n_layers=1, n_heads=2, context_length=192)
        save_model(Transformer(small), own)
    gates = GateConfig(min_words=1, languages=(), near_duplicate_threshold=None)
    result = synthesize(
        written(pieces, tmp_path / "pieces"), tmp_path / "out", "bootstrap", [],
        SynthesisConfig(documents=5, max_answer_tokens=20, gates=gates), Context(workers=1),
        options=Bootstrap(model=str(own), epochs=1.0, threshold=0.05, neighbours=2, batch_pairs=16),
    )  # fmt: skip
    samples = Dataset.open(tmp_path / "out" / "samples")
    assert result.complete and len(samples) == result.samples_kept > 0
    for row in rows(tmp_path / "out" / "samples"):
        entry = json.loads(row["lineage"])[-1]
        assert entry["recipe"] == "bootstrap" and entry["source_id"] in {piece.id for piece in pieces}


def test_annotation_of_real_documents_over_http(sources: dict[str, Path | None], tmp_path: Path) -> None:
    documents = {document.id: document.text for document in real_documents()}
    with LoopbackServer(rate) as server:
        teacher = HttpTeacher(server.url, "scripted")
        result = synthesize(sources["documents"], tmp_path / "out", "annotate", teacher, SynthesisConfig(), Context())
    made = rows(tmp_path / "out" / "samples")
    assert result.samples_kept == len(made) == len(documents)
    assert {row["id"]: row["text"] for row in made} == documents and {row["score_quality"] for row in made} == {4.0}


# Answers that are none. The first request of a document gets the plausible answer or the broken one; then each further
# request in turn, so that every parser of a recipe of several steps meets them.

REFUSAL = "I'm sorry, but I cannot help with that request."
MALFORMED = {
    "braces": '{"terms": [{"term": "clock", "definition": ',
    "markup": "<html><body><p>" * 3,
    "half a table": "| a | b |\n|---",
    "half a list": "1.\n2.\n-\nQ: \nAnswer",
    "a program": "import os\nos.system('true')",
    "marks": "<<<1a2b3c4d\nthe passage\n1a2b3c4d>>>\nand so on",
    "not a character": "\x00 \u202e \ufeff",
}
BROKEN: dict[str, Callable[[Request, str], str | Answer]] = {
    "empty": lambda request, good: "",
    "refused": lambda request, good: REFUSAL,
    "echo": lambda request, good: prompt_text(request),
    "cut off": lambda request, good: Answer(
        text=good[: len(good) // 2], finish_reason="length", usage=Usage(prompt_tokens=1, completion_tokens=1)
    ),
    **{name: (lambda request, good, text=text: text) for name, text in MALFORMED.items()},
}
TEXT = Document.make("Clocks hang in the towers of many towns, and people repair them in the winter.\n" * 12, "clocks")
PERSON = Document.make("A tram driver in Brno who repairs clocks.", "people")
STRICT = {"annotate", "extract-json", "finephrase", "prox"}
"""Recipes of which every step has a form; to a step that takes free text, half a table is a text."""


@pytest.mark.parametrize("kind", BROKEN)
@pytest.mark.parametrize("name", sorted(BUILT_IN))
def test_whatever_is_answered_at_whichever_step(name: str, kind: str) -> None:
    recipe, good = load_recipe(name), answerer(name)
    document = PERSON if SOURCE_OF.get(name) == "personas" else TEXT
    step = 0
    while True:
        asked: list[Request] = []

        def answer(request: Request, sample: int, asked: list[Request] = asked, step: int = step) -> str | Answer:
            asked.append(request)
            right = good(request, sample)
            return BROKEN[kind](request, right) if len(asked) == step + 1 else right

        trial = try_recipe(recipe, [document], answer)
        if len(asked) <= step:
            break
        used = [reply.reply.answer for draft in trial.drafts[0] for reply in draft.replies]
        broken = BROKEN[kind](asked[step], good(asked[step], 0))
        taken = any(answer == broken or answer.text == broken for answer in used)
        if kind in MALFORMED:
            assert trial.rejected or name not in STRICT, "malformed, and nobody said so"
            assert not (taken and name in STRICT)
        else:
            assert recipe.allow_cut_off or not taken, "what is no answer is in a sample"
            assert trial.rejected or trial.drafts[0]
        assert all(re.fullmatch(r"[a-z0-9_]+", reason) for reason in trial.reasons)
        for draft in trial.drafts[0]:
            json.dumps(draft.meta, ensure_ascii=False)
            draft.text.encode()
        step += 1
        assert step < 60
    assert step > 0


def test_the_plausible_answers_are_taken() -> None:
    """Or the test above would show nothing."""
    for name in ASKING:
        good: AnswerFunction = answerer(name)
        document = PERSON if SOURCE_OF.get(name) == "personas" else TEXT
        assert try_recipe(load_recipe(name), [document], good).drafts[0], name
