"""Recurrent encoder-decoders: invariants of all kinds, and the equations of each paper as plain loops."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tformer_cli.config.schema import Cell, DecodeConfig, TieEmbeddings
from tformer_cli.decode.alignment import alignments
from tformer_cli.decode.search import search
from tformer_cli.errors import ConfigError
from tformer_cli.models.recurrent_seq2seq import RecurrentAttentionKind, RecurrentSeq2SeqConfig
from tformer_cli.models.recurrent_seq2seq.model import RecurrentSeq2Seq
from tformer_cli.nn.taps import attention_weights

PAD, BOS, EOS, SOURCE_VOCABULARY, TARGET_VOCABULARY = 0, 1, 2, 23, 19
NONE, BAHDANAU, DOT, GENERAL, CONCAT = RecurrentAttentionKind
SETTINGS: dict[str, dict[str, Any]] = {
    "fixed": {"attention": NONE, "reverse_source": True, "encoder_depth": 2, "decoder_depth": 2},
    "fixed-gru": {"attention": NONE, "cell": Cell.gru, "bidirectional": True, "decoder_depth": 2},
    "peeky": {"attention": NONE, "peeky": True, "cell": Cell.gru, "decoder_depth": 2},
    "peeky-lstm": {"attention": NONE, "peeky": True, "bidirectional": True},
    "bahdanau": {"attention": BAHDANAU, "cell": Cell.gru, "bidirectional": True},
    "bahdanau-lstm": {"attention": BAHDANAU, "encoder_depth": 2, "decoder_depth": 2},
    "luong-dot": {"attention": DOT},
    "luong-dot-bridge": {"attention": DOT, "bidirectional": True, "bridge": True},
    "luong-general-bridge": {"attention": GENERAL, "bidirectional": True, "bridge": True, "decoder_depth": 2},
    "luong-concat-bridge": {
        "attention": CONCAT,
        "cell": Cell.gru,
        "bidirectional": True,
        "bridge": True,
        "input_feeding": True,
    },
    "luong-general": {"attention": GENERAL, "bidirectional": True, "encoder_depth": 2, "decoder_depth": 2},
    "luong-concat": {"attention": CONCAT, "cell": Cell.gru, "reverse_source": True},
    "luong-feeding": {"attention": GENERAL, "input_feeding": True, "decoder_depth": 2, "bidirectional": True},
}


def build(dtype: torch.dtype = torch.float64, **settings) -> RecurrentSeq2Seq:
    """A small model in evaluation mode; every parameter is random, those that start at zero too."""
    values = {"dim": 8, "dropout": 0.1, "max_length": 16, "tie_embeddings": TieEmbeddings.decoder}
    config = RecurrentSeq2SeqConfig(**values | settings)
    config.check()
    model = RecurrentSeq2Seq(config, SOURCE_VOCABULARY, TARGET_VOCABULARY)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.4)
    return model.to(dtype).eval()


@pytest.fixture(params=SETTINGS.values(), ids=SETTINGS.keys())
def model(request: pytest.FixtureRequest) -> RecurrentSeq2Seq:
    return build(**request.param)


def padded_batch() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Sources and targets of different lengths; the padding is noise, which must not matter."""
    lengths, target_lengths = torch.tensor([7, 3, 1]), torch.tensor([4, 6, 2])
    source, target = torch.randint(3, SOURCE_VOCABULARY, (3, 7)), torch.randint(3, TARGET_VOCABULARY, (3, 6))
    return source, lengths, target, target_lengths


@torch.no_grad()
def test_padding_and_batch_mates_change_nothing(model: RecurrentSeq2Seq) -> None:
    source, lengths, target, target_lengths = padded_batch()
    together = model.logits(model(source, lengths, target))
    assert together.shape == (3, 6, TARGET_VOCABULARY) and together.isfinite().all()
    for row in range(3):
        s, t = int(lengths[row]), int(target_lengths[row])
        for more in (0, 2):  # padding beyond the longest sentence of the batch
            longer = torch.nn.functional.pad(source[row : row + 1, :s], (0, more), value=5)
            alone = model.logits(model(longer, lengths[row : row + 1], target[row : row + 1, :t]))
            torch.testing.assert_close(together[row : row + 1, :t], alone, atol=1e-10, rtol=1e-10)


