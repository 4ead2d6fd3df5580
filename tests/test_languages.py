"""Names of languages, and the division of text in their scripts."""

from __future__ import annotations

import unicodedata
from types import SimpleNamespace

import pytest

from tformer_cli.errors import ConfigError
from tformer_cli.evaluators.base import Evaluation, Scoring
from tformer_cli.evaluators.references import ReferenceScores
from tformer_cli.languages import segments, units, unspaced_language
from tformer_cli.metrics import translation as translation_metrics
from tformer_cli.metrics.translation import Tokenization, bleu_by_length, tokenization, translation_scores

TEXTS = {
    "zh": ("今天天气很好，我们去公园散步。", "好"),
    "ja": ("今日はとても天気がいいので、公園を散歩します。", "はい"),
    "ko": ("오늘은 날씨가 아주 좋아서 공원에서 산책합니다.", "네"),
    "th": ("วันนี้อากาศดีมาก เราไปเดินเล่นที่สวนสาธารณะ", "ดี"),
    "lo": ("ມື້ນີ້ອາກາດດີຫຼາຍ ພວກເຮົາໄປຍ່າງຫຼິ້ນ", "ດີ"),
    "km": ("ថ្ងៃនេះអាកាសធាតុល្អណាស់ យើងទៅដើរលេងនៅសួន។", "ល្អ"),
    "my": ("ဒီနေ့ ရာသီဥတု အရမ်းကောင်းတယ်။ ပန်းခြံကို သွားကြတယ်။", "ကောင်း"),
    "bo": ("དེ་རིང་གནམ་གཤིས་ཡག་པོ་འདུག", "ཡག"),
    "en": ("The weather is very good today, so we walk.", "Yes"),
    "hi": ("आज मौसम बहुत अच्छा है, इसलिए हम टहलते हैं।", "हाँ"),
    "jv": ("ꦲꦤꦏꦫꦏꦢꦠꦱꦮꦭꦥꦝꦗꦪꦚ", "ꦲꦤ"),
}
TAGS = {
    "zh": "zh zh-CN zh_Hant_TW zh-Hans zho_Hans zho_Hant cmn cmn_Hans chi zho zh-cmn-Hans-CN yue yue_Hant wuu lzh"
    " ZH zh_CN zh_CN.UTF-8 Chinese 中文 >>cmn_Hans<< <2zh>",
    "ja": "ja ja-JP ja_XX jpn jpn_Jpan jp Japanese 日本語",
    "ko": "ko ko-KR ko_KR kor kor_Hang Korean",
    "th": "th tha th-TH th_TH tha_Thai Thai",
    "lo": "lo lao lao_Laoo lo-LA",
    "km": "km khm khm_Khmr km-KH km_KH Khmer",
    "my": "my mya bur mya_Mymr my-MM shn_Mymr Burmese",
    "bo": "bo bod bod_Tibt tib dz dzo_Tibt",
}
EXPECTED = {"zh": "zh", "ja": "char", "ko": "char", "en": "13a", "hi": "13a"}


@pytest.fixture(autouse=True)
def without_mecab(monkeypatch):
    monkeypatch.setattr(translation_metrics, "_installed", lambda tokenizer: False)


@pytest.mark.parametrize("language, tag", [(base, tag) for base, tags in TAGS.items() for tag in tags.split()])
def test_any_spelling_picks_the_tokenizer_and_a_perfect_translation_scores_100(language, tag):
    assert unspaced_language(tag) == language
    for references in ([TEXTS[language][0]], [TEXTS[language][1]], list(TEXTS[language])):
        scores, signatures = translation_scores(references, references, tag)
        assert scores["bleu"] == pytest.approx(100) and scores["bleu_lowercase"] == pytest.approx(100)
        assert scores["chrf"] == pytest.approx(100) and scores["ter"] == 0
        assert f"|tok:{EXPECTED.get(language, 'char')}|" in signatures["bleu"]


@pytest.mark.parametrize("language", TEXTS)
@pytest.mark.parametrize("name", ["target", "tgt", "", "xx"])
def test_data_that_names_no_language_is_scored_by_its_script(language, name):
    """Imperfect translations reveal the tokenizer, since BLEU of one word per line would be 0."""
    text = TEXTS[language][0]
    scores, signatures = translation_scores([text[:-1] + "x"], [text], name)
    assert f"|tok:{'13a' if language in ('en', 'hi') else 'char'}|" in signatures["bleu"]
    assert scores["bleu"] > 40
    assert translation_scores(list(TEXTS[language]), list(TEXTS[language]), name)[0]["bleu"] == pytest.approx(100)
    note = tokenization(name, [text]).note
    assert ("tok:char" in note) == ("tok:char" in signatures["bleu"])


@pytest.mark.parametrize(
    "tag", ["zh_Latn", "zh-Latn-pinyin", "ja-Latn", "en", "eng_Latn", "de", "jv", "sr_Cyrl", "text"]
)
def test_scripts_with_spaces_are_scored_by_words(tag):
    assert unspaced_language(tag) == ""
    assert tokenization(tag, ["Jintian tianqi hen hao"]) == Tokenization("13a")


def test_a_name_that_only_looks_like_a_language_is_not_believed():
    """`my_text` is not Burmese, and romanised Japanese references are not scored by characters."""
    for name in ("my_text", "ja", "zh"):
        divided = tokenization(name, ["My dog has a name."])
        assert divided.name == "13a" and name in divided.note
    assert tokenization("my", ["", "12"]).name == "char"  # nothing contradicts the name
    assert tokenization("zh", ["打开 Visual Studio Code 设置"]).name == "zh"


