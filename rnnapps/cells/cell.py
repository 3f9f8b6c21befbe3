"""What a cell tells the engine: the three-part form of one step."""

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from rnnapps.cells.overriding import overridden_call, overridden_parts
from rnnapps.ops import projection, recurrence
from rnnapps.ops.gates import AutomaticGates, Gates


class GatedCell:
    """Mixin for a Keras cell whose step is `gates(project(x_t), h_{t-1} U + u, states, weights)`.

    The cell's own `call` stays the slow twin: a step at a time, with plain automatic differentiation.
    `rnnapps.layers.Unroll` runs the three parts instead, all projections before the loop, and the tests hold the two
    against each other. A subclass that overrides `call` and none of the parts is run by its `call`; one that overrides
    parts of a cell of Keras has them in its `call` as well. In half precision the matrix products run in the compute
    dtype and the gates in float32, so that the long sums over time keep their small terms.

    A cell provides `kernel`, `recurrent_kernel` (or None: no recurrent projection), `bias` (or None), and the methods
    below. A recurrent kernel with four axes, `(rows, columns, channels, width)`, is a window that is moved over h.

    - `gates(projected, recurrent, states, weights)`: pointwise; returns the new states, h first.
    - `gate_weights()`: what else `gates` uses, such as peepholes; none by default.
    - `input_bias()`, `recurrent_bias()`: the parts of `bias` that join either projection, or None.
    - `is_three_part(training)`: whether `call` has this form with the present options.
    - `loop_gates()`: the gates as the loop takes them; by default `gates`, differentiated automatically.
    - `loop_inputs(inputs, training)`: what `project` gets: by default one sequence, with dropout.
    - `outputs(h, inputs)`: the output, where it is not h.

    Attributes:
        leaves_dropout: Whether `call` leaves dropout to the layer, which applies `drop_inputs` before its loop.
    """

    parts_of_step = frozenset(
        {
            *("gates", "gate_weights", "input_bias", "is_three_part", "loop_gates", "loop_inputs"),
            *("outputs", "project", "recurrent_bias", "recurrent_mask", "recurrent_weights"),
        }
    )
    leaves_dropout = False

    # What the Keras cell beside this mixin has.
    compute_dtype: str
    dropout: float
    recurrent_dropout: float
    kernel: Any
    recurrent_kernel: Any
    bias: Any
    get_dropout_mask: Callable
    get_recurrent_dropout_mask: Callable
    gates: Callable

    def call(self, inputs, states, training=False):
        """One step: that of the Keras cell, unless a subclass has changed parts of it."""
        if not overridden_parts(self):
            return super().call(inputs, states, training=training)  # type: ignore[misc]
        given = [sequence[:, 0] for sequence in self.loop_inputs(ops.expand_dims(inputs, 1), training)]
        states = [ops.cast(state, self.gate_dtype) for state in _as_list(states)]
        kernel, bias = self.recurrent_weights(training)
        mask = self.recurrent_mask(states[0], training)
        projected, weights = self.project(*given), self.gate_weights()
        new = recurrence.step(self.loop_gates(), projected, states, kernel, bias, weights, mask)
        output = ops.cast(self.outputs(new[0], given), self.compute_dtype)
        return output, [ops.cast(state, self.compute_dtype) for state in new]

    @property
    def gate_dtype(self) -> str:
        """The dtype of the gates and of the states inside the loop: float32 or, in double precision, float64."""
        return "float64" if self.compute_dtype == "float64" else "float32"

    def is_three_part(self, training: bool) -> bool:
        return True

    def loop_inputs(self, inputs, training: bool) -> list:
        """The sequences, each `(batch, time, ...)`, that `project` takes: `inputs` times the dropout mask.

        A mask is the same at every step. Where there is one for each gate, as in a Keras cell with recurrent dropout,
        there is a sequence for each gate.
        """
        if not (training and self.dropout > 0):
            return [inputs]
        return [inputs * ops.expand_dims(mask, 1) for mask in _as_list(self.get_dropout_mask(inputs[:, 0]))]

    def project(self, *inputs):
        """`x W + b` for any leading axes, in the dtype of the gates."""
        kernel, bias = ops.cast(self.kernel, self.compute_dtype), self.input_bias()
        if len(inputs) == 1:
            return projection.project(inputs[0], kernel, bias, self.gate_dtype)
        kernels = ops.split(kernel, len(inputs), axis=-1)
        biases = [None] * len(inputs) if bias is None else ops.split(bias, len(inputs))
        gates = zip(inputs, kernels, biases, strict=True)
        return ops.concatenate([projection.project(x, k, b, self.gate_dtype) for x, k, b in gates], axis=-1)

    def outputs(self, h, inputs):
        """The output, from h and what `project` got, for any leading axes."""
        return h

    def loop_gates(self) -> Gates:
        return AutomaticGates(self.gates)

    def gate_weights(self) -> list:
        return []

    def recurrent_weights(self, training=False):
        """The recurrent kernel, in the dtype of the matrix products, and the bias that joins its product."""
        if self.recurrent_kernel is None:
            return None, None
        return ops.cast(self.recurrent_kernel, self.compute_dtype), self.recurrent_bias()

    def recurrent_mask(self, state, training: bool):
        """What h_{t-1} is multiplied by before the recurrent projection, the same at every step; None for nothing.

        `(batch, n * units)` where there are n masks, one for each gate.
        """
        if not (training and self.recurrent_dropout > 0):
            return None
        masks = ops.concatenate(_as_list(self.get_recurrent_dropout_mask(state)), axis=-1)
        return ops.cast(masks, self.gate_dtype)  # the layer has Keras' cells draw them in the compute dtype

    def input_bias(self):
        return None if self.bias is None else ops.cast(self.bias, self.gate_dtype)

    def recurrent_bias(self):
        return None


