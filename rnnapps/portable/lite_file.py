"""The numeric core of an endpoint for LiteRT (TensorFlow Lite), and its interpreter to run it: no TensorFlow in it."""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from rnnapps.errors import RunError
from rnnapps.portable.core import Arrays, Core

_MISSING = re.compile(r"'tf\.(\w+)' op is neither a custom op nor a flex op")


def convert(core: Core, weights: str) -> bytes:
    """The file's content, with the names of the core's inputs and outputs in its one signature.

    Args:
        core: What is converted.
        weights: "float32"; "float16", matrices are stored so and made float32 when the file is loaded; "int8", they are
            multiplied as int8, with a scale for each column, by inputs that are made int8 as they come.

    Raises:
        RunError: LiteRT has no form of an operation.
    """
    module = tf.Module()
    module.function = core.function
    converter = tf.lite.TFLiteConverter.from_concrete_functions([core.function], module)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]  # those of TensorFlow are another 100 MB
    if weights != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if weights == "float16":
        converter.target_spec.supported_types = [tf.float16]
    try:
        with _silent():
            return converter.convert()
    except Exception as error:  # of several classes, of the compiler's and of Python's
        missing = sorted(set(_MISSING.findall(str(error))))
        reason = f"has no form of {', '.join(missing)}" if missing else f"does not take what is there ({_first(error)})"
        raise RunError(f"LiteRT {reason} in endpoint {core.name!r}") from error


class Session:
    """Runs a file.

    Args:
        content: Of the file.
        core: What it was made of.
        threads: Of the processor; 0 is one.
    """

    def __init__(self, content: bytes, core: Core, threads: int = 0):
        self._content, self._name, self._threads = content, core.name, threads or 1
        self._runners: dict[tuple[tuple[int, ...], ...], Any] = {}

    def __call__(self, inputs: Mapping[str, np.ndarray]) -> Arrays:
        """The outputs by the names of the core's."""
        shapes = tuple(value.shape for value in inputs.values())
        if shapes in self._runners:
            return self._runners[shapes](**inputs)
        with _silent():  # it says that it uses its fast kernels
            # One that has run, and then gets inputs of other shapes, now and then gives wrong numbers the first time.
            runner = self._runners[shapes] = self._new_runner()
            return runner(**inputs)

    def _new_runner(self) -> Any:
        from ai_edge_litert.interpreter import Interpreter  # type: ignore[import,unused-ignore]

        try:
            return Interpreter(model_content=self._content, num_threads=self._threads).get_signature_runner()
        except (RuntimeError, ValueError) as error:
            raise RunError(f"LiteRT refuses endpoint {self._name!r} ({_first(error)})") from error


def _first(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Without what the compiler writes past Python to standard error: an exception says it once more."""
    kept = os.dup(2)
    with tempfile.TemporaryFile() as nowhere:
        os.dup2(nowhere.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
