"""Scenes of coloured shapes, drawn by lot: pictures whose one right caption is known."""

from __future__ import annotations

import io
import math
import random
from collections.abc import Iterator
from typing import NamedTuple

from PIL import Image, ImageDraw

from rnnapps.data.caption_files import Captioned
from rnnapps.errors import UsageError

PIXELS = 64  # of a side
MAX_SCENES = 100_000

# On light grey each is told from the others by its hue, or by its lack of one.
COLORS = {
    "red": (215, 25, 30), "orange": (250, 135, 0), "yellow": (245, 215, 0), "green": (25, 145, 50),
    "blue": (30, 80, 220), "purple": (135, 35, 165), "black": (15, 15, 15),
}  # fmt: skip
SHAPES = ("circle", "square", "triangle", "star", "cross", "ring")
# All lengths are in quarters of a pixel: scenes are drawn four times as large, for smooth borders.
_SCALE = 4
SIZES = {"small": (50, 58), "large": (92, 100)}
_JITTER = 8
_NEAR, _MIDDLE, _FAR = 68, 128, 188
# Where a shape stands that is alone, or the third.
PLACES = {
    "in the middle": (_MIDDLE, _MIDDLE), "on the left": (_NEAR, _MIDDLE), "on the right": (_FAR, _MIDDLE),
    "at the top": (_MIDDLE, _NEAR), "at the bottom": (_MIDDLE, _FAR),
}  # fmt: skip
# From whether the second shape of a pair stands below the first, not beside it, and whether it is named first.
_RELATIONS = {
    (False, False): "to the left of", (False, True): "to the right of", (True, False): "above", (True, True): "below",
}  # fmt: skip
# In a hundred scenes; there are few different captions for a single shape.
_SHAPES_IN_A_SCENE = {1: 3, 2: 57, 3: 40}
_DRAWS_OF_A_KIND = 200


class Shape(NamedTuple):
    """A shape in a scene; its centre and its width are in quarters of a pixel."""

    size: str
    color: str
    form: str
    x: int
    y: int
    width: int

    def __str__(self) -> str:
        return f"a {self.size} {self.color} {self.form}"


def scenes(seed: int, count: int, first: int = 0) -> Iterator[Captioned]:
    """Scenes of one to three shapes on light grey, drawn by lot, each with its one right caption.

    A caption names every shape's size, colour and form, and their places:

    * one shape and its place: "a large red ring on the left";
    * two, beside or above each other: "a small blue star to the right of a large red ring". The small one is told by
      the large one; of two with the same size the one on the left, or above, comes first;
    * two and a third on one side of both: "a small blue star above a small red ring and a large green cross on the
      right".

    No two shapes of a scene have the same colour or touch each other, and no two scenes have the same caption: what is
    cut off for a test has captions that are not met in training.

    Args:
        seed: Of the lot; the same captions and pixels for the same seed, on every machine with this version of Pillow.
        count: Number of scenes, at most `MAX_SCENES`; fewer are the first of more.
        first: Number of those that are left out at the beginning, and not drawn.

    Yields:
        The other scenes in the order of the lot, as PNG pictures of 64 x 64 pixels in RGB.

    Raises:
        UsageError: `count` is too large.
    """
    if not 0 <= count <= MAX_SCENES:
        raise UsageError(f"scenes has at most {MAX_SCENES:,} different scenes: wanted no more, not {count:,}")
    return _scenes(seed, count, first)


def _scenes(seed: int, count: int, first: int) -> Iterator[Captioned]:
    rng, seen = random.Random(f"{seed}"), set[str]()
    numbers, weights = list(_SHAPES_IN_A_SCENE), list(_SHAPES_IN_A_SCENE.values())
    while len(seen) < count:
        number = rng.choices(numbers, weights)[0]
        # A caption that is taken is drawn again with as many shapes, so that late scenes are like early ones.
        for _ in range(_DRAWS_OF_A_KIND):
            shapes, caption = scene(rng, number)
            if caption not in seen:
                seen.add(caption)
                if len(seen) > first:
                    # A lot of its own, so that the next scene is the same when this one is not drawn.
                    picture = _png(shapes, random.Random(f"{seed} {len(seen)}"))
                    yield Captioned(f"scene_{len(seen):06d}.png", picture, (caption,))
                break


