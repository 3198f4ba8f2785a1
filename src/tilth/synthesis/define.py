"""What a recipe is: an async function from a document to drafts, with its prompt files, its options and its shape.

    @recipe("wrap", version=1, shape="text", prompts=("easy", "qa"), options=Wrap)
    async def wrap(document: Document, ask: Ask) -> list[Draft]:
        replies = await ask.each([(style, {"passage": p.text}) for p in ... for style in ask.options.styles])
        return [Draft(text=reply.value, replies=(reply,), span=...) for reply in replies]

A recipe sees a document and an `Ask`; it chooses neither teacher nor file nor tool, and what a document says can
change none of them. Everything random comes from `ask.rng`, which the document's id and the run's seed fix.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol, TypeVar

import numpy as np

from tilth.errors import ConfigError
from tilth.teacher.request import GenerationParams, Reply
from tilth.types import Document, Message

if TYPE_CHECKING:
    from tilth.execute import Context
    from tilth.storage import Dataset
    from tilth.teacher.request import Teacher

T = TypeVar("T")
Shape = Literal["text", "chat", "preference", "problem", "annotation"]
"""What columns its samples have: `text`; also `messages`; `prompt, chosen, rejected`; `prompt, answer, verifier`;
`annotation`: the document itself with `score_<name>`, or edited."""
Span = tuple[int, int]
"""Begin and end in the source document's text, in bytes of UTF-8."""
Parser = Callable[[str], T]
"""Turns an answer into a value. Raises: ParseError."""


class ParseError(Exception):
    """An answer does not have the form that was asked for. `reason` is a short name that counts alike in the ledger."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason, self.detail = reason, detail


class Rejected(Exception):  # noqa: N818 (a verdict, not a fault)
    """Raised by a recipe: nothing can be made of this document, for a reason that the ledger counts."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason, self.detail = reason, detail


@dataclass(frozen=True, kw_only=True)
class Parsed(Generic[T]):
    """An answer that could be parsed."""

    value: T
    reply: Reply
    prompt: str
    """Name of the prompt file, such as `wrap/easy`."""
    prompt_version: int
    variables: Mapping[str, object]
    """What the prompt was rendered with."""

    @property
    def text(self) -> str:
        """The raw answer."""
        return self.reply.text


@dataclass(frozen=True, kw_only=True)
class Draft:
    """What a recipe made, before the gates; only the fields of its shape are set."""

    text: str = ""
    """Empty for a chat, a preference or a problem: then it is rendered from their fields."""
    replies: tuple[Parsed[Any], ...] = ()
    """All answers that it was made from: they become its lineage."""
    span: Span | None = None
    """What of the source document it was made from; None: all of it."""
    part: str = ""
    """Which kind of the recipe's products it is, such as the style; counted apart in the ledger."""
    messages: tuple[Message, ...] = ()
    prompt: str | None = None
    chosen: str | None = None
    rejected: str | None = None
    answer: str | None = None
    verifier: str | None = None
    scores: Mapping[str, float] = field(default_factory=dict[str, float])
    meta: Mapping[str, object] = field(default_factory=dict[str, object])
    """What the gate `copy` reads of it: `appends_source` (true: the text holds its source on purpose, and is judged on
    the rest) and `quotes_prompt` (true: it holds text of its prompt file on purpose)."""
    keeps_id: bool = False
    """The sample is the source document itself, annotated or edited: it keeps that one's id and source."""


class Ask(Protocol):
    """A recipe's only way to a teacher, made for one document."""

    @property
    def options(self) -> Any:
        """The recipe's options."""
        ...

    @property
    def rng(self) -> np.random.Generator:
        """Fixed by the run's seed, the recipe and the document's id."""
        ...

    @property
    def cell(self) -> Mapping[str, str]:
        """This document's cell of the sampling design: axis -> value (`synthesis/design.py`)."""
        ...

    async def __call__(
        self,
        prompt: str,
        variables: Mapping[str, object],
        parse: Parser[T],
        *,
        params: GenerationParams | None = None,
        schema: Mapping[str, object] | None = None,
        history: Sequence[Message] = (),
        is_judgement: bool = False,
    ) -> Parsed[T]:
        """Renders the recipe's prompt file `prompt`, asks the teacher and parses the answer.

        `params` override what the recipe declares, which the user's options override again, except where the answer
        `is_judgement` on what was written: a judge keeps its temperature and length whatever the writer's are.
        `history` goes between the system message and the user's. Raises: ParseError (the runner records the raw answer
        as rejected).
        """
        ...

    async def each(
        self,
        prompts: Sequence[tuple[str, Mapping[str, object]]],
        parse: Parser[T],
        *,
        params: GenerationParams | None = None,
        is_judgement: bool = False,
    ) -> list[Parsed[T] | None]:
        """Asks side by side; None where an answer could not be parsed, which is recorded as rejected."""
        ...

    async def samples(
        self,
        prompt: str,
        variables: Mapping[str, object],
        parse: Parser[T],
        *,
        n: int,
        params: GenerationParams | None = None,
    ) -> list[Parsed[T]]:
        """Draws `n` samples of one prompt; those that could not be parsed are recorded as rejected and left out."""
        ...

    async def continue_text(
        self, text: str, parse: Parser[T], *, name: str, params: GenerationParams | None = None
    ) -> Parsed[T]:
        """Has a raw text continued (no chat template); `name` is what lineage calls the prompt."""
        ...

    def reject(self, reason: str, detail: str = "", *, raw: str = "", stage: str = "parsed") -> None:
        """Records that a part of the answer was dropped by a post rule."""
        ...


