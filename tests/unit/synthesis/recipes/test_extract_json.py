"""Text to JSON: the schema decides what is valid, and the document what is true."""

import json
from pathlib import Path

import pytest

from tilth.errors import ConfigError
from tilth.synthesis.define import ParseError, load_recipe
from tilth.synthesis.material import material
from tilth.synthesis.recipes.extract_json import SCHEMAS, ExtractJson, read_schema, valid_json
from tilth.synthesis.trial import try_recipe
from tilth.types import Document

TEXT = "Ada Lovelace, a mathematician, met Charles Babbage in 1833. The engine cost £17,000."
DOCUMENT = Document.make(TEXT, "letters/1")
PEOPLE = {"people": [{"name": "Ada  Lovelace", "role": "mathematician", "dates": ["1833"]}]}


def reason(name: str, answer: object, text: str | None = TEXT) -> str:
    with pytest.raises(ParseError) as caught:
        valid_json(name, text)(answer if isinstance(answer, str) else json.dumps(answer))
    return caught.value.reason


def test_the_sample_is_a_task_with_document_and_schema_and_its_json() -> None:
    options = ExtractJson(schema="people")
    fenced = f"```json\n{json.dumps(PEOPLE)}\n```"
    result = try_recipe(load_recipe("extract-json"), [DOCUMENT], lambda request, sample: fenced, options)
    (draft,) = result.drafts[0]
    task, answer = draft.messages
    assert (task.role, answer.role) == ("user", "assistant")
    assert material(TEXT) in task.content
    assert json.dumps(SCHEMAS["people"], indent=2) in task.content
    assert json.loads(answer.content) == PEOPLE
    assert result.requests[0].schema == SCHEMAS["people"]
    assert (draft.part, draft.span, draft.meta["appends_source"]) == ("people", (0, len(TEXT.encode())), True)


def test_answers_must_be_valid_under_the_schema() -> None:
    assert reason("people", {"people": [{"role": "mathematician"}]}) == "invalid_under_schema"
    assert reason("people", {"people": [{"name": "Ada Lovelace", "age": 36}]}) == "invalid_under_schema"
    assert reason("people", [PEOPLE]) == "invalid_under_schema"
    assert reason("people", {"people": []}) == "nothing_found"
    assert reason("people", "Ada Lovelace is the only one.") == "not_json"
    assert reason("people", json.dumps(PEOPLE)[:-3]) == "not_json"


def test_values_must_stand_in_the_document() -> None:
    invented = {"people": [{"name": "Grace Hopper"}]}
    assert reason("people", invented) == "not_in_document"
    assert json.loads(valid_json("people", None)(json.dumps(invented))) == invented
    assert reason("people", {"people": [{"name": "Ada Love"}]}) == "not_in_document"  # whole words only
    assert valid_json("people", TEXT)(json.dumps({"people": [{"name": "CHARLES BABBAGE"}]}))


def test_numbers_are_looked_up_and_judgements_are_not(tmp_path: Path) -> None:
    file = tmp_path / "cost.json"
    file.write_text(
        json.dumps({"type": "object", "properties": {"year": {"type": "number"}, "known": {"type": "boolean"}}})
    )
    parse = valid_json(str(file), TEXT)
    assert json.loads(parse('{"year": 1833, "known": true}')) == {"year": 1833, "known": True}
    assert json.loads(parse('{"year": 17000}')) == {"year": 17000}
    assert json.loads(parse('{"year": -1833.0}')) == {"year": -1833.0}
    assert reason(str(file), {"year": 1834}) == "not_in_document"
    assert reason(str(file), '{"year": 1e999}') == "not_json"
    assert reason(str(file), {"known": True}) == "nothing_found"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "not JSON"),
        ("[1]", "not an object"),
        ('{"type": "objekt"}', "no valid JSON schema"),
        ('{"$ref": "https://example.org/s.json"}', "which is not in it"),
        ('{"items": {"$ref": "other.json#/a"}}', "which is not in it"),
        ('{"$ref": "#/$defs/none"}', "which is not in it"),
    ],
)
def test_a_schema_that_cannot_be_used_is_the_users_mistake(tmp_path: Path, content: str, says: str) -> None:
    file = tmp_path / "schema.json"
    file.write_text(content)
    with pytest.raises(ConfigError, match=says):
        valid_json(str(file), TEXT)
    with pytest.raises(ConfigError, match="no schema"):
        read_schema(str(tmp_path / "none.json"))


def test_a_schema_file_is_read_when_the_options_are_made(tmp_path: Path) -> None:
    file = tmp_path / "schema.json"
    file.write_text('{"title": "years", "type": "object", "properties": {"year": {"type": "number"}}}')
    options = ExtractJson(schema=str(file))
    file.write_text('{"type": "array"}')
    assert options == ExtractJson(schema=options.schema) != ExtractJson(schema=str(file))
    result = try_recipe(load_recipe("extract-json"), [DOCUMENT], lambda request, sample: '{"year": 1833}', options)
    (draft,) = result.drafts[0]
    assert draft.part == "years"
    with pytest.raises(ConfigError, match="no schema"):
        ExtractJson(schema="poems")


def test_a_schema_may_refer_to_itself(tmp_path: Path) -> None:
    file = tmp_path / "tree.json"
    node = {"type": "object", "properties": {"name": {"type": "string"}, "parts": {"items": {"$ref": "#/$defs/node"}}}}
    file.write_text(json.dumps({"$ref": "#/$defs/node", "$defs": {"node": node}}))
    assert valid_json(str(file), TEXT)('{"name": "engine", "parts": [{"name": "Ada"}]}')
    assert reason(str(file), {"name": "engine", "parts": [{"name": 1}]}) == "invalid_under_schema"
