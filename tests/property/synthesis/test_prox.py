"""What holds of every ProX program: an edit can be replayed, what is kept is found again, and nothing else is done."""

import ast
import itertools

from hypothesis import example, given
from hypothesis import strategies as st

from tilth.synthesis.define import ParseError
from tilth.synthesis.recipes.prox_program import (
    Call,
    Edit,
    apply_edits,
    edits_of,
    kept_spans,
    parse_chunk_program,
    split_chunks,
)

TEXTS = st.text(alphabet=st.sampled_from("ab é😀\n\t。"), max_size=60)
STRINGS = st.text(alphabet=st.sampled_from("ab é😀\n"), max_size=4)
NUMBERS = st.integers(0, 8)
CALLS = st.lists(
    st.one_of(
        st.builds(
            lambda a, b: Call("remove_lines", {"line_start": a, "line_end": b}),
            NUMBERS,
            NUMBERS,
        ),
        st.builds(lambda a, b: Call("normalize", {"source_str": a, "target_str": b}), STRINGS, STRINGS),
    ),
    max_size=6,
)


def all_edits(text: str, calls: list[Call], size: int) -> list[Edit]:
    original = text.encode()
    return [edit for chunk in split_chunks(original, size)[0] for edit in edits_of(original, chunk, calls).edits]


@given(TEXTS, CALLS, st.integers(16, 80))
def test_what_is_kept_is_found_in_the_original(text: str, calls: list[Call], size: int) -> None:
    edits = all_edits(text, calls, size)
    original, edited = text.encode(), apply_edits(text, edits).encode()
    spans = kept_spans(text, edits)
    for at, begin, end in spans:
        assert edited[at : at + end - begin] == original[begin:end]
    # All the rest of both is in the edits.
    assert sum(end - begin for _, begin, end in spans) == len(original) - sum(end - begin for begin, end, _ in edits)
    assert len(edited) == sum(end - begin for _, begin, end in spans) + sum(len(new.encode()) for _, _, new in edits)
    # The original is what is kept and what was taken, which the edits name.
    parts = {begin: original[begin:end] for _, begin, end in spans}
    parts |= {begin: original[begin:end] for begin, end, _ in edits if end > begin}
    assert b"".join(parts[begin] for begin in sorted(parts)) == original


@given(TEXTS, CALLS, st.integers(16, 80))
def test_edits_are_in_order_and_cut_no_character(text: str, calls: list[Call], size: int) -> None:
    edits = all_edits(text, calls, size)
    for (_, end, _), (begin, _, _) in itertools.pairwise(edits):
        assert end <= begin
    for begin, end, _ in edits:
        text.encode()[begin:end].decode()  # raises where it is a part of a character


@given(TEXTS, STRINGS.filter(bool), STRINGS)
def test_one_replacement_is_pythons(text: str, source: str, target: str) -> None:
    """In a chunk that holds the whole text, as `str.replace` does it."""
    call = Call("normalize", {"source_str": source, "target_str": target})
    assert apply_edits(text, all_edits(text, [call], 10_000)) == text.replace(source, target)


@given(TEXTS, st.lists(st.tuples(NUMBERS, NUMBERS), max_size=4))
def test_removed_lines_are_those_that_are_named(text: str, ranges: list[tuple[int, int]]) -> None:
    calls = [Call("remove_lines", {"line_start": a, "line_end": b}) for a, b in ranges]
    lines = text.split("\n")
    ended = [line + "\n" for line in lines[:-1]] + ([lines[-1]] if lines[-1] else [])
    kept = [line for number, line in enumerate(ended) if not any(a <= number <= b for a, b in ranges)]
    assert apply_edits(text, all_edits(text, calls, 10_000)) == "".join(kept)


@given(TEXTS, st.integers(16, 80))
def test_chunks_are_whole_lines_in_order(text: str, size: int) -> None:
    original = text.encode()
    chunks, too_long = split_chunks(original, size)
    lines = [line for chunk in chunks for line in chunk.lines]
    assert lines == sorted(lines)
    assert len(lines) + too_long == len(original.splitlines()) if b"\x0c" not in original else True
    assert all(sum(end - begin + 5 for begin, end in chunk.lines) <= size for chunk in chunks)
    for begin, end in lines:
        assert begin == 0 or original[begin - 1 : begin] == b"\n"
        assert end == len(original) or original[end - 1 : end] == b"\n"


@given(st.text(max_size=200))
@example("keep_chunk()\n__import__('os')")
@example("remove_lines(line_start=0, line_end=(yield))")
def test_any_answer_is_a_program_of_literals_or_a_parse_error(answer: str) -> None:
    try:
        calls = parse_chunk_program(answer)
    except ParseError:
        return
    for call in calls:
        assert call.name in ("remove_lines", "normalize")
        assert all(type(value) in (int, str) for value in call.arguments.values())


@given(
    st.lists(st.sampled_from(["keep_chunk()", "remove_lines(line_start=0, line_end=1)", "x", "1", "a.b()"]), max_size=4)
)
def test_the_whitelist_agrees_with_pythons_own_tree(statements: list[str]) -> None:
    """A program that is accepted has nothing but calls of the three names in its tree."""
    try:
        parse_chunk_program("\n".join(statements))
    except ParseError:
        return
    allowed = (ast.Module, ast.Expr, ast.Call, ast.Name, ast.Load, ast.keyword, ast.Constant)
    assert all(isinstance(node, allowed) for node in ast.walk(ast.parse("\n".join(statements))))
