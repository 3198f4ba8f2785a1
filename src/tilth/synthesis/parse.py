"""From an answer to a value: what teachers write around what was asked for is taken off, and the form is checked.

Each parser is a plain function of the answer, or makes one. It raises `ParseError` with a short reason and nothing
else, whatever the answer is; all work in linear time, because an answer can be a megabyte. A parser is strict: what
has not the form that the prompt asked for is rejected with its raw text, never repaired by a guess.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import cast

from tilth.synthesis.broken_answers import is_refusal
from tilth.synthesis.define import ParseError
from tilth.synthesis.material import MARKS

MAX_ANSWER_CHARACTERS = 4_000_000
"""No answer of any use is longer."""

_LINE_ENDS = re.compile("\r\n|[\r\x0b\x0c\x85\u2028\u2029]")
_INVISIBLE = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff]",
)
"""Controls, soft hyphens, zero-width spaces and marks of direction; the joiners of Indic and Persian letters stay."""
_SURROGATE = re.compile("[\ud800-\udfff]")
_BLANK_LINES = re.compile(r"\n{3,}")

_COURTESY = r"(?:sure(?: thing)?|certainly|of course|absolutely|okay|ok|great|no problem|got it)[!,.:]"
_PREAMBLE = re.compile(
    rf"(?:{_COURTESY}(?:[^\n]{{0,150}}\b(?:here|below|following)\b[^\n]{{0,150}}[:.!])?"
    r"|(?:based on [^\n:]{1,150}, )?(?:here(?:['’]s| is| are)|below (?:is|are)|the following (?:is|are))"
    r" (?:the|a|an|my|your|one|some)\b[^\n]{0,200}:)[ \t*]{0,9}\n",
    re.IGNORECASE,
)
_OWN_TITLE = re.compile(
    r"[ \t#*_]{0,9}(?:the )?(?:rewritten|rephrased|revised|paraphrased|simplified|condensed|shortened|distilled|edited"
    r"|transformed|extracted|generated) (?:passage|text|version|paragraph|document|task|knowledge|content|instruction)"
    r"s?[ \t*_]{0,9}:[ \t*_]{0,9}",
    re.IGNORECASE,
)
"""What models write above what they made of a text; no text of a person begins so."""
_RUN_ON = re.compile(rf"{_COURTESY} (?:here|below|i)\b", re.IGNORECASE)
_WORK = (
    r"(?:this|the|these) (?:rewritten|rephrased|paraphrased|simplified|revised|condensed|rewrite\b|paraphrase\b"
    r"|version\b"
    r"|questions and answers\b|question[ -]answer pairs\b|pairs of questions\b)"
)
"""What an answer calls itself."""
_CLOSING = re.compile(
    r"(?:\*|\()?(?:(?:please )?let me know\b|i hope (?:this|that|it|these)\b|feel free to (?:ask|let|reach|contact)"
    r"|is there anything else\b|would you like me to\b|do you want me to\b|if you(?:['’]d| would) like me to\b"
    r"|if you (?:have|need) (?:any |more |further )+(?:questions|help|information|assistance|changes|details)\b"
    rf"|note: (?:i\b|these are all\b|{_WORK})|i(?:['’]ve| have) (?:also )?(?:rewritten|rephrased|paraphrased|simplified"
    r"|kept|preserved|maintained|retained|followed|tried to|made sure)\b[^\n]{0,300}\b(?:(?:the|your) (?:passage"
    r"|instructions|request|(?:original|source) (?:passage|text|document|meaning|structure)|requested format)"
    rf"|as (?:you )?(?:asked|requested|instructed))\b|{_WORK} (?:[\w-]+ ){{0,3}}"
    r"(?:keeps?|covers?|captures?|preserves?|maintains?|retains?|follows?|conveys?|focus(?:es)?|meets?|cover)\b"
    r"|word count: )",
    re.IGNORECASE,
)
_THOUGHTS = re.compile(r"<(?:think|thinking|reasoning)>", re.IGNORECASE)
_THOUGHTS_END = re.compile(r"</(?:think|thinking|reasoning)>", re.IGNORECASE)
_FENCE = re.compile(r"^[ \t]{0,3}(`{3,}|~{3,})[ \t]{0,3}([\w+#.-]{0,30})$", re.MULTILINE)


def clean(answer: str) -> str:
    """Returns an answer with plain line ends, without invisible characters, trailing blanks and runs of empty lines.

    Raises: ParseError `too_long`, `empty`.
    """
    if len(answer) > MAX_ANSWER_CHARACTERS:
        raise ParseError("too_long", f"{len(answer):,} characters")
    text = _LINE_ENDS.sub("\n", answer)
    text = _SURROGATE.sub("\ufffd", _INVISIBLE.sub("", text)).replace("\u00a0", " ")
    text = "\n".join(line.rstrip() for line in text.split("\n"))
    text = _BLANK_LINES.sub("\n\n", text).strip()
    if not text:
        raise ParseError("empty")
    return text


def content(answer: str) -> str:
    """Returns what was asked for: cleaned, without thoughts, courtesies, marks, and a code fence around all of it.

    Raises: ParseError `empty`, `refused`, `cut_off` (of its thoughts), `preamble` (a courtesy that runs on into the
    content), `echo` (of the marks around a document).
    """
    text = without_courtesies(_not_refused(without_thoughts(clean(answer))))
    text = _not_refused(_unmarked(unfenced(text)))
    if _RUN_ON.match(text):
        raise ParseError("preamble", text[:100])
    if MARKS.search(text):
        raise ParseError("echo", "the marks of the material stand in the answer")
    if not text:
        raise ParseError("empty")
    return text


def _not_refused(text: str) -> str:
    if is_refusal(text):
        raise ParseError("refused", text[:100])
    return text


def without_thoughts(text: str) -> str:
    """Returns a cleaned answer without the block of thoughts that a reasoning model writes first.

    The block's beginning may be missing, because some chat templates have it in the prompt.
    """
    end = _THOUGHTS_END.search(text)
    if end is None:
        if _THOUGHTS.match(text):
            raise ParseError("cut_off", "its thoughts have no end")
        return text
    rest = text[end.end() :].strip()
    if not rest:
        raise ParseError("empty", "nothing after its thoughts")
    return rest


def without_courtesies(text: str) -> str:
    """Returns a text without a first line such as `Sure! Here is the list:` and a last paragraph that offers help."""
    opening = _PREAMBLE.match(text)
    if opening is not None and text[opening.end() :].strip():
        text = text[opening.end() :].strip()
    title = _OWN_TITLE.match(text)
    if title is not None and text[title.end() :].strip():
        text = text[title.end() :].strip()
    head, gap, last = text.rpartition("\n\n")
    if gap and len(last) < 400 and _CLOSING.match(last):
        text = head.strip()
    return text


def unfenced(text: str) -> str:
    """Returns what is in a code fence that is around all of the text; any other text as it is."""
    fences = list(_FENCE.finditer(text))
    if len(fences) < 2 or fences[0].start() or fences[-1].end() != len(text):
        return text
    first, last = fences[0], fences[-1]
    if last[2] or last[1] != first[1] or any(fence[1] == first[1] for fence in fences[1:-1]):
        return text
    return text[first.end() : last.start()].strip("\n")


def code_block(answer: str) -> str:
    """Returns the one code block of an answer, or all of an answer that has none; text around a block is left aside.

    Raises: as `content`; `several_code_blocks`; `cut_off` where a block has no end.
    """
    text = without_thoughts(clean(answer))
    fences = list(_FENCE.finditer(text))
    if not fences:
        return content(answer)
    if len(fences) == 1:
        raise ParseError("cut_off", "a code block has no end")
    if len(fences) > 2:
        raise ParseError("several_code_blocks", f"{len(fences) // 2}")
    block = text[fences[0].end() : fences[1].start()].strip("\n")
    if not block.strip():
        raise ParseError("empty", "an empty code block")
    return block


def _unmarked(text: str) -> str:
    """Takes off the marks of the material where an answer as a whole is written between them."""
    first, _, rest = text.partition("\n")
    middle, _, last = rest.rpartition("\n")
    if middle and MARKS.fullmatch(first) and MARKS.fullmatch(last):
        return middle.strip()
    return text


_HEADING = re.compile(r"^ {0,3}#{1,6}[ \t]+(.*)$", re.MULTILINE)
_BOLD = re.compile(r"(\*\*\*?)(?=\S)([^*\n]{1,500})(?<=\S)\1|(?<!\w)__(?=\S)([^_\n]{1,500})(?<=\S)__(?!\w)")
_ITALIC = re.compile(r"(?<![\w*\\])\*(?=[^\s*])([^*\n]{1,500})(?<=[^\s*])\*(?![\w*])")
_LINK = re.compile(r"!?\[([^\[\]\n]{1,500})\]\([^()\s]{1,2000}\)")


def strip_markdown(text: str) -> str:
    """Returns a text without Markdown's signs for headings, bold, italics and links; lists, tables and code stay.

    A single `_` and a `*` between numbers stay, because formulas and names have them.
    """
    text = _HEADING.sub(_heading, text)
    text = _ITALIC.sub(r"\1", _BOLD.sub(r"\2\3", text))
    return _LINK.sub(r"\1", text)


def _heading(match: re.Match[str]) -> str:
    title = match[1].rstrip("#")  # a closed heading: `## Title ##`, while `## C#` keeps its sign
    return title.rstrip() if title.endswith((" ", "\t")) else match[1]


_QUOTES = {'"': '"', "“": "”", "«": "»", "„": "“", "'": "'", "‘": "’"}


def strip_quotes(text: str) -> str:
    """Returns a text without the quotation marks around all of it; two quotations side by side are left alone."""
    closing = _QUOTES.get(text[:1])
    if closing is None or len(text) < 2 or not text.endswith(closing):
        return text
    inner = text[1:-1]
    return text if closing in inner or text[0] in inner else inner.strip()


def prose(answer: str) -> str:
    """Returns an answer that is running text, without Markdown and quotation marks around it. Raises: as `content`."""
    text = strip_quotes(strip_markdown(content(answer)).strip())
    if not any(character.isalnum() for character in text):
        raise ParseError("empty", "no letters or digits")
    return text


def after_prefix(prefix: str) -> Callable[[str], str]:
    """Makes a parser for running text that must begin with a phrase, which is cut off.

    Raises: ParseError `missing_prefix`, `repeated_prefix` where the phrase comes again; as `content`.
    """
    lowered = prefix.lower()

    def parse(answer: str) -> str:
        text = _not_refused(without_thoughts(clean(answer)))
        text = strip_markdown(_unmarked(unfenced(text))).strip()
        if text[: len(prefix)].lower() != lowered:
            raise ParseError("missing_prefix", text[:100])
        rest = text[len(prefix) :].strip()
        if not rest:
            raise ParseError("empty", "nothing after the prefix")
        text = prose(rest)
        if lowered in text.lower():
            raise ParseError("repeated_prefix", prefix)
        return text

    return parse


@dataclass(frozen=True, slots=True)
class Pair:
    """A question and its answer."""

    question: str
    answer: str


_QUESTIONS = "question|frage|pregunta|pergunta|domanda|vraag|вопрос|问题|問題|问|質問|질문"
_ANSWERS = "answer|réponse|antwort|respuesta|resposta|risposta|antwoord|ответ|答案|答|回答|답변"
_LABEL = re.compile(
    r"[ \t]{0,9}(?:[-*•>][ \t]{1,9})?(?:\d{1,3}[.)][ \t]{0,9})?"
    rf"(?:(?P<question>{_QUESTIONS}|q)[ \t]{{0,3}}\d{{0,3}}[ \t]{{0,3}}(?:[:：.)]|$)"
    rf"|(?P<answer>{_ANSWERS}|a)[ \t]{{0,3}}\d{{0,3}}[ \t]{{0,3}}(?:[:：]|$))[ \t]*",
    re.IGNORECASE,
)
"""Beginning of a line, or all of it. `A)` and `A.` are choices of a question, never the label of an answer. Teachers
that write in another language translate the labels too, whatever the prompt says."""
_SAME_LINE = re.compile(rf"(?<=\S)[ \t]+(?=(?:{_ANSWERS})[ \t]{{0,3}}[:：])", re.IGNORECASE)
_BETWEEN_PAIRS = re.compile(r"(?:\n[ \t]*(?:[-*_=][ \t]*){3,})+\Z")
"""A rule that a teacher draws below a pair."""


def pairs(answer: str) -> list[Pair]:
    """Returns the questions and answers of an answer that has the lines `Question: ...` and `Answer: ...`.

    A question or an answer may have several lines (choices). One short title before the first is left aside.
    Raises: as `content`; `no_pairs`, `text_before_pairs`, `incomplete_pair`.
    """
    return parse_pairs(strip_markdown(content(answer)))


def parse_pairs(text: str) -> list[Pair]:
    """`pairs` for a text that is clean already."""
    before: list[str] = []
    parts: list[tuple[str, list[str]]] = []
    short = False
    for line in _with_own_lines(text):
        label = _LABEL.match(line)
        if label is not None and (label["answer"] or "").lower() == "a" and not short:
            label = None  # the first of several choices, where questions have the label `Question:`
        if label is not None:
            short = short or (label["question"] or "").lower() == "q"
            parts.append(("question" if label["question"] else "answer", [line[label.end() :]]))
        else:
            (parts[-1][1] if parts else before).append(line)
    if not parts:
        raise ParseError("no_pairs", text[:100])
    title = "\n".join(before).strip()
    if len(title) > 120 or "\n" in title:
        raise ParseError("text_before_pairs", title[:100])
    found: list[Pair] = []
    for index in range(0, len(parts), 2):
        kinds = [kind for kind, _ in parts[index : index + 2]]
        texts = [_BETWEEN_PAIRS.sub("", "\n".join(lines).strip()).strip() for _, lines in parts[index : index + 2]]
        if kinds != ["question", "answer"] or not all(texts):
            raise ParseError("incomplete_pair", f"pair {index // 2 + 1}")
        found.append(Pair(*texts))
    return found


def _with_own_lines(text: str) -> Iterator[str]:
    """The lines of a text; a question and the label of its answer in one line are two."""
    for line in text.split("\n"):
        label = _LABEL.match(line)
        if label is not None and label["question"]:
            yield from _SAME_LINE.split(line, maxsplit=1)
        else:
            yield line


def render_pairs(found: Sequence[Pair]) -> str:
    """Returns questions and answers as text, one pair a paragraph, as `pairs` reads them."""
    return "\n\n".join(f"Question: {pair.question}\nAnswer: {pair.answer}" for pair in found)


_BULLET = re.compile(r"[ \t]*(?:[-*•‣–]|\d{1,3}[.)])[ \t]+(?=\S)")


def bullets(answer: str) -> list[str]:
    """Returns the items of a list, whatever marks it has; a first line that is none of them is left aside.

    A line without a mark continues the item before it where it is indented, and so does an indented item below one
    that is not; headings between items are left aside.
    Raises: as `content`; `not_a_list`.
    """
    items: list[str] = []
    lines = content(answer).split("\n")
    marks = [_BULLET.match(line) for line in lines]
    # The first line has lost its indent: it says nothing about the others.
    has_levels = (
        sum(mark is not None and line[:1] not in (" ", "\t") for mark, line in zip(marks, lines, strict=True)) > 1
    )
    for number, (line, mark) in enumerate(zip(lines, marks, strict=True)):
        is_indented = line[:1] in (" ", "\t")
        text = strip_markdown(line[mark.end() :] if mark else line).strip()
        if items and is_indented and (mark is None or has_levels):
            items[-1] += " " + text
        elif mark is not None:
            items.append(text)
        elif text and number and not _is_heading(line):
            raise ParseError("not_a_list", line[:100])
    if not items:
        raise ParseError("not_a_list", "no items")
    return items


def _is_heading(line: str) -> bool:
    """Whether a line is a heading of Markdown, bold as a whole, or short with a colon at its end."""
    text = line.strip()
    is_bold = text.startswith("**") and text.rstrip(":").endswith("**") and text.count("**") == 2
    return len(text) < 100 and (text.startswith("#") or is_bold or text.endswith((":", ":**")))


def render_bullets(items: Sequence[str]) -> str:
    """Returns items as a list, as `bullets` reads it."""
    return "\n".join(f"- {item}" for item in items)


_STEP = re.compile(r"^(\d{1,3})(?:\\?[.)]|:)[ \t]+(?=\S)", re.MULTILINE)
_NAMED_STEP = re.compile(r"^step[ \t]+(\d{1,3})[ \t]*(?:[.:)]|[-–—](?=[ \t])|$)[ \t]*", re.IGNORECASE | re.MULTILINE)


def steps(text: str) -> list[str]:
    """Returns the steps of a clean text: lines that begin with `1.` or `Step 1:`, numbered from 1 without a gap.

    Indented numbers are parts of a step, and so are all others that interrupt the order of steps called `Step`.
    Raises: ParseError `no_steps`, `steps_out_of_order`.
    """
    named = list(_NAMED_STEP.finditer(text))
    marks = sorted([*named, *_STEP.finditer(text)], key=lambda mark: mark.start())
    if not marks:
        raise ParseError("no_steps", text[:100])
    if not _are_in_order(marks) and named:
        marks = named
    if not _are_in_order(marks):
        raise ParseError("steps_out_of_order", ", ".join(mark[1] for mark in marks[:20]))
    ends = [*(mark.start() for mark in marks[1:]), len(text)]
    return [text[mark.end() : end].strip() for mark, end in zip(marks, ends, strict=True)]


def _are_in_order(marks: Sequence[re.Match[str]]) -> bool:
    return [int(mark[1]) for mark in marks] == list(range(1, len(marks) + 1))


def sections(text: str, names: Sequence[str]) -> dict[str, str]:
    """Returns the parts of a clean text that begin with the given labels (`Problem:`), in their order, each once.

    Raises: ParseError `missing_<name>`, `repeated_<name>`, `empty_<name>`, `sections_out_of_order`,
    `text_before_sections`.
    """
    label = re.compile(
        rf"^[ \t]*(?:final[ \t]+|word[ \t]+|step-by-step[ \t]+)?({'|'.join(re.escape(name) for name in names)})"
        r"[ \t]*(?:[:：]|$)",
        re.IGNORECASE | re.MULTILINE,
    )
    marks = list(label.finditer(text))
    found = [mark[1].lower() for mark in marks]
    for name in names:
        if name.lower() not in found:
            raise ParseError(f"missing_{_slug(name)}", text[:100])
        if found.count(name.lower()) > 1:
            raise ParseError(f"repeated_{_slug(name)}")
    if found != [name.lower() for name in names]:
        raise ParseError("sections_out_of_order", ", ".join(found))
    if text[: marks[0].start()].strip():
        raise ParseError("text_before_sections", text[:100])
    ends = [*(mark.start() for mark in marks[1:]), len(text)]
    values = [text[mark.end() : end].strip() for mark, end in zip(marks, ends, strict=True)]
    for name, value in zip(names, values, strict=True):
        if not value:
            raise ParseError(f"empty_{_slug(name)}")
    return dict(zip(names, values, strict=True))


def _slug(name: str) -> str:
    return name.lower().replace(" ", "_")


def labelled(*names: str) -> Callable[[str], dict[str, str]]:
    """Makes a parser for answers of labelled sections, see `sections`."""

    def parse(answer: str) -> dict[str, str]:
        return sections(strip_markdown(content(answer)), names)

    return parse


@dataclass(frozen=True, slots=True)
class Table:
    """A Markdown table: a header and rows with as many cells."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


