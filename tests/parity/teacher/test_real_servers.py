"""`HttpTeacher` against servers that others wrote: llama.cpp's own, and `transformers serve`.

Both serve a model that tilth exported, and greedy answers are compared with those of the same model in this process.
To run them: `pip install xllamacpp gguf accelerate "transformers[serving]"`.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import pytest
import torch

from gguf_model import write_gguf
from tilth.export import to_hf
from tilth.inference import Engine
from tilth.model import ModelConfig, Transformer
from tilth.teacher.faults import AccessRefused, ConnectionFault, RequestRefused, ServerFault
from tilth.teacher.http import HttpTeacher
from tilth.teacher.local import LocalTeacher
from tilth.teacher.request import Answer, GenerationParams, Request
from tilth.tokenizer import Tokenizer
from tilth.types import Message

T = TypeVar("T")
TEXT = "The cat sat on the mat. A dog ran over the hill; the moon rose, and 12 birds sang in the tree. " * 30
CONTEXT = 256
PROMPTS = ("The cat", "A dog ran over", "the moon rose, and")
SCHEMA = {"enum": ["yes", "no"]}
LLAMA_CPP = """
import sys, threading, xllamacpp
params = xllamacpp.CommonParams()
params.model.path, params.port = sys.argv[1], int(sys.argv[2])
params.n_ctx, params.n_parallel, params.n_predict = 4 * 256, 4, 64
params.cpuparams.n_threads, params.warmup, params.model_alias = 1, False, {"tiny"}
params.n_gpu_layers = 0
server = xllamacpp.Server(params)
print("listening on", server.listening_address, flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tokenizer = Tokenizer.train([TEXT], vocab_size=320, special_tokens=["<|endoftext|>"])
    torch.manual_seed(0)
    config = ModelConfig(
        vocab_size=tokenizer.vocab_size, d_model=64, n_layers=2, n_heads=2, n_kv_heads=1, context_length=CONTEXT
    )
    model = Transformer(config)
    for weight in model.parameters():
        if weight.ndim == 2:
            torch.nn.init.normal_(weight, std=1.2 * weight.shape[1] ** -0.5)
    learn(model, tokenizer)
    path = tmp_path_factory.mktemp("model") / "tiny"
    to_hf(model, tokenizer, path)
    return path


def learn(model: Transformer, tokenizer: Tokenizer) -> None:
    """A few steps, so that the model writes words and not single bytes."""
    ids = torch.tensor(tokenizer.encode_ordinary(TEXT))
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    generator = torch.Generator().manual_seed(0)
    for _ in range(12):
        starts = torch.randint(len(ids) - 33, (8,), generator=generator)
        rows = torch.stack([ids[start : start + 33] for start in starts.tolist()])
        loss = torch.nn.functional.cross_entropy(model(rows[:, :-1]).flatten(0, 1), rows[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


@contextmanager
def served(command: list[str], port: int) -> Iterator[str]:
    """Starts a server and waits until it lists its models."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment
    )
    url = f"http://127.0.0.1:{port}/v1"
    try:
        for _ in range(600):
            assert process.poll() is None, f"the server ended with {process.returncode}"
            try:
                run(url, "", lambda teacher: teacher.models())
                break
            except (ConnectionFault, ServerFault):
                time.sleep(0.2)
        yield url
    finally:
        process.kill()
        process.wait()
        assert process.stdin is not None
        process.stdin.close()


@pytest.fixture(scope="module")
def llama_cpp(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    pytest.importorskip("xllamacpp", reason="llama.cpp's server is not installed: pip install xllamacpp gguf")
    pytest.importorskip("gguf", reason="GGUF files are written by the package `gguf`")
    file, port = tmp_path_factory.mktemp("gguf") / "tiny.gguf", free_port()
    write_gguf(folder, file)
    with served([sys.executable, "-c", LLAMA_CPP, str(file), str(port)], port) as url:
        yield url


@pytest.fixture(scope="module")
def transformers_serve(folder: Path) -> Iterator[str]:
    if any(
        importlib.util.find_spec(name) is None
        for name in ("transformers", "fastapi", "uvicorn", "openai", "accelerate")
    ):
        pytest.skip("transformers' server is not installed: pip install 'transformers[serving]'")
    port = free_port()
    code = "from transformers.cli.transformers import main; main()"
    options = ["serve", str(folder), "--port", str(port), "--host", "127.0.0.1", "--device", "cpu"]
    with served([sys.executable, "-c", code, *options], port) as url:
        yield url


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def run(url: str, model: str, use: Callable[[HttpTeacher], Awaitable[T]], **options: object) -> T:
    async def work() -> T:
        teacher = HttpTeacher(url, model, timeout=120, **options)  # type: ignore[arg-type]
        try:
            return await use(teacher)
        finally:
            await teacher.aclose()

    return asyncio.run(work())


def greedy(prompt: str, **params: object) -> Request:
    return Request(prompt=prompt, params=GenerationParams(**{"max_tokens": 16, "temperature": 0.0, **params}))  # type: ignore[arg-type]


def ours(folder: Path, requests: list[Request]) -> list[str]:
    """Greedy answers of the same model here, which reads the separator and the tokens of the prompt as they are."""
    from tilth.inference import SamplingParams
    from tilth.model import load_model

    engine = Engine(load_model(folder), Tokenizer.load(folder))
    prompts = [r.prompt for r in requests if r.prompt is not None]
    return [c.text for c in engine.generate(prompts, SamplingParams(max_tokens=16, temperature=0, token_healing=False))]


def side_by_side(requests: list[Request]) -> Callable[[HttpTeacher], Awaitable[list[list[Answer]]]]:
    async def ask(teacher: HttpTeacher) -> list[list[Answer]]:
        return await asyncio.gather(*(teacher.answer(request) for request in requests))

    return ask


def test_llama_cpp_writes_what_our_engine_writes(llama_cpp: str, folder: Path) -> None:
    requests = [greedy(prompt, logprobs=2) for prompt in PROMPTS]
    answers = [a[0] for a in run(llama_cpp, "tiny", side_by_side(requests), dialect="llama.cpp")]
    assert [answer.text for answer in answers] == ours(folder, requests)
    for answer in answers:
        assert answer.usage.completion_tokens == 16 and answer.finish_reason == "length"
        assert not answer.usage.estimated and answer.logprobs is not None
        assert "".join(token.token for token in answer.logprobs) == answer.text
        assert all(token.logprob == pytest.approx(token.top[0][1]) and len(token.top) == 2 for token in answer.logprobs)


def test_llama_cpp_draws_by_seed_and_takes_the_other_parameters(llama_cpp: str) -> None:
    request = greedy("The cat", temperature=2.5, top_k=50, repetition_penalty=1.1, seed=3, top_p=0.95)
    several = run(llama_cpp, "tiny", lambda t: t.answer(request, n=3), dialect="llama.cpp")
    second = run(llama_cpp, "tiny", lambda t: t.answer(request, first_sample=1), dialect="llama.cpp")
    assert len({answer.text for answer in several}) == 3 and second[0].text == several[1].text
    stop = several[0].text[3:5]
    (stopped,) = run(llama_cpp, "tiny", lambda t: t.answer(greedy("The cat", temperature=2.5, top_k=50,
        repetition_penalty=1.1, seed=3, top_p=0.95, stop=(stop,))), dialect="llama.cpp")  # fmt: skip
    assert stopped.text == several[0].text[: several[0].text.index(stop)] and stopped.finish_reason == "stop"


def test_llama_cpp_chats_holds_to_a_schema_and_says_who_it_is(llama_cpp: str) -> None:
    message = (Message(role="system", content="Be brief."), Message(role="user", content="Is it so?"))
    chat = Request(messages=message, params=GenerationParams(max_tokens=40, temperature=0.0, logprobs=1))
    (answer,) = run(llama_cpp, "tiny", lambda t: t.answer(chat), dialect="llama.cpp")
    assert answer.text and answer.logprobs is not None
    for asked in (
        Request(messages=message, params=GenerationParams(max_tokens=200, seed=1), schema=SCHEMA),
        Request(prompt="Is it so?", params=GenerationParams(max_tokens=200, seed=1), schema=SCHEMA),
    ):
        (answer,) = run(llama_cpp, "tiny", lambda t, asked=asked: t.answer(asked), dialect="llama.cpp")
        assert json.loads(answer.text) in ("yes", "no")
    assert run(llama_cpp, "tiny", lambda t: t.models()) == {"tiny": "llamacpp"}


def test_llama_cpp_refuses_what_is_too_long(llama_cpp: str) -> None:
    with pytest.raises(RequestRefused) as caught:
        run(llama_cpp, "tiny", lambda t: t.answer(greedy("The cat sat. " * 600)), dialect="llama.cpp")
    assert "context" in caught.value.message
    with pytest.raises(AccessRefused):
        run(f"{llama_cpp}/nothing", "tiny", lambda t: t.answer(greedy("x")))


@pytest.mark.slow
def test_transformers_serve_writes_what_our_engine_writes(transformers_serve: str, folder: Path) -> None:
    # Its tokenizer adds no separator, which ours puts before each document.
    requests = [greedy(f"<|endoftext|>{prompt}") for prompt in PROMPTS]
    answers = run(transformers_serve, str(folder), side_by_side(requests))
    assert [a[0].text for a in answers] == ours(folder, [greedy(prompt) for prompt in PROMPTS])
    assert all(a[0].usage.completion_tokens >= 16 and not a[0].usage.estimated for a in answers)


@pytest.mark.slow
def test_transformers_serve_does_not_know_n(transformers_serve: str, folder: Path) -> None:
    request = greedy("The cat", temperature=2.5, seed=5)
    answers = run(transformers_serve, str(folder), lambda t: t.answer(request, n=3))
    assert len(answers) == 3


def test_local_and_served_teachers_agree(llama_cpp: str, folder: Path) -> None:
    """The same recipe over both gives the same greedy text: what `LocalTeacher` adds is nothing."""
    teacher = LocalTeacher.load(folder)
    request = greedy("the moon rose, and the")
    (served_answer,) = run(llama_cpp, "tiny", lambda t: t.answer(request), dialect="llama.cpp")
    (here,) = asyncio.run(teacher.answer(request))
    assert here.text == served_answer.text
