from typing import final

import numpy as np
from numpy.typing import NDArray

_Text = str | bytes

def piece_ends(text: _Text, pattern: str) -> NDArray[np.int64]:
    """Byte offsets, shape (pieces,), at which the pieces of `text` end.

    Patterns: gpt2, smollm2, cl100k, llama3, qwen2, o200k.
    """

def rank_file_tokens(content: bytes, most_rank: int) -> list[bytes] | None:
    """The tokens of a tiktoken rank file by rank, b"" for a rank that is not there.

    None if a line has another form, a token is empty, or a rank is repeated or above `most_rank`.
    """

def superword_ends(text: _Text, most_digits: int) -> NDArray[np.int64]:
    """The same for words that may be joined: numbers of up to `most_digits` apart (0: any length, with a space)."""

def instruction_sets() -> str:
    """What this machine can run, the best first: avx512, avx2, neon, scalar, with spaces between."""

def use_instruction_set(name: str) -> None:
    """Cuts text with one of them from now on, in the whole process: for tests.

    Raises: ValueError if this machine cannot run it.
    """

@final
class SpecialTokens:
    """Finds special tokens in text: leftmost first, then longest."""

    def __init__(self, tokens: list[tuple[str, int]]) -> None: ...
    def find(self, text: _Text, start: int = 0) -> tuple[int, int, int] | None:
        """The first match from byte `start` on as (start, end, id), in bytes."""

@final
class BpeEncoder:
    """Byte-level BPE. Read-only: threads may share it."""

    def __init__(
        self, tokens: list[bytes], special_ids: list[int], merges: NDArray[np.uint32], ignore_merges: bool
    ) -> None:
        """`tokens` by id (b"" for an unused one); `merges` of shape (merges, 2), in order of rank.

        Raises: ValueError naming the token or merge that cannot work.
        """
    @staticmethod
    def from_ranks(tokens: list[bytes], special_ids: list[int]) -> BpeEncoder:
        """tiktoken's rule: two tokens merge if their bytes join to a token, the lowest id first."""
    def merges(self) -> NDArray[np.uint32]:
        """All merges, shape (merges, 2), by rank."""
    def encode(self, text: _Text, pattern: str, specials: SpecialTokens | None) -> list[int]: ...
    def encode_to_uint16(
        self, text: _Text, pattern: str, specials: SpecialTokens | None, threads: int
    ) -> NDArray[np.uint16]:
        """For vocabularies of up to 65536 ids; greater ones are cut off."""
    def encode_to_uint32(
        self, text: _Text, pattern: str, specials: SpecialTokens | None, threads: int
    ) -> NDArray[np.uint32]: ...
    def encode_into(
        self,
        text: _Text,
        pattern: str,
        specials: SpecialTokens | None,
        out: NDArray[np.uint16] | NDArray[np.uint32],
        threads: int,
    ) -> int:
        """Writes ids into `out` as far as they fit; returns how many there are."""
    def encode_batch(
        self, texts: list[_Text], pattern: str, specials: SpecialTokens | None, threads: int
    ) -> list[list[int]]:
        """Raises: RuntimeError if a thread cannot start."""
    def encode_batch_to_uint16(
        self, texts: list[_Text], pattern: str, specials: SpecialTokens | None, threads: int
    ) -> tuple[NDArray[np.uint16], NDArray[np.int64]]:
        """The ids of all texts, and where those of each begin and end, shape (texts + 1,)."""
    def encode_batch_to_uint32(
        self, texts: list[_Text], pattern: str, specials: SpecialTokens | None, threads: int
    ) -> tuple[NDArray[np.uint32], NDArray[np.int64]]: ...
    def encode_pieces(self, pieces: list[_Text]) -> list[int]:
        """Ids of text that is cut into pieces already."""
    def decode(self, ids: NDArray[np.uint32]) -> bytes:
        """Raises: IndexError naming an id that is no token."""

def read_sentencepiece_model(
    content: bytes,
) -> tuple[list[bytes], list[bytes], NDArray[np.float32], NDArray[np.uint8], list[tuple[int, bytes]]]:
    """Of `tokenizer.model`: the pieces, the same with spaces for U+2581, scores and kinds (255: any from there up),
    and number and content of the other fields that hold bytes.

    Raises: ValueError naming the byte that cannot be.
    """

@final
class SuperwordEncoder:
    """Byte-level BPE of merges whose tokens may hold several words. Read-only: threads may share it."""

    def __init__(
        self, tokens: list[bytes], special_ids: list[int], merges: NDArray[np.uint32], most_digits: int
    ) -> None:
        """As `BpeEncoder`; text is cut as `superword_ends` does. Raises: ValueError naming what cannot work."""
    def encode(self, text: _Text, specials: SpecialTokens | None) -> NDArray[np.uint32]: ...
    def encode_batch(
        self, texts: list[_Text], specials: SpecialTokens | None, threads: int
    ) -> list[NDArray[np.uint32]]:
        """Raises: RuntimeError if a thread cannot start."""

