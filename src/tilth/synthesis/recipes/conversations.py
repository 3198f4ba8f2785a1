"""Conversations: a teacher plays a user of a given kind, and answers as an assistant that has a document."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

from tilth.errors import ConfigError
from tilth.synthesis.define import Ask, Draft, Parsed, ParseError, Rejected, recipe
from tilth.synthesis.passages import first_characters
from tilth.synthesis.recipes.turns import assistant_message, user_message
from tilth.teacher.request import GenerationParams
from tilth.types import Document, Message

END = "[END]"
PERSONS = {
    "beginner": "someone who meets the subject for the first time, asks simple questions, and says which words are new",
    "student": "a student before an examination, who wants to understand why things are so, and tries examples",
    "practitioner": "someone who needs the subject at work today, has a concrete case, and little time",
    "expert": "someone who knows the subject well and asks about exceptions, limits and evidence",
    "sceptic": "someone who doubts what is said and asks how one can know it, politely",
    "teacher": "someone who has to explain the subject to others and looks for comparisons and exercises",
    "elder": "an elderly person who compares everything with how it used to be, and types with small mistakes",
    "child": "a curious child of eleven, who asks short questions, and often why",
    "writer": "someone who writes an article about the subject and needs details and their order in time",
    "second_language": "someone who reads and writes the language as a foreign one, in plain words and short sentences",
}
_FAREWELL = re.compile(
    r"(?:a|again|all|alright|appreciate|bye|clear|everything|explanation|for|good|goodbye|got|great|help|helped|helpful"
    r"|helps|i|is|it|lot|makes|many|much|needed|now|ok|okay|perfect|really|right|sense|so|thanks?|that|that's|the|time"
    r"|understand|very|wonderful|you|your)"
)
"""A word of a farewell: a message of these alone asks for nothing."""
_user_message = user_message(max_words=150)


@dataclass(frozen=True, kw_only=True)
class Chat:
    """Conversations about documents."""

    turns: int = 3
    """Most messages of the user; a conversation ends earlier when the user has what they wanted."""
    min_turns: int = 1
    """Fewest messages of the user that are answered."""
    characters: int = 4000
    """How much of a document both are shown, from its beginning."""
    passage: Literal["hidden", "system"] = "hidden"
    """Whether samples hold the passage: not at all, or in a system message before the conversation."""

    def __post_init__(self) -> None:
        if not 1 <= self.min_turns <= self.turns:
            raise ConfigError(
                f"`min_turns` is {self.min_turns} and `turns` {self.turns}.", fix="Give 1 <= min_turns <= turns."
            )
        if self.characters < 1:
            raise ConfigError(f"`characters` is {self.characters}.", fix="Show 1 or more.")


@recipe(
    "chat",
    version=1,
    shape="chat",
    prompts=("user", "assistant"),
    options=Chat,
    params=GenerationParams(max_tokens=512, temperature=0.8, top_p=0.95),
    axes={"person": dict.fromkeys(PERSONS, 1.0)},
    source="Ding et al. 2023 (UltraChat: two models in the two roles)",
)
async def chat(document: Document, ask: Ask) -> list[Draft]:
    """Have a person of a given kind and an assistant talk about a document, until the person has what they wanted.

    Each role has its own prompt and sees the conversation from its side. Where an answer cannot be used, the
    conversation ends before it.
    """
    options: Chat = ask.options
    shown = first_characters(document.text, options.characters)
    persona = PERSONS[ask.cell["person"]]
    talk: list[Message] = []
    replies: list[Parsed[Any]] = []
    ended_by = "turns"
    for _ in range(options.turns):
        try:
            said, answer = await _turn(talk, {"passage": shown.text, "persona": persona}, ask)
        except ParseError as error:  # recorded as rejected
            ended_by = error.reason
            break
        if answer is None:
            ended_by = "user"
            break
        talk += [Message(role="user", content=said.value), Message(role="assistant", content=answer.value)]
        replies += [said, answer]
    if len(talk) < 2 * options.min_turns:
        raise Rejected("too_few_turns", f"{len(talk) // 2} < {options.min_turns}, ended by: {ended_by}")
    material = Message(role="system", content=f"Material for this conversation:\n\n{shown.text}")
    before = (material,) if options.passage == "system" else ()
    meta = {"person": ask.cell["person"], "turns": len(talk) // 2, "ended_by": ended_by}
    meta |= {"appends_source": True} if before else {}
    return [
        Draft(messages=(*before, *talk), replies=tuple(replies), span=shown.span, part=ask.cell["person"], meta=meta)
    ]


async def _turn(talk: list[Message], variables: dict[str, object], ask: Ask) -> tuple[Parsed[str], Parsed[str] | None]:
    """Returns the next message of the user and its answer; no answer where the user ends the conversation."""
    opening = Message(role="user", content="The assistant is ready. Write the person's first message.")
    swapped = [Message(role="assistant" if one.role == "user" else "user", content=one.content) for one in talk]
    # From the user's side the assistant's last message is the one to answer: the prompt file has it.
    reply = swapped.pop().content if swapped else ""
    seen = [opening, *swapped] if reply else []
    said = await ask("user", {**variables, "reply": reply}, parse_user_turn, history=seen)
    if said.value == END:
        return said, None
    answer = await ask("assistant", {**variables, "message": said.value}, assistant_message, history=talk)
    return said, answer


def parse_user_turn(answer: str) -> str:
    """Returns the user's message, or `END` where it ends the conversation. Raises: as `user_message`."""
    text, mark, _ = answer.replace(END.lower(), END).partition(END)
    if mark and "?" not in text:  # a question before the mark is still asked, and the next message ends it
        return END
    text = _user_message(text)
    words = re.sub(r"[^\w' ]", " ", text.lower().replace("’", "'")).split()
    return END if "?" not in text and all(_FAREWELL.fullmatch(word) for word in words) else text
