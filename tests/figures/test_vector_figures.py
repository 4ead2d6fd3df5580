"""Vectors of tokens and of a word's occurrences: places of words in tokens, and numbers against plain loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cosine

from tests.properties.families import family_named
from tformer_cli.errors import ConfigError, DataError
from tformer_cli.figures.base import Options, Subject
from tformer_cli.figures.vectors import BATCH_TEXTS, KIND, check_senses, pattern_of, places

TEXTS = ["a good film", "the film is good", "what a bore", "so good", "goodness is rare"]


def subject_of(name: str, folder, texts=(), **options) -> Subject:
    """Return a small random model with examples, and the texts of a user."""
    task = family_named(name).task(folder)
    torch.manual_seed(3)
    model = task.model().eval()
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    examples = task.inspector.of_split(model, "validation", 1)
    return Subject(model, task.inspector, examples, Options(**options), texts)


@pytest.mark.parametrize(
    ("word", "names", "positions"),
    [
        ("spring", ["<s>", "▁In", "▁sp", "ring", "▁the", "▁off", "spring", "▁Spring", "</s>"], [[2, 3], [7]]),
        ("Spring", ["<s>", "▁spring", ".", "</s>"], [[1]]),
        ("spring", ["[CLS]", "the", "spr", "##ing", "##s", "spring", "[SEP]", "spring", "[SEP]"], [[5], [7]]),
        ("spring", ["▁the", "▁spring", "▁spring", "time"], [[1]]),
        ("春", ["▁the", "▁<0xE6>", "<0x98>", "<0xA5>", "春", "だ"], [[3], [4]]),
        ("été", ["▁<0xC3>", "<0xA9>t", "é", "▁été<0xC3>"], [[1, 2], [3]]),
        ("new york", ["▁New", "▁York", "▁new", "▁yorker"], [[0, 1]]),
        ("春", ["▁", "青", "春", "の春", "だ"], [[2], [3]]),
        ("東京", ["[CLS]", "東", "京", "に", "東", "[SEP]"], [[1, 2]]),
        ("s", ["<s>", "▁It", "'", "s", "</s>"], [[3]]),
        ("a.b", ["▁a", ".", "b", "▁a", "x", "b"], [[0, 1, 2]]),
        ("the", ["▁", "t", "h", "e", "▁", "t", "h", "e", "n"], [[1, 2, 3]]),
        ("\u00e9t\u00e9", ["▁un", "▁e", "\u0301t", "e\u0301", "▁ici"], [[1, 2, 3]]),  # é as one and as two characters
        ("e\u0301te\u0301", ["▁un", "▁\u00e9", "t\u00e9"], [[1, 2]]),
        ("fish", ["▁the", "▁\ufb01", "sh", "▁\ufb01"], [[1, 2]]),  # a ligature
        ("が", ["▁", "か", "\u3099", "か"], [[1, 2]]),
    ],
)
def test_a_word_is_at_the_pieces_that_spell_it(word, names, positions):
    assert [place for place, _ in places(pattern_of(word), names)] == positions


def test_contexts_have_some_characters_on_both_sides():
    names = [
        "<s>",
        *(f"▁{word}" for word in ["one", "two", "three", "four", "five", "spring", "six", "seven", "eight", "nine"]),
        "</s>",
    ]
    ((_, context),) = places(pattern_of("spring"), names)
    assert context == "…three four five spring six seven eight…"
    ((_, japanese),) = places(pattern_of("春"), ["▁", *"一二三四五六七八九十一二三四五六七八九十春一二三"])
    assert japanese == "…五六七八九十一二三四五六七八九十春一二三"
    ((_, decomposed),) = places(pattern_of("\u00e9t\u00e9"), ["▁un", "▁e", "\u0301t", "e\u0301", "▁ici"])
    assert decomposed == "un e\u0301te\u0301 ici"
    ((_, short),) = places(pattern_of("spring"), ["<s>", "▁spring", "▁is", "</s>"])
    assert short == "spring is"


def test_static_similarity_is_the_cosine_with_the_row_of_the_embedding(tmp_path):
    subject = subject_of("text classification", tmp_path)
    (figure,) = KIND.draw(subject)
    (example,) = subject.examples
    vectors = subject.inspector.token_vectors(subject.model)
    with torch.inference_mode():
        rows = []
        hook = vectors.embedding.register_forward_pre_hook(lambda _, inputs: rows.append(inputs[0][0]))
        example.run()
        hook.remove()
        static = vectors.embedding.weight[rows[0]].numpy()
    states = subject.states(example, vectors.stack).numpy()
    expected = [[1 - cosine(x, y) for x, y in zip(static, layer, strict=True)] for layer in states]
    np.testing.assert_allclose(figure.numbers["cosines"], expected, atol=1e-5)
    assert figure.picture.values.shape == (len(example.encoder), len(states))


@pytest.mark.parametrize("name", ["text classification", "bert", "gpt", "translation", "editing"])
def test_occurrences_of_a_word_equal_plain_loops(name, tmp_path):
    texts = TEXTS if name != "editing" else [text.replace("good", "cat") for text in TEXTS]
    subject = subject_of(name, tmp_path, texts, senses="good" if name != "editing" else "cat")
    placed, nearest, layers = KIND.draw(subject)
    assert len(placed.numbers["contexts"]) == 3
    vectors = subject.inspector.token_vectors(subject.model)
    pattern, states = pattern_of(subject.options.senses), []
    for text in texts:
        for example in subject.inspector.readings(subject.model, [text]):
            output = subject.states(example, vectors.stack).numpy()
            for positions, _ in places(pattern, (example.encoder or example.decoder).names):
                states.append(np.mean([output[:, position] for position in positions], 0))
    assert len(states) == 3
    cosines = np.array([[1 - cosine(x[-1], y[-1]) for y in states] for x in states])
    for row, (indices, values) in enumerate(zip(nearest.numbers["nearest"], nearest.numbers["cosines"], strict=True)):
        others = sorted((other for other in range(3) if other != row), key=lambda other: -cosines[row, other])
        assert indices.tolist() == others
        np.testing.assert_allclose(values, cosines[row, others], atol=1e-5)
    for layer, value in enumerate(layers.numbers["self_similarity"]):
        pairs = [1 - cosine(states[i][layer], states[j][layer]) for i in range(3) for j in range(i)]
        assert value == pytest.approx(np.mean(pairs), abs=1e-5)
    distances = np.linalg.norm(placed.numbers["points"][:, None] - placed.numbers["points"][None], axis=-1)
    real = np.array([[np.linalg.norm(x[-1] - y[-1]) for y in states] for x in states])
    np.testing.assert_allclose(distances, real, atol=1e-4)  # three points lie in a plane


def test_many_texts_are_read_in_batches(tmp_path, monkeypatch):
    subject = subject_of("text classification", tmp_path, TEXTS[:1] * (2 * BATCH_TEXTS) + TEXTS[2:3], senses="GOOD")
    sizes, readings = [], subject.inspector.readings
    monkeypatch.setattr(
        subject.inspector, "readings", lambda model, batch: sizes.append(len(batch)) or readings(model, batch)
    )
    figures = list(KIND.draw(subject))
    assert sizes == [BATCH_TEXTS, BATCH_TEXTS]
    assert len(figures[0].numbers["contexts"]) == 2 * BATCH_TEXTS and "40 of 64" in figures[0].caption


@pytest.mark.parametrize(
    ("word", "cause"),
    [("walrus", "none of the texts has the word"), ("bore", "the texts have the word only once")],
)
def test_a_word_that_is_too_rare_is_one_line(word, cause, tmp_path):
    subject = subject_of("text classification", tmp_path, TEXTS, senses=word)
    with pytest.raises(DataError, match=rf"--senses {word}: {cause} \(5 read\)"):
        list(KIND.draw(subject))


def test_models_without_tokens_have_no_such_vectors(tmp_path):
    assert "no tokens" in KIND.missing(subject_of("vit", tmp_path))
    with pytest.raises(ConfigError, match="--senses: the model reads no tokens"):
        subject = subject_of("vit", tmp_path)
        check_senses(subject.inspector, subject.model, "good", ["photo.png"])
