"""Text to JSON: what a schema describes is extracted from documents; answers are validated, and checked in the text."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

from tilth.errors import ConfigError, DependencyError
from tilth.synthesis.define import Ask, Draft, ParseError, Parser, Rejected, recipe
from tilth.synthesis.material import material
from tilth.synthesis.parse import json_value
from tilth.synthesis.passages import first_characters
from tilth.synthesis.post import numbers
from tilth.teacher.request import GenerationParams
from tilth.types import Document, Message

Schema = Mapping[str, Any]
_WORD = re.compile(r"[^\W_]+")
_TEXT: Schema = {"type": "string", "minLength": 1}
_TEXTS: Schema = {"type": "array", "items": _TEXT}


def _list_of(name: str, required: tuple[str, ...], properties: Mapping[str, Schema]) -> Schema:
    item = {"type": "object", "properties": dict(properties), "required": list(required), "additionalProperties": False}
    return {
        "type": "object",
        "properties": {name: {"type": "array", "items": item}},
        "required": [name],
        "additionalProperties": False,
    }


SCHEMAS: dict[str, Schema] = {
    "people": _list_of("people", ("name",), {"name": _TEXT, "role": _TEXT, "organisation": _TEXT, "dates": _TEXTS}),
    "events": _list_of("events", ("what",), {"what": _TEXT, "when": _TEXT, "where": _TEXT, "participants": _TEXTS}),
    "products": _list_of("products", ("name",), {"name": _TEXT, "maker": _TEXT, "price": _TEXT, "features": _TEXTS}),
    "places": _list_of("places", ("name",), {"name": _TEXT, "located_in": _TEXT, "known_for": _TEXTS}),
    "terms": _list_of("terms", ("term", "definition"), {"term": _TEXT, "definition": _TEXT, "examples": _TEXTS}),
}
"""Built-in schemas."""


@dataclass(frozen=True, kw_only=True)
class ExtractJson:
    """Extraction of structured information."""

    schema: str = "terms"
    """people, events, products, places, terms, or a file with a JSON schema (a run's identity has its content)."""
    grounded: bool = True
    """Drop answers with a text or a number in them that does not stand in the document."""
    max_characters: int = 8000
    """How much of a document is shown, from its beginning."""

    def __post_init__(self) -> None:
        if self.max_characters < 1:
            raise ConfigError(f"`max_characters` is {self.max_characters}.", fix="Show 1 or more.")
        if self.schema not in SCHEMAS:
            object.__setattr__(self, "schema", json.dumps(read_schema(self.schema), ensure_ascii=False))


@recipe(
    "extract-json",
    version=1,
    shape="chat",
    prompts=("extract",),
    options=ExtractJson,
    params=GenerationParams(max_tokens=2048, temperature=0.2),
)
async def extract_json(document: Document, ask: Ask) -> list[Draft]:
    """Extraction tasks: a document and a JSON schema, answered by JSON that is valid and stands in the document."""
    options: ExtractJson = ask.options
    shown = first_characters(document.text, options.max_characters)
    if not shown.text:
        raise Rejected("empty_document")
    schema = read_schema(options.schema)
    parse = valid_json(options.schema, shown.text if options.grounded else None)
    variables = {"document": shown.text, "schema": json.dumps(schema, ensure_ascii=False, indent=2)}
    reply = await ask("extract", variables, parse, schema=schema)
    task = f"Extract what this JSON schema describes, as JSON:\n\n{variables['schema']}\n\n{material(shown.text)}"
    messages = (Message(role="user", content=task), Message(role="assistant", content=reply.value))
    part = options.schema if options.schema in SCHEMAS else str(schema.get("title", "schema"))[:50]
    meta = {"appends_source": True}  # for the copy gate: the task has the document in it
    return [Draft(messages=messages, replies=(reply,), span=shown.span, part=part, meta=meta)]


def valid_json(name: str, text: str | None) -> Parser[str]:
    """Makes a parser: JSON that is valid under a schema, written again with an indent of two.

    `text`: all texts and numbers of the answer must stand in it, whatever their case and blanks.
    Raises: ParseError `invalid_under_schema`, `nothing_found`, `not_in_document`, as `parse.json_value`.
    """
    validator = _validator(json.dumps(read_schema(name)))
    words, found = _folded(text or ""), {abs(number) for number in numbers(text or "")}

    def parse(answer: str) -> str:
        value = json_value(answer)
        error = next(iter(validator.iter_errors(value)), None)
        if error is not None:
            path = "/".join(str(part) for part in error.absolute_path)
            raise ParseError("invalid_under_schema", f"{path}: {error.message}"[:200])
        leaves = list(_leaves(value))
        if not leaves:
            raise ParseError("nothing_found")
        if text is not None and (absent := _absent(leaves, words, found)) is not None:
            raise ParseError("not_in_document", str(absent)[:200])
        return json.dumps(value, ensure_ascii=False, indent=2)

    return parse


def _folded(text: str) -> str:
    """A text as letters, digits and single blanks between, with a blank at both ends: only whole words are found."""
    return " ".join(["", *_WORD.findall(text.casefold()), ""])


def _absent(leaves: list[str | int | float], words: str, found: set[Fraction]) -> str | int | float | None:
    """The first text or number that is not in a document of such words and numbers."""
    for leaf in leaves:
        if (_folded(leaf) not in words) if isinstance(leaf, str) else (abs(Fraction(str(leaf))) not in found):
            return leaf
    return None


def _leaves(value: object) -> Iterator[str | int | float]:
    """Texts and numbers of a JSON value; true, false and null are judgements, which are written in no text."""
    if isinstance(value, dict):
        for member in cast("dict[str, object]", value).values():
            yield from _leaves(member)
    elif isinstance(value, list):
        for member in cast("list[object]", value):
            yield from _leaves(member)
    elif isinstance(value, str | int | float) and not isinstance(value, bool):
        yield value


def read_schema(name: str) -> Schema:
    """Returns a schema: a built-in one, that of a file, or JSON. Raises: ConfigError if it cannot be used."""
    if name in SCHEMAS:
        return SCHEMAS[name]
    is_json = name.lstrip().startswith(("{", "["))
    if not is_json and not Path(name).is_file():
        raise ConfigError(f"There is no schema `{name}`.", fix=f"Give a file, or one of {', '.join(SCHEMAS)}.")
    where = "The schema" if is_json else name
    try:
        schema: object = json.loads(name if is_json else Path(name).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{where} is not JSON: {error}.") from None
    if not isinstance(schema, dict):
        raise ConfigError(f"{where} is no JSON schema: it is not an object.")
    schema = cast("dict[str, Any]", schema)
    for reference in _references(schema):
        if not _resolves(reference, schema):
            raise ConfigError(
                f"{where} refers to `{reference:.100}`, which is not in it.",
                fix="Put all definitions into the one file, and refer to them as `#/$defs/name`.",
            )
    return schema


def _references(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        for key, member in cast("dict[str, object]", value).items():
            if key in ("$ref", "$dynamicRef"):
                yield str(member)
            else:
                yield from _references(member)
    elif isinstance(value, list):
        for member in cast("list[object]", value):
            yield from _references(member)


def _resolves(reference: str, schema: object) -> bool:
    if reference != "#" and not reference.startswith("#/"):
        return False
    for part in reference.split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        if not isinstance(schema, dict) or key not in schema:
            return False
        schema = cast("dict[str, object]", schema)[key]
    return True


@lru_cache
def _validator(text: str) -> Any:
    """Raises: DependencyError without jsonschema; ConfigError for what is no schema."""
    try:
        import jsonschema
        import jsonschema.validators
        from referencing import Registry
    except ImportError as error:
        raise DependencyError(
            "The recipe `extract-json` needs jsonschema.", fix='Install it: `pip install "tilth[synthesis]"`.'
        ) from error
    schema = json.loads(text)
    kind = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
    try:
        kind.check_schema(schema)
    except jsonschema.SchemaError as error:
        raise ConfigError(f"`{text:.100}` is no valid JSON schema: {error.message}.") from None
    return kind(schema, registry=Registry())  # without one that fetches what a schema refers to
