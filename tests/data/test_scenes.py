"""Scenes: what a caption says is what the pixels show, and nothing else could be said."""

from __future__ import annotations

import hashlib
import io
import itertools
import re
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from rnnapps.data.caption_files import Captioned
from rnnapps.data.scenes import COLORS, MAX_SCENES, PLACES, SHAPES, SIZES, scenes
from rnnapps.errors import UsageError

SHAPE = r"a (small|large) (\w+) (\w+)"
RELATION = r"(to the left of|to the right of|above|below)"
PLACE = r"(in the middle|on the left|on the right|at the top|at the bottom)"
GRAMMAR = re.compile(rf"{SHAPE}(?: {RELATION} {SHAPE}(?: and {SHAPE} {PLACE})?| {PLACE})")
# Pixels between two shapes that are told apart by where they are.
MARGIN = 20


class Seen(NamedTuple):
    size: str
    form: str
    x: float
    y: float


@pytest.fixture(scope="module")
def some() -> list[Captioned]:
    return list(scenes(5, 600))


def pixels(scene: Captioned) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(scene.picture)))


def seen(picture: np.ndarray) -> dict[str, Seen]:
    """From the colour of each shape to what its pixels show."""
    found = {}
    for name, color in COLORS.items():
        mask = np.abs(picture.astype(int) - color).max(-1) < 30
        if mask.sum() < 20:  # Of a border a pixel or two may look like another colour.
            continue
        rows, columns = np.nonzero(mask)
        box = mask[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        size = "large" if max(box.shape) >= 17 else "small" if max(box.shape) <= 15 else "neither"
        found[name] = Seen(size, form(box), columns.mean(), rows.mean())
    return found


def form(box: np.ndarray) -> str:
    """The form of a shape that fills its box."""
    height, width = box.shape
    if not box[height // 2, width // 2]:
        return "ring"
    if box.mean() > 0.95:
        return "square"
    if box.mean() > 0.7:
        return "circle"
    if box[-2].mean() > 0.75:
        return "triangle"
    return "cross" if box[height // 2].all() and box[:, width // 2].all() else "star"


@pytest.mark.parametrize("count", [150, pytest.param(600, marks=pytest.mark.full)])
def test_captions_tell_what_the_pixels_show(count: int, some: list[Captioned]) -> None:
    for scene in some[:count]:
        assert len(scene.captions) == 1
        parsed = GRAMMAR.fullmatch(scene.captions[0])
        assert parsed, scene.captions
        shapes = re.findall(SHAPE, scene.captions[0])
        shown = seen(pixels(scene))
        assert {color: (size, form) for size, color, form in shapes} == {
            color: (one.size, one.form) for color, one in shown.items()
        }, scene
        places = [shown[color] for _, color, _ in shapes]
        if len(places) > 1:
            check_relation(parsed[4], *places[:2])
        check_place(parsed[11] or parsed[12], places)


def check_relation(relation: str, one: Seen, other: Seen) -> None:
    """As it is, and as no other caption could tell it."""
    right, down = other.x - one.x, other.y - one.y
    assert {"to the left of": right, "to the right of": -right, "above": down, "below": -down}[relation] > MARGIN
    across = down if relation.startswith("to") else right
    assert abs(across) < MARGIN / 2
    if one.size == other.size:
        assert relation in ("to the left of", "above")
    else:
        assert one.size == "small"


def check_place(place: str | None, places: list[Seen]) -> None:
    if place is None:
        assert len(places) == 2
        return
    last = places[-1]
    others = [(32.0, 32.0)] if len(places) == 1 else [(one.x, one.y) for one in places[:2]]
    margin = 8 if len(places) == 1 else MARGIN
    for x, y in others:
        beyond = {"on the left": x - last.x, "on the right": last.x - x, "at the top": y - last.y,
                  "at the bottom": last.y - y}  # fmt: skip
        if place == "in the middle":
            assert max(beyond.values()) < margin / 2
        else:
            assert beyond[place] > margin


def test_pictures_are_small_and_light_behind_the_shapes(some: list[Captioned]) -> None:
    backgrounds = set()
    for scene in some:
        picture = Image.open(io.BytesIO(scene.picture))
        assert (picture.format, picture.size, picture.mode) == ("PNG", (64, 64), "RGB")
        corner = np.asarray(picture)[:3, :3].reshape(-1, 3)
        assert corner.min() > 210 and np.ptp(corner, axis=1).max() == 0
        backgrounds.add((corner.max() - corner.min() > 0, int(corner.mean() // 10)))
    assert len(backgrounds) >= 6  # Three greys, plain and with grains.


def test_no_caption_occurs_twice_and_every_word_does(some: list[Captioned]) -> None:
    captions = [scene.captions[0] for scene in some]
    assert len(set(captions)) == len({scene.name for scene in some}) == len(some)
    words = {word for caption in captions for word in caption.split()}
    assert words == set(" ".join([*COLORS, *SHAPES, *SIZES, *PLACES, "a and above below to the of"]).split())
    assert len(words) == 30
    numbers = [caption.count("small") + caption.count("large") for caption in captions]
    assert [numbers.count(number) > 10 for number in (1, 2, 3)] == [True] * 3


def test_the_same_seed_gives_the_same_scenes(some: list[Captioned]) -> None:
    again = list(scenes(5, 60))
    assert again == some[:60] == list(itertools.islice(scenes(5, MAX_SCENES), 60))
    assert list(scenes(5, 60, first=40)) == some[40:60]
    assert list(scenes(5, 60, first=60)) == list(scenes(5, 0)) == []
    assert not {scene.captions for scene in scenes(6, 60)} & {scene.captions for scene in again[:20]}
    # On every machine.
    text = "\n".join(scene.captions[0] for scene in some)
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == "3733e417c9cd9d8c"


def test_late_scenes_are_like_early_ones() -> None:
    """The captions of one shape are few, and still as many of the last scenes have one shape."""
    captions = [scene.captions[0] for scene in scenes(0, 11_500, first=11_499)]
    assert len(captions) == 1
    from rnnapps.data import scenes as module

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_png", lambda *_: b"")
        every = [scene.captions[0] for scene in scenes(0, 11_500)]
    assert len(set(every)) == 11_500
    for part in (every[:1_500], every[-1_500:]):
        alone = sum(not re.search(RELATION, caption) for caption in part) / len(part)
        three = sum(" and " in caption for caption in part) / len(part)
        assert 0.02 < alone < 0.045 and 0.36 < three < 0.44


def test_too_many_scenes_are_refused() -> None:
    with pytest.raises(UsageError, match="scenes has at most 100,000 different scenes: wanted no more, not 100,001"):
        scenes(0, MAX_SCENES + 1)
