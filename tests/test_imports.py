"""Arrows go down: a module imports from lower floors and from its own folder, never up and never sideways."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src" / "tilth"
FLOORS = {
    0: [
        "_lazy",
        "errors",
        "types",
        "progress",
        "files",
        "identity",
        "intervals",
        "results",
        "step_record",
        "run_record",
        "storage",
        "sources",
        "execute",
        "steps",
        "paths",
        "reading",
        "listing",
        "user_code",
        "outputs",
        "perform",
        "event_loop",
        "workers",
        "environment",
        "jobs",
        "native",
        "_core",
        "version",
    ],
    1: ["tokenizer", "curation", "model", "scaling"],
    2: ["training", "inference"],
    3: ["teacher"],
    4: ["synthesis", "alignment", "evaluation", "compression", "export"],
    5: ["assay"],
    6: ["improve", "serve"],
    7: ["report"],
    8: ["recipes"],
    9: ["cli"],
    10: ["__main__"],
}
FLOOR_OF = {name: floor for floor, names in FLOORS.items() for name in names}
ONLY_IN_CLI = {"tyro", "rich"}
ONLY_IN_RECIPES = {"tilth.steps"}


def modules() -> list[Path]:
    return sorted(p for p in PACKAGE.rglob("*.py") if p != PACKAGE / "__init__.py")


def imported(path: Path) -> set[str]:
    """All modules that a file imports, inside functions too; relative imports are resolved."""
    package = ["tilth", *path.relative_to(PACKAGE).parts[:-1]]
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            found |= {f"{module}.{alias.name}" for alias in node.names} if module == "tilth" else {module}
            if module != "tilth":
                found |= {f"{module}.{alias.name}" for alias in node.names}
    return found


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_go_down(path: Path) -> None:
    own = room(path)
    assert own in FLOOR_OF, f"{own} has no floor: add it to FLOORS"
    for name in imported(path):
        parts = name.split(".")
        if parts[0] != "tilth" or len(parts) < 2 or parts[1] == own:
            continue
        other = parts[1]
        assert other in FLOOR_OF, f"{path} imports {name} through the package's front door"
        if FLOOR_OF[own] == 0:
            assert FLOOR_OF[other] == 0, f"{path} imports {name}, which is above it"
        else:
            assert FLOOR_OF[other] < FLOOR_OF[own], f"{path} imports {name}, which is not below it"


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_only_the_top_knows_the_terminal_and_steps(path: Path) -> None:
    names = imported(path)
    if room(path) != "cli":
        assert not {n.split(".")[0] for n in names} & ONLY_IN_CLI
    if room(path) not in ("cli", "recipes") and path.name != "steps.py":
        assert not any(n == s or n.startswith(s + ".") for n in names for s in ONLY_IN_RECIPES)


def test_no_circle_on_the_ground_floor() -> None:
    arrows = {
        room(p): {n.split(".")[1] for n in imported(p) if n.startswith("tilth.")} - {room(p)}
        for p in modules()
        if FLOOR_OF[room(p)] == 0
    }
    seen: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, f"circle: {' -> '.join((*path, name))}"
        if name not in seen:
            for other in arrows.get(name, set()):
                visit(other, (*path, name))
            seen.add(name)

    for name in arrows:
        visit(name, ())


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("import tilth", ["torch", "pyarrow", "numpy", "rich", "tyro", "aiohttp"]),
        (
            "import sys, tilth.cli\ntry: tilth.cli.main(['--help'])\nexcept SystemExit: pass",
            ["torch", "pyarrow", "numpy", "aiohttp"],
        ),
        ("import sys, tilth.recipes.quickstart as q; q.quickstart()", ["torch"]),
    ],
)
def test_what_is_light_stays_light(code: str, absent: list[str]) -> None:
    check = f"{code}\nimport sys\nprint('LOADED', *[m for m in {absent!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "LOADED"
