"""What the tests of exports share."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from rnnapps.serving.endpoints import Endpoints


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


class Served(Endpoints):
    """One endpoint of any function, with the requests that it is to be tried with."""

    def __init__(self, function, *signature, requests=None, xla=False):
        super().__init__("served", [], xla)
        self.functions = {"serving_default": tf.function(function, input_signature=signature)}
        self.requests = [("serving_default", {"x": np.ones((1, 2), np.float32)})] if requests is None else requests

    def examples(self):
        return self.requests
