"""AgentInstruct: a text becomes another kind of text, that a task, the task a harder one, and that is answered."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tilth.errors import ConfigError
from tilth.synthesis.define import Ask, Draft, Parsed, ParseError, Parser, Rejected, Span, recipe
from tilth.synthesis.parse import content
from tilth.synthesis.passages import first_characters
from tilth.synthesis.recipes.active_reading import distinct_items
from tilth.teacher.request import GenerationParams
from tilth.types import Document, Message

TRANSFORMATIONS = {
    "an argument": "Someone defends a claim with reasons and answers the best objection to it.",
    "a debate": "Two people with names disagree, answer each other, and do not reach agreement.",
    "a record of a meeting": "Several people report, object, decide, and take on work with dates.",
    "an interview": "A well-prepared interviewer asks, and someone who knows the subject answers in detail.",
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
    "reading, a literal question": "The answer is stated in a text, which the task quotes.",
    "reading, an inference": "The answer follows from a text, which the task quotes, but is not stated there.",
    "reading, strengthen or weaken": "Which new fact would strengthen or weaken an argument, which the task quotes?",
    "editing, style": "A text, which the task quotes, is to be rewritten for other readers or in another tone.",
    "editing, constraints": "A text, which the task quotes, is to be shortened or changed under exact conditions.",
    "summary": "A text, which the task quotes, is to be summarised for a stated purpose, in a stated length.",
    "extraction": "Stated pieces of information are to be taken from a quoted text into a list or a table.",
    "classification": "Several short quoted texts are to be sorted into stated classes, with reasons.",
    "writing": "A text is to be written from stated facts, for stated readers.",
    "reasoning, a chain": "A question whose answer takes three or more steps from stated facts.",
    "reasoning, a flaw": "An argument, which the task quotes, has a flaw that is to be found and explained.",
    "mathematics": "A word problem with numbers, all stated in the task, and one answer.",
    "code": "A small program is to be written, with what goes in, what comes out, and an example.",
    "code, a mistake": "A short program, which the task quotes, has a mistake that is to be found and fixed.",
    "planning": "A plan under limits of time, money or people, all of which the task states.",
    "advice": "Someone describes a situation and asks what to do, where no answer is best in every respect.",
    "explanation": "A concept is to be explained to stated readers, with an example.",
    "comparison": "Two or more things are to be compared by stated measures, with a judgement.",
    "role play": "The assistant is to speak as a stated person in a stated situation.",
    "tools": "Functions with parameters are described; the task is to say which calls meet a request.",
}
"""Kind of task -> what makes it one."""


_LABEL = re.compile(r"\A[*#_ ]{0,6}(?:(?:the|new|edited|revised|final) )?task[*_ ]{0,3}:[*_ \t]*", re.IGNORECASE)


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
    text = _LABEL.sub("", text).strip()
    last = text.rpartition("\n\n")[2].lower().lstrip("*# ")
    if last.startswith(("answer:", "solution:", "response:", "assistant:")):
        raise ParseError("solved", last[:100])
    return text


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
    flows = [_Flow(kind, task, turn) for kind, task, turn in zip(kinds, tasks, turns, strict=True)]
    flows = await _stage("transform", flows, lambda flow: flow.of_document(shown.text), content, ask)
    flows = await _stage("instruct", flows, _Flow.of_text, task_text, ask)
    if ask.options.suggestions:
        n: int = ask.options.suggestions
        flows = await _stage("suggest", flows, lambda flow: {"task": flow.last, "n": n}, distinct_items, ask)
        flows = await _stage("edit", flows, lambda flow: flow.of_suggestion(n), task_text, ask)
    flows = await _stage("respond", flows, lambda flow: {"task": flow.last}, content, ask)
    return [flow.draft(shown.span) for flow in flows]


@dataclass(frozen=True)
class _Flow:
    """One task on its way; an answer that cannot be parsed ends it."""

    kind: str
    task: str
    turn: int
    """Chooses the suggestion."""
    replies: tuple[Parsed[Any], ...] = ()

    @property
    def last(self) -> Any:
        return self.replies[-1].value

    def of_document(self, document: str) -> dict[str, object]:
        return {"document": document, "kind": self.kind, "direction": TRANSFORMATIONS[self.kind]}

    def of_text(self) -> dict[str, object]:
        return {"text": self.last, "kind": self.task, "direction": TASKS[self.task]}

    def of_suggestion(self, n: int) -> dict[str, object]:
        suggestions = self.last[:n]
        return {"task": self.replies[-2].value, "suggestion": suggestions[self.turn % len(suggestions)]}

    def draft(self, span: Span) -> Draft:
        posed, answered = self.replies[-1].variables["task"], self.last
        messages = (Message(role="user", content=str(posed)), Message(role="assistant", content=answered))
        meta = {"transformation": self.kind, "task": self.task}
        return Draft(messages=messages, replies=self.replies, span=span, part=self.task, meta=meta)


async def _stage(
    prompt: str, flows: list[_Flow], variables: Callable[[_Flow], dict[str, object]], parse: Parser[Any], ask: Ask
) -> list[_Flow]:
    """Takes all flows one step further, side by side."""
    replies = await ask.each([(prompt, variables(flow)) for flow in flows], parse)
    return [
        replace(flow, replies=(*flow.replies, reply))
        for flow, reply in zip(flows, replies, strict=True)
        if reply is not None
    ]


def _chosen(kinds: Mapping[str, str], n: int, rng: np.random.Generator) -> list[str]:
    names = list(kinds)
    return [names[index] for index in rng.choice(len(names), size=n, replace=False)]
