"""GPT-2's alphabet: each byte as one printable character, as `tokenizer.json` writes tokens."""

from __future__ import annotations

_PRINTABLE = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]

BYTE_ORDER = bytes(_PRINTABLE + [byte for byte in range(256) if byte not in _PRINTABLE])
"""The bytes in the order of GPT-2's ids 0 to 255: those that are printable in Latin-1, then the rest."""

_CHARACTERS = {byte: chr(byte) for byte in _PRINTABLE} | {
    byte: chr(256 + i) for i, byte in enumerate(BYTE_ORDER[len(_PRINTABLE) :])
}
_BYTES = {character: byte for byte, character in _CHARACTERS.items()}


def to_characters(token: bytes) -> str:
    """`b" the"` -> `"Ġthe"`."""
    return "".join([_CHARACTERS[byte] for byte in token])


def from_characters(token: str) -> bytes:
    """`"Ġthe"` -> `b" the"`.

    Raises: KeyError with a character that is no byte.
    """
    return bytes([_BYTES[character] for character in token])
