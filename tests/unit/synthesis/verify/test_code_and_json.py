"""Verifiers of code and of JSON, and what answers try in order to pass without being right."""

from __future__ import annotations

import json
import sys
import time

import pytest

from tilth.errors import ConfigError, DependencyError
from tilth.synthesis.verify import isolation, verifier
from tilth.synthesis.verify.code_tests import code_in, same
from tilth.synthesis.verify.json_schema import JsonSchema, json_in
from tilth.types import Problem

isolated = pytest.mark.skipif(
    not {"landlock", "seccomp"} <= {layer.split()[0] for layer in isolation().layers}, reason="no isolation here"
)


def verdict(name: str, options: object, answer: str):
    full = f"{name}:{json.dumps(options)}"
    return verifier(full).verify(Problem.make("?", verifier=full), answer)


DOUBLE = {"function": "double", "cases": [{"args": [1], "result": 2}, {"args": ["a"], "result": "aa"}]}


@isolated
@pytest.mark.parametrize(
    ("answer", "detail", "score"),
    [
        ("def double(x): return 2 * x", "2 of 2 cases", 1.0),
        ("Here:\n```python\ndef double(x):\n    print('noise')\n    return 2 * x\n```\nDone.", "2 of 2 cases", 1.0),
        ("def double(x): return 2", "1 of 2 cases; case 2: gave '2', not '\"aa\"'", 0.5),
        ("def double(x): return x / 0", "0 of 2 cases; case 1: TypeError", 0.0),
        ("def other(x): return x", "0 of 2 cases; case 1: KeyError: 'double'", 0.0),
        ("def double(x)", "0 of 2 cases; case 1: error: SyntaxError: expected ':'", 0.0),
        ("print('all tests passed')\nimport os\nos._exit(0)", "0 of 2 cases; case 1: no result", 0.0),
        ("import sys\nsys.exit(0)", "0 of 2 cases; case 1: no result", 0.0),
        ("def double(x): raise SystemExit(0)", "0 of 2 cases; case 1: no result", 0.0),
        ("import sys\nprint('2'); print('\"aa\"')\nsys.exit()", "0 of 2 cases; case 1: no result", 0.0),
        ("while True: pass", "0 of 2 cases; case 1: time: out of time", 0.0),
        ("", "no code", 0.0),
    ],
)
def test_code(answer: str, detail: str, score: float) -> None:
    found = verdict("code", {**DOUBLE, "seconds": 1}, answer)
    assert found.score == score
    assert found.passed is (score == 1.0)
    assert found.detail.startswith(detail) or ("x / 0" in answer and "Error" in found.detail)


@isolated
@pytest.mark.parametrize(
    "answer",
    [
        # An object that equals everything, a number that does, and a driver that is changed.
        "class E:\n    __eq__ = lambda a, b: True\n    __hash__ = lambda s: 0\ndef double(x): return E()",
        "class E(int):\n    __eq__ = lambda a, b: True\n    __ne__ = lambda a, b: False\ndef double(x): return E(1)",
        "import __main__\n__main__._encode = lambda v: {'set': []}\ndef double(x): return x",
        "import json\njson.dumps = lambda v: 'null'\ndef double(x): return x",
        # Looks for what is expected in frames, in memory and in files.
        "import sys, gc\ndef double(x):\n    seen = repr([sys._getframe(i).f_locals for i in range(3)]) + repr("
        "[o for o in gc.get_objects() if type(o) in (dict, list)])\n    return 'aa' if \"'aa'\" in seen else 0",
        "import os\ndef double(x):\n    seen = ''.join(open(f).read() for f in os.listdir('.') if f != 'solution.py')\n"
        "    return 'aa' if 'aa' in seen else 0",
        # Floods the channel with results, or writes more than there are calls.
        "import os\nfor fd in range(3, 9):\n    try: os.write(fd, b'2\\n\"aa\"\\n2\\n')\n    except OSError: pass\n"
        "def double(x): return 2 * x",
    ],
)
def test_code_cannot_cheat(answer: str) -> None:
    assert not verdict("code", {**DOUBLE, "seconds": 2}, answer).passed


@isolated
def test_programs_with_standard_input() -> None:
    options = {"cases": [{"stdin": "3\n", "stdout": "6\n"}, {"stdin": "4", "stdout": "8"}]}
    assert verdict("code", options, "print(int(input()) * 2)").passed
    assert verdict("code", options, "print(6)").score == 0.5
    assert verdict("code", options, "print(int(input()) * 2); 1/0").score == 0


@isolated
def test_results_of_all_kinds() -> None:
    results = [
        ("(1, [2.0000000001, None])", [1, [2, None]]),
        ("{3, 1}", {"set": [1, 3]}),
        ("{'b': 1, 'a': (2,)}", {"a": [2], "b": 1}),
        ("{1: 2}", {"dict": [[1, 2]]}),
        ("float('inf')", float("inf")),
        ("10**30", 10**30),
    ]
    for expression, wanted in results:
        options = {"function": "f", "cases": [{"result": wanted}]}
        found = verdict("code", options, f"def f(): return {expression}")
        assert found.passed, (expression, found)
    assert not verdict("code", {"function": "f", "cases": [{"result": 1}]}, "def f(): return True").passed
    assert not verdict("code", {"function": "f", "cases": [{"result": 1}]}, "def f(): return object()").passed
    assert not same(10**400, 1.5)


