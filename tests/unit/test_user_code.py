"""Code of the user's own: loaded by path or module, under a name of its own, importable by workers."""

import pickle
import random
import subprocess
import sys
from pathlib import Path

import pytest

from tilth.errors import ConfigError
from tilth.recipes import load_recipe
from tilth.user_code import install_files, load_object, loaded_files

STEP = "from tilth.steps import Step\n"


def test_a_file_does_not_replace_a_module_of_its_name(tmp_path: Path) -> None:
    (tmp_path / "random.py").write_text("def recipe(): return 'own'\n")
    recipe = load_object(f"{tmp_path / 'random.py'}:recipe")
    assert callable(recipe)
    assert recipe() == "own"
    import random as again

    assert again is random
    assert hasattr(sys.modules["random"], "seed")


def test_two_files_of_one_name_are_two_modules(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "mine.py").write_text(f"name = {folder!r}\n")
    assert [load_object(f"{tmp_path / folder / 'mine.py'}:name") for folder in "ab"] == ["a", "b"]


def test_a_file_that_changed_is_loaded_anew_and_another_is_not(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text("class A: value = 1\n")
    first = load_object(f"{path}:A")
    assert load_object(f"{path}:A") is first
    path.write_text("class A: value = 2\n")  # the same size, within the same second
    assert getattr(load_object(f"{path}:A"), "value") == 2  # noqa: B009
    assert not (tmp_path / "__pycache__").exists()


def test_another_process_unpickles_what_a_file_defines(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text("def double(x): return 2 * x\n")
    function = load_object(f"{path}:double")
    (tmp_path / "state").write_bytes(pickle.dumps((loaded_files(), pickle.dumps(function))))
    code = (
        "import pickle, sys; from tilth.user_code import install_files\n"
        "files, function = pickle.loads(open(sys.argv[1], 'rb').read())\n"
        "install_files(files)\n"
        "print(pickle.loads(function)(21))"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "state"], capture_output=True, text=True, check=True)
    assert done.stdout == "42\n"


def test_the_finder_is_installed_once(tmp_path: Path) -> None:
    before = len(sys.meta_path)
    install_files({"tilth_user_x": str(tmp_path / "x.py")})
    install_files({"tilth_user_y": str(tmp_path / "y.py")})
    assert len(sys.meta_path) <= before + 1


def test_a_module_of_a_package_is_found() -> None:
    import json.decoder

    assert load_object("json.decoder:JSONDecoder") is json.decoder.JSONDecoder


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("x = 1\ndef broken(:\n", ["line 2"]),
        ("x = 1\n\nraise KeyError('why')\n", ["line 3", "KeyError"]),
        ("import no_such_module_at_all\n", ["line 1", "no_such_module_at_all"]),
        ("x = 1\n", ["no `recipe`"]),
    ],
)
def test_what_cannot_be_loaded_names_file_and_line(tmp_path: Path, content: str, words: list[str]) -> None:
    (tmp_path / "mine.py").write_text(content)
    with pytest.raises(ConfigError) as caught:
        load_object(f"{tmp_path / 'mine.py'}:recipe")
    assert all(word in str(caught.value) for word in ["mine.py", *words])
    (tmp_path / "mine.py").write_text("recipe = 1\n")
    assert load_object(f"{tmp_path / 'mine.py'}:recipe") == 1


@pytest.mark.parametrize("spec", ["nowhere.py:x", "no_such_module:x", "no.such.module:x", "file.py", ":x", "json:"])
def test_a_name_that_leads_nowhere_is_refused(spec: str) -> None:
    with pytest.raises(ConfigError):
        load_object(spec)


def test_a_recipe_must_return_a_step(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def recipe(*, depth: int = 1): return [depth]\nnot_one = 3\n")
    with pytest.raises(ConfigError, match=r"returned \[1\], not a step"):
        load_recipe(f"{tmp_path / 'mine.py'}:recipe")()
    with pytest.raises(ConfigError, match="not a function"):
        load_recipe(f"{tmp_path / 'mine.py'}:not_one")
