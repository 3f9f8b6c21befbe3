"""The strategies of `tf.distribute` that options ask for."""

from __future__ import annotations

import contextlib
import functools
import json
import os
from typing import Any

import tensorflow as tf

from rnnapps.errors import RunError, UsageError


def strategy_of(strategy: str, replicas: int = 0) -> tf.distribute.Strategy | None:
    """The strategy that the options `--strategy` and `--replicas` ask for; None where one replica is all.

    To be called before TensorFlow runs anything.

    Args:
        strategy: "none"; "mirrored" for devices of this machine; "multiworker" for processes as `TF_CONFIG` says.
        replicas: Of "mirrored": devices; 0 for all GPUs. Where there is none, so many logical devices of the processor.

    Raises:
        UsageError: There are not as many devices, or `TF_CONFIG` does not say who works.
    """
    if strategy == "none":
        return None
    if strategy == "mirrored":
        devices = _devices(replicas)
        return _mirrored(devices) if len(devices) > 1 else None
    _check_cluster(os.environ.get("TF_CONFIG", ""))
    try:
        found = _workers()
    except tf.errors.OpError as error:
        raise RunError(f"--strategy multiworker could not start ({error.message})") from error
    except RuntimeError as error:
        raise UsageError(f"--strategy multiworker is for a process of its own, from its start on ({error})") from error
    return found if found.num_replicas_in_sync > 1 else None


# A process joins a cluster once, and two strategies of the same devices would take each other's sums for their own.
@functools.cache
def _mirrored(devices: tuple[str, ...]) -> tf.distribute.Strategy:
    return tf.distribute.MirroredStrategy(devices)


@functools.cache
def _workers() -> tf.distribute.Strategy:
    return tf.distribute.MultiWorkerMirroredStrategy()


def _devices(replicas: int) -> tuple[str, ...]:
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        if replicas > len(gpus):
            raise UsageError(f"--replicas {replicas}: this machine has {len(gpus)} GPUs")
        return tuple(f"GPU:{number}" for number in range(replicas or len(gpus)))
    (processor,) = tf.config.list_physical_devices("CPU")
    wanted = replicas or 1
    with contextlib.suppress(RuntimeError):  # they are fixed once TensorFlow has run something
        tf.config.set_logical_device_configuration(processor, [tf.config.LogicalDeviceConfiguration()] * wanted)
    there = len(tf.config.list_logical_devices("CPU"))
    if there < wanted:
        raise UsageError(f"--replicas {replicas}: TensorFlow runs in this process already, with {there} of the CPU")
    return tuple(f"CPU:{number}" for number in range(wanted))


def _check_cluster(told: str) -> None:
    example = '{"cluster": {"worker": ["host0:12345", "host1:12345"]}, "task": {"type": "worker", "index": 0}}'
    if not told:
        raise UsageError(f"--strategy multiworker without the environment variable TF_CONFIG: wanted {example}")
    try:
        found = json.loads(told)
        cluster, task = found["cluster"], found["task"]
        known = cluster[task["type"]][int(task["index"])] and set(cluster) <= {"chief", "worker"}
    except (ValueError, KeyError, TypeError, IndexError):
        known = False
    if not known:
        raise UsageError(f"TF_CONFIG {told} names no worker of a cluster of workers: wanted {example}")


def is_first_worker() -> bool:
    """Whether `TF_CONFIG` says of this process that it is the first of a cluster.

    Raises:
        UsageError: It does not say who works.
    """
    _check_cluster(os.environ.get("TF_CONFIG", ""))
    return is_chief(tf.distribute.cluster_resolver.TFConfigClusterResolver())


def is_chief(resolver: Any) -> bool:
    """Whether this process is the first of a cluster, or has none."""
    if resolver is None or not resolver.task_type:
        return True
    if resolver.task_type == "chief":
        return True
    return "chief" not in resolver.cluster_spec().as_dict() and resolver.task_id == 0
