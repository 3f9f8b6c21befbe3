"""Input from other processes: `python -m rnnapps.data_service` starts a tf.data service for `train --data-service`.

This module is the command line; `rnnapps.data.service` starts it and reads from it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

from rnnapps import cli
from rnnapps.config import check_range, check_types
from rnnapps.errors import UsageError

PROG = "python -m rnnapps.data_service"


@dataclass(frozen=True)
class Options:
    """Start a dispatcher and workers of the tf.data service, and serve until Ctrl-C."""

    port: int = 5050
    """Port of the dispatcher; 0 takes a free one. Workers take free ones."""
    workers: int = 1
    """Workers. With one, batches keep their order."""
    host: str = "localhost"
    """Name by which workers and trainings find this machine; on others than this one, they need its own."""

    all_interfaces: bool = False
    """Agree that they listen on all interfaces of the machine, without a password: TensorFlow has no option for less,
    so keep their ports behind a firewall."""

    def __post_init__(self) -> None:
        check_types(self)
        check_range(self, "port", 0, 65_535)
        check_range(self, "workers", 1, 64)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit status, as every command of rnnapps does (see `rnnapps.cli`)."""
    return cli.guarded(_command, argv)


def _command(arguments: list[str], debug: bool) -> None:
    options = cli.read(Options, arguments, PROG, Options())
    if not options.all_interfaces:
        raise UsageError(
            "--all-interfaces is missing: wanted it, since TensorFlow lets a tf.data service listen on all interfaces "
            "of the machine, and on nothing less"
        )
    (module,) = cli.load("rnnapps.data.service", debug=debug)
    service = module.Service(options.port, options.workers, options.host)
    print(service.address, flush=True)
    print(f"train with --data-service {service.address}; Ctrl-C ends the service", file=sys.stderr)
    service.wait()


if __name__ == "__main__":
    raise SystemExit(main())
