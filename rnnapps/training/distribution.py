"""One training on several devices of a machine, or in several processes, through `tf.distribute`.

Each replica reads its rows of every batch; gradients, losses and counts are added up over all of them before anything
is made of them, so that an update is that of the whole batch in one process. What a process decides by its clock or by
Ctrl-C is decided by all after the same update.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from rnnapps.data.share import ALL_ROWS, Share
from rnnapps.errors import RunError, UsageError
from rnnapps.training.strategies import is_chief, strategy_of

# What a collective operation ends with when another process does: by the moment it was in.
_GONE = (
    tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError, tf.errors.DeadlineExceededError,
    tf.errors.InternalError,
)  # fmt: skip
_CHIEF_FAILED = "the first worker has stopped with an error: see what it says"


def total(tensors: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    """The sums of tensors over all replicas; the tensors, where there is one."""
    if not tf.distribute.has_strategy():
        return list(tensors)
    context = tf.distribute.get_replica_context()
    return context.all_reduce(tf.distribute.ReduceOp.SUM, list(tensors))


class Distribution:
    """How a training is spread over replicas, each of which does a part of every batch.

    Args:
        strategy: Of TensorFlow; None for one replica in one process.

    Attributes:
        replicas: In all processes.
        is_chief: Whether this process writes, and tells what happens.
        is_alone: Whether all replicas are in this process.
    """

    def __init__(self, strategy: tf.distribute.Strategy | None = None):
        self._strategy: Any = strategy
        self._gather: Any = None
        self.replicas, self.is_chief, self.is_alone = 1, True, True
        if strategy is not None:
            self.replicas = strategy.num_replicas_in_sync
            self.is_chief = is_chief(strategy.cluster_resolver)
            self.is_alone = self.replicas == len(strategy.extended.worker_devices)
            self._sum = tf.function(self._sum_of, autograph=False)

    def scope(self) -> contextlib.AbstractContextManager:
        """While open, what is made learns on all replicas."""
        return contextlib.nullcontext() if self._strategy is None else self._strategy.scope()

    def compile(self, trainer: keras.Model, optimizer: keras.optimizers.Optimizer, jit_compile: bool) -> None:
        """Compiles a trainer whose `train_step` adds up over replicas by `total`; to be called in the `scope`."""
        trainer.compile(optimizer, jit_compile=jit_compile)
        if self._strategy is not None:
            # Keras would add up the gradients again, which are clipped by then.
            optimizer._all_reduce_sum_gradients = lambda pairs: pairs

    def rows(self, batch_size: int) -> int:
        """Of a batch, for each replica.

        Raises:
            UsageError: They cannot be dealt out evenly.
        """
        if batch_size % self.replicas:
            raise UsageError(f"--batch-size {batch_size} on {self.replicas} replicas: wanted a multiple of that")
        return batch_size // self.replicas

    def spread(self, batches: Callable[[Share], tf.data.Dataset]) -> Any:
        """An endless dataset of which each replica gets its rows, from what a share of the rows gives."""
        if self._strategy is None:
            return batches(ALL_ROWS)

        def of_process(context: tf.distribute.InputContext) -> tf.data.Dataset:
            here = self.replicas // context.num_input_pipelines
            first = context.input_pipeline_id * here
            found = [batches(Share(number, self.replicas)) for number in range(first, first + here)]
            # A batch for the first replica of this process, one for the second, and so on.
            turns = tf.data.Dataset.range(here).repeat()
            mixed = found[0] if here == 1 else tf.data.Dataset.choose_from_datasets(found, turns)
            # So that replicas need not ask each other before each batch whether there is one.
            return mixed.apply(tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY))

        return self._strategy.distribute_datasets_from_function(of_process)

    def fit(self, trainer: keras.Model, batches: Any, updates: int, loop: Any) -> None:
        """As `keras.Model.fit`, whose own way of adding up figures takes only one process.

        Args:
            trainer: Compiled by `compile`.
            batches: As `spread` gives them.
            updates: At most so many.
            loop: A callback, whose `told()` gives seconds and whether to stop; with what `fit` logs it gets `seconds`,
                those of the chief, and `interrupted`, whether any process wants to stop.

        Raises:
            RunError: Another process is gone.
        """
        if self._strategy is None:
            trainer.fit(batches, epochs=1, steps_per_epoch=updates, verbose=0, shuffle=False, callbacks=[loop])
            return
        trainer.stop_training = False
        step, iterator = self._step_of(trainer), iter(batches)
        with _said_when_gone():
            for number in range(updates):
                loop.on_train_batch_begin(number)
                figures = step(iterator, tf.constant(loop.told(), tf.float32))
                loop.on_train_batch_end(number, {name: float(value) for name, value in figures.items()})
                if trainer.stop_training:
                    break

    def _step_of(self, trainer: keras.Model) -> Callable[[Any, tf.Tensor], dict[str, tf.Tensor]]:
        def on_replica(data: Any, told: tf.Tensor) -> dict[str, tf.Tensor]:
            figures = trainer.train_step(data)
            seconds, interrupted = tf.unstack(self._told(told))
            return {**figures, "seconds": seconds, "interrupted": interrupted}

        @tf.function(autograph=False, reduce_retracing=True)
        def step(iterator: Any, told: tf.Tensor) -> dict[str, tf.Tensor]:
            figures = self._strategy.run(on_replica, args=(next(iterator), told))
            return {name: self._strategy.experimental_local_results(one)[0] for name, one in figures.items()}

        return step

    def _told(self, told: tf.Tensor) -> tf.Tensor:
        """Of the first process the first number, of all the sum of the second."""
        is_first = tf.cast(tf.equal(tf.distribute.get_replica_context().replica_id_in_sync_group, 0), told.dtype)
        return total([tf.stack([told[0] * is_first, told[1]])])[0]

    def _sum_of(self, value: tf.Tensor) -> tf.Tensor:
        found = self._strategy.run(lambda one: total([tf.identity(one)])[0], args=(value,))
        return self._strategy.experimental_local_results(found)[0]

    def from_chief(self, ask: Callable[[], float | None]) -> float | None:
        """What `ask` gives in the chief process, to all, which wait for it.

        Raises:
            RunError: It failed there; the chief raises what it failed with.
        """
        if self._strategy is None:
            return ask()
        found = None
        if self.is_chief:
            try:
                found = ask()
            except BaseException:
                self._tell(failed=True)
                raise
        failed, there, value = self._tell(found)
        if failed > 0:
            raise RunError(_CHIEF_FAILED)
        return value if there > 0 else None

    def _tell(self, value: float | None = None, failed: bool = False) -> list[float]:
        share = self.is_chief / len(self._strategy.extended.worker_devices)  # each replica of a process says the same
        numbers = np.array([failed, value is not None, value or 0.0], np.float64) * share
        with _said_when_gone():
            return self._sum(tf.constant(numbers)).numpy().tolist()

    @contextlib.contextmanager
    def chief_first(self) -> Iterator[None]:
        """The chief does what stands in the block, and then the others, who see what it has written.

        Raises:
            RunError: The chief failed; it raises what it failed with itself.
        """
        if not self.is_chief:
            self.from_chief(lambda: None)
            yield
            return
        try:
            yield
        except BaseException:
            if self._strategy is not None:
                self._tell(failed=True)
            raise
        self.from_chief(lambda: None)

    def arrays(self, variables: Sequence[Any], of_rows: Sequence[Any] = ()) -> list[np.ndarray]:
        """The values of variables; all processes must ask.

        Args:
            variables: Of Keras.
            of_rows: Those among them that hold the rows of a replica, which are put together.
        """
        whole = {id(variable) for variable in of_rows} if self._strategy is not None else set()
        gathered = iter(self._gathered([v for v in variables if id(v) in whole]))
        return [next(gathered) if id(v) in whole else keras.ops.convert_to_numpy(v) for v in variables]

    def shapes(self, variables: Sequence[Any], of_rows: Sequence[Any] = ()) -> list[tuple[int, ...]]:
        """Of the arrays that `arrays` gives."""
        whole = {id(variable) for variable in of_rows}
        rows = [self.replicas if id(variable) in whole else 1 for variable in variables]
        return [
            tuple(v.shape) if n == 1 else (n * v.shape[0], *v.shape[1:]) for v, n in zip(variables, rows, strict=True)
        ]

    def _gathered(self, variables: Sequence[Any]) -> list[np.ndarray]:
        if not variables:
            return []

        def on_replica() -> list[tf.Tensor]:
            context = tf.distribute.get_replica_context()
            return [context.all_gather(tf.identity(variable.value), axis=0) for variable in variables]

        if self._gather is None:
            self._gather = tf.function(lambda: self._strategy.run(on_replica), autograph=False)
        with _said_when_gone():
            found = self._gather()
        return [self._strategy.experimental_local_results(one)[0].numpy() for one in found]

    def assign(self, variables: Sequence[Any], arrays: Sequence[np.ndarray], of_rows: Sequence[Any] = ()) -> None:
        """Sets variables to what `arrays` gave, with any number of replicas."""
        whole = {id(variable) for variable in of_rows} if self._strategy is not None else set()
        for variable, array in zip(variables, arrays, strict=True):
            if id(variable) in whole:
                self._assign_rows(variable, array)
            else:
                variable.assign(array)

    def _assign_rows(self, variable: Any, array: np.ndarray) -> None:
        def rows(context: Any) -> tf.Tensor:
            share = Share(context.replica_id_in_sync_group, self.replicas)
            return tf.constant(array[share.rows(len(array))])

        values = self._strategy.experimental_distribute_values_from_function(rows)

        def on_replica(value: tf.Tensor) -> None:
            variable.value.assign(value)

        self._run(on_replica, values)

    def vary_seeds(self, variables: Sequence[Any]) -> None:
        """Gives each replica random numbers of its own, the first those that it would have alone."""
        if self._strategy is None:
            return
        seeds = [variable.value for variable in variables if variable.name == "seed_generator_state"]

        def on_replica() -> None:
            number = tf.distribute.get_replica_context().replica_id_in_sync_group
            for seed in seeds:
                seed.assign_add(tf.cast(tf.stack([number, 0]), seed.dtype))

        if seeds:
            self._run(on_replica)

    def _run(self, on_replica: Callable[..., None], *args: Any) -> None:
        tf.function(lambda *some: self._strategy.run(on_replica, args=some), autograph=False)(*args)


def distribution(strategy: str, replicas: int = 0) -> Distribution:
    """What the options `--strategy` and `--replicas` ask for; arguments and errors as of `strategies.strategy_of`."""
    return Distribution(strategy_of(strategy, replicas))


@contextlib.contextmanager
def _said_when_gone() -> Iterator[None]:
    try:
        yield
    except _GONE as error:
        raise RunError(
            "another worker is gone, so training stopped: start all workers again with --resume "
            f"({_reason(error.message)})"
        ) from error


def _reason(message: str) -> str:
    """The line of a long message that says what happened."""
    lines = message.splitlines() or [""]
    return next((line for line in lines if "Collective ops is aborted" in line), lines[0])[:200].strip()
