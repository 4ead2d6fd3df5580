"""Connectionist temporal classification, alone and jointly with an attention decoder.

CTC (Graves et al. 2006) sums over all alignments a that collapse to the transcript y, where repeated tokens are merged
and then blanks are removed:

    L_ctc = - log sum_{a in B^-1(y)} prod_t p(a_t | x)

With an attention decoder, both losses share the encoder (Kim et al. 2017; Watanabe et al. 2017):

    L = w L_ctc + (1 - w) L_attention,    L_attention = - sum_u log p(y_u | y_1 ... y_{u-1}, x)

Shapes: B utterances, T' frames after subsampling, U tokens of a transcript, D model width, V vocabulary with the blank.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.nn import functional

from tformer_cli.config.schema import AttentionKind
from tformer_cli.data.text.dataset import TextData
from tformer_cli.models.decoding import Memory
from tformer_cli.objectives.base import Lengths, Loss, Objective
from tformer_cli.objectives.next_token import next_token_loss


@dataclass
class SpeechOutputs:
    """The outputs of a speech recogniser.

    Attributes:
        memory: the encoder's states, (B, T', D).
        log_probs: log-probabilities of tokens and blank in each frame, (B, T', V), float32.
        hidden: last hidden states of the decoder, (B, U + 1, D); None: there is no decoder.
    """

    memory: Memory
    log_probs: Tensor
    hidden: Tensor | None = None


class CTC(Objective[Any, Any]):
    """Negative log-likelihood of transcripts by CTC; padding is the blank.

    The count is the number of tokens, including an end of each transcript, so that losses with and without a decoder
    are comparable. A model has `encode` and `ctc_logits`; batches have `transcripts` (B, U) and `transcript_lengths`
    (B,).

    Args:
        data: the data; the padding token of its tokenizer is the blank.
    """

    data: TextData[Any, Any]

    def measure(self) -> str:
        """Return what the loss measures, see `Objective`."""
        return "CTC"

    def __init__(self, data: TextData[Any, Any], label_smoothing: float = 0.0) -> None:
        super().__init__(data, label_smoothing)

    def outputs(self, model: Any, batch: Any) -> SpeechOutputs:
        """Return the encoder's states and the log-probabilities of CTC."""
        memory = model.encode(*self.data.inputs(batch, training=model.training))
        return SpeechOutputs(memory, model.ctc_logits(memory.states).float().log_softmax(-1))

    def lengths(self, outputs: SpeechOutputs, batch: Any) -> Lengths:
        """Return the numbers of frames, if they are padded, and the lengths of targets."""
        return {AttentionKind.encoder: outputs.memory.padded_lengths, AttentionKind.decoder: batch.target_lengths}

    def example_counts(self, outputs: Any, batch: Any) -> Tensor:
        """Return the number of tokens of each utterance, with its end."""
        return batch.target_lengths

    def loss(self, model: Any, outputs: SpeechOutputs, batch: Any) -> Loss:
        """Return the loss of CTC."""
        return Loss(self.ctc_loss(model, outputs, batch), batch.target_lengths.sum())

    def ctc_loss(self, model: Any, outputs: SpeechOutputs, batch: Any) -> Tensor:
        """Return the negative log-likelihood of all transcripts, a scalar.

        A transcript that needs more frames than there are has an infinite loss in training, which the training loop
        reports, and a loss of 0 in evaluation.
        """
        return functional.ctc_loss(
            outputs.log_probs.transpose(0, 1), batch.transcripts, outputs.memory.lengths, batch.transcript_lengths,
            blank=self.data.tokenizer.pad_id, reduction="sum", zero_infinity=not model.training,
        )  # fmt: skip


class JointCTCAttention(CTC):
    """The weighted sum of the losses of CTC and of an attention decoder.

    A model also has `decode` and `output_layer`; batches also have `target_inputs`, `targets` (B, U + 1) and
    `target_lengths` (B,).

    Args:
        data: the data.
        ctc_weight: w, the share of CTC, from 0 to 1.
        label_smoothing: label smoothing of the decoder in training.
    """

    def __init__(self, data: TextData[Any, Any], ctc_weight: float, label_smoothing: float = 0.0) -> None:
        super().__init__(data, label_smoothing)
        self.ctc_weight = ctc_weight

    def measure(self) -> str:
        """Return what the loss measures, see `Objective`."""
        return f"cross-entropy of the next token, with CTC by a weight of {self.ctc_weight:g}"

    def outputs(self, model: Any, batch: Any) -> SpeechOutputs:
        """Return the encoder's states, the log-probabilities of CTC, and the decoder's last hidden states."""
        outputs = super().outputs(model, batch)
        outputs.hidden = model.decode(outputs.memory, batch.target_inputs)
        return outputs

    def loss(self, model: Any, outputs: SpeechOutputs, batch: Any) -> Loss:
        """Return the weighted sum; the parts are the loss of CTC, and the decoder's without label smoothing."""
        assert outputs.hidden is not None
        ctc_loss = self.ctc_loss(model, outputs, batch)
        attention_loss = next_token_loss(
            model, outputs.hidden, batch.targets, batch.target_lengths, label_smoothing=self.smoothing(model)
        )
        total = self.ctc_weight * ctc_loss + (1 - self.ctc_weight) * attention_loss.total
        parts = {"ctc": ctc_loss.detach(), "attention": attention_loss.parts["nll"]}
        return Loss(total, attention_loss.count, parts)
