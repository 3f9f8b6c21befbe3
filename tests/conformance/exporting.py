"""Exports the cells and runs them elsewhere: an import of TensorFlow takes long, so all of them share one process."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from conformance.cases import MASKS

ELSEWHERE = """
import sys
import numpy as np, tensorflow as tf
asked, found = np.load(sys.argv[2]), {}
for name, function in tf.saved_model.load(sys.argv[1]).signatures.items():
    given = {k.partition("/")[2]: tf.constant(asked[k]) for k in asked if k.partition("/")[0] == name}
    found.update({f"{name}/{k}": v for k, v in function(**given).items()})
np.savez(sys.argv[3], **found)
"""


def export_all(names, case_of, elsewhere, folder):
    """Writes cells into one SavedModel, and asks it in a process that can import neither rnnapps nor Keras.

    Args:
        names: Of the cells.
        case_of: Case of a name.
        elsewhere: The process.
        folder: An empty one.

    Returns:
        The SavedModel, and its answers: outputs by the cell's name, or the exception that kept a cell out of it.
    """
    served, signatures, asked, answers = tf.Module(), {}, {}, {}
    served.layers = []
    for name in names:
        try:
            signatures[name] = served_function(case_of(name))
            served.layers.append(case_of(name).unrolled)
        except Exception as error:  # of this cell alone
            answers[name] = error
            continue
        asked.update({f"{name}/{key}": tensor.numpy() for key, tensor in served_inputs(case_of(name)).items()})
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
    tf.saved_model.save(served, str(folder / "model"), signatures=signatures, options=options)
    np.savez(folder / "asked.npz", **asked)
    paths = [str(folder / file) for file in ("model", "asked.npz", "answers.npz")]
    elsewhere.run(ELSEWHERE, *paths)
    found = np.load(paths[2])
    for name in signatures:
        own = [key for key in found if key.startswith(f"{name}/")]
        answers[name] = [found[f"{name}/output_{i}"] for i in range(len(own))]
    return folder / "model", answers


def served_function(case):
    @tf.function(autograph=False)
    def serve(inputs, mask, **states):
        outputs = case.engine(inputs, [states[f"state_{i}"] for i in range(len(states))], mask)
        return {f"output_{i}": output for i, output in enumerate(outputs)}

    x, states, mask = case.signature()
    named = {f"state_{i}": tf.TensorSpec(s.shape, s.dtype, f"state_{i}") for i, s in enumerate(states)}
    inputs, mask = tf.TensorSpec(x.shape, x.dtype, "inputs"), tf.TensorSpec(mask.shape, mask.dtype, "mask")
    return serve.get_concrete_function(inputs, mask, **named)


def served_inputs(case):
    x, start, mask = case.tensors(mask=MASKS["left"])
    return {"inputs": x, "mask": tf.constant(mask), **{f"state_{i}": s for i, s in enumerate(start)}}
