"""An exported text model in each way to run it: size on disk, characters a second, nats a character.

Each way writes one text at a time, with one thread for each operation. In TensorFlow and in C++ the loop over
characters is a part of the model; LiteRT and ONNX Runtime take one step at a time, and Python draws.
"""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from rnnapps.errors import RunError
from rnnapps.files import read_text
from rnnapps.portable.aot import write_program
from rnnapps.portable.convert import FORMATS, WEIGHTS, convert
from rnnapps.portable.core import Arrays
from rnnapps.portable.quantized import STORED, write_quantized
from rnnapps.portable.text import TextCore
from rnnapps.serving.saved_model import load_endpoints


@dataclass(frozen=True)
class Way:
    """A way to run a text model.

    Attributes:
        name: As the table says it.
        weights: How they are stored.
        size: Bytes on disk.
        seconds: That it takes to write so many characters.
        nats: A text's mean cost, in nats a character; None where it gives no probabilities.
    """

    name: str
    weights: str
    size: int
    seconds: Callable[[int], float]
    nats: Callable[[str], float] | None


def lines(options: Any) -> Iterator[str]:
    """Lines of a Markdown table.

    Args:
        options: `options.Measure`.

    Raises:
        UsageError: There is no such export or text, or a run time is not installed.
        RunError: The model cannot be converted.
    """
    text = None if options.text is None else _held_out(options)
    for form in FORMATS.values():
        form.load()
    yield "| run by | weights | MB | characters a second | nats a character |"
    yield "|---|---|---|---|---|"
    with tempfile.TemporaryDirectory() as folder:
        ways = [*_in_tensorflow(options.saved_model, Path(folder)), *_stepwise(options.saved_model)]
        ways += _in_cpp(options.saved_model, Path(folder))
        for way in ways:
            way.seconds(options.chars)  # the first time is not the usual one
        rounds = [[way.seconds(options.chars) for way in ways] for _ in range(options.rounds)]
        for way, seconds in zip(ways, zip(*rounds, strict=True), strict=True):
            speed = options.chars / statistics.median(seconds)
            nats = f"{way.nats(text):.4f}" if way.nats is not None and text is not None else ""
            yield f"| {way.name} | {way.weights} | {way.size / 1e6:.1f} | {speed:,.0f} | {nats} |"


def _held_out(options: Any) -> str:
    text = read_text("--text", options.text)
    part = text[int(len(text) * (1 - options.test_fraction)) :]
    return part[: options.limit] if options.limit else part


# === TensorFlow: the whole loop in the model ===


def _in_tensorflow(path: Path, folder: Path) -> Iterator[Way]:
    text = TextCore.load(path)
    exports = {"float32": text.path} | {stored: write_quantized(path, folder, "copy", stored) for stored in STORED}
    for stored, export in exports.items():
        endpoints = load_endpoints(export, "serving_default", "score")
        size = sum(file.stat().st_size for file in export.rglob("*") if file.is_file())
        yield Way("TensorFlow", stored, size, _served(endpoints["serving_default"]), _scored(endpoints["score"]))


def _served(write: Any) -> Callable[[int], float]:
    def seconds(chars: int) -> float:
        begin = time.perf_counter()
        request = {"prompt": [""], "num_chars": [chars], "temperature": [1.0], "seed": [1]}
        write({name: tf.constant(value) for name, value in request.items()})["text"].numpy()
        return time.perf_counter() - begin

    return seconds


def _scored(score: Any) -> Callable[[str], float]:
    return lambda text: float(score({"text": tf.constant([text])})["nats_per_char"][0])


# === LiteRT and ONNX Runtime: a step at a time ===


def _stepwise(path: Path) -> Iterator[Way]:
    text = TextCore.load(path)
    for form in ("litert", "onnx"):
        for weights in WEIGHTS:
            made = convert(text.core, form, weights, threads=1)
            writer = _Writer(text, made.run)
            yield Way(FORMATS[form].name, weights, len(made.content), writer.seconds, writer.nats)


class _Writer:
    """Writes and reads with a step of arrays."""

    def __init__(self, text: TextCore, run: Callable[[Arrays], Arrays]):
        self._text, self._run = text, run
        self._zeros = {name: np.zeros((1, *spec.shape[1:]), "float32") for name, spec in text.states.items()}

    def seconds(self, chars: int) -> float:
        rng, token, states = np.random.default_rng(1), 0, self._zeros
        begin = time.perf_counter()
        for _ in range(chars):
            logits, states = self._step(token, states)
            # The Gumbel-max rule; id 0 is never written.
            token = 1 + int(np.argmax(logits[1:] + rng.gumbel(size=len(logits) - 1)))
        return time.perf_counter() - begin

    def nats(self, text: str) -> float:
        ids, token, states, total = self._text.vocabulary.encode(text), 0, self._zeros, 0.0
        for wanted in ids.tolist():
            logits, states = self._step(token, states)
            logits = logits.astype("float64") - logits.max()
            total += np.log(np.exp(logits).sum()) - logits[wanted]
            token = wanted
        return total / len(ids)

    def _step(self, token: int, states: Arrays) -> tuple[np.ndarray, Arrays]:
        found = self._run({"tokens": np.array([token], "int32"), **states})
        return found["logits"][0], {name: found[name] for name in states}


# === C++ ===


def _in_cpp(path: Path, folder: Path) -> Iterator[Way]:
    if not (shutil.which("make") and (shutil.which("c++") or shutil.which("g++"))):
        print("no C++ compiler: the program is left out", file=sys.stderr)
        return
    write_program(path, folder / "cpp", 64, "x86_64-pc-linux-gnu", "x86-64-v3")
    done = subprocess.run(["make", "-C", folder / "cpp", f"PYTHON={sys.executable}"], capture_output=True, text=True)
    if done.returncode:
        raise RunError(f"the C++ compiler fails: {done.stderr.splitlines()[-1]}")
    program = folder / "cpp" / "write"

    def seconds(chars: int) -> float:
        begin = time.perf_counter()
        subprocess.run([program, "", str(chars), "1", "1"], check=True, capture_output=True)
        return time.perf_counter() - begin

    yield Way("C++, start included", "float32", program.stat().st_size, seconds, None)