@torch.no_grad()
def test_the_future_changes_nothing_and_the_past_does(model: RecurrentSeq2Seq) -> None:
    source, lengths, target, _ = padded_batch()
    before = model(source, lengths, target)
    changed = target.clone()
    changed[:, 3] = 3 + (changed[:, 3] - 2) % (TARGET_VOCABULARY - 3)
    after = model(source, lengths, changed)
    assert torch.equal(after[:, :3], before[:, :3])
    assert ((after[:, 3:] - before[:, 3:]).abs().amax(-1) > 1e-9).all()
    for token in range(int(lengths[0])):  # each source token reaches the decoder
        other = source.clone()
        other[0, token] = 3 + (other[0, token] - 2) % (SOURCE_VOCABULARY - 3)
        assert (model(other, lengths, target)[0] - before[0]).abs().max() > 1e-9
        assert torch.equal(model(other, lengths, target)[1:], before[1:])


@torch.no_grad()
def test_cached_decoding_equals_teacher_forcing(model: RecurrentSeq2Seq) -> None:
    source, lengths, target, _ = padded_batch()
    full = model(source, lengths, target)
    state = model.start(model.encode(source, lengths), 1, 6)
    steps = torch.cat([model.step(target[:, t : t + 1], state) for t in range(6)], dim=1)
    torch.testing.assert_close(steps, full, atol=1e-12, rtol=1e-12)


@torch.no_grad()
def test_beams_follow_their_parents_and_sentences_can_leave(model: RecurrentSeq2Seq) -> None:
    """Histories fork and cross; the hidden state of each is that of its tokens alone. Then a sentence leaves."""
    source, lengths, _, _ = padded_batch()
    state = model.start(model.encode(source, lengths), 3, 5)
    rows, histories, hidden = torch.arange(3), [[[BOS]] for _ in range(3)], torch.empty(0)
    parents_of = [[[0, 0, 0]] * 3, [[2, 0, 0], [1, 1, 1], [0, 1, 2]], [[0, 2, 1], [2, 0, 2], [1, 0, 0]]]
    for step, parents in enumerate([*parents_of, None]):
        tokens = torch.tensor([[history[-1] for history in histories[int(row)]] for row in rows])
        hidden = model.step(tokens, state)
        if parents is None:
            break
        drawn = torch.randint(3, TARGET_VOCABULARY, (3, 3)).tolist()
        histories = [
            [[*histories[row][parent], drawn[row][beam]] for beam, parent in enumerate(parents[row])]
            for row in range(3)
        ]
        state.follow(torch.tensor(parents)[rows])
        if step == 2:
            rows = torch.tensor([0, 2])
            state.keep(rows)
    for position, row in enumerate(rows.tolist()):
        for beam, history in enumerate(histories[row]):
            alone = model(source[row : row + 1], lengths[row : row + 1], torch.tensor([history]))
            torch.testing.assert_close(hidden[position, beam], alone[0, -1], atol=1e-12, rtol=1e-12)


def test_search_scores_are_those_of_the_outputs(model: RecurrentSeq2Seq) -> None:
    source, lengths, _, _ = padded_batch()
    with torch.no_grad():
        memory = model.encode(source, lengths)
        results = search(
            model, model.start(memory, 4, 5), config=DecodeConfig(beam=4, n_best=4), bos_id=BOS, eos_id=EOS,
            max_lengths=torch.tensor([5, 3, 4]), forbidden=(PAD, BOS),
        )  # fmt: skip
        for row, hypotheses in enumerate(results):
            assert len({tuple(hypothesis.tokens) for hypothesis in hypotheses}) == 4
            for hypothesis in hypotheses:
                inputs = torch.tensor([[BOS, *hypothesis.tokens]])
                hidden = model(source[row : row + 1], lengths[row : row + 1], inputs)
                log_probs = model.logits(hidden)[0].log_softmax(-1)
                total = log_probs[torch.arange(inputs.shape[1]), [*hypothesis.tokens, EOS]].sum()
                assert hypothesis.log_probability == pytest.approx(float(total), abs=1e-5)


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS.keys())
def test_autocast_changes_neither_outputs_nor_gradients(settings: dict[str, Any]) -> None:
    """All but the output layer computes in float32."""
    model = build(torch.float32, **settings)
    source, lengths, target, _ = padded_batch()
    outputs, gradients = [], []
    for enabled in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            outputs.append(model(source, lengths, target))
        model.zero_grad()
        outputs[-1].square().sum().backward()
        gradients.append({name: value.grad for name, value in model.named_parameters() if value.grad is not None})
    assert outputs[1].dtype is torch.float32 and torch.equal(*outputs)
    torch.testing.assert_close(gradients[1], gradients[0], atol=0, rtol=0)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        results = search(
            model, model.start(model.encode(source, lengths), 2, 4), config=DecodeConfig(beam=2), bos_id=BOS,
            eos_id=EOS, max_lengths=torch.tensor([4, 4, 4]), forbidden=(PAD, BOS),
        )  # fmt: skip
    assert len(results) == 3


