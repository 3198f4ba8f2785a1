"""Text of a corpus made safe to show: what HTML or UTF-8 forbids is replaced, and data inside a script stays data."""

from __future__ import annotations

import json

from markupsafe import Markup

# Control characters are forbidden in HTML; as their pictures (U+2400 on) they can be seen. Lone surrogates
# have no UTF-8, and overrides of the writing direction (U+202D, U+202E) show text as what it is not.
_UNSAFE = (*range(0x80, 0xA0), *range(0xD800, 0xE000), 0x202D, 0x202E, 0xFFFE, 0xFFFF)
_PICTURES = {code: 0x2400 + code for code in range(0x20) if chr(code) not in "\t\n\r"}
_VISIBLE = _PICTURES | {0x7F: 0x2421} | dict.fromkeys(_UNSAFE, 0xFFFD)


def visible(value: object) -> object:
    """Returns text with the characters that HTML or UTF-8 forbids replaced by visible ones."""
    if isinstance(value, Markup):
        return Markup(value.translate(_VISIBLE))
    return shown(value) if isinstance(value, str) else value


def shown(text: str) -> str:
    """Returns the text as `visible` does."""
    return text.translate(_VISIBLE)


def json_for_script(value: object) -> Markup:
    """Returns JSON to stand inside a `script` element: no text in it can end the element or begin a comment."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    escapes = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}
    return Markup(text.translate({ord(character): escape for character, escape in escapes.items()}))
