"""Entropy and structure of texts whose answer is known."""

import random
import string
from pathlib import Path

import pytest

from tilth.assay.result import Structure
from tilth.assay.structure import _structure as structure_of  # pyright: ignore[reportPrivateUsage]
from tilth.assay.structure import measure_structure
from tilth.tokenizer import Tokenizer
from unit.assay.texts import dataset, docstrings

N_BYTES = 100_000


def cut(texts: list[str], n_bytes: int = N_BYTES) -> list[str]:
    found: list[str] = []
    for text in texts:
        found.append(text[: n_bytes - sum(map(len, found))])
        if sum(map(len, found)) >= n_bytes:
            break
    return found


def test_the_area_between_curve_and_end_is_the_structure() -> None:
    found = structure_of([4.0, 3.0, 2.0, 2.0, 1.0], n_bytes=500, tokens=1, flops=1.0, learner="")
    assert found.entropy == 1.0
    assert found.prequential == pytest.approx(2.4)
    assert found.epiplexity == pytest.approx(1.4 * 500)
    assert found.prequential == pytest.approx(found.entropy + found.epiplexity / 500)
    assert [bits for _, bits in found.curve] == [4.0, 3.0, 2.0, 2.0, 1.0]
    assert found.curve[-1][0] == 500


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Structure]:
    folder = tmp_path_factory.mktemp("structure")
    real = [text for text in docstrings() if text.isascii()]
    rng = random.Random(5)
    characters = string.ascii_letters + string.digits + " .,"
    words = [word for text in real for word in text.split()]
    texts = {
        "real": cut(real),
        "random": ["".join(rng.choice(characters) for _ in range(2000)) for _ in range(N_BYTES // 2000)],
        "repeated": cut([real[0][:900]] * (N_BYTES // 100)),
        "salad": cut([" ".join(rng.choice(words) for _ in range(300)) for _ in range(N_BYTES // 300)]),
    }
    tokenizer = Tokenizer.train(real, vocab_size=512)
    return {
        name: measure_structure(dataset(folder / name, some), tokenizer, folder / f"{name}-out")
        for name, some in texts.items()
    }


@pytest.mark.slow
def test_random_characters_have_the_most_entropy_and_next_to_no_structure(measured: dict[str, Structure]) -> None:
    noise, real = measured["random"], measured["real"]
    assert noise.entropy == max(one.entropy for one in measured.values())
    assert noise.entropy == pytest.approx(6.0, abs=0.35)  # 65 characters of equal probability: log2 65
    assert noise.epiplexity_per_byte < 0.5 * real.epiplexity_per_byte


@pytest.mark.slow
def test_a_repeated_paragraph_has_no_entropy_and_word_salad_more_than_real_text(measured: dict[str, Structure]) -> None:
    assert measured["repeated"].entropy < 0.2
    assert measured["repeated"].epiplexity_per_byte < measured["real"].epiplexity_per_byte
    assert measured["real"].entropy < measured["salad"].entropy < measured["random"].entropy


@pytest.mark.slow
def test_learner_and_compute_are_stated_and_a_second_call_gives_the_same(
    measured: dict[str, Structure], tmp_path: Path
) -> None:
    texts = cut([text for text in docstrings() if text.isascii()], 20_000)
    tokenizer = Tokenizer.train(texts, vocab_size=300)
    first = measure_structure(dataset(tmp_path / "texts", texts), tokenizer, tmp_path / "out")
    assert "parameters" in first.learner
    assert f"{first.flops:.2g} FLOPs" in first.learner
    assert first.bytes <= 20_000
    assert measure_structure(dataset(tmp_path / "again", texts), tokenizer, tmp_path / "out-2") == first
    assert min(bits for _, bits in first.curve) > 0
