"""A text generator as a C++ program: the loop that draws is compiled ahead of time by XLA, from an export alone.

    OUTPUT/model.h, model.o, ...     the compiled loop, as `saved_model_cli aot_compile_cpu` writes it
    OUTPUT/vocabulary.h              symbols, and what goes from one call of the loop to the next
    OUTPUT/main.cc, Makefile         the program: make && ./write "ROMEO:" 300 0.7 1

A call of the loop takes a fixed number of steps with one text: it reads what is left of the prompt, then draws. The
program calls it until it has written what was asked for, so that neither the prompt nor the text has a largest length.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import tensorflow as tf

from rnnapps import decoding
from rnnapps.decoding import Settings
from rnnapps.errors import RunError, UsageError
from rnnapps.portable.draft import draft
from rnnapps.portable.text import TextCore

_TEMPLATES = Path(__file__).parent / "cpp"
_TAKEN = ("main.cc", "Makefile")


def write_program(path: Path, output: Path, steps: int, target: str, cpu: str) -> list[Path]:
    """Writes sources and object files of the program.

    Args:
        path: An export of text generation: `NAME/VERSION`, or `NAME` for its highest version.
        output: Folder of the files.
        steps: Tokens that one call reads or draws.
        target: What is compiled for, as LLVM names it, such as "x86_64-pc-linux-gnu".
        cpu: The oldest processor that must run it, as LLVM names it, such as "x86-64-v3"; "" is any.

    Returns:
        The files.

    Raises:
        UsageError: The export is none of text generation, or its tokens are words.
        RunError: XLA does not compile it, or the folder cannot be written.
    """
    text = TextCore.load(path)
    if text.vocabulary.kind == "word":
        raise UsageError(
            f"{text.path} writes words: wanted a model of characters or bytes, into which main.cc can cut a prompt"
        )
    with draft(output) as folder:
        _compile(chunk(text, steps), folder / "model", target, cpu)
        carried = ["token", "generated", *text.states]
        header = vocabulary_header(text.vocabulary.symbols, text.vocabulary.kind == "byte", steps, carried)
        (folder / "vocabulary.h").write_text(header, encoding="ascii")
        for name in _TAKEN:
            shutil.copyfile(_TEMPLATES / name, folder / name)
        names = sorted(file.name for file in folder.iterdir())
    return [output / name for name in names]


def chunk(text: TextCore, steps: int) -> Any:
    """The concrete function of one call of the loop.

    It takes `forced (1, steps)` tokens, of which `num_forced (1,)` are read; `seed`, `temperature`; and `token`,
    `generated` and the states, which it gives again under `next_NAME`, beside `tokens (steps,)`, read or drawn.
    """

    def run(
        forced: tf.Tensor, num_forced: tf.Tensor, token: tf.Tensor, generated: tf.Tensor, seed: tf.Tensor,
        temperature: tf.Tensor, **states: tf.Tensor,
    ) -> dict[str, tf.Tensor]:  # fmt: skip
        carry = decoding.start(states, seed)._replace(token=token, generated=generated)
        settings = Settings(temperature)
        tokens, after = decoding.generate(text.step, carry, settings, forced, num_forced, tf.constant(steps))
        carried = {"token": after.token, "generated": after.generated, **after.states}
        return {"tokens": tokens[0], **{f"next_{name}": value for name, value in carried.items()}}

    integers = ("num_forced", "token", "generated", "seed")
    specs = {name: tf.TensorSpec((1,), tf.int32, name=name) for name in integers}
    specs["forced"] = tf.TensorSpec((1, steps), tf.int32, name="forced")
    specs["temperature"] = tf.TensorSpec((1,), tf.float32, name="temperature")
    specs |= {name: tf.TensorSpec((1, *spec.shape[1:]), spec.dtype, name=name) for name, spec in text.states.items()}
    return tf.function(run, autograph=False).get_concrete_function(**specs)


def vocabulary_header(symbols: Iterable[bytes], is_bytes: bool, steps: int, carried: Iterable[str]) -> str:
    """The C++ header with the symbols of ids 1, 2, ..., and with what the program has to know of the loop."""
    symbols = list(symbols)
    # Three octal digits end an escape, whatever follows.
    literals = ['"' + "".join(f"\\{byte:03o}" for byte in symbol) + '"' for symbol in symbols]
    lengths = [str(len(symbol)) for symbol in symbols]
    return f"""// Symbols of the ids 1, 2, ...; 0 is the start of a text and what is unseen.
constexpr int kNumSymbols = {len(symbols)};
constexpr const char* kSymbols[] = {{{", ".join(literals)}}};
constexpr int kLengths[] = {{{", ".join(lengths)}}};
constexpr bool kBytes = {str(is_bytes).lower()};  // a symbol is a byte, and not a character of UTF-8

constexpr int kChunk = {steps};  // tokens that a call reads or draws
#define CARRIED(X) {" ".join(f"X({name})" for name in carried)}
"""


def _compile(function: Any, prefix: Path, target: str, cpu: str) -> None:
    """Has TensorFlow's own tool compile a function, in a process of its own, which an error there would end."""
    with tempfile.TemporaryDirectory() as saved:
        module = tf.Module()
        module.function = function
        tf.saved_model.save(module, saved, signatures={"chunk": function})
        command = [sys.executable, "-m", "tensorflow.python.tools.saved_model_cli", "aot_compile_cpu"]
        options = {
            "dir": saved, "tag_set": "serve", "signature_def_key": "chunk", "output_prefix": str(prefix),
            "cpp_class": "rnnapps::Model", "target_triple": target, "target_cpu": cpu,
        }  # fmt: skip
        command += [f"--{name}={value}" for name, value in options.items()]
        done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode or not prefix.with_suffix(".o").is_file():
        said = [line for line in done.stderr.splitlines() if "rror" in line] or done.stderr.splitlines()[-1:]
        raise RunError(f"XLA does not compile the model for {target} {cpu}: {' '.join(said[-1:])}")
    prefix.with_name(prefix.name + "_makefile.inc").unlink(missing_ok=True)  # it holds where TensorFlow lies just here
