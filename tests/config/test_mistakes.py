"""Tests of mistakes on the command line and in files, each of which is answered in one line."""

import pytest

from tests.config.test_compose import DATA, GIVEN, RECIPE, failure, write
from tformer_cli.config import recipes as recipe_files
from tformer_cli.config.compose import (
    compose,
    from_yaml,
    to_yaml,
)
from tformer_cli.config.experiments import experiment, families_for, tasks
from tformer_cli.config.schema import Experiment
from tformer_cli.config.values import SYNONYMS, leaves
from tformer_cli.errors import ConfigError

# --- mistakes on the command line -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "answer"),
    [
        ("modle=x", "unknown setting 'modle': did you mean 'model'?"),
        ("modle.dim=3", "unknown setting 'modle.dim': did you mean 'model.dim'?"),
        ("lr=3", "unknown setting 'lr': did you mean 'optim.lr'?"),
        ("pretrained=true", "unknown setting 'pretrained': training starts from other weights by `tformer finetune"),
        ("model.pretrained=x", "unknown setting 'model.pretrained': training starts from other weights by"),
        ("checkpoint=x", "unknown setting 'checkpoint': training starts from other weights by"),
        ("optim.learning=3", "unknown setting 'optim.learning': did you mean 'optim.lr'?"),
        ("+foo=1", "unknown setting 'foo': `tformer settings`"),
        ("++foo.bar=1", "unknown setting 'foo.bar': `tformer settings`"),
        ("+optim.lrr=1", "unknown setting 'optim.lrr': did you mean 'optim.lr'?"),
        ("~foo", "foo cannot be removed"),
        ("~optim.lr", "optim.lr cannot be removed"),
        ("optim.lr=abc", "optim.lr: 'abc' is not a number"),
        ("optim.lr=", "optim.lr: '' is not a number"),
        ("optim.lr=nan", "optim.lr: 'nan' is not a number"),
        ("optim.lr=inf", "optim.lr: 'inf' is not a number"),
        ("optim.lr=-1", "optim.lr: -1 is too small: it must be 0 or more"),
        ("model.dropout=1.5", "model.dropout: 1.5 is not between 0 and 0.99"),
        ("model.heads=2.5", "model.heads: '2.5' is not a whole number"),
        ("seed=99999999999999999999", "seed: 99999999999999999999 is too large"),
        ("model.bias=yes", "model.bias: 'yes' is not true or false"),
        ("trainer.precision=bf61", "trainer.precision: 'bf61' is not one of auto, fp32, bf16"),
        ("tokenizer.user_symbols=a", "tokenizer.user_symbols: 'a' is not a list"),
        ("--optim.lr=3", "settings are written without dashes: optim.lr=3"),
        ("-optim.lr=3", "settings are written without dashes: optim.lr=3"),
        ("optim.lr", "'optim.lr' is not a setting"),
        (
            "model=transformer_bse",
            "model: 'transformer_bse' is not one of levenshtein_tiny, recurrent_bahdanau, ",
        ),
        ("optim={lr: 3}", "optim: '{lr: 3}' is not one of constant, cosine, "),
        ("optim.lr=1,2", "optim.lr: '1,2' is several values: -m trains one run for each"),
        ("trainer.steps=range(1,3)", "trainer.steps: 'range(1,3)' is several values"),
        ("hydra.run.dir=x", "hydra.run.dir cannot be set"),
        ("+model._target_=os.system", "model._target_: _target_ is refused"),
        ("data.name=_target_", "data.name: _target_ is refused"),
        ("data.name=${oc.env:HOME}", "data.name: ${...} is refused"),
        ("data.name=a\0b", "data.name: the value holds a NUL character"),
        ("data.name=\udcff", "data.name: the value is not UTF-8"),
        ("task=other", "task cannot be changed"),
        ("trainer.accumulate=1000000000", "trainer.accumulate: 1000000000 is not between 1 and 100000"),
        ("trainer.threads=5000", "trainer.threads: 5000 is not between 0 and 1024"),
        ("data.size=1000000000000", "data.size: 1000000000000 is not between 0 and 100000000"),
        ("model.encoder_depth=1000000000", "model.encoder_depth: 1000000000 is not between 1 and 1000"),
        ("data.source_language=???", "data.source_language must be given"),
        ("data.path=", "data.path must be given"),
    ],
)
def test_a_mistaken_override_is_answered_in_one_line(given, answer):
    assert failure(RECIPE, DATA, given).startswith(answer)


