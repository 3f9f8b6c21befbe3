import keras
from keras import ops

from rnnapps.cells.cell import register
from rnnapps.cells.forget_bias import ForgetBiasCell


@register
class MogrifierLSTMCell(ForgetBiasCell):
    """One step of an LSTM before which the input and the last output gate each other for some rounds.

        x^i = 2 sigmoid(h^{i-1} Q_i) * x^{i-2}           for odd i up to `rounds`, with x^{-1} = x_t
        h^i = 2 sigmoid(x^{i-1} R_i) * h^{i-2}           for even i up to `rounds`, with h^0 = h_{t-1}

        i, f, g, o = split(x W + h U + b)                with the last x^i and the last h^i
        c_t = sigmoid(f) * c_{t-1} + sigmoid(i) * tanh(g)
        h_t = sigmoid(o) * tanh(c_t)

    Without rounds this is the LSTM. As h changes x, every product waits for the step before it: nothing is projected
    before the loop, and the gradients of the weights are added up step by step.

    Args:
        units: Int > 0. Size of `h` and of `c`.
        rounds: Int >= 0.
        rank: Int > 0, of Q and R, each of which is then the product of two narrow matrices; None: each is one matrix.
        unit_forget_bias: Bool. Whether the forget part of `b` starts at 1.
        **kwargs: As in `Cell`; `kernel_initializer` is that of Q and R, too, and `recurrent_dropout` is not possible.

    Call arguments:
        inputs: `(batch, features)`.
        states: `[h, c]`, each `(batch, units)`.

    Returns:
        `h_t` of shape `(batch, units)`, and the new `[h_t, c_t]`.

    Raises:
        ValueError: On `rounds`, `rank` or a `recurrent_dropout` that is not possible.

    Weights: as in `Cell`, 4 gates in the order i, f, g, o; then one matrix a round: `q_kernel_1 (units, features)`,
    `r_kernel_2 (features, units)`, `q_kernel_3`, `r_kernel_4`, `q_kernel_5` and so on. With `rank` a round has two in
    its place: `q_kernel_1_right (units, rank)` and `q_kernel_1_left (rank, features)`, `r_kernel_2_right
    (features, rank)` and `r_kernel_2_left (rank, units)`. They are the transposes of the paper's matrices.

    Reference: Melis et al., 2020, https://arxiv.org/abs/1909.01792
    """

    gate_count = 4
    forget_gate = 1

    def __init__(self, units, rounds=5, rank=None, **kwargs):
        super().__init__(units, **kwargs)
        if not (isinstance(rounds, int) and rounds >= 0):
            raise ValueError(f"rounds of {type(self).__name__} must be an int of at least 0, not {rounds!r}")
        if not (rank is None or isinstance(rank, int) and rank > 0):
            raise ValueError(f"rank of {type(self).__name__} must be None or an int above 0, not {rank!r}")
        if self.recurrent_dropout:
            raise ValueError(
                f"recurrent_dropout of {type(self).__name__} must be 0, not {self.recurrent_dropout!r}: "
                "h gates the input before the recurrent projection"
            )
        self.rounds, self.rank = rounds, rank

    @property
    def state_size(self):
        return [self.units, self.units]

    def build(self, input_shape):
        super().build(input_shape)
        features = input_shape[-1]
        self.mogrifiers = []
        for i in range(1, self.rounds + 1):
            name, rows, columns = ("r", features, self.units) if i % 2 == 0 else ("q", self.units, features)
            name = f"{name}_kernel_{i}"
            factors = {name: (rows, columns)}
            if self.rank is not None:
                factors = {f"{name}_right": (rows, self.rank), f"{name}_left": (self.rank, columns)}
            self.mogrifiers += [
                self.add_weight(shape=shape, initializer=_anew(self.kernel_initializer), name=factor)
                for factor, shape in factors.items()
            ]

    def project(self, inputs):
        return ops.cast(inputs, self.gate_dtype)

    def recurrent_weights(self, training=False):
        return None, None  # `gates` multiplies by them

    def gate_weights(self):
        weights = [*self.mogrifiers, self.kernel, self.recurrent_kernel, *([] if self.bias is None else [self.bias])]
        # In the dtype of the gates, where their gradients are summed over time; the products may be narrower.
        return [ops.cast(weight, self.gate_dtype) for weight in weights]

    def gates(self, projected, recurrent, states, weights=()):
        count = len(self.mogrifiers)
        x, h = self.mogrify(projected, states[0], weights[:count])
        kernel, recurrent_kernel, *bias = weights[count:]
        summed = self._product(x, kernel) + self._product(h, recurrent_kernel)
        i, f, g, o = ops.split(summed + bias[0] if bias else summed, 4, axis=-1)
        c = ops.sigmoid(f) * states[1] + ops.sigmoid(i) * ops.tanh(g)
        return [ops.sigmoid(o) * ops.tanh(c), c]

    def mogrify(self, x, h, weights):
        """x and h after all rounds; `weights` are the matrices of each round, in the order of `self.mogrifiers`."""
        factors = 1 if self.rank is None else 2
        for i in range(1, self.rounds + 1):
            gate = x if i % 2 == 0 else h
            for kernel in weights[(i - 1) * factors : i * factors]:
                gate = self._product(gate, kernel)
            gate = 2 * ops.sigmoid(gate)
            x, h = (x, gate * h) if i % 2 == 0 else (gate * x, h)
        return x, h

    def _product(self, x, kernel):
        product = ops.matmul(ops.cast(x, self.compute_dtype), ops.cast(kernel, self.compute_dtype))
        return ops.cast(product, self.gate_dtype)

    def get_config(self):
        return {**super().get_config(), "rounds": self.rounds, "rank": self.rank}


def _anew(initializer):
    """A copy that draws other values: an initialiser of Keras gives the same ones again for the same shape."""
    return initializer.clone() if isinstance(initializer, keras.initializers.Initializer) else initializer
