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

_NEEDS_FLEX = re.compile(r"TF Select ops: (.*)")


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
        found = _NEEDS_FLEX.search(str(error))
        reason = f"has no form of {found[1]}" if found else f"cannot be made: {_first(error)}"
        raise RunError(f"LiteRT {reason} in endpoint {core.name!r}") from error


class Session:
    """Runs a file.

    Args:
        content: Of the file.
        core: What it was made of.
        threads: Of the processor; 0 is one.
    """

    def __init__(self, content: bytes, core: Core, threads: int = 0):
        from ai_edge_litert.interpreter import Interpreter

        self._is_new = True
        try:
            with _silent():
                self._interpreter = Interpreter(model_content=content, num_threads=threads or 1)
                self._run: Any = self._interpreter.get_signature_runner()
        except (RuntimeError, ValueError) as error:
            raise RunError(f"LiteRT refuses endpoint {core.name!r} ({_first(error)})") from error

    def __call__(self, inputs: Mapping[str, np.ndarray]) -> Arrays:
        """The outputs by the names of the core's."""
        if self._is_new:
            self._is_new = False
            with _silent():  # it says that it uses its fast kernels
                return self._run(**inputs)
        return self._run(**inputs)


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