def scene(rng: random.Random, number: int) -> tuple[list[Shape], str]:
    """Draws 1, 2 or 3 shapes and their caption by lot."""
    colors = rng.sample(list(COLORS), number)
    if number == 1:
        place = rng.choice(list(PLACES))
        alone = _shape(rng, colors[0], *PLACES[place])
        return [alone], f"{alone} {place}"
    below = rng.random() < 0.5
    if number == 2:
        # They may stand anywhere across.
        across = rng.randint(_NEAR, _FAR)
        return _pair(rng, colors, below, across)
    place = rng.choice(("on the left", "on the right") if below else ("at the top", "at the bottom"))
    # On the side where the third is not.
    across = _FAR if place in ("on the left", "at the top") else _NEAR
    pair, caption = _pair(rng, colors, below, across)
    third = _shape(rng, colors[2], *PLACES[place])
    return [*pair, third], f"{caption} and {third} {place}"


def _pair(rng: random.Random, colors: list[str], below: bool, across: int) -> tuple[list[Shape], str]:
    centres = [(across, along) if below else (along, across) for along in (_NEAR, _FAR)]
    first, second = (_shape(rng, color, *centre) for color, centre in zip(colors, centres, strict=False))
    turned = (first.size, second.size) == ("large", "small")
    one, other = (second, first) if turned else (first, second)
    return [first, second], f"{one} {_RELATIONS[below, turned]} {other}"


def _shape(rng: random.Random, color: str, x: int, y: int) -> Shape:
    size, form = rng.choice(list(SIZES)), rng.choice(SHAPES)
    x, y = x + rng.randint(-_JITTER, _JITTER), y + rng.randint(-_JITTER, _JITTER)
    return Shape(size, color, form, x, y, rng.randint(*SIZES[size]))


def _png(shapes: list[Shape], rng: random.Random) -> bytes:
    picture = _background(rng).convert("RGB")
    for shape in shapes:
        mask = Image.new("L", (_SCALE * PIXELS, _SCALE * PIXELS))
        _draw(ImageDraw.Draw(mask), shape)
        picture.paste(COLORS[shape.color], mask=mask.reduce(_SCALE))
    file = io.BytesIO()
    picture.save(file, "PNG", compress_level=6)
    return file.getvalue()


def _background(rng: random.Random) -> Image.Image:
    """A light grey, plain or with grains of a few steps more or less."""
    grey, grain = rng.choice((222, 232, 242)), rng.choice((0, 0, 3))
    shades = bytes(grey + value % (2 * grain + 1) - grain for value in range(256))
    return Image.frombytes("L", (PIXELS, PIXELS), rng.randbytes(PIXELS * PIXELS).translate(shades))


def _draw(on: ImageDraw.ImageDraw, shape: Shape) -> None:
    x, y, half = shape.x, shape.y, shape.width / 2
    if shape.form in ("circle", "ring"):
        on.ellipse(_box(x, y, half), fill=255)
        if shape.form == "ring":
            on.ellipse(_box(x, y, 0.52 * half), fill=0)
    elif shape.form == "square":
        on.rectangle(_box(x, y, 0.9 * half), fill=255)
    elif shape.form == "cross":
        arm = 0.3 * half
        on.rectangle((x - half, y - arm, x + half, y + arm), fill=255)
        on.rectangle((x - arm, y - half, x + arm, y + half), fill=255)
    elif shape.form == "triangle":
        on.polygon([(x, y - 0.9 * half), (x + half, y + 0.85 * half), (x - half, y + 0.85 * half)], fill=255)
    else:
        radii = (half, 0.42 * half)
        turns = [math.pi * corner / 5 for corner in range(10)]
        corners = [(radii[i % 2] * math.sin(turn), radii[i % 2] * math.cos(turn)) for i, turn in enumerate(turns)]
        on.polygon([(x + right, y - up) for right, up in corners], fill=255)


def _box(x: int, y: int, half: float) -> tuple[float, float, float, float]:
    return x - half, y - half, x + half, y + half
