"""Networks that classify: a window of a series in, a number for each class out."""

import keras
from keras import ops

from rnnapps.models.series_parts import CELLS, Net, Shape, columns


def sequence_classifier(
    shape: Shape,
    classes: int,
    cell: str = "gru",
    units: int = 64,
    layers: int = 1,
    segment: int = 1,
    dropout: float = 0.0,
    linear: bool = True,
    seed: int = 0,
    dtype: str = "float32",
) -> keras.Model:
    """Builds the functional model of a class, from a window in the user's units.

    Recurrent layers read the window in both directions; what the last of them gives at all steps, as its largest value
    and its mean, says the class, and a linear map of the whole window adds to it.

    Args:
        shape: Of the windows: `history`, `past` and `static` are read.
        classes: How many there are.
        cell: "lstm", "gru" or "simple_rnn".
        units: Of each recurrent layer, in each direction.
        layers: Recurrent layers.
        segment: Steps that are read at once, as one recurrent step; a window that is no whole number of segments begins
            with missing values.
        dropout: Probability of dropping a value before the last layer, and between recurrent layers.
        linear: Whether there is that linear map, which begins with zeros.
        seed: Of weights and dropout.
        dtype: Precision policy of the network; scaling and output are float32.

    Returns:
        A model with inputs `{"past": (batch, history, past columns), "static": (batch, static columns)}`, without
        `static` where `shape` has none, NaN where missing, and the output `{"logits": (batch, classes)}`, float32. All
        numbers are scaled by the first row of the tables of `past_numbers` and `static_numbers`.

    Raises:
        ValueError: An argument is not known.
    """
    if cell not in CELLS:
        raise ValueError(f"cell {cell!r}: wanted one of {', '.join(CELLS)}")
    inputs = {"past": keras.Input((shape.history, len(shape.past)), name="past")}
    if shape.static:
        inputs["static"] = keras.Input((len(shape.static),), name="static")
    net = Net(shape, classes, cell, units, layers, segment, dropout, keras.random.SeedGenerator(seed), dtype)
    row = ops.zeros_like(inputs["past"][:, 0, 0], dtype="int32")  # of the tables of scales
    x, whole = _steps(net, inputs["past"], row)
    for i in range(layers):
        there = net.recurrent(return_sequences=True, name=f"forward_{i}")
        back = net.recurrent(return_sequences=True, go_backwards=True, name=f"backward_{i}")
        both = keras.layers.Bidirectional(there, backward_layer=back, dtype=net.dtype, name=f"recurrent_{i}")
        x = both(net.drop(x) if i else x)
    found = [ops.max(x, axis=1), ops.mean(x, axis=1)]
    if shape.static:
        found.append(columns(net, inputs["static"][:, None], shape.static, "static", row)[:, 0])
    logits = net.dense(classes, name="write")(net.drop(ops.concatenate(found, axis=-1)))
    if linear:
        add = keras.layers.Dense(classes, use_bias=False, kernel_initializer="zeros", dtype=net.dtype, name="linear")
        logits = logits + add(whole)
    return keras.Model(
        inputs, {"logits": keras.layers.Identity(dtype="float32", name="logits")(logits)}, name="classifier"
    )


def _steps(net, past, row):
    """What the first recurrent layer reads, `(batch, segments, features)`, and the whole window as one row."""
    count = -(-net.shape.history // net.segment)
    lacking = count * net.segment - net.shape.history
    if lacking:
        past = ops.pad(past, ((0, 0), (lacking, 0), (0, 0)), constant_values=float("nan"))
    x = columns(net, past, net.shape.past, "past", row)
    whole = ops.reshape(x, (-1, x.shape[1] * x.shape[2]))
    if net.segment == 1:
        return x, whole
    x = ops.reshape(x, (-1, count, net.segment * x.shape[-1]))
    return net.dense(net.units, activation="relu", name="read")(x), whole
