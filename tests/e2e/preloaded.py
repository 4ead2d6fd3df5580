"""A `tformer` program for shells that forks from this process, where the imports of seconds are done already.

The commands run as a shell runs the installed program: with their own arguments, folder, streams and exit status.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

MODULES = (
    "hydra", "sacrebleu.metrics", "safetensors.torch", "sentencepiece", "sklearn.metrics", "torch._dynamo",
    "torch.utils.flop_counter", "torch.utils.tensorboard", "tformer_cli.cli.main", "tformer_cli.trained.evaluate",
    "tformer_cli.train.launch", "tformer_cli.train.loop",
)  # fmt: skip
"""Modules that most commands import."""
CLIENT = """#!{python} -IS
import json, os, socket, sys
server = socket.socket(socket.AF_UNIX)
server.connect({address!r})
request = json.dumps({{"arguments": sys.argv[1:], "folder": os.getcwd()}}).encode()
socket.send_fds(server, [request], [0, 1, 2])
sys.exit(int(server.recv(16) or b"70"))
"""


@contextlib.contextmanager
def program(folder: Path) -> Iterator[Path]:
    """Create `tformer` in a folder, and answer its calls, one at a time, until the end of the context.

    Yields:
        The folder, for `PATH`.
    """
    address = str(folder / "socket")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(address)
        server.listen()
        answering = os.fork()
        if answering == 0:
            try:
                _answer(server)
            finally:
                os._exit(1)
    path = folder / "tformer"
    path.write_text(CLIENT.format(python=sys.executable, address=address), encoding="utf-8")
    path.chmod(0o755)
    try:
        yield folder
    finally:
        os.kill(answering, signal.SIGKILL)
        os.waitpid(answering, 0)


def _answer(server: socket.socket) -> None:
    """Run each command that a client sends in a child process, and send back its exit status."""
    for module in MODULES:
        importlib.import_module(module)
    while True:
        client, _ = server.accept()
        with client:
            content, streams, *_ = socket.recv_fds(client, 1 << 20, 3)
            command = json.loads(content)
            child = os.fork()
            if child == 0:
                _run(command["arguments"], command["folder"], streams)
            for stream in streams:
                os.close(stream)
            client.sendall(b"%d" % os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


def _run(arguments: list[str], folder: str, streams: list[int]) -> None:
    """Run the command line in this process, and end it."""
    status = 70
    try:
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
        os.chdir(folder)
        sys.stdin, sys.stdout, sys.stderr = (open(number, mode) for number, mode in enumerate("rww"))  # noqa: SIM115
        from tformer_cli.cli.main import main

        status = main(arguments)
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(status)
