"""The search for transcripts of encoded recordings, and the times of their words.

Shapes: B utterances, T' frames after subsampling, V vocabulary.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from tformer_cli.config.schema import Decoding, SpeechDecodeConfig
from tformer_cli.data.speech.times import FrameTimes
from tformer_cli.decode import ctc
from tformer_cli.decode.causal import CausalDecoder, GPTWords, Tokens
from tformer_cli.decode.fusion import Fusion, LanguageModel, WordCount, Words, from_ngrams
from tformer_cli.decode.joint import CTCPrefix
from tformer_cli.decode.ngram import read_ngrams
from tformer_cli.decode.search import Hypothesis, num_hypotheses, search
from tformer_cli.decode.spelling import Spelling
from tformer_cli.models.conformer.model import Conformer
from tformer_cli.models.decoding import Memory
from tformer_cli.predictors.base import Prediction
from tformer_cli.predictors.media import joined_text
from tformer_cli.tokenizers.tokenizer import Vocabulary


@dataclass(frozen=True)
class CausalModel:
    """A trained causal language model.

    Attributes:
        model: in evaluation mode.
        tokenizer: its tokenizer, which may differ from that of the transcripts.
    """

    model: CausalDecoder
    tokenizer: Vocabulary


class Transcriber:
    """A search for the transcripts of recordings.

    Args:
        config: settings of the search.
        method: method of the search, not auto.
        tokenizer: tokenizer of the transcripts.
        times: times of the model's frames.
        language_model: the language model, if `decode.language_model` names a run.
        aligns: whether CTC is trained, so that it tells the times and confidences of words.

    Raises:
        DataError: if `decode.language_model` names a file that is not a file of n-grams.
    """

    def __init__(
        self,
        config: SpeechDecodeConfig,
        method: Decoding,
        tokenizer: Vocabulary,
        times: FrameTimes,
        language_model: CausalModel | None = None,
        *,
        aligns: bool = True,
    ) -> None:
        self.config, self.method, self.tokenizer, self.aligns = config, method, tokenizer, aligns
        self.times = times
        special = {tokenizer.pad_id, tokenizer.bos_id, tokenizer.eos_id, tokenizer.unk_id}
        self.spelling = Spelling(tokenizer.pieces(range(tokenizer.vocab_size)), special)
        self.language_model = self._language_model(language_model)

    def _language_model(self, causal: CausalModel | None) -> LanguageModel[Any] | None:
        if not self.config.language_model:
            return None
        if causal is None:
            ngrams = read_ngrams(self.config.language_model)
            return from_ngrams(ngrams, self.spelling, self.config.unknown_word_penalty)
        tokens = Tokens(causal.model, causal.tokenizer.eos_id)
        if causal.tokenizer.hash == self.tokenizer.hash:
            return tokens
        return Words(GPTWords(tokens, causal.tokenizer.encode), self.spelling)

    @torch.inference_mode()
    def __call__(
        self,
        model: Conformer,
        memory: Memory,
        max_length: int,
        duration_seconds: Sequence[float],
        sample_ids: Sequence[int] | None = None,
    ) -> list[Prediction]:
        """Return transcripts with the times and confidences of their words, if CTC is trained.

        Args:
            model: in evaluation mode.
            memory: the result of its `encode`.
            max_length: maximum number of tokens of a transcript.
            duration_seconds: duration of each recording in seconds.
            sample_ids: numbers of the recordings, on which the random numbers of sampling depend; None: 0, 1, ...
        """
        log_probs = model.ctc_logits(memory.states).float().log_softmax(-1)
        results = self._search(model, memory, log_probs, max_length, sample_ids)
        best = [hypotheses[0].tokens if hypotheses else [] for hypotheses in results]
        aligned: list[list[ctc.Span] | None] = [None] * len(best)
        if self.aligns:
            aligned = ctc.align(log_probs, memory.lengths, best, blank=self.tokenizer.pad_id)
        return list(map(self._prediction, results, aligned, duration_seconds))

    def _prediction(self, hypotheses: list[Hypothesis], spans: list[ctc.Span] | None, seconds: float) -> Prediction:
        texts = [output.details(self.tokenizer.decode(output.tokens)) for output in hypotheses]
        words = [asdict(word) for word in ctc.words(spans or [], self.spelling, self.times.frame_seconds)]
        words = shift_times(words, self.times.begin_seconds, seconds)
        confidence = _mean_confidence(words) if self.aligns else None
        details = {"confidence": confidence, "words": words, "hypotheses": texts}
        best = hypotheses[0].tokens if hypotheses else []
        return Prediction(texts[0]["text"] if texts else "", details, best)

    def _search(
        self, model: Conformer, memory: Memory, log_probs: Tensor, max_length: int, sample_ids: Sequence[int] | None
    ) -> list[list[Hypothesis]]:
        config, method = self.config, self.method
        if method is Decoding.greedy:
            best = ctc.greedy(log_probs, memory.lengths, blank=self.tokenizer.pad_id)
            scores = _path_scores(log_probs, memory.lengths)
            return [[Hypothesis(tokens, score, score, True)] for tokens, score in zip(best, scores, strict=True)]
        if method is Decoding.prefix:
            return ctc.prefix_beam(
                log_probs,
                memory.lengths,
                beam=config.beam,
                n_best=config.n_best,
                scorers=self._scorers(),
                blank=self.tokenizer.pad_id,
            )
        tokenizer, device = self.tokenizer, log_probs.device
        limits = memory.lengths.clamp(max=min(max_length, config.max_length or max_length))
        share = config.ctc_weight if method is Decoding.joint else 0.0
        scorers: list[tuple[float, Any]] = []
        if share:
            scorers.append(
                (share, CTCPrefix(log_probs, memory.lengths, eos_id=tokenizer.eos_id, blank=self.tokenizer.pad_id))
            )
        for weight, scorer in self._scorers(bonus=False):
            fused = Fusion(scorer, len(log_probs), tokenizer.vocab_size, tokenizer.eos_id, device)
            scorers.append((weight, fused))
        state = model.start(memory, num_hypotheses(config), int(limits.max()))
        return search(
            model, state, config=config, bos_id=tokenizer.bos_id, eos_id=tokenizer.eos_id, max_lengths=limits,
            forbidden=(tokenizer.pad_id, tokenizer.bos_id), sample_ids=sample_ids, scorers=scorers,
            decoder_weight=1.0 - share,
        )  # fmt: skip

    def _scorers(self, *, bonus: bool = True) -> Sequence[tuple[float, LanguageModel[Any]]]:
        scorers: list[tuple[float, LanguageModel[Any]]] = []
        if self.language_model is not None:
            scorers.append((self.config.language_model_weight, self.language_model))
        if bonus and self.config.word_bonus:
            scorers.append((self.config.word_bonus, WordCount(self.spelling)))
        return scorers


def _path_scores(log_probs: Tensor, lengths: Tensor) -> list[float]:
    """Return the log-probability of the most probable path of each utterance."""
    best = log_probs.amax(-1)
    real = torch.arange(best.shape[1], device=best.device) < lengths.to(best.device)[:, None]
    return (best * real).sum(1).tolist()


def concatenate(parts: Sequence[Prediction], begins_seconds: Sequence[float], separator: str = " ") -> Prediction:
    """Return the transcript of a recording, given the transcripts of its pieces in order and their start times."""
    if len(parts) == 1:
        return parts[0]
    moved = [shift_times(part.details["words"], begin) for part, begin in zip(parts, begins_seconds, strict=True)]
    words = list(itertools.chain.from_iterable(moved))
    text = joined_text(parts, separator)
    aligned = all(part.details.get("confidence") is not None for part in parts)
    confidence = _mean_confidence(words) if aligned else None
    return Prediction(text, {"confidence": confidence, "words": words, "hypotheses": [{"text": text}]})


def shift_times(words: Sequence[dict[str, Any]], seconds: float, end_seconds: float = math.inf) -> list[dict[str, Any]]:
    """Return words with their times shifted, then clipped to the time from 0 to the end of the recording."""
    times = ("start_seconds", "end_seconds")
    return [{**word, **{name: min(max(0.0, word[name] + seconds), end_seconds) for name in times}} for word in words]


def _mean_confidence(words: Sequence[dict[str, Any]]) -> float:
    return sum(word["confidence"] for word in words) / max(1, len(words))
