"""Parsers of what a dialogue is made of: a user's message, an assistant's, and the last lines of a judgement."""

from __future__ import annotations

import re
from collections.abc import Mapping

from tilth.synthesis.define import ParseError, Parser
from tilth.synthesis.material import MARKS
from tilth.synthesis.parse import clean, content, strip_markdown, strip_quotes, without_courtesies, without_thoughts

END_MARKS = re.compile(
    r"<\|(?:im_end|im_start|eot_id|end|user|assistant|system|endoftext|end_of_text|start_header_id)\|>"
    r"|<(?:end|start)_of_turn>|\[/?INST\]|</s>|<s>"
)
"""Tokens of chat templates, as they stand in an answer that went on after its turn."""
_OWN_LABEL = re.compile(
    r"\**(?:the )?(?:user|human|person|customer|student|message|user's message|instruction|prompt|request|question|task"
    r"|problem|first message)\**[ \t]*:[ \t*]*",
    re.IGNORECASE,
)
_ASSISTANT_LINE = re.compile(
    r"^[ \t*_#]*(?:assistant|ai|chatbot|bot|answer|response|solution)[ \t*_]*:", re.IGNORECASE | re.MULTILINE
)
_USER_LINE = re.compile(r"^[ \t*_#]*(?:user|human|customer)[ \t*_]*:", re.IGNORECASE | re.MULTILINE)
_NEXT_TURN = re.compile(r"^[*_#]*(?:user|human|customer)[ \t*_]*:", re.IGNORECASE | re.MULTILINE)
"""An indented `user:`, as in configurations and programs, is none."""
_CODE = re.compile(r"^[ \t]*(```|~~~).*?(?:^[ \t]*\1|\Z)", re.DOTALL | re.MULTILINE)
_ANSWERS = re.compile(
    r"(?:(?:sure|certainly|of course|absolutely|great question|good question|no problem)[,!.:]"
    r"|as an ai\b|i['’]?(?:m| am) (?:an ai|a large language model|here to help)|i['’]?(?:d| would) be (?:happy|glad) to"
    r"|(?:hello|hi)[,!.]? how (?:can|may) i (?:help|assist)|how (?:can|may) i (?:help|assist) you"
    r"|i['’]?(?:m| am) happy to (?:help|assist)|you['’]re welcome\b"
    r"|here (?:is|are) (?:a|an|the|some|your)\b[^?]{0,200}:)",
    re.IGNORECASE,
)
"""How an assistant's message begins, and a user's does not."""


def user_message(*, min_words: int = 1, max_words: int = 200) -> Parser[str]:
    """Makes a parser for a user's message.

    Raises: ParseError `role_confusion` where the assistant speaks in it, `template_token`, `too_short`, `too_long`; as
    `content`.
    """

    def parse(answer: str) -> str:
        _check_tokens(answer)
        text = content(answer)
        label = _OWN_LABEL.match(text)
        text = strip_quotes(text[label.end() :].strip() if label else text)
        if _ASSISTANT_LINE.search(text) or _USER_LINE.search(text) or _ANSWERS.match(text):
            raise ParseError("role_confusion", text[:100])
        if not any(character.isalnum() for character in text):
            raise ParseError("empty", "no letters or digits")
        words = len(text.split())
        if words < min_words:
            raise ParseError("too_short", f"{words} < {min_words} words")
        if words > max_words:
            raise ParseError("too_long", f"{words} > {max_words} words")
        return text

    return parse


def assistant_message(answer: str) -> str:
    """Returns an assistant's message; its Markdown and code stay.

    Raises: ParseError `role_confusion` where it goes on with a message of the user, `template_token`, `echo`; as
    `clean`.
    """
    _check_tokens(answer)
    text = without_courtesies(without_thoughts(clean(answer)))
    if MARKS.search(text):
        raise ParseError("echo", "the marks of the material stand in the answer")
    text = re.sub(r"\A\**(?:assistant|ai)[ \t]*:[ \t*]*", "", text, flags=re.IGNORECASE).strip()
    if _NEXT_TURN.search(_CODE.sub("", text)):
        raise ParseError("role_confusion", text[:100])
    if not text:
        raise ParseError("empty")
    return text


def _check_tokens(answer: str) -> None:
    found = END_MARKS.search(answer)
    if found is not None:
        raise ParseError("template_token", found[0])


def last_lines(forms: Mapping[str, str]) -> Parser[dict[str, str]]:
    """Makes a parser for a judgement that ends with a line `<name>: <value>` for each name, in their order.

    `forms`: name -> pattern of its values. What stands before is the judge's reasons; a line of this form among them
    that says otherwise, as from a text that is judged, makes the judgement void. Values are in lower case.
    Raises: ParseError `no_<name>`, `ambiguous_<name>`; as `clean`.
    """
    lines_of = {
        name: re.compile(rf"{re.escape(name)}[ \t]*:[ \t]*(?:({form})|<({form})>|\[({form})\])[ \t]*\.?", re.IGNORECASE)
        for name, form in forms.items()
    }

    def parse(answer: str) -> dict[str, str]:
        text = strip_markdown(without_thoughts(clean(answer)))
        lines = [line.strip() for line in text.split("\n") if line.strip()]
        reasons, verdict = lines[: -len(forms)], lines[-len(forms) :]
        found: dict[str, str] = {}
        for (name, pattern), line in zip(lines_of.items(), verdict, strict=False):
            match = pattern.fullmatch(line)
            if match is not None:
                found[name] = _value(match)
        for name, pattern in lines_of.items():
            if name not in found:
                raise ParseError(f"no_{name.lower()}", text[-100:])
            others = {_value(match) for line in reasons if (match := pattern.fullmatch(line.lstrip("> -*")))}
            if others - {found[name]}:
                raise ParseError(f"ambiguous_{name.lower()}", f"{sorted(others)} and {found[name]}")
        return found

    return parse


def _value(match: re.Match[str]) -> str:
    """What a line says, bare or in the brackets of the prompt's example."""
    return next(group for group in match.groups() if group is not None).lower()


def grades(*names: str) -> Parser[dict[str, int]]:
    """Makes a parser for a judgement that ends with a line `<name>: <1 to 5>` for each name.

    Raises: as `last_lines`.
    """
    parse = last_lines(dict.fromkeys(names, r"[1-5](?!\d)(?:[ \t]*(?:/|out of)[ \t]*5)?"))

    def parse_grades(answer: str) -> dict[str, int]:
        return {name: int(value[0]) for name, value in parse(answer).items()}

    return parse_grades
