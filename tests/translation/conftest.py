"""What the tests of translation share: a run that has learnt, its export, and a run that was resumed."""

import json

import number_words
import pytest
import small_runs
from small_runs import eagerly, elsewhere, loaded_once, often_validated  # noqa: F401  # fixtures

from rnnapps.translation import train

ELSEWHERE = """
import json, sys, tensorflow as tf
served = tf.saved_model.load(sys.argv[1]).signatures
found = served["serving_default"](sentence=tf.constant(json.loads(sys.argv[2])))
print(json.dumps([text.decode() for text in found["translation"].numpy()]))
"""


@pytest.fixture(scope="session")
def numbers(kept):
    return number_words.learnt(kept)


@pytest.fixture(scope="session")
def exported(kept):
    return number_words.exported(kept)


@pytest.fixture(scope="session")
def answered_elsewhere(exported, elsewhere):  # noqa: F811
    """What the export makes of `SENTENCES` where neither Keras nor this package is."""
    return json.loads(elsewhere.run(ELSEWHERE, exported, json.dumps(list(number_words.SENTENCES))))


@pytest.fixture(scope="session")
def whole_and_resumed(tmp_path_factory):
    """Folders of a run with all that has a state of its own between updates, and of one that was resumed after three.

    Then the weights have changed once, and half of a sum of gradients is there.
    """
    with small_runs.untraced():
        config = number_words.few(
            tmp_path_factory.mktemp("resumed"), epochs=2.0, batch_size=15, validation_fraction=0.0, dropout=0.2,
            recurrent_dropout=0.1, scheduled_sampling=0.5, average=0.9, accumulate=2,
        )  # fmt: skip
        return small_runs.resumed(train, config, after=3)
