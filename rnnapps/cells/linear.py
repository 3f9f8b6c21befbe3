"""Cells whose state obeys a linear recurrence, so that all steps run side by side."""

import keras
from keras import ops

from rnnapps.ops import projection


class LinearCell(keras.layers.Layer):
    """Base of the cells that forget and write as the input alone says.

        s_t = a_t * s_{t-1} + b_t            a_t and b_t depend on x_t, and not on s_{t-1}
        h_t = output(s_t, rest_t)            as rest_t does

    `rnnapps.layers.Unroll` computes a, b and rest of all steps at once and solves the recurrence in parallel; `call`, a
    step at a time, is the slow twin. A subclass sets `gate_count` and writes

    - `coefficients(inputs, before)`: a, b and rest (None, or what `output` needs) for any leading axes of `inputs`.
    - `output(state, rest)`: h; by default the state itself.
    - `carried(inputs)`: what a step leaves in further states, if there are any. It depends on that step's input alone;
      `coefficients` gets what was left before each step as `before`. `state_size` then says their sizes.

    In half precision the matrix products run in the compute dtype, gates and recurrence in float32.

    Args:
        units: Int > 0. Size of the state and of the output.
        use_bias: Bool. Whether `b` is learnt.
        kernel_initializer: Of the kernel.
        bias_initializer: Of `b`.
        dropout: Float in [0, 1): share of the inputs that is dropped while training, with one mask for all steps of a
            sequence (Gal and Ghahramani, 2016, https://arxiv.org/abs/1512.05287). `Unroll` applies it, not `call`.
        seed: Int. Of the dropout masks.

    Weights: `kernel (features, gate_count * units)`, `bias (biased_gates * units,)`.
    """

    parts_of_step = frozenset({"carried", "coefficients", "output", "products", "project"})
    gate_count = 1
    leaves_dropout = True
    # How many of the gates, from the first, have a bias; None stands for all.
    biased_gates: int | None = None

    def __init__(
        self,
        units,
        use_bias=True,
        kernel_initializer="glorot_uniform",
        bias_initializer="zeros",
        dropout=0.0,
        seed=None,
        **kwargs,
    ):
        if not (isinstance(units, int) and units > 0):
            raise ValueError(f"units of {type(self).__name__} must be an int above 0, not {units!r}")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout of {type(self).__name__} must be at least 0 and below 1, not {dropout!r}")
        super().__init__(**kwargs)
        self.units, self.use_bias = units, use_bias
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.bias_initializer = keras.initializers.get(bias_initializer)
        self.dropout, self.seed = dropout, seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.kernel = self.bias = None

    @property
    def gate_dtype(self):
        """The dtype of the gates and of the recurrence: float32 or, in double precision, float64."""
        return "float64" if self.compute_dtype == "float64" else "float32"

    @property
    def state_size(self):
        return [self.units]

    @property
    def output_size(self):
        return self.units

    def build(self, input_shape):
        shape = input_shape[-1], self.gate_count * self.units
        self.kernel = self.add_weight(shape=shape, initializer=self.kernel_initializer, name="kernel")
        if self.use_bias:
            biased = self.gate_count if self.biased_gates is None else self.biased_gates
            self.bias = self.add_weight(shape=(biased * self.units,), initializer=self.bias_initializer, name="bias")
        self.built = True

    def coefficients(self, inputs, before):
        raise NotImplementedError(f"{type(self).__name__} must define coefficients(inputs, before)")

    def output(self, state, rest):
        return state

    def carried(self, inputs):
        return []

    def project(self, inputs):
        """The gates' parts of `x W + b`, each `(..., units)`, in the dtype of the gates."""
        return self.products(inputs, self.kernel, self.bias)

    def products(self, inputs, kernel, bias=None):
        """As `project`, of any kernel. A product for each gate: cutting a large result would copy it."""
        kernels = ops.split(ops.cast(kernel, self.compute_dtype), kernel.shape[-1] // self.units, axis=-1)
        biases = [] if bias is None else ops.split(ops.cast(bias, self.gate_dtype), bias.shape[0] // self.units)
        biases += [None] * (len(kernels) - len(biases))
        return [projection.project(inputs, k, b, self.gate_dtype) for k, b in zip(kernels, biases, strict=True)]

    def call(self, inputs, states, training=False):
        """One step, without dropout."""
        states = list(states) if isinstance(states, (list, tuple)) else [states]
        state, *before = [ops.cast(state, self.gate_dtype) for state in states]
        a, b, rest = self.coefficients(inputs, before)
        state = a * state + b
        output = ops.cast(self.output(state, rest), self.compute_dtype)
        return output, [ops.cast(new, self.compute_dtype) for new in (state, *self.carried(inputs))]

    def get_initial_state(self, batch_size=None):
        return [ops.zeros((batch_size, size), dtype=self.compute_dtype) for size in self.state_size]

    def drop_inputs(self, inputs, training):
        """`inputs (batch, time, features)` times the dropout mask of this sequence, the same at every step."""
        if not (training and self.dropout > 0):
            return inputs
        mask = keras.random.dropout(ops.ones_like(inputs[:, :1]), self.dropout, seed=self.seed_generator)
        return inputs * mask

    def get_config(self):
        return {
            **super().get_config(),
            "units": self.units,
            "use_bias": self.use_bias,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "bias_initializer": keras.initializers.serialize(self.bias_initializer),
            "dropout": self.dropout,
            "seed": self.seed,
        }
