"""Contexts that keep warnings and progress bars of the Hugging Face hub's libraries off the terminal."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Override(Generic[T]):
    """A setting of another library that is overridden within contexts.

    Contexts may end in any order, as those of generators do: the last one restores the setting.

    Args:
        read: returns the value of the setting.
        write: sets it.
        value: its value within contexts.
    """

    def __init__(self, read: Callable[[], T], write: Callable[[T], object], value: T) -> None:
        self.read, self.write, self.value = read, write, value
        self.before: list[T] = []

    @contextlib.contextmanager
    def __call__(self) -> Iterator[None]:
        """Return a context."""
        self.before.append(self.read())
        self.write(self.value)
        try:
            yield
        finally:
            original = self.before[0]
            self.before.pop()
            if not self.before:
                self.write(original)


quiet_hub = Override(
    lambda: logging.getLogger("huggingface_hub").level,
    lambda level: logging.getLogger("huggingface_hub").setLevel(level),
    logging.ERROR,
)
"""Keeps warnings of the library, such as a line for each retry, off the terminal; tformer reports failures itself."""


def _show_bars(shown: bool) -> None:
    """Enable or disable the progress bars of `datasets`."""
    import datasets

    datasets.enable_progress_bars() if shown else datasets.disable_progress_bars()


def _bars_are_shown() -> bool:
    """Return whether `datasets` shows progress bars."""
    import datasets

    return datasets.is_progress_bar_enabled()


without_bars = Override(_bars_are_shown, _show_bars, False)
"""Keeps the progress bars of `datasets` off the terminal."""
