"""Examples of recordings: with transcripts, and with translations.

Shapes: T frames, T' frames after subsampling, F features.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tformer_cli.inspectors.base import Axis, Emissions, Example, Inspector, Lens, Load, files_read, lens_of, repeated
from tformer_cli.inspectors.encoders import spaced
from tformer_cli.inspectors.images import with_text
from tformer_cli.predictors.base import Input

FRAMES = (100, 200, 400, 800)
"""Numbers of frames for which the speed of the model is measured."""


class RecordingInspector(Inspector[Any]):
    """Examples of recordings; a subclass implements `example`. Only the first part of a long recording is read."""

    predictor: Any

    def examples(self, model: Any, inputs: Sequence[Input]) -> list[Example]:
        """Return the example of each recording; see `Inspector.examples`."""
        data, device = self.data, next(model.parameters()).device
        examples = []
        for sound, name in files_read(self.predictor.files, inputs):
            batch = data.collate([sound[: data.max_length]], [""], np.zeros(1, np.int64)).to(device)
            examples.append(self.example(model, batch, name))
        return examples

    def of_split(self, model: Any, split: str, count: int) -> list[Example]:
        """Return examples of a split; see `Inspector.of_split`."""
        view, device = self.data.view(split), next(model.parameters()).device
        examples = []
        for row in spaced(len(view.utterances_of(0).parts), count):
            batch = view.collate(0, np.array([row])).to(device)
            examples.append(self.example(model, batch, view.name(row)))
        return examples

    def example(self, model: Any, batch: Any, name: str) -> Example:
        """Return the example of a recording, a batch of one on the model's device."""
        raise NotImplementedError

    def of_encoder(self, model: Any, batch: Any, name: str) -> tuple[Example, tuple[Tensor, Tensor]]:
        """Return the example of a recording for the encoder, and the encoder's inputs."""
        features, lengths = self.data.inputs(batch, training=False)
        with torch.inference_mode():
            frames = int(model.encode(features, lengths).lengths[0])
        frame_seconds, begin_seconds = self.data.feature_times

        def prepare(batch: int, size: int) -> Callable[[], object]:
            full = torch.full((batch,), size, device=features.device)
            return partial(model.encode, repeated(features, size, batch), full)

        example = Example(
            name,
            lambda: model.encode(features, lengths),
            load=Load("frames", FRAMES, prepare),
            encoder=Axis.of_frames(frames, *self.data.output_times),
            features=features[0, : int(lengths[0])].float().cpu().numpy(),
            frame_seconds=frame_seconds,
            begin_seconds=begin_seconds,
        )
        return example, (features, lengths)


class SpeechRecognitionInspector(RecordingInspector):
    """Examples of recordings with their transcripts."""

    def example(self, model: Any, batch: Any, name: str) -> Example:
        """Return the example of a recording with its words, and with CTC and the decoder if they are trained."""
        example, inputs = self.of_encoder(model, batch, name)
        (prediction,) = self.predictor.transcribe_batch(model, batch)
        example.words = [(word["start_seconds"], word["text"]) for word in prediction.details.get("words", ())]
        example.answer = prediction.text
        if self.config.trains_ctc:
            example.emissions = self.emissions(model, inputs)
        if self.config.trains_decoder:
            return with_text(self, model, example, inputs, prediction, self.config.model.max_length - 1)
        return example

    def emissions(self, model: Any, inputs: tuple[Tensor, Tensor]) -> Emissions:
        """Return the most probable CTC token in each frame of a recording."""
        tokenizer = self.data.tokenizer
        with torch.inference_mode():
            probabilities = model.ctc_logits(model.encode(*inputs).states)[0].float().softmax(-1)
            blank = probabilities[:, tokenizer.pad_id].clone()
            probabilities[:, tokenizer.pad_id] = -1
            best, ids = probabilities.max(-1)
        return Emissions(tokenizer.names(ids.tolist()), best.cpu().numpy(), blank.cpu().numpy())

    def lens(self, model: Any) -> Lens | None:
        """Return the output layer of the decoder; None: no decoder is trained."""
        return lens_of(model, model.decoder if self.config.trains_decoder else None, self.data.tokenizer)


class SpeechTranslationInspector(RecordingInspector):
    """Examples of recordings with the translations that the model generates."""

    def example(self, model: Any, batch: Any, name: str) -> Example:
        """Return the example of a recording and its translation."""
        example, inputs = self.of_encoder(model, batch, name)
        (prediction,) = self.predictor.batch_texts(model, batch)
        return with_text(self, model, example, inputs, prediction, self.data.limit)

    def lens(self, model: Any) -> Lens | None:
        """Return the output layer of the decoder."""
        return lens_of(model, model.decoder.decoder, self.data.tokenizer, self.data.target_language)
