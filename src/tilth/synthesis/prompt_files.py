"""Prompt files: Jinja templates with a version, one block a message.

    {# version: 2 #}
    {% block system %}You rewrite texts.{% endblock %}
    {% block user %}Rewrite this passage.

    {{ passage }}{% endblock %}

What a document says reaches a template as the value of a variable, never as a template. The environment is a sandbox
without a loader, so that a prompt file can include or import nothing either. `{{ document | material }}` puts a
document between marks that it cannot close.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tilth.errors import ConfigError
from tilth.synthesis.material import FILTERS
from tilth.types import Message

if TYPE_CHECKING:
    from jinja2 import Template, nodes

    from tilth.synthesis.define import Recipe
    from tilth.teacher.request import Request

FOLDER = Path(__file__).parent / "prompts"
"""Prompt files of the built-in recipes; those of one's own recipe are in `prompts/` beside its file."""
_LONGEST_SHOWN = 6000
"""Characters of a prompt that are kept beside examples."""
_BLOCKS = ("system", "user")
_VERSION = re.compile(r"\{#\s*version:\s*([1-9][0-9]*)\s*#\}")


@dataclass(frozen=True, kw_only=True)
class PromptFile:
    """A prompt file that was read and checked."""

    name: str
    """`<recipe>/<prompt>`, as lineage calls it."""
    version: int
    sha256: str
    """Of the file: what tells two prompts apart, whatever version they claim."""
    text: str
    template: Template
    instructions: tuple[str, ...]
    """Lines of the file itself, without what variables put in, longest first; an echo is recognised by them."""

    @classmethod
    def load(cls, recipe: Recipe | str, name: str) -> PromptFile:
        """Reads the prompt file of a recipe; a name stands for a built-in one.

        Raises: ConfigError if it is missing, has no version, or is more than a `system` and a `user` block.
        """
        recipe_name = recipe if isinstance(recipe, str) else recipe.name
        path = prompt_folder(recipe) / recipe_name / f"{name}.j2"
        if not path.is_file():
            raise ConfigError(f"The prompt file {path} of the recipe `{recipe_name}` is missing.")
        content = path.read_bytes()
        try:
            return cls.parse(content.decode(), name=f"{recipe_name}/{name}")
        except UnicodeDecodeError as error:
            raise ConfigError(f"The prompt file {path} is not UTF-8: {error}.") from None

    @classmethod
    def parse(cls, text: str, *, name: str) -> PromptFile:
        """Reads a prompt file's text. Raises: ConfigError."""
        from jinja2 import StrictUndefined, TemplateSyntaxError
        from jinja2.sandbox import SandboxedEnvironment

        version = _VERSION.match(text)
        if version is None:
            raise ConfigError(
                f"The prompt file `{name}` does not begin with its version.",
                fix="Write `{# version: 1 #}` as its first line, and a higher number whenever its text changes.",
            )
        environment = SandboxedEnvironment(undefined=StrictUndefined, autoescape=False, keep_trailing_newline=False)
        environment.filters.update(FILTERS)
        try:
            tree = environment.parse(text)
            template = environment.from_string(text)
        except TemplateSyntaxError as error:
            raise ConfigError(f"The prompt file `{name}` is no Jinja template: line {error.lineno}: {error}.") from None
        return cls(
            name=name,
            version=int(version[1]),
            sha256=hashlib.sha256(text.encode()).hexdigest(),
            text=text,
            template=template,
            instructions=_instructions(name, tree),
        )

    def render(self, variables: Mapping[str, object], history: Sequence[Message] = ()) -> tuple[Message, ...]:
        """Returns the messages: system (where it has text), `history`, user.

        Raises: ConfigError if the file uses a variable that the recipe does not give, or if the user's message is
        empty.
        """
        messages = {role: self._render_block(role, variables) for role in _BLOCKS if role in self.template.blocks}
        if not messages["user"]:
            raise ConfigError(f"The prompt `{self.name}` is empty with the variables {', '.join(variables) or 'none'}.")
        system = messages.get("system", "")
        first = (Message(role="system", content=system),) if system else ()
        return (*first, *history, Message(role="user", content=messages["user"]))

    def _render_block(self, role: str, variables: Mapping[str, object]) -> str:
        from jinja2 import TemplateError

        context = self.template.new_context(dict(variables))
        try:
            return "".join(self.template.blocks[role](context)).strip()
        except TemplateError as error:
            raise ConfigError(
                f"The prompt file `{self.name}` cannot be rendered: {error}.",
                fix="Have the recipe give each variable that the file names.",
            ) from None


def rendered(request: Request) -> str:
    """Returns the beginning of a request as one text for people."""
    turns = [f"[{message.role}]\n{message.content}" for message in request.messages]
    return (request.prompt if request.prompt is not None else "\n\n".join(turns))[:_LONGEST_SHOWN]


def is_built_in(recipe: Recipe) -> bool:
    """Whether a recipe comes with tilth."""
    return getattr(recipe.fn, "__module__", "").startswith("tilth.")


def prompt_folder(recipe: Recipe | str) -> Path:
    """Returns the folder that holds `<recipe>/<prompt>.j2`."""
    if isinstance(recipe, str) or is_built_in(recipe):
        return FOLDER
    code: Any = getattr(recipe.fn, "__code__", None)
    return Path(code.co_filename).parent / "prompts" if code is not None else FOLDER


def load_prompts(recipe: Recipe) -> dict[str, PromptFile]:
    """Returns all prompt files that a recipe declares, by their names without the recipe's."""
    return {name: PromptFile.load(recipe, name) for name in recipe.prompts}


def _instructions(name: str, tree: nodes.Template) -> tuple[str, ...]:
    """Returns the lines of the file's own text; raises ConfigError for what is outside of the two blocks."""
    from jinja2 import nodes

    for node in tree.body:
        if isinstance(node, nodes.Block) and node.name in _BLOCKS:
            continue
        if isinstance(node, nodes.Output) and not "".join(_data(node)).strip() and _only_data(node):
            continue
        raise ConfigError(
            f"The prompt file `{name}` has something outside of its blocks, in line {node.lineno}.",
            fix="Put all text into `{% block user %}...{% endblock %}`, and into `{% block system %}` if it has one.",
        )
    blocks = [node for node in tree.body if isinstance(node, nodes.Block)]
    if not any(block.name == "user" for block in blocks):
        raise ConfigError(f"The prompt file `{name}` has no `user` block.", fix="Write `{% block user %}...`.")
    lines = {" ".join(line.split()) for block in blocks for data in _data(block) for line in data.split("\n")}
    return tuple(sorted(lines - {""}, key=lambda line: (-len(line), line)))


def _data(node: nodes.Node) -> list[str]:
    from jinja2 import nodes

    return [data.data for data in node.find_all(nodes.TemplateData)]


def _only_data(node: nodes.Output) -> bool:
    from jinja2 import nodes

    return all(isinstance(part, nodes.TemplateData) for part in node.nodes)
