"""Detection of tagging schemes, and the entities of tags."""

from __future__ import annotations

import random

import pytest
from seqeval.scheme import BILOU, IOB1, IOB2, IOBES, IOE1, IOE2, Tokens

from tformer_cli.config.schema import Scheme
from tformer_cli.data.text.tag_schemes import TagScheme, find_scheme
from tformer_cli.errors import DataError
from tformer_cli.metrics.tags import plain_tags_scores, tags_scores

THEIRS = {
    Scheme.io: (IOB1, "I"), Scheme.iob1: (IOB1, "IB"), Scheme.iob2: (IOB2, "IB"), Scheme.ioe1: (IOE1, "IE"),
    Scheme.ioe2: (IOE2, "IE"), Scheme.iobes: (IOBES, "BIES"), Scheme.bilou: (BILOU, "BILU"),
}  # fmt: skip


def drawn(letters: str, seed: int, count: int = 400) -> list[list[str]]:
    choose = random.Random(seed)
    tags = ["O", *(f"{letter}-{kind}" for letter in letters for kind in ("PER", "work-of-art"))]
    return [[choose.choice(tags) for _ in range(choose.randint(1, 7))] for _ in range(count)]


@pytest.mark.parametrize("scheme", [Scheme.io, Scheme.iob2, Scheme.ioe2, Scheme.iobes, Scheme.bilou])
def test_entities_are_those_of_seqeval(scheme):
    seqeval_scheme, letters = THEIRS[scheme]
    for tags in drawn(letters, 1):
        assert TagScheme(scheme).entities(tags) == [
            (e.tag, e.start, e.end) for e in Tokens(tags, seqeval_scheme).entities
        ]


@pytest.mark.parametrize("scheme", [Scheme.iob1, Scheme.ioe1])
def test_entities_of_well_formed_tags(scheme):
    """Entities of well-formed tags equal seqeval's; in others it ignores a B before another type and most E of IOE1."""
    cases = {
        Scheme.iob1: (["I-A", "B-A", "I-A", "O", "I-B", "I-A"], [("A", 0, 1), ("A", 1, 3), ("B", 4, 5), ("A", 5, 6)]),
        Scheme.ioe1: (["I-A", "E-A", "I-A", "O", "I-B", "I-A"], [("A", 0, 2), ("A", 2, 3), ("B", 4, 5), ("A", 5, 6)]),
    }
    tags, entities = cases[scheme]
    assert TagScheme(scheme).entities(tags) == entities
    assert [(e.tag, e.start, e.end) for e in Tokens(tags, THEIRS[scheme][0]).entities] == entities


