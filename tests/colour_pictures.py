"""Pictures that a small network learns to describe in seconds, for the tests of captioning."""

import dataclasses
import io
import random

from PIL import Image

from rnnapps.captioning import PRESETS

COLOURS = {"red": (220, 30, 30), "green": (20, 150, 40), "blue": (30, 60, 220), "yellow": (240, 220, 20)}


def picture(top, bottom, noise=0, kind="PNG", size=32):
    """The file of a picture with one colour above another."""
    image = Image.new("RGB", (size, size), COLOURS[bottom])
    image.paste(COLOURS[top], (0, 0, size, size // 2))
    image.putpixel((0, 0), (noise % 256, noise // 256, 0))  # no two are the same file
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


def folder(path, count=300, seed=0):
    """Pictures `path/pictures/*.png` and their captions `path/captions.tsv`."""
    rng, lines = random.Random(seed), []
    (path / "pictures").mkdir(parents=True)
    for number in range(count):
        top, bottom = rng.choice(list(COLOURS)), rng.choice(list(COLOURS))
        (path / "pictures" / f"{number}.png").write_bytes(picture(top, bottom, number))
        lines.append(f"{number}.png\t{top} above {bottom}\n")
    (path / "captions.tsv").write_text("".join(lines), encoding="utf-8")
    return {"images": path / "pictures", "captions": path / "captions.tsv"}


def config(path, **changes):
    """Of a run on such pictures in `path/run`."""
    options = {**folder(path / "data"), "run": path / "run", "epochs": 14.0, "units": 32, "embedding": 16}
    options |= {"validation_fraction": 0.1, "test_fraction": 0.1, **changes}
    return dataclasses.replace(PRESETS["tiny"], **options)
