"""What the tests of several files ask of exports."""

from __future__ import annotations

import functools
import json
import shutil

import tensorflow as tf

from rnnapps.data.vocabulary import Vocabulary
from rnnapps.serving.saved_model import load_endpoints


def written(export, prompt, count, temperature=0.8, seed=3):
    """The text that the endpoint `serving_default` of an export writes."""
    request = {"prompt": [prompt], "num_chars": [count], "temperature": [temperature], "seed": [seed]}
    ask = loaded(export)["serving_default"].function
    return ask(**{name: tf.constant(value) for name, value in request.items()})["text"].numpy()[0]


@functools.lru_cache(maxsize=1)
def loaded(export):
    """The endpoints of an export; those of the last one are kept."""
    return load_endpoints(export)


def of_words(export, folder):
    """A copy of an export of text, by whose manifest its symbols are words."""
    shutil.copytree(export, folder)
    manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
    manifest["vocabulary"] = Vocabulary("word", [" a", " b", "."]).to_dict()
    (folder / "manifest.json").write_text(json.dumps(manifest), "utf-8")
    return folder
