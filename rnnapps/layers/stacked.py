import keras
from keras import ops, tree

from rnnapps.cells.cell import register
from rnnapps.layers.unroll import Unroll


@register
class Stacked(keras.layers.Layer):
    """Recurrent layers on top of each other, as one layer.

        x_i = layer_i(drop(x_{i-1}))                  i = 0, 1, ...; drop is the identity for i = 0
        x_i = x_{i-1} + layer_i(drop(x_{i-1}))        where `residual` says so

    Every layer gets the mask of the input, and so does what follows the stack. The stack sets `return_sequences` and
    `return_state` of the layers it is given: all but the last return sequences, and the rest is as the stack's own
    arguments say. The layers stay the ones that were given, with their weights, as `layers`.

    Args:
        layers: List of recurrent layers: `keras.layers.RNN` or a subclass of it, which all of `rnnapps.layers` are;
            `keras.layers.Bidirectional` over one of these; or a cell, which `Unroll` then runs over time.
        residual: Bool or int. The number, counted from 0, of the first layer that adds its input to its output. True is
            1: all layers but the one that reads the input, which need the same width. 2 is the form of Wu et al.,
            whose bidirectional first layer is wider than the others. False: none does.
        dropout: Float in [0, 1): share of each layer's input that is dropped while training, from the second layer on.
            The sum with a residual input, and the recurrent state, are left whole.
        locked: Bool. Whether a dropout mask is the same at all steps of a sequence (Gal and Ghahramani), and not drawn
            for each of them (Zaremba et al.).
        return_sequences: Bool. Whether the output of all steps is returned, and not only that of the last.
        return_state: Bool. Whether the states of all layers after the last step are returned as well.
        seed: Int. Of the dropout between layers.
        **kwargs: As in `keras.layers.Layer`.

    Call arguments:
        sequences: `(batch, time, features)`.
        initial_state: List of the states of all layers, in their order; of a bidirectional layer those of the forward
            layer come first. Default: zeros, or the last states of `stateful` layers.
        mask: Bool `(batch, time)`, as in `Unroll`.
        training: Bool. Whether dropout is applied, inside of the layers as well.

    Returns:
        The last layer's output, `(batch, units)`, or `(batch, time, units)` with `return_sequences=True`; with
        `return_state=True` followed by the states, in the order of `initial_state`. The last output adds a residual
        input of the last unmasked step.

    Raises:
        ValueError: Something in `layers` is no recurrent layer, stands there twice, goes backwards, or was made to
            return what the stack does not; a residual layer is not as wide as its input; the number of initial
            states is not that of the layers.

    Example:

    >>> layer = rnnapps.layers.Stacked([rnnapps.layers.LSTM(4), rnnapps.layers.LSTM(4)], residual=True)
    >>> tuple(layer(np.ones((2, 5, 3), "float32")).shape)
    (2, 4)

    References: Wu et al., 2016, https://arxiv.org/abs/1609.08144 (residual); Zaremba et al., 2014,
    https://arxiv.org/abs/1409.2329, and Gal and Ghahramani, 2016, https://arxiv.org/abs/1512.05287 (dropout)
    """

    def __init__(
        self,
        layers,
        residual=False,
        dropout=0.0,
        locked=False,
        return_sequences=False,
        return_state=False,
        seed=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if not (isinstance(residual, bool) or (isinstance(residual, int) and residual > 0)):
            raise ValueError(f"residual of {self.name} must be a bool or an int above 0, not {residual!r}")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout of {self.name} must be at least 0 and below 1, not {dropout!r}")
        self.layers = [_recurrent_layer(layer, self.name) for layer in layers]
        if not self.layers or len({id(layer) for layer in layers}) < len(self.layers):
            raise ValueError(f"layers of {self.name} must be one or more, each another, not {layers!r}")
        self.residual, self.dropout, self.locked, self.seed = residual, dropout, locked, seed
        self.return_sequences, self.return_state = return_sequences, return_state
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.supports_masking = True
        self._take_over_returns()

    def _take_over_returns(self):
        last = self.layers[-1]
        for option, layers in (("return_sequences", [last]), ("return_state", self.layers)):
            if not getattr(self, option) and any(getattr(layer, option) for layer in layers):
                raise ValueError(f"a layer of {self.name} has {option}=True: wanted it of {self.name}, which has False")
        for layer in self.layers:
            sequences = layer is not last or self.return_sequences
            for part in {layer, *_directions(layer)}:
                part.return_sequences, part.return_state = sequences, self.return_state
                if part is not layer:  # what Bidirectional's constructor does
                    part.zero_output_for_mask = sequences
        is_residual = self._is_residual(len(self.layers) - 1)
        if is_residual and isinstance(last, keras.layers.Bidirectional) and not self.return_sequences:
            raise ValueError(f"residual of {self.name}, whose last layer is bidirectional, wants return_sequences=True")

    @property
    def stateful(self):
        """Whether a layer carries its states from one call to the next."""
        return any(layer.stateful for layer in self.layers)

    def reset_state(self):
        """Sets the states of stateful layers to zero."""
        for layer in self.layers:
            if layer.stateful:
                layer.reset_state()

    def get_initial_state(self, batch_size):
        """Zeros, as `initial_state` takes them."""
        return tree.flatten([_initial_state(layer, batch_size) for layer in self.layers])

    def build(self, sequences_shape, initial_state_shape=None):
        shape = sequences_shape
        for number, layer in enumerate(self.layers):
            if not layer.built:
                layer.build(shape)
            features, shape = shape[-1], _output_shape(layer, shape)
            if self._is_residual(number) and shape[-1] != features:
                raise ValueError(
                    f"residual of {self.name} wants an output as wide as the input: {layer.name} makes {shape[-1]} "
                    f"of {features}"
                )

    def call(self, sequences, initial_state=None, mask=None, training=False):
        x, states = sequences, []
        for number, (layer, start) in enumerate(zip(self.layers, self._by_layer(initial_state), strict=True)):
            inputs = self._drop(x, training) if number else x
            output = layer(inputs, initial_state=start, mask=mask, training=training)
            if self.return_state:
                output, *new = output
                states += tree.flatten(new)
            if self._is_residual(number):
                output = output + (x if layer.return_sequences else _last_unmasked(x, mask))
            x = output
        x, *states = [ops.cast(tensor, self.compute_dtype) for tensor in (x, *states)]
        return (x, *states) if self.return_state else x

    def _is_residual(self, number):
        return bool(self.residual) and number >= self.residual

    def _drop(self, x, training):
        if not (training and self.dropout > 0):
            return x
        if not self.locked:
            return keras.random.dropout(x, self.dropout, seed=self.seed_generator)
        return x * keras.random.dropout(ops.ones_like(x[:, :1]), self.dropout, seed=self.seed_generator)

    def _by_layer(self, initial_state):
        """The flat list of states as each layer takes its own."""
        if initial_state is None:
            return [None] * len(self.layers)
        given, wanted = tree.flatten(initial_state), [_initial_state(layer, 1) for layer in self.layers]
        if len(given) != len(tree.flatten(wanted)):
            raise ValueError(f"{self.name} got {len(given)} initial states: wanted {len(tree.flatten(wanted))}")
        return tree.pack_sequence_as(wanted, given)

    def compute_output_shape(self, sequences_shape, initial_state_shape=None):
        shape = tuple(sequences_shape)
        for layer in self.layers:
            shape = _output_shape(layer, shape)
        if not self.return_state:
            return shape
        return (shape, *((sequences_shape[0], *state.shape[1:]) for state in self.get_initial_state(1)))

    def compute_mask(self, inputs, previous_mask):
        mask = tree.flatten(previous_mask)[0] if self.return_sequences else None
        return [mask, *(None for _ in self.get_initial_state(1))] if self.return_state else mask

    def get_config(self):
        return {
            **super().get_config(),
            "layers": [keras.saving.serialize_keras_object(layer) for layer in self.layers],
            "residual": self.residual,
            "dropout": self.dropout,
            "locked": self.locked,
            "return_sequences": self.return_sequences,
            "return_state": self.return_state,
            "seed": self.seed,
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        layers = [keras.saving.deserialize_keras_object(layer, custom_objects) for layer in config["layers"]]
        return cls(**{**config, "layers": layers})


def _recurrent_layer(layer, name):
    if isinstance(layer, keras.layers.Bidirectional):
        if layer.merge_mode is None:
            raise ValueError(f"{layer.name} in {name} has merge_mode=None: wanted one that makes one output")
        return layer
    if isinstance(layer, keras.layers.RNN):
        if layer.go_backwards:
            raise ValueError(f"{layer.name} in {name} has go_backwards=True: wanted a Bidirectional layer, or False")
        return layer
    if not hasattr(layer, "state_size"):
        raise ValueError(f"layers of {name} must be recurrent layers, Bidirectional layers or cells, not {layer!r}")
    return Unroll(layer, dtype=getattr(layer, "dtype_policy", None))


def _directions(layer):
    return [layer.forward_layer, layer.backward_layer] if isinstance(layer, keras.layers.Bidirectional) else [layer]


def _initial_state(layer, batch_size):
    return [state for part in _directions(layer) for state in part.get_initial_state(batch_size)]


def _output_shape(layer, shape):
    """Of the output, without those of the states."""
    shape = layer.compute_output_shape(shape)
    return tuple(shape[0] if layer.return_state else shape)


def _last_unmasked(sequence, mask):
    """`(batch, ...)`: the last step of each sequence, where there is one, that is not masked."""
    if mask is None:
        return sequence[:, -1]
    after = ops.argmax(ops.flip(ops.cast(mask, "int32"), 1), axis=1)  # the first of those that are largest
    last = ops.expand_dims(ops.cast(ops.shape(sequence)[1] - 1, after.dtype) - after, 1)
    last = ops.expand_dims(last, list(range(len(last.shape), len(sequence.shape))))
    return ops.take_along_axis(sequence, last, axis=1)[:, 0]
