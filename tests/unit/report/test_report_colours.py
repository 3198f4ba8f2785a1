"""Colours of the page keep apart under colour-blindness, and from the paper; text can be read."""

from __future__ import annotations

import math
import re
from itertools import combinations
from pathlib import Path

import pytest

import tilth.report
from tilth.report.charts import TONES

STYLE = (Path(tilth.report.__file__).parent / "templates" / "style.css").read_text(encoding="utf-8")
SCHEMES = ("light", "dark")
# Machado, Oliveira and Fernandes 2009, severity 1.0, on linear RGB.
VISION = {
    "full": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "protanopia": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "deuteranopia": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.01182, 0.04294, 0.968881)),
    "tritanopia": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.3039)),
}
SMALLEST_DIFFERENCE = 15.0
"""Delta E 2000; differences below about 10 need a second look."""

Colour = tuple[float, float, float]


def colours(scheme: str) -> dict[str, Colour]:
    light, dark = re.findall(r":root \{(.*?)\}", STYLE, re.S)[:2]
    found = dict(re.findall(r"--([a-z0-9-]+): #([0-9a-f]{6});", light if scheme == "light" else dark))
    return {name: linear(code) for name, code in found.items()}


def linear(code: str) -> Colour:
    values = [int(code[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    red, green, blue = (v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in values)
    return red, green, blue


def contrast(one: Colour, other: Colour) -> float:
    dark, light = sorted(0.2126 * r + 0.7152 * g + 0.0722 * b for r, g, b in (one, other))
    return (light + 0.05) / (dark + 0.05)


def seen(colour: Colour, vision: str) -> Colour:
    """CIELAB (D65) of a colour as it is seen."""
    rows = [sum(a * v for a, v in zip(row, colour, strict=True)) for row in VISION[vision]]
    r, g, b = (min(max(v, 0.0), 1.0) for v in rows)
    xyz = (
        (0.4124 * r + 0.3576 * g + 0.1805 * b) / 0.95047,
        0.2126 * r + 0.7152 * g + 0.0722 * b,
        (0.0193 * r + 0.1192 * g + 0.9505 * b) / 1.08883,
    )
    x, y, z = (v ** (1 / 3) if v > 216 / 24389 else (24389 / 27 * v + 16) / 116 for v in xyz)
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


def difference(one: Colour, other: Colour) -> float:
    """Delta E 2000 (Sharma, Wu and Dalal 2005)."""
    (l1, a1, b1), (l2, a2, b2) = one, other
    mean = (math.hypot(a1, b1) + math.hypot(a2, b2)) / 2
    g = 0.5 * (1 - math.sqrt(mean**7 / (mean**7 + 25**7)))
    a1, a2 = a1 * (1 + g), a2 * (1 + g)
    c1, c2 = math.hypot(a1, b1), math.hypot(a2, b2)
    h1, h2 = math.degrees(math.atan2(b1, a1)) % 360, math.degrees(math.atan2(b2, a2)) % 360
    turn = (h2 - h1 + 180) % 360 - 180 if c1 * c2 else 0.0
    hue = (h1 + turn / 2) % 360 if c1 * c2 else h1 + h2
    light, chroma = (l1 + l2) / 2, (c1 + c2) / 2
    t = (
        1
        - 0.17 * math.cos(math.radians(hue - 30))
        + 0.24 * math.cos(math.radians(2 * hue))
        + 0.32 * math.cos(math.radians(3 * hue + 6))
        - 0.2 * math.cos(math.radians(4 * hue - 63))
    )
    dl = (l2 - l1) / (1 + 0.015 * (light - 50) ** 2 / math.sqrt(20 + (light - 50) ** 2))
    dc = (c2 - c1) / (1 + 0.045 * chroma)
    dh = 2 * math.sqrt(c1 * c2) * math.sin(math.radians(turn / 2)) / (1 + 0.015 * chroma * t)
    rotation = -2 * math.sqrt(chroma**7 / (chroma**7 + 25**7))
    rotation *= math.sin(math.radians(60 * math.exp(-(((hue - 275) / 25) ** 2))))
    return math.sqrt(dl**2 + dc**2 + dh**2 + rotation * dc * dh)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ((50.0, 2.6772, -79.7751), (50.0, 0.0, -82.7485), 2.0425),
        ((50.0, 2.5, 0.0), (73.0, 25.0, -18.0), 27.1492),
        ((2.0776, 0.0795, -1.1350), (0.9033, -0.0636, -0.5514), 0.9082),
        ((60.2574, -34.0099, 36.2677), (60.4626, -34.1751, 39.4387), 1.2644),
    ],
)
def test_difference_is_that_of_the_published_pairs(one: Colour, other: Colour, expected: float) -> None:
    assert difference(one, other) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("vision", VISION)
def test_tones_differ_however_colours_are_seen(scheme: str, vision: str) -> None:
    found = colours(scheme)
    pairs = {
        (one, other): difference(seen(found[one], vision), seen(found[other], vision))
        for one, other in combinations(TONES, 2)
    }
    assert min(pairs.values()) >= SMALLEST_DIFFERENCE, min(pairs, key=lambda pair: pairs[pair])


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize(
    ("names", "least"), [(TONES, 3.0), (("ink", "quiet", "good", "bad"), 4.5)], ids=["drawings", "text"]
)
def test_colours_differ_from_what_is_behind_them(scheme: str, names: tuple[str, ...], least: float) -> None:
    found = colours(scheme)
    for name in names:
        for ground in ("paper", "card", "sunk"):
            assert contrast(found[name], found[ground]) >= least, (name, ground)


def test_no_text_has_the_colour_of_a_drawing() -> None:
    rules = re.findall(r"[{;]\s*color: var\(--([a-z]+)\)", STYLE)
    # Numbers of sections and marks of lists are no text to read.
    assert set(rules) - {"ink", "quiet", "good", "bad", "paper"} <= {"clay", "ochre"}
    for rule in re.findall(r"([^{}]+)\{[^{}]*[{;]?\s*(?<!-)color: var\(--(?:clay|ochre)\)", STYLE):
        assert re.search(r"h2 span|::before|::after|::marker", rule), rule


def test_every_tone_has_a_marker_of_its_own() -> None:
    markers = dict(re.findall(r"\.([a-z]+) \{ --marker: ([^;]+);", STYLE))
    assert set(markers) == set(TONES) and len(set(markers.values())) == len(TONES)
