"""A text generator as a C++ program: it is built, and writes what TensorFlow writes."""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from portable_exports import of_words, written
from small_exports import SYMBOLS

from rnnapps.data.vocabulary import Vocabulary
from rnnapps.errors import RunError, UsageError
from rnnapps.portable import aot
from rnnapps.portable.aot import chunk, vocabulary_header, write_program
from rnnapps.portable.text import TextCore

TARGET = "x86_64-pc-linux-gnu"
COMPILER = shutil.which("c++") or shutil.which("g++")
CASES = [
    ("", 40, 1.0, 1),
    ("abc é", 33, 0.7, -5),
    ("中 bad\n?" * 9, 70, 1.0, 2**31 - 1),  # longer than four calls, with a character that is not known
    ("a" * 16, 16, 0.0, 0),  # fills a call
    ("a", 0, 1.0, 0),
]
STEPS = 16
TEMPLATES = Path(write_program.__code__.co_filename).parent / "cpp"


# === What XLA compiles ===


def test_chunks_join_without_a_seam(text, text_export):
    """In TensorFlow, without a compiler: three calls of a prompt that is longer than one of them."""
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


@pytest.fixture
def compiler(text, monkeypatch):
    """What TensorFlow's own tool was asked, instead of that tool; it succeeds unless the target is nowhere."""
    asked = {}

    def run(command, **_):
        asked.update(one.removeprefix("--").split("=", 1) for one in command if one.startswith("--"))
        assert (Path(asked["dir"]) / "saved_model.pb").is_file()
        if "nowhere" in asked["target_triple"]:
            return subprocess.CompletedProcess(command, 1, "", "Error: no target\nbye\n")
        for suffix in (".o", ".h", "_makefile.inc"):
            Path(asked["output_prefix"] + suffix).touch()
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(aot, "subprocess", type("", (), {"run": staticmethod(run)}))
    monkeypatch.setattr(TextCore, "load", lambda path: text)
    return asked


def test_all_that_the_program_is_made_of_is_written(compiler, text, tmp_path):
    paths = write_program(text.path, tmp_path / "out", STEPS, TARGET, "x86-64-v2")
    assert {path.name for path in paths} == {"main.cc", "Makefile", "model.h", "model.o", "vocabulary.h"}
    assert all(path.is_file() for path in paths) and not list((tmp_path / "out").glob("*makefile.inc"))
    asked = {name: compiler[name] for name in ("signature_def_key", "cpp_class", "target_triple", "target_cpu")}
    assert list(asked.values()) == ["chunk", "rnnapps::Model", TARGET, "x86-64-v2"]
    header = (tmp_path / "out" / "vocabulary.h").read_text("ascii")
    carried = " ".join(f"X({name})" for name in ("token", "generated", *text.states))
    assert len(text.states) == 4 and f"#define CARRIED(X) {carried}\n" in header and f"kChunk = {STEPS};" in header


def test_a_target_that_is_not_known_is_one_sentence(compiler, text, tmp_path):
    with pytest.raises(RunError, match="^XLA does not compile the model for nowhere : Error: no target$"):
        write_program(text.path, tmp_path / "out", STEPS, "nowhere", "")
    assert not list(tmp_path.iterdir())


def test_words_are_refused(text_export, tmp_path):
    path = of_words(text_export, tmp_path / "words")
    with pytest.raises(UsageError, match="writes words: wanted a model of characters or bytes"):
        write_program(path, tmp_path / "out", STEPS, TARGET, "")
    assert not (tmp_path / "out").exists()


# === The program, with a stand-in for what XLA compiles ===

# Each token depends on all that goes from one call to the next, and on all that is given.
MODEL = """
#include <cstddef>
#include <string>
namespace rnnapps {
struct Model {
  int forced[STEPS], num_forced[1], seed[1], token[1], generated[1], tokens[STEPS], next_token[1], next_generated[1];
  float temperature[1], h[3], c[2], next_h[3], next_c[2];
  static constexpr int kNumArgs = 8;
  void* arg_data(int i) {
    void* all[] = {forced, num_forced, seed, token, generated, temperature, h, c};
    return all[i];
  }
  size_t arg_size(int i) {
    const size_t all[] = {sizeof forced, sizeof num_forced, sizeof seed, sizeof token, sizeof generated,
                          sizeof temperature, sizeof h, sizeof c};
    return all[i];
  }
  bool Run() {
    int last = token[0], count = generated[0];
    next_h[2] = h[2];
    next_c[1] = c[1];
    for (int i = 0; i < STEPS; ++i) {
      next_h[2] += last;
      if (i < num_forced[0]) {
        last = forced[i];
      } else {
        const int given = seed[0] % 100 + int(10 * temperature[0] + .5);
        const int sum = last + int(next_h[2]) + int(next_c[1]) + count++ + given;
        last = 1 + (sum % SIZE + SIZE) % SIZE;
        next_c[1] += 2;
      }
      tokens[i] = last;
    }
    next_token[0] = last;
    next_generated[0] = count;
    return true;
  }
  std::string error_msg() { return ""; }
  int* result_fetch_tokens_data() { return tokens; }
ACCESSORS
};
}
"""
GIVEN = {"forced": "int", "num_forced": "int", "seed": "int", "temperature": "float"}
CARRIED = {"token": "int", "generated": "int", "h": "float", "c": "float"}


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory):
    if not COMPILER:
        pytest.skip("wants a C++ compiler")
    folder = tmp_path_factory.mktemp("stand_in")
    shutil.copy(TEMPLATES / "main.cc", folder)
    accessors = [f"{kind}* arg_feed_{name}_data() {{ return {name}; }}" for name, kind in (GIVEN | CARRIED).items()]
    for name, kind in CARRIED.items():
        accessors.append(f"size_t arg_feed_{name}_size() {{ return sizeof {name}; }}")
        accessors.append(f"{kind}* result_fetch_next_{name}_data() {{ return next_{name}; }}")
    model = MODEL.replace("STEPS", str(STEPS)).replace("SIZE", str(len(SYMBOLS)))
    (folder / "model.h").write_text(model.replace("ACCESSORS", "\n".join(accessors)))
    (folder / "vocabulary.h").write_text(vocabulary_header([one.encode() for one in SYMBOLS], False, STEPS, CARRIED))
    subprocess.run([COMPILER, "-O0", "-std=c++17", "-w", "main.cc", "-o", "write"], cwd=folder, check=True)
    return folder / "write"


