"""The families that every property is tested on; a new family needs one entry here."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from tformer_cli import tasks
from tformer_cli.config.compose import compose
from tformer_cli.config.schema import Experiment
from tformer_cli.data.core.batch import Batch
from tformer_cli.tasks.task import Task

SMALL = ["trainer.threads=1", "trainer.precision=fp32", "trainer.attention=explicit", "trainer.device=cpu"]


@dataclass(frozen=True)
class Family:
    """A task with a model family, small enough to train in a second.

    Attributes:
        name: name of the family.
        recipe: one of its recipes.
        settings: settings that make it small.
        inputs: a few inputs to predict from.
        same: settings with which training reads the same examples in each epoch.
        optimisers: groups of settings of further optimisers, which get all settings of `optim` too.
        dropout: whether the model has dropout.
    """

    name: str
    recipe: str
    settings: list[str] = field(default_factory=list)
    inputs: list[str] = field(default_factory=list)
    same: list[str] = field(default_factory=list)
    optimisers: tuple[str, ...] = ()
    dropout: bool = True

    def config(self, folder: Path, *more: str) -> Experiment:
        """Return the configuration with further settings, and `folder` as cache."""
        more = tuple(setting for setting in more if self.dropout or not setting.startswith("model.dropout="))
        further = [
            f"{name}.{setting.removeprefix('optim.')}"
            for name in self.optimisers
            for setting in more
            if setting.startswith("optim.")
        ]
        more = (*further, *more)  # the last setting of a key counts
        return compose(self.recipe, [*SMALL, *self.settings, f"data.cache={folder}", *more])

    def task(self, folder: Path, *more: str) -> Task:
        """Return the prepared task."""
        task = tasks.build(self.config(folder, *more))
        task.prepare(folder)
        return task


def batch_of(task: Task, split: str, epoch: int, index: int) -> Batch:
    """Return batch `index` of `epoch` with all its rows."""
    return task.view(split).collate(epoch, task.view(split).rows(epoch, index))


SENTIMENT = str(Path(__file__).with_name("sentiment.tsv"))
ENTITIES = str(Path(__file__).with_name("entities.txt"))
PICTURES = sorted(map(str, Path(__file__).with_name("pictures").glob("*.png")))
RECORDINGS = sorted(map(str, Path(__file__).with_name("recordings").glob("*.wav")))
QUESTIONS = str(Path(__file__).with_name("questions.json"))


FAMILIES = [
    Family(
        "translation",
        "quickstart/translation",
        ["data.size=200", "data.batch_tokens=400", "tokenizer.vocab_size=400", "model.dim=16", "model.heads=2",
         "model.ffn_dim=32", "model.encoder_depth=1", "model.decoder_depth=1", "trainer.minutes=0", "trainer.steps=10"],
        ["The cat eats.", "", "We did not read three books yesterday."],
    ),
    Family(
        "recurrent translation",
        "quickstart/translation",
        ["model=recurrent_bahdanau", "data.size=200", "data.batch_tokens=400", "tokenizer.vocab_size=400",
         "model.dim=16", "trainer.minutes=0", "trainer.steps=10"],
        ["The cat eats.", "", "We did not read three books yesterday."],
    ),
    Family(
        "editing",
        "translation/levenshtein",
        ["data=builtin", "data.path=en-ja", "data.source_language=en", "data.target_language=ja", "data.size=200",
         "data.batch_tokens=400", "tokenizer.kind=unigram", "tokenizer.vocab_size=400", "model.dim=16", "model.heads=2",
         "model.ffn_dim=32", "model.encoder_depth=1", "model.decoder_depth=1", "trainer.minutes=0", "trainer.steps=10"],
        ["The cat eats.", "", "We did not read three books yesterday."],
    ),
    Family(
        "gpt",
        "quickstart/gpt",
        ["data.size=8", "data.batch_tokens=64", "tokenizer.vocab_size=600", "model.max_length=16", "model.dim=16",
         "model.heads=2", "model.ffn_dim=32", "model.depth=1", "trainer.steps=10",
         "decode.max_length=8", "trainer.samples=1", "decode.sample=false", "decode.beam=2"],
        ["The list", "", "def main("],
    ),
    Family(
        "recurrent language model",
        "quickstart/gpt",
        ["model=recurrent_lm", "data.size=8", "data.batch_tokens=64", "tokenizer.vocab_size=600", "model.max_length=16",
         "model.dim=16", "trainer.steps=10", "decode.max_length=8", "trainer.samples=1", "decode.sample=false",
         "decode.beam=2"],
        ["The list", "", "def main("],
    ),
    Family(
        "bert",
        "quickstart/bert",
        ["data.size=8", "data.batch_tokens=64", "tokenizer.kind=bpe", "tokenizer.vocab_size=600",
         "model.positions=learned", "model.max_length=16", "model.dim=16", "model.heads=2", "model.ffn_dim=32",
         "model.depth=1", "trainer.steps=10", "trainer.samples=1"],
        ["The <mask> statement", "", "No hidden word"],
    ),
    Family(
        "text classification",
        "text/classification",
        [f"data.path={SENTIMENT}", "data.batch_tokens=64", "data.validation_share=0.2", "tokenizer.vocab_size=45",
         "model.max_length=16", "model.dim=16", "model.heads=2", "model.ffn_dim=32", "model.depth=1",
         "trainer.steps=10", "head.dropout=0", "model.attention_dropout=0"],
        ["a good film", "", "what a bore"],
    ),
    Family(
        "recurrent classification",
        "text/classification",
        ["model=recurrent_encoder", f"data.path={SENTIMENT}", "data.batch_tokens=64", "data.validation_share=0.2",
         "tokenizer.vocab_size=45", "model.max_length=16", "model.dim=16", "trainer.steps=10", "head.dropout=0"],
        ["a good film", "", "what a bore"],
    ),
    Family(
        "token tagging",
        "text/tagging",
        [f"data.path={ENTITIES}", "data.batch_tokens=64", "data.validation_share=0.2", "tokenizer.vocab_size=40",
         "model.max_length=24", "model.dim=16", "model.heads=2", "model.ffn_dim=32", "model.depth=1",
         "trainer.steps=10", "head.dropout=0", "model.attention_dropout=0"],
        ["Ann saw Bob", "", "the old house in Rome"],
    ),
    Family(
        "question answering",
        "text/question_answering",
        [f"data.path={QUESTIONS}", "data.batch_tokens=96", "data.validation_share=0.2", "data.stride=4",
         "tokenizer.vocab_size=38", "model.max_length=24", "model.dim=16", "model.heads=2", "model.ffn_dim=32",
         "model.depth=1", "trainer.steps=10", "head.dropout=0", "model.attention_dropout=0"],
        ["Where?\tAnn lives in Oslo.", "", "What?\tBob sells tea by the sea and lives in Rome and he likes it."],
    ),
    Family(
        "vit",
        "quickstart/vit",
        ["data.size=60", "data.batch_images=4", "augment.mixup=0.5", "augment.cutmix=1", "augment.erase=0.3",
         "model.dim=16", "model.heads=2", "model.ffn_dim=32", "model.depth=1", "trainer.steps=10"],
        PICTURES,
        ["augment.mixup=0", "augment.cutmix=0", "augment.erase=0"],
    ),
    Family(
        "masked patches",
        "vit/masked_patches",
        ["data.source=builtin", "data.path=digits", "data.size=60", "data.image_size=8", "data.channels=1",
         "data.batch_images=4", "data.validation_share=0.2", "model.patch_size=2", "model.dim=16", "model.heads=2",
         "model.ffn_dim=32", "model.depth=1", "trainer.steps=10"],
    ),
    # Batch normalisation, the default, would make a step depend on its division into micro-batches and ranks.
    Family(
        "sagan",
        "sagan/digits",
        ["data.size=60", "data.batch_images=4", "data.validation_share=0.2", "model.noise_dim=8",
         "model.generator=[8,8,8]", "model.discriminator=[8,8,8]", "model.norm=group", "trainer.steps=10",
         "evaluation.images=20"],
        same=["generator_optim.lr=0"],
        optimisers=("generator_optim",),
        dropout=False,
    ),
    Family(
        "conformer",
        "quickstart/conformer",
        ["data.size=40", "data.batch_seconds=8", "data.validation_share=0.25", "features.margin=15", "features.bins=16",
         "features.normalise=utterance",
         "augment.frequency_mask_bins=3", "augment.speeds=[0.9,1.0,1.1]", "augment.noise=0.5", "augment.gain_db=3",
         "augment.join=0.3", "augment.shift_ms=50", "model.dim=16", "model.heads=2", "model.ffn_dim=32",
         "model.depth=1", "model.decoder_depth=1", "model.kernel_size=7", "model.subsampling_dim=4",
         "model.convolution_norm=layer", "trainer.steps=10", "decode.beam=2"],
        RECORDINGS,
        ["augment.speeds=[1.0]", "augment.noise=0", "augment.gain_db=0", "augment.join=0", "augment.shift_ms=0",
         "augment.time_masks=0", "augment.frequency_masks=0"],
    ),
    Family(
        "captions",
        "quickstart/captions",
        ["data.size=60", "data.batch_images=10", "data.image_size=16", "tokenizer.vocab_size=45", "model.stem=patches",
         "model.dim=16", "model.heads=2", "model.ffn_dim=32", "model.depth=1", "decoder.dim=24", "decoder.heads=2",
         "decoder.ffn_dim=32", "decoder.depth=1", "decoder.dropout=0", "trainer.steps=10", "trainer.metric=",
         "decode.beam=2", "decode.max_length=12"],
        PICTURES,
    ),
    Family(
        "speech translation",
        "quickstart/speech_translation",
        ["data.size=40", "data.batch_seconds=8", "data.validation_share=0.25", "features.bins=16",
         "features.normalise=utterance", "augment.frequency_mask_bins=3", "augment.speeds=[0.9,1.0,1.1]",
         "model.dim=16", "model.heads=2", "model.ffn_dim=32", "model.depth=1", "model.kernel_size=7",
         "model.subsampling_dim=4", "model.convolution_norm=layer", "decoder.dim=24", "decoder.heads=2",
         "decoder.ffn_dim=32", "decoder.depth=1", "decoder.dropout=0", "trainer.steps=10", "trainer.metric=",
         "decode.beam=2"],
        RECORDINGS,
        ["augment.speeds=[1.0]", "augment.time_masks=0", "augment.frequency_masks=0"],
    ),
]  # fmt: skip

WRITERS = ("translation", "recurrent translation", "captions", "speech translation")
"""Families that generate texts; a model that is hardly trained generates up to the maximum length."""


def family_named(name: str) -> Family:
    """Return the family or the variant of that name."""
    return next(family for family in (*FAMILIES, *VARIANTS) if family.name == name)


def _variant(family: str, name: str, *settings: str, recipe: str = "") -> Family:
    """Return a family of the list with other settings, under another name."""
    base = next(each for each in FAMILIES if each.name == family)
    return replace(base, name=name, recipe=recipe or base.recipe, settings=[*base.settings, *settings])


VARIANTS = [
    _variant("translation", "translation, untied", "model.tie_embeddings=none", "model.norm=post"),
    _variant("translation", "translation, averaged", "trainer.ema=0.9", "trainer.keep_best=2", "trainer.average=best"),
    _variant("recurrent translation", "Luong with input feeding", "model=recurrent_luong_general",
             "model.input_feeding=true", "model.decoder_depth=2"),
    _variant("recurrent translation", "peeky", "model=recurrent_peeky"),
    _variant("recurrent translation", "fixed vector", "model=recurrent_fixed"),
    Family(
        "recurrent tagging",
        "text/tagging",
        ["model=recurrent_encoder", f"data.path={ENTITIES}", "data.batch_tokens=64", "data.validation_share=0.2",
         "tokenizer.vocab_size=40", "model.max_length=24", "model.dim=16", "trainer.steps=10", "head.dropout=0"],
        ["Ann saw Bob", "", "the old house in Rome"],
    ),
    Family(
        "causal tagging",
        "text/tagging",
        ["model=gpt_mini", f"data.path={ENTITIES}", "data.batch_tokens=64", "data.validation_share=0.2",
         "tokenizer.vocab_size=40", "model.max_length=24", "model.dim=16", "model.heads=2", "model.ffn_dim=32",
         "model.depth=1", "trainer.steps=10", "head.dropout=0"],
        ["Ann saw Bob", "", "the old house in Rome"],
    ),
    Family(
        "recurrent question answering",
        "text/question_answering",
        ["model=recurrent_encoder", "model.cell=gru", f"data.path={QUESTIONS}", "data.batch_tokens=96",
         "data.validation_share=0.2", "data.stride=4", "tokenizer.vocab_size=38", "model.max_length=24", "model.dim=16",
         "trainer.steps=10", "head.dropout=0"],
        ["Where?\tAnn lives in Oslo.", "", "What?\tBob sells tea by the sea and lives in Rome and he likes it."],
    ),
    _variant("bert", "bert, next sentence", "bert.nsp=true", "data.documents=line"),
    Family(
        "resnet",
        "resnet/cifar10",
        ["data.source=builtin", "data.path=digits", "data.size=60", "data.image_size=8", "data.channels=1",
         "data.batch_images=4", "data.validation_share=0.2", "model.depths=[1,1]", "model.dim=8", "model.squeeze=2",
         "augment.mixup=0.5", "trainer.steps=10"],
        PICTURES,
    ),
    _variant("sagan", "sagan, batch statistics", "model.norm=batch", "model.spectral_norm=both", "trainer.ema=0.9"),
    _variant("conformer", "conformer, CTC alone", "model.decoder_depth=0", "objective.ctc_weight=1", "decode.beam=5"),
]  # fmt: skip
"""Families with other settings, which cover other parts of the code; they are too many to test each property on."""
DISAGREE = [f"regularise.disagreement_{name}=1" for name in ("subspace", "position", "output")]
REGULARISED = [
    # Dropout is so small that no element is ever dropped, for tests that compare steps; other tests set model.dropout.
    # The scores of a classifier are small at the start, so that its divergence needs a large weight.
    _variant("translation", "translation, R-Drop", *DISAGREE, "regularise.consistency=5", "model.ffn_dropout=1e-9"),
    _variant(
        "text classification", "text classification, R-Drop", "regularise.consistency=1000", "model.ffn_dropout=1e-9"
    ),
    _variant(
        "conformer", "conformer, CR-CTC", *DISAGREE, "regularise.consistency=0.2", "regularise.consistency_warmup=1"
    ),
]
"""Families with regularisers, for the properties of `test_regularised`."""
