"""The files of known tokenizers in the caches of other tools on this machine: tiktoken's cache, Hugging Face's.

Nothing is fetched. A file of tiktoken's is taken only if its content is the published one. One from the Hugging Face
cache is taken for what its repository is called, if it cuts text as that tokenizer does: its publishers change special
tokens between versions of a model, and the file is right about its own.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tilth.errors import DataError
from tilth.tokenizer.gpt2_files import read_gpt2_files
from tilth.tokenizer.names import RANK_FILES
from tilth.tokenizer.tiktoken_ranks import read_ranks
from tilth.tokenizer.vocabulary import Vocabulary

_OPENAI = "https://openaipublic.blob.core.windows.net"
_GPT2_PAIR = {
    f"{_OPENAI}/gpt-2/encodings/main/encoder.json": "196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783",
    f"{_OPENAI}/gpt-2/encodings/main/vocab.bpe": "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5",
}
"""tiktoken's files for gpt2 and the SHA-256 of their content: tokens, merges."""


@dataclass(frozen=True, kw_only=True)
class Published:
    """Where the files of a tokenizer are published, and so how the caches call them."""

    ranks: str | None = None
    """URL of the rank file, as tiktoken fetches it."""
    repositories: tuple[str, ...] = ()
    """Repositories on the Hugging Face hub that have it, as glob patterns; errors name the first."""
    files: tuple[str, ...] = ("tokenizer.json", "tokenizer.model")
    """Which files of a repository say it, the best first."""


_META = ("original/tokenizer.model", "tokenizer.json")
PUBLISHED = {
    "gpt2": Published(ranks=f"{_OPENAI}/encodings/r50k_base.tiktoken", repositories=("openai-community/gpt2", "gpt2")),
    "cl100k": Published(ranks=f"{_OPENAI}/encodings/cl100k_base.tiktoken"),
    "o200k": Published(ranks=f"{_OPENAI}/encodings/o200k_base.tiktoken"),
    "llama2": Published(repositories=("meta-llama/Llama-2-7b-hf", "meta-llama/Llama-2-*")),
    "llama3": Published(repositories=("meta-llama/Llama-3.1-8B", "meta-llama/*Llama-3*"), files=_META),
    "llama4": Published(repositories=("meta-llama/Llama-4-Scout-17B-16E", "meta-llama/Llama-4-*"), files=_META),
    "phi3": Published(repositories=("microsoft/Phi-3-mini-4k-instruct", "microsoft/Phi-3-m*")),
    "qwen2": Published(repositories=("Qwen/Qwen2-0.5B", "Qwen/Qwen2-*")),
    "smollm2": Published(repositories=("HuggingFaceTB/SmolLM2-135M", "HuggingFaceTB/SmolLM2-*")),
}
"""By name. Models of one name that were published with other added tokens are not among the repositories."""


def cached_ranks(name: str, special_tokens: Mapping[str, int] | None = None) -> Vocabulary | None:
    """The vocabulary of a known name from tiktoken's cache; None if it is not there.

    Raises: DataError naming a file there whose content is not what was published.
    """
    url = PUBLISHED[name].ranks
    if url is not None and (file := _tiktoken_file(url)).is_file():
        content = file.read_bytes()
        if RANK_FILES.get(hashlib.sha256(content).hexdigest()) != name:
            raise _not_published(file, url)
        return read_ranks(file, content, pattern=name, special_tokens=special_tokens)
    if name == "gpt2" and all(_tiktoken_file(url).is_file() for url in _GPT2_PAIR):
        for url, sha256 in _GPT2_PAIR.items():
            if hashlib.sha256(_tiktoken_file(url).read_bytes()).hexdigest() != sha256:
                raise _not_published(_tiktoken_file(url), url)
        tokens, merges = map(_tiktoken_file, _GPT2_PAIR)
        return read_gpt2_files(tokens, merges, special_tokens=special_tokens)
    return None


def cached_files(name: str) -> Iterator[Path]:
    """Files of a known name in the Hugging Face cache: the repository's current revision first, then the newest."""
    published = PUBLISHED[name]
    for repository in published.repositories:
        for folder in sorted(_hub_cache().glob(f"models--{repository.replace('/', '--')}")):
            main = folder / "refs" / "main"
            current = main.read_text().strip() if main.is_file() else ""
            by_age = sorted((folder / "snapshots").glob("*"), key=lambda path: -path.stat().st_mtime)
            for snapshot in sorted(by_age, key=lambda path: path.name != current):
                yield from (snapshot / file for file in published.files if (snapshot / file).is_file())


def not_cached(name: str) -> DataError:
    """What to say of a name whose file is on this machine only if the reader knows where."""
    published = PUBLISHED[name]
    searched = [_tiktoken_file("").parent] if published.ranks else []
    searched += [_hub_cache()] if published.repositories else []
    if published.ranks is not None:
        source = published.ranks
    else:
        source = f"`{published.files[0]}` of https://huggingface.co/{published.repositories[0]}"
    option = f', pattern="{name}"' if published.ranks or published.files is _META else ""
    return DataError(
        f"{name} is no file here, and its published file is not in {' or '.join(map(str, searched))}.",
        fix=f"Fetch {source}, and load that file: `Tokenizer.load(path{option})`.",
    )


def _tiktoken_file(url: str) -> Path:
    folder = os.environ.get("TIKTOKEN_CACHE_DIR", os.environ.get("DATA_GYM_CACHE_DIR"))
    cache = Path(tempfile.gettempdir()) / "data-gym-cache" if folder is None else Path(folder)
    return cache / hashlib.sha1(url.encode(), usedforsecurity=False).hexdigest()


def _hub_cache() -> Path:
    for variable in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if os.environ.get(variable):
            return Path(os.environ[variable])
    home = os.environ.get("HF_HOME")
    general = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return (Path(home) if home else Path(general) / "huggingface") / "hub"


def _not_published(file: Path, url: str) -> DataError:
    return DataError(f"{file} does not hold what {url} did.", fix="Delete it, or name a file that you trust.")
