"""Identities: one text for one request, with defaults left out; and claims of folders."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tilth.errors import ConfigError, StepError
from tilth.identity import canonical, canonical_json, claim, fingerprint_of


@dataclass(frozen=True, kw_only=True)
class Inner:
    rate: float = 0.0
    names: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Outer:
    n: int = 1
    share: float | None = None
    inner: Inner = field(default_factory=Inner)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), Path("x"), {1, 2}, {1: "a"}, object(), print])
def test_what_has_no_canonical_form_is_refused(value: object) -> None:
    with pytest.raises(StepError, match="identity|text keys|finite"):
        canonical({"field": value})


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False, allow_subnormal=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(plain)
def test_canonical_json_is_one_text_and_round_trips(value: object) -> None:
    text = canonical_json(value)
    assert json.loads(text) == value
    assert canonical_json(json.loads(text)) == text


@given(st.dictionaries(st.text(), st.integers(), min_size=2))
def test_canonical_json_ignores_the_order_of_keys(value: dict[str, int]) -> None:
    assert canonical_json(value) == canonical_json(dict(reversed(value.items())))


def test_numbers_are_written_by_their_declared_type() -> None:
    same = [Inner(rate=0.5), Inner(rate=1 / 2)]
    assert len({canonical_json(config) for config in same}) == 1
    assert canonical_json(Outer(share=0)) == canonical_json(Outer(share=0.0)) == canonical_json(Outer(share=-0.0))
    assert canonical_json(Outer(n=2)) != canonical_json(Outer(n=3))
    assert canonical({"free": 1.5}) == {"free": 1.5}


def test_what_is_at_its_default_is_left_out_and_kept_for_people() -> None:
    assert canonical(Outer()) == {"inner": {}} or canonical(Outer()) == {}
    assert canonical(Outer(n=1, share=0.25)) == canonical(Outer(share=0.25))
    assert canonical(Outer(), defaults=True) == {"n": 1, "share": None, "inner": {"rate": 0.0, "names": []}}


def test_a_new_option_at_its_default_changes_no_fingerprint() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Before:
        n: int = 1

    @dataclass(frozen=True, kw_only=True)
    class After:
        n: int = 1
        option: bool = False

    assert fingerprint_of(Before(n=2)) == fingerprint_of(After(n=2))
    assert fingerprint_of(Before(n=2)) != fingerprint_of(After(n=2, option=True))


def test_a_folder_is_claimed_once_and_recognised(tmp_path: Path) -> None:
    assert claim(tmp_path, {"seed": 1}, kind="training", outputs=["model"]) is False
    (tmp_path / "model").touch()
    assert claim(tmp_path, {"seed": 1}, kind="training", outputs=["model"]) is True
    with pytest.raises(ConfigError, match="seed 1 -> 2"):
        claim(tmp_path, {"seed": 2}, kind="training", outputs=["model"])
    with pytest.raises(ConfigError, match="unknown origin"):
        claim(tmp_path, {"seed": 1}, kind="export", outputs=["model"])


@dataclass(frozen=True)
class Schedule:
    rate: float = 0.1


@dataclass(frozen=True)
class Cosine(Schedule):
    pass


@dataclass(frozen=True)
class Linear(Schedule):
    type: str = ""


@dataclass(frozen=True)
class Scheduled:
    schedule: Schedule = Cosine()


def test_classes_with_equal_fields_are_not_one_identity() -> None:
    assert fingerprint_of(Scheduled(Cosine())) != fingerprint_of(Scheduled(Linear()))
    assert fingerprint_of(Scheduled(Cosine())) != fingerprint_of(Scheduled(Schedule()))
    assert fingerprint_of({"schedule": Cosine()}) != fingerprint_of({"schedule": Linear()})
    assert fingerprint_of([Cosine()]) != fingerprint_of([Linear()])
    assert fingerprint_of(Cosine()) == fingerprint_of(Schedule())  # a step's name says which class its config is


def test_a_field_called_type_is_not_overwritten_by_the_name_of_the_class() -> None:
    with pytest.raises(StepError, match=r"schedule\.type"):
        canonical(Scheduled(Linear(type="steep")))
