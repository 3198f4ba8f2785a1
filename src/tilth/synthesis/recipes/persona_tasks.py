"""Tasks of a persona: what the person would ask, answered; and mathematical problems with a result to check."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from decimal import Decimal

from tilth.errors import ConfigError
from tilth.synthesis.define import Ask, Draft, Rejected, recipe
from tilth.synthesis.recipes.demands import Demand, draw_demands
from tilth.synthesis.recipes.personas import SOURCE
from tilth.synthesis.recipes.turns import assistant_message, last_lines, user_message
from tilth.synthesis.verify.instructions import Instructions
from tilth.teacher.request import GenerationParams
from tilth.types import Document, Message, Problem

LEVELS = {"school": 2.0, "college": 2.0, "expert": 1.0}
LEVEL_TEXTS = {
    "school": "what is taught at school is enough for it",
    "college": "it takes what a first course at college teaches of the subject",
    "expert": "it takes the experience of someone who works in the subject",
}
VERIFIER = "number"
"""What verifies answers to the problems (`tilth.synthesis.verify.verifier`)."""


@dataclass(frozen=True, kw_only=True)
class PersonaTask:
    """Ask as a persona would, and answer."""

    constraints: int = 3
    """Most demands on the form of the answer in an instruction; 1 or more are drawn."""
    min_followed: float = 1.0
    """Smallest share of these demands that an answer must follow, by the verifier `instructions`."""

    def __post_init__(self) -> None:
        if not 1 <= self.constraints <= 5:
            raise ConfigError(f"`constraints` is {self.constraints}.", fix="Give 1 to 5.")
        if not 0 <= self.min_followed <= 1:
            raise ConfigError(f"`min_followed` is {self.min_followed}.", fix="Give a share from 0 to 1.")


@dataclass(frozen=True, kw_only=True)
class PersonaProblem:
    """Mathematical problems whose answer is what independent solutions agree on."""

    solutions: int = 3
    """Independent solutions of each problem."""
    min_agree: int = 2
    """Fewest of them that must come to the same result."""

    def __post_init__(self) -> None:
        if not 1 <= self.min_agree <= self.solutions:
            raise ConfigError(
                f"`min_agree` is {self.min_agree} of {self.solutions} solutions.",
                fix="Give 1 <= min_agree <= solutions.",
            )


@recipe(
    "persona-task",
    version=1,
    shape="chat",
    prompts=("maths", "instruction", "code", "knowledge", "answer"),
    options=PersonaTask,
    params=GenerationParams(max_tokens=1024, temperature=0.7, top_p=0.95),
    axes={"task": {"maths": 1, "instruction": 1, "code": 1, "knowledge": 1}, "level": LEVELS},
    source=SOURCE + "; constraints as in Lambert et al. 2024 (Tulu 3)",
)
async def persona_task(document: Document, ask: Ask) -> list[Draft]:
    """Have a persona set a task (maths, instruction with demands on the form, code, knowledge), and answer it."""
    task, demands = ask.cell["task"], list[Demand]()
    variables: dict[str, object] = {"persona": document.text, "level": LEVEL_TEXTS[ask.cell["level"]]}
    meta: dict[str, object] = {"task": task, "level": ask.cell["level"]}
    if task == "instruction":
        demands = draw_demands(ask.rng, int(ask.rng.integers(1, ask.options.constraints + 1)))
        variables = {"persona": document.text, "constraints": [demand.text for demand in demands]}
        meta = {"task": task, "constraints": [demand.check for demand in demands]}
    question = await ask(task, variables, user_message(min_words=5, max_words=400))
    answer = await ask("answer", {"question": question.value}, assistant_message)
    if task == "instruction":
        meta["followed"] = _followed(question.value, answer.value, [dict(demand.check) for demand in demands], ask)
    messages = (Message(role="user", content=question.value), Message(role="assistant", content=answer.value))
    return [Draft(messages=messages, replies=(question, answer), part=task, meta=meta)]


def _followed(question: str, answer: str, constraints: list[dict[str, object]], ask: Ask) -> float:
    """Returns the share of the demands that an answer follows. Raises: Rejected where it is too small."""
    problem = Problem.make(question, verifier="instructions")
    verdict = Instructions(constraints=tuple(constraints)).verify(problem, answer)
    if verdict.score < ask.options.min_followed:
        raise Rejected("demands_not_met", verdict.detail)
    return verdict.score


@recipe(
    "persona-problem",
    version=1,
    shape="problem",
    prompts=("problem", "solve"),
    options=PersonaProblem,
    params=GenerationParams(max_tokens=1024, temperature=0.7, top_p=0.95),
    axes={"level": LEVELS},
    source=SOURCE + "; the answer by vote as in Wang et al. 2023 (self-consistency)",
)
async def persona_problem(document: Document, ask: Ask) -> list[Draft]:
    """Have a persona set a mathematical problem, whose answer is what independent solutions agree on."""
    level = ask.cell["level"]
    variables = {"persona": document.text, "level": LEVEL_TEXTS[level]}
    problem = await ask("problem", variables, user_message(min_words=8, max_words=400))
    solved = await ask.samples("solve", {"problem": problem.value}, parse_result, n=ask.options.solutions)
    votes = Counter(solution.value for solution in solved)
    # Of equal counts the smaller text, whatever order they came in.
    answer, agree = min(votes.items(), key=lambda vote: (-vote[1], vote[0]), default=("none", 0))
    if agree < ask.options.min_agree:
        raise Rejected("no_agreement", ", ".join(f"{n} x {value}" for value, n in sorted(votes.items())))
    if answer == "none":
        raise Rejected("unsolvable", f"{agree} of {len(solved)} solutions say so")
    replies = (problem, *(solution for solution in solved if solution.value == answer))
    meta = {"level": level, "agree": agree, "solutions": len(solved)}
    return [Draft(prompt=problem.value, answer=answer, verifier=VERIFIER, replies=replies, part=level, meta=meta)]


_NUMBER = r"[-+−]?\d{1,15}(?:,\d{3})*(?:\.\d{1,15})?"
_SIGNS = r"(?:\\\(|\\\[|\\boxed\{|\\?[$€£]|\\\)|\\\]|\})"
_RESULT = last_lines({"Answer": rf"none|{_SIGNS}{{0,3}}[ \t]?{_NUMBER}[ \t]?{_SIGNS}{{0,3}}"})


def parse_result(answer: str) -> str:
    """Returns the number in the last line `Answer: <number>`, in plain digits, or `none`.

    A sign of currency, a box and the signs around a formula are left aside; units are not, since they may be others.
    Raises: as `last_lines`.
    """
    value = re.sub(rf"{_SIGNS}|[\s,]", "", _RESULT(answer)["Answer"]).replace("−", "-").lstrip("+")
    if value == "none":
        return value
    number = Decimal(value).normalize()
    return f"{number + 0:f}"  # `+ 0`: no negative zero
