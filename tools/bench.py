"""Speed of the package beside other ways to do the same: `python tools/bench.py generate [options]`.

    generate    one text, token by token, from a text model: our compiled loop, and two loops in PyTorch

Contenders take turns within one run (A B C A B C ...), so that a change of the machine's speed meets all of them, and
medians are compared. What happens once (compiling, the first calls) is timed apart. PyTorch is in the `bench` extra.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch_text import TorchLoop, Weights, lstm_weights

from rnnapps.errors import RnnappsError, RunError, UsageError

if TYPE_CHECKING:
    from rnnapps.serving.text_model import TextModel

_AGREE = 1e-3  # logits of the same weights may differ by rounding, not by more
_CHECKED = 64  # tokens on which they are compared
_OURS = "rnnapps"


@dataclass(frozen=True)
class Contender:
    """One way to do the work.

    Attributes:
        name: For the table.
        setup: Called once, before all rounds: compiles and warms up.
        run: Does the work once.
        work: How much work a run does, in the unit of the table's rate.
    """

    name: str
    setup: Callable[[], object]
    run: Callable[[], object]
    work: float = 1.0


@dataclass(frozen=True)
class Result:
    """What was measured of a contender, in seconds; `rate` is work per second at the median."""

    name: str
    setup_seconds: float
    seconds: tuple[float, ...]
    median_seconds: float
    rate: float


def interleave(
    contenders: Sequence[Contender], rounds: int, clock: Callable[[], float] = time.perf_counter
) -> list[Result]:
    """Sets all contenders up, then lets each run once a round, in their order.

    Args:
        contenders: At least one, with different names.
        rounds: Runs of each.
        clock: Seconds since some moment.

    Raises:
        ValueError: `rounds` is below 1, or a name is there twice.
    """
    names = [contender.name for contender in contenders]
    if rounds < 1 or not names or len(set(names)) < len(names):
        raise ValueError(f"got {rounds} rounds of {names}: wanted at least one round, and different names")

    def timed(action: Callable[[], object]) -> float:
        start = clock()
        action()
        return clock() - start

    setups = [timed(contender.setup) for contender in contenders]
    turns = [[timed(contender.run) for contender in contenders] for _ in range(rounds)]
    results = []
    for contender, setup, seconds in zip(contenders, setups, zip(*turns, strict=True), strict=True):
        median = statistics.median(seconds)
        results.append(Result(contender.name, setup, seconds, median, contender.work / median))
    return results


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
    from rnnapps.serving.text_model import TextModel, version_folder

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


def _above_zero(text: str) -> float:
    if not 0 < (number := float(text)) < float("inf"):
        raise argparse.ArgumentTypeError(f"wanted a number above 0, not {number}")
    return number


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--rounds", type=_whole, default=7, help="turns of each contender (default %(default)s)")
    shared.add_argument(
        "--threads", type=_whole, default=2, help="threads of all; PyTorch is also tried on 1 (default 2)"
    )
    shared.add_argument("--json", type=Path, metavar="FILE", help="where to write the figures")
    text = commands.add_parser("generate", parents=[shared], help="tokens per second of one text as it is written")
    which = text.add_mutually_exclusive_group()
    which.add_argument("--model", type=Path, help="exported SavedModel (default: the shipped one)")
    which.add_argument("--units", type=_whole, help="random weights of this size, instead of a model")
    text.add_argument("--layers", type=_whole, default=2, help="with --units (default %(default)s)")
    text.add_argument("--vocabulary", type=_whole, default=66, help="with --units (default %(default)s)")
    text.add_argument("--tokens", type=_whole, default=512, help="length of the text (default %(default)s)")
    text.add_argument("--temperature", type=_above_zero, default=0.8, help="(default %(default)s)")
    text.set_defaults(function=generate)
    return parser


def _machine() -> dict[str, Any]:
    packages = ("tensorflow", "keras", "torch", "numpy")
    versions = {name: getattr(sys.modules[name], "__version__", None) for name in packages if name in sys.modules}
    return {"cpus": os.cpu_count(), "platform": platform.platform(), "python": platform.python_version(), **versions}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; returns the exit status."""
    options = _parser().parse_args(arguments)
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
