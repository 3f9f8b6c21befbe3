"""The programs that XLA compiles of a model, as text."""

import re
from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf


def hlo(
    function: Callable,
    *args: Any,
    variables: Sequence[keras.Variable] = (),
    platform: str | None = None,
    optimized: bool = False,
) -> str:
    """The program of a function of tensors, as HLO text, before the optimisations of a device or after them.

    Nothing runs. A program for "GPU" can be written where there is none, if it is not `optimized`.

    Args:
        function: Of `args`; what it calls must have static shapes once it has those of `args`.
        args: Tensors, or structures of them.
        variables: The Keras variables that it reads. They become arguments of the program, which leaves out what the
            function assigns to them. Default: they stay variables, which wants the device.
        platform: "CPU" or "GPU". Default: where TensorFlow would run it.
        optimized: Whether the program is what the device runs: operations fused, and cut for its cores.

    Raises:
        ValueError: XLA cannot compile it, or it reads a variable that is not among `variables` for a device that is not
            there.
    """

    def run(values: list[tf.Tensor], *args: Any) -> Any:
        if not values:  # a scope would keep the function from assigning
            return function(*args)
        with keras.StatelessScope(state_mapping=list(zip(variables, values, strict=True))):
            return function(*args)

    values = [tf.convert_to_tensor(variable) for variable in variables]
    traced = tf.function(run, jit_compile=True, autograph=False)
    return traced.experimental_get_compiler_ir(values, *args)(
        stage="optimized_hlo" if optimized else "hlo", platform_name=platform
    )


def gradient_hlo(model: keras.Model, x: Any, y: Any, platform: str | None = None) -> str:
    """The program of the loss of a model (`model.compile`) and of its gradients, as `hlo` gives it, for any platform.

    That is a training step without the update of the weights, which Keras' optimisers do in place. With the update, on
    a device that is there: `hlo(model.train_step, (x, y))`.

    Args:
        model: Built and compiled.
        x: A batch of inputs.
        y: Its targets.
        platform: As in `hlo`.

    Returns:
        A program that returns the loss, the gradient of each trainable variable, and each other variable as it is after
        the step.
    """

    def step(trainable: list, others: list, x: Any, y: Any) -> tuple:
        with tf.GradientTape() as tape:
            tape.watch(trainable)
            found, others = model.stateless_call(trainable, others, x, training=True)
            loss = model.compute_loss(x, y, found)
        return loss, tape.gradient(loss, trainable), others

    state = (model.trainable_variables, model.non_trainable_variables)
    return hlo(step, *([tf.convert_to_tensor(v) for v in part] for part in state), x, y, platform=platform)


def custom_calls(program: str) -> list[str]:
    """What an HLO text calls outside the program, such as a kernel of cuDNN, which only some devices have."""
    return sorted(set(re.findall(r'custom_call_target="([^"]*)"', program)))


_KINDS = ("fusion", "while", "dot", "convolution", "custom-call", "all-reduce")
_OPERATION = re.compile(r" = (?:\(.*?\)|\S+) ([a-z][\w-]*)\(")  # after its name and its shape, or shapes


def counts(program: str) -> dict[str, int]:
    """How many operations of a kind an HLO text holds: fusions, loops, products, calls of what is not XLA's.

    A dot that is inside of a fusion counts as one, too; `instructions` are all operations that are not parameters,
    constants or the building of tuples.
    """
    found = [match[1] for line in program.splitlines() if (match := _OPERATION.search(line))]
    plumbing = ("parameter", "constant", "tuple", "get-tuple-element", "bitcast")
    return {
        **{kind: found.count(kind) for kind in _KINDS},
        "instructions": sum(kind not in plumbing for kind in found),
    }
