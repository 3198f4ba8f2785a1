"""From messages to what a model of ours reads: its own chat template, or plain text where it has none.

A folder's template (`chat_template` in `tokenizer_config.json`, or `chat_template.jinja`) is rendered as Hugging Face
does, in Jinja's sandbox; contents are only ever variables. A special token that stands in a content stays ordinary
text there: a document cannot end a turn or open one.

Without a template the model is a base model, which continues text. A system message and one user message become

    <system>\\n\\n<user>\\n\\n

and with more turns each is `User: ...` or `Assistant: ...`, at last `Assistant:`, which the model continues.
"""

from __future__ import annotations

import datetime
import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, cast

from tilth.errors import DataError
from tilth.files import read_json
from tilth.teacher.faults import RequestRefused
from tilth.types import Message

if TYPE_CHECKING:
    from jinja2 import Template

    from tilth.tokenizer import Tokenizer

_SETTINGS = "tokenizer_config.json"
_TEMPLATE = "chat_template.jinja"
_GENERATION = "generation_config.json"
_DAY = datetime.datetime(2024, 7, 26)
"""What templates that ask for the date get (Llama 3.2's own default): an answer must not depend on the day."""
_FIRST_MARK = 0xF0000
"""A plane of characters that Unicode leaves to private use: texts hardly have them, and those that do are refused."""


@dataclass(frozen=True, kw_only=True)
class ChatFormat:
    """How a folder's model takes a chat."""

    template: str | None = None
    """None: plain text."""
    bos_token: str = ""
    eos_token: str = ""
    stop_tokens: tuple[int, ...] = ()
    """Ids that end an answer, beside the tokenizer's own end of text."""

    def encode(self, messages: Sequence[Message], tokenizer: Tokenizer) -> str | list[int]:
        """Returns a text to continue, or with a template the ids to continue.

        Raises: RequestRefused for messages that the template does not take.
        """
        if self.template is None:
            return plain_text(messages)
        hidden = _Hidden(sorted(tokenizer.special_tokens, key=len, reverse=True))
        turns = [{"role": message.role, "content": hidden.hide(message.content)} for message in messages]
        return hidden.encode(self._render(turns), tokenizer)

    def _render(self, turns: list[dict[str, str]]) -> str:
        import jinja2

        try:
            return _compiled(self.template or "").render(
                messages=turns,
                tools=None,
                documents=None,
                bos_token=self.bos_token,
                eos_token=self.eos_token,
                add_generation_prompt=True,
            )
        except (jinja2.TemplateError, TypeError, ValueError, LookupError, AttributeError, ArithmeticError) as error:
            raise RequestRefused(f"The chat template does not take these messages: {error}.") from None


def read_chat_format(folder: Path) -> ChatFormat:
    """Returns the chat format of a model's folder. Raises: DataError for files that cannot be read as such."""
    settings = _settings(folder / _SETTINGS)
    template = settings.get("chat_template")
    if isinstance(template, list):  # several, by name
        named = {str(entry["name"]): str(entry["template"]) for entry in cast("list[dict[str, Any]]", template)}
        template = named.get("default")
    if (folder / _TEMPLATE).is_file():
        template = (folder / _TEMPLATE).read_text(encoding="utf-8")
    if not isinstance(template, str | None):
        raise DataError(f"{folder / _SETTINGS} has a `chat_template` that is no text.")
    ends = _settings(folder / _GENERATION).get("eos_token_id")
    listed = cast("list[object]", ends) if isinstance(ends, list) else [ends]
    return ChatFormat(
        template=template,
        bos_token=_token(settings.get("bos_token")),
        eos_token=_token(settings.get("eos_token")),
        stop_tokens=tuple(token for token in listed if isinstance(token, int)),
    )


def plain_text(messages: Sequence[Message]) -> str:
    """Returns messages as the beginning of a text, for a model without a chat template."""
    said = [message for message in messages if message.role != "system"]
    system = [message.content for message in messages if message.role == "system"]
    if len(said) == 1 and said[0].role == "user":
        return "\n\n".join([*system, said[0].content, ""])
    turns = [f"{message.role.capitalize()}: {message.content}" for message in said]
    return "\n\n".join([*system, *turns, "Assistant:"])


class _Hidden:
    """Special tokens within contents, replaced by marks while the template is rendered."""

    def __init__(self, special_tokens: Sequence[str]) -> None:
        self.marks = {chr(_FIRST_MARK + index): token for index, token in enumerate(special_tokens)}

    def hide(self, content: str) -> str:
        if any(mark in content for mark in self.marks):
            raise RequestRefused("The text holds characters for private use that stand for special tokens here.")
        for mark, token in self.marks.items():
            content = content.replace(token, mark)
        return content

    def encode(self, rendered: str, tokenizer: Tokenizer) -> list[int]:
        """Encodes what was rendered; marks become the tokens' text, as ordinary text."""
        ids: list[int] = []
        piece: list[str] = []
        for character in rendered:
            if character not in self.marks:
                piece.append(character)
                continue
            ids += tokenizer.encode("".join(piece), allowed_special="all")
            ids += tokenizer.encode_ordinary(self.marks[character])
            piece = []
        return ids + tokenizer.encode("".join(piece), allowed_special="all")


@functools.lru_cache(maxsize=16)
def _compiled(template: str) -> Template:
    from jinja2 import nodes
    from jinja2.ext import Extension
    from jinja2.parser import Parser
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """`{% generation %}` marks what a trainer counts; it is written as it is."""

        tags = {"generation"}  # noqa: RUF012 (jinja2 declares it so)

        def parse(self, parser: Parser) -> list[nodes.Node]:
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols", Generation]
    )
    known = cast("dict[str, object]", environment.globals)
    known["raise_exception"] = _refuse
    if "strftime_now is defined" not in template:  # such a template has a day of its own
        known["strftime_now"] = _DAY.strftime
    cast("dict[str, object]", environment.filters)["tojson"] = _to_json
    return environment.from_string(template)


def _to_json(value: object, indent: int | None = None) -> str:
    """As Hugging Face's: jinja2's own escapes what HTML does not take."""
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _refuse(message: str) -> NoReturn:
    import jinja2

    raise jinja2.TemplateError(message)


def _settings(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    content: object = read_json(path)
    return cast("dict[str, Any]", content) if isinstance(content, dict) else {}


def _token(value: object) -> str:
    """A special token's text; some folders hold it in an object."""
    if isinstance(value, dict):
        value = cast("dict[str, object]", value).get("content")
    return value if isinstance(value, str) else ""