def test_a_key_without_its_group_names_every_place_it_has():
    answer = failure(RECIPE, DATA, "max_length=3")
    for key in ("data.max_length", "decode.max_length", "model.max_length"):
        assert f"'{key}'" in answer


def test_everything_that_must_be_given_is_named_at_once():
    assert failure("translation/files") == (
        "data.path, data.source_language and data.target_language must be given: "
        "add data.path=FOLDER data.source_language=en data.target_language=de"
    )
    assert failure("translation/files", *GIVEN[:1], *GIVEN[2:]).startswith("data.source_language must be given")


@pytest.mark.parametrize(
    ("given", "answer"),
    [
        (
            "translation/multi30k_en_d",
            "unknown recipe 'translation/multi30k_en_d': did you mean 'translation/multi30k_en_de'?",
        ),
        ("multi30k_en_de", "unknown recipe 'multi30k_en_de': did you mean 'translation/multi30k_en_de'?"),
        ("zzz", "unknown recipe 'zzz': `tformer recipes` lists them"),
        ("./zzz.yaml", "no such recipe file: ./zzz.yaml"),
        ("zzz.yaml", "no such recipe file: zzz.yaml"),
        ("/", "/ is a folder, not a recipe"),
    ],
)
def test_an_unknown_recipe_is_answered_with_the_nearest(given, answer):
    assert failure(given).startswith(answer)


# --- mistakes in a file ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (
            "task: translation\nmodle:\n  dim: 3\n",
            "mine.yaml:2: unknown setting 'modle': did you mean 'model'?",
        ),
        (
            "task: translation\nmodel:\n  dmi: 3\n",
            "mine.yaml:3: unknown setting 'model.dmi': did you mean 'model.dim'?",
        ),
        ("task: translation\noptim:\n  lr: fast\n", "mine.yaml:3: optim.lr: 'fast' is not a number"),
        ("task: translation\noptim:\n  lr: -1\n", "mine.yaml:3: optim.lr: -1 is too small"),
        ("task: translation\noptim: 3\n", "optim: 3 is given, but optim is a group of settings"),
        (
            "task: translation\ndata:\n  name: 3\n",
            'mine.yaml:3: data.name: 3 is not text: put it in quotes: "3"',
        ),
        ("task: translation\ndata:\n  name:\n", "mine.yaml:3: data.name: nothing is not text"),
        ("task: translation\ndata:\n  name: [a]\n", "mine.yaml:3: data.name: ['a'] is not text"),
        ("task: translation\nmodel:\n  bias: 1\n", "mine.yaml:3: model.bias: 1 is not true or false"),
        ("task: translation\ndata:\n  path: ${oc.env:HOME}\n", "mine.yaml:3: data.path: ${...} is refused"),
        ("task: translation\nmodel:\n  _target_: os.system\n", "mine.yaml:3: _target_ is refused"),
        ("model:\n  dim: 3\n", "does not say its task"),
        ("task: cooking\n", "mine.yaml:1: task 'cooking' is not one of translation"),
        ("defaults: model\n", "mine.yaml:1: defaults is not a list"),
        (
            "defaults:\n  - schema: translation\n  - modle: x\n",
            "mine.yaml:1: unknown setting 'modle': did you mean 'model'?",
        ),
        (
            "defaults:\n  - schema: translation\n  - model: x\n",
            "mine.yaml:1: model: 'x' is not one of levenshtein_tiny, ",
        ),
        ("defaults:\n  - _self_\n  - schema: translation\n", "mine.yaml:1: _self_ is not the last"),
        ("defaults:\n  - /etc/passwd\n", "mine.yaml:1: the defaults may contain only"),
        (
            "defaults:\n  - override hydra/launcher: x\n  - schema: translation\n",
            "mine.yaml:1: unknown setting 'override hyd",
        ),
    ],
)
def test_a_mistake_in_a_recipe_is_named_with_its_line(text, answer, tmp_path):
    assert answer in failure(write(tmp_path, text), *GIVEN)


