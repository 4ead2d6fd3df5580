"""From what a Conformer heard to text: the searches of `decode`, and when each word was said.

Shapes: B utterances, T' frames after subsampling, V vocabulary.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from tformer_cli.config.schema import Decoding, SpeechDecodeConfig
from tformer_cli.decode import ctc
from tformer_cli.decode.causal import GPTWords, Tokens, Writer
from tformer_cli.decode.fusion import Fusion, LanguageModel, WordCount, Words, from_ngrams
from tformer_cli.decode.joint import CTCPrefix
from tformer_cli.decode.ngram import read_ngrams
from tformer_cli.decode.search import Hypothesis, num_hypotheses, search
from tformer_cli.decode.spelling import Spelling
from tformer_cli.errors import ConfigError
from tformer_cli.models.conformer.model import Conformer
from tformer_cli.models.decoding import Memory
from tformer_cli.tasks.base import Prediction
from tformer_cli.tokenizers.tokenizer import Vocabulary


class Transcriber:
    """Writes down what was said.

    Args:
        config: how it is searched for.
        tokenizer: of the transcripts.
        frame_seconds: from one frame of the model's output to the next.
        begin_seconds: when the first frame begins.
        other: a language model and its tokenizer, where `decode.language_model` names a run.

    Raises:
        DataError: if `decode.language_model` names a file that holds no n-grams.
        ConfigError: if the way of searching makes no use of a language model.
    """

    def __init__(
        self,
        config: SpeechDecodeConfig,
        tokenizer: Vocabulary,
        frame_seconds: float,
        begin_seconds: float = 0.0,
        other: tuple[Writer, Vocabulary] | None = None,
    ) -> None:
        self.config, self.tokenizer = config, tokenizer
        self.frame_seconds, self.begin_seconds = frame_seconds, begin_seconds
        special = {tokenizer.pad_id, tokenizer.bos_id, tokenizer.eos_id, tokenizer.unk_id}
        self.spelling = Spelling(tokenizer.pieces(range(tokenizer.vocab_size)), special)
        self.language_model = self._language_model(other)

    def _language_model(self, other: tuple[Writer, Vocabulary] | None) -> LanguageModel[Any] | None:
        if not self.config.language_model:
            return None
        if other is None:
            ngrams = read_ngrams(self.config.language_model)
            return from_ngrams(ngrams, self.spelling, self.config.unknown_word_penalty)
        model, vocabulary = other
        tokens = Tokens(model, vocabulary.eos_id)
        if vocabulary.hash == self.tokenizer.hash:
            return tokens
        return Words(GPTWords(tokens, vocabulary.encode), self.spelling)

    def method(self, model: Conformer) -> Decoding:
        """The way of searching that the settings ask for.

        Raises:
            ConfigError: if the model has no decoder, and that needs one.
        """
        method, decoder = self.config.method, model.config.decoder_depth > 0
        if method is Decoding.auto:
            method = Decoding.joint if decoder else Decoding.prefix if self.config.language_model else Decoding.greedy
        if method is Decoding.joint and self.config.ctc_weight == 1:
            method = Decoding.prefix
        if method in (Decoding.attention, Decoding.joint) and not decoder:
            raise ConfigError(
                f"decode.method: {method.name} needs a decoder, and the model has none", "decode.method=prefix"
            )
        if method is Decoding.greedy and self.config.language_model:
            raise ConfigError("decode.language_model: greedy decoding has no use for one", "decode.method=prefix")
        return method

    @torch.inference_mode()
    def __call__(
        self, model: Conformer, memory: Memory, max_length: int, duration_seconds: Sequence[float]
    ) -> list[Prediction]:
        """Transcripts of what was heard, with the times and confidences of their words.

        Args:
            model: in evaluation mode.
            memory: of its `encode`.
            max_length: most tokens of a transcript.
            duration_seconds: of each recording.
        """
        log_probs = model.ctc_logits(memory.states).float().log_softmax(-1)
        found = self._search(model, memory, log_probs, max_length)
        best = [hypotheses[0].tokens if hypotheses else [] for hypotheses in found]
        aligned = ctc.align(log_probs, memory.lengths, best, blank=self.tokenizer.pad_id)
        return [self._prediction(*one) for one in zip(found, aligned, duration_seconds, strict=True)]

    def _prediction(self, hypotheses: list[Hypothesis], spans: list[ctc.Span] | None, seconds: float) -> Prediction:
        texts = [{"text": self.tokenizer.decode(one.tokens), "score": one.score} for one in hypotheses]
        words = [asdict(word) for word in ctc.words(spans or [], self.spelling, self.frame_seconds)]
        words = later(words, self.begin_seconds, seconds)
        details = {"confidence": _mean_confidence(words), "words": words, "hypotheses": texts}
        return Prediction(texts[0]["text"] if texts else "", details)

    def _search(self, model: Conformer, memory: Memory, log_probs: Tensor, max_length: int) -> list[list[Hypothesis]]:
        config, method = self.config, self.method(model)
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
        longest = memory.lengths.clamp(max=min(max_length, config.max_length or max_length))
        share = config.ctc_weight if method is Decoding.joint else 0.0
        scorers: list[tuple[float, Any]] = []
        if share:
            scorers.append(
                (share, CTCPrefix(log_probs, memory.lengths, eos_id=tokenizer.eos_id, blank=self.tokenizer.pad_id))
            )
        for weight, scorer in self._scorers(bonus=False):
            fused = Fusion(scorer, len(log_probs), tokenizer.vocab_size, tokenizer.eos_id, device)
            scorers.append((weight, fused))
        state = model.start(memory, num_hypotheses(config), int(longest.max()))
        return search(
            model, state, config=config, bos_id=tokenizer.bos_id, eos_id=tokenizer.eos_id, max_lengths=longest,
            forbidden=(tokenizer.pad_id, tokenizer.bos_id), scorers=scorers, decoder_weight=1.0 - share,
        )  # fmt: skip

    def _scorers(self, *, bonus: bool = True) -> Sequence[tuple[float, LanguageModel[Any]]]:
        found: list[tuple[float, LanguageModel[Any]]] = []
        if self.language_model is not None:
            found.append((self.config.language_model_weight, self.language_model))
        if bonus and self.config.word_bonus:
            found.append((self.config.word_bonus, WordCount(self.spelling)))
        return found


def _path_scores(log_probs: Tensor, lengths: Tensor) -> list[float]:
    """Log-probability of the most probable path of each utterance."""
    best = log_probs.amax(-1)
    real = torch.arange(best.shape[1], device=best.device) < lengths.to(best.device)[:, None]
    return (best * real).sum(1).tolist()


def one_after_the_other(parts: Sequence[Prediction], begins_seconds: Sequence[float]) -> Prediction:
    """What is heard in a recording, from what is heard in its pieces, in order, and when these begin."""
    if len(parts) == 1:
        return parts[0]
    moved = [later(part.details["words"], begin) for part, begin in zip(parts, begins_seconds, strict=True)]
    words = list(itertools.chain.from_iterable(moved))
    text = " ".join(part.text for part in parts if part.text)
    return Prediction(text, {"confidence": _mean_confidence(words), "words": words, "hypotheses": [{"text": text}]})


def later(words: Sequence[dict[str, Any]], seconds: float, end_seconds: float = math.inf) -> list[dict[str, Any]]:
    """Words as if the recording had begun so much earlier; none before its beginning, or after its end."""
    times = ("start_seconds", "end_seconds")
    return [{**word, **{name: min(max(0.0, word[name] + seconds), end_seconds) for name in times}} for word in words]


def _mean_confidence(words: Sequence[dict[str, Any]]) -> float:
    return sum(word["confidence"] for word in words) / max(1, len(words))