_RULE = re.compile(r":?-+:?")
_PIPE = re.compile(r"(?<!\\)\|")


def table(text: str) -> tuple[Table, str]:
    """Returns the first Markdown table of a clean text, and the text after it.

    Raises: ParseError `no_table`, `ragged_table` (a row with more or fewer cells), `empty_table` (no row, an empty
    header), `text_before_table` (more than a title).
    """
    lines = text.split("\n")
    rule = next((n for n, line in enumerate(lines) if n and "|" in lines[n - 1] and _is_rule(line)), None)
    if rule is None:
        raise ParseError("no_table", text[:100])
    before = "\n".join(lines[: rule - 1]).strip()
    if len(before) > 200:
        raise ParseError("text_before_table", before[:100])
    header = _cells(lines[rule - 1])
    end = next((n for n in range(rule + 1, len(lines)) if "|" not in lines[n]), len(lines))
    rows = tuple(_cells(line) for line in lines[rule + 1 : end])
    if not rows or len(header) < 2 or not all(header):
        raise ParseError("empty_table", lines[rule - 1][:100])
    if any(len(row) != len(header) for row in (_cells(lines[rule]), *rows)):
        raise ParseError("ragged_table", lines[rule - 1][:100])
    return Table(header, rows), "\n".join(lines[end:]).strip()


