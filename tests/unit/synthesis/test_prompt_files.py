"""Prompt files: what is a file, what is rendered, and what a document in it cannot do."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tilth.errors import ConfigError
from tilth.synthesis.prompt_files import FOLDER, PromptFile, load_prompts, prompt_folder
from tilth.types import Message
from toy_recipe import toy

TEXT = (
    "{# version: 3 #}\n{% block system %} Be brief. {% endblock %}\n{% block user %}Say: {{ text }}\n{% endblock %}\n"
)


def test_blocks_become_messages() -> None:
    file = PromptFile.parse(TEXT, name="a/b")
    assert (file.version, file.name) == (3, "a/b")
    assert file.render({"text": "x"}) == (
        Message(role="system", content="Be brief."),
        Message(role="user", content="Say: x"),
    )


def test_history_stands_between_system_and_user() -> None:
    history = (Message(role="user", content="1"), Message(role="assistant", content="2"))
    roles = [message.role for message in PromptFile.parse(TEXT, name="a/b").render({"text": "x"}, history)]
    assert roles == ["system", "user", "assistant", "user"]


def test_an_empty_system_block_is_no_message() -> None:
    text = TEXT.replace(" Be brief. ", "{% if loud %}Shout.{% endif %}")
    assert len(PromptFile.parse(text, name="a/b").render({"text": "x", "loud": False})) == 1


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (TEXT.replace("{# version: 3 #}", ""), "version"),
        (TEXT.replace("version: 3", "version: 0"), "version"),
        (TEXT + "more", "outside of its blocks"),
        (TEXT.replace("block user", "block other"), "outside of its blocks"),
        ("{# version: 1 #}\n{% block system %}x{% endblock %}", "no `user` block"),
        (TEXT.replace("{{ text }}", "{{ text"), "no Jinja template"),
        ("{# version: 1 #}\n{% include 'x' %}{% block user %}x{% endblock %}", "outside of its blocks"),
    ],
)
def test_what_is_no_prompt_file_says_so(text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        PromptFile.parse(text, name="a/b")


@pytest.mark.parametrize(
    "inner",
    ["{{ missing }}", "{% include '/etc/passwd' %}", "{{ ''.__class__.__mro__ }}", "{{ text.format.__globals__ }}"],
)
def test_a_file_cannot_reach_beyond_its_variables(inner: str) -> None:
    file = PromptFile.parse(TEXT.replace("{{ text }}", inner), name="a/b")
    with pytest.raises((ConfigError, TypeError)):
        file.render({"text": "x"})


@given(st.text(alphabet=st.characters(codec="utf-8")))
def test_a_document_is_never_a_template(text: str) -> None:
    injected = f"{{{{ 7 * 7 }}}}{{% block user %}}{text}{{% endblock %}}{{# version: 9 #}}"
    rendered = PromptFile.parse(TEXT, name="a/b").render({"text": injected})
    assert rendered[-1].content == f"Say: {injected}".strip()


def test_instructions_are_the_files_own_lines_longest_first() -> None:
    file = load_prompts(toy)["say"]
    assert file.instructions[0] == "Say this again in other words, and add nothing of your own to it."


def test_own_recipes_have_their_prompts_beside_them(tmp_path: Path) -> None:
    assert prompt_folder("wrap") == FOLDER
    assert prompt_folder(toy) == Path(__file__).parents[2] / "prompts"
    with pytest.raises(ConfigError, match=r"none\.j2 of the recipe `toy` is missing"):
        PromptFile.load(toy, "none")


def test_every_prompt_file_that_comes_with_tilth_can_be_read() -> None:
    files = sorted(FOLDER.rglob("*.j2"))
    assert files
    for path in files:
        name = path.relative_to(FOLDER).with_suffix("").as_posix()
        assert PromptFile.parse(path.read_text(encoding="utf-8"), name=name).version >= 1