@pytest.mark.parametrize("scheme", THEIRS)
def test_scores_are_those_of_seqeval_in_its_strict_mode(scheme):
    from seqeval.metrics import f1_score, precision_score, recall_score

    seqeval_scheme, letters = THEIRS[scheme]
    targets, predictions = drawn(letters, 2), drawn(letters, 2)
    for row, other in zip(predictions, drawn(letters, 3), strict=True):
        row[: len(row) // 2] = (other * 4)[: len(row) // 2]
    ours = TagScheme(scheme)
    scores, tables = tags_scores(
        [ours.canonical(t) for t in targets], [ours.canonical(t) for t in predictions], scheme.name
    )
    for name, score in (("f1", f1_score), ("precision", precision_score), ("recall", recall_score)):
        assert scores[name] == pytest.approx(100 * score(targets, predictions, mode="strict", scheme=seqeval_scheme))
    assert [row[0] for row in tables[0][2]] == ["PER", "work-of-art"]


def test_strict_scores_count_no_entity_that_breaks_the_rules():
    assert tags_scores([["B-A", "I-A"]], [["I-A", "I-A"]], "iob2")[0]["f1"] == 0
    assert tags_scores([["I-A", "I-A"]], [["I-A", "I-A"]], "iob2")[0] == {
        "f1": 0, "precision": 0, "recall": 0, "tag_accuracy": 100,
    }  # fmt: skip
    assert tags_scores([["O"]], [["O"]], "iob2")[0]["f1"] == 0
    rows = tags_scores([["B--x-", "O", "B-avg"]], [["B--x-", "O", "B-avg"]], "iob2")[1][0][2]
    assert rows == [["-x-", "100.0", "100.0", "100.0", "1"], ["avg", "100.0", "100.0", "100.0", "1"]]


def test_plain_tags():
    scores, tables = plain_tags_scores([["NN", "."], ["DT", "NN"]], [["NN", "."], ["NN", ""]])
    assert scores == {"accuracy": 50, "f1_macro": pytest.approx(100 * (1 + 0 + 1 / 2) / 3)}
    header = ["tag", "precision", "recall", "F1", "words"]
    rows = [
        [".", "100.0", "100.0", "100.0", "1"],
        ["DT", "0.0", "0.0", "0.0", "1"],
        ["NN", "50.0", "50.0", "50.0", "2"],
    ]
    assert tables == [("by tag", header, rows)]
    assert plain_tags_scores([["A"]], [["A"]], thorough=False) == ({"accuracy": 100, "f1_macro": 100}, [])


def detected(*sentences: str, scheme: Scheme = Scheme.auto) -> TagScheme:
    return find_scheme([sentence.split() for sentence in sentences], scheme, "here")


@pytest.mark.parametrize(
    ("sentences", "scheme"),
    [
        (["B-PER I-PER O B-LOC"], Scheme.iob2),
        (["B-PER O", "O"], Scheme.iob2),
        (["I-PER I-PER O I-LOC B-LOC"], Scheme.iob1),
        (["I-PER I-PER O I-LOC"], Scheme.io),
        (["PER PER O O O LOC O"], Scheme.io),
        (["I-PER E-PER O E-LOC"], Scheme.ioe2),
        (["I-PER E-PER I-PER O I-LOC"], Scheme.ioe1),
        (["B-PER E-PER O S-LOC"], Scheme.iobes),
        (["B-PER M-PER E-PER O S-LOC"], Scheme.iobes),
        (["B-PER L-PER O U-LOC"], Scheme.bilou),
        (["S-PER O O"], Scheme.iobes),
        (["b-per i-per o"], Scheme.iob2),
        (["DT NN VBZ ."], Scheme.plain),
        (["DET NOUN X PUNCT"], Scheme.plain),
        (["`` -LRB- PRP$ NN #"], Scheme.plain),
        (["n-s---mn- v3spia--- l-s---mn- u--------"], Scheme.plain),
        (["0 1 2"], Scheme.plain),
        (["B I O O"], Scheme.iob2),
        (["B M E S"], Scheme.iobes),
    ],
)
def test_the_scheme_is_recognised(sentences, scheme):
    assert detected(*sentences).scheme is scheme


@pytest.mark.parametrize(
    ("tags", "canonical"),
    [
        ("B_PER I_PER O", ["B-PER", "I-PER", "O"]),
        ("PER-B PER-I O", ["B-PER", "I-PER", "O"]),
        ("PER_B PER_I - -", ["B-PER", "I-PER", "O", "O"]),
        ("B-work-of-art I-work-of-art O", ["B-work-of-art", "I-work-of-art", "O"]),
        ("B-PER L-PER U-LOC O", ["B-PER", "E-PER", "S-LOC", "O"]),
        ("B I O", ["B-_", "I-_", "O"]),
    ],
)
def test_tags_however_they_are_written(tags, canonical):
    assert detected(tags).canonical(tags.split()) == canonical


def test_a_scheme_is_asked_for_where_it_could_be_two():
    mixed = ["B-A O B-A O"] * 3 + ["I-A O"] * 2
    with pytest.raises(DataError, match="tags mix IOB2 and IOB1: 2 contradict iob2.*scheme=iob2 or data.scheme=iob1"):
        detected(*mixed)
    assert detected(*mixed, scheme=Scheme.iob1).scheme is Scheme.iob1
    assert detected(*["B-A I-A O B-A"] * 30, "I-A O").scheme is Scheme.iob2  # a tagging error
    with pytest.raises(DataError, match="'O', may be types of entities or parts of speech.*data.scheme=io"):
        detected("N V O N", "V N N")
    assert detected("N V O N", scheme=Scheme.plain).scheme is Scheme.plain
    with pytest.raises(DataError, match="tag 'MISC' does not have the form of the others, such as 'B-PER'"):
        detected("B-PER I-PER O MISC", "B-LOC I-LOC O")
    with pytest.raises(DataError, match="'E-PER' is no tag of IOB2"):
        detected("B-PER E-PER", scheme=Scheme.iob2)
    assert TagScheme.from_json(detected("PER_B O").to_json()) == detected("PER_B O")


@pytest.mark.parametrize("outside", ["OUT", "OTHER", "none"])
def test_words_in_no_entity_may_be_tagged_otherwise(outside):
    scheme = find_scheme([["B-PER", "I-PER", outside], [outside, "B-LOC"]], Scheme.auto, "here")
    assert (scheme.scheme, scheme.outside) == (Scheme.iob2, outside)


def test_one_tag_of_another_form_is_asked_about_and_not_taken_for_a_part_of_speech():
    with pytest.raises(DataError, match="tag 'nil' may mean no entity"):
        find_scheme([["B-PER", "I-PER", "nil"], ["nil", "B-LOC"]], Scheme.auto, "here")
    assert find_scheme([["B-NN", "VB", "DT"]], Scheme.auto, "here").scheme is Scheme.plain
    scheme = find_scheme([["person", "o", "o"]], Scheme.auto, "here")
    assert (scheme.scheme, scheme.outside) == (Scheme.io, "o")