def _is_rule(line: str) -> bool:
    return "|" in line and "-" in line and all(_RULE.fullmatch(cell) for cell in _cells(line))


def _cells(line: str) -> tuple[str, ...]:
    cells = [cell.strip().replace("\\|", "|") for cell in _PIPE.split(line.strip())]
    if cells and not cells[0] and line.lstrip().startswith("|"):
        cells = cells[1:]
    if cells and not cells[-1] and line.rstrip().endswith("|"):
        cells = cells[:-1]
    return tuple(cells)


def render_table(found: Table) -> str:
    """Returns a table in Markdown, as `table` reads it."""
    rule = tuple("---" for _ in found.header)
    rows = [[cell.replace("|", "\\|") for cell in row] for row in (found.header, *found.rows)]
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "| " + " | ".join(rule) + " |", *lines[1:]])


def json_value(answer: str) -> object:
    """Returns the one JSON object or list that an answer consists of, in a code block or bare.

    Raises: as `code_block`; `not_json` (also for NaN and a key that is there twice).
    """
    block = without_courtesies(code_block(answer)).strip()
    try:
        value: object = json.loads(block, parse_constant=_no_constant, object_pairs_hook=_distinct)
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()  # fails for 1e999, half a surrogate pair
    except RecursionError as error:
        raise ParseError("not_json", "nested too deep") from error
    except ValueError as error:
        raise ParseError("not_json", str(error)[:200]) from error
    if not isinstance(value, dict | list):
        raise ParseError("not_json", "neither an object nor a list")
    return cast("object", value)


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


def _distinct(members: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(members)
    if len(found) != len(members):
        raise ValueError("a key is there twice")
    return found
