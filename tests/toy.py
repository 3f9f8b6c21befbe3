"""A task as small as can be, a network of about twenty numbers: for what happens around the updates of a training."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import keras
import small_runs
import tensorflow as tf

from rnnapps import runtime
from rnnapps.training.console import Console
from rnnapps.training.distribution import Distribution
from rnnapps.training.log import Log
from rnnapps.training.loop import Loop, Plan
from rnnapps.training.metric import Metric
from rnnapps.training.optimizers import optimizer, put_weights
from rnnapps.training.run import Run
from rnnapps.training.window_trainer import WindowTrainer

PER_EPOCH, ROWS = 20, 6


@dataclasses.dataclass(frozen=True)
class Config:
    """The options that the engine reads, and a few of the network."""

    run: Path
    resume: bool = False
    overwrite: bool = False
    units: int = 3
    dropout: float = 0.2
    optimizer: str = "adam"
    learning_rate: float = 0.02
    average: float = 0.0
    clip: str = "none"
    warmup_steps: int = 2
    schedule: str = "constant"
    smoothing: float = 0.9
    minutes: float | None = None
    epochs: float | None = 1.0
    patience: int = 0
    validate_every: float = 1e9
    data_service: str | None = None
    seed: int = 0


def train(config: Config, spread: Distribution | None = None) -> keras.Model:
    """As every task does it."""
    spread = spread or Distribution()
    runtime.seed_everything(config.seed)
    run, console = Run(config.run, "rows"), Console(Metric("error", "row", "squared error"))
    if config.resume:
        run.check_resumable(config, ("seed",))
    else:
        with run.new_folder(config.overwrite) as scratch:
            (scratch / "rows").mkdir()
            run.begin(config, scratch / "rows")
    loop = loop_of(config, run, console, spread)
    with small_runs.undrawn():
        run.carry_out(loop, config, lambda position, share: batches(position, share.rows(ROWS)), "toy")
    run.stop_if_interrupted(loop)
    return run.load_model()


def loop_of(config: Config, run: Run, console: Console, spread: Distribution) -> Loop:
    with spread.scope():
        network = _network(config)
        trainer = WindowTrainer(network, _loss, config.clip, count=lambda x, _: tf.cast(tf.shape(x)[0], tf.float32))
        updates = optimizer(config.optimizer, config.learning_rate, average=config.average)
        spread.compile(trainer, updates, jit_compile=False)
    model = _network(config)

    def validate() -> float | None:
        put_weights(model, network, updates)
        return held_out_loss(model)

    plan = Plan.of(config, PER_EPOCH, start_loss=1.0, explosion=1e3, loss_scale=1, counted_per_step=ROWS)
    keep = lambda: run.save_model(model)  # noqa: E731
    return Loop(trainer, plan, run.checkpoints, Log(run.folder), console, validate, keep, str, spread)


def _network(config: Config) -> keras.Model:
    layers = keras.layers  # with names, since an optimiser calls its numbers after them
    first, last = layers.Dense(config.units, "tanh", name="first"), layers.Dense(1, name="last")
    dropout = layers.Dropout(config.dropout, seed=config.seed)
    return keras.Sequential([keras.Input((2,)), first, dropout, last], name="network")


def held_out_loss(model: keras.Model) -> float | None:
    return float(_loss(model, *rows_of(10_000), False))


def _loss(network: keras.Model, x: tf.Tensor, wanted: tf.Tensor, training: bool) -> tf.Tensor:
    return tf.reduce_mean((network(x, training=training)[:, 0] - wanted) ** 2)


def batches(position: int, rows: slice = slice(None)) -> tf.data.Dataset:
    """What follows a number of updates: each batch is drawn by its number alone."""
    return tf.data.Dataset.counter(position).map(lambda number: tuple(part[rows] for part in rows_of(number)))


def rows_of(number: int | tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    x = tf.random.stateless_normal((ROWS, 2), (0, number))
    return x, tf.sin(x[:, 0]) - x[:, 1]
