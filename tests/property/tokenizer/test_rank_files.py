"""The core's reader of rank files takes nothing that the reader in Python would refuse, but for repeated tokens."""

import base64

from hypothesis import given, settings
from hypothesis import strategies as st

from property.tokenizer.test_broken_files import edited, edits
from tilth import native
from unit.tokenizer import model_files as files


def by_rank(content: bytes) -> list[bytes] | None:
    """A third reading, by the rules and nothing else: lines of base64, a space and a rank."""
    tokens: dict[int, bytes] = {}
    for line in content.removesuffix(b"\n").split(b"\n") if content else []:
        encoded, space, rank = line.partition(b" ")
        try:
            token = base64.b64decode(encoded, validate=True)
        except ValueError:
            return None
        if not space or not token or not rank.isdigit() or int(rank) > 5000 or int(rank) in tokens:
            return None
        tokens[int(rank)] = token
    return [tokens.get(i, b"") for i in range(1 + max(tokens, default=-1))]


@settings(max_examples=500)
@given(changes=edits)
def test_edited_rank_files(changes: list[tuple[float, str, bytes]]) -> None:
    content = edited(files.ranks(), changes)
    taken = native.rank_file_tokens(content, 5000)
    assert taken is None or taken == by_rank(content)


@given(tokens=st.dictionaries(st.integers(0, 5000), st.binary(min_size=1, max_size=40), max_size=30))
def test_any_tokens(tokens: dict[int, bytes]) -> None:
    content = b"".join(b"%s %d\n" % (base64.b64encode(token), rank) for rank, token in tokens.items())
    assert native.rank_file_tokens(content, 5000) == [tokens.get(i, b"") for i in range(1 + max(tokens, default=-1))]