def test_mecab_serves_where_it_is_installed_and_characters_elsewhere(monkeypatch):
    for language in ("ja", "ko"):
        absent = tokenization(language, [TEXTS[language][0]])
        assert absent.name == "char" and f"pip install 'sacrebleu[{language}]'" in absent.note
        with pytest.raises(ConfigError, match=rf"sacrebleu\[{language}\]"):
            tokenization(language, [], f"{language}-mecab")
    monkeypatch.setattr(translation_metrics, "_installed", lambda tokenizer: True)
    assert tokenization("jpn_Jpan", [TEXTS["ja"][0]]) == Tokenization("ja-mecab", ter_characters=True)
    assert tokenization("kor_Hang", [TEXTS["ko"][0]]) == Tokenization("ko-mecab")
    assert tokenization("en", [], "intl") == Tokenization("intl")


def test_bleu_of_long_enough_references_is_sacrebleus_own():
    from sacrebleu.metrics import BLEU, TER

    references, hypotheses = ["the cat sat on the mat", "yes"], ["the cat sat on a mat", "yes"]
    scores, signatures = translation_scores(hypotheses, references, "en")
    assert scores["bleu"] == BLEU().corpus_score(hypotheses, [references]).score
    assert scores["ter"] == TER().corpus_score(hypotheses, [references]).score
    assert "|eff:no|" in signatures["bleu"] and signatures["ter"].count("tok:tercom|") == 1


def test_short_references_are_scored_by_the_orders_that_there_are():
    scores, signatures = translation_scores(["yes", "oh no"], ["yes", "oh no"], "en")
    assert scores["bleu"] == pytest.approx(100) and "|eff:yes|" in signatures["bleu"]
    assert translation_scores(["yes", "no"], ["no", "yes"], "en")[0]["bleu"] < 100
    rows = bleu_by_length(["yes", "a b c d e"], ["yes", "a b c d e"], [1, 5], "en", bands=2)
    assert rows == [["1", "1", "100.00 (eff:yes)"], ["5", "1", "100.00"]]
    texts = ["a b c d e"] * 10
    rows = bleu_by_length(texts, texts, [8, 9, 16, 16, 16, 16, 22, 22, 30, 31], "en")
    bands = [[int(end) for end in row[0].split("-")] for row in rows]
    assert all(before[-1] < after[0] for before, after in zip(bands, bands[1:], strict=False))
    assert sum(int(row[1]) for row in rows) == 10


def test_mostly_empty_outputs_are_noted():
    scores = ReferenceScores()
    scores.data = SimpleNamespace(target_language="en")
    references = ["a b c d"] * 3
    words = tokenization("en", references)
    for hypotheses, notes in (
        (["", " ", "a b c d"], ["2 of 3 outputs are empty: the model has hardly learnt"]),
        (["", "a", "a b c d"], []),
    ):
        evaluation = Evaluation({})
        scores.add_scores(evaluation, hypotheses, references, words, Scoring(thorough=True))
        assert evaluation.notes == notes


def test_ter_of_scripts_without_spaces_is_of_characters():
    scores, signatures = translation_scores(["今天天气不好"], ["今天天气很好"], "zh_Hans")
    assert scores["ter"] == pytest.approx(100 / 6) and "tok:tercom-char" in signatures["ter"]


@pytest.mark.parametrize(
    ("language", "text", "characters"),
    [
        ("en", "the cat sat on the mat", False),
        ("ja", TEXTS["ja"][0], True),
        ("ja", "kyou wa tenki ga ii", False),
        ("ko", TEXTS["ko"][0], False),
        ("th", TEXTS["th"][0], True),
        ("target", TEXTS["zh"][0], True),
        ("target", TEXTS["ko"][0], False),
    ],
)
@pytest.mark.parametrize("tokenizer", ["auto", "char", "13a", "zh"])
def test_ter_does_not_depend_on_how_bleu_divides_text(language, text, characters, tokenizer):
    assert tokenization(language, [text], tokenizer).ter_characters is characters
    scores, signatures = translation_scores([text[:-1]], [text], language, tokenizer=tokenizer)
    assert ("tok:tercom-char" in signatures["ter"]) is characters
    assert ("|tok:char|" in signatures["bleu"]) is (tokenizer == "char") or tokenizer == "auto"
    assert scores["ter"] == translation_scores([text[:-1]], [text], language)[0]["ter"]


def test_a_unit_of_an_answer_is_what_a_reader_takes_for_one():
    def cut(text: str) -> list[str]:
        return [text[start:end] for start, end in units(text)]

    assert cut("Rome's 3.5 m²: my_name!") == ["Rome", "'", "s", "3", ".", "5", "m²", ":", "my", "_", "name", "!"]
    assert cut("हिन्दी भाषा।") == ["हिन्दी", "भाषा", "।"]
    assert cut("ที่นี่ 人々カー iPhone手机") == ["ที่", "นี่", "人", "々", "カ", "ー", "iPhone", "手", "机"]
    decomposed = unicodedata.normalize("NFD", "café 각 été")
    assert cut(decomposed) == decomposed.split()
    assert cut("می\u200cخواهم שָׁלוֹם") == ["می\u200cخواهم", "שָׁלוֹם"]
    assert cut("a 👨\u200d👩\u200d👧🇩🇪 b 𠀋") == ["a", "👨\u200d👩\u200d👧", "🇩🇪", "b", "𠀋"]
    assert segments("1,000-year 東京 iPhone手机") == ["1,000-year", "東", "京", "iPhone", "手", "机"]
