"""Batches through the tf.data service: an epoch is written once, and the service's workers read it and send it.

The batches of this package are made by Python, which a worker of the service does not have. What is written is read by
TensorFlow's own operations alone, so that any tf.data service of the same version of TensorFlow can send it.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import tensorflow as tf

from rnnapps.errors import RunError, UsageError

_BATCHES_A_FILE = 32  # what a worker is given at a time
_WAIT = 5.0  # seconds for an answer


def served(
    address: str, folder: Path, batches: Callable[[], tf.data.Dataset], count: int, position: int
) -> tf.data.Dataset:
    """The batches of an epoch again and again, as the service at an address sends them.

    With one worker they come in the order in which they were written; with several, each comes once an epoch.

    Args:
        address: As in "grpc://host:port".
        folder: Where the epoch is, or is to be written; the workers must see it under the same path.
        batches: Gives the batches, the first of which are an epoch.
        count: Of an epoch.
        position: Batches to leave out, counted from the start of the first epoch.

    Raises:
        UsageError: Nobody answers at the address.
        RunError: The folder cannot be written.
    """
    check_answer(address)
    source = batches()
    if not folder.exists():
        _write(source.take(count), folder)
    service = tf.data.experimental.service
    sent = _epoch(folder, source.element_spec).apply(
        service.distribute(processing_mode=service.ShardingPolicy.DYNAMIC, service=address)
    )
    return sent.skip(position % count).concatenate(sent.repeat()).prefetch(2)


def check_answer(address: str) -> None:
    """Raises UsageError unless something listens at an address; TensorFlow itself would wait for an hour."""
    found = re.fullmatch(r"grpc://(\S+):(\d+)", address)
    if found is None:
        raise UsageError(f"--data-service {address}: wanted grpc://HOST:PORT")
    try:
        socket.create_connection((found[1].strip("[]"), int(found[2])), timeout=_WAIT).close()
    except (OSError, OverflowError) as error:
        raise UsageError(
            f"--data-service {address}: nobody answers there ({error}), wanted a tf.data service, as python -m "
            "rnnapps.data_service starts one"
        ) from None


def _write(batches: tf.data.Dataset, folder: Path) -> None:
    """Writes batches to files in a folder, whole or not at all."""
    draft = folder.with_name(f".{folder.name}.{os.getpid()}")
    try:
        draft.mkdir(parents=True)
        for number, records in enumerate(_in_files(batches)):
            with tf.io.TFRecordWriter(str(draft / f"{number:06d}.tfrecord")) as file:
                for record in records:
                    file.write(record)
        draft.rename(folder)
    except (OSError, tf.errors.ResourceExhaustedError) as error:
        raise RunError(f"{folder} could not be written ({error})") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _in_files(batches: tf.data.Dataset) -> Iterator[list[bytes]]:
    records: list[bytes] = []
    for batch in batches:
        parts = [tf.io.serialize_tensor(part) for part in tf.nest.flatten(batch)]
        records.append(tf.io.serialize_tensor(tf.stack(parts)).numpy())
        if len(records) == _BATCHES_A_FILE:
            yield records
            records = []
    if records:
        yield records


def _epoch(folder: Path, spec: Any) -> tf.data.Dataset:
    """What `_write` wrote, in order, by operations that every worker has."""
    flat = tf.nest.flatten(spec)

    def read(record: tf.Tensor) -> Any:
        parts = tf.unstack(tf.io.parse_tensor(record, tf.string), len(flat))
        found = [tf.io.parse_tensor(part, one.dtype) for part, one in zip(parts, flat, strict=True)]
        shaped = [tf.ensure_shape(part, one.shape) for part, one in zip(found, flat, strict=True)]
        return tf.nest.pack_sequence_as(spec, shaped)

    files = sorted(str(path.resolve()) for path in folder.glob("*.tfrecord"))
    return tf.data.Dataset.from_tensor_slices(files).flat_map(tf.data.TFRecordDataset).map(read)


class Service:
    """A dispatcher and workers of the tf.data service in this process, as long as it is there.

    TensorFlow lets both listen on all interfaces of the machine, whatever they are told; `host` is the name by which
    workers and trainings find them.

    Args:
        port: Of the dispatcher; 0 takes a free one.
        workers: How many.
        host: Of this machine.

    Attributes:
        address: For `--data-service`.

    Raises:
        RunError: The port is taken.
    """

    def __init__(self, port: int = 0, workers: int = 1, host: str = "localhost"):
        service = tf.data.experimental.service
        try:
            self._dispatcher = service.DispatchServer(service.DispatcherConfig(port=port))
        except tf.errors.OpError as error:
            raise RunError(f"--port {port} cannot be listened at ({error.message})") from error
        known = f"{host}:{self._dispatcher.target.rpartition(':')[2]}"
        self.address = f"grpc://{known}"
        told = service.WorkerConfig(dispatcher_address=known, worker_address=f"{host}:%port%")
        self._workers = [service.WorkerServer(told) for _ in range(workers)]

    def wait(self) -> None:
        """Serves until the process is interrupted, which TensorFlow's own `join` would not notice."""
        threading.Event().wait()
