"""Exported models outside of TensorFlow: `python -m rnnapps.portable VERB`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rnnapps import cli
from rnnapps.config import known
from rnnapps.errors import RnnappsError, UsageError

PROG = "python -m rnnapps.portable"
_HELP = f"""{PROG} VERB [SAVED_MODEL] [options]

Exported models outside of TensorFlow.

  onnx      a file for ONNX Runtime for each endpoint of numbers
  litert    the same for LiteRT (TensorFlow Lite)
  aot       a text generator as a C++ program
  quantize  a SavedModel of a text model with float16 or int8 matrices
  measure   size, speed and quality of a text model in all of these
  table     what can be converted, and why the rest cannot

Examples:
  {PROG} onnx saved_models/etth1 --output portable/etth1
  {PROG} litert saved_models/shakespeare --weights int8
  {PROG} aot saved_models/shakespeare && make -C portable/shakespeare

{PROG} VERB --help lists the options of a verb."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit status, as every command of rnnapps does (see `rnnapps.cli`)."""
    return cli.guarded(_command, argv)


def _command(arguments: list[str], debug: bool) -> None:
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_HELP)
        return
    verb = arguments[0]
    if verb not in _VERBS:
        raise UsageError(f"{PROG} {verb}: wanted a verb, {known(_VERBS, verb)}")
    from rnnapps.portable import options  # tyro takes a tenth of a second

    name, run = _VERBS[verb]
    cls = getattr(options, name)
    read = cli.read(cls, arguments[1:], f"{PROG} {verb}", cls())
    if getattr(read, "saved_model", ...) is None:
        raise UsageError(f"{PROG} {verb} wants a SAVED_MODEL: a folder NAME or NAME/VERSION that export wrote")
    try:
        run(verb, read, debug)
    except RnnappsError as error:
        # The tasks' commands name a model with --model.
        raise type(error)(str(error).removeprefix("--model ")) from error


def _load(module: str, debug: bool) -> Any:
    """A module of this part, in a process that is ours."""
    runtime, found = cli.load("rnnapps.runtime", f"rnnapps.portable.{module}", debug=debug)
    runtime.configure()
    return found


def _output(options: Any) -> Path:
    """Where the files go: the folder that was asked for, or one of the model's name."""
    model = options.saved_model.resolve()
    return options.output or Path("portable", model.parent.name if model.name.isdecimal() else model.name)


def _convert(verb: str, options: Any, debug: bool) -> None:
    convert = _load("convert", debug)
    output = _output(options)
    made = convert.convert_export(options.saved_model, output, verb, options.weights, options.endpoint)
    for one in made:
        print(f"{output / one.file}  {len(one.content) / 1e6:.1f} MB, off by {one.difference:.0e}")
    print("(difference to TensorFlow on random inputs, in parts of an output's largest number)", file=sys.stderr)


def _aot(verb: str, options: Any, debug: bool) -> None:
    output = _output(options)
    aot = _load("aot", debug)
    for path in aot.write_program(options.saved_model, output, options.steps, options.target, options.cpu):
        print(path)
    print(f'make -C {output} PYTHON={sys.executable} && {output}/write "Once" 300 0.7 1', file=sys.stderr)


def _quantize(verb: str, options: Any, debug: bool) -> None:
    quantized = _load("quantized", debug)
    print(quantized.write_quantized(options.saved_model, options.output, options.name, options.weights))


def _table(verb: str, options: Any, debug: bool) -> None:
    table = _load("table", debug)
    for line in table.lines(options.saved_models):
        print(line, flush=True)


def _measure(verb: str, options: Any, debug: bool) -> None:
    for line in _load("measure", debug).lines(options):
        print(line, flush=True)


_VERBS: dict[str, tuple[str, Callable[[str, Any, bool], None]]] = {
    "onnx": ("Convert", _convert),
    "litert": ("Convert", _convert),
    "aot": ("Aot", _aot),
    "quantize": ("Quantize", _quantize),
    "measure": ("Measure", _measure),
    "table": ("Table", _table),
}

if __name__ == "__main__":
    raise SystemExit(main())
