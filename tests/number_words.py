"""A language that a small network learns in seconds, for the tests of translation."""

import dataclasses
import random

import small_runs

from rnnapps.training.run import Run
from rnnapps.translation import PRESETS, Config, Export, export, train
from rnnapps.translation.build import DATA

WORDS = {"one": "eins", "two": "zwei", "three": "drei", "four": "vier", "five": "fünf", "six": "sechs"}
SENTENCES = {"one two three": "drei zwei eins", "": "", "six five": "fünf sechs", "four": "vier"}


def pairs(path, count=400, seed=0):
    """Numbers, and their German words in the opposite order: a word looks where its own position does not say."""
    rng = random.Random(seed)
    lines = []
    for _ in range(count):
        words = [rng.choice(list(WORDS)) for _ in range(rng.randint(1, 4))]
        lines.append(" ".join(words) + "\t" + " ".join(WORDS[word] for word in reversed(words)))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def config(folder, **changes):
    """Of a run on that language in `folder/run`."""
    return dataclasses.replace(
        PRESETS["tiny"], pairs=(pairs(folder / "numbers.tsv", 800),), run=folder / "run", tokens="word", units=32,
        epochs=5.0, validation_fraction=0.05, test_fraction=0.1, batch_size=32, learning_rate=0.03, **changes,
    )  # fmt: skip


def few(folder, **changes):
    """Of a run of one update that learns nothing yet, on thirty pairs in `folder/few.tsv`."""
    options = {"pairs": (pairs(folder / "few.tsv", 30),), "run": folder / "run", "tokens": "word", "epochs": 0.01}
    options |= {
        "units": 4,
        "embedding": 4,
        "max_length": 6,
        "validation_fraction": 0.2,
        "test_fraction": 0.0,
        **changes,
    }
    return dataclasses.replace(PRESETS["tiny"], **options)


def learnt(kept):
    """The config of a run that has learnt the language."""

    def make(path):
        with small_runs.quickly():
            train(config(path))

    return Run(kept.folder("translation-numbers", make) / "run", DATA).load_config(Config)


def exported(kept):
    """The SavedModel of that run."""
    run = learnt(kept).run

    def make(path):
        with small_runs.quickly():
            export(Export(run=run, output=path, name="numbers"))

    return kept.folder("translation-export", make) / "numbers" / "1"
