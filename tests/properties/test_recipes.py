"""Every recipe composes, builds, and takes two steps with a small model and little data."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.properties.families import ENTITIES, QUESTIONS, SENTIMENT
from tformer_cli.config.compose import compose, recipes
from tformer_cli.config.experiments import experiment
from tformer_cli.config.schema import Source
from tformer_cli.tasks.settings.images import (
    CaptioningExperiment,
    ImageClassificationExperiment,
    ImageGenerationExperiment,
    MaskedPatchesExperiment,
)
from tformer_cli.tasks.settings.speech import SpeechRecognitionExperiment, SpeechTranslationExperiment
from tformer_cli.tasks.settings.text import (
    LanguageModelExperiment,
    MaskedLanguageModelExperiment,
    QuestionAnsweringExperiment,
    TextClassificationExperiment,
    TokenTaggingExperiment,
    TranslationExperiment,
)
from tformer_cli.train.launch import launch

ROOT = Path(__file__).resolve().parents[2] / "recipes"
NAMES = sorted(path.relative_to(ROOT).with_suffix("").as_posix() for path in ROOT.rglob("*.yaml"))
DIGITS = [
    "data.source=builtin", "data.path=digits", "data.size=40", "data.image_size=16", "data.batch_images=4",
    "data.workers=0",
]  # fmt: skip
BUILTIN_PAIRS = [
    "data.source=builtin", "data.path=en-ja", "data.source_language=en", "data.target_language=ja", "data.size=200",
    "data.batch_tokens=400", "tokenizer.vocab_size=310", "model.dim=16", "model.heads=2", "model.ffn_dim=32",
    "model.encoder_depth=1", "model.decoder_depth=1",
]  # fmt: skip
SHRUNK = {
    TranslationExperiment: BUILTIN_PAIRS,
    experiment("translation", "levenshtein"): BUILTIN_PAIRS,
    experiment("translation", "recurrent_seq2seq"): [
        "data.source=builtin", "data.path=en-ja", "data.source_language=en", "data.target_language=ja", "data.size=200",
        "data.batch_tokens=400", "tokenizer.vocab_size=310", "model.dim=16",
    ],
    LanguageModelExperiment: [
        "data.source=builtin", "data.path=python-docs", "data.size=8", "data.batch_tokens=64",
        "tokenizer.vocab_size=600", "model.max_length=16", "model.dim=16", "model.heads=2", "model.ffn_dim=32",
        "model.depth=1", "decode.max_length=8",
    ],
    MaskedLanguageModelExperiment: [
        "data.source=builtin", "data.path=python-docs", "data.size=8", "data.batch_tokens=64",
        "tokenizer.vocab_size=600", "model.max_length=16", "model.dim=16", "model.heads=2", "model.ffn_dim=32",
        "model.depth=1",
    ],
    TextClassificationExperiment: [
        f"data.path={SENTIMENT}", "data.batch_tokens=64", "tokenizer.vocab_size=45", "model.max_length=16",
        "model.dim=16", "model.heads=2", "model.ffn_dim=32", "model.depth=1",
    ],
    TokenTaggingExperiment: [
        f"data.path={ENTITIES}", "data.batch_tokens=64", "tokenizer.vocab_size=40", "model.max_length=24",
        "model.dim=16", "model.heads=2", "model.ffn_dim=32", "model.depth=1",
    ],
    SpeechRecognitionExperiment: [
        "data.source=builtin", "data.path=numbers", "data.size=24", "data.batch_seconds=8", "features.margin=15",
        "data.sample_rate=8000", "data.workers=0", "features.kind=log_mel", "features.bins=16",
        "augment.frequency_mask_bins=3", "tokenizer.kind=char", "tokenizer.vocab_size=40", "model.dim=16",
        "model.heads=2", "model.ffn_dim=32", "model.depth=1", "model.subsampling_dim=4", "model.kernel_size=7",
    ],
    QuestionAnsweringExperiment: [
        f"data.path={QUESTIONS}", "data.batch_tokens=96", "tokenizer.vocab_size=38", "model.max_length=24",
        "model.dim=16", "model.heads=2", "model.ffn_dim=32", "model.depth=1", "data.stride=4",
    ],
    ImageClassificationExperiment: [*DIGITS, "model.dim=16", "model.heads=2", "model.ffn_dim=32", "model.depth=1"],
    experiment("image_classification", "resnet"): [*DIGITS],
    ImageGenerationExperiment: [
        *DIGITS, "model.generator=[8,8,8]", "model.discriminator=[8,8,8]", "model.generator_attention=1",
        "evaluation.images=10",
    ],
    CaptioningExperiment: [
        "data.source=builtin", "data.path=shapes", "data.size=60", "data.image_size=16", "data.batch_images=10",
        "tokenizer.vocab_size=45", "model.dim=16", "model.heads=2", "model.ffn_dim=32", "model.depth=1",
        "decoder.dim=16", "decoder.heads=2", "decoder.ffn_dim=32", "decoder.depth=1", "decode.max_length=12",
    ],
    SpeechTranslationExperiment: [
        "data.source=builtin", "data.path=numbers", "data.size=20", "data.target_language=ja", "data.batch_seconds=8",
        "tokenizer=char", "model.dim=16", "model.heads=2", "model.ffn_dim=32", "model.depth=1",
        "model.subsampling_dim=4", "model.kernel_size=7", "decoder.dim=16", "decoder.heads=2", "decoder.ffn_dim=32",
        "decoder.depth=1", "decode.max_length=12",
    ],
    MaskedPatchesExperiment: [*DIGITS, "model.dim=16", "model.heads=2", "model.ffn_dim=32", "model.depth=1"],
}  # fmt: skip
WORDS = ["good", "bad", "film", "plot", "end", "fine", "story", "dull"]


def rows(line: str, count: int = 40) -> str:
    """Return artificial rows: {a} and {b} in a line become sentences, {n} a label."""
    texts = [" ".join(WORDS[(i * k + k) % 8] for k in range(1, 6)) for i in range(count + 1)]
    return "".join(line.format(a=texts[i], b=texts[i + 1], n=1 + i % 2) for i in range(count))


PAIRS = "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String\n" + rows("{n}\t7\t8\t{a}\t{b}\n")
RELATED = "pair_ID\tsentence_A\tsentence_B\trelatedness_score\tentailment_judgment\n" + rows("7\t{a}\t{b}\t{n}.5\tX\n")
CHUNKS = "".join(
    f"{word} NN {'BI'[i % 3 > 0]}-NP\n" + "\n" * (i % 3 == 2) for i, word in enumerate(rows("{a} ").split())
)
FILES = {
    "text/cola": dict.fromkeys(("in_domain_train.tsv", "in_domain_dev.tsv"), rows("x\t{n}\t*\t{a}\n")),
    "text/mrpc": {f"msr-para-{split}.tsv": "\ufeff" + PAIRS for split in ("train", "val", "test")},
    "text/sick": dict.fromkeys(("SICK_train.txt", "SICK_trial.txt", "SICK_test_annotated.txt"), RELATED),
    "text/imdb": {"train.jsonl": rows('{{"text": "{a}", "label": {n}}}\n')},
    "text/conll2000": {"train.txt": CHUNKS, "test.txt": CHUNKS},
}
"""Files for recipes that read the files of a certain data set in its own format, by recipe."""


def test_there_are_recipes():
    assert len(NAMES) > 4
    assert {info.name for info in recipes()} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_recipe_takes_two_steps(name, tmp_path):
    text = (ROOT / f"{name}.yaml").read_text(encoding="utf-8")
    needed = ["data.path=x"] if "path: ???" in text else []
    needed += ["data.target_language=ja"] if name == "speech_translation/folder" else []
    needed += ["data.source_language=en", "data.target_language=de"] if "source_language: ???" in text else []
    schema = type(compose(name, needed))
    shared = [
        "trainer.steps=2",
        "trainer.minutes=0",
        "trainer.evaluate_limit=2",
        "trainer.threads=1",
        f"data.cache={tmp_path}",
    ]
    settings = [*SHRUNK[schema], *shared]
    if "data.source=builtin" in settings:  # has its own splits
        settings += ["data.train=train", "data.validation=", "data.test="]
    if name in FILES:
        settings += [f"data.path={tmp_path}", "tokenizer.vocab_size=26"]
        for file, content in FILES[name].items():
            (tmp_path / file).write_text(content, encoding="utf-8")
    config = compose(name, settings)
    made = name in FILES or str(ROOT.parent / "tests") in config.data.path
    assert made or config.data.source is Source.builtin
    launch(config, tmp_path / "run", quiet=True)
    assert (tmp_path / "run" / "checkpoints" / "step-00000002" / "manifest.json").is_file()