@final
class SentencePieceEncoder:
    """SentencePiece-style BPE. Read-only: threads may share it."""

    def __init__(
        self,
        pieces: list[str],
        ranks: NDArray[np.uint32],
        merges: NDArray[np.uint32] | None,
        byte_ids: list[int],
        unknown_id: int | None,
        user_defined: list[int],
        split_at_spaces: bool,
    ) -> None:
        """`pieces` by id, with U+2581 for spaces ("": never made by merging); `merges` go before `ranks`.

        Raises: ValueError naming the token or merge that cannot work.
        """
    def encode(
        self,
        text: _Text,
        specials: SpecialTokens | None,
        first_space: bool,
        later_space: bool,
        unless_space: bool,
        threads: int,
    ) -> NDArray[np.uint16] | NDArray[np.uint32]:
        """uint16 where that holds every id. A space is put in front of the segment at the beginning (`first_space`) and
        of those behind special tokens (`later_space`), but not in front of a space if `unless_space`.
        """
    def encode_batch(
        self,
        texts: list[_Text],
        specials: SpecialTokens | None,
        first_space: bool,
        later_space: bool,
        unless_space: bool,
        threads: int,
    ) -> list[list[int]]:
        """Raises: RuntimeError if a thread cannot start."""
    def encode_batch_to_numpy(
        self,
        texts: list[_Text],
        specials: SpecialTokens | None,
        first_space: bool,
        later_space: bool,
        unless_space: bool,
        threads: int,
    ) -> tuple[NDArray[np.uint16] | NDArray[np.uint32], NDArray[np.int64]]:
        """The ids of all texts, and where those of each begin and end, shape (texts + 1,)."""
    def encode_with_dropout(self, text: _Text, add_space: bool, dropout: float, seed: int) -> NDArray[np.uint32]: ...
    def encode_with_unknown(self, text: _Text, add_space: bool) -> tuple[NDArray[np.uint32], list[tuple[int, int]]]:
        """Ids, and for each unknown one its index and how many bytes of text it replaces."""
    def last_cut(self, text: _Text) -> int:
        """The last byte at which both parts encode alone as together; 0 if there is none."""

@final
class BpeDropout:
    """Byte-level BPE with merges left out at random."""

    def __init__(self, tokens: list[bytes], special_ids: list[int], merges: NDArray[np.uint32]) -> None:
        """Raises: ValueError if a byte or a merge has no token."""
    def encode_pieces(self, pieces: list[_Text], dropout: float, seed: int) -> NDArray[np.uint32]: ...

@final
class PieceCounts:
    """How often each distinct piece occurs; `len()` is the number of distinct pieces."""

    def __init__(self) -> None: ...
    def __len__(self) -> int: ...
    def add_texts(self, texts: list[_Text], pattern: str, specials: SpecialTokens, weight: int, threads: int) -> None:
        """Counts each piece of `texts` `weight` times; special tokens divide them and are not counted."""
    def add_superwords(self, texts: list[_Text], most_digits: int, specials: SpecialTokens, weight: int) -> None:
        """Counts each piece of `superword_ends` likewise."""
    def add_pieces(self, pieces: list[_Text], weight: int) -> None: ...
    def characters(self) -> list[tuple[bytes, int]]:
        """Every character of valid UTF-8, in order, and how often it occurs."""
    def write(self, path: str, label: str) -> None:
        """Writes all counts, sorted by piece; `label` says how text was cut. Raises: RuntimeError naming the file."""
    def read(self, path: str, label: str, minimum: int) -> None:
        """Adds those counts of a file that are at least `minimum`.

        Raises: RuntimeError naming a file that is none, is broken or cut off, or has another label.
        """

def merge_count_files(paths: list[str], out: str) -> None:
    """Adds up count files into one, as streams. Raises: RuntimeError naming the file."""

@final
class BpeTrainer:
    """Learns merges. While training `tokens[i]` has the id i, and new tokens get the ids behind them."""

    def __init__(
        self,
        counts: PieceCounts,
        tokens: list[bytes],
        encoder: BpeEncoder | None,
        superword_encoder: SuperwordEncoder | None,
        symbols: str,
        tie_break: str,
        min_piece_count: int,
        min_frequency: int,
        max_token_length: int | None,
        superwords: bool,
    ) -> None:
        """Pieces begin as `symbols` (bytes or characters) or, given one of the encoders of the same tokens, as its ids.

        `tokens`: b"" for an id that takes no part. `tie_break`: lowest_pair (least ids) or lexicographic (greatest
        bytes). Lengths are in bytes. `superwords`: no merge makes more than four words, or joins over ": ".
        Raises: ValueError if two tokens are the same, or a byte has none.
        """
    def merge(self, count: int) -> int:
        """Merges until there are `count` more tokens; fewer only when no pair is left. Returns how many.

        A merge whose bytes are a token already makes no new one.
        """
    def merges(self) -> NDArray[np.uint32]:
        """The merges so far, shape (merges, 2)."""
