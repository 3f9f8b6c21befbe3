"""The errors that `rnnapps` raises for its users: each message is one sentence."""

from __future__ import annotations

import os


class RnnappsError(Exception):
    """Base of every error that is meant for the user, not for the programmer.

    The message is one sentence that names the thing, the value got and the value wanted. The command line prints it
    after `error: ` and leaves with `exit_status`.
    """

    exit_status: int = 1


class UsageError(RnnappsError):
    """A bad option or a bad input: nothing was started. Exit status 2."""

    exit_status = 2


class RunError(RnnappsError):
    """A run that started and could not go on. Exit status 1."""

    exit_status = 1


def refuse_legacy_keras() -> None:
    """Raises UsageError when the environment asks TensorFlow for Keras 2, whose layers do not mix with these."""
    if os.environ.get("TF_USE_LEGACY_KERAS", "").lower() in ("1", "true"):
        raise UsageError("TF_USE_LEGACY_KERAS=1 asks for Keras 2: rnnapps works with Keras 3, so unset it")
