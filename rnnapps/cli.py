"""The command line of every task, `python -m rnnapps.<task> <verb> [options]`, and that of `python -m rnnapps` itself.

Options are the fields of the verb's dataclass in `rnnapps/<task>/config.py`; `tyro` reads them. Nothing here imports
TensorFlow until a verb runs, so that `--help` answers at once.

Exit status: 0 when all went well, 1 for a run that failed, 2 for bad usage, 130 after Ctrl-C, 141 when the reader of
standard output went away. An error is one sentence on standard error; `--debug` adds the traceback.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import importlib
import inspect
import io
import os
import re
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import rnnapps
from rnnapps import config as configs
from rnnapps.errors import RnnappsError, UsageError, refuse_legacy_keras
from rnnapps.task import SHARED_VERBS, VERBS

# Commands of `python -m rnnapps` itself: where the class of their options is, and the modules that are imported for
# them; the last has a function `run` that takes the options.
COMMANDS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "serve": ("rnnapps.server.options", "Serve", SHARED_VERBS["serve"][1]),
    "verify": ("rnnapps.serving.options", "Verify", ("rnnapps.serving.verification",)),
}
INTERRUPTED = 130
BROKEN_PIPE = 141


def main(package: str, argv: Sequence[str] | None = None) -> int:
    """Runs one command of a task.

    Args:
        package: the task's package, such as "rnnapps.text_generation".
        argv: the arguments, from the verb on. Default: those of the process.

    Returns:
        The exit status.
    """
    return guarded(lambda arguments, debug: _command(package, arguments, debug), argv)


def overview(argv: Sequence[str] | None = None) -> int:
    """`python -m rnnapps`: lists the tasks and the shipped models, or runs a command. Returns the exit status."""
    return guarded(_top, argv)


def guarded(command: Callable[[list[str], bool], None], argv: Sequence[str] | None = None) -> int:
    """Runs `command(arguments, debug)`, and turns what it raises into one sentence and an exit status.

    Args:
        command: gets the arguments without `--debug`, and whether that was among them.
        argv: the arguments. Default: those of the process.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    return _guard(lambda: command(arguments, debug), debug)


def tasks() -> list[str]:
    """The names of the task packages: the folders of the package that hold a `config.py`."""
    return sorted(path.parent.name for path in Path(rnnapps.__file__).parent.glob("*/config.py"))


def parse(module: Any, verb: str, arguments: Sequence[str], prog: str) -> Any:
    """Makes the options of `verb` from the command line; prints help and raises SystemExit for `--help`.

    Args:
        module: the task's config module.
        verb: "train", "tune", "evaluate", "predict", "export" or "serve".
        arguments: what follows the verb.
        prog: the command as the user types it, for the help.

    Raises:
        UsageError: an option is not known, or its value is not accepted.
    """
    cls = getattr(module, _options_class(verb))
    trains = verb in ("train", "tune")
    return read(cls, arguments, prog, _train_default(module, cls, arguments) if trains else cls())


def read(cls: type, arguments: Sequence[str], prog: str, default: Any) -> Any:
    """Makes an options dataclass from the command line; prints help and raises SystemExit for `--help`.

    Args:
        cls: the dataclass; its docstring and those of its fields are the help.
        arguments: as given.
        prog: the command as the user types it, for the help.
        default: an instance with the values of what is not given.

    Raises:
        UsageError: an option is not known, or its value is not accepted.
    """
    import tyro  # A tenth of a second that the overview and the task's own help do not need.

    description = (
        f"{inspect.cleandoc(cls.__doc__ or '')}\n\n--debug, with any command, shows the traceback of an error."
    )
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            return tyro.cli(cls, prog=prog, description=description, args=arguments, default=default)
    except SystemExit as leaving:
        if leaving.code in (None, 0):
            raise
    raise UsageError(_diagnosis(cls, arguments, complaint.getvalue(), prog))


def _command(package: str, arguments: list[str], debug: bool) -> None:
    prog = f"python -m {package}"
    module = importlib.import_module(f"{package}.config")
    verbs = [verb for verb in (*VERBS, *SHARED_VERBS) if hasattr(module, _options_class(verb))]
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_task_help(package, module, verbs))
    elif arguments[0] == "--version":
        print(f"rnnapps {rnnapps.__version__}")
    elif arguments[0] not in verbs:
        raise UsageError(f"{prog} {arguments[0]}: wanted a verb, {configs.known(verbs, arguments[0])}")
    else:
        options = parse(module, arguments[0], arguments[1:], f"{prog} {arguments[0]}")
        _run(package, arguments[0], options, debug)


