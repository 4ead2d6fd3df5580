"""Names of tokens for readers: byte-level vocabularies beside the text that they encode."""

from __future__ import annotations

import pytest
from tokenizers import Tokenizer as Library
from tokenizers import decoders, models, pre_tokenizers, trainers

from tests.tokenizers.test_tokenizer import train
from tformer_cli.figures.base import readable
from tformer_cli.figures.vectors import pattern_of, places, spelled
from tformer_cli.tokenizers.huggingface import BYTES, JsonTokenizer

SPECIAL = {"pad": "<pad>", "unk": "<unk>", "bos": "<s>", "eos": "</s>", "mask": "<mask>"}
TEXTS = [
    "The animal didn't cross the street",
    "caf\u00e9 na\u00efve \u6771\u4eac \u6625 \U0001f600",
    "a\tb\nc  d",
    "back\\slash \u0120",
]


@pytest.fixture(scope="module", params=["a decoder", "a sequence of decoders"])
def byte_level(request):
    """A vocabulary of bytes and of the merges of a few words."""
    library = Library(models.BPE())
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    decoder = decoders.ByteLevel()
    library.decoder = decoder if request.param == "a decoder" else decoders.Sequence([decoder])
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=list(SPECIAL.values()), show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    library.train_from_iterator(["the animal caf\u00e9", " animal animal caf\u00e9 caf\u00e9 caf\u00e9"] * 9, trainer)
    return JsonTokenizer(library.to_str().encode(), SPECIAL)


def test_the_letters_of_bytes_are_those_of_the_library():
    assert set(BYTES) == set(pre_tokenizers.ByteLevel.alphabet()) and sorted(BYTES.values()) == list(range(256))


@pytest.mark.parametrize("text", TEXTS)
def test_names_spell_the_text(text, byte_level):
    names = byte_level.names(byte_level.encode(text))
    assert "".join(spelled(["\u2581", *names])) == f" {text}"
    assert all(name and name.isprintable() for name in names)


def test_names_are_read_by_people(byte_level):
    assert byte_level.pieces(byte_level.encode("the animal"))[-1] == "\u0120animal"
    names = byte_level.names(byte_level.encode("the animal caf\u00e9"))
    assert readable(names)[-2:] == ["animal", "caf\u00e9"] and names[-1] == "\u2581caf\u00e9"
    special = [byte_level.bos_id, byte_level.mask_id]
    assert byte_level.names(special) == ["<s>", "<mask>"]
    assert byte_level.names(byte_level.encode("\u6625")) == ["<0xE6>", "<0x98>", "<0xA5>"]


@pytest.mark.parametrize("word", ["animal", "\u6625", "na\u00efve", "caf\u00e9"])
def test_words_are_at_their_pieces(word, byte_level):
    ids = byte_level.encode(f"the {word} in caf\u00e9s")
    ((positions, _),) = places(pattern_of(word), byte_level.names(ids))
    assert word.endswith(byte_level.decode([ids[position] for position in positions]).strip("\ufffd ")[-1:])


def test_other_vocabularies_write_text():
    tokenizer = train()
    ids = tokenizer.encode("the cat")
    assert tokenizer.names(ids) == tokenizer.pieces(ids)
