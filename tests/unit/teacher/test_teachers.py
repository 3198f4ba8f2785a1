"""What a user writes, and the teacher that it opens: URLs, folders, scripts, `teachers.toml` without keys."""

import traceback
from pathlib import Path

import pytest

from raw_server import raw_server
from tilth.errors import ConfigError, DataError
from tilth.execute import Context
from tilth.teacher.http import HttpTeacher
from tilth.teacher.loopback import LoopbackServer
from tilth.teacher.request import Price
from tilth.teacher.script import echo
from tilth.teacher.scripted import ScriptedTeacher
from tilth.teacher.teachers import open_teacher, read_teachers

SECRET = "sk-hush-0123456789"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


def toml(text: str) -> None:
    Path("teachers.toml").write_text(text)


def http_teacher(spec: str, context: Context | None = None) -> HttpTeacher:
    teacher = open_teacher(spec, context or Context())
    assert isinstance(teacher, HttpTeacher)
    return teacher


def test_a_url_with_its_model() -> None:
    teacher = http_teacher("http://127.0.0.1:1/v1/#org/model-7b")
    assert (teacher.url, teacher.model, teacher.name) == ("http://127.0.0.1:1/v1", "org/model-7b", "org/model-7b")


def test_a_server_with_one_model_need_not_have_it_named() -> None:
    with LoopbackServer(echo, model="only") as server:
        assert http_teacher(server.url).name == "only"
    two = b'{"data": [{"id": "a"}, {"id": "b"}]}'
    with (
        raw_server(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(two) + two) as (url, _),
        pytest.raises(ConfigError, match="has 2 models: `a`, `b`"),
    ):
        open_teacher(url, Context())


def test_a_server_that_is_not_there() -> None:
    with raw_server(b"") as (url, _):
        pass
    with pytest.raises(ConfigError, match=r"cannot be reached: No connection[\s\S]*Start the server"):
        open_teacher(url, Context())


def test_a_server_that_names_itself_has_its_dialect() -> None:
    body = b'{"data": [{"id": "m", "owned_by": "llamacpp"}]}'
    with raw_server(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body) as (url, _):
        assert http_teacher(url).dialect.name == "llama.cpp"


def test_scripts() -> None:
    teacher = open_teacher("scripted:echo", Context())
    assert isinstance(teacher, ScriptedTeacher) and teacher.script is echo and teacher.name == "scripted:echo"
    Path("mine.py").write_text("def answer(request, sample):\n    return 'mine'\n")
    here = open_teacher("scripted:mine.py:answer", Context())
    there = open_teacher(f"scripted:{Path.cwd()}/mine.py:answer", Context())
    assert here.name == "scripted:mine.py:answer" and here.identity == there.identity
    with pytest.raises(ConfigError, match="no script `none`"):
        open_teacher("scripted:none", Context())


def test_a_folder_that_holds_no_model() -> None:
    Path("empty").mkdir()
    with pytest.raises(DataError, match="holds no model"):
        open_teacher("empty", Context())


def test_an_unknown_name_lists_the_ways() -> None:
    with pytest.raises(ConfigError, match=r"no teacher `bog`[\s\S]*scripted:echo"):
        open_teacher("bog", Context())
    toml('[big]\nurl = "http://127.0.0.1:1/v1"\nmodel = "m"\n')
    with pytest.raises(ConfigError, match="Did you mean `big`"):
        open_teacher("bog", Context())
    with pytest.raises(ConfigError, match="which has `big`"):
        open_teacher("other", Context())
    for address in ("localhost:8000/v1", "api.example.com/v1#m"):
        with pytest.raises(ConfigError, match=f"its scheme: `http://{address}`"):
            open_teacher(address, Context())


def test_an_entry_with_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    toml(
        '[big]\nurl = "https://api.example.com/v1"\nmodel = "big-1"\nprice_prompt = 0.5\nprice_completion = 2\n'
        'n_params = 7_000_000_000\ndialect = "vllm"\nmax_in_flight = 32\ntimeout = 90\nkey_env = "EXAMPLE"\n'
        'revision = "2026-01"\n'
    )
    monkeypatch.setenv("EXAMPLE", SECRET)
    teacher = http_teacher("big")
    assert (teacher.name, teacher.model, teacher.price) == ("big", "big-1", Price(prompt=0.5, completion=2))
    assert (teacher.n_params, teacher.dialect.name, teacher.max_in_flight) == (7_000_000_000, "vllm", 32)
    assert teacher.identity == {"kind": "http", "model": "big-1", "revision": "2026-01"}
    assert SECRET not in repr(teacher)


