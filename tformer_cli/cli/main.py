"""The entry point of the command line, which reports errors in one line and returns the exit code."""

from __future__ import annotations

import errno
import os
import re
import sys
from collections.abc import Sequence
from typing import Any

from tformer_cli import signals
from tformer_cli.cli import streams
from tformer_cli.errors import ConfigError, TformerError, unreadable

INTERRUPTED = 130  # 128 + SIGINT, as in shells
BROKEN_PIPE = 141  # 128 + SIGPIPE
UNEXPECTED = 70  # EX_SOFTWARE of sysexits.h

_WORDING = (  # typer's messages about invalid values changed between 0.26 and 0.29
    (
        r"Input should be a valid integer, unable to parse.*|'.*' is not a valid int(eger)?( range)?",
        "not a whole number",
    ),
    (r"Input should be a valid number, unable to parse.*|'.*' is not a valid float( range)?", "not a number"),
    (
        r"Input should be greater than or equal to (\d+)|\S+ is not in the range x>=(\d+)",
        r"must be at least \1\2",
    ),
    (r"Input should be less than or equal to (\d+)", r"must be at most \1"),
    (r"\S+ is not in the range (\d+)<=x<=(\d+)", r"must be from \1 to \2"),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: arguments without the program's name; None: those of this process.

    Returns:
        The exit code. Exceptions are not raised, but reported in one line; `TFORMER_DEBUG=1` adds the traceback.
    """
    streams.repair()
    command_line = list(sys.argv[1:] if arguments is None else arguments)
    with signals.ending() as request:
        try:
            check_encoding(command_line)
            code = _run(command_line)
            sys.stdout.flush()
        except BaseException as error:
            # A library that is interrupted while it is imported may raise an error of its own.
            stops = isinstance(error, (KeyboardInterrupt, SystemExit)) or not request.number
            code = report(error if stops else KeyboardInterrupt(), command_line)
    return signals.exit_status(request.number) if request.number else code


def _run(command_line: list[str]) -> int:
    import typer
    from typer.main import get_command

    from tformer_cli.cli import app

    command = get_command(app)
    try:
        # Not command.main(), which has messages of its own for interrupts, broken pipes and usage errors.
        with command.make_context("tformer", command_line or ["--help"]) as context:
            command.invoke(context)
    except typer.Exit as done:
        return done.exit_code
    return 0


def check_encoding(arguments: Sequence[str]) -> None:
    """Refuse settings that are not UTF-8; file names may be any bytes.

    Raises:
        ConfigError: if one is not UTF-8; the error names the first.
    """
    for argument in arguments:
        if is_undecodable(argument) and re.match(r"[a-z_][a-z_0-9.]*=", argument):
            raise ConfigError(f"{printable(argument)} is not UTF-8", "a setting must be; rename the file or the folder")


def is_undecodable(text: str) -> bool:
    """Return whether an argument or a name contains bytes that are not UTF-8."""
    return any("\udc80" <= character <= "\udcff" for character in text)


def printable(text: str) -> str:
    r"""Return text on one line, with undecodable bytes as `\xe9`."""
    line = "".join(f"\\x{ord(c) - 0xDC00:02x}" if "\udc80" <= c <= "\udcff" else c for c in text)
    return " ".join(line.split())


def report(error: BaseException, arguments: Sequence[str] = ()) -> int:
    """Print an error in one line on standard error.

    Args:
        error: exception of a command.
        arguments: the command line, for usage errors.

    Returns:
        The exit code.
    """
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    if isinstance(error, BrokenPipeError):
        streams.give_up_output()
        return BROKEN_PIPE
    if os.environ.get("TFORMER_DEBUG", "") not in ("", "0"):
        import traceback

        traceback.print_exception(error)
    if isinstance(error, KeyboardInterrupt) or type(error).__name__ == "Abort":
        return INTERRUPTED
    line, code = describe(error, arguments)
    print(f"error: {printable(line)}", file=sys.stderr)
    streams.give_up_output()
    return code


def describe(error: BaseException, arguments: Sequence[str] = ()) -> tuple[str, int]:
    """Return the message of an error in one line, and the exit code."""
    if isinstance(error, TformerError):
        return str(error), error.exit_code
    if callable(getattr(error, "format_message", None)):  # a usage error of the click that typer contains
        return _usage(error, arguments), 2
    if isinstance(error, UnicodeEncodeError) and is_undecodable(error.object):
        return f"{printable(error.object[:200])} is not UTF-8: rename the file, or convert the text", 1
    if isinstance(error, RuntimeError) and str(error) == "Could not determine home directory.":
        return "~ in a path has no meaning without a home directory: set HOME, or write the full path", 1
    if isinstance(error, OSError) and error.errno is not None:
        return _system(error), 1
    text = str(error)
    if is_out_of_memory(error):
        return "out of memory: use a smaller data.batch_tokens, decode.batch or model", 1
    if "can't start new thread" in text:
        return "the system allows no more threads: use fewer trainer.threads, data.workers or decode.workers", 1
    name = type(error).__name__
    return f"unexpected {name}: {text[:500]} (set TFORMER_DEBUG=1 for the traceback)", UNEXPECTED


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error of Python or PyTorch says that memory is exhausted."""
    of_torch = type(error).__name__ == "OutOfMemoryError" or "can't allocate memory" in str(error)
    return isinstance(error, MemoryError) or of_torch


def _system(error: OSError) -> str:
    if isinstance(error, streams.Closed):
        return str(error.strerror)
    path = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, (str, bytes)) else ""
    if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.EISDIR) and path:
        return str(unreadable(path.removesuffix(": "), error))
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{path}the disk is full: free some space; earlier files are complete"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"{path}no permission: choose another path, or change the permissions"
    return f"{path}{error.strerror or type(error).__name__}"


def _usage(error: Any, arguments: Sequence[str]) -> str:
    for argument in arguments:
        if match := re.fullmatch(r"--?([a-z_]+\.[a-z_0-9.]+(?:=.*)?)", argument, re.DOTALL):
            return f"settings are written without dashes: {match[1]}"
    message = error.format_message().rstrip(".").replace(". Did you mean", ": did you mean")
    for wording, replacement in _WORDING:
        message = re.sub(f"(?<=: )(?:{wording})$", replacement, message)
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "tformer"
    hint = "" if message.endswith("?") else f": see `{path} --help`"
    return f"{message[:1].lower()}{message[1:]}{hint}"