@torch.no_grad()
def test_weights_are_over_real_tokens_and_alignments_use_them(model: RecurrentSeq2Seq) -> None:
    source, lengths, _, _ = padded_batch()
    outputs = [[5, 6, 7], [8], []]
    if not model.config.aligns:
        with pytest.raises(ValueError, match="no cross-attention"):
            alignments(model, source, lengths, outputs, bos_id=BOS)
        assert attention_weights(model, lambda: model(source, lengths, torch.tensor([[BOS, 5]] * 3))) == {}
        return
    inputs = torch.tensor([[BOS, 5, 6, 7], [BOS, 8, BOS, BOS], [BOS, BOS, BOS, BOS]])
    ((name, weights),) = attention_weights(model, lambda: model(source, lengths, inputs)).items()
    assert name == "decoder.cross" and weights.shape == (3, 1, 4, 7)
    torch.testing.assert_close(weights.sum(-1), torch.ones_like(weights[..., 0]))
    real = torch.arange(7) < lengths[:, None]
    assert not weights.masked_select(~real[:, None, None].expand_as(weights)).any()
    assert (weights.masked_select(real[:, None, None].expand_as(weights)) > 0).all()
    for row, matrix in enumerate(alignments(model, source, lengths, outputs, bos_id=BOS)):
        size = len(outputs[row]) + 1
        torch.testing.assert_close(matrix, weights[row, 0, :size, : lengths[row]].float())


@torch.no_grad()
def test_an_empty_source_gives_finite_values(model: RecurrentSeq2Seq) -> None:
    source, _, target, _ = padded_batch()
    lengths = torch.tensor([7, 0, 2])
    out = model(source, lengths, target)
    assert out.isfinite().all()
    other = model(3 + (source - 2) % (SOURCE_VOCABULARY - 3), lengths, target)
    assert torch.equal(other[1], out[1])


# --- the papers' equations, as plain loops ------------------------------------------------------------------------


