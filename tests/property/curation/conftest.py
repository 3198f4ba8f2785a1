from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True, scope="module")
def kept_process() -> Iterator[None]:
    """Keeps the process of the operators from example to example: starting it takes most of a small curation's time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tilth.curation.pipeline.stop_guard", lambda: None)
        yield
