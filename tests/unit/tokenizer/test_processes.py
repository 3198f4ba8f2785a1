"""A tokenizer in other processes: forked while threads are encoding, in a DataLoader's workers, sent as a pickle."""

import os
import pickle
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from tilth.tokenizer import CharacterTokenizer, Tokenizer
from unit.tokenizer import model_files as files

TEXTS = [f"text {i} of many: the cat in the hat, {'漢字' * (i % 7)} {i * 7919}\n" * (1 + i % 9) for i in range(40)]
FORKS = 20
KINDS = ["core", "regex", "sentencepiece", "characters"]

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this platform")
# Python 3.12 and later warn whenever a process with threads is forked, which is what is tried here.
forks_with_threads = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tokenizer]:
    model = tmp_path_factory.mktemp("sentencepiece") / "tokenizer.model"
    model.write_bytes(files.model())
    return {
        "core": Tokenizer.train(TEXTS, vocab_size=320),
        "regex": Tokenizer.train(TEXTS, vocab_size=320, pattern=r"\w+|\W"),
        "sentencepiece": Tokenizer.load(model),
        "characters": CharacterTokenizer.train(TEXTS),
    }


def works(tokenizer: Tokenizer, expected: list[list[int]]) -> bool:
    is_same = [tokenizer.encode(text) for text in TEXTS] == expected and tokenizer.encode_batch(TEXTS, 2) == expected
    return is_same and tokenizer.decode(expected[0]) == TEXTS[0]


def exit_code_of_child(body: Callable[[], bool], seconds: float = 60.0) -> int | None:
    """Runs `body` in a forked child: 0 if it is true; None, and the child is ended, if it does not come back."""
    child = os.fork()
    if child == 0:
        code = 2
        try:
            code = 0 if body() else 1
        finally:
            os._exit(code)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


@needs_fork
@forks_with_threads
@pytest.mark.parametrize("kind", KINDS)
def test_a_fork_while_other_threads_encode(kind: str, tokenizers: dict[str, Tokenizer]) -> None:
    tokenizer = tokenizers[kind]
    expected = [tokenizer.encode(text) for text in TEXTS]
    stop = threading.Event()
    wrong: list[list[int]] = []

    def keep_encoding() -> None:
        while not stop.is_set():
            for text, ids in zip(TEXTS, expected, strict=True):
                if (found := tokenizer.encode(text)) != ids:
                    wrong.append(found)
            tokenizer.encode_batch(TEXTS, 2)

    threads = [threading.Thread(target=keep_encoding) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        codes = [exit_code_of_child(lambda: works(tokenizer, expected)) for _ in range(FORKS)]
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert codes == [0] * FORKS and not wrong


class EncodedTexts(Dataset[torch.Tensor]):
    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer

    def __len__(self) -> int:
        return len(TEXTS)

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.from_numpy(self.tokenizer.encode_to_numpy(TEXTS[index]).astype("int64"))


@needs_fork
@forks_with_threads
@pytest.mark.parametrize("kind", KINDS)
def test_two_workers_of_a_data_loader_encode(kind: str, tokenizers: dict[str, Tokenizer]) -> None:
    tokenizer = tokenizers[kind]
    loader: Iterator[torch.Tensor] = iter(
        DataLoader(EncodedTexts(tokenizer), batch_size=None, num_workers=2, multiprocessing_context="fork")
    )
    assert [ids.tolist() for ids in loader] == [tokenizer.encode(text) for text in TEXTS]


@pytest.mark.parametrize("kind", KINDS)
def test_a_pickle_encodes_like_the_original(kind: str, tokenizers: dict[str, Tokenizer], tmp_path: Path) -> None:
    tokenizer = tokenizers[kind]
    copy = pickle.loads(pickle.dumps(tokenizer))
    assert type(copy) is type(tokenizer) and copy.fingerprint == tokenizer.fingerprint
    assert works(copy, [tokenizer.encode(text) for text in TEXTS])
