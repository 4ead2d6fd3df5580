"""Pre-training an encoder: whole blocks of several documents."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.properties.families import batch_of, family_named
from tformer_cli import tasks
from tformer_cli.errors import ConfigError
from tformer_cli.tokenizers.huggingface import MASK

BERT = family_named("bert")
PAIRS = ("data.validation_share=0.5", "bert.nsp=true", "data.across_documents=true", "data.documents=file")
SMALL = (
    "data.source=files",
    "data.size=0",
    "data.documents=line",
    "data.across_documents=false",
    "tokenizer.vocab_size=40",
)


@pytest.fixture
def settings(tmp_path):
    lines = ["the cat sat", "a dog", "the mat is on the floor", "no", "cats and dogs sit here"] * 8
    (tmp_path / "train.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return (*SMALL, f"data.path={tmp_path}")


@torch.no_grad()
def test_documents_of_a_packed_block_do_not_see_each_other(tmp_path, settings):
    task = BERT.task(tmp_path, *settings)
    batch = batch_of(task, "train", 0, 0)
    model = task.model().eval()
    assert batch.documents.shape == batch.tokens.shape and int(batch.documents.max()) > 0
    assert (batch.lengths == batch.tokens.shape[1]).all()  # whole blocks
    ends = (batch.tokens == task.data.tokenizer.eos_id).long()
    inside = torch.cumsum(ends, 1) - ends  # a document's end mark is its own last token
    assert torch.equal(batch.documents[:, 1:-1], inside[:, 1:-1])
    changed = batch.tokens.clone()
    changed[:, 1] = 7
    first, second = (
        model(ids, batch.lengths, None, batch.indices, batch.documents)[1] for ids in (batch.tokens, changed)
    )
    moved = (first - second).abs().amax(-1)
    assert (moved[batch.documents > 0] == 0).all() and (moved[batch.documents == 0] > 0).any()
    loss = task.loss(model, batch)
    batch.documents = None
    assert float(task.loss(model, batch).total) != float(loss.total)


def test_padding_changes_nothing_with_documents_apart(tmp_path, settings):
    task = BERT.task(tmp_path, *settings, "data.validation_share=0.5")
    model = task.model().eval().requires_grad_(False)
    rows = np.arange(task.view("validation").packed.blocks)
    together = task.view("validation").collate(0, rows)
    assert int(together.lengths.min()) < together.tokens.shape[1]
    alone = [task.loss(model, task.view("validation").collate(0, rows[i : i + 1])) for i in range(len(rows))]
    assert float(task.loss(model, together).total) == pytest.approx(sum(float(loss.total) for loss in alone), rel=1e-5)


def test_documents_apart_and_next_sentences_contradict_each_other(tmp_path, settings):
    with pytest.raises(ConfigError, match="across_documents"):
        BERT.config(tmp_path, *settings, "bert.nsp=true")


@pytest.mark.parametrize("kind", ["bpe", "char"])
def test_a_gap_in_a_line_looks_as_it_does_in_training(kind, tmp_path, settings):
    """Pieces of words bring the space before them along, so that a gap is not preceded by a space of its own."""
    task = BERT.task(tmp_path, *settings, f"tokenizer.kind={kind}", "tokenizer.vocab_size=48")
    tokenizer, mask = task.data.tokenizer, task.data.mask_id
    word = "f" if kind == "char" else "the"
    line = f"cats and {word} dog"
    ids = tokenizer.encode(line)
    (place,) = np.flatnonzero(np.array(tokenizer.pieces(ids)) == (word if kind == "char" else f"\u2581{word}"))
    hidden = [*ids[:place], mask, *ids[place + 1 :]]
    assert tokenizer.encode(f"cats and {MASK} dog") == hidden
    assert tokenizer.encode(f"{MASK} dog")[-len(ids[place:]) :] == hidden[place:]


def test_masks_are_fresh_in_each_epoch_and_the_same_in_validation(tmp_path, settings):
    """Masks of a block change with each epoch in training, and are the same in each evaluation."""
    task = BERT.task(tmp_path, *settings, *PAIRS)
    rows = np.arange(len(task.data.pairs("train")))[:4]
    first, again, next_epoch = (task.view("train").collate(epoch, rows) for epoch in (0, 0, 1))
    assert torch.equal(first.indices, again.indices) and torch.equal(first.tokens, again.tokens)
    assert not (first.indices.shape == next_epoch.indices.shape and torch.equal(first.indices, next_epoch.indices))
    first_epoch, other = (task.view("validation").collate(epoch, rows) for epoch in (0, 1))
    assert torch.equal(first_epoch.indices, other.indices) and torch.equal(first_epoch.tokens, other.tokens)


def test_masks_of_one_text_differ_between_epochs(tmp_path):
    """Masks change because random numbers depend on the epoch, and not only because blocks change."""
    task = BERT.task(tmp_path)
    train, validation = task.view("train"), task.view("validation")
    for view in (train, validation):
        view.block = lambda epoch, row: (np.arange(20, 35), np.zeros(15, dtype=np.int64))
    masked = {epoch: train.collate(epoch, np.arange(8)).indices.tolist() for epoch in range(3)}
    assert masked[0] != masked[1] != masked[2] != masked[0]
    scored = [validation.collate(epoch, np.arange(8)).indices.tolist() for epoch in range(2)]
    assert scored[0] == scored[1] != masked[0]


@pytest.mark.parametrize("nsp", [False, True])
def test_the_objective_masks_each_sequence_with_the_generator_that_drew_it(nsp, tmp_path, settings):
    """A sequence is drawn first, and its masks from the same generator, whatever other rows the batch has."""
    task = BERT.task(tmp_path, *settings, *(PAIRS if nsp else ()))
    view, drawn = task.view("train"), []

    def noted(sequence, random):
        drawn.append((len(sequence.tokens), random.bit_generator.state["state"]["state"]))
        return sequence

    example, task.data.example = task.data.example, noted
    plain = view.collate(2, np.arange(3))
    assert len(plain.indices) == 0 and [length for length, _ in drawn] == plain.lengths.tolist()
    assert len({state for _, state in drawn}) == 3
    for row, (_, state) in enumerate(drawn):
        random = np.random.default_rng((task.config.seed, 2, row, False))
        fresh = random.bit_generator.state["state"]["state"]
        if nsp:  # the pair has used the generator before its masks do
            task.data.pairs("train").pair(row, random)
        assert random.bit_generator.state["state"]["state"] == state and (state != fresh) == nsp
    task.data.example = example
    together = view.collate(2, np.arange(3))
    restored = together.tokens.clone()
    restored.view(-1)[together.indices] = together.targets
    assert len(together.indices) and restored.equal(plain.tokens)
    alone = view.collate(2, np.arange(2, 3))
    assert alone.targets.equal(together.targets[together.rows == 2])
    assert alone.tokens[0, : alone.lengths[0]].equal(together.tokens[2, : alone.lengths[0]])


def test_training_pairs_in_use_do_not_change_with_the_epoch(tmp_path, settings):
    """A view that is not for training shows the same pairs and masks in each epoch."""
    task = BERT.task(tmp_path, *settings, *PAIRS)
    first, second = (task.data.view("train").collate(epoch, np.arange(4)) for epoch in range(2))
    assert first.tokens.equal(second.tokens) and first.indices.equal(second.indices)
    trained = task.view("train").collate(1, np.arange(4))
    assert not (trained.tokens.shape == first.tokens.shape and trained.tokens.equal(first.tokens))


def test_a_vocabulary_without_a_mask_is_refused(tmp_path, settings):
    with pytest.raises(ConfigError, match="no piece <mask>"):
        BERT.task(tmp_path, *settings, "tokenizer.user_symbols=[]")
    for name, content in family_named("gpt").task(tmp_path).data.files().items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError, match="no piece <mask>"):
        tasks.build(BERT.config(tmp_path, *settings)).data.load(tmp_path)