def by_hand(prompt, count, temperature, seed):
    """What the stand-in writes, in one call."""
    vocabulary = Vocabulary("char", SYMBOLS)
    forced, drawn, last, h = vocabulary.encode(prompt).tolist(), [], 0, 0
    while len(drawn) < count:
        h += last
        if forced:
            last = forced.pop(0)
            continue
        given = int(math.fmod(seed, 100)) + int(10 * temperature + 0.5)
        last = 1 + (last + h + 3 * len(drawn) + given) % len(SYMBOLS)
        drawn.append(last)
    return vocabulary.decode(drawn)


@pytest.mark.parametrize(("prompt", "count", "temperature", "seed"), CASES)
def test_the_program_reads_and_writes_call_after_call(stand_in, prompt, count, temperature, seed):
    done = subprocess.run([stand_in, prompt, str(count), str(temperature), str(seed)], capture_output=True)
    assert done.returncode == 0
    assert done.stdout.decode() == by_hand(prompt, count, temperature, seed)


def test_what_is_left_out_has_a_default(stand_in):
    assert subprocess.run([stand_in, "ab"], capture_output=True).stdout.decode() == by_hand("ab", 300, 1.0, 0)


def test_the_program_says_how_it_is_used(stand_in):
    done = subprocess.run([stand_in], capture_output=True, text=True)
    assert done.returncode == 2 and "PROMPT [NUM_CHARS [TEMPERATURE [SEED]]]" in done.stderr


def test_the_header_holds_every_symbol():
    header = vocabulary_header([symbol.encode() for symbol in SYMBOLS], False, 7, ["token", "layer_0_h"])
    (line,) = [line for line in header.splitlines() if "kSymbols[]" in line]
    literals = line.partition("{")[2].rpartition("}")[0].split(", ")
    # Octal escapes of three digits mean the same to Python.
    assert "".join(eval(f"b{one}").decode() for one in literals) == SYMBOLS
    assert f"kNumSymbols = {len(SYMBOLS)};" in header and "kChunk = 7;" in header
    assert "CARRIED(X) X(token) X(layer_0_h)" in header and "kBytes = false" in header


def test_templates_come_with_the_package():
    assert {"main.cc", "Makefile"} <= {path.name for path in TEMPLATES.iterdir()}


# === All of it ===


@pytest.fixture(scope="module")
def program(text_export, tmp_path_factory):
    if (
        not (COMPILER and shutil.which("make"))
        or not sys.platform.startswith("linux")
        or os.uname().machine != "x86_64"
    ):
        pytest.skip("wants a C++ compiler, make and Linux on x86-64")
    folder = tmp_path_factory.mktemp("program") / "text"
    paths = write_program(text_export.parent, folder, STEPS, TARGET, "x86-64-v2")
    assert {"main.cc", "Makefile", "model.h", "model.o", "vocabulary.h"} <= {path.name for path in paths}
    assert all(path.is_file() for path in paths) and not list(folder.glob("*makefile.inc"))
    command = ["make", "-C", str(folder), f"PYTHON={sys.executable}", "CXXFLAGS=-O0"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder / "write"


@pytest.mark.full
@pytest.mark.parametrize(("prompt", "count", "temperature", "seed"), CASES)
def test_the_program_writes_what_tensorflow_writes(program, text_export, prompt, count, temperature, seed):
    done = subprocess.run([program, prompt, str(count), str(temperature), str(seed)], capture_output=True)
    assert done.returncode == 0
    assert done.stdout == written(text_export, prompt, count, temperature, seed)
    assert len(done.stdout.decode()) == count


@pytest.mark.full
def test_tensorflow_s_own_tool_knows_no_such_target(text_export, tmp_path):
    with pytest.raises(RunError, match="^XLA does not compile the model for nowhere-at-all"):
        write_program(text_export, tmp_path / "out", STEPS, "nowhere-at-all", "")
    assert not list(tmp_path.iterdir())