RecipeFunction = Callable[[Document, Ask], Awaitable[Sequence[Draft]]]
Prepare = Callable[["Dataset", Path, Any, "Context"], "Teacher"]
"""`prepare(dataset, work, options, context)` makes the teacher that a recipe brings along, from the documents
themselves. It runs before the first document, may take long, and continues after a kill: `work` is a folder of its own
that stays between attempts."""


@dataclass(frozen=True)
class NoOptions:
    """For a recipe without options."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A recipe with all that decides what it makes."""

    name: str
    fn: RecipeFunction
    version: int
    """Goes up whenever equal answers give other samples (parsers, post rules)."""
    shape: Shape
    summary: str
    """First line of the function's docstring."""
    prompts: tuple[str, ...]
    """Its prompt files, without folder and suffix: `prompts/<recipe>/<prompt>.j2`."""
    options: type
    """A frozen dataclass; its docstrings are the options' help."""
    params: GenerationParams
    axes: Mapping[str, Mapping[str, float]]
    """Axes of its sampling design: axis -> value -> weight."""
    needs_documents: bool = True
    """False: it runs without a dataset, over numbered empty documents."""
    source: str = ""
    """The paper or repository that it follows."""
    allow_cut_off: bool = False
    """Answers that ended at `max_tokens` go to the parser; else they are rejected as `cut_off`."""
    prepare: Prepare | None = None
    """Makes the teacher, so that none need be given."""


def recipe(
    name: str,
    *,
    version: int,
    shape: Shape,
    prompts: Sequence[str] = (),
    options: type = NoOptions,
    params: GenerationParams | None = None,
    axes: Mapping[str, Mapping[str, float]] | None = None,
    needs_documents: bool = True,
    source: str = "",
    allow_cut_off: bool = False,
    prepare: Prepare | None = None,
) -> Callable[[RecipeFunction], Recipe]:
    """Makes a recipe of an async function."""

    def wrap(fn: RecipeFunction) -> Recipe:
        if not inspect.iscoroutinefunction(fn):
            raise ConfigError(
                f"The recipe `{name}` is no `async def` function, or it has a `yield`.",
                fix="Write `async def recipe(document, ask)`, and return a list of `Draft`.",
            )
        return Recipe(
            name=name,
            fn=fn,
            version=version,
            shape=shape,
            summary=(fn.__doc__ or name).strip().splitlines()[0],
            prompts=tuple(prompts),
            options=options,
            params=params or GenerationParams(),
            axes=axes or {},
            needs_documents=needs_documents,
            source=source,
            allow_cut_off=allow_cut_off,
            prepare=prepare,
        )

    return wrap


BUILT_IN: dict[str, str] = {
    "active-reading": "tilth.synthesis.recipes.active_reading:active_reading",
    "agentinstruct": "tilth.synthesis.recipes.agentinstruct:agentinstruct",
    "annotate": "tilth.synthesis.recipes.annotate:annotate",
    "backtranslation": "tilth.synthesis.recipes.backtranslation:backtranslation",
    "bootstrap": "tilth.synthesis.recipes.bootstrap:bootstrap",
    "chat": "tilth.synthesis.recipes.conversations:chat",
    "cosmopedia": "tilth.synthesis.recipes.cosmopedia:cosmopedia",
    "extract-json": "tilth.synthesis.recipes.extract_json:extract_json",
    "finephrase": "tilth.synthesis.recipes.finephrase:finephrase",
    "html-page": "tilth.synthesis.recipes.html_pages:html_page",
    "magpie": "tilth.synthesis.recipes.magpie:magpie",
    "nemotron-cc": "tilth.synthesis.recipes.nemotron_cc:nemotron_cc",
    "persona-problem": "tilth.synthesis.recipes.persona_tasks:persona_problem",
    "persona-task": "tilth.synthesis.recipes.persona_tasks:persona_task",
    "persona-to-persona": "tilth.synthesis.recipes.personas:persona_to_persona",
    "personas": "tilth.synthesis.recipes.personas:personas",
    "preferences": "tilth.synthesis.recipes.preferences:preferences",
    "prox": "tilth.synthesis.recipes.prox:prox",
    "self-instruct": "tilth.synthesis.recipes.self_instruct:self_instruct",
    "wrap": "tilth.synthesis.recipes.wrap:wrap",
}
"""Name of a recipe -> `module:attribute`; each recipe's module is loaded when it is used."""


def load_recipe(name: str) -> Recipe:
    """Returns a built-in recipe, or one's own as `path/to/file.py:recipe`.

    Raises: ConfigError for an unknown name.
    """
    from tilth.user_code import load_object

    if name in BUILT_IN:
        module, _, attribute = BUILT_IN[name].partition(":")
        return getattr(importlib.import_module(module), attribute)
    found: object = load_object(name) if ":" in name else None
    if not isinstance(found, Recipe):
        raise ConfigError(
            f"There is no synthesis recipe `{name}`.",
            fix=f"Built in: {', '.join(sorted(BUILT_IN))}; your own: `path/to/file.py:name`, made with `@recipe`.",
        )
    return found
