"""Where a teacher answers and with which key: URLs without secrets, keys from the environment only."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Mapping
from urllib.parse import quote, urlsplit

from tilth.errors import ConfigError

KEY_OF_HOST = {
    "api.openai.com": "OPENAI_API_KEY",
    "openrouter.ai": "OPENROUTER_API_KEY",
    "api.together.xyz": "TOGETHER_API_KEY",
    "api.groq.com": "GROQ_API_KEY",
    "api.mistral.ai": "MISTRAL_API_KEY",
    "api.deepseek.com": "DEEPSEEK_API_KEY",
    "api.fireworks.ai": "FIREWORKS_API_KEY",
    "integrate.api.nvidia.com": "NVIDIA_API_KEY",
    "router.huggingface.co": "HF_TOKEN",
}
"""Hosted services -> the variable that their own clients read."""
HIDDEN = "[key]"
_LEAST_SECRET = 16
"""Characters of a key that is one; servers of one's own take any word."""
_MOST_RAW = 20_000
"""Characters of an answer that a fault keeps."""


class Key:
    """An API key that no `repr`, `str` or pickle shows."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def __repr__(self) -> str:
        return f"Key({HIDDEN})"

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("a key is not written anywhere")

    def header(self) -> dict[str, str]:
        """The header that carries it."""
        return {"Authorization": f"Bearer {self._value}"}

    def scrub(self, text: str) -> str:
        """Takes the key out of a text."""
        for form in {self._value, quote(self._value, safe="")}:
            text = text.replace(form, HIDDEN)
        return text

    def scrub_answer(self, data: bytes) -> bytes:
        """Takes the key out of an answer that will be stored, unless it is a word that texts may hold (`none`)."""
        return data.replace(self._value.encode(), HIDDEN.encode()) if len(self._value) >= _LEAST_SECRET else data


def key_variable(name: str) -> str:
    """Returns the environment variable with a teacher's key: `TILTH_<NAME>_KEY`."""
    return f"TILTH_{re.sub(r'[^A-Za-z0-9]+', '_', name).strip('_').upper()}_KEY"


def find_key(
    name: str,
    url: str,
    *,
    variable: str | None = None,
    given: Mapping[str, str] | None = None,
    allow_http: bool = False,
) -> Key | None:
    """Returns a teacher's key: `given` by name, or from `variable`, `TILTH_<NAME>_KEY`, or its host's usual variable.

    Raises: ConfigError for a named variable that is not set, for what cannot be a key, and for a key that would go
    unencrypted to another machine.
    """
    parts = urlsplit(url)
    host = (parts.hostname or "").lower()
    if given and name in given:
        source, value = f"the key given for `{name}`", given[name]
    elif variable is not None:
        source, value = f"`{variable}`", os.environ.get(variable, "")
        if not value:
            raise ConfigError(
                f"The teacher `{name}` takes its key from `{variable}`, which is not set.", fix=f"Set `{variable}`."
            )
    else:
        names = [key_variable(name), KEY_OF_HOST.get(host, "")]
        source, value = next(((f"`{n}`", os.environ[n]) for n in names if n and os.environ.get(n)), ("", ""))
    value = value.strip()
    if not value:
        return None
    if not all("!" <= character <= "~" for character in value):
        raise ConfigError(f"{source} holds characters that no key has.", fix="Set it to the key alone.")
    if parts.scheme == "http" and not is_loopback(host) and not allow_http:
        raise ConfigError(
            f"The teacher `{name}` has a key, and {host} would get it unencrypted (http).",
            fix="Use https, or set `allow_http = true` for it in teachers.toml if the network is yours.",
        )
    return Key(value)


def checked_url(url: str) -> str:
    """Returns the base URL of an API without its last slash.

    Raises: ConfigError for a URL that cannot be asked, or that holds a password or a query (the message repeats
    neither).
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        parts, host, port = urlsplit(""), None, None
    if parts.username is not None or parts.password is not None or parts.query:
        raise ConfigError(
            f"The URL of the teacher at {host} holds a user name, a password or a query.",
            fix=f"Give the URL alone; a key comes from the environment: `{key_variable('name')}`.",
        )
    if parts.scheme not in ("http", "https") or not host or (port is not None and not 0 < port < 65536):
        raise ConfigError(f"{_named(url)} is no URL of a teacher.", fix="Write it as `http://host:8000/v1#MODEL`.")
    if not re.fullmatch(r"[!-~]+", url):
        raise ConfigError(f"`{url}` holds characters that no URL has.", fix="Write them as %XX.")
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"


def _named(url: str) -> str:
    """A URL for a message, unless a password or a query may be in it where `urlsplit` does not look."""
    return "What is given" if set(url) & set("@?=") else f"`{url}`"


def is_loopback(host: str) -> bool:
    """Whether a host is this machine."""
    if host.lower().rstrip(".") == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def bounded(text: str, key: Key | None) -> str:
    """Returns what a server sent as a fault may keep it: without the key, and not too long."""
    text = text if key is None else key.scrub(text)
    return text if len(text) <= _MOST_RAW else f"{text[:_MOST_RAW]} [...]"
