"""Plausible answers to the prompts of the recipes from documents to texts, made from the material in the prompt."""

import json
import re
from collections.abc import Callable

from tilth.teacher.request import Request

THINGS = (
    "kettle",
    "clock",
    "ladder",
    "violin",
    "ferry",
    "stamp",
    "mill",
    "lamp",
    "map",
    "loom",
    "sieve",
    "anvil",
    "cart",
)
MATERIAL = re.compile(r"^<<<([0-9a-f]{8})\n(.*?)\n\1>>>$", re.MULTILINE | re.DOTALL)
CONCEPT = (
    "The start page of a small museum of clocks in a harbour town, for families who plan a visit. A wide "
    "header in dark blue names the museum, below it stand opening hours and prices in two columns, then three rooms "
    "with a picture each, and last a footer with the address. The letters are large and have serifs."
)
PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Museum of Clocks</title>
<style>body { font-family: serif; } header { background: navy; color: white; }</style>
</head>
<body>
<header><h1>Museum of Clocks</h1></header>
<main>
<p>The museum shows four hundred clocks in three rooms above the old harbour, and most of them still run.</p>
<div style="background: teal; height: 8em">The room of tower clocks</div>
<p>Open on Saturday and Sunday from ten to five. Children pay nothing.</p>
</main>
<footer><a href="https://example.org/map">Harbour Street 4</a></footer>
</body>
</html>"""


def materials(request: Request) -> list[str]:
    """What stands between marks in the last message."""
    return [match[2] for match in MATERIAL.finditer(request.messages[-1].content)]


def essay(text: str) -> str:
    words = " ".join(re.findall(r"[^\W\d_]+", text)[:12])
    return "\n\n".join(
        f"A point that is often missed in paragraph {n} concerns what people call {words}. It takes patience to see "
        "how one part depends on the next, and an example with a bridge, a kettle and a letter shows it best."
        for n in range(1, 6)
    )


def qa(text: str, n: int) -> str:
    word = max(re.findall(r"[^\W\d_]+", text) or ["nothing"], key=len)
    return "\n\n".join(f"Question: Where is {word} in part {i}?\nAnswer: In line {i} of it." for i in range(1, n + 1))


def extraction(text: str) -> str:
    words = re.findall(r"[^\W\d_]{5,}", text)
    return json.dumps({"terms": [{"term": words[0], "definition": words[1]}]})


ANSWERS: dict[str, Callable[[str], str]] = {
    "Write up to eight questions": lambda text: qa(text, 6),
    "into a series of questions and answers": lambda text: qa(text, 3),
    "questions that readers of the document": lambda text: qa(text, 4),
    'Begin your answer with the words "Here is': lambda text: f"Here is a paraphrased version: {essay(text)}",
    'Begin your answer with the words "Paraphrased': lambda text: f"Paraphrased Text:\n{essay(text)}",
    "what is worth knowing beyond the page": essay,
    "List the knowledge in the text below": lambda text: "\n".join(f"- {line}" for line in essay(text).split("\n\n")),
    "Make a table in Markdown": lambda text: (
        "| Word | Length |\n| --- | --- |\n| bridge | 6 |\n| kettle | 6 |\n\n" + qa(text, 1)
    ),
    "one word problem in mathematics": lambda text: (
        "Problem: A baker sells 12 boxes with 3 rolls each and 4 single rolls. How many rolls are that?\n"
        "Solution: The boxes hold 12 * 3 = 36 rolls. Together that is 36 + 4 = 40 rolls.\nAnswer: 40 rolls"
    ),
    "Write a tutorial based on the document": lambda text: (
        "You will learn to sort what you read.\n\n"
        "1. Read the text once, so that you know what is in it.\n2. Mark each name.\n3. Copy the names into a list."
    ),
    "different ways of studying": lambda text: (
        "- Write a timeline.\n- Write a dialogue.\n- Write a quiz.\n- Write a song."
    ),
    "Study the document below in this way": essay,
    "Turn the document below into": essay,
    "Write one task based on the text below": lambda text: f"Explain in three sentences what this means: {text[:80]}",
    "changes to the task below": lambda text: "- Ask for an example.\n- Forbid the word bridge.\n- Demand a table.",
    "Edit the task below": lambda text: f"{text[:200]} Give an example, too.",
    "Extract from the document below": extraction,
    "Think of one web page": lambda text: CONCEPT,
    "Write the web page that is described": lambda text: PAGE,
}
"""A phrase of the prompt -> the answer to its last material."""


def plausible(request: Request, sample: int) -> str:
    asked, shown = request.messages[-1].content, materials(request)
    answer = next((answer for phrase, answer in ANSWERS.items() if phrase in asked), essay)
    thing = THINGS[int(request.prompt_key[:8], 16) % len(THINGS)]
    return answer(shown[-1] if shown else asked).replace("a kettle", f"a {thing}")
