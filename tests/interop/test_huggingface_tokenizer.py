"""Tokenizers beside Hugging Face's: the same ids for any text, real or nasty, and the same text for any ids."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path
from types import SimpleNamespace

import pytest
import sentencepiece
from sentencepiece import sentencepiece_model_pb2

from tests.interop.folders import import_model
from tformer_cli.config.schema import DecodeConfig, ParallelDataConfig, TieEmbeddings, TokenizerConfig, TokenizerKind
from tformer_cli.errors import ConfigError, DataError
from tformer_cli.interop.export import export_run
from tformer_cli.interop.huggingface_tokenizer import to_huggingface
from tformer_cli.interop.marian_tokenizer import from_marian
from tformer_cli.models.seq2seq import Seq2SeqConfig
from tformer_cli.models.seq2seq.model import Seq2Seq
from tformer_cli.tasks import translation
from tformer_cli.tasks.settings.text import TranslationExperiment
from tformer_cli.tokenizers.tokenizer import Tokenizer

transformers = pytest.importorskip("transformers", reason="Hugging Face transformers is not installed")

DATA = Path(os.environ.get("TFORMER_DATA", Path(__file__).parents[3] / "shared" / "data")) / "multi30k"

NASTY = [
    "", " ", "  a  b ", "a\tb", "a\u3000b", "▁", "▁a", "a▁", " ▁ a ▁ ", "hello </s> world", "<s><pad><unk>", "</s",
    "<0x41>",
    "日本語 テスト", "e\u0301cole", "ﬁne", "Ａｌｌ", "½", "naïve café", "한국어 \u1112\u1161\u11ab", "क्षि", "👩‍👩‍👧 x",
    "a\u0300\u0301b", "\u0301 first", "\u200b zero", "a\u00a0b", "Ⅳ ℌ", "…", "x" * 300, "the  man\u2028is", "ﷺ",
    "a\x01b",
    "\ufeffhi", "ß ẞ", "เด็ก ที่ กำ", "İstanbul", "o\u0308\u0304", "<sep>a <sep> b<sep>", "a <sep><sep2> b",
    "aaaaaa bbbbbb",
    ".........!!!", "\u212b A\u030a", "か\u3099 ｶﾞ ﾊﾟｿｺﾝ", "🇩🇪 flag", "»quote« — dash", "~ ～", "\r\n x",
    "don't", "1,000.5 %",
]  # fmt: skip


def nasty() -> list[str]:
    """The list above, and strings drawn from characters that mean something to a tokenizer."""
    draw = random.Random(1)
    alphabet = "ab e<>/s▁ \u0301é1.日👩\u200dﾞｶ"
    return NASTY + ["".join(draw.choice(alphabet) for _ in range(draw.randint(1, 14))) for _ in range(400)]


@pytest.fixture(scope="module")
def texts() -> dict[str, list[str]]:
    """Made-up languages with accents, digits and punctuation."""
    draw = random.Random(4)

    def language(syllables: list[str]) -> list[str]:
        words = ["".join(draw.choice(syllables) for _ in range(draw.randint(1, 3))) for _ in range(900)]
        return [" ".join(draw.choice(words) for _ in range(9)) + draw.choice(".!?") for _ in range(600)]

    first = ["ba", "e", "sla", "pi", "a", "on", "x", "the", "ss", "ld", "1", "20", "-"]
    second = ["ü", "ßa", "ert", "kö", "b", "und", "é", "s", "n", "mit", "3", "ab"]
    return {"en": language(first), "xx": language(second)}


CONFIGURATIONS = {
    "plain": {},
    "bytes": {"byte_fallback": True},
    "symbols": {"user_symbols": ["<sep>", "<sep2>", "the"]},
    "lossless": {"lossless": True},
}


def save(files: dict[str, bytes], folder: Path) -> Path:
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def compare(ours: Tokenizer, theirs, lines: list[str], language: str | None = None) -> None:
    ids_of_lines = theirs(lines)["input_ids"]
    for line, expected, ids in zip(lines, ours.encode_batch(lines, language), ids_of_lines, strict=True):
        assert ids == [*expected, ours.eos_id], (
            line,
            ours.pieces(expected, language),
            theirs.convert_ids_to_tokens(ids),
        )
        if ours.unk_id not in expected:
            assert theirs.decode(ids, skip_special_tokens=True) == ours.decode(expected, language), line


@pytest.mark.parametrize("kind", TokenizerKind, ids=lambda kind: kind.name)
@pytest.mark.parametrize("settings", CONFIGURATIONS.values(), ids=CONFIGURATIONS.keys())
def test_joint_ids_are_the_same(tmp_path: Path, texts: dict, kind: TokenizerKind, settings: dict) -> None:
    bytes_too = settings.keys() & {"byte_fallback", "lossless"}
    ours = Tokenizer.train(texts, TokenizerConfig(kind=kind, vocab_size=470 if bytes_too else 220, **settings))
    folder = save(to_huggingface(ours, ("en", "xx"), 99), tmp_path / "out")
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    special = (theirs.pad_token_id, theirs.unk_token_id, theirs.bos_token_id, theirs.eos_token_id)
    assert special == (ours.pad_id, ours.unk_id, ours.bos_id, ours.eos_id)
    assert len(theirs) == ours.vocab_size and theirs.model_max_length == 99
    compare(ours, theirs, texts["en"][:100] + texts["xx"][:100] + nasty())


@pytest.mark.skipif(not (DATA / "train.en").is_file(), reason="Multi30k is not there: set TFORMER_DATA")
@pytest.mark.parametrize("kind", TokenizerKind, ids=lambda kind: kind.name)
def test_multi30k_ids_are_the_same(tmp_path: Path, kind: TokenizerKind) -> None:
    lines = {side: (DATA / f"train.{side}").read_bytes().decode().split("\n")[:4000] for side in ("en", "de")}
    ours = Tokenizer.train(lines, TokenizerConfig(kind=kind, vocab_size=3000))
    theirs = transformers.AutoTokenizer.from_pretrained(save(to_huggingface(ours, ("en", "de"), 99), tmp_path / "out"))
    unseen = [line for side in ("en", "de") for line in (DATA / f"val.{side}").read_bytes().decode().split("\n")]
    compare(ours, theirs, unseen)
    compare(ours, theirs, nasty())


@pytest.mark.parametrize("kind", TokenizerKind, ids=lambda kind: kind.name)
@pytest.mark.parametrize("lossless", [False, True])
def test_pieces_in_any_order_are_one_text(tmp_path: Path, texts: dict, kind: TokenizerKind, lossless: bool) -> None:
    """Random pieces, as from an untrained model, with leading and repeated spaces."""
    settings = TokenizerConfig(kind=kind, vocab_size=400, lossless=lossless)
    tokenizer = Tokenizer.train(texts, settings)
    folder = save(to_huggingface(tokenizer, ("a", "b"), 50), tmp_path / "out")
    library = transformers.AutoTokenizer.from_pretrained(folder)
    pieces = tokenizer.pieces(range(tokenizer.vocab_size))
    # The library replaces each byte of an incomplete character by a mark, and letters among them too.
    usable = [number for number in range(4, len(pieces)) if not pieces[number].startswith("<0x")]
    draw = random.Random(5)
    for _ in range(60):
        ids = draw.choices(usable, k=draw.randint(0, 7))
        if not lossless and draw.random() < 0.5:
            ids = [pieces.index("\u2581")] * draw.randint(1, 4) + ids
        assert library.decode(ids, skip_special_tokens=True) == tokenizer.decode(ids), tokenizer.pieces(ids)


def test_special_tokens_in_text_are_text(tmp_path: Path, texts: dict) -> None:
    """No input can end a sentence or pad it, whether the vocabulary has its characters or not."""
    for number, extra in enumerate(("", " < / > s p a d u n k")):
        lines = {name: [line + extra for line in part] for name, part in texts.items()}
        ours = Tokenizer.train(lines, TokenizerConfig(vocab_size=220))
        folder = save(to_huggingface(ours, ("en", "xx"), 99), tmp_path / str(number))
        theirs = transformers.AutoTokenizer.from_pretrained(folder)
        for text in ("</s>", "a </s> b", "<s>", "<pad><pad>", "x</s>", "<unk> <0x0A>"):
            ids = theirs(text)["input_ids"]
            assert ids == [*ours.encode(text), ours.eos_id]
            assert not {ours.pad_id, ours.bos_id, ours.eos_id} & set(ids[:-1])


@pytest.mark.parametrize("kind", TokenizerKind, ids=lambda kind: kind.name)
def test_separate_vocabularies_are_a_marian_tokenizer(tmp_path: Path, texts: dict, kind: TokenizerKind) -> None:
    ours = Tokenizer.train(texts, TokenizerConfig(kind=kind, vocab_size=120, joint=False))
    folder = save(to_huggingface(ours, ("en", "xx"), 99), tmp_path / "out")
    (folder / "config.json").write_text(json.dumps({"model_type": "marian"}))
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    assert type(theirs).__name__ == "MarianTokenizer"
    for line, expected in zip(texts["en"], ours.encode_batch(texts["en"], "en"), strict=True):
        assert theirs(line)["input_ids"] == [*expected, ours.eos_id]
    for line, expected in zip(texts["xx"], ours.encode_batch(texts["xx"], "xx"), strict=True):
        assert theirs(text_target=line)["input_ids"] == [*expected, ours.eos_id]
        generated = [ours.bos_id, *expected, ours.eos_id, ours.pad_id]
        assert theirs.decode(generated, skip_special_tokens=True) == ours.decode(expected, "xx")


def test_a_model_of_words_is_refused(texts: dict) -> None:
    proto = sentencepiece_model_pb2.ModelProto()
    proto.ParseFromString(Tokenizer.train(texts, TokenizerConfig(vocab_size=200)).files()["joint.model"])
    proto.trainer_spec.model_type = 3
    with pytest.raises(ConfigError, match="model of words cannot be exported"):
        to_huggingface(Tokenizer({"joint": proto.SerializeToString()}, kind="sentencepiece"), ("en", "xx"), 99)


# --- Marian's own tokenizers ----------------------------------------------------------------------------


def marian_folder(folder: Path, texts: dict, *, kind: str = "unigram", lose: int = 0) -> Path:
    """As such models are published: a model a language, one vocabulary whose order is its own, padding last."""
    folder.mkdir()
    pieces: set[str] = set()
    for name, language in (("source", "en"), ("target", "xx")):
        prefix = str(folder / name)
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(texts[language]),
            model_prefix=prefix,
            vocab_size=120,
            model_type=kind,
            minloglevel=3,
        )
        (folder / f"{name}.model").rename(folder / f"{name}.spm")
        (folder / f"{name}.vocab").unlink()
        model = sentencepiece.SentencePieceProcessor(model_file=str(folder / f"{name}.spm"))
        pieces |= {model.id_to_piece(i) for i in range(3, model.get_piece_size())}
    longest = sorted(pieces, key=lambda piece: (-len(piece), piece))
    ordered = ["</s>", "<unk>", *sorted(set(longest[lose:]), key=lambda piece: piece[::-1]), "<pad>"]
    (folder / "vocab.json").write_text(json.dumps({piece: number for number, piece in enumerate(ordered)}))
    size = len(ordered)
    config = transformers.MarianConfig(
        vocab_size=size, d_model=16, encoder_layers=1, decoder_layers=1, encoder_ffn_dim=16, decoder_ffn_dim=16,
        encoder_attention_heads=2, decoder_attention_heads=2, pad_token_id=size - 1, eos_token_id=0,
        decoder_start_token_id=size - 1, max_position_embeddings=64, activation_function="swish",
    )  # fmt: skip
    transformers.MarianMTModel(config).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
def test_marian_tokenizers_are_read(tmp_path: Path, texts: dict, kind: str) -> None:
    folder = marian_folder(tmp_path / "in", texts, kind=kind)
    theirs = transformers.MarianTokenizer.from_pretrained(folder)
    config, state, ours = import_model(folder, ("en", "xx"))
    assert config.tie_embeddings is TieEmbeddings.all and not ours.joint
    assert ours.bos_id == ours.pad_id == theirs.pad_token_id and ours.eos_id == 0
    assert state["target_embedding.weight"].shape[0] == ours.vocab_size_of("en") == len(theirs)
    tricky = [line for line in NASTY if line.strip() and "</s>" not in line and "<pad>" not in line]
    for language, lines in (("en", texts["en"][:150] + tricky), ("xx", texts["xx"][:150])):
        for line in lines:
            arguments = {"text": line} if language == "en" else {"text_target": line}
            ids, their_ids = ours.encode(line, language), theirs(**arguments)["input_ids"]
            assert len(their_ids) == len(ids) + 1 and their_ids[-1] == ours.eos_id, line
            # theirs takes an unknown run that happens to be a piece of the other language for that piece
            same = [
                a in (b, ours.unk_id) if line in NASTY else a == b for a, b in zip(ids, their_ids[:-1], strict=True)
            ]
            assert all(same), line
            if ours.unk_id not in ids:
                assert ours.decode(ids, language) == theirs.decode(ids, use_source_tokenizer=language == "en")


def test_pieces_that_the_vocabulary_lost_are_not_made(tmp_path: Path, texts: dict) -> None:
    ours = from_marian(*marian_arguments(marian_folder(tmp_path / "in", texts, lose=20)), ("en", "xx"))
    size = ours.vocab_size_of("en")
    assert all(0 <= number < size for line in texts["en"] for number in ours.encode(line, "en"))
    folder = marian_folder(tmp_path / "bpe", texts, kind="bpe", lose=20)
    with pytest.raises(DataError, match="cannot be renumbered"):
        from_marian(*marian_arguments(folder), ("en", "xx"))


def marian_arguments(folder: Path) -> tuple[Path, dict]:
    return folder, json.loads((folder / "config.json").read_text())


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("source.spm", b"junk", "source.spm: not a SentencePiece model"),
        ("vocab.json", b"{", "vocab.json: not readable JSON"),
        ("vocab.json", b"[1]", "vocab.json: not a vocabulary"),
        ("vocab.json", b'{"a": 0, "b": 2}', "vocab.json: not a vocabulary"),
        ("vocab.json", b'{"a": "x"}', "vocab.json: not a vocabulary"),
        ("vocab.json", b'{"a": 0, "b": 1}', "which vocab.json does not have"),
        ("target.spm", None, "no target.spm"),
    ],
)
def test_damaged_marian_files_are_named(
    tmp_path: Path, texts: dict, name: str, content: bytes | None, message: str
) -> None:
    folder = marian_folder(tmp_path / "in", texts)
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(content)
    with pytest.raises(DataError, match=message) as error:
        from_marian(*marian_arguments(folder), ("en", "xx"))
    assert "\n" not in str(error.value)


# --- a run ----------------------------------------------------------------------------------------------


def test_a_run_is_exported_with_its_tokenizer(tmp_path: Path, texts: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = Tokenizer.train(texts, TokenizerConfig(vocab_size=200))
    settings = Seq2SeqConfig(dim=8, heads=2, ffn_dim=8, encoder_depth=1, decoder_depth=1, max_length=20)
    data = ParallelDataConfig(source_language="en", target_language="xx")
    config = TranslationExperiment(data=data, decode=DecodeConfig(beam=3), model=settings)
    task = translation.build(config)
    task.data.tokenizer = tokenizer
    opened = SimpleNamespace(model=Seq2Seq(settings, 200, 200), task=task, config=config, run=tmp_path / "run")
    monkeypatch.setattr("tformer_cli.interop.export.open_run", lambda path, **_: opened)
    export_run(tmp_path / "run", tmp_path / "out")
    assert import_model(tmp_path / "out")[2].hash == tokenizer.hash
    assert json.loads((tmp_path / "out" / "generation_config.json").read_text())["num_beams"] == 3
    opened.model = SimpleNamespace()
    with pytest.raises(
        ConfigError, match="run: a seq2seq model of translation cannot be exported yet: models of translation can$"
    ):
        export_run(tmp_path / "run", tmp_path / "other")
