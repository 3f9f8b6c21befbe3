"""What the tests of exports share."""

from __future__ import annotations

import numpy as np
import tensorflow as tf


def own_answers(endpoints, requests):
    """The answers of the functions that were exported, before they were."""
    answers = []
    for key, inputs in requests:
        tensors = {name: tf.convert_to_tensor(value) for name, value in inputs.items()}
        if key == "step":
            tensors = {"tokens": tensors.pop("tokens"), "states": tensors}
        answer = endpoints.endpoints()[key](**tensors)
        answers.append({name: value.numpy() for name, value in answer.items()})
    return answers


def assert_same(answers, expected):
    assert len(answers) == len(expected) > 0
    for answer, wanted in zip(answers, expected, strict=True):
        assert set(answer) == set(wanted)
        for name, value in wanted.items():
            if value.dtype == object:
                assert answer[name].tolist() == value.tolist()
            else:
                np.testing.assert_allclose(answer[name], value, rtol=1e-6, atol=1e-6)


class Served(tf.Module):
    """One endpoint of any function."""

    def __init__(self, function, *signature):
        super().__init__()
        self.function = tf.function(function, input_signature=signature)

    def endpoints(self):
        return {"serving_default": self.function}

    def units(self):
        return {}
