"""From what a user writes to a teacher: a URL, a model's folder, a script, or a name in `teachers.toml`.

    [big]
    url = "https://api.example.com/v1"
    model = "big-1"
    key_env = "EXAMPLE_KEY"          # else TILTH_BIG_KEY
    price_prompt = 0.5               # per million tokens
    price_completion = 1.5

    [mine]
    kind = "local"
    model = "runs/quickstart/latest"

The file holds no key: keys come from the environment.
"""

from __future__ import annotations

import asyncio
import difflib
import math
import re
import threading
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

from tilth.errors import ConfigError, TilthError
from tilth.execute import Context
from tilth.teacher.dialects import DIALECT_OF_OWNER, dialect_named
from tilth.teacher.endpoint import checked_url, find_key
from tilth.teacher.faults import AccessRefused, ConnectionFault, TeacherFault
from tilth.teacher.request import Price, Teacher

if TYPE_CHECKING:
    from tilth.teacher.http import HttpTeacher

TEACHERS = "teachers.toml"
"""Looked for in the working directory."""
Kind = Literal["http", "local", "scripted"]
FORMS = "`http://host:8000/v1#MODEL`, the folder of a model, `scripted:echo`, `scripted:FILE.py:function`, or a name "
"""The ways to name a teacher, but for the end of the sentence."""
_SECRET_FIELD = re.compile(r"key|token|secret|password|authorization|credential", re.IGNORECASE)
_SECRET_VALUE = re.compile(r"^(sk-|sk_|hf_|gsk_|nvapi-|xai-|AIza|Bearer )|[A-Za-z0-9_-]{40,}")
_WITHOUT_SCHEME = re.compile(r"[\w.-]+:\d+(/.*)?|[\w-]+(\.[\w-]+)+/v\d+(#.*)?")
"""An address whose `http://` was left out."""
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, kw_only=True)
class TeacherEntry:
    """A teacher as `teachers.toml` describes it."""

    kind: Kind = "http"
    url: str = ""
    """Base of the API, mostly ending in `/v1`."""
    model: str = ""
    """Name of the model at the server (may be left out if it has only one); a model's folder; or a script."""
    revision: str = ""
    """Part of the cache's key: tells models apart that servers call the same."""
    dialect: str = ""
    """What the server is: openai, vllm, llama.cpp, tgi, tensorrt-llm or ollama."""
    key_env: str = ""
    """Environment variable that holds the key; else `TILTH_<NAME>_KEY`."""
    allow_http: bool = False
    """Send the key unencrypted to another machine."""
    price_prompt: float = 0.0
    """Money per million tokens of prompts."""
    price_completion: float = 0.0
    """Money per million tokens of answers."""
    n_params: int | None = None
    """Parameters of the model, for generation FLOPs."""
    max_in_flight: int | None = None
    """Most requests at a time."""
    timeout: float = 600.0
    """Seconds for a whole answer."""

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ConfigError(f"`kind` is `{self.kind}`.", fix=f"Give one of {', '.join(get_args(Kind))}.")
        if self.kind == "http" and not self.url:
            raise ConfigError("`url` is missing.", fix="Give the base of the API, such as `http://localhost:8000/v1`.")
        if self.kind != "http" and (self.url or not self.model):
            raise ConfigError(f"A teacher of the kind {self.kind} has a `model` and no `url`.")
        prices = self.price_prompt, self.price_completion  # TOML has `nan` and `inf`, with which no budget would stop
        if not all(0 <= price < math.inf for price in prices) or not 0 < self.timeout < math.inf:
            raise ConfigError("Prices and `timeout` are positive numbers.")
        if (self.n_params is not None and self.n_params < 1) or (
            self.max_in_flight is not None and self.max_in_flight < 1
        ):
            raise ConfigError("`n_params` and `max_in_flight` are 1 or more.")

    @property
    def price(self) -> Price:
        """Its prices."""
        return Price(prompt=self.price_prompt, completion=self.price_completion)


