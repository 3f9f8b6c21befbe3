"""A text generator as a C++ program: it is built, and writes what TensorFlow writes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from portable_exports import SYMBOLS, export_text, written

from rnnapps.data.vocabulary import Vocabulary
from rnnapps.errors import RunError, UsageError
from rnnapps.portable.aot import chunk, vocabulary_header, write_program
from rnnapps.portable.text import TextCore

TARGET = "x86_64-pc-linux-gnu"
COMPILER = shutil.which("make") and (shutil.which("c++") or shutil.which("g++"))
needs_compiler = pytest.mark.skipif(
    not COMPILER or not sys.platform.startswith("linux") or os.uname().machine != "x86_64",
    reason="wants a C++ compiler, make and Linux on x86-64",
)


@pytest.fixture(scope="module")
def program(text_export, tmp_path_factory):
    folder = tmp_path_factory.mktemp("program") / "tiny"
    paths = write_program(text_export.parent, folder, 16, TARGET, "x86-64-v2")
    assert {"main.cc", "Makefile", "model.h", "model.o", "vocabulary.h"} <= {path.name for path in paths}
    assert all(path.is_file() for path in paths) and not list(folder.glob("*makefile.inc"))
    command = ["make", "-C", str(folder), f"PYTHON={sys.executable}", "CXXFLAGS=-O0"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder / "write"


@needs_compiler
@pytest.mark.parametrize(
    ("prompt", "count", "temperature", "seed"),
    [
        ("", 40, 1.0, 1),
        ("abc é", 33, 0.7, -5),
        ("中 bad\n?" * 9, 70, 1.0, 2**31 - 1),  # longer than four calls, with a character that is not known
        ("a" * 16, 16, 0.0, 0),  # fills a call
        ("a", 0, 1.0, 0),
    ],
)
def test_the_program_writes_what_tensorflow_writes(program, text_export, prompt, count, temperature, seed):
    done = subprocess.run([program, prompt, str(count), str(temperature), str(seed)], capture_output=True)
    assert done.returncode == 0
    assert done.stdout == written(text_export, prompt, count, temperature, seed)
    assert len(done.stdout.decode()) == count


@needs_compiler
def test_the_program_says_how_it_is_used(program):
    done = subprocess.run([program], capture_output=True, text=True)
    assert done.returncode == 2 and "PROMPT [NUM_CHARS [TEMPERATURE [SEED]]]" in done.stderr


def test_chunks_join_without_a_seam(text_export):
    """In TensorFlow, without a compiler: three calls of a prompt that is longer than one of them."""
    text = TextCore.load(text_export)
    call, ids = chunk(text, 8), text.vocabulary.encode("abc é. bad f")
    specs = tf.nest.flatten(call.structured_input_signature)
    state = {spec.name: np.zeros(spec.shape, spec.dtype.as_numpy_dtype) for spec in specs}
    state["temperature"] += 0.9
    state["seed"] += 4
    found = []
    for first in range(0, 32, 8):
        forced = ids[first : first + 8]
        state["forced"] = np.pad(forced, (0, 8 - len(forced)))[None].astype("int32")
        state["num_forced"] = np.array([len(forced)], "int32")
        answer = {name: value.numpy() for name, value in call(**{k: tf.constant(v) for k, v in state.items()}).items()}
        found += answer.pop("tokens").tolist()
        state.update({name.removeprefix("next_"): value for name, value in answer.items()})
    assert found[: len(ids)] == ids.tolist()
    assert text.vocabulary.decode(found[len(ids) :]) == written(text_export, "abc é. bad f", 20, 0.9, 4).decode()


def test_the_header_holds_every_symbol():
    header = vocabulary_header([symbol.encode() for symbol in SYMBOLS], False, 7, ["token", "layer_0_h"])
    (line,) = [line for line in header.splitlines() if "kSymbols[]" in line]
    literals = line.partition("{")[2].rpartition("}")[0].split(", ")
    # Octal escapes of three digits mean the same to Python.
    assert "".join(eval(f"b{one}").decode() for one in literals) == SYMBOLS
    assert f"kNumSymbols = {len(SYMBOLS)};" in header and "kChunk = 7;" in header
    assert "CARRIED(X) X(token) X(layer_0_h)" in header and "kBytes = false" in header


def test_words_are_refused(tmp_path):
    path = export_text(tmp_path, Vocabulary("word", [" a", " b", "."]), units=4, layers=1)
    with pytest.raises(UsageError, match="writes words: wanted a model of characters or bytes"):
        write_program(path, tmp_path / "out", 16, TARGET, "")
    assert not (tmp_path / "out").exists()


def test_a_target_that_is_not_known_is_one_sentence(text_export, tmp_path):
    with pytest.raises(RunError, match="^XLA does not compile the model for nowhere-at-all"):
        write_program(text_export, tmp_path / "out", 16, "nowhere-at-all", "")
    assert not list(tmp_path.iterdir())


def test_templates_come_with_the_package():
    folder = Path(write_program.__code__.co_filename).parent / "cpp"
    assert {"main.cc", "Makefile"} <= {path.name for path in folder.iterdir()}
