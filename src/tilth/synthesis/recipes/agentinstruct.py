"""AgentInstruct: a text becomes another kind of text, that a task, the task a harder one, and that is answered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tilth.errors import ConfigError
from tilth.synthesis.parse import content
from tilth.synthesis.passages import first_characters
from tilth.synthesis.recipe import Ask, Draft, Parsed, ParseError, Rejected, recipe
from tilth.synthesis.recipes.active_reading import distinct_items
from tilth.teacher.faults import DeadLetter
from tilth.teacher.request import GenerationParams
from tilth.types import Document, Message

TRANSFORMATIONS = {
    "an argument": "Somebody defends a claim with reasons and answers the best objection to it.",
    "a debate": "Two people with names disagree, answer each other, and do not come to agree.",
    "a record of a meeting": "Several people report, object, decide, and take on work with dates.",
    "an interview": "A well-prepared interviewer asks, and somebody who knows the subject answers in detail.",
    "a case study": "A situation, what was done, what came of it, with the numbers that are needed to judge it.",
    "a manual": "What the reader can do, in which order, with conditions, exceptions and warnings.",
    "a reference of functions": "What a small software library on the subject would offer: for each function its "
    "name, its parameters with their types, what it returns, and an example.",
    "a long passage of non-fiction": "A full, connected treatment, as in a book, with causes and consequences.",
    "an exchange of letters": "Two people write to each other over some time, and one of them learns something.",
    "a report with figures": "Findings in numbers, in sentences and in a table, with what they do not show.",
}
"""Kind of text -> what it is like."""
TASKS = {
    "reading, a literal question": "The answer stands in a text, which the task quotes.",
    "reading, an inference": "The answer follows from a text, which the task quotes, but does not stand in it.",
    "reading, strengthen or weaken": "Which new fact would strengthen or weaken an argument, which the task quotes?",
    "editing, style": "A text, which the task quotes, is to be rewritten for other readers or in another tone.",
    "editing, constraints": "A text, which the task quotes, is to be shortened or changed under exact conditions.",
    "summary": "A text, which the task quotes, is to be summarised for a stated purpose, in a stated length.",
    "extraction": "Stated pieces of information are to be taken from a quoted text into a list or a table.",
    "classification": "Several short quoted texts are to be sorted into stated classes, with reasons.",
    "writing": "A text is to be written from stated facts, for stated readers.",
    "reasoning, a chain": "A question whose answer takes three or more steps from stated facts.",
    "reasoning, a flaw": "An argument, which the task quotes, has a flaw that is to be found and explained.",
    "mathematics": "A word problem with numbers, all of which the task states, and one answer.",
    "code": "A small program is to be written, with what goes in, what comes out, and an example.",
    "code, a mistake": "A short program, which the task quotes, has a mistake that is to be found and mended.",
    "planning": "A plan under limits of time, money or people, all of which the task states.",
    "advice": "Somebody describes a situation and asks what to do, where no answer is best in every respect.",
    "explanation": "A concept is to be explained to stated readers, with an example.",
    "comparison": "Two or more things are to be compared by stated measures, with a judgement.",
    "role play": "The assistant is to speak as a stated person in a stated situation.",
    "tools": "Functions with parameters are described; the task is to say which calls meet a request.",
}
"""Kind of task -> what makes it one."""


@dataclass(frozen=True, kw_only=True)
class AgentInstruct:
    """Tasks with answers, in three flows: transformation, instruction, refinement."""

    tasks: int = 2
    """Tasks that are made of a document, each of a transformation and of a kind of its own."""
    suggestions: int = 3
    """Changes that are proposed to a task; one of them, chosen at random, is made. 0: tasks stay as they are."""
    max_characters: int = 8000
    """How much of a document is shown, from its beginning."""

    def __post_init__(self) -> None:
        most = min(len(TRANSFORMATIONS), len(TASKS))
        if not 1 <= self.tasks <= most:
            raise ConfigError(f"`tasks` is {self.tasks}.", fix=f"Give 1 to {most}.")
        if not 0 <= self.suggestions <= 10 or self.max_characters < 1:
            raise ConfigError(
                f"`suggestions` is {self.suggestions} and `max_characters` {self.max_characters}.",
                fix="Give 0 to 10 suggestions, and show 1 character or more.",
            )


def task_text(answer: str) -> str:
    """Returns a task as a user would send it. Raises: as `parse.content`; `too_short`, `solved` (with its answer)."""
    text = content(answer)
    if len(text.split()) < 5:
        raise ParseError("too_short", text)
    last = text.rpartition("\n\n")[2].lower().lstrip("*# ")
    if last.startswith(("answer:", "solution:", "response:", "assistant:")):
        raise ParseError("solved", last[:100])
    return text.removeprefix("Task:").strip()


@recipe(
    "agentinstruct",
    version=1,
    shape="chat",
    prompts=("transform", "instruct", "suggest", "edit", "respond"),
    options=AgentInstruct,
    params=GenerationParams(max_tokens=2048, temperature=0.8, top_p=0.95),
    source="Mitra et al. 2024, AgentInstruct",
)
async def agentinstruct(document: Document, ask: Ask) -> list[Draft]:
    """Tasks of many kinds, made from transformed documents, made harder by suggestions, and answered."""
    shown = first_characters(document.text, ask.options.max_characters)
    if not shown.text:
        raise Rejected("empty_document")
    kinds = _chosen(TRANSFORMATIONS, ask.options.tasks, ask.rng)
    tasks = _chosen(TASKS, ask.options.tasks, ask.rng)
    turns = ask.rng.integers(0, 10**6, size=len(tasks)).tolist()
    drafts: list[Draft] = []
    for kind, task, turn in zip(kinds, tasks, turns, strict=True):
        try:
            replies = await _flow(shown.text, kind, task, turn, ask)
        except ParseError:
            continue  # recorded by the ask; the document's other tasks are worth having
        except DeadLetter:
            if not drafts:
                raise
            continue
        messages = (
            Message(role="user", content=str(replies[-1].variables["task"])),
            Message(role="assistant", content=replies[-1].value),
        )
        meta = {"transformation": kind, "task": task}
        drafts.append(Draft(messages=messages, replies=tuple(replies), span=shown.span, part=task, meta=meta))
    return drafts


async def _flow(document: str, kind: str, task: str, turn: int, ask: Ask) -> list[Parsed[str]]:
    """Returns all answers on the way to a task's answer, which is the last."""
    transformed = await ask(
        "transform", {"document": document, "kind": kind, "direction": TRANSFORMATIONS[kind]}, content
    )
    posed = await ask("instruct", {"text": transformed.value, "task": task, "direction": TASKS[task]}, task_text)
    replies = [transformed, posed]
    if n := ask.options.suggestions:
        proposed = await ask("suggest", {"task": posed.value, "n": n}, lambda answer: "\n".join(distinct_items(answer)))
        lines = proposed.value.split("\n")[:n]
        edited = await ask("edit", {"task": posed.value, "suggestion": lines[turn % len(lines)]}, task_text)
        replies += [proposed, edited]
    return [*replies, await ask("respond", {"task": replies[-1].value}, content)]


def _chosen(kinds: Mapping[str, str], n: int, rng: np.random.Generator) -> list[str]:
    names = list(kinds)
    return [names[index] for index in rng.choice(len(names), size=n, replace=False)]