def open_teacher(spec: str, context: Context, *, file: Path | str = TEACHERS) -> Teacher:
    """Returns the teacher that `spec` names: an entry of `file`, a URL, a folder or a script, in this order.

    A server is asked only where its model is not named. Raises: ConfigError, DataError, AccessRefused.
    """
    entries = read_teachers(Path(file)) if Path(file).is_file() else {}
    if spec in entries:
        return _from_entry(spec, entries[spec], context, Path(file).parent)
    if spec in context.endpoints:
        url, _, model = context.endpoints[spec].partition("#")
        return _http(spec, TeacherEntry(url=url, model=model), context)
    kind, _, rest = spec.partition(":")
    if kind == "scripted":
        # Without the file's folder: where a script lies decides nothing about its answers.
        return _scripted(f"scripted:{Path(rest).name}", rest, Price())
    if kind.lower() in ("http", "https"):
        url, _, model = spec.partition("#")
        if "?" in model:
            raise ConfigError("The name of the model holds a query.", fix=f"Write it as {FORMS.split(',')[0]}.")
        return _http(model, TeacherEntry(url=url, model=model), context)
    if Path(spec).is_dir():
        return _local(Path(spec).resolve().name, Path(spec), Price(), context)
    if _WITHOUT_SCHEME.fullmatch(spec):
        raise ConfigError(f"There is no teacher `{spec}`.", fix=f"A URL has its scheme: `http://{spec}`.")
    close = difflib.get_close_matches(spec, entries, n=2)
    hint = f"Did you mean {' or '.join(f'`{name}`' for name in close)}? " if close else ""
    known = f", which has {', '.join(f'`{name}`' for name in sorted(entries))}" if entries else ""
    named = "by that name" if set(spec) & set("@?") else f"`{spec}`"  # no password into a message
    raise ConfigError(f"There is no teacher {named}.", fix=f"{hint}Give {FORMS}in {file}{known}.")


def read_teachers(file: Path) -> dict[str, TeacherEntry]:
    """Reads a file of teachers. Raises: ConfigError naming file, teacher and field, for keys in it above all."""
    try:
        tables = tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} is not TOML: {error}.", fix="Correct the file.") from None
    entries: dict[str, TeacherEntry] = {}
    for name, table in tables.items():
        if not isinstance(table, dict):
            raise ConfigError(f"{file}: `{name}` stands outside of a table.", fix="Begin each teacher with `[name]`.")
        try:
            entries[name] = _entry(cast("dict[str, Any]", table))
        except ConfigError as error:
            raise ConfigError(f"{file}, teacher `{name}`: {error.message}", fix=error.fix) from None
    return entries


def _entry(table: Mapping[str, Any]) -> TeacherEntry:
    known = {field.name: str(field.type) for field in fields(TeacherEntry)}
    for field, value in table.items():
        if _holds_key(field, value):
            raise ConfigError(
                f"`{field}` holds a key, as it seems.",
                fix="Delete it here, set an environment variable to the key, and name that: `key_env`.",
            )
        if field not in known:
            close = difflib.get_close_matches(field, known, n=1)
            raise ConfigError(
                f"There is no field `{field}`.", fix=f"Did you mean `{close[0]}`?" if close else f"{', '.join(known)}."
            )
        _check_type(field, value, known[field])
    values = dict(table)
    if "kind" not in values and "url" not in values and "model" in values:
        values["kind"] = "scripted" if str(values["model"]).startswith("scripted:") else "local"
    return TeacherEntry(**values)


def _holds_key(field: str, value: object) -> bool:
    if field == "key_env":
        return not isinstance(value, str) or not _VARIABLE.fullmatch(value) or bool(_SECRET_VALUE.match(value))
    if isinstance(value, dict | list) or field in ("model", "url", "revision"):
        return isinstance(value, str) and bool(re.match(r"(sk-|hf_|gsk_|nvapi-|Bearer )", value))
    return isinstance(value, str) and bool(_SECRET_FIELD.search(field) or _SECRET_VALUE.search(value))


