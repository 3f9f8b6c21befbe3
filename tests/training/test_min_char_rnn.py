"""The preset `min-char-rnn` against a NumPy program written from its equations: every loss and every weight."""

import math
import sys
from pathlib import Path
from unittest.mock import Mock

import keras
import numpy as np
import pytest

from rnnapps.data.corpus import Corpus
from rnnapps.data.sources import Document
from rnnapps.data.text import windows, windows_per_epoch
from rnnapps.models.text_generator import text_generator
from rnnapps.text_generation.config import PRESETS
from rnnapps.training.loop import Loop, Plan
from rnnapps.training.trainer import CarriedStateTrainer

sys.path.append(str(Path(__file__).parents[1]))  # where `reference` is: test files are no package
from reference import MinCharRNN

pytestmark = pytest.mark.usefixtures("one_step_a_turn")
PRESET = PRESETS["min-char-rnn"]
STEPS, UNITS, UPDATES = 25, 24, 210
# Runs of one letter make gradients that are cut at 5. The last window of an epoch has 10 letters.
TEXT = "the cat sat on the mat. aaaaaaaaaaaaaaaaaaaa! why? the hat is flat, zzzzzzzzzzzzzzzzzzzz; " * 4


@pytest.fixture
def corpus(tmp_path):
    document = Document("made up", lambda: iter([TEXT.encode()]))
    return Corpus.prepare([document], tmp_path / "corpus", validation_fraction=0, test_fraction=0)


def make_trainer(corpus, seed=1):
    network = text_generator(
        corpus.vocabulary.size, cell="simple_rnn", units=UNITS, embedding=0, weight_scale=0.01, seed=seed
    )
    trainer = CarriedStateTrainer(network, batch_size=1, clip="value", clip_at=5.0, reduction="sum")
    trainer.compile(optimizer=keras.optimizers.Adagrad(0.1, initial_accumulator_value=0.0, epsilon=1e-8))
    return trainer


def trained(trainer, dtype="float32"):
    """The weights `[W, U, b, V, c]`."""
    return [w.numpy().astype(dtype) for w in trainer.network.trainable_variables]


def run_reference(weights, corpus, updates=UPDATES):
    """Losses in nats per token, whether each update was clipped, how often the state was zeroed, and the weights."""
    reference, h, resets = MinCharRNN(weights), None, 0
    losses, clipped = [], []
    for inputs, targets, mask in windows(corpus, "train", 1, STEPS).take(updates).as_numpy_iterator():
        real = int(mask.sum())  # the reference reads a short window where ours reads a padded one
        if inputs["reset"][0]:
            h, resets = np.zeros(UNITS, weights[0].dtype), resets + 1
        loss, gradients, h = reference.loss_and_gradients(inputs["tokens"][0, :real], targets[0, :real], h)
        losses.append(loss / real)
        clipped.append(reference.update(gradients))
    return losses, clipped, resets, reference.weights


