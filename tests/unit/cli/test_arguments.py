"""How words become values: counts, options that are given several times, functions of a user's own."""

import sys
from pathlib import Path

import pytest

from tilth.cli.arguments import annotated, count, merged
from tilth.cli.options import given_fields
from tilth.errors import ConfigError
from tilth.recipes import load_recipe
from tilth.sources import Source
from tilth.steps import needed_steps


@pytest.mark.parametrize(
    ("text", "value"),
    [("10k", 10_000), ("1e5", 100_000), ("1.5M", 1_500_000), ("10_000", 10_000), ("2B", 2 * 10**9), ("-3", -3),
     ("1.0", 1), ("0.5K", 500), ("1.25e2", 125)],
)  # fmt: skip
def test_counts(text: str, value: int) -> None:
    assert count(text) == value


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("1.5", "a fraction"),
        ("0.0005k", "a fraction"),
        ("10x", "not a whole number"),
        ("", "not a whole"),
        ("1e-3", "not"),
    ],
)
def test_what_is_no_count_says_what_is_one(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=f"{says}.*10k, 1e5 or 1.5M"):
        count(text)


def recipe(
    *, corpus: str | tuple[str, ...] = (), depth: int = 1, tokens: int | None = None, flag: bool = False
) -> None:
    """Fields as those of a recipe."""


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--corpus a --depth 3 --corpus b c --flag", "--depth 3 --corpus a b c --flag"),
        ("--corpus=a --corpus=b", "--corpus a b"),
        ("--depth=-3 --no-flag x", "--depth=-3 --no-flag x"),
        ("--unknown 1 --unknown 2", "--unknown 1 --unknown 2"),
        ("--corpus a -- --corpus b", "--corpus a -- --corpus b"),
        ("x --corpus a", "x --corpus a"),
    ],
)
def test_options_that_take_several_values_add_up(words: str, expected: str) -> None:
    assert merged(words.split(), recipe) == expected.split()


@pytest.mark.parametrize("words", ["--depth 1 --depth 2", "--tokens=1 --tokens 2", "--flag --flag"])
def test_an_option_of_one_value_is_given_once(words: str) -> None:
    with pytest.raises(ConfigError, match="is given twice"):
        merged(words.split(), recipe)


def test_functions_without_annotations_have_options_too() -> None:
    def own(corpus, depth=3, *rest, name=None, **more):  # type: ignore[no-untyped-def]
        ...

    parameters = {parameter.name: parameter.annotation for parameter in annotated(own)}  # pyright: ignore
    assert parameters == {"corpus": str, "depth": int, "name": str}


def test_only_what_was_given_is_a_field() -> None:
    assert given_fields(recipe, {"corpus": ("a b", "c"), "depth": 1, "tokens": 5}) == {
        "corpus": "'a b' c",
        "tokens": "5",
    }


def corpora(**fields: object) -> list[str]:
    target = load_recipe("quickstart")(**fields)
    found = [item for step in needed_steps(target) for item in step.inputs.values() if isinstance(item, Source)]
    return [source.path for source in found]


def test_quickstart_takes_one_corpus_or_several(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        Path(name).mkdir()
        Path(name, f"{name}.txt").touch()
    assert corpora(corpus="a") == ["a"]
    assert corpora(corpus=("a", "x=b")) == ["a", "b"]
    assert corpora(corpus="[ab]/*.txt") == ["."]  # with the glob as its `include`
    assert all(sys.prefix in path or "python" in path for path in corpora())
    with pytest.raises(ConfigError, match="`a` is given twice"):
        corpora(corpus=("a", "a"))
    Path("b", "a").mkdir()
    with pytest.raises(ConfigError, match="Two corpora are called `a`: a and b/a"):
        corpora(corpus=("a", "b/a"))


def test_no_rounds_is_no_loop() -> None:
    assert "improve" in {step.name for step in needed_steps(load_recipe("quickstart")())}
    assert "improve" not in {step.name for step in needed_steps(load_recipe("quickstart")(rounds=0))}
    with pytest.raises(ConfigError, match="Give 0 or more"):
        load_recipe("quickstart")(rounds=-1)


def test_no_tokens_is_an_error_and_not_the_default() -> None:
    with pytest.raises(ConfigError, match="tokens is 0"):
        load_recipe("quickstart")(tokens=0)
