"""Chats as text: turns in order, each with the name of who speaks, and a blank line between turns.

    System: Answer in one sentence.

    User: What is soil?

    Assistant: Soil is weathered rock with what lived in it.

Read are `messages` [{role, content}], `conversations` [{from, value}] (ShareGPT), either also as the JSON text that
tables hold, and pairs of fields such as `prompt` and `completion`, each a text or itself a list of messages.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from typing import cast

LISTS = ("messages", "conversations", "conversation")
"""Fields that hold a list of turns."""
PAIRS = (
    ("prompt", "completion"),
    ("prompt", "response"),
    ("instruction", "output"),
    ("instruction", "response"),
    ("question", "answer"),
)
"""Fields that hold what a user asked and what was answered; `input` beside an `instruction` belongs to it."""

_NAMES = {
    "human": "User",
    "prompter": "User",
    "gpt": "Assistant",
    "bot": "Assistant",
    "chatgpt": "Assistant",
    "model": "Assistant",
}


def chat_fields(names: Collection[str]) -> tuple[str, ...]:
    """Returns the fields that make a chat; empty if there is none."""
    for name in LISTS:
        if name in names:
            return (name,)
    for asked, answered in PAIRS:
        if asked in names and answered in names:
            has_input = asked == "instruction" and "input" in names
            return (asked, "input", answered) if has_input else (asked, answered)
    return ()


def turns_of(value: object) -> object:
    """Returns a list of turns that is written as JSON, as in CSV, as that list; anything else as it is."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        with suppress(ValueError, RecursionError):
            parsed: object = json.loads(value)
            if isinstance(parsed, list) and all(isinstance(item, dict) for item in cast("list[object]", parsed)):
                return cast("list[object]", parsed)
    return value


def chat_text(fields: Mapping[str, object], names: Sequence[str]) -> str | None:
    """Returns the chat in these fields as text; None if a field holds neither text nor turns."""
    if len(names) == 1:
        turns = _turns(turns_of(fields[names[0]]), "User")
    else:
        asked = [_turns(fields[name], "User") for name in names[:-1] if fields[name] not in (None, "")]
        answered = _turns(fields[names[-1]], "Assistant")
        if not asked or answered is None or any(turns is None for turns in asked):
            return None
        question = [turn for turns in asked for turn in turns or ()]
        if len(names) == 3:  # an instruction and its input are one turn
            question = [("User", "\n\n".join(text for _, text in question))]
        turns = question + answered
    return None if turns is None else "\n\n".join(f"{name}: {text}" for name, text in turns if text)


def _turns(value: object, name: str) -> list[tuple[str, str]] | None:
    """Returns (name, text) of each turn; a text is one turn of `name`."""
    if isinstance(value, str):
        return [(name, value.strip())]
    if not isinstance(value, list) or not value:
        return None
    turns: list[tuple[str, str]] = []
    for item in cast("list[object]", value):
        if not isinstance(item, dict):
            return None
        turn = cast("dict[str, object]", item)
        role = turn.get("role", turn.get("from", turn.get("speaker")))
        text = _content(turn.get("content", turn.get("value", turn.get("text"))))
        if not isinstance(role, str) or text is None:
            return None
        turns.append((_NAMES.get(role.lower(), role[:1].upper() + role[1:]), text.strip()))
    return turns


def _content(value: object) -> str | None:
    """Returns the text of a message, whose content may be a list of parts of which some are text."""
    if value is None:  # such as a message that only calls a tool
        return ""
    if isinstance(value, list):
        parts = cast("list[object]", value)
        texts = [cast("dict[str, object]", part).get("text") for part in parts if isinstance(part, dict)]
        return "\n".join(text for text in texts if isinstance(text, str))
    return value if isinstance(value, str) else None
