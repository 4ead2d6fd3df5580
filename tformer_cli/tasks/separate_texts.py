"""What the tasks share whose examples are texts, pairs of texts, or recordings: batches of like lengths."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tformer_cli.data.core.batching import LengthBatches
from tformer_cli.tasks.base import AttentionShape, B, M
from tformer_cli.tasks.splits import S
from tformer_cli.tasks.text import TextTask


class SeparateTexts(TextTask[S, M, B]):
    """The data side of a task; a subclass gives `_lengths` and `collate`, beside what `TextTask` asks for."""

    usual_length = 64
    """Tokens of an example where no data was read."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self._batches: dict[str, LengthBatches] = {}

    def _lengths(self, split: str) -> np.ndarray | Callable[[int], np.ndarray]:
        """Tokens of each example as the model sees it, (N,) or, of pairs, (N, 2); or a function of the epoch."""
        raise NotImplementedError

    @property
    def _budget(self) -> int:
        """Most that a batch may cost: its rows times the longest of them."""
        return self.config.data.batch_tokens

    def _split_batches(self, split: str) -> LengthBatches:
        if split not in self._batches:
            data = self.config.data
            self._batches[split] = LengthBatches(
                self._lengths(split),
                batch_tokens=self._budget,
                max_batch=data.max_batch,
                seed=self.config.seed,
                shuffle=split == "train",
            )
        return self._batches[split]

    def num_batches(self, split: str) -> int:
        """Batches in an epoch."""
        return len(self._split_batches(split))

    def rows(self, split: str, epoch: int, index: int) -> np.ndarray:
        """Rows of batch `index` of `epoch`."""
        return self._split_batches(split).indices(epoch, index)

    def _describe_batches(self) -> str:
        return f"{self._split_batches('train').padding_percent():.1f} % padding"

    def shape(self) -> AttentionShape:
        """Attention's shape in this task: that of an example of mean length, or of the usual one if none was read."""
        batches = self._batches.get("train")
        return self._attention_shape(self.usual_length if batches is None else round(float(batches.lengths.mean())))
