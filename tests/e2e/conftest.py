import sysconfig
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real text that every machine has: a few modules of the standard library."""
    folder = tmp_path_factory.mktemp("corpus")
    library = Path(sysconfig.get_path("stdlib"))
    for path in sorted([*library.glob("json/*.py"), *library.glob("email/*.py"), *library.glob("a*.py")]):
        target = folder / path.relative_to(library)
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(path.read_bytes())
    return folder