class Recorder(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.losses, self.clipped = [], []

    def on_train_batch_end(self, batch, logs=None):
        self.losses.append(float(logs["loss"]))
        self.clipped.append(bool(logs["clipped"]))


def test_every_loss_and_the_weights_are_those_of_the_reference(corpus):
    trainer, recorder = make_trainer(corpus), Recorder()
    # In float64 the reference is as good as exact. What is left is our rounding: a loss near 3 has steps of 2e-7, and a
    # float32 run of the reference itself ends up to 4e-6 away in a loss and 2e-5 in a weight. A limit of 4.9, a rate of
    # 0.1001 or 1.2e-8 in the root move losses by more than 1e-3 each.
    losses, clipped, resets, weights = run_reference(trained(trainer, "float64"), corpus)
    trainer.fit(
        windows(corpus, "train", 1, STEPS), steps_per_epoch=UPDATES, verbose=0, shuffle=False, callbacks=[recorder]
    )
    assert len(recorder.losses) == UPDATES
    np.testing.assert_allclose(recorder.losses, losses, rtol=0, atol=2e-5)
    for ours, theirs in zip(trained(trainer), weights, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-4)
    assert recorder.clipped == clipped
    # The run went where it should: it learnt, clipped at times, and came round to the start of the text.
    assert losses[0] == pytest.approx(math.log(corpus.vocabulary.size), abs=1e-3)
    assert np.mean(losses[-14:]) < 0.5
    assert 10 <= sum(clipped) <= UPDATES // 2
    assert resets == UPDATES // windows_per_epoch(corpus, "train", 1, STEPS) == 14


def test_smoothed_loss_and_rhythm_of_samples(corpus, tmp_path):
    trainer, sample, updates = make_trainer(corpus), Mock(return_value="text"), 110
    losses, clipped, *_ = run_reference(trained(trainer, "float64"), corpus, updates)
    start = STEPS * math.log(corpus.vocabulary.size)
    plan = Plan(
        minutes=None, steps=updates, peak=PRESET.learning_rate, warmup_steps=PRESET.warmup_steps,
        schedule=PRESET.schedule, patience=0, validate_every=1e9, sample_every=PRESET.sample_every,
        smoothing=PRESET.smoothing, start_loss=start, explosion=2 * start, loss_scale=STEPS, counted_per_step=STEPS,
    )  # fmt: skip
    loop = Loop(trainer, plan, tmp_path, Mock(), Mock(), validate=lambda: None, keep=Mock(), sample=sample)
    state = loop.run(windows(corpus, "train", 1, STEPS))
    smooth = start
    for loss in losses:
        smooth = 0.999 * smooth + 0.001 * STEPS * loss
    assert state.smooth_loss == pytest.approx(smooth, abs=1e-4)
    assert state.clipped == sum(clipped)
    assert sample.call_count == updates // 100


def test_preset_holds_the_numbers_of_the_program():
    assert (PRESET.cell, PRESET.units, PRESET.layers, PRESET.embedding) == ("simple_rnn", 100, 1, 0)
    assert (PRESET.batch_size, PRESET.steps, PRESET.loss, PRESET.dropout) == (1, 25, "sum", 0)
    assert (PRESET.optimizer, PRESET.learning_rate, PRESET.schedule, PRESET.warmup_steps) == (
        "adagrad",
        0.1,
        "constant",
        0,
    )
    assert (PRESET.clip, PRESET.clip_at, PRESET.weight_scale) == ("value", 5.0, 0.01)
    assert (PRESET.smoothing, PRESET.sample_every) == (0.999, 100)


def test_weights_start_as_in_the_program(corpus):
    kernel, recurrent, bias, out, out_bias = trained(make_trainer(corpus))
    assert not bias.any() and not out_bias.any()
    for weight in (kernel, recurrent, out):
        assert weight.std() == pytest.approx(0.01, rel=0.15)
    assert not np.allclose(kernel, out.T, atol=1e-3)  # drawn apart


def test_adagrad_of_keras_has_epsilon_inside_the_root():
    weight = keras.Variable([1.0])
    optimizer = keras.optimizers.Adagrad(0.1, initial_accumulator_value=0.0, epsilon=1.0)
    for gradient in (0.5, 0.5):
        optimizer.apply([keras.ops.convert_to_tensor([gradient])], [weight])
    wanted = 1 - 0.1 * 0.5 / math.sqrt(0.25 + 1) - 0.1 * 0.5 / math.sqrt(0.5 + 1)
    np.testing.assert_allclose(weight.numpy(), [wanted], rtol=1e-6)


def test_gradients_of_the_reference_are_finite_differences():
    rng, vocabulary, units = np.random.default_rng(0), 4, 3
    shapes = [(vocabulary, units), (units, units), (units,), (units, vocabulary), (vocabulary,)]
    reference = MinCharRNN([rng.normal(0, 0.5, shape) for shape in shapes])
    inputs, targets, h = rng.integers(0, vocabulary, 7), rng.integers(0, vocabulary, 7), rng.normal(size=units)
    _, gradients, _ = reference.loss_and_gradients(inputs, targets, h)
    for weight, gradient in zip(reference.weights, gradients, strict=True):
        numeric = np.zeros_like(weight)
        for index in np.ndindex(weight.shape):
            ends, middle = [], weight[index]
            for end in (middle + 1e-6, middle - 1e-6):
                weight[index] = end
                ends.append(reference.loss_and_gradients(inputs, targets, h)[0])
            weight[index] = middle
            numeric[index] = (ends[0] - ends[1]) / 2e-6
        np.testing.assert_allclose(gradient, numeric, rtol=1e-6, atol=1e-8)
