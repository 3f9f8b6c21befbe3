import keras
from keras import ops

from rnnapps.cells.cell import register
from rnnapps.layers.decoder_step import DecoderStep
from rnnapps.layers.fed_cell import (
    FedCells,
    is_three_part,
    output_size,
    recurrent_mask,
    state_sizes,
    states_by_cell,
)
from rnnapps.layers.look import Look
from rnnapps.ops import attention, execution, projection, step_loop

_EXECUTIONS = ("auto", "scan", "loop")


@register
class AttentionDecoder(keras.layers.Layer):
    """Cells over time that look at a memory at every step: the decoder of a translation, or of a caption.

        h_t = cells([x_t; a_{t-1}], states)                 a_{t-1} only with `input_feeding`
        e_tj = score(h_t, m_j)                              for each place j of the memory
        w_tj = softmax_j(e_tj)                              0 where the memory is masked
        a_t = tanh(W_h h_t + W_m sum_j w_tj m_j + b)

    with the scores

        additive    v^T tanh(W_q h_t + W_k m_j)             Bahdanau et al.
        dot         h_t^T m_j                               Luong et al.
        general     h_t^T W_k m_j
        scaled      h_t^T m_j / sqrt(units of h)

    and, with `coverage`, additive scores that also know how much was looked at each place before (Tu et al.):
    v^T tanh(W_q h_t + W_k m_j + u sum_{s<t} w_sj).

    With `sentinel`, additive scores have one place more, the last, to look at instead of the memory (Lu et al.; here
    its gate reads h_t, so that cells of any kind have one), and a_t adds w_t,last U_v s_t in its brackets:

        s_t = sigmoid(W_g h_t) * tanh(c_t)                  c_t: the last state of the last cell
        e_t,last = v^T tanh(W_q h_t + U_k s_t)

    The step is one function: `call` runs it over a whole target, `step` once, for decoding. W_m m_j and W_k m_j are
    computed once a memory; the gradients of all matrices leave the loop (`rnnapps.ops.step_loop`).

    Args:
        cells: A cell, or a list of cells on top of each other; of `rnnapps.cells`, or of Keras.
        units: Int > 0. Size of `a_t`. Default: that of `h_t`.
        score: "additive", "dot", "general" or "scaled".
        attention_units: Int > 0. Rows of W_q and W_k of additive scores. Default: size of `h_t`.
        input_feeding: Bool. Whether the cells read a_{t-1} (Luong et al.).
        coverage: Bool. Of additive scores.
        sentinel: Bool. Of additive scores, without coverage.
        residual: Bool. Whether each cell but the first adds its input to its output.
        execution: "scan" is the engine, for cells in three-part form; "loop" differentiates the loop as TensorFlow
            does; "auto" takes the engine where it can.
        kernel_initializer: Of all matrices of the layer itself.
        **kwargs: As in `keras.layers.Layer`.

    Call arguments:
        sequences: `(batch, time, features)`.
        memory: `(batch, places, memory features)`.
        memory_mask: Bool `(batch, places)`: what there is. Default: the Keras mask of `memory`, or everything.
        initial_state: List of states, as `state_sizes` says. Default: zeros.
        training: Bool. Whether dropout of the cells is applied.

    Returns:
        `a`, `(batch, time, units)`; `w`, `(batch, time, places)` in float32, with a sentinel one more; and the states
        after the last step.

    Raises:
        ValueError: An unknown score or execution; coverage without additive scores; a memory of another size than h
            with dot or scaled; residual cells of different sizes; a cell that drops its inputs; "scan", or recurrent
            dropout, with cells that are not in three-part form.

    Weights: those of the cells, `memory_kernel`, `query_kernel`, `attention_vector`, `coverage_kernel`,
    `sentinel_gate`, `sentinel_kernel` as the score wants them, `output_kernel (units of h + memory features, units)`,
    `bias (units,)`.

    References: Bahdanau et al., 2014, https://arxiv.org/abs/1409.0473; Luong et al., 2015,
    https://arxiv.org/abs/1508.04025; Tu et al., 2016, https://arxiv.org/abs/1601.04811; Lu et al., 2016,
    https://arxiv.org/abs/1612.01887
    """

    def __init__(
        self,
        cells,
        units=None,
        score="additive",
        attention_units=None,
        input_feeding=True,
        coverage=False,
        sentinel=False,
        residual=False,
        execution="auto",
        kernel_initializer="glorot_uniform",
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.cells = list(cells) if isinstance(cells, (list, tuple)) else [cells]
        if score not in attention.SCORES:
            raise ValueError(f"score must be one of {', '.join(attention.SCORES)}, not {score!r}")
        if execution not in _EXECUTIONS:
            raise ValueError(f"execution must be one of {', '.join(_EXECUTIONS)}, not {execution!r}")
        if coverage and score != "additive":
            raise ValueError(f"coverage of {self.name} wants score='additive', not {score!r}")
        if sentinel and (score != "additive" or coverage):
            raise ValueError(
                f"sentinel of {self.name} wants score='additive' without coverage, not {score!r}, {coverage}"
            )
        for cell in self.cells:
            if getattr(cell, "dropout", 0):
                raise ValueError(
                    f"dropout {cell.dropout} of {cell.name} in {self.name}: wanted 0, and the input dropped"
                )
        sizes = [output_size(cell) for cell in self.cells]
        if residual and len(set(sizes)) > 1:
            raise ValueError(f"residual of {self.name} wants cells of one size, not {sizes}")
        self.units = sizes[-1] if units is None else units
        self.attention_units = sizes[-1] if attention_units is None else attention_units
        self.score, self.input_feeding, self.coverage = score, input_feeding, coverage
        self.sentinel, self.residual, self.execution = sentinel, residual, execution
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self._hidden = sizes[-1]

    @property
    def state_sizes(self):
        """Sizes of the states by name, in order; None for the places of the memory."""
        sizes: dict[str, int | None] = {}
        for i, cell in enumerate(self.cells):
            names = ("h", "c", *(f"s{n}" for n in range(2, 9)))
            sizes |= {f"layer_{i}_{name}": size for name, size in zip(names, state_sizes(cell), strict=False)}
        if self.input_feeding:
            sizes["feed"] = self.units
        return {**sizes, "coverage": None} if self.coverage else sizes

    def places(self, of_memory):
        """How many places a look chooses from, of a memory with so many; None for an unknown number."""
        return of_memory + 1 if self.sentinel and of_memory is not None else of_memory

    @property
    def num_cell_states(self):
        """How many of the states are those of the cells, which come first."""
        return sum(len(state_sizes(cell)) for cell in self.cells)

    def build(self, sequences_shape, memory_shape=None):
        features, memory = sequences_shape[-1], memory_shape[-1]
        if self.score in ("dot", "scaled") and memory != self._hidden:
            raise ValueError(
                f"score={self.score!r} of {self.name} wants a memory of {self._hidden} features, not {memory}"
            )
        for cell in self.cells:
            first = cell is self.cells[0]
            if not cell.built:
                cell.build((None, features + (self.units if first and self.input_feeding else 0)))
                cell.built = True
            features = output_size(cell)

        def matrix(name, *shape):
            return self.add_weight(shape=shape, initializer=self.kernel_initializer, name=name)

        width = self.attention_units if self.score == "additive" else self._hidden
        self.memory_kernel = matrix("memory_kernel", memory, width) if self.score in ("additive", "general") else None
        if self.score == "additive":
            self.query_kernel = matrix("query_kernel", self._hidden, width)
            self.attention_vector = matrix("attention_vector", width, 1)
        if self.coverage:
            self.coverage_kernel = matrix("coverage_kernel", 1, width)
        if self.sentinel:
            size = state_sizes(self.cells[-1])[-1]
            self.sentinel_gate = matrix("sentinel_gate", self._hidden, size)
            self.sentinel_kernel = matrix("sentinel_kernel", size, width + self.units)
        self.output_kernel = matrix("output_kernel", self._hidden + memory, self.units)
        self.bias = self.add_weight(shape=(self.units,), initializer="zeros", name="bias")
        self.built = True

    def call(self, sequences, memory, memory_mask=None, initial_state=None, training=False):
        states, run = self.initial_states(memory, initial_state), self._run(training)
        by_cell = zip(self.cells, states_by_cell(self.cells, states), strict=True)
        masks = [recurrent_mask(cell, own[0], training) for cell, own in by_cell]
        shards, _ = execution.row_shards(sequences.shape[0])
        parts = []
        for x, of, there, start, dropped in execution.cut(shards, sequences, memory, memory_mask, states, masks):
            cells, step = self._step(self.read(of, there), dropped, training)
            rows = ops.swapaxes(cells.before(ops.cast(x, self.compute_dtype)), 0, 1)
            outputs, weights, last = step.over(run, rows, start)
            parts.append([outputs, weights, *last])
        outputs, weights, *last = [
            ops.concatenate(pieces) if shards > 1 else pieces[0] for pieces in zip(*parts, strict=True)
        ]
        return ops.cast(outputs, self.compute_dtype), weights, *(ops.cast(s, self.compute_dtype) for s in last)

    def read(self, memory, memory_mask=None):
        """What the steps need of a memory, computed once: a dict of tensors, `(batch, places, ...)`."""
        memory = ops.cast(memory, self.compute_dtype)

        def times(kernel):
            return projection.project(memory, ops.cast(kernel, self.compute_dtype), None, self.compute_dtype)

        keys = memory if self.memory_kernel is None else times(self.memory_kernel)
        read = {"keys": keys, "values": times(self.output_kernel[self._hidden :])}
        return read if memory_mask is None else {**read, "mask": ops.cast(memory_mask, "bool")}

    def step(self, inputs, states, read, beams=1):
        """One step, with no dropout, for one hypothesis of each sequence or several that share its memory.

        Args:
            inputs: `(batch * beams, features)`, those of a memory next to each other.
            states: List of `(batch * beams, size)`.
            read: As `read` gives it, `(batch, places, ...)`.
            beams: Int. Rows that share a memory.

        Returns:
            `a (batch * beams, units)`, `w (batch * beams, places)` and the list of new states.
        """
        return self.stepper(read, beams)(inputs, states)

    def stepper(self, read, beams=1):
        """`step` for one memory: a function of inputs and states, made outside of a loop, with the weights prepared."""
        cells, both = self._step(read)
        step, kernels, constants = both.whole(beams)
        product = step_loop.multiply(kernels)

        def run(inputs, states):
            row = cells.before(ops.cast(inputs, self.compute_dtype))
            (outputs, weights), new = step(product, [row], self._wide(states), constants)
            return ops.cast(outputs, self.compute_dtype), weights, [ops.cast(s, self.compute_dtype) for s in new]

        return run

    def initial_states(self, memory, given=None):
        """The states of a start, in the dtype of the loop: those given, and zeros for others."""
        batch, places = ops.shape(memory)[0], ops.shape(memory)[1]
        sizes = list(self.state_sizes.values())
        given = list(given or [])
        zeros = [ops.zeros((batch, places if size is None else size)) for size in sizes[len(given) :]]
        return self._wide([*given, *zeros])

    def _wide(self, states):
        return [ops.cast(state, self._loop_dtype) for state in states]

    @property
    def _loop_dtype(self):
        return "float64" if self.compute_dtype == "float64" else "float32"

    def _run(self, training):
        """The loop that the cells can be run by."""
        able = all(is_three_part(cell, training) for cell in self.cells)
        if self.execution == "scan" and not able:
            raise ValueError(f"execution='scan' of {self.name} wants cells in three-part form")
        return step_loop.scan if able and self.execution != "loop" else step_loop.plain_scan

    def _step(self, read, masks=None, training=False):
        cells = FedCells(self.cells, self.units if self.input_feeding else 0, masks, training, self.residual)
        flags = self.input_feeding, self.coverage, self.sentinel
        return cells, DecoderStep(cells, lambda beams: self._look(read, beams), self.num_cell_states, *flags)

    def _look(self, read, beams):
        scoring = []
        if self.score == "additive":
            vectors = [self.attention_vector[:, 0], *([self.coverage_kernel[0]] if self.coverage else [])]
            scoring = [ops.cast(self.query_kernel, self.compute_dtype), *self._wide(vectors)]
            read = {**read, "keys": ops.cast(read["keys"], self._loop_dtype)}
        direct = ops.cast(self.output_kernel[: self._hidden], self.compute_dtype)
        (bias,) = self._wide([self.bias])
        matrices = (self.sentinel_gate, self.sentinel_kernel) if self.sentinel else ()
        sentinel = [ops.cast(matrix, self.compute_dtype) for matrix in matrices]
        return Look(self.score, read, direct, scoring, bias, beams, sentinel)

    def compute_output_spec(self, sequences, memory, memory_mask=None, initial_state=None, training=False):
        batch, time, places = sequences.shape[0], sequences.shape[1], self.places(memory.shape[1])
        sizes = [places if size is None else size for size in self.state_sizes.values()]
        return (
            keras.KerasTensor((batch, time, self.units), self.compute_dtype),
            keras.KerasTensor((batch, time, places), self._loop_dtype),
            *(keras.KerasTensor((batch, size), self.compute_dtype) for size in sizes),
        )

    def get_config(self):
        return {
            **super().get_config(),
            "cells": [keras.saving.serialize_keras_object(cell) for cell in self.cells],
            "units": self.units,
            "score": self.score,
            "attention_units": self.attention_units,
            "input_feeding": self.input_feeding,
            "coverage": self.coverage,
            "sentinel": self.sentinel,
            "residual": self.residual,
            "execution": self.execution,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        cells = [keras.saving.deserialize_keras_object(cell, custom_objects) for cell in config["cells"]]
        return cls(**{**config, "cells": cells})
