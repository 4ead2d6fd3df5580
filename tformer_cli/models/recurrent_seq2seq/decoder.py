"""Recurrent decoders: a fixed vector, peeky, Bahdanau's and Luong's attention.

Shapes: B batch, T target length, R hypotheses of each sentence, S source length, D width of the decoder, M width of the
encoder's states, L layers, P parts of a layer's state (h and c of an LSTM, h of a GRU).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from tformer_cli.config.schema import Cell, TieEmbeddings
from tformer_cli.models.decoding import Memory
from tformer_cli.models.recurrent import LayerStates, follow, with_hypothesis_axis, without_hypothesis_axis
from tformer_cli.models.recurrent_seq2seq import RecurrentAttentionKind, RecurrentSeq2SeqConfig
from tformer_cli.nn.attention import EVERYTHING, Mask
from tformer_cli.nn.dropout import Dropout
from tformer_cli.nn.recurrent import RecurrentStack, States, full_precision, parts_of
from tformer_cli.nn.recurrent_attention import (
    AdditiveScore,
    DotScore,
    GeneralScore,
    PreparedMemory,
    RecurrentAttention,
)


@dataclass
class RecurrentState(LayerStates):
    """The state of a recurrent decoder between two steps.

    Attributes:
        memory: keys and states that attention reads, which all hypotheses of a sentence share.
        context: vector that enters every step of a peeky decoder, (B, D).
        attentional: Luong's attentional vector of the previous step, (B, R, D), if it is fed to the next.
    """

    memory: PreparedMemory | None = None
    context: Tensor | None = None
    attentional: Tensor | None = None

    def follow(self, parents: Tensor) -> None:
        """Reorder the hypotheses: see `nn.stepping.State.follow`."""
        super().follow(parents)
        if self.attentional is not None:
            self.attentional = follow(self.attentional, parents)

    def keep(self, sentences: Tensor) -> None:
        """Drop all but the given sentences, (B',) int64."""
        super().keep(sentences)
        self.memory = None if self.memory is None else self.memory.keep(sentences)
        self.context = None if self.context is None else self.context[sentences]
        self.attentional = None if self.attentional is None else self.attentional[sentences]


class RecurrentDecoderBase(nn.Module):
    """Base class of recurrent decoders: embedding, recurrent layers, output projection, teacher forcing and steps.

    It implements `TokenDecoder`. A subclass is the model of one paper. It defines the states before the first step
    (`begin`) and one step of all hypotheses (`advance`). `run` loops over such steps, unless a subclass computes all
    steps at once.

    Args:
        config: settings of the model.
        vocab_size: size of the target vocabulary, V.
        further_inputs: width of the first layer's inputs at each step in addition to the embedding.
        context: width of the vector that every layer reads at each step.

    Attributes:
        stack_inputs: submodules that count as the layer below the recurrent layers (`train.layers.layer_scales`).
    """

    stack_inputs: ClassVar[dict[str, tuple[str, ...]]] = {
        "embedding": ("stack",), "summary": ("stack",), "initial": ("stack",)
    }  # fmt: skip

    def __init__(
        self, config: RecurrentSeq2SeqConfig, vocab_size: int, *, further_inputs: int = 0, context: int = 0
    ) -> None:
        super().__init__()
        self.config = config
        self.embedding_scale = config.dim**0.5
        self.embedding = nn.Embedding(vocab_size, config.dim)
        self.dropout = Dropout(config.dropout)
        self.stack = RecurrentStack(
            config.cell, config.dim + further_inputs, config.dim, config.decoder_depth, config.dropout, context
        )
        if config.tie_embeddings is TieEmbeddings.none:
            self.output = nn.Linear(config.dim, vocab_size, bias=False)

    @property
    def width(self) -> int:
        """The width M of the memory's states."""
        return self.config.dim if self.config.bridge else self.config.memory_width

    def output_layer(self) -> tuple[Tensor, Tensor | None]:
        """Return the weights (V, D) of the output projection, and None since there is no bias."""
        return (self.output if hasattr(self, "output") else self.embedding).weight, None

    def logits(self, hidden: Tensor) -> Tensor:
        """Return the scores of the next token: (..., D) to (..., V)."""
        return nn.functional.linear(hidden, *self.output_layer())

    def decode(self, memory: Memory, target_inputs: Tensor) -> Tensor:
        """Return hidden states (B, T, D) for target inputs (B, T): see `TokenDecoder.decode`."""
        with full_precision(memory.states):
            embedded = self.dropout(self.embedding(target_inputs) * self.embedding_scale)
            return self.dropout(self.run(embedded, self.begin(memory)))

    def start(self, memory: Memory, beams: int, max_steps: int) -> RecurrentState:
        """Return a state to decode after <s>; its size depends on neither `beams` nor `max_steps`."""
        with full_precision(memory.states):
            return self.begin(memory)

    def step(self, tokens: Tensor, state: RecurrentState, mask: Mask = EVERYTHING) -> Tensor:
        """Return hidden states (B, R, D) after one more token of each hypothesis: see `Stepper.step`."""
        with full_precision(self.embedding.weight):
            return self.advance(self.embedding(tokens) * self.embedding_scale, state)

    def begin(self, memory: Memory) -> RecurrentState:
        """Return the state before the first step, with one hypothesis of each sentence."""
        raise NotImplementedError

    def advance(self, embedded: Tensor, state: RecurrentState) -> Tensor:
        """Take a step from `state`, which is advanced; embeddings and results are (B, R, D)."""
        raise NotImplementedError

    def run(self, embedded: Tensor, state: RecurrentState) -> Tensor:
        """Take all steps from `state`; embeddings and results are (B, T, D)."""
        steps = range(embedded.shape[1])
        return torch.cat([self.advance(embedded[:, step : step + 1], state) for step in steps], 1)


def final_states(memory: Memory) -> Tensor:
    """Return the final states of a recurrent encoder, (B, L, P, M).

    Raises:
        ValueError: if the memory comes from an encoder without final states.
    """
    if memory.final is None:
        raise ValueError("a recurrent decoder starts from the final states of a recurrent encoder")
    return memory.final


def with_cells(hidden: list[Tensor], cell: Cell) -> States:
    """Return the states with the given h of each layer; c of an LSTM is 0."""
    return [(h, torch.zeros_like(h)) if cell is Cell.lstm else (h,) for h in hidden]


class StateBridge(nn.Module):
    """A map from the final states of an encoder to the initial states of a decoder.

    If depth and width are equal, each layer starts from h and c of the encoder's layer (Sutskever et al. 2014).
    Otherwise h'_0 = tanh(W h + b) and c'_0 = W' c + b', with weights for each layer. If the depths differ, all layers
    start from the encoder's last layer.

    Args:
        config: settings of the model.
    """

    def __init__(self, config: RecurrentSeq2SeqConfig) -> None:
        super().__init__()
        self.depth, self.same_depth = config.decoder_depth, config.encoder_depth == config.decoder_depth
        self.parts = parts_of(config.cell)
        self.passes = self.same_depth and config.memory_width == config.dim
        count = 0 if self.passes else self.depth * self.parts
        self.project = nn.ModuleList(nn.Linear(config.memory_width, config.dim) for _ in range(count))

    def forward(self, final: Tensor) -> States:
        """Return the states (B, D) of all layers, given the encoder's final states (B, L, P, M)."""
        states = States()
        for layer in range(self.depth):
            parts = final[:, layer if self.same_depth else -1].unbind(1)
            if not self.passes:
                h, *c = (self.project[layer * self.parts + number](part) for number, part in enumerate(parts))
                parts = (torch.tanh(h), *c)
            states.append(tuple(parts))
        return states


class Readout(nn.Module):
    """The input of the output layer: maxout(W [h; y; c]), the maximum of each pair (Bahdanau et al. 2015, app. A.2.2).

    Args:
        dim: width D of h, of the previous token's embedding y, and of the result.
        width: width of the context c.
    """

    def __init__(self, dim: int, width: int) -> None:
        super().__init__()
        self.project = nn.Linear(2 * dim + width, 2 * dim)

    def forward(self, hidden: Tensor, embedded: Tensor, context: Tensor) -> Tensor:
        """Return (B, T, D) for h and y (B, T, D) and c (B, T, M)."""
        return self.project(torch.cat((hidden, embedded, context), 2)).unflatten(2, (-1, 2)).amax(3)


class FixedVectorDecoder(RecurrentDecoderBase):
    """A decoder that reads nothing of the source but the encoder's final states (Sutskever et al. 2014).

    h_t = f(h_{t-1}, y_{t-1}) and p(y_t) = softmax(W h_t).
    """

    def __init__(self, config: RecurrentSeq2SeqConfig, vocab_size: int) -> None:
        super().__init__(config, vocab_size)
        self.initial = StateBridge(config)

    def begin(self, memory: Memory) -> RecurrentState:
        """Return the encoder's final states."""
        return RecurrentState(with_hypothesis_axis(self.initial(final_states(memory))))

    def advance(self, embedded: Tensor, state: RecurrentState) -> Tensor:
        """Return h of the last layer after a step."""
        state.layers = self.stack.step(embedded, state.layers)
        return state.layers[-1][0]

    def run(self, embedded: Tensor, state: RecurrentState) -> Tensor:
        """Return h of the last layer for all steps at once."""
        return self.stack(embedded, without_hypothesis_axis(state.layers))[0]


class PeekyDecoder(RecurrentDecoderBase):
    """A decoder in which every step, layer and output reads the encoder's vector z (Cho et al. 2014, section 2.2).

    With the encoder's last state h_N, z = tanh(V h_N) and h'_0 = tanh(V' z), with V' for each layer (appendix A.1.2).
    Then h_t = f(h_{t-1}, y_{t-1}, z) and p(y_t) = g(h_t, y_{t-1}, z), where g is a maxout layer. The cell of an LSTM is
    0 at the start. The paper calls z c.
    """

    def __init__(self, config: RecurrentSeq2SeqConfig, vocab_size: int) -> None:
        super().__init__(config, vocab_size, context=config.dim)
        self.summary = nn.Linear(config.memory_width, config.dim)
        self.initial = nn.ModuleList(nn.Linear(config.dim, config.dim) for _ in range(config.decoder_depth))
        self.readout = Readout(config.dim, config.dim)

    def begin(self, memory: Memory) -> RecurrentState:
        """Return h'_0 of each layer, and z."""
        context = torch.tanh(self.summary(final_states(memory)[:, -1, 0]))
        hidden = [torch.tanh(layer(context)) for layer in self.initial]
        return RecurrentState(with_hypothesis_axis(with_cells(hidden, self.config.cell)), context=context)

    def advance(self, embedded: Tensor, state: RecurrentState) -> Tensor:
        """Return the readout after a step."""
        state.layers = self.stack.step(embedded, state.layers, state.context)
        return self._read(state.layers[-1][0], embedded, state)

    def run(self, embedded: Tensor, state: RecurrentState) -> Tensor:
        """Return the readout for all steps at once."""
        hidden, _ = self.stack(embedded, without_hypothesis_axis(state.layers), state.context)
        return self._read(hidden, embedded, state)

    def _read(self, hidden: Tensor, embedded: Tensor, state: RecurrentState) -> Tensor:
        assert state.context is not None
        return self.readout(hidden, embedded, state.context[:, None].expand(-1, hidden.shape[1], -1))


class BahdanauDecoder(RecurrentDecoderBase):
    """A decoder with additive attention before each step (Bahdanau et al. 2015, section 3.1, appendix A.2.2).

    e_ij = v^T tanh(W s_{i-1} + U h_j), a_ij = softmax_j e_ij and c_i = sum_j a_ij h_j; then s_i = f(s_{i-1}, y_{i-1},
    c_i) and p(y_i) = g(y_{i-1}, s_i, c_i), where g is a maxout layer. The first state of each layer is s_0 = tanh(W_s
    h_1), where h_1 is the backward encoder's state of the first token, or the last state of a unidirectional encoder.
    With several layers, s_{i-1} of the last layer is the query, and the first layer reads c_i.
    """

    def __init__(self, config: RecurrentSeq2SeqConfig, vocab_size: int) -> None:
        super().__init__(config, vocab_size, further_inputs=config.memory_width)
        self.initial = nn.ModuleList(nn.Linear(config.dim, config.dim) for _ in range(config.decoder_depth))
        self.cross = RecurrentAttention(AdditiveScore(config.dim, config.memory_width))
        self.readout = Readout(config.dim, config.memory_width)

    def begin(self, memory: Memory) -> RecurrentState:
        """Return s_0 of each layer, and U h_j of all states."""
        final = final_states(memory)[:, :, 0, -self.config.dim :]  # the backward direction is the last part
        same_depth = final.shape[1] == len(self.initial)
        hidden = [
            torch.tanh(project(final[:, layer if same_depth else -1])) for layer, project in enumerate(self.initial)
        ]
        keys = self.cross.prepare(memory.states, memory.mask)
        return RecurrentState(with_hypothesis_axis(with_cells(hidden, self.config.cell)), keys)

    def advance(self, embedded: Tensor, state: RecurrentState) -> Tensor:
        """Return the readout after a step."""
        hidden, context = self._attend(embedded, state)
        return self.readout(hidden, embedded, context)

    def run(self, embedded: Tensor, state: RecurrentState) -> Tensor:
        """Return the readouts of all steps, which are computed at once after the last step."""
        steps = [self._attend(embedded[:, step : step + 1], state) for step in range(embedded.shape[1])]
        hidden, context = (torch.cat(parts, 1) for parts in zip(*steps, strict=True))
        return self.readout(hidden, embedded, context)

    def _attend(self, embedded: Tensor, state: RecurrentState) -> tuple[Tensor, Tensor]:
        """Return s_i and c_i of a step, (B, R, D) and (B, R, M)."""
        assert state.memory is not None
        context = self.cross(state.layers[-1][0], state.memory)
        state.layers = self.stack.step(torch.cat((embedded, context), 2), state.layers)
        return state.layers[-1][0], context


class LuongDecoder(RecurrentDecoderBase):
    """A decoder with attention after each step (Luong et al. 2015, section 3).

    h_t = f(h_{t-1}, y_{t-1}), a_t = softmax(score(h_t, h_s)), c_t = sum_s a_t(s) h_s, and the attentional vector
    h~_t = tanh(W_c [c_t; h_t]) (eq. 5) predicts y_t. With input feeding (section 3.3) the first layer also reads
    h~_{t-1}, which is 0 at the start. Without input feeding, all steps are computed at once.
    """

    def __init__(self, config: RecurrentSeq2SeqConfig, vocab_size: int) -> None:
        super().__init__(config, vocab_size, further_inputs=config.dim if config.input_feeding else 0)
        self.initial = StateBridge(config)
        scores = {
            RecurrentAttentionKind.luong_dot: lambda: DotScore(),
            RecurrentAttentionKind.luong_general: lambda: GeneralScore(config.dim, self.width),
            RecurrentAttentionKind.luong_concat: lambda: AdditiveScore(config.dim, self.width),
        }
        self.cross = RecurrentAttention(scores[config.attention]())
        self.combine = nn.Linear(self.width + config.dim, config.dim, bias=False)

    def begin(self, memory: Memory) -> RecurrentState:
        """Return the encoder's final states, and the keys of the memory."""
        layers = with_hypothesis_axis(self.initial(final_states(memory)))
        state = RecurrentState(layers, self.cross.prepare(memory.states, memory.mask))
        if self.config.input_feeding:
            state.attentional = torch.zeros_like(layers[-1][0])
        return state

    def advance(self, embedded: Tensor, state: RecurrentState) -> Tensor:
        """Return h~_t after a step."""
        if state.attentional is not None:
            embedded = torch.cat((embedded, state.attentional), 2)
        state.layers = self.stack.step(embedded, state.layers)
        attentional = self._attend(state.layers[-1][0], state)
        if state.attentional is not None:
            state.attentional = attentional
        return attentional

    def run(self, embedded: Tensor, state: RecurrentState) -> Tensor:
        """Return h~_t of all steps, computed at once unless there is input feeding."""
        if self.config.input_feeding:
            return super().run(embedded, state)
        hidden, _ = self.stack(embedded, without_hypothesis_axis(state.layers))
        return self._attend(hidden, state)

    def _attend(self, hidden: Tensor, state: RecurrentState) -> Tensor:
        """Return h~ (B, T, D) for h (B, T, D)."""
        assert state.memory is not None
        context = self.cross(hidden, state.memory)
        return torch.tanh(self.combine(torch.cat((context, hidden), 2)))


def build_decoder(config: RecurrentSeq2SeqConfig, vocab_size: int) -> RecurrentDecoderBase:
    """Return the decoder that the settings describe."""
    if config.peeky:
        return PeekyDecoder(config, vocab_size)
    kinds = {RecurrentAttentionKind.none: FixedVectorDecoder, RecurrentAttentionKind.bahdanau: BahdanauDecoder}
    return kinds.get(config.attention, LuongDecoder)(config, vocab_size)
