"""What an endpoint takes and gives, and whether a request fits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rnnapps.server.status import invalid
from rnnapps.serving.c_session import STRING, TYPES, numpy_type

PREDICT = "tensorflow/serving/predict"


@dataclass(frozen=True)
class Spec:
    """A tensor of an endpoint.

    Attributes:
        dtype: TensorFlow's number of the type (types.proto).
        shape: Sizes, None for any; or None for any number of any sizes.
    """

    dtype: int
    shape: tuple[int | None, ...] | None

    @property
    def has_rows(self) -> bool:
        """Whether the first axis has one row per request, any number of them."""
        return bool(self.shape) and self.shape is not None and self.shape[0] is None


@dataclass(frozen=True)
class Signature:
    """An endpoint.

    Attributes:
        name: As asked for.
        inputs: Name to tensor.
        outputs: Name to tensor.
        defaults: `TensorProto` by name of the inputs that gRPC may leave out.
    """

    name: str
    inputs: Mapping[str, Spec]
    outputs: Mapping[str, Spec]
    defaults: Mapping[str, Any]

    @property
    def batchable(self) -> bool:
        """Whether requests may be joined along the first axis, and the answer cut again."""
        return all(spec.has_rows for spec in (*self.inputs.values(), *self.outputs.values()))

    def check(self, inputs: Mapping[str, np.ndarray]) -> None:
        """Raises ServingError unless the model can take the inputs: names, types, shapes, as many rows in each."""
        check_names(self, inputs)
        for name, array in inputs.items():
            spec = self.inputs[name]
            wanted = type_name(spec.dtype)
            if (array.dtype == object) != (spec.dtype == STRING) or (spec.dtype != STRING and array.dtype != wanted):
                got = "string" if array.dtype == object else array.dtype.name
                raise invalid(f"Input {name} of {self.name} has the type {got}: wanted {wanted}")
            if not _fits(array.shape, spec.shape):
                sizes = ", ".join("?" if size is None else str(size) for size in spec.shape or ())
                raise invalid(f"Input {name} of {self.name} has the shape {list(array.shape)}: wanted [{sizes}]")
        rows = {name: len(array) for name, array in inputs.items()} if self.batchable else {}
        if len(set(rows.values())) > 1:
            counts = ", ".join(f"{name} {count}" for name, count in sorted(rows.items()))
            raise invalid(f"Inputs of {self.name} must have as many rows as each other (their first size): {counts}")

    def wanted_outputs(self, names: Sequence[str]) -> tuple[str, ...] | None:
        """The outputs of a gRPC request's filter; None for all of them.

        Raises:
            ServingError: One is not there, or is named twice.
        """
        for name in names:
            if name not in self.outputs:
                known = ",".join(sorted(self.outputs))
                raise invalid(
                    f"output tensor alias not found in signature: {name} Outputs expected to be in {{{known}}}."
                )
        if len(set(names)) < len(names):
            raise invalid("duplicate output tensor alias in the output filter")
        return tuple(names) or None


def type_name(dtype: int) -> str:
    """Name of a type, such as "float32"."""
    return "string" if dtype == STRING else numpy_type(TYPES[dtype]).name if dtype in TYPES else f"number {dtype}"


def check_names(signature: Signature, names: Iterable[str]) -> None:
    """Raises ServingError unless the inputs are those of the signature."""
    sent, wanted = set(names), set(signature.inputs)
    if sent != wanted:
        raise invalid(
            f"input size does not match signature: {len(sent)}!={len(wanted)} "
            f"len({{{','.join(sorted(sent))}}}) != len({{{','.join(sorted(wanted))}}}). "
            f"Sent extra: {{{','.join(sorted(sent - wanted))}}}. "
            f"Missing but required: {{{','.join(sorted(wanted - sent))}}}."
        )


def signatures(definitions: Mapping[str, Any]) -> dict[str, Signature]:
    """Endpoints by name, from a graph's `SignatureDef` messages; those that only initialise the model are left out."""
    return {
        name: Signature(name, _specs(one.inputs), _specs(one.outputs), dict(one.defaults))
        for name, one in definitions.items()
        if one.method_name == PREDICT and one.inputs and one.outputs
    }


def _specs(infos: Mapping[str, Any]) -> dict[str, Spec]:
    def shape(proto: Any) -> tuple[int | None, ...] | None:
        return None if proto.unknown_rank else tuple(None if dim.size < 0 else dim.size for dim in proto.dim)

    return {name: Spec(info.dtype, shape(info.tensor_shape)) for name, info in infos.items()}


def _fits(shape: tuple[int, ...], wanted: tuple[int | None, ...] | None) -> bool:
    if wanted is None:
        return True
    return len(shape) == len(wanted) and all(w in (None, s) for s, w in zip(shape, wanted, strict=True))
