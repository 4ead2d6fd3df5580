"""CoNLL files in the formats of their publishers."""

from __future__ import annotations

import json

import pytest

from tformer_cli.config.schema import TaggedDataConfig
from tformer_cli.data.text.tagged import read_tagged
from tformer_cli.errors import DataError


def read(tmp_path, content: str | bytes, name: str = "train.txt", skip: bool = False, **settings):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    config = TaggedDataConfig(path=str(path), validation_share=0.0, **settings)
    return read_tagged(config, "train", seed=1, skip=skip)["train"]


def sentences(*arguments, **settings) -> list[str]:
    data = read(*arguments, **settings)
    return [" ".join(f"{w}/{t}" for w, t in zip(*row, strict=True)) for row in zip(data.words, data.tags, strict=True)]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("-DOCSTART- -X- O O\n\nEU NNP I-NP B-ORG\n", ["EU/B-ORG"]),
        ("-DOCSTART- -DOCSTART- O\nDe Art O\ntekst N O\n\nEn C O\n", ["De/O tekst/O", "En/O"]),  # CoNLL 2002
        ("-DOCSTART-\n\na X O\nb X B-A\n", ["a/O b/B-A"]),
        ("a O\n-DOCSTART- O\nb O\n\n", ["a/O -DOCSTART-/O b/O"]),
        ("a X O\n-DOCSTART- -X- O\nb X O\n", ["a/O", "b/O"]),
        ("-DOCSTART- B-MISC\nis O\n", ["-DOCSTART-/B-MISC is/O"]),
        (
            "# id 5239 domain=en\nbest _ _ O\nfilm _ _ B-X\n\n# id 2 domain=en\nyes _ _ O\n",
            ["best/O film/B-X", "yes/O"],
        ),
        ("#love O\nit O\n\n# O\nis O\n# O\n", ["#love/O it/O", "#/O is/O #/O"]),
        ("a DT\n# #\n5 CD\n\n# #\n6 CD\n", ["a/DT #/# 5/CD", "#/# 6/CD"]),
        ("#begin document (x); part 000\na b O\n\n#end document\n", ["a/O"]),
        ("a b O\n#end document\n", ["a/O"]),
        ("one two\tO\nthree\u00a0four\tB-A\n", ["one two/O three\u00a0four/B-A"]),
        ("three\u00a0four B-A\n\u3000 O\n", ["three\u00a0four/B-A \u3000/O"]),
        ("a\tO\t\nb\tO\t\n", ["a/O b/O"]),
        ("-DOCSTART-\na\tO\t\nb\tO\t\n", ["a/O b/O"]),  # the mark has no tab
        ("-DOCSTART- O\n\n#a O\n#b B-X\n", ["#a/O #b/B-X"]),  # all words begin as comments do
        ("a X O\nb  X\tB-A\n\n c X O\nd X O \n", ["a/O b/B-A", "c/O d/O"]),  # uneven blanks
        ("a\tX\tO\n\n b \tX\tB-A\nc d\tX\tO\n", ["a/O", "b/B-A c d/O"]),
        ("a O  \n b\tO", ["a/O b/O"]),
        (b"\xef\xbb\xbfa O\r\nb B-X\r\n \r\nc O", ["a/O b/B-X", "c/O"]),
    ],
)
def test_conll(tmp_path, content, expected):
    assert sentences(tmp_path, content) == expected


CONLL_U = """# sent_id = 1
# text = Don't go
1-2\tDon't\t_\t_\t_\t_\t_\t_\t_\t_
1\tDo\tdo\tAUX\tVB\t_\t0\troot\t_\tSpaceAfter=No
2\tn't\tnot\tPART\tRB\t_\t1\tadvmod\t_\t_
2.1\tyou\tyou\tPRON\tPRP\t_\t_\t_\t_\t_
3\tgo\tgo\tVERB\tVB\t_\t1\txcomp\t_\t_

# text = # it
1\t#\t#\tSYM\t#\t_\t0\troot\t_\t_
2\tit\tit\tPRON\tPRP\t_\t1\tdep\t_\t_
"""


def test_conll_u(tmp_path):
    expected = ["Do/AUX n't/PART go/VERB", "#/SYM it/PRON"]
    assert sentences(tmp_path, CONLL_U, "train.conllu") == expected
    assert sentences(tmp_path, CONLL_U, tag_column=4)[0] == "Do/VB n't/RB go/VB"
    assert read(tmp_path, CONLL_U).notes == ("CoNLL-U: words of column 1, tags of column 3",)
    with pytest.raises(DataError, match=r"train\.txt:4: the tag is missing \('_'"):
        read(tmp_path, CONLL_U, tag_column=5)


def test_germeval(tmp_path):
    text = (
        "#\thttp://de.wikipedia.org [2009]\n1\tSchartau\tB-PER\tO\n2\tsagte\tO\tO\n\n#\tn-tv\n1\tBonn\tB-ORG\tB-LOC\n"
    )
    assert sentences(tmp_path, text) == ["Schartau/B-PER sagte/O", "Bonn/B-ORG"]
    assert sentences(tmp_path, text, tag_column=3) == ["Schartau/O sagte/O", "Bonn/B-LOC"]


def test_ontonotes(tmp_path):
    lines = [
        ("In", "IN", "*"),
        ("the", "DT", "(DATE*"),
        ("year", "NN", "*)"),
        ("Oslo", "NNP", "(GPE)"),
        (".", ".", "*"),
    ]
    rows = [f"bc/cctv/00 0 {i} {w} {p} (TOP* - - - Speaker {e} -" for i, (w, p, e) in enumerate(lines)]
    text = "#begin document (bc/cctv/00); part 000\n" + "\n".join(rows) + "\n\n#end document\n"
    assert sentences(tmp_path, text) == ["In/O the/B-DATE year/I-DATE Oslo/B-GPE ./O"]
    assert sentences(tmp_path, text, tag_column=4) == ["In/IN the/DT year/NN Oslo/NNP ./."]