def test_settings_of_code() -> None:
    for options, text in (
        ({}, "no cases"),
        ({"cases": [{"stdin": ""}]}, "lacks"),
        ({"function": "f", "cases": [{"stdin": "", "stdout": ""}]}, "beside a function"),
        ({"function": "f", "cases": [{}], "seconds": 0}, "seconds"),
    ):
        with pytest.raises(ConfigError, match=text):
            verdict("code", options, "x")


def test_which_code_is_meant() -> None:
    assert code_in("a\n```py\none\n```\n```python\ntwo\n```\n```sh\nls\n```") == "two\n"
    assert code_in("```\none\n```") == "one\n"
    assert code_in("x = 1") == "x = 1"
    assert code_in(" \n") is None


SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer", "minimum": 0}},
    "required": ["name"],
}


@pytest.mark.parametrize(
    ("answer", "detail"),
    [
        ('{"name": "A", "age": 3}', "fits the schema"),
        ('Sure:\n```json\n{"name": "A"}\n```\nDone.', "fits the schema"),
        ('I think {"name": "A"} is right.', "fits the schema"),
        ('{"name": 1} or rather {"name": "A"}', "fits the schema"),
        ('{"name": "A", "age": -1}', "$.age: -1 is less than the minimum of 0"),
        ('{"age": 1}', "$: 'name' is a required property"),
        ('{"name": "A"', "no JSON"),
        ("nothing", "no JSON"),
        ("NaN", "no JSON"),
        ("3", "$: 3 is not of type 'object'"),
        ("[" * 5000 + "]" * 5000, "no JSON"),
        ('{"name":' * 70 + '"A"' + "}" * 70, "nested deeper than 64"),
    ],
)
def test_json_schema(answer: str, detail: str) -> None:
    found = verdict("json_schema", {"schema": SCHEMA}, answer)
    assert (found.detail, found.passed) == (detail, detail == "fits the schema")


def test_json_as_the_whole_answer() -> None:
    assert not verdict("json_schema", {"schema": SCHEMA, "anywhere": False}, 'So: {"name": "A"}').passed
    assert verdict("json_schema", {"anywhere": False}, "[1]").passed
    assert json_in('x [1] y {"a": 2}') == {"a": 2}
    with pytest.raises(ValueError, match="no JSON"):
        json_in("x")


def test_schemas_that_do_not_work(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="schema is none"):
        verdict("json_schema", {"schema": {"type": "nonsense"}}, "1")
    with pytest.raises(ConfigError, match="may take very long"):
        verdict("json_schema", {"schema": {"items": {"pattern": "(a+)+$"}}}, "1")
    remote = {"$ref": "http://127.0.0.1:1/schema.json"}
    assert "not there" in verdict("json_schema", {"schema": remote}, "1").detail
    assert not verdict("json_schema", {"schema": {"$ref": "#"}}, "1").passed
    monkeypatch.setitem(sys.modules, "jsonschema.validators", None)
    with pytest.raises(DependencyError, match="jsonschema"):
        verdict("json_schema", {"schema": {"type": "array"}}, "1")


@pytest.mark.parametrize("pattern", ["^((a+)b?)+$", "^([a-z]?[a-z]?)*$", "(a?){30}a{30}", ".*.*.*.*.*=x"])
def test_patterns_that_could_take_for_ever(pattern: str) -> None:
    with pytest.raises(ConfigError, match="may take very long"):
        JsonSchema(schema={"type": "string", "pattern": pattern})


def test_a_long_text_is_not_searched_for_a_slow_pattern() -> None:
    checker = JsonSchema(schema={"type": "string", "pattern": "(.*),(.*),(.*)=x"})
    assert checker.verify(Problem.make("p", verifier="json_schema"), '"a,b,c=x"').passed
    assert (
        "too long for the pattern"
        in checker.verify(Problem.make("p", verifier="json_schema"), f'"{"a," * 20_000}"').detail
    )


def test_unique_items_in_linear_time() -> None:
    checker = JsonSchema(schema={"type": "array", "uniqueItems": True})
    began = time.monotonic()
    assert checker.verify(Problem.make("p", verifier="json_schema"), json.dumps([{"a": n} for n in range(9000)])).passed
    assert time.monotonic() - began < 20  # minutes, where each is compared with each
    assert checker.verify(Problem.make("p", verifier="json_schema"), '[1, true, "1", [1], {"a": 1}]').passed
    for twice in ("[1, 1.0]", '[{"a": 1, "b": 2}, {"b": 2, "a": 1}]'):
        assert not checker.verify(Problem.make("p", verifier="json_schema"), twice).passed


def test_multiples_by_their_digits() -> None:
    checker = JsonSchema(schema={"multipleOf": 0.01})
    assert (
        checker.verify(Problem.make("p", verifier="json_schema"), "19.99").passed
        and not checker.verify(Problem.make("p", verifier="json_schema"), "0.005").passed
    )
