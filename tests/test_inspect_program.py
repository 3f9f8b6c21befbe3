"""The programs of XLA: they can be had for any device, and nothing in them belongs to one device."""

import itertools
import re

import keras
import numpy as np
import pytest
import tensorflow as tf

from rnnapps import cells, decoding, layers
from rnnapps.decoding import Settings
from rnnapps.inspect import custom_calls, gradient_hlo, hlo
from rnnapps.models.text_generator import CELLS, text_generator
from rnnapps.training.trainer import CarriedStateTrainer

pytestmark = pytest.mark.usefixtures("one_step_a_turn")

FULL = pytest.mark.full
PLATFORMS = ["CPU", "GPU"]
QUICK = {
    ("lstm", "GPU"),
    ("simple_rnn", "CPU"),
    ("SLSTM", "CPU"),
    ("MLSTM", "GPU"),
    ("MinGRU", "CPU"),
}
VOCABULARY, BATCH, TIME = 11, 4, 7


def cases(names, quick=QUICK):
    return [pytest.param(*case, marks=() if case in quick else FULL) for case in itertools.product(names, PLATFORMS)]


def text_model(cell):
    return text_generator(VOCABULARY, cell, units=6, layers=2, dropout=0.2)


def text_batch(model):
    states = {name: tf.zeros((BATCH, 6)) for name in model.input if name != "tokens"}
    return {"tokens": tf.ones((BATCH, TIME), tf.int32), **states}


def results(program):
    """How many tensors a program returns."""
    entry = program[program.index("\nENTRY") :]
    shapes = re.search(r"ROOT \S+ = \((.*?)\) tuple\(", entry).group(1)
    return len(re.findall(r"\w+\[[\d,]*\]", shapes))


# For a processor, and of another cell, is the whole step.
@pytest.mark.parametrize(("cell", "platform"), cases(CELLS, {("lstm", "GPU")}))
def test_loss_and_gradients_of_a_text_model(cell, platform):
    model = text_model(cell)
    model.compile("adam", {"logits": keras.losses.SparseCategoricalCrossentropy(from_logits=True)})
    program = gradient_hlo(model, text_batch(model), {"logits": tf.ones((BATCH, TIME), tf.int32)}, platform)
    assert custom_calls(program) == []
    assert len(re.findall(r"\bwhile\(", program)) >= 4  # two layers, forward and back
    assert results(program) == 1 + len(model.variables)
    # The gradient of a recurrent kernel is one product over all steps.
    gates = {"lstm": 24, "gru": 18, "simple_rnn": 6}[cell]
    assert len(re.findall(rf"f32\[6,{gates}\]\S* dot\(", program)) >= 2


@pytest.mark.parametrize("cell", [pytest.param(cell, marks=() if cell == "gru" else FULL) for cell in CELLS])
def test_whole_training_step_of_a_text_model(cell):
    model = text_model(cell)
    trainer = CarriedStateTrainer(model, BATCH, clip="global_norm")
    trainer.compile("adam", jit_compile=True)
    trainer.optimizer.build(model.trainable_variables)
    tokens = tf.ones((BATCH, TIME), tf.int32)
    data = {"tokens": tokens, "reset": tf.zeros((BATCH,), tf.bool)}, tokens, tf.ones((BATCH, TIME))
    program = hlo(trainer.train_step, data, platform="CPU")
    assert custom_calls(program) == []
    # Loss, norm and clipping; each weight and its two moments; Adam's step; the carried states; seeds of two dropouts.
    assert results(program) == 3 + 3 * len(model.trainable_variables) + 1 + len(trainer.carried) + 2


@pytest.mark.parametrize(("cell", "platform"), cases(CELLS))
def test_decoding_of_a_text_model(cell, platform):
    model = text_model(cell)
    rows = tf.ones((BATCH,))
    settings = Settings(rows, top_k=tf.ones((BATCH,), tf.int32), top_p=rows, min_p=rows, repetition_penalty=rows)

    def write(carry, settings, forced, lengths, steps):
        return decoding.generate(decoding.model_step(model), carry, settings, forced, lengths, steps)

    carry = decoding.start(decoding.zero_states(model, BATCH), tf.range(BATCH), VOCABULARY - 1)
    forced = tf.zeros((BATCH, TIME), tf.int32)
    args = carry, settings, forced, tf.zeros((BATCH,), tf.int32), tf.constant(5)
    program = hlo(write, *args, variables=model.variables, platform=platform)
    assert custom_calls(program) == []
    assert re.search(r"\bwhile\(", program) and f"s32[{BATCH},{TIME}]" in program


@pytest.mark.parametrize(("cell", "platform"), cases(["MinGRU", "SLSTM", "MLSTM", "LayerNormLSTM"]))
def test_other_cells(cell, platform):
    layer = layers.Unroll(getattr(cells, f"{cell}Cell")(6, dropout=0.1))
    model = keras.Sequential([keras.Input((TIME, 3)), layer, keras.layers.Dense(2)])
    model.compile("sgd", "mse")
    program = gradient_hlo(model, np.ones((BATCH, TIME, 3), "float32"), np.ones((BATCH, 2), "float32"), platform)
    assert custom_calls(program) == []


def test_a_program_computes_its_function():
    """The text is that of the function: the same operations as written by hand."""
    program = hlo(lambda x: tf.tanh(x) @ x, tf.ones((3, 3)))
    assert re.findall(r"= f32\[3,3\]\S* (tanh|dot)\(", program) == ["tanh", "dot"]


def test_custom_calls_are_seen():
    assert custom_calls(hlo(tf.linalg.qr, tf.ones((4, 4)), platform="CPU")) != []


def test_variables_that_are_not_named_need_the_device():
    layer = keras.layers.Dense(2)
    layer.build((None, 3))
    assert "f32[3,2]" in hlo(layer, tf.ones((4, 3)), variables=layer.variables, platform="GPU")
    with pytest.raises(ValueError, match="resource"):
        hlo(layer, tf.ones((4, 3)), platform="GPU")