def test_another_mark_between_columns(tmp_path):
    assert sentences(tmp_path, "a|X|O\nb|Y|B-A\n", delimiter="|") == ["a/O b/B-A"]
    with pytest.raises(DataError, match=r"words and tags are both in column 0 of 1: .*data\.delimiter"):
        read(tmp_path, "a|O\nb|B-A\n")


@pytest.mark.parametrize("tag", ["", "NA", "null"])
def test_a_missing_tag_is_named_or_its_sentence_left_out(tmp_path, tag):
    text = f"a\tO\nb\t{tag}\n\nc\tO\n\td\n\ne\tO\n"
    with pytest.raises(DataError, match=r"train\.txt:2: the tag is missing"):
        read(tmp_path, text)
    data = read(tmp_path, text, skip=True)
    assert data.words == [["e"]] and data.notes[0].startswith(
        "2 of 3 rows lack a value or valid text and were left out: "
    )


# --- tables ---


@pytest.mark.parametrize(
    ("words", "tags"),
    [
        ('"[""Mira"", ""left""]"', '"[""B-PER"", ""O""]"'),
        ("\"['Mira', 'left']\"", "\"['B-PER', 'O']\""),
        ("['Mira' 'left']", "['B-PER' 'O']"),
        ("Mira left", "B-PER O"),
        ("\"['Mira', 'left']\"", "B-PER O"),
    ],
)
def test_lists_in_csv(tmp_path, words, tags):
    assert sentences(tmp_path, f"tokens,tags\n{words},{tags}\n", "train.csv") == ["Mira/B-PER left/O"]


def test_sentences_that_look_like_something_else(tmp_path):
    text = "tokens,tags\n2019,CD\n[ 1 ],-LRB- CD -RRB-\n[laughs],X\n"
    assert sentences(tmp_path, text, "train.csv") == ["2019/CD", "[/-LRB- 1/CD ]/-RRB-", "[laughs]/X"]


def test_classes_in_lists_have_their_names(tmp_path):
    datasets = pytest.importorskip("datasets")
    names = ["O", "B-PER", "I-PER"]
    features = datasets.Features(
        {"tokens": datasets.List(datasets.Value("string")), "tags": datasets.List(datasets.ClassLabel(names=names))}
    )
    rows = {"tokens": [["Ann", "Ray", "left"]], "tags": [[1, 2, 0]]}
    datasets.Dataset.from_dict(rows, features=features).to_parquet(tmp_path / "train.parquet")
    config = TaggedDataConfig(path=str(tmp_path / "train.parquet"), validation_share=0.0)
    assert read_tagged(config, "train", seed=1)["train"].tags == [["B-PER", "I-PER", "O"]]


def test_missing_words_and_tags_of_tables(tmp_path):
    rows = [{"tokens": ["a"], "tags": ["O"]}, {"tokens": ["b"], "tags": [None]}, {"tokens": None, "tags": ["O"]}]
    text = "".join(json.dumps(row) + "\n" for row in [*rows, {"tokens": [], "tags": []}])
    with pytest.raises(DataError, match=r"train\.jsonl:2: tags is missing"):
        read(tmp_path, text, "train.jsonl")
    data = read(tmp_path, text, "train.jsonl", skip=True)
    assert data.words == [["a"]] and data.notes[0].startswith("3 of 4 rows")
    with pytest.raises(DataError, match=r"train\.jsonl:1: 2 words and 1 tags"):
        read(tmp_path, '{"tokens": ["a", "b"], "tags": ["O"]}\n', "train.jsonl")


def test_a_table_of_a_word_a_row_is_noticed(tmp_path):
    assert "every sentence has one word" in read(tmp_path, "tokens,tags\na,O\nb,O\n", "train.csv").notes[0]


BLANK_CONLL_U = """# text = It's
1-2 It's _ _ _ _ _ _ _ _
1 It it PRON PRP _ 2 nsubj _ _
2 's be VERB VBZ _ 0 root _ SpaceAfter=No
2.1 x x X X _ _ _ _ _

"""


def test_conll_u_with_blanks_between_its_columns(tmp_path):
    assert sentences(tmp_path, BLANK_CONLL_U) == ["It/PRON 's/VERB"]
    numbered = "".join(f"{number} w{number} a b c d e f g T\n" for number in (1, 2))  # ten columns, but no heads
    assert sentences(tmp_path, numbered) == ["w1/T w2/T"]


def test_a_document_mark_may_name_the_document(tmp_path):
    for line in ("-DOCSTART- (1 EU)", "-DOCSTART-\t(1 EU)"):
        assert sentences(tmp_path, f"{line}\nEU\tB\tEU\tB-X\nit\t\t\tO\n") == ["EU/B-X it/O"]


def test_an_empty_word_of_a_table_is_named(tmp_path):
    rows = [{"tokens": ["a", ""], "tags": ["O", "O"]}, {"tokens": ["b"], "tags": ["O"]}]
    content = "".join(json.dumps(row) + "\n" for row in rows)
    with pytest.raises(DataError, match=r"train.jsonl:1: a word in tokens is missing \(empty"):
        read(tmp_path, content, "train.jsonl")
    assert sentences(tmp_path, content, "train.jsonl", skip=True) == ["b/O"]
