"""The 25 kinds of verifiable instructions of IFEval (Zhou et al. 2023, arXiv 2311.07911), in our own implementation.

Names and arguments are those of the paper's data, so that its rows can be checked as they are. Where the paper's
program takes a keyword for a regular expression, here it is plain text, and sentences and words are split by rules
instead of NLTK's models.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from tilth.errors import ConfigError

Arguments = Mapping[str, Any]
Check = Callable[[str, Arguments], bool]
"""Answer and arguments -> whether the instruction is followed."""

MAX_CHARS = 100_000
"""Longest answer that can follow an instruction."""
CONSTRAINED = ("My answer is yes.", "My answer is no.", "My answer is maybe.")
_ABBREVIATION = re.compile(
    r"\b(?:Mr|Mrs|Ms|Dr|Prof|St|Sr|Jr|vs|etc|e\.g|i\.e|a\.m|p\.m|U\.S|No|[A-Z])\.$", re.IGNORECASE
)
_SENTENCE_END = re.compile(r"[.!?]+[\"'”’)\]]*(?=\s|$)|\n\s*\n")
_WORD = re.compile(r"\w+(?:['’-]\w+)*")


def count_sentences(text: str) -> int:
    """Returns how many sentences a text has: they end at `.`, `!`, `?` or a blank line."""
    count = begin = 0
    for match in _SENTENCE_END.finditer(text):
        sentence = text[begin : match.end()].strip()
        if not re.search(r"\w", sentence):
            begin = match.end()
            continue
        if _ABBREVIATION.search(sentence[-12:]) and re.match(r"\s+\S", text[match.end() :][:10]):
            continue
        count, begin = count + 1, match.end()
    return count + bool(re.search(r"\w", text[begin:]))


def _holds(relation: object, count: int, limit: object) -> bool:
    if relation not in ("less than", "at least") or not isinstance(limit, int):
        raise ConfigError(
            f"The relation {relation!r} to {limit!r} is none.",
            fix="Write `less than` or `at least` and a whole number.",
        )
    return count < limit if relation == "less than" else count >= limit


def _existence(answer: str, arguments: Arguments) -> bool:
    return all(str(keyword).casefold() in answer.casefold() for keyword in arguments["keywords"])


def _frequency(answer: str, arguments: Arguments) -> bool:
    count = answer.casefold().count(str(arguments["keyword"]).casefold())
    return _holds(arguments["relation"], count, arguments["frequency"])


def _forbidden(answer: str, arguments: Arguments) -> bool:
    words = [rf"(?<!\w){re.escape(str(word))}(?!\w)" for word in arguments["forbidden_words"]]
    return not any(re.search(word, answer, re.IGNORECASE) for word in words)


def _letters(answer: str, arguments: Arguments) -> bool:
    count = answer.lower().count(str(arguments["letter"]).lower())
    return _holds(arguments["let_relation"], count, arguments["let_frequency"])


def _language(answer: str, arguments: Arguments) -> bool:
    return _identify(answer) == str(arguments["language"]).partition("-")[0]


def _sentences(answer: str, arguments: Arguments) -> bool:
    return _holds(arguments["relation"], count_sentences(answer), arguments["num_sentences"])


def _paragraphs(answer: str, arguments: Arguments) -> bool:
    parts = [part.strip() for part in re.split(r"\s?\*\*\*\s?", answer)]
    inner = parts[1:-1] if len(parts) > 1 else parts
    return all(inner) and len([part for part in parts if part]) == arguments["num_paragraphs"]


def _words(answer: str, arguments: Arguments) -> bool:
    return _holds(arguments["relation"], len(re.findall(r"\w+", answer)), arguments["num_words"])


def _first_word(answer: str, arguments: Arguments) -> bool:
    paragraphs = [part.strip() for part in answer.split("\n\n")]
    nth = int(arguments["nth_paragraph"])
    if len([part for part in paragraphs if part]) != arguments["num_paragraphs"] or not 1 <= nth <= len(paragraphs):
        return False
    words = paragraphs[nth - 1].split()
    first = re.split(r"[.,?!'\"]", words[0].lstrip("'\""))[0] if words else ""
    return first.lower() == str(arguments["first_word"]).lower()


def _placeholders(answer: str, arguments: Arguments) -> bool:
    return len(re.findall(r"\[[^\[\]\n]*\]", answer)) >= arguments["num_placeholders"]


def _postscript(answer: str, arguments: Arguments) -> bool:
    marker = str(arguments["postscript_marker"]).lower()
    known = {"p.s.": r"p\.\s?s\.", "p.p.s": r"p\.\s?p\.\s?s"}
    return re.search(known.get(marker, re.escape(marker)), answer.lower()) is not None


def _bullets(answer: str, arguments: Arguments) -> bool:
    lines = [line.lstrip() for line in answer.split("\n")]
    count = sum(line.startswith("-") or re.match(r"\*[^*]", line) is not None for line in lines)
    return count == arguments["num_bullets"]


def _constrained(answer: str, arguments: Arguments) -> bool:
    return any(option in answer for option in CONSTRAINED)


def _highlights(answer: str, arguments: Arguments) -> bool:
    single = [part for part in re.findall(r"\*[^\n*]*\*", answer) if part.strip("*").strip()]
    double = [part for part in re.findall(r"\*\*[^\n*]*\*\*", answer) if part.strip("*").strip()]
    return len(single) + len(double) >= arguments["num_highlights"]


def _sections(answer: str, arguments: Arguments) -> bool:
    # IFEval's data spells it so.
    splitter = str(arguments.get("section_spliter") or arguments["section_splitter"])
    return len(re.findall(rf"{re.escape(splitter)}\s?\d+", answer)) >= arguments["num_sections"]


def _json(answer: str, arguments: Arguments) -> bool:
    text = re.sub(r"\A```(?:json)?\s*", "", answer.strip(), flags=re.IGNORECASE).removesuffix("```").strip()
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _title(answer: str, arguments: Arguments) -> bool:
    return any(title.strip() for title in re.findall(r"<<([^\n<>]+)>>", answer))


def _two_responses(answer: str, arguments: Arguments) -> bool:
    parts = [part.strip() for part in answer.split("******")]
    inner = parts[1:-1] if len(parts) > 1 else parts
    found = [part for part in parts if part]
    return all(inner) and len(found) == 2 and found[0] != found[1]


def _repeat(answer: str, arguments: Arguments) -> bool:
    return answer.strip().lower().startswith(str(arguments["prompt_to_repeat"]).strip().lower())


def _end(answer: str, arguments: Arguments) -> bool:
    return answer.strip().strip('"').lower().endswith(str(arguments["end_phrase"]).strip().lower())


def _capital_words(answer: str, arguments: Arguments) -> bool:
    count = sum(word.isupper() for word in _WORD.findall(answer))
    return _holds(arguments["capital_relation"], count, arguments["capital_frequency"])


def _upper(answer: str, arguments: Arguments) -> bool:
    return answer.isupper() and _identify(answer.lower()) == "en"


def _lower(answer: str, arguments: Arguments) -> bool:
    return answer.islower() and _identify(answer) == "en"


def _no_comma(answer: str, arguments: Arguments) -> bool:
    return "," not in answer


def _quotation(answer: str, arguments: Arguments) -> bool:
    text = answer.strip()
    return len(text) > 1 and text[0] == text[-1] == '"'


CHECKS: dict[str, tuple[Check, tuple[str, ...]]] = {
    "keywords:existence": (_existence, ("keywords",)),
    "keywords:frequency": (_frequency, ("keyword", "relation", "frequency")),
    "keywords:forbidden_words": (_forbidden, ("forbidden_words",)),
    "keywords:letter_frequency": (_letters, ("letter", "let_relation", "let_frequency")),
    "language:response_language": (_language, ("language",)),
    "length_constraints:number_sentences": (_sentences, ("relation", "num_sentences")),
    "length_constraints:number_paragraphs": (_paragraphs, ("num_paragraphs",)),
    "length_constraints:number_words": (_words, ("relation", "num_words")),
    "length_constraints:nth_paragraph_first_word": (_first_word, ("num_paragraphs", "nth_paragraph", "first_word")),
    "detectable_content:number_placeholders": (_placeholders, ("num_placeholders",)),
    "detectable_content:postscript": (_postscript, ("postscript_marker",)),
    "detectable_format:number_bullet_lists": (_bullets, ("num_bullets",)),
    "detectable_format:constrained_response": (_constrained, ()),
    "detectable_format:number_highlighted_sections": (_highlights, ("num_highlights",)),
    "detectable_format:multiple_sections": (_sections, ("section_spliter", "num_sections")),
    "detectable_format:json_format": (_json, ()),
    "detectable_format:title": (_title, ()),
    "combination:two_responses": (_two_responses, ()),
    "combination:repeat_prompt": (_repeat, ("prompt_to_repeat",)),
    "startend:end_checker": (_end, ("end_phrase",)),
    "startend:quotation": (_quotation, ()),
    "change_case:capital_word_frequency": (_capital_words, ("capital_relation", "capital_frequency")),
    "change_case:english_capital": (_upper, ()),
    "change_case:english_lowercase": (_lower, ()),
    "punctuation:no_comma": (_no_comma, ()),
}
"""Name of an instruction -> how it is checked, and its arguments."""


def follows(answer: str, kind: str, arguments: Arguments) -> bool:
    """Whether an answer follows an instruction; an empty one follows none.

    Raises: ConfigError for an unknown kind, or arguments that are missing or of the wrong type.
    """
    if kind not in CHECKS:
        raise ConfigError(f"There is no instruction `{kind[:80]}`.", fix=f"There are: {', '.join(sorted(CHECKS))}.")
    if not answer.strip() or len(answer) > MAX_CHARS:
        return False
    check, names = CHECKS[kind]
    try:
        return check(answer, arguments)
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(
            f"The arguments {dict(arguments)!r} of `{kind}` do not work: {type(error).__name__} {error}.",
            fix=f"It takes: {', '.join(names) or 'none'}.",
        ) from None


def _identify(text: str) -> str:
    from tilth.curation.language import identify

    return identify(text)[0]
