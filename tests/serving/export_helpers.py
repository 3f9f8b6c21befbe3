"""What the tests of exports share."""

from __future__ import annotations

import contextlib

import numpy as np
import small_runs
import tensorflow as tf

from rnnapps.serving.endpoints import Endpoints


def own_answers(endpoints, requests, traced=False):
    """The answers of the functions that are exported; not `traced`, they run operation by operation."""
    with contextlib.nullcontext() if traced else small_runs.untraced():
        return [_answer(endpoints.endpoints()[key], inputs) for key, inputs in requests]


def _answer(function, inputs):
    tensors = tf.nest.map_structure(
        lambda spec: tf.constant(inputs[spec.name], spec.dtype), list(function.input_signature)
    )
    return {name: value.numpy() for name, value in function(*tensors).items()}


def assert_same(answers, expected):
    assert len(answers) == len(expected) > 0
    for answer, wanted in zip(answers, expected, strict=True):
        assert set(answer) == set(wanted)
        for name, value in wanted.items():
            assert (answer[name].dtype, answer[name].shape) == (value.dtype, value.shape), name
            if value.dtype == object:
                assert answer[name].tolist() == value.tolist()
            else:
                np.testing.assert_allclose(answer[name], value, rtol=1e-5, atol=1e-5, err_msg=name)


class Served(Endpoints):
    """One endpoint of any function, with the requests that it is to be tried with."""

    def __init__(self, function, *signature, requests=None, xla=False):
        super().__init__("served", [], xla)
        self.functions = {"serving_default": tf.function(function, input_signature=signature)}
        self.requests = [("serving_default", {"x": np.ones((1, 2), np.float32)})] if requests is None else requests

    def examples(self):
        return self.requests