class Cell(GatedCell, keras.layers.Layer):
    """Base of the cells that Keras does not have. A subclass sets `gate_count` and writes `gates`, no more.

    A subclass without a recurrent projection sets `has_recurrent_kernel = False`.

    Args:
        units: Int > 0. Size of the output `h`.
        use_bias: Bool. Whether `b` is learnt.
        kernel_initializer: Of the input kernel `W`.
        recurrent_initializer: Of the recurrent kernel `U`.
        bias_initializer: Of `b`.
        dropout: Float in [0, 1): share of the inputs that is dropped while training, with one mask for all steps of a
            sequence (Gal and Ghahramani, 2016, https://arxiv.org/abs/1512.05287). `Unroll` applies it, not `call`.
        recurrent_dropout: The same of h_{t-1}, before the recurrent projection. 0 where there is none.
        seed: Int. Of the dropout masks.

    Weights: `kernel (features, gate_count * units)`, `recurrent_kernel (units, gate_count * units)`,
    `bias (gate_count * units,)`.
    """

    gate_count = 1
    has_recurrent_kernel = True
    leaves_dropout = True

    def __init__(
        self,
        units,
        use_bias=True,
        kernel_initializer="glorot_uniform",
        recurrent_initializer="orthogonal",
        bias_initializer="zeros",
        dropout=0.0,
        recurrent_dropout=0.0,
        seed=None,
        **kwargs,
    ):
        if not (isinstance(units, int) and units > 0):
            raise ValueError(f"units of {type(self).__name__} must be an int above 0, not {units!r}")
        for name, rate in (("dropout", dropout), ("recurrent_dropout", recurrent_dropout)):
            if not 0 <= rate < 1:
                raise ValueError(f"{name} of {type(self).__name__} must be at least 0 and below 1, not {rate!r}")
        super().__init__(**kwargs)
        self.units, self.use_bias = units, use_bias
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.recurrent_initializer = keras.initializers.get(recurrent_initializer)
        self.bias_initializer = keras.initializers.get(bias_initializer)
        self.dropout, self.recurrent_dropout, self.seed = dropout, recurrent_dropout, seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.kernel = self.recurrent_kernel = self.bias = None
        if not self.has_recurrent_kernel:
            self._refuse_recurrent_dropout()

    def _refuse_recurrent_dropout(self):
        if self.recurrent_dropout:
            raise ValueError(
                f"recurrent_dropout of {type(self).__name__} must be 0, not {self.recurrent_dropout!r}: "
                "there is no recurrent projection"
            )

    @property
    def state_size(self):
        return [self.units]

    @property
    def output_size(self):
        return self.units

    def build(self, input_shape):
        width = self.gate_count * self.units
        features = input_shape[-1]
        self.kernel = self.add_weight(shape=(features, width), initializer=self.kernel_initializer, name="kernel")
        if self.has_recurrent_kernel:
            self.build_recurrent_kernel(width)
        if self.recurrent_kernel is None:
            self._refuse_recurrent_dropout()
        if self.use_bias:
            self.bias = self.add_weight(shape=(width,), initializer=self.bias_initializer, name="bias")
        self.built = True

    def build_recurrent_kernel(self, width):
        self.recurrent_kernel = self.add_weight(
            shape=(self.units, width), initializer=self.recurrent_initializer, name="recurrent_kernel"
        )

    def drop_inputs(self, inputs, training):
        """`inputs (batch, time, ...)` times the dropout mask of this sequence, the same at every step."""
        if not (training and self.dropout > 0):
            return inputs
        mask = keras.random.dropout(ops.ones_like(inputs[:, :1]), self.dropout, seed=self.seed_generator)
        return inputs * mask

    def loop_inputs(self, inputs, training):
        return [self.drop_inputs(inputs, training)]

    def call(self, inputs, states, training=False):
        """One step, without dropout."""
        states = list(states) if isinstance(states, (list, tuple)) else [states]
        kernel, bias = self.recurrent_weights()
        recurrent = None
        if kernel is not None:
            recurrent = ops.cast(ops.matmul(ops.cast(states[0], kernel.dtype), kernel), self.gate_dtype)
            recurrent = recurrent if bias is None else recurrent + bias
        wide = [ops.cast(state, self.gate_dtype) for state in states]
        new = self.gates(self.project(inputs), recurrent, wide, self.gate_weights())
        new = [ops.cast(state, self.compute_dtype) for state in new]
        return new[0], new

    def get_initial_state(self, batch_size=None):
        return [ops.zeros((batch_size, size), dtype=self.compute_dtype) for size in self.state_size]

    def get_recurrent_dropout_mask(self, state):
        return keras.random.dropout(ops.ones_like(state), self.recurrent_dropout, seed=self.seed_generator)

    def get_config(self):
        return {
            **super().get_config(),
            "units": self.units,
            "use_bias": self.use_bias,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "recurrent_initializer": keras.initializers.serialize(self.recurrent_initializer),
            "bias_initializer": keras.initializers.serialize(self.bias_initializer),
            "dropout": self.dropout,
            "recurrent_dropout": self.recurrent_dropout,
            "seed": self.seed,
        }


def is_gated(cell, training: bool) -> bool:
    """Whether the engine may run the three parts of a cell in the place of its `call`."""
    return isinstance(cell, GatedCell) and cell.is_three_part(training) and not overridden_call(cell)


def _as_list(one_or_more):
    return list(one_or_more) if isinstance(one_or_more, (list, tuple)) else [one_or_more]


def register(cls):
    """Registers a class under `rnnapps>Name`, the name that saved models carry."""
    return keras.saving.register_keras_serializable(package="rnnapps")(cls)
