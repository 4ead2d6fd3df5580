"""TensorBoard's event files, which are truncated on resumption; failures to write them do not stop a run."""

from __future__ import annotations

import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

FIXED64, VARINT = 0x09, 0x10
"""Keys of the first two fields of an event: its time and its step."""


class Board:
    """The TensorBoard files of a run.

    Training continues without them if the folder is missing or not writable, or the disk is full.

    Args:
        folder: a folder such as `RUN/train`.
        step: first step of training; events of later steps are removed.
        say: function that receives messages about failures.
    """

    def __init__(self, folder: Path, step: int, say: Callable[[str], None]) -> None:
        self.folder, self.step, self.say = folder, step, say
        self.writer: Any = None
        try:
            cut_events(folder, step)
            self._open(step)
        except OSError as error:
            self._failed(error)

    def _open(self, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        _quiet_threads()
        _wait_for_next_second(self.folder)
        # A running TensorBoard discards later steps too.
        self.writer = SummaryWriter(str(self.folder), purge_step=step + 1 if step else None)

    def add(self, record_type: str, tag: str, value: Any, step: int, *arguments: Any, **options: Any) -> None:
        """Add a record.

        Args:
            record_type: scalar, text, image or summary.
            tag: tag in TensorBoard.
            value: value of the record.
            step: step of the record.
            *arguments: further arguments of the method of `SummaryWriter`.
            **options: further options of this method.
        """
        self.step = step
        for _ in range(2):
            if self.writer is None:
                return
            try:
                if record_type == "summary":
                    self.writer._get_file_writer().add_summary(value, step)
                else:
                    getattr(self.writer, f"add_{record_type}")(tag, value, step, *arguments, **options)
                return
            except OSError as error:
                self._reopen(error)

    def add_sound(self, tag: str, samples: Any, step: int, rate: int, caption: str) -> None:
        """Add a recording, (N,) float32, with its caption as title and description.

        `SummaryWriter.add_audio` writes the older kind of record, whose title and description TensorBoard ignores.
        """
        from tensorboard.compat.proto.summary_pb2 import Summary  # pyright: ignore[reportAttributeAccessIssue]
        from tensorboard.compat.proto.tensor_pb2 import TensorProto  # pyright: ignore[reportAttributeAccessIssue]
        from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto  # pyright: ignore[reportAttributeAccessIssue]
        from tensorboard.compat.proto.types_pb2 import DT_STRING  # pyright: ignore[reportAttributeAccessIssue]
        from tensorboard.plugins.audio import metadata
        from torch.utils.tensorboard.summary import audio

        encoded = audio(tag, samples[None], rate).value[0].audio.encoded_audio_string
        about = metadata.create_summary_metadata(
            display_name=f"{tag}: {caption}" if caption else tag, description=caption, encoding=metadata.Encoding.WAV
        )
        shape = TensorShapeProto(dim=[TensorShapeProto.Dim(size=1), TensorShapeProto.Dim(size=2)])
        tensor = TensorProto(dtype=DT_STRING, tensor_shape=shape, string_val=[encoded, b""])
        self.add("summary", tag, Summary(value=[Summary.Value(tag=tag, tensor=tensor, metadata=about)]), step)

    def _reopen(self, error: OSError) -> None:
        """Begin a new file if the folder was removed; otherwise stop writing."""
        if self.folder.exists() or not self.folder.parent.is_dir():
            self._failed(error)
            return
        self.writer = None
        try:
            self._open(0)
            self.say(f"{self.folder} was removed: its curves start again at step {self.step:,}")
        except OSError as failed:
            self._failed(failed)

    def _failed(self, error: OSError) -> None:
        self.writer = None
        self.say(f"{self.folder}: no further TensorBoard records: {error.strerror or error}")

    def flush(self) -> None:
        """Write the buffered events."""
        if self.writer is not None:
            try:
                self.writer.flush()
            except OSError as error:
                self._reopen(error)

    def close(self) -> None:
        """Write the buffered events, and close the file."""
        if self.writer is not None:
            try:
                self.writer.close()
            except OSError as error:
                self._failed(error)


def _quiet_threads() -> None:
    """Prevent TensorBoard's thread from printing a traceback; its error is raised again where it is handled."""
    original_hook = threading.excepthook
    if getattr(original_hook, "quiet", False):
        return

    def hook(arguments: threading.ExceptHookArgs) -> None:
        writes_events = type(arguments.thread).__module__.startswith("tensorboard.")
        if not (writes_events and isinstance(arguments.exc_value, OSError)):
            original_hook(arguments)

    hook.quiet = True  # type: ignore[attr-defined]
    threading.excepthook = hook


def _wait_for_next_second(folder: Path) -> None:
    """Wait for the next second if there is an event file of this second, as after a kill and an immediate restart.

    TensorBoard reads files in the order of their names, which contain the second and then the process id.
    """
    now = time.time()
    if any(path.name.split(".")[3] == f"{int(now):010d}" for path in folder.glob("events.out.tfevents.*.*")):
        time.sleep(1 - now % 1)


def cut_events(folder: Path, step: int) -> None:
    """Remove the events of steps after `step` from the event files of a folder; for step 0, remove all files.

    A resumed run takes these steps again. TensorBoard's own purging does not remove texts.
    """
    for path in sorted(folder.glob("events.out.tfevents.*")):
        if not path.is_file():
            continue
        length = bytes_before_step(path, step) if step else 0
        if not length:
            path.unlink()
        elif length < path.stat().st_size:
            with path.open("r+b") as file:
                file.truncate(length)


def bytes_before_step(path: Path, step: int) -> int:
    """Return the number of bytes of an event file before its first event after `step`, or before a truncated event."""
    position, size = 0, path.stat().st_size
    with path.open("rb") as file:
        while len(header := file.read(12)) == 12:  # length and its checksum; the event's checksum follows it
            (length,) = struct.unpack("<Q", header[:8])
            end = position + 12 + length + 4
            if end > size or event_step(file.read(min(length, 32))) > step:
                break
            position = end
            file.seek(position)
    return position


def event_step(event: bytes) -> int:
    """Return the step of an event, from its first bytes in Protocol Buffers encoding; 0 if it has none."""
    if len(event) < 11 or event[0] != FIXED64 or event[9] != VARINT:
        return 0
    step = 0
    for index, byte in enumerate(event[10:20]):
        step |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            break
    return step
