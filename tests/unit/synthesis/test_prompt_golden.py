"""A prompt file whose text changes gets a new version: its answers must not pass for those to the old text.

`prompt_versions.txt` has a line for each file: prompt, version, SHA-256. After a change on purpose, raise the version
in the file's first line and run `python tests/unit/synthesis/test_prompt_golden.py`.
"""

import hashlib
import re
from pathlib import Path

import tilth.synthesis

PROMPTS = Path(tilth.synthesis.__file__).parent / "prompts"
GOLDEN = Path(__file__).with_name("prompt_versions.txt")
VERSION = re.compile(r"\{# version: ([1-9][0-9]*) #\}\n")


def present() -> dict[str, tuple[int, str]]:
    found: dict[str, tuple[int, str]] = {}
    for path in sorted(PROMPTS.rglob("*.j2")):
        content = path.read_bytes()
        version = VERSION.match(content.decode())
        assert version, f"{path} does not begin with its version"
        name = path.relative_to(PROMPTS).with_suffix("").as_posix()
        found[name] = (int(version[1]), hashlib.sha256(content).hexdigest())
    return found


def golden() -> dict[str, tuple[int, str]]:
    lines = GOLDEN.read_text().splitlines()
    rows = [line.split() for line in lines if not line.startswith(("<<<<<<<", "=======", ">>>>>>>"))]  # of a merge
    return {name: (int(version), digest) for name, version, digest in rows}


def changed_without_version() -> list[str]:
    both = [(name, old, present()[name]) for name, old in golden().items() if name in present()]
    return [name for name, old, new in both if old[1] != new[1] and new[0] <= old[0]]


def test_no_text_changed_without_a_new_version() -> None:
    assert not changed_without_version(), "raise the version in the first line of these files"
    assert present() == golden(), "the list is old: run this file as a script"


def test_the_list_is_sorted() -> None:
    lines = GOLDEN.read_text().splitlines()
    assert lines == sorted(lines)


if __name__ == "__main__":
    assert not GOLDEN.is_file() or not changed_without_version(), changed_without_version()
    GOLDEN.write_text("".join(f"{name} {version} {digest}\n" for name, (version, digest) in sorted(present().items())))