def test_an_option_of_another_task_is_named(tmp_path, monkeypatch):
    conf = tmp_path / "conf" / "model"
    conf.mkdir(parents=True)
    (conf / "vision.yaml").write_text("patch: 16\n")
    (conf / "broken.yaml").write_text("defaults: [nothing]\n")
    recipe = write(tmp_path, "task: translation\n")
    find = recipe_files.folder
    monkeypatch.setattr(recipe_files, "folder", lambda kind: tmp_path / "conf" if kind == "conf" else find(kind))
    monkeypatch.setattr("tformer_cli.config.hydra_groups.folder", recipe_files.folder)
    assert failure(recipe, *GIVEN, "model=vision").startswith("model=vision: unknown setting 'model.patch'")
    assert failure(recipe, *GIVEN, "model=broken").startswith("the options model=broken cannot be composed")


def test_a_saved_configuration_is_read_strictly(tmp_path):
    text = to_yaml(compose(RECIPE, [DATA]))
    path = tmp_path / "config.yaml"
    path.write_text(text.replace("  beam: 5", "  beam: 5\n  tree: 7"))
    with pytest.raises(ConfigError, match=r"config\.yaml:\d+: unknown setting 'decode.tree': a newer version"):
        from_yaml(path)
    path.write_text(text.replace("  beam: 5\n", ""))
    assert from_yaml(path) == compose(RECIPE, [DATA])
    path.write_text(text.replace("path: somewhere", "path: ${oc.env:HOME}"))
    with pytest.raises(ConfigError, match=r"\$\{\.\.\.\} is refused"):
        from_yaml(path)
    path.write_text("defaults:\n  - schema: translation\n")
    with pytest.raises(ConfigError, match="is a recipe, not a run's configuration"):
        from_yaml(path)


# --- settings that cannot go together -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "key", "remedy"),
    [
        (["model.dim=128", "model.heads=7"], "model.dim: 128", "model.heads=4"),
        (
            ["model.dim=12", "model.heads=4", "model.positions=rotary"],
            "model.positions: rotary",
            "model.dim=16",
        ),
        (["model.dim=15", "model.heads=5"], "model.positions: sinusoidal", "model.dim=20"),
        (
            ["model.dim=15", "model.heads=5", "model.positions=transformer_xl"],
            "model.positions: transf",
            "model.dim=20",
        ),
        (
            ["model.combine=concatenate", "model.positions=rotary"],
            "model.combine: concatenate",
            "model.combine=add",
        ),
        (
            ["model.combine=concatenate", "model.positions=none"],
            "model.combine: concatenate",
            "model.combine=add",
        ),
        (["decode.n_best=6"], "decode.n_best: 6", "decode.beam=6"),
        (
            ["trainer.steps=0", "trainer.minutes=0"],
            "trainer.steps, trainer.epochs and trainer.minutes",
            "trainer.steps=10000",
        ),
        (["trainer.average=best", "trainer.keep_best=1"], "trainer.average: best", "trainer.keep_best=5"),
        (["trainer.average=last", "trainer.keep=1"], "trainer.average: last", "trainer.keep=5"),
        (["tokenizer.joint=false"], "model.tie_embeddings: all", "model.tie_embeddings=decoder"),
        (
            ["tokenizer.kind=char", "tokenizer.sampling=0.1"],
            "tokenizer.sampling: char",
            "tokenizer.kind=unigram",
        ),
        (["data.streaming=true"], "data.streaming: ", "data.streaming=false"),
        (["data.target_language=en"], "data.target_language: 'en'", "data.autoencoder=true"),
        (
            ["model.residual=false", "model.stochastic_depth=0.1"],
            "model.stochastic_depth: a sub-layer cannot be skipped",
            "model.stochastic_depth=0",
        ),
        (["data.max_length=512", "model.max_length=512"], "data.max_length: 512", "data.max_length=511"),
        (["decode.max_length=600"], "decode.max_length: 600", "decode.max_length=512"),
    ],
)
def test_impossible_combinations_name_the_key_and_what_would_go(given, key, remedy):
    answer = failure(RECIPE, DATA, *given)
    assert answer.startswith(key)
    assert answer.endswith(remedy)
    if "=" in remedy:
        compose(RECIPE, [DATA, *given, remedy])