def _run(package: str, verb: str, options: Any, debug: bool) -> None:
    """Runs the verb's function; from here on TensorFlow is there, except for the shared verbs."""
    if verb in SHARED_VERBS:
        _run_modules(SHARED_VERBS[verb][1], options, debug)
        return
    runtime, task = load("rnnapps.runtime", f"{package}.task", debug=debug)
    runtime.configure(getattr(options, "threads", 0))
    getattr(task, verb)(options)


def _run_modules(modules: Sequence[str], options: Any, debug: bool) -> None:
    """Runs a command that has modules of its own, and says itself what it imports."""
    load(*modules, debug=debug)[-1].run(options)


def _options_class(verb: str) -> str:
    return VERBS[verb] if verb in VERBS else SHARED_VERBS[verb][0]


def load(*modules: str, debug: bool) -> list[Any]:
    """Imports modules that need TensorFlow, for a process that is ours, and without its chatter unless `debug`."""
    refuse_legacy_keras()
    # The only back end this package has.
    os.environ["KERAS_BACKEND"] = "tensorflow"
    if not debug:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    with contextlib.nullcontext() if debug else _hushed():
        return [importlib.import_module(module) for module in modules]


@contextlib.contextmanager
def _hushed() -> Iterator[None]:
    """Holds back what TensorFlow logs while it is imported, which no setting of its own does; a failure shows it."""
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as said:
        os.dup2(said.fileno(), 2)
        try:
            yield
        except Exception:
            said.seek(0)
            os.write(kept, said.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)


def _guard(action: Callable[[], None], debug: bool) -> int:
    """Calls `action` and turns what it raises into one sentence and an exit status."""
    _heed_ctrl_c()
    try:
        _carry_out(action)
        sys.stdout.flush()
    except BrokenPipeError:
        # Python flushes once more at exit, and would complain there.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except KeyboardInterrupt:
        return _report("interrupted", INTERRUPTED, debug)
    except RnnappsError as error:
        return _report(f"error: {error}", error.exit_status, debug)
    except OSError as error:
        reason = f"{error.filename}: {error.strerror}" if error.filename and error.strerror else str(error)
        return _report(f"error: {reason}", 1, debug)
    except Exception as error:  # a defect; the sentence says how to see all of it
        first = (str(error).strip().splitlines() or [""])[0]
        return _report(f"error: {type(error).__name__}: {first} (--debug shows where)", 1, debug)
    return 0


def _heed_ctrl_c() -> None:
    """A command ends on SIGINT also where it was started with it ignored, as shells and CI start the background's."""
    ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    if ignored and threading.current_thread() is threading.main_thread():  # others may not set handlers
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _carry_out(action: Callable[[], None]) -> None:
    """Calls `action`; that `read` printed the help is an end like any other."""
    try:
        action()
    except SystemExit as leaving:
        if leaving.code not in (None, 0):
            raise