class Plain:
    """The weights of a model by name, and recurrent cells in numpy."""

    def __init__(self, model: RecurrentSeq2Seq) -> None:
        self.weights = {name: value.detach().numpy() for name, value in model.state_dict().items()}
        self.dim = model.config.dim

    def __getitem__(self, name: str) -> np.ndarray:
        return self.weights[name]

    def linear(self, name: str, x: np.ndarray) -> np.ndarray:
        return self[f"{name}.weight"] @ x + self.weights.get(f"{name}.bias", 0.0)

    def cell(self, name: str, x: np.ndarray, state: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
        """The next state of an LSTM, if the state is (h, c), or of a GRU."""
        sigmoid = lambda value: 1 / (1 + np.exp(-value))  # noqa: E731
        inputs = self[f"{name}.rnn.weight_ih_l0"] @ x + self[f"{name}.rnn.bias_ih_l0"]
        recurrent = self[f"{name}.rnn.weight_hh_l0"] @ state[0] + self[f"{name}.rnn.bias_hh_l0"]
        if len(state) == 2:
            i, f, g, o = np.split(inputs + recurrent, 4)
            c = sigmoid(f) * state[1] + sigmoid(i) * np.tanh(g)
            return sigmoid(o) * np.tanh(c), c
        (r_x, z_x, n_x), (r_h, z_h, n_h) = np.split(inputs, 3), np.split(recurrent, 3)
        z = sigmoid(z_x + z_h)
        return ((1 - z) * np.tanh(n_x + sigmoid(r_x + r_h) * n_h) + z * state[0],)

    def read(self, name: str, inputs: list[np.ndarray], parts: int) -> list[tuple[np.ndarray, ...]]:
        """The states after each input, from zeros."""
        states = [(np.zeros(self.dim),) * parts]
        for x in inputs:
            states.append(self.cell(name, x, states[-1]))
        return states[1:]

    def embed(self, side: str, tokens: list[int]) -> list[np.ndarray]:
        return [self[f"{side}.embedding.weight"][token] * self.dim**0.5 for token in tokens]

    def maxout(self, x: np.ndarray) -> np.ndarray:
        return self.linear("decoder.readout.project", x).reshape(-1, 2).max(1)


def softmax(scores: list[float]) -> np.ndarray:
    exponentials = np.exp(scores)
    return exponentials / exponentials.sum()


def assert_equals(model: RecurrentSeq2Seq, source: list[int], target: list[int], expected: list[np.ndarray]) -> None:
    """Compare hidden states with those of the model, with a longer sentence beside the source in the batch."""
    batch = torch.randint(3, SOURCE_VOCABULARY, (2, len(source) + 3))
    batch[0, : len(source)] = torch.tensor(source)
    lengths = torch.tensor([len(source), len(source) + 3])
    with torch.no_grad():
        hidden = model(batch, lengths, torch.tensor([target, target]))[0]
    np.testing.assert_allclose(hidden.numpy(), np.stack(expected), rtol=1e-9, atol=1e-12)


SOURCE, TARGET = [5, 9, 4, 7, EOS], [BOS, 6, 3, 8]


def test_bahdanau_equals_a_plain_loop() -> None:
    model = build(**SETTINGS["bahdanau"])
    plain = Plain(model)
    x = plain.embed("encoder", SOURCE)
    forward = [state[0] for state in plain.read("encoder.stack.blocks.0.forward_layer", x, 1)]
    backward = [state[0] for state in plain.read("encoder.stack.blocks.0.backward_layer", x[::-1], 1)][::-1]
    h = [np.concatenate(pair) for pair in zip(forward, backward, strict=True)]
    w, u, v = (plain[f"decoder.cross.score.{name}"] for name in ("project_query.weight", "project_key.weight", "v"))
    s, expected = np.tanh(plain.linear("decoder.initial.0", backward[0])), []
    for y in plain.embed("decoder", TARGET):
        a = softmax([float(v @ np.tanh(w @ s + u @ h_j)) for h_j in h])
        c = sum(weight * h_j for weight, h_j in zip(a, h, strict=True))
        (s,) = plain.cell("decoder.stack.blocks.0", np.concatenate((y, c)), (s,))
        expected.append(plain.maxout(np.concatenate((s, y, c))))
    assert_equals(model, SOURCE, TARGET, expected)


@pytest.mark.parametrize("feeding", [False, True])
@pytest.mark.parametrize("kind", [DOT, GENERAL, CONCAT])
def test_luong_equals_a_plain_loop(kind: RecurrentAttentionKind, feeding: bool) -> None:
    """The model is an LSTM with one direction, whose last h and c are the first state of the decoder."""
    model = build(attention=kind, input_feeding=feeding)
    plain = Plain(model)
    states = plain.read("encoder.stack.blocks.0.forward_layer", plain.embed("encoder", SOURCE), 2)
    state, attentional, expected = states[-1], np.zeros(8), []
    name = "decoder.cross.score"
    for y in plain.embed("decoder", TARGET):
        x = np.concatenate((y, attentional)) if feeding else y
        state = plain.cell("decoder.stack.blocks.0", x, state)
        h_t, scores = state[0], []
        for h_s, _ in states:
            if kind is DOT:
                scores.append(float(h_t @ h_s))
            elif kind is GENERAL:
                scores.append(float(h_t @ plain[f"{name}.project_key.weight"] @ h_s))
            else:
                matrix = np.hstack((plain[f"{name}.project_query.weight"], plain[f"{name}.project_key.weight"]))
                scores.append(float(plain[f"{name}.v"] @ np.tanh(matrix @ np.concatenate((h_t, h_s)))))
        c_t = sum(weight * h_s for weight, (h_s, _) in zip(softmax(scores), states, strict=True))
        attentional = np.tanh(plain.linear("decoder.combine", np.concatenate((c_t, h_t))))
        expected.append(attentional)
    assert_equals(model, SOURCE, TARGET, expected)


@pytest.mark.parametrize("cell", Cell)
def test_peeky_equals_a_plain_loop(cell: Cell) -> None:
    model = build(attention=NONE, peeky=True, cell=cell, decoder_depth=2)
    plain, parts = Plain(model), 2 if cell is Cell.lstm else 1
    last = plain.read("encoder.stack.blocks.0.forward_layer", plain.embed("encoder", SOURCE), parts)[-1]
    c = np.tanh(plain.linear("decoder.summary", last[0]))
    layers = [(np.tanh(plain.linear(f"decoder.initial.{n}", c)), np.zeros(8))[:parts] for n in range(2)]
    expected = []
    for y in plain.embed("decoder", TARGET):
        x = y
        for number in range(2):
            layers[number] = plain.cell(f"decoder.stack.blocks.{number}", np.concatenate((x, c)), layers[number])
            x = layers[number][0]
        expected.append(plain.maxout(np.concatenate((x, y, c))))
    assert_equals(model, SOURCE, TARGET, expected)


@pytest.mark.parametrize("cell", Cell)
def test_without_attention_it_equals_two_of_torchs_modules(cell: Cell) -> None:
    """h and c of every layer of the encoder start the decoder; the source is read from its end, with </s> last."""
    model = build(attention=NONE, cell=cell, encoder_depth=2, decoder_depth=2, reverse_source=True)
    kind = nn.LSTM if cell is Cell.lstm else nn.GRU
    encoder, decoder = (kind(8, 8, 2, batch_first=True).double() for _ in range(2))
    for number in range(2):
        for module, layer in (
            (encoder, model.encoder.stack.blocks[number].forward_layer), (decoder, model.decoder.stack.blocks[number])
        ):  # fmt: skip
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
                getattr(module, f"{name}_l{number}").data.copy_(getattr(layer.rnn, f"{name}_l0").data)
    source = torch.tensor([[*SOURCE[-2::-1], EOS]])
    with torch.no_grad():
        _, final = encoder(model.encoder.embedding(source) * 8**0.5)
        expected, _ = decoder(model.decoder.embedding(torch.tensor([TARGET])) * 8**0.5, final)
    assert_equals(model, SOURCE, TARGET, list(expected[0].numpy()))


@torch.no_grad()
def test_a_reversed_source_keeps_the_order_of_its_states() -> None:
    """State j belongs to token j: it depends on the tokens after it, but for </s>, which is read last."""
    model = build(attention=GENERAL, reverse_source=True)
    source, lengths = torch.tensor([[5, 9, 4, EOS, PAD, PAD]]), torch.tensor([4])
    before = model.encode(source, lengths)
    changed = source.clone()
    changed[0, 1] = 6
    difference = (model.encode(changed, lengths).states - before.states)[0].abs().amax(-1)
    assert (difference[[0, 1, 3]] > 1e-9).all() and difference[2] == 0
    torch.testing.assert_close(before.final[0, 0, 0], before.states[0, 3])


@torch.no_grad()
def test_states_are_projected_where_shapes_differ() -> None:
    """h'_0 = tanh(W h) and c'_0 = W' c of the last layer, [forward; backward]."""
    model = build(attention=GENERAL, bidirectional=True, encoder_depth=2, decoder_depth=1)
    source, lengths, _, _ = padded_batch()
    memory = model.encode(source, lengths)
    (h, c), (project_h, project_c) = memory.final[:, 1].unbind(1), model.decoder.initial.project
    ((first_h, first_c),) = model.start(memory, 1, 1).layers
    torch.testing.assert_close(first_h[:, 0], torch.tanh(project_h(h)))
    torch.testing.assert_close(first_c[:, 0], project_c(c))


# --- settings -------------------------------------------------------------------------------------------------------


def test_tied_embeddings_are_one_matrix() -> None:
    for tie, count in ((TieEmbeddings.all, 1), (TieEmbeddings.decoder, 2), (TieEmbeddings.none, 3)):
        model = RecurrentSeq2Seq(RecurrentSeq2SeqConfig(dim=8, tie_embeddings=tie), 11, 11)
        weights = {model.encoder.embedding.weight, model.decoder.embedding.weight, model.output_layer()[0]}
        assert len(weights) == count and model.output_layer()[1] is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"peeky": True, "attention": GENERAL}, "model.peeky: needs model.attention=none, not"),
        ({"input_feeding": True, "attention": BAHDANAU}, "model.input_feeding: needs model.attention=luong"),
        ({"bridge": True, "attention": NONE}, "model.bridge: needs model.attention=luong"),
        ({"bridge": True, "attention": DOT, "dim": 8}, "model.bridge: encoder and decoder have equal widths, 8"),
        ({"attention": DOT, "bidirectional": True, "dim": 8}, "luong_dot needs equal widths, not 16 and 8"),
        ({"reverse_source": True, "bidirectional": True}, "model.reverse_source: a bidirectional encoder"),
    ],
)
def test_settings_without_a_meaning_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        RecurrentSeq2SeqConfig(**settings).check()


def test_training_has_dropout_and_is_seeded(model: RecurrentSeq2Seq) -> None:
    source, lengths, target, _ = padded_batch()
    model.train()
    torch.manual_seed(4)
    first = model(source, lengths, target)
    assert not torch.equal(first, model(source, lengths, target))
    torch.manual_seed(4)
    assert torch.equal(first, model(source, lengths, target))


def test_every_parameter_is_trained(model: RecurrentSeq2Seq) -> None:
    source, lengths, target, _ = padded_batch()
    model.logits(model(source, lengths, target)).square().sum().backward()
    assert [name for name, value in model.named_parameters() if value.grad is None or not value.grad.any()] == []