@pytest.mark.parametrize(
    "overrides",
    [
        ["model.positions=rotary", "model.dim=64", "model.heads=4"],
        ["model.positions=none", "model.dim=15", "model.heads=5"],
        ["model.combine=concatenate", "model.positions=sinusoidal"],
        ["model.combine=concatenate", "model.positions=learned"],
        ["model.combine=concatenate", "model.positions=learnable_sinusoidal"],
        ["trainer.steps=10", "trainer.minutes=0"],
        ["decode=sample", "decode.n_best=5"],
        ["tokenizer.joint=false", "model.tie_embeddings=decoder"],
        ["data.max_length=511"],
    ],
)  # fmt: skip
def test_possible_combinations_pass(overrides):
    assert isinstance(compose(RECIPE, [DATA, *overrides]), Experiment)


# --- speech ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["features.high_hz=5000"], "features.high_hz: 5000 is more than half of data.sample_rate, 4000: "),
        (["features.low_hz=4000"], "features.low_hz: 4000 is not below the highest frequency, 4000: "),
        (
            ["features.low_hz=900", "features.high_hz=800"],
            "features.low_hz: 900 is not below the highest frequency, 800: ",
        ),
        (["augment.speeds=[1.0,0]"], "augment.speeds: [1.0, 0.0] must be from 0.1 to 10: "),
        (["augment.speeds=[-1.0]"], "augment.speeds: [-1.0] must be from 0.1 to 10: "),
        (["augment.speeds=[]"], "augment.speeds: [] must be from 0.1 to 10: "),
        (["augment.noise_low_db=40"], "augment.noise_low_db: 40 is more than noise_high_db 30: "),
        (["augment.noise_path=noises"], "augment.noise_path: no utterance has noise, as augment.noise is 0: "),
        (["augment.time_masks=2", "augment.adaptive_masks=0.05"], "augment.adaptive_masks: augment.time_masks 2 sets "),
        (["augment.frequency_masks=1", "features.bins=27"], "augment.frequency_mask_bins: 27 would mask all of "),
        (["data.join_low=3"], "data.join_low: 3 is more than data.join_high 1: "),
        (["features.kind=stored", "augment.gain_db=3"], "augment.gain_db: needs sound, and features.kind is stored: "),
        (["features.kind=stored", "augment.noise=0.1"], "augment.noise: needs sound, and features.kind is stored: "),
        (
            ["features.kind=stored", "augment.shift_ms=5"],
            "augment.shift_ms: needs sound, and features.kind is stored: ",
        ),
        (
            ["features.kind=stored", "augment.speeds=[0.9]"],
            "augment.speeds: needs sound, and features.kind is stored: ",
        ),
    ],
)
def test_speech_that_cannot_be_is_refused(tmp_path, overrides, message):
    recipe = write(
        tmp_path, "task: speech_recognition\ntrainer: {steps: 1}\ndata: {path: somewhere, sample_rate: 8000}\n"
    )
    assert compose(recipe, []).augment.speeds == [1.0]
    assert failure(recipe, *overrides).startswith(message)


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("optim.learning_rate", "'optim.lr'"),
        ("learning_rate", "'optim.lr'"),
        ("batch_size", "'data.batch_tokens', which counts tokens"),
        ("data.src", "'data.source_language'"),
        ("data.tgt", "'data.target_language'"),
        ("model.depth", "'model.encoder_depth' or 'model.decoder_depth'"),
        ("model.d_model", "'model.dim'"),
        ("trainer.gradient_accumulation_steps", "'trainer.accumulate'"),
    ],
)
def test_names_of_other_toolkits_are_answered_with_ours(key, meant):
    assert failure(RECIPE, DATA, f"{key}=1") == f"unknown setting {key!r}: did you mean {meant}?"


def test_every_synonym_leads_to_a_setting():
    known = {
        key.rpartition(".")[2]
        for task in tasks()
        for family in families_for(task)
        for key in leaves(experiment(task, family))
    }
    assert [word for word, ours in SYNONYMS.items() if not known & {*ours}] == []
    assert [word for word in SYNONYMS if word in known - {"depth"}] == []


def test_an_option_of_another_task_is_answered_with_those_that_fit():
    answer = failure(RECIPE, DATA, "model=bert_mini")
    assert answer.startswith("model=bert_mini does not go with task translation: one of levenshtein_tiny, ")


def test_each_number_of_a_list_is_in_its_range():
    answer = failure("resnet/cifar10", "data.path=x", "model.depths=[2,1000000000]")
    assert answer == "model.depths: 1000000000 is not between 1 and 1000"