def test_other_kinds_in_the_file(tmp_path: Path) -> None:
    toml('[s]\nkind = "scripted"\nmodel = "echo"\n[t]\nmodel = "scripted:echo"\n[l]\nmodel = "models/tiny"\n')
    assert isinstance(open_teacher("s", Context()), ScriptedTeacher)
    assert isinstance(open_teacher("t", Context()), ScriptedTeacher)
    with pytest.raises(DataError, match=r"no folder .*models/tiny"):
        open_teacher("l", Context(), file=tmp_path / "teachers.toml")


def test_endpoints_and_keys_of_the_context() -> None:
    context = Context(endpoints={"near": "http://127.0.0.1:1/v1"}, keys={"near": SECRET})
    with LoopbackServer(echo, key=SECRET, model="m") as server:
        context = Context(endpoints={"near": server.url}, keys={"near": SECRET})
        assert http_teacher("near", context).model == "m"
        with pytest.raises(ConfigError, match="refuses access") as caught:
            open_teacher("near", Context(endpoints={"near": server.url}, keys={"near": "wrong-one"}))
    assert "wrong-one" not in str(caught.value)


@pytest.mark.parametrize(
    "line",
    [
        f'key = "{SECRET}"',
        f'api_key = "{SECRET}"',
        f'key_env = "{SECRET}"',
        f'authorization = "Bearer {SECRET}"',
        f'dialect = "{SECRET}"',
        f'model = "{SECRET}"',
        'anything = "hf_aaaabbbbcccc"',
    ],
)
def test_a_key_in_the_file_is_refused_unseen(line: str) -> None:
    toml(f'[big]\nurl = "http://127.0.0.1:1/v1"\n{line}\n')
    with pytest.raises(ConfigError, match="teachers.toml, teacher `big`: `.*` holds a key") as caught:
        open_teacher("big", Context())
    assert SECRET not in str(caught.value) and "hf_aaaa" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("[big\n", "is not TOML"),
        ('url = "x"\n', "outside of a table"),
        ('[big]\nurl = "http://a/v1"\ntemperture = 1\n', "no field `temperture`"),
        ('[big]\nurl = "http://a/v1"\nmax_in_fligt = 1\n', "mean `max_in_flight`"),
        ('[big]\nurl = "http://a/v1"\ntimeout = "9"\n', "`timeout` is not a number"),
        ('[big]\nurl = "http://a/v1"\nn_params = 1.5\n', "`n_params` is not a whole number"),
        ('[big]\nurl = "http://a/v1"\nallow_http = 1\n', "`allow_http` is not true or false"),
        ('[big]\nurl = "http://a/v1"\nkind = "magic"\n', "`kind` is `magic`"),
        ("[big]\n", "`url` is missing"),
        ('[big]\nurl = "http://a/v1"\nprice_prompt = -1\n', "positive"),
        ('[big]\nurl = "http://a/v1"\nprice_prompt = nan\n', "positive"),
        ('[big]\nurl = "http://a/v1"\nprice_completion = inf\n', "positive"),
        ('[big]\nurl = "http://a/v1"\ntimeout = nan\n', "positive"),
        ('[big]\nurl = "http://a/v1"\nmax_in_flight = 0\n', "1 or more"),
    ],
)
def test_mistakes_in_the_file_are_named(text: str, match: str) -> None:
    toml(text)
    with pytest.raises(ConfigError, match=match):
        read_teachers(Path("teachers.toml"))


def test_an_unknown_dialect_and_a_key_over_http(monkeypatch: pytest.MonkeyPatch) -> None:
    toml('[big]\nurl = "http://10.0.0.5/v1"\nmodel = "m"\ndialect = "tgo"\n')
    with pytest.raises(ConfigError, match="no dialect `tgo`"):
        open_teacher("big", Context())
    monkeypatch.setenv("TILTH_BIG_KEY", SECRET)
    toml('[big]\nurl = "http://10.0.0.5/v1"\nmodel = "m"\n')
    with pytest.raises(ConfigError, match="unencrypted"):
        open_teacher("big", Context())
    toml('[big]\nurl = "http://10.0.0.5/v1"\nmodel = "m"\nallow_http = true\n')
    assert http_teacher("big").name == "big"


@pytest.mark.parametrize(
    "spec",
    [
        "https://user:SECRET@h/v1#m",
        "https:///user:SECRET@h/v1",
        "https:user:SECRET@h",
        "HTTPS://user:SECRET@h/v1#m",
        "//user:SECRET@h/v1#m",
        "http://[::1/v1?x=SECRET",
        "https://h/v1?api_key=SECRET#m",
        "https://h/v1#m?api_key=SECRET",
    ],
)
def test_a_password_in_a_url_is_refused_and_not_repeated(spec: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        open_teacher(spec, Context(), file=tmp_path / "none.toml")
    assert "secret" not in "".join(traceback.format_exception(caught.value)).lower()
