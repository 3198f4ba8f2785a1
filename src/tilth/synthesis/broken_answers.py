"""Answers that are none, whatever a recipe's parser would make of them: empty, cut off, refused, the prompt again."""

from __future__ import annotations

import re
from collections.abc import Sequence

from tilth.teacher.request import Reply

_SHORT = 300
"""Characters: a refusal says so at once, and says little else."""
_LEAST_ECHO = 40
"""Characters of a line of the prompt from which its being in the answer is an echo, and no chance."""
_NOT_ABLE = r"(?:can(?:no|')t|can not|could ?n[o']t|am (?:not able|unable) to|won't|will not|must decline)"
_VERB = (
    r"(?:help|assist|provide|fulfil|comply|complete|create|write|generate|rewrite|produce|answer|respond|discuss"
    r"|do (?:that|this)|continue|share|engage|support|process|translate|summari[sz]e|offer|give)"
)
_REFUSAL = re.compile(
    rf"(?:(?:i['’]?m|i am) (?:very |really |so )?sorry|sorry|i apologi[sz]e|my apologies|unfortunately)\b.{{0,40}}?\bi "
    rf"{_NOT_ABLE}"
    rf"|i {_NOT_ABLE} {_VERB}"
    r"|as an ai\b|as a (?:large )?language model\b|i['’]?m just an ai\b"
    r"|(?:i['’]?m|i am) (?:not able|unable) to "
    rf"{_VERB}",
    re.IGNORECASE,
)


_REQUEST = re.compile(
    r"\b(?:can|could|would|will) you (?:please )?(?!provide|give|tell me more|share|send|clarify|rephrase)\w+[^.!\n]*\?"
    r"|\b(?:how|what|where) (?:do|can|could|should|would) i (?!help|assist)\w+[^.!\n]*\?",
    re.IGNORECASE,
)
"""A person who says what they cannot do, and asks for help."""


def broken_answer(reply: Reply, instructions: Sequence[str], *, allow_cut_off: bool = False) -> str:
    """Returns `empty`, `cut_off`, `refused` or `echo`; nothing for an answer that can be parsed.

    `instructions` are the longest lines of the prompt file that stand in the rendered prompt (`PromptFile`).
    """
    text = reply.text.strip()
    if reply.answer.finish_reason == "content_filter":
        return "refused"
    if not text:
        return "empty"
    if reply.answer.finish_reason == "length" and not allow_cut_off:
        return "cut_off"
    if is_refusal(text):
        return "refused"
    return "echo" if _is_echo(text, reply, instructions) else ""


def is_refusal(text: str) -> bool:
    """Whether a text begins as a refusal, and is a short one or says what it cannot do."""
    begin = text.strip()[:_SHORT].replace("’", "'")
    found = _REFUSAL.match(begin)
    if found is None or _REQUEST.search(begin):
        return False
    return len(text) <= _SHORT or re.search(_VERB, begin[: found.end() + 60], re.IGNORECASE) is not None


def _is_echo(text: str, reply: Reply, instructions: Sequence[str]) -> bool:
    """Whether the longest line of the prompt's own instructions stands in the answer, or the whole prompt does."""
    request, answer = reply.request, " ".join(text.split())
    messages = [message.content for message in request.messages if message.role != "assistant"]
    asked = [" ".join(message.split()) for message in messages or [request.prompt or ""]]
    if any(len(prompt) >= _LEAST_ECHO and prompt in answer for prompt in asked[-1:]):
        return True
    longest = next((line for line in instructions if any(line in prompt for prompt in asked)), "")
    return len(longest) >= _LEAST_ECHO and longest in answer
