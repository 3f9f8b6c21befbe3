"""Speed of the package beside other ways to do the same: `python tools/bench.py COMMAND [options]`.

    generate    one text, token by token, from a text model: our compiled loop, and two loops in PyTorch
    train       a training step of recurrent layers: ours, Keras' and PyTorch's, and the bare matrix products
    infer       a forward pass of the same
    memory      MiB that a long sequence takes, forward and backward, in processes of their own: ours and Keras'
    fit         `model.fit` with our layers and with Keras'
    translation a training step of a translator: ours and Keras'; a beam search in one function, and driven from Python
    linear      a training step of a cell without a loop over time, beside the LSTM, on long sequences

Contenders take turns within one run (A B C A B C ...), so that a change of the machine's speed meets all of them, and
medians are compared. What happens once (compiling, the first calls) is timed apart. PyTorch is in the `bench` extra.
`compare_bench.py` holds two files of figures against each other.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import logging
import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bench_fit
import bench_layers
import bench_memory
import bench_translation
import numpy as np
from contenders import Contender, Result, interleave
from torch_text import TorchLoop, Weights, lstm_weights

from rnnapps.errors import RnnappsError, RunError, UsageError

if TYPE_CHECKING:
    from rnnapps.serving.text_model import TextModel

_AGREE = 1e-3  # logits of the same weights may differ by rounding, not by more
_CHECKED = 64  # tokens on which they are compared
_OURS = "rnnapps"


def table(results: Sequence[Result], unit: str, ours: str) -> tuple[str, float | None]:
    """A table to read, and how many times as fast `ours` is as the fastest of the others (None if it is alone)."""
    others = [result for result in results if result.name != ours]
    best = max(others, key=lambda result: result.rate, default=None)
    width = max(len(result.name) for result in results)
    lines = [f"{'':{width}}  {unit:>12}  median s  fastest s  slowest s  setup s"]
    for r in results:
        lines.append(
            f"{r.name:{width}}  {r.rate:12,.1f}  {r.median_seconds:8.3f}  {min(r.seconds):9.3f}  "
            f"{max(r.seconds):9.3f}  {r.setup_seconds:7.2f}"
        )
    if best is None:
        return "\n".join(lines), None
    ratio = next(result.rate for result in results if result.name == ours) / best.rate
    lines.append(f"{ours} is {ratio:.2f} times as fast as {best.name}, by medians of {len(best.seconds)} rounds")
    return "\n".join(lines), ratio


# === generate ===


def generate(options: argparse.Namespace) -> dict[str, Any]:
    """Compares loops that write one text; prints the table and returns what was measured."""
    from rnnapps import runtime

    runtime.configure(options.threads)
    model, weights, described = _random_model(options) if options.units else _saved_model(options.model)
    contenders, difference = [_our_loop(model, options)], None
    if importlib.util.find_spec("torch") is None:
        print("PyTorch is not installed, so only rnnapps is timed: pip install -e '.[bench]'", file=sys.stderr)
    else:
        loops = {"nn.LSTM": TorchLoop(weights, cells=False), "nn.LSTMCell": TorchLoop(weights, cells=True)}
        difference = max(_difference(model, loop) for loop in loops.values())
        print(f"logits of the same weights differ by {difference:.1e} at most, on {_CHECKED} tokens")
        if not difference <= _AGREE:
            raise RunError(f"logits of the same weights differ by {difference:.1e}: wanted {_AGREE} at most")
        for threads in sorted({1, options.threads}):
            contenders += [_torch_loop(name, loop, threads, model, options) for name, loop in loops.items()]
    results = interleave(contenders, options.rounds)
    printed, ratio = table(results, "tokens/s", _OURS)
    print(f"{described}; {options.tokens} tokens a run, batch 1, --threads {options.threads}\n{printed}")
    return {
        "model": described, "tokens": options.tokens, "temperature": options.temperature, "threads": options.threads,
        "logits_difference": difference, "ratio": ratio, "results": [asdict(result) for result in results],
    }  # fmt: skip


def _random_model(options: argparse.Namespace) -> tuple[TextModel, Weights, str]:
    from rnnapps.data.vocabulary import Vocabulary
    from rnnapps.models.text_generator import text_generator
    from rnnapps.serving.text_model import TextModel

    network = text_generator(options.vocabulary, "lstm", options.units, options.layers, seed=1)
    symbols = [chr(0x4E00 + i) for i in range(options.vocabulary - 1)]
    model = TextModel.from_keras(network, Vocabulary("char", symbols))
    described = f"random weights, {options.layers} x {options.units}, vocabulary of {options.vocabulary}"
    return model, lstm_weights(network.variables), described


def _saved_model(path: Path | None) -> tuple[TextModel, Weights, str]:
    import tensorflow as tf

    from rnnapps.config import shipped_model
    from rnnapps.serving.saved_model import version_folder
    from rnnapps.serving.text_model import TextModel

    path = version_folder(path or shipped_model("shakespeare"))
    model = TextModel.from_saved_model(path)  # refuses what is no export
    weights = lstm_weights(tf.saved_model.load(os.fspath(path)).model_variables)
    units, vocabulary = weights.kernel.shape
    return model, weights, f"{path}, {len(weights.layers)} x {units}, vocabulary of {vocabulary}"


def _our_loop(model: TextModel, options: argparse.Namespace) -> Contender:
    from rnnapps.sampler import Sampler, Sampling

    sampler = Sampler(model.step, model.initial_states, model.vocabulary)  # what `predict` does
    sampling = Sampling(temperature=options.temperature, seed=1)

    def run() -> None:
        sampler.generate("", options.tokens, sampling)

    return Contender(_OURS, run, run, options.tokens)


def _torch_loop(name: str, loop: TorchLoop, threads: int, model: TextModel, options: argparse.Namespace) -> Contender:
    import torch

    def run() -> None:
        torch.set_num_threads(threads)
        model.vocabulary.decode(loop.generate(options.tokens, options.temperature))

    return Contender(f"PyTorch {name}, {threads} thread{'s' * (threads > 1)}", run, run, options.tokens)


def _difference(model: TextModel, loop: TorchLoop) -> float:
    import tensorflow as tf

    tokens = np.random.default_rng(0).integers(0, model.vocabulary.size, _CHECKED)
    states, rows = model.initial_states(1), []
    for token in tokens:
        logits, states = model.step(tf.constant([token], tf.int32), states)
        rows.append(logits[0])
    return float(np.abs(np.array(rows) - loop.logits(tokens)).max())


# === Command line ===


def _whole(text: str) -> int:
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"wanted 1 or more, not {number}")
    return number


def _not_negative(text: str) -> int:
    if (number := int(text)) < 0:
        raise argparse.ArgumentTypeError(f"wanted 0 or more, not {number}")
    return number


def _above_zero(text: str) -> float:
    if not 0 < (number := float(text)) < float("inf"):
        raise argparse.ArgumentTypeError(f"wanted a number above 0, not {number}")
    return number


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--rounds", type=_whole, default=7, help="turns of each contender (default %(default)s)")
    shared.add_argument("--json", type=Path, metavar="FILE", help="where to write the figures")
    text = commands.add_parser("generate", parents=[shared], help="tokens per second of one text as it is written")
    text.add_argument("--threads", type=_whole, default=2, help="of all; PyTorch is also tried on 1 (default 2)")
    which = text.add_mutually_exclusive_group()
    which.add_argument("--model", type=Path, help="exported SavedModel (default: the shipped one)")
    which.add_argument("--units", type=_whole, help="random weights of this size, instead of a model")
    text.add_argument("--layers", type=_whole, default=2, help="with --units (default %(default)s)")
    text.add_argument("--vocabulary", type=_whole, default=66, help="with --units (default %(default)s)")
    text.add_argument("--tokens", type=_whole, default=512, help="length of the text (default %(default)s)")
    text.add_argument("--temperature", type=_above_zero, default=0.8, help="(default %(default)s)")
    text.set_defaults(function=generate)
    _add_layers(commands, shared)
    _add_translation(commands, shared)
    return parser


def _add_translation(commands: Any, shared: argparse.ArgumentParser) -> None:
    pairs = commands.add_parser("translation", parents=[shared], help="tokens and sentences per second of a translator")
    sizes = {"vocabulary": 8000, "units": 256, "batch": 80, "steps": 16, "beam": 5, "sentences": 64}
    for name, size in sizes.items():
        pairs.add_argument(f"--{name}", type=_whole, default=size, help="(default %(default)s)")
    pairs.add_argument("--threads", type=_whole, help="of all (default: all cores)")
    pairs.set_defaults(function=lambda options: bench_translation.translation(options, table))


def _add_layers(commands: Any, shared: argparse.ArgumentParser) -> None:
    sizes = argparse.ArgumentParser(add_help=False)
    sizes.add_argument(
        "--rows", type=bench_layers.Row.parse, action="append", metavar="B,T,I,U,L",
        help="batch, steps, input, units, layers; may be repeated",
    )  # fmt: skip
    sizes.add_argument("--threads", type=_whole, help="of all (default: what TensorFlow and PyTorch take)")
    sizes.add_argument(
        "--precision", choices=list(bench_layers.AGREE), default="float32",
        help="of rnnapps; the others stay in float32 (default %(default)s)",
    )  # fmt: skip
    sizes.add_argument(
        "--warm", type=_not_negative, default=0, metavar="N", help="runs that are not measured before each that is"
    )
    train = commands.add_parser("train", parents=[shared, sizes], help="milliseconds of a training step of layers")
    infer = commands.add_parser("infer", parents=[shared, sizes], help="milliseconds of a forward pass of layers")
    fit = commands.add_parser("fit", parents=[shared, sizes], help="milliseconds of `fit` of a model of layers")
    memory = commands.add_parser("memory", parents=[shared, sizes], help="MiB of a layer on a long sequence")
    linear = commands.add_parser("linear", parents=[shared, sizes], help="the same of MinGRU beside the LSTM")
    for command in (train, infer, fit, memory):
        command.add_argument("--cell", choices=list(bench_layers.GATES), default="lstm", help="(default %(default)s)")
    train.set_defaults(function=partial(bench_layers.layers, train=True))
    infer.set_defaults(function=partial(bench_layers.layers, train=False))
    fit.set_defaults(function=bench_fit.fit)
    memory.set_defaults(function=bench_memory.memory)
    linear.set_defaults(function=bench_layers.linear)


def _machine() -> dict[str, Any]:
    packages = ("tensorflow", "keras", "torch", "numpy")
    versions = {name: getattr(sys.modules[name], "__version__", None) for name in packages if name in sys.modules}
    computer = {"cpus": os.cpu_count(), "processor": _processor(), "platform": platform.platform()}
    return {**computer, "python": platform.python_version(), **versions}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # not Linux
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; returns the exit status."""
    options = _parser().parse_args(arguments)
    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # each way is traced, as it should be
    if options.json is not None:
        options.json.parent.mkdir(parents=True, exist_ok=True)
    try:
        figures = {"benchmark": options.command, "rounds": options.rounds, **options.function(options)}
    except RnnappsError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    if options.json is not None:
        draft = options.json.with_name(f".{options.json.name}.{os.getpid()}")
        draft.write_text(json.dumps({**figures, "machine": _machine()}, indent=2) + "\n", encoding="utf-8")
        os.replace(draft, options.json)
    return 0


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")  # a comparison of processors
    sys.exit(main())
