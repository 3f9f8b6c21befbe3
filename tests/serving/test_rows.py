"""Inputs with other numbers of rows are refused in the graph, by name, wherever it runs."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import tensorflow as tf
from export_helpers import Served

from rnnapps.errors import RunError
from rnnapps.serving.capi import run_in_c_api
from rnnapps.serving.export import write_saved_model
from rnnapps.serving.saved_model import load_endpoints

MESSAGE = "the inputs of serving_default must have as many rows as each other, and have"


class Scaled(Served):
    """Stretches one factor over all rows, as TensorFlow does it."""

    def __init__(self):
        specs = [tf.TensorSpec((None,), tf.float32, "x"), {"f": tf.TensorSpec((None,), tf.float32, "factor")}]
        super().__init__(lambda x, given: {"y": x * given["f"]}, *specs, requests=[self.asked(1), self.asked(1)])

    @staticmethod
    def asked(rows, factors=1):
        return "serving_default", {"x": np.arange(rows, dtype="f"), "factor": np.full(factors, 2, "f")}


@pytest.mark.full  # the next one is its quick twin
@pytest.mark.skipif(sys.platform != "linux", reason="the names of the libraries are those of Linux")
def test_an_export_refuses_rows_that_do_not_agree_in_python_and_in_c(tmp_path):
    path = write_saved_model(Scaled(), tmp_path, "scaled", {})
    serve = load_endpoints(path)["serving_default"]
    key, right = Scaled.asked(3, 3)
    assert serve({name: tf.constant(value) for name, value in right.items()})["y"].numpy().tolist() == [0, 2, 4]
    for rows, factors in ((3, 1), (1, 3), (3, 2)):
        _, inputs = Scaled.asked(rows, factors)
        with pytest.raises(tf.errors.InvalidArgumentError, match=MESSAGE):
            serve({name: tf.constant(value) for name, value in inputs.items()})
    (answer,) = run_in_c_api(path, [(key, right)])
    assert answer["y"].tolist() == [0, 2, 4]
    with pytest.raises(RunError, match=rf"{MESSAGE}\] \[x\] \[3\] \[factor\] \[1\]"):
        run_in_c_api(path, [Scaled.asked(3, 1)])


def test_text_of_three_prompts_and_vectors_of_one_row(endpoints):
    """The model answered one row, the first, and three prompts were gone."""
    from rnnapps.serving.endpoints import with_equal_rows

    several = {
        "prompt": np.array(["abc é", "", "bad"], object), "num_chars": np.array([6, 7, 0], np.int32),
        "temperature": np.array([1.0, 0.0, 0.5], np.float32), "seed": np.array([1, -2, 3], np.int32),
    }  # fmt: skip
    writing = with_equal_rows("serving_default", endpoints.functions["serving_default"])
    short = {name: tf.constant(value if name == "prompt" else value[:1]) for name, value in several.items()}
    with pytest.raises(tf.errors.InvalidArgumentError, match=MESSAGE):
        writing(*short.values())
    whole = {name: tf.constant(value) for name, value in several.items()}
    texts = writing(*whole.values())["text"].numpy().tolist()
    assert texts == endpoints.functions["serving_default"](*whole.values())["text"].numpy().tolist()