def _check_type(field: str, value: object, declared: str) -> None:
    wanted: tuple[type, ...]
    if declared.startswith("float"):
        wanted, said = (int, float), "a number"
    elif declared.startswith("int"):
        wanted, said = (int,), "a whole number"
    elif declared == "bool":
        wanted, said = (bool,), "true or false"
    else:
        wanted, said = (str,), "text in quotes"
    if not isinstance(value, wanted) or (isinstance(value, bool) and declared != "bool"):
        raise ConfigError(f"`{field}` is not {said}.")


def _from_entry(name: str, entry: TeacherEntry, context: Context, folder: Path) -> Teacher:
    if entry.kind == "scripted":
        return _scripted(name, entry.model.removeprefix("scripted:"), entry.price)
    if entry.kind == "local":
        return _local(name, folder / entry.model, entry.price, context)
    return _http(name, entry, context)


def _scripted(name: str, script: str, price: Price) -> Teacher:
    from tilth.teacher.script import load_script
    from tilth.teacher.scripted import ScriptedTeacher

    function, revision = load_script(script)
    return ScriptedTeacher(function, name=name, revision=revision, price=price)


def _local(name: str, folder: Path, price: Price, context: Context) -> Teacher:
    from tilth.teacher.local import LocalTeacher

    return LocalTeacher.load(folder, name=name, device=context.device, price=price)


def _http(name: str, entry: TeacherEntry, context: Context) -> Teacher:
    url = checked_url(entry.url)
    model, dialect = entry.model, entry.dialect
    if not model:
        model, owner = _only_model(name, url, entry, context)
        dialect = dialect or DIALECT_OF_OWNER.get(owner, "")
    return _client(name or model, url, model, dialect, entry, context)


def _client(name: str, url: str, model: str, dialect: str, entry: TeacherEntry, context: Context) -> HttpTeacher:
    from tilth.teacher.http import HttpTeacher

    key = find_key(
        name, url, variable=entry.key_env or None, given=context.keys, allow_http=entry.allow_http
    )  # fmt: skip
    return HttpTeacher(
        url,
        model,
        name=name,
        revision=entry.revision,
        dialect=dialect_named(dialect).name if dialect else None,
        price=entry.price,
        n_params=entry.n_params,
        key=key,
        timeout=entry.timeout,
        max_in_flight=entry.max_in_flight,
    )


def _only_model(name: str, url: str, entry: TeacherEntry, context: Context) -> tuple[str, str]:
    """Asks a server for its models; returns the only one and who owns it."""
    teacher = _client(name or "teacher", url, "", "", entry, context)

    async def ask() -> dict[str, str]:
        try:
            return await teacher.models()
        finally:
            await teacher.aclose()

    fix = f"Name the model: `{url}#MODEL`, or `model = ...` in {TEACHERS}."
    try:
        models = _run_apart(ask)
    except ConnectionFault as fault:
        fix = "Start the server, or correct the address."
        raise ConfigError(f"{url} cannot be reached: {fault.message}", fix=fix) from None
    except TeacherFault as fault:
        raise ConfigError(f"{url} does not say which models it has: {fault.message}", fix=fix) from None
    except AccessRefused as error:
        raise ConfigError(f"{url} does not say which models it has: {error.message}", fix=error.fix or fix) from None
    if len(models) != 1:
        listed = ", ".join(f"`{model}`" for model in sorted(models)[:10]) or "none"
        raise ConfigError(f"{url} has {len(models)} models: {listed}.", fix=fix)
    ((model, owner),) = models.items()
    return model, owner


def _run_apart(work: Any) -> Any:
    """Runs a coroutine to its end in a thread of its own, so that it does not matter whether a loop runs here."""
    outcome: list[Any] = []

    def run() -> None:
        try:
            outcome.append(asyncio.run(work()))
        except (TeacherFault, TilthError) as error:
            outcome.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if isinstance(outcome[0], Exception):
        raise outcome[0]
    return outcome[0]
