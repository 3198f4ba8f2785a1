from collections.abc import Callable

import pyarrow as pa
import pytest

from tilth.curation import language
from tilth.curation.config import CurationConfig
from tilth.curation.language import identify

TEXTS = {
    "en": "The gardener waters the trees in the morning, because the soil then keeps the water through the day.",
    "de": "Der Gärtner gießt die Bäume am Morgen, weil die Erde das Wasser dann den Tag über behält.",
    "fr": "Le jardinier arrose les arbres le matin, parce que la terre garde alors l'eau pendant la journée.",
    "ru": "Садовник поливает деревья утром, потому что тогда почва сохраняет воду в течение всего дня.",
    "zh": "园丁早上给树浇水，因为这样土壤可以在白天保持水分。",
}


@pytest.mark.parametrize("code", TEXTS)
def test_plain_sentences(code: str) -> None:
    found, score = identify(TEXTS[code])
    assert found == code
    assert 0.5 < score <= 1


def test_a_long_text_is_judged_by_its_beginning_and_its_middle() -> None:
    assert identify("12 34 ... \n" * 150 + (TEXTS["en"] + "\n") * 100)[0] == "en"


def test_other_languages_are_dropped_and_code_is_kept(batch: Callable[..., pa.RecordBatch]) -> None:
    documents = batch(*((code, text, {}) for code, text in TEXTS.items()), ("code", "für = 1", {"kind": "code"}))
    outcome = language.operator(CurationConfig(languages=("en", "de"))).apply(documents)
    assert [(row["source"], row["language"]) for row in outcome.kept.to_pylist()] == [
        ("en", "en"),
        ("de", "de"),
        ("code", None),
    ]
    assert outcome.rejects["reason"].to_pylist() == ["other_language"] * 3
    assert outcome.rejects["detail"][0].as_py().startswith("fr (")
    for everything in (None, ()):
        assert language.operator(CurationConfig(languages=everything)).apply(documents).kept.num_rows == 6
