"""A language that a small network learns in seconds, for the tests of translation."""

import dataclasses
import random

from rnnapps.translation import PRESETS

WORDS = {"one": "eins", "two": "zwei", "three": "drei", "four": "vier", "five": "fünf", "six": "sechs"}


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
        PRESETS["tiny"], pairs=(pairs(folder / "numbers.tsv", 2_000),), run=folder / "run", tokens="word", units=32,
        epochs=12.0, validation_fraction=0.1, test_fraction=0.1, batch_size=32, learning_rate=0.02, **changes,
    )  # fmt: skip
