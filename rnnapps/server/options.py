"""Options of `serve`. Nothing heavy is imported here: `--help` of every task reads this."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from rnnapps.config import check_above, check_range, check_types, shipped_model
from rnnapps.errors import UsageError

NOTICE = "a development stand-in for TensorFlow Serving, not TensorFlow Serving"


@dataclass(frozen=True)
class ServerOptions:
    """What every `serve` takes."""

    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 lets every machine of the network ask, without a password."""
    rest_port: int = 8501
    """Port of the REST API; 0 takes any free one."""
    grpc_port: int = 8500
    """Port of the gRPC API; 0 takes any free one, -1 leaves gRPC off."""

    batching: bool = False
    """Run requests that wait for the same endpoint together."""
    max_batch_size: int = 32
    """Rows that are run together at most."""
    batch_timeout: float = 2.0
    """Milliseconds that a request waits for others, while another runs; one that is alone never waits."""
    max_queue: int = 1000
    """Requests that may wait; one more is refused: 503, UNAVAILABLE."""
    workers: int = 0
    """Requests, or batches of them, that run at the same time; 0 is one for each core. A model of which none runs
    waits for no other."""
    threads: int = 0
    """TensorFlow's threads, for each model; 0 takes all cores."""
    xla: bool = False
    """Let XLA compile what a model marks for it, as --xla_cpu_compilation_enabled of TensorFlow Serving does."""

    max_request_bytes: int = 16 * 2**20
    """Size of the largest request: one that is larger is refused, 413."""
    request_timeout: float = 30.0
    """Seconds that a client has to send a request, or to take a piece of an answer: 408."""
    run_timeout: float = 30.0
    """Seconds that a request may wait and run: 504, as with --rest_api_timeout_in_ms of TensorFlow Serving."""
    cors: bool = False
    """Let pages of any origin ask from a browser, as --rest_api_enable_cors_support of TensorFlow Serving does."""
    poll_interval: float = 1.0
    """Seconds between looks for new versions of the models."""

    def __post_init__(self) -> None:
        check_types(self)
        check_range(self, "rest_port", 0, 65535)
        check_range(self, "grpc_port", -1, 65535)
        for name in ("max_batch_size", "max_queue", "max_request_bytes"):
            check_range(self, name, 1, 2**31 - 1)
        for name in ("workers", "threads"):
            check_range(self, name, 0, 1024)
        check_range(self, "batch_timeout", 0)
        check_above(self, "request_timeout", 0)
        check_above(self, "run_timeout", 0)
        check_above(self, "poll_interval", 0)
        if not self.host:
            raise UsageError("--host '': wanted an address, such as 127.0.0.1")

    def path(self) -> Path:
        """The folder of models, of one model, or of one version that is served."""
        raise NotImplementedError


@dataclass(frozen=True)
class Serve(ServerOptions):
    """Answer for all models of a folder on TensorFlow Serving's REST and gRPC API.

    This is a development stand-in for TensorFlow Serving, not TensorFlow Serving.
    """

    models: Path = Path("saved_models")
    """Folder of exported models, NAME/VERSION in it; a models.config there is read as TensorFlow Serving reads it."""

    def path(self) -> Path:
        if not self.models.is_dir():
            raise UsageError(
                f"--models {self.models} is no folder: wanted one that holds NAME/VERSION, as export writes"
            )
        return self.models


@dataclass(frozen=True)
class ServeModel(ServerOptions):
    """Answer for one model on TensorFlow Serving's REST and gRPC API.

    This is a development stand-in for TensorFlow Serving, not TensorFlow Serving.
    """

    SHIPPED: ClassVar[str] = ""

    model: Path | None = None
    """Exported SavedModel to serve: NAME, whose new versions are taken as they appear, or NAME/VERSION. Default: the
    shipped model."""

    def path(self) -> Path:
        path = shipped_model(self.SHIPPED).parent if self.model is None else self.model
        if not path.is_dir():
            raise UsageError(f"--model {path} is no folder: wanted NAME or NAME/VERSION that export wrote")
        return path
