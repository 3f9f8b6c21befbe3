"""Pictures that a small network learns to describe in seconds, for the tests of captioning."""

import contextlib
import dataclasses
import io
import random

import pytest
import small_runs
import tensorflow as tf
from PIL import Image

from rnnapps.captioning import PRESETS, Config, Export, export, train
from rnnapps.captioning.build import DATA
from rnnapps.data import picture_tensors
from rnnapps.training.run import Run

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
    options = {**folder(path / "data"), "run": path / "run", "epochs": 5.0, "units": 32, "embedding": 16}
    options |= {"validation_fraction": 0.1, "test_fraction": 0.1, **changes}
    return dataclasses.replace(PRESETS["tiny"], **options)


def few(path, **changes):
    """Of a run of one update that learns nothing yet, on twenty pictures in `path/data`."""
    options = {**folder(path / "data", 20), "run": path / "run", "epochs": 0.01, "units": 4, "attention_units": 4}
    options |= {"embedding": 4, "max_length": 5, "validation_fraction": 0.2, "test_fraction": 0.0, **changes}
    return dataclasses.replace(PRESETS["tiny"], **options)


@contextlib.contextmanager
def decoded_plainly():
    """Pictures are decoded without a look at their heads, which say of none of these that it is turned or transparent.

    The pixels are the same, and far less is traced, or done for each of them where nothing is.
    """
    with pytest.MonkeyPatch.context() as patch:
        plain = picture_tensors._plain
        patch.setattr(picture_tensors, "pixels", lambda file: tf.ensure_shape(plain(file), (None, None, 3)))
        yield


def learnt(kept):
    """The config of a run that has learnt to name two colours."""

    def make(path):
        with small_runs.quickly(), decoded_plainly():
            train(config(path))

    return Run(kept.folder("captioning-colours", make) / "run", DATA).load_config(Config)


def exported(kept):
    """The SavedModel of that run."""
    run = learnt(kept).run

    def make(path):
        with small_runs.quickly():
            export(Export(run=run, output=path, name="colours"))

    return kept.folder("captioning-export", make) / "colours" / "1"
