"""Transcripts of recordings: a search over the outputs of CTC, of an attention decoder, or of both.

Shapes: B utterances, T' frames after subsampling.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from tformer_cli.config.schema import Experiment
from tformer_cli.data.speech.batches import SpeechBatch
from tformer_cli.data.speech.dataset import SpeechData
from tformer_cli.decode.ngram import check_ngrams
from tformer_cli.errors import ConfigError
from tformer_cli.models.conformer.model import Conformer
from tformer_cli.models.decoding import Memory
from tformer_cli.models.gpt.model import GPT
from tformer_cli.predictors.base import SEARCH, Companion, Prediction
from tformer_cli.predictors.files import FilePredictor
from tformer_cli.predictors.media import RecordingFiles, predict_recordings, with_pieces
from tformer_cli.predictors.transcription import CausalModel, Transcriber, concatenate

LANGUAGE_MODEL = "decode.language_model"
"""Name of the companion, a language model: the setting that names its run."""


class SpeechRecogniser(FilePredictor[Conformer]):
    """A predictor that transcribes recordings with a Conformer.

    Attributes:
        language_model: language model of the run that `decode.language_model` names; None if it names no run.
    """

    options = SEARCH | {
        "method",
        "ctc_weight",
        "language_model",
        "language_model_weight",
        "unknown_word_penalty",
        "word_bonus",
    }
    data: SpeechData

    def __init__(self, data: SpeechData) -> None:
        super().__init__(data, RecordingFiles(data))
        self.language_model: CausalModel | None = None
        self._transcriber: Transcriber | None = None

    # --- language model ---

    def companions(self) -> dict[str, Path]:
        """Return the run of the language model that `decode.language_model` names, if it names one."""
        name = self.config.decode.language_model
        return {LANGUAGE_MODEL: Path(name)} if name and Path(name).is_dir() else {}  # else a file of n-grams

    def used(self) -> Mapping[str, str]:
        """Return the SHA-256 of the file of n-grams, if there is one."""
        name = self.config.decode.language_model
        if not name or not Path(name).is_file():
            return {}
        with open(name, "rb") as file:
            return {LANGUAGE_MODEL: hashlib.file_digest(file, "sha256").hexdigest()}

    def require(self) -> None:
        """Check that `decode.language_model` names a run or a file of n-grams, of which only the beginning is read.

        Raises:
            ConfigError: if it names neither a folder nor a file.
            DataError: if the file is not one of n-grams.
        """
        name = self.config.decode.language_model
        if not name or Path(name).is_dir():
            return
        if not Path(name).exists():
            cause = f"{LANGUAGE_MODEL}: there is no run or file {name}"
            raise ConfigError(
                cause, f"name a run of `tformer pretrain gpt/...` or an ARPA file, or none: {LANGUAGE_MODEL}="
            )
        check_ngrams(name)

    def suits(self, run: Path, config: Experiment) -> None:
        """Refuse a run that is not of a language model that a search can use.

        Raises:
            ConfigError: if the run's model is not a GPT.
        """
        if config.task != "language_model" or config.model.family != "gpt":
            cause = f"{LANGUAGE_MODEL}: {run} is a run of {config.task} with {config.model.family}"
            raise ConfigError(cause, "name one of `tformer pretrain gpt/...`, or a file of n-grams")

    def accept(self, companions: Mapping[str, Companion]) -> None:
        """Use the language model of the opened run."""
        companion = companions[LANGUAGE_MODEL]
        assert isinstance(companion.model, GPT)
        self.language_model = CausalModel(companion.model, companion.tokenizer)

    # --- transcription ---

    @property
    def transcriber(self) -> Transcriber:
        """Return the search for transcripts.

        Raises:
            ConfigError: if the settings of the search are impossible.
        """
        if self._transcriber is None:
            self.config.check_decoding()
            self._transcriber = Transcriber(
                self.config.decode,
                self.config.decoding,
                self.data.tokenizer,
                self.data.output_times,
                language_model=self.language_model,
                aligns=self.config.trains_ctc,
            )
        return self._transcriber

    def transcribe(self, model: Conformer, batch: SpeechBatch, memory: Memory) -> list[Prediction]:
        """Return the transcripts of a batch.

        Args:
            model: in evaluation mode.
            batch: the utterances.
            memory: result of the model's `encode`.
        """
        seconds = [length / batch.rate for length in batch.lengths.tolist()]
        sample_ids = batch.sample_ids.tolist()
        return self.transcriber(model, memory, self.data.limit, seconds, sample_ids)

    def encoded_texts(self, model: Conformer, batch: SpeechBatch, memory: Memory) -> list[Prediction]:
        """Return the transcripts of a batch, those of long recordings from their pieces, as `predict` returns them."""
        return with_pieces(self, model, batch, memory, self.transcribe)

    @torch.inference_mode()
    def transcribe_batch(self, model: Conformer, batch: SpeechBatch) -> list[Prediction]:
        """Encode a batch on the model's device, and return its transcripts."""
        memory = model.encode(*self.data.inputs(batch, training=False))
        return self.transcribe(model, batch, memory)

    def answers(
        self, model: Conformer, contents: Sequence[np.ndarray], numbers: Sequence[int] = ()
    ) -> list[Prediction]:
        """Return the transcripts of recordings; transcripts of the pieces of a long recording are joined."""
        pieces = predict_recordings(self.data, model, contents, self.transcribe_batch, numbers)
        return [concatenate(*piece, self.data.texts.separator) for piece in pieces]
