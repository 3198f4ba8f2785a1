"""Self-instruct: from tasks written by hand, new tasks, and instances of each."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import cast

import numpy as np

from tilth.errors import ConfigError, DataError
from tilth.synthesis.define import Ask, Draft, Parsed, ParseError, recipe
from tilth.synthesis.parse import content, prose, strip_markdown
from tilth.teacher.request import GenerationParams
from tilth.types import Document, Message

CLASSIFY = GenerationParams(temperature=0.0)
SEED_TASKS = Path(__file__).parent / "seed_tasks.jsonl"
"""Tasks that were written by hand for this package."""
_BEYOND_TEXT = re.compile(
    r"\b(?:images?|pictures?|photos?|photographs?|videos?|audio|screenshots?|flowcharts?|graphs?|diagrams?|links?|urls?"
    r"|draw (?:a|an|the|me) (?!conclusion|comparison|parallel|lesson|distinction)"
    r"|plot (?:a|the) (?:function|data|curve)"
    r"|sketch an?|(?:the|this|attached|following) (?:files?|charts?|maps?|websites?|web ?pages?)|browse|download|upload"
    r"|go to the|play the (?:song|clip|recording))\b",
    re.IGNORECASE,
)
"""Words of tasks that a model which reads and writes text cannot do."""
_BETWEEN = re.compile(r"(?:(?:example|instance) ?\d{0,3})?", re.IGNORECASE)
_PIN = re.compile(r"#([0-9a-f]{12})\Z")
_ITEM = re.compile(r"[ \t]*(?:\d{1,3}[.)]|[-*•])[ \t]+(?=\S)")
_FIELD = re.compile(r"^[ \t*#]*(?:\d{1,2}[.)][ \t*]+)?(input|output)[ \t*]*:[ \t*]*", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class SelfInstruct:
    """New tasks from tasks written by hand."""

    seed_tasks: str = ""
    """JSONL: `instruction`, and `is_classification: true` where it is one; empty: 42 that come with tilth."""
    shown: int = 8
    """Tasks that are shown to the teacher each time."""
    new: int = 4
    """Tasks that are asked for each time."""
    instances: int = 2
    """Instances that are asked for of each new task."""
    max_similarity: float = 0.7
    """Largest ROUGE-L of a new task to a seed task, or to another one of the same answer."""

    def __post_init__(self) -> None:
        if min(self.shown, self.new, self.instances) < 1:
            raise ConfigError(
                f"`shown` is {self.shown}, `new` {self.new} and `instances` {self.instances}.", fix="Give 1 or more."
            )
        if not 0 < self.max_similarity <= 1:
            raise ConfigError(f"`max_similarity` is {self.max_similarity}.", fix="Give a number above 0 and up to 1.")
        if self.seed_tasks:
            # With the file's hash, the options name the tasks and not only a place: a changed file is another run.
            object.__setattr__(self, "seed_tasks", _pinned(self.seed_tasks))
            read_seed_tasks(self.seed_tasks)


@dataclass(frozen=True)
class Task:
    """A seed task."""

    instruction: str
    is_classification: bool = False


@dataclass(frozen=True)
class Instance:
    """What a task is done on (empty: nothing), and what comes out."""

    input: str
    output: str


@recipe(
    "self-instruct",
    version=1,
    shape="chat",
    prompts=("instructions", "classify", "input-first", "output-first"),
    options=SelfInstruct,
    params=GenerationParams(max_tokens=1024, temperature=0.9, top_p=0.95),
    needs_documents=False,
    source="Wang et al. 2022, Self-Instruct",
)
async def self_instruct(document: Document, ask: Ask) -> list[Draft]:
    """Show hand-written tasks, have new ones written, and then instances: output first where it is a classification."""
    options: SelfInstruct = ask.options
    seeds = read_seed_tasks(options.seed_tasks)
    shown = draw_tasks(seeds, document.text, options.shown, ask.rng)
    numbered = "\n".join(f"{number}. {task}" for number, task in enumerate(shown, start=1))
    variables: dict[str, object] = {"tasks": numbered, "new": options.new}
    written = await ask("instructions", variables, parse_instructions)
    tasks = _filtered(written.value[: options.new], [*(seed.instruction for seed in seeds), *shown], ask)
    kinds = await ask.each(
        [("classify", {"task": task}) for task in tasks], parse_yes_no, params=CLASSIFY, is_judgement=True
    )
    known = [(task, kind) for task, kind in zip(tasks, kinds, strict=True) if kind is not None]
    asked = [
        ("output-first" if kind.value else "input-first", {"task": task, "instances": options.instances})
        for task, kind in known
    ]
    drafts: list[Draft] = []
    for (task, kind), made in zip(known, await ask.each(asked, parse_instances), strict=True):
        if made is not None:
            drafts += _drafts(task, (written, kind, made), made.value[: options.instances], kind.value)
    return drafts


def _drafts(
    task: str,
    replies: tuple[Parsed[list[str]], Parsed[bool], Parsed[list[Instance]]],
    made: Sequence[Instance],
    label: bool,
) -> list[Draft]:
    part = "classification" if label else "generation"
    return [
        Draft(
            messages=(
                Message(role="user", content=f"{task}\n\n{instance.input}" if instance.input else task),
                Message(role="assistant", content=instance.output),
            ),
            replies=replies,
            part=part,
            meta={"instruction": task, "is_classification": label},
        )
        for instance in made
    ]


def _filtered(tasks: Sequence[str], seeds: Sequence[str], ask: Ask) -> list[str]:
    """Returns the tasks that are new, of a fair length, and about text; the others are recorded."""
    kept: list[str] = []
    others = [words_of(seed) for seed in seeds]
    for task in tasks:
        words = words_of(task)
        beyond = _BEYOND_TEXT.search(task)
        similarity = max((rouge_l(words, other) for other in others), default=0.0)
        if not 3 <= len(words) <= 150:
            ask.reject("task_length", f"{len(words)} words", raw=task)
        elif beyond is not None:
            ask.reject("not_a_text_task", beyond[0].lower(), raw=task)
        elif similarity > ask.options.max_similarity:
            ask.reject("similar_task", f"ROUGE-L {similarity:.2f} > {ask.options.max_similarity}", raw=task)
        else:
            kept.append(task)
            others.append(words)
    return kept


def draw_tasks(seeds: Sequence[Task], task: str, n: int, rng: np.random.Generator) -> list[str]:
    """Returns `n` tasks in random order: the given one if there is one, a quarter classifications, and others."""
    labels = [seed.instruction for seed in seeds if seed.is_classification]
    free = [seed.instruction for seed in seeds if not seed.is_classification]
    drawn = [" ".join(task.split())] if task.strip() else []
    for group, size in ((labels, n // 4), (free, n)):
        for index in rng.permutation(len(group))[:size].tolist():
            drawn.append(group[index])
    drawn = drawn[:n]
    return [drawn[index] for index in rng.permutation(len(drawn)).tolist()]


def _pinned(path: str) -> str:
    """Returns `path#hash` of a file. Raises: ConfigError; DataError where a hash is given that is not its own."""
    file, pin = Path(_PIN.sub("", path)), _PIN.search(path)
    if not file.is_file():
        raise ConfigError(f"There is no file of seed tasks at {file}.", fix="Give a JSONL file in `seed_tasks`.")
    digest = hashlib.sha256(file.read_bytes()).hexdigest()[:12]
    if pin is not None and pin[1] != digest:
        raise DataError(f"The seed tasks in {file} have changed: they were {pin[1]}, and are {digest}.")
    return f"{file}#{digest}"


@lru_cache(maxsize=8)
def read_seed_tasks(path: str) -> tuple[Task, ...]:
    """Reads seed tasks, `path#hash` or a path; empty: those of the package. Raises: DataError with the line."""
    file = Path(_PIN.sub("", path)) if path else SEED_TASKS
    tasks: list[Task] = []
    for number, line in enumerate(file.read_text(encoding="utf-8").split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row: object = json.loads(line)
        except ValueError as error:
            raise DataError(f"{file}, line {number}: no JSON: {error}.") from None
        fields = cast("Mapping[str, object]", row) if isinstance(row, Mapping) else {}
        instruction = fields.get("instruction")
        if not isinstance(instruction, str) or not instruction.strip():
            raise DataError(f"{file}, line {number}: there is no `instruction`.", fix="Give each line one, as a text.")
        tasks.append(Task(" ".join(instruction.split()), fields.get("is_classification") is True))
    if not tasks:
        raise DataError(f"{file} has no tasks.", fix="Give a JSONL file with an `instruction` on each line.")
    return tuple(tasks)


def parse_instructions(answer: str) -> list[str]:
    """Returns the items of a numbered list. Raises: ParseError `not_a_list`; as `content`."""
    lines = [line for line in content(answer).split("\n") if line.strip()]
    found = [
        strip_markdown(line[mark.end() :]).strip().strip("*").strip() for line in lines if (mark := _ITEM.match(line))
    ]
    if not found or len(found) < len(lines) - 1:  # a title before the list is left aside
        raise ParseError("not_a_list", "\n".join(lines)[:100])
    return [task for task in found if task]


def parse_yes_no(answer: str) -> bool:
    """Returns whether an answer is yes; what follows the word is left aside.

    Raises: ParseError `not_yes_or_no`; as `prose`.
    """
    text = prose(answer)
    found = re.match(
        r"(?:answer:[ \t]*)?[\"']?(yes|no)\b[\"']?(?=[\s.,;:!–—-]|$)(?!,? (?:or|and) )", text, re.IGNORECASE
    )
    if found is None:
        raise ParseError("not_yes_or_no", text[:100])
    return found[1].lower() == "yes"


def parse_instances(answer: str) -> list[Instance]:
    """Returns pairs of `Input:` and `Output:`, in either order, the same throughout.

    Left out: repeated ones, those whose output is their input, and all of an input that has different outputs.
    Raises: ParseError `no_instances`, `text_before_instances`, `incomplete_instance`, `mixed_order`,
    `no_usable_instances`; as `content`.
    """
    text = content(answer)
    marks = list(_FIELD.finditer(text))
    if not marks:
        raise ParseError("no_instances", text[:100])
    if len(text[: marks[0].start()].strip()) > 120:  # more than a title
        raise ParseError("text_before_instances", text[:100])
    ends = [*(mark.start() for mark in marks[1:]), len(text)]
    names = [mark[1].lower() for mark in marks]
    values = [_value(text[mark.end() : end]) for mark, end in zip(marks, ends, strict=True)]
    if len(names) % 2 or set(names[:2]) != {"input", "output"}:
        raise ParseError("incomplete_instance", " ".join(names)[:100])
    if names != names[:2] * (len(names) // 2):
        raise ParseError("mixed_order", " ".join(names)[:100])
    pairs = [dict(zip(names[:2], values[at : at + 2], strict=True)) for at in range(0, len(values), 2)]
    outputs: dict[str, set[str]] = {}
    for pair in pairs:
        outputs.setdefault(pair["input"], set()).add(pair["output"])
    found = [
        Instance(text, next(iter(answers)))
        for text, answers in outputs.items()
        if len(answers) == 1 and answers not in ({""}, {text})
    ]
    if not found:
        raise ParseError("no_usable_instances", f"{len(pairs)} pairs")
    return found


def _value(text: str) -> str:
    """Returns a field without the rule or title before the example that follows it; `none` is no input."""
    lines = text.strip().split("\n")
    while len(lines) > 1 and _BETWEEN.fullmatch(lines[-1].strip(" \t*#:-")):
        lines.pop()
    text = "\n".join(lines).strip()
    return "" if text.strip("<>. ").lower() in ("none", "noinput", "no input", "n/a") else text


def words_of(text: str) -> list[str]:
    """Returns the words of a text, in lower case."""
    return re.findall(r"\w+", text.lower())


def rouge_l(left: Sequence[str], right: Sequence[str]) -> float:
    """Returns ROUGE-L of two texts as words: the F-measure of their longest common subsequence. Source: Lin 2004."""
    if not left or not right:
        return 0.0
    lengths = [0] * (len(right) + 1)
    for word in left:
        before = 0
        for at, other in enumerate(right, start=1):
            above = lengths[at]
            lengths[at] = before + 1 if word == other else max(above, lengths[at - 1])
            before = above
    return 2 * lengths[-1] / (len(left) + len(right))
