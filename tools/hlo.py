"""What XLA makes of each task's training step, and of what writes: `python tools/hlo.py [TASK ...] [--dump DIR]`.

Prints a table with the number of fusions, loops, products and foreign calls of each program, as a device of this
machine would run it: a GPU where TensorFlow sees one, else the processor. `--dump` writes the programs as text. The
networks are those of a preset, with random weights and with sizes of what they read that are written below.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

TASKS = ("text_generation", "forecasting", "translation", "captioning")
_VOCABULARY, _LENGTH, _PLACES, _CHANNELS = 64, 16, 16, 64
_SAME = ("cell", "units", "layers", "embedding", "dropout", "tied", "seed")
_WRITER = (*_SAME, "input_feeding", "locked", "recurrent_dropout")
Program = tuple[Callable[..., Any], tuple[Any, ...]]


def text_generation(config: Any) -> dict[str, Program]:
    """A window of text, and the loop that writes."""
    import tensorflow as tf

    from rnnapps import decoding
    from rnnapps.models.text_generator import text_generator
    from rnnapps.training.trainer import CarriedStateTrainer

    network = text_generator(_VOCABULARY, **{name: getattr(config, name) for name in _SAME})
    trainer = _compiled(CarriedStateTrainer(network, config.batch_size, config.clip, config.clip_at), config)
    tokens = tf.ones((config.batch_size, config.steps), tf.int32)
    data = {"tokens": tokens, "reset": tf.zeros(len(tokens), tf.bool)}, tokens, tf.ones(tokens.shape)

    def write(forced: tf.Tensor, steps: tf.Tensor) -> tf.Tensor:
        carry = decoding.start(decoding.zero_states(network, 1), tf.zeros(1, tf.int32))
        lengths, settings = tf.zeros(1, tf.int32), decoding.Settings(tf.ones(1))
        return decoding.generate(decoding.model_step(network), carry, settings, forced, lengths, steps)[0]

    return {"step": (trainer.train_step, (data,)), "sampler": (write, (tf.zeros((1, 64), tf.int32), tf.constant(64)))}


def forecasting(config: Any) -> dict[str, Program]:
    """Windows of one target; and the forecast of one."""
    import tensorflow as tf

    from rnnapps import forecasts
    from rnnapps.forecasting.sizes import sizes_of
    from rnnapps.models.forecaster import forecaster
    from rnnapps.models.series_parts import Shape
    from rnnapps.ops.heads import head
    from rnnapps.training.window_trainer import WindowTrainer

    history, horizon = sizes_of(config)
    one, shape = head(config.head), Shape(history, horizon, targets=1)
    same = ("cell", "units", "layers", "segment", "dropout", "normalize", "seed")
    kind = config.kind if config.kind != "auto" else "segment"
    network = forecaster(kind, shape, one.parameters, **{name: getattr(config, name) for name in same})

    def loss(network: Any, inputs: Any, targets: tf.Tensor, training: bool) -> tf.Tensor:
        return forecasts.loss(network, one, inputs, targets, training)

    def window(rows: int) -> dict[str, tf.Tensor]:
        return {"history": tf.ones((rows, history, 1)), "series": tf.zeros(rows, tf.int32)}

    trainer = _compiled(WindowTrainer(network, loss, config.clip, config.clip_at), config)
    data = window(config.batch_size), tf.ones((config.batch_size, horizon, 1))
    return {
        "step": (trainer.train_step, (data,)),
        "forecast": (lambda inputs: forecasts.answers(network, one, inputs), (window(1),)),
    }


def translation(config: Any) -> dict[str, Program]:
    """Pairs of 16 tokens, and beam search of one sentence."""
    import tensorflow as tf

    from rnnapps.models.translator import translator

    names = (*_WRITER, "score", "coverage", "bridge")
    network = translator(_VOCABULARY, None, **{name: getattr(config, name) for name in names})
    return _sentences(network, config, lambda rows: tf.ones((rows, _LENGTH), tf.int32))


def captioning(config: Any) -> dict[str, Program]:
    """Captions of 16 tokens of features of 16 places, and beam search of one."""
    import tensorflow as tf

    from rnnapps.models.captioner import captioner

    options = {name: getattr(config, name) for name in (*_WRITER, "attention_units")}
    network = captioner(_PLACES, _CHANNELS, _VOCABULARY, config.attention, **options)
    return _sentences(network, config, lambda rows: tf.ones((rows, _PLACES, _CHANNELS)))


def _sentences(network: Any, config: Any, source: Callable[[int], Any]) -> dict[str, Program]:
    import tensorflow as tf

    from rnnapps import decoding
    from rnnapps.serving.decoder_parts import NetworkParts
    from rnnapps.training.sentence_loss import training_loss
    from rnnapps.training.window_trainer import WindowTrainer

    rows, search = config.batch_size or 16, decoding.Search(beam=4, max_length=_LENGTH)
    loss = training_loss(config.label_smoothing, 0.0, lambda: 0, config.seed)
    trainer = _compiled(WindowTrainer(network, loss, config.clip, config.clip_at), config)
    target = tf.ones((rows, _LENGTH), tf.int32)
    data = {"source": source(rows), "target": target}, target, tf.ones((rows, _LENGTH))
    parts = NetworkParts(network)

    def write(some: tf.Tensor) -> tf.Tensor:
        read = parts.encode(some)
        return decoding.beam_search(parts.step(read.memory, search.beam), read.states, search).tokens

    return {"step": (trainer.train_step, (data,)), "beam search": (write, (source(1),))}


def _compiled(trainer: Any, config: Any) -> Any:
    from rnnapps.training.optimizers import optimizer

    trainer.compile(optimizer(config.optimizer, config.learning_rate), jit_compile=True)
    trainer.optimizer.build(trainer.network.trainable_variables)
    return trainer


def measured(tasks: Sequence[str], preset: str, folder: Path | None) -> dict[str, dict[str, int]]:
    """The counts of each program, by task and name; the programs are written to the folder."""
    from rnnapps.inspect import counts, hlo

    found = {}
    for task in tasks:
        config = importlib.import_module(f"rnnapps.{task}.config").PRESETS[preset]
        for name, (function, arguments) in globals()[task](config).items():
            program = hlo(function, *arguments, optimized=True)
            found[f"{task}, {name}"] = counts(program)
            if folder is not None:
                folder.mkdir(parents=True, exist_ok=True)
                (folder / f"{task}_{name.replace(' ', '_')}.hlo").write_text(program, encoding="utf-8")
    return found


def table(found: dict[str, dict[str, int]]) -> str:
    """The counts as a table of Markdown, without the columns that are 0 everywhere."""
    kinds = [kind for kind in next(iter(found.values())) if any(row[kind] for row in found.values())]
    lines = ["| program | " + " | ".join(kinds) + " |", "|---" * (len(kinds) + 1) + "|"]
    lines += [f"| {name} | " + " | ".join(str(row[kind]) for kind in kinds) + " |" for name, row in found.items()]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="*", metavar="TASK", help=f"of {', '.join(TASKS)}; all, if none is given")
    parser.add_argument("--preset", choices=("tiny", "quick", "base"), default="tiny", help="sizes (tiny)")
    parser.add_argument("--dump", type=Path, metavar="DIR", help="folder to write the programs to")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args(arguments)
    for task in options.tasks:
        if task not in TASKS:
            parser.error(f"{task}: wanted {', '.join(TASKS)}")
    os.environ["KERAS_BACKEND"] = "tensorflow"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    found = measured(options.tasks or TASKS, options.preset, options.dump)
    print(json.dumps(found, indent=2) if options.json else table(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