def _report(sentence: str, status: int, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    with contextlib.suppress(BrokenPipeError):
        print(" ".join(sentence.split()), file=sys.stderr)
    return status


def _train_default(module: Any, cls: type, arguments: Sequence[str]) -> Any:
    """The options of class `cls` that those given then change: a preset's, or with `--resume` those of the run."""
    preset = _given(arguments, "preset")
    if preset is not None and preset not in module.PRESETS:
        raise UsageError(f"--preset {preset}: {configs.known(module.PRESETS, preset)}")
    default = module.PRESETS[preset or module.DEFAULT_PRESET]
    if cls is not module.Config:
        default = cls(**{**vars(default), "run": cls.run})  # type: ignore[attr-defined]
    if _given(arguments, "resume") is not None:
        run = Path(_given(arguments, "run") or default.run)
        default = configs.replace(configs.load(cls, run / "config.json"), run=run, resume=False)
        if preset not in (None, default.preset):
            raise UsageError(f"--preset {preset}: the run to resume in {run} has --preset {default.preset}")
    for group in getattr(module.Config, "ALTERNATIVES", ()):
        given = [name for name in group if _given(arguments, name) is not None]
        if given:
            default = configs.replace(default, **{name: None for name in group if name not in given})
    return default


def _given(arguments: Sequence[str], name: str) -> str | None:
    """The text after an option's last appearance ("" for a flag), or None where the option is not given."""
    value = None
    for position, argument in enumerate(arguments):
        spelling, equals, text = argument.partition("=")
        if spelling.replace("_", "-") == configs.option(name):
            following = arguments[position + 1] if position + 1 < len(arguments) else ""
            value = text if equals else "" if following.startswith("--") else following
    return value


def _diagnosis(cls: type, arguments: Sequence[str], complaint: str, prog: str) -> str:
    """One sentence of our own from what tyro says; its words are kept where they are not understood."""
    sentence, fields = _unboxed(complaint), [field.name for field in dataclasses.fields(cls)]
    if found := re.match(r"Unrecognized options: (\S+?),?(?:\s|$)", sentence):
        got = found[1].partition("=")[0]
        if not got.startswith("-"):
            return f"unexpected argument {got!r}: wanted --option VALUE, see {prog} --help"
        close = difflib.get_close_matches(got, map(configs.option, fields), n=1)
        return f"unknown option {got}: " + (f"did you mean {close[0]}?" if close else f"see {prog} --help")
    if found := re.search(r"--([\w-]+)", sentence):
        name = found[1].replace("-", "_")
        if name in fields:
            # `--prompt --x` has no value for a reader of options, and a person who means it needs the other form.
            nothing = f"without a value ({configs.option(name)}=VALUE allows one that starts with dashes)"
            value = _given(arguments, name) or nothing
            return f"{configs.option(name)} {value}: wanted {configs.wanted(cls, name)}"
    return f"{sentence}, see {prog} --help"


def _unboxed(complaint: str) -> str:
    """The message in tyro's box, between the title and the option's help: one line, without frame and colours."""
    plain = re.sub(r"\x1b\[[\d;]*m", "", complaint)
    lines = [line.strip(" │") for line in plain.splitlines() if not line.startswith(("╭", "╰"))]
    sections = [" ".join(section.split()) for section in re.split(r"(?m)^[─-]{5,}$", "\n".join(lines))]
    # On a terminal without UTF-8 the title stands above a rule, and not in the frame.
    return sections[1] if "╭" not in plain and len(sections) > 1 else sections[0]


def _task_help(package: str, module: Any, verbs: Sequence[str]) -> str:
    prog = f"python -m {package}"
    lines = [f"usage: {prog} VERB [OPTIONS]", "", _first_line(importlib.import_module(package)), "", "verbs:"]
    lines += [f"  {verb:10}{_first_line(getattr(module, _options_class(verb)))}" for verb in verbs]
    lines += ["", f"options of a verb: {prog} {verbs[0]} --help", "", "examples:"]
    for command, purpose in module.EXAMPLES:
        lines += [f"  {prog} {command}", f"      {purpose}"]
    return "\n".join(lines)


def _top(arguments: list[str], debug: bool) -> None:
    if not arguments or arguments[0] not in COMMANDS:
        _overview(arguments)
        return
    place, name, modules = COMMANDS[arguments[0]]
    cls = getattr(importlib.import_module(place), name)
    options = read(cls, arguments[1:], f"python -m rnnapps {arguments[0]}", cls())
    _run_modules(modules, options, debug)


def _overview(arguments: Sequence[str]) -> None:
    names = tasks()
    if arguments and arguments[0] == "--version":
        print(f"rnnapps {rnnapps.__version__}")
        return
    if arguments and arguments[0] not in ("-h", "--help"):
        hint = f"python -m rnnapps.{names[0]}"
        got = f"python -m rnnapps {arguments[0]}"
        known = configs.known(COMMANDS, arguments[0])
        raise UsageError(f"{got}: wanted a task's own command, as in {hint}, or a command, {known}")
    print(f"rnnapps {rnnapps.__version__}: recurrent networks that are ready to use\n\ntasks:")
    for name in names:
        print(f"  python -m rnnapps.{name}\n      {_first_line(importlib.import_module(f'rnnapps.{name}'))}")
    print("\ncommands:")
    for name, (place, cls, _) in COMMANDS.items():
        print(f"  python -m rnnapps {name}\n      {_first_line(getattr(importlib.import_module(place), cls))}")
    print("\ntrained models:")
    models = configs.shipped_models()
    width = max(map(len, models), default=0)
    for name, folder in models.items():
        print(f"  {name:{width}}  {folder}")
    if not models:
        print("  none here: they come with a checkout, installed by `pip install -e .`")


def _first_line(documented: Any) -> str:
    return (documented.__doc__ or "").strip().partition("\n")[0]
