"""Where fine-tuning starts."""

import json

import pytest
import safetensors.torch
import torch

from tformer_cli.config.compose import compose
from tformer_cli.config.schema import HeadConfig, ImageHeadConfig, Pooling, Positions
from tformer_cli.errors import RunError
from tformer_cli.models.bert import BERTConfig
from tformer_cli.models.bert.model import BERT
from tformer_cli.models.conformer import ConformerConfig
from tformer_cli.models.conformer.model import Conformer
from tformer_cli.models.gpt import GPTConfig
from tformer_cli.models.gpt.model import GPT
from tformer_cli.models.image_head import ImageClassifier
from tformer_cli.models.patch_head import MaskedPatchModel
from tformer_cli.models.seq2seq import Seq2SeqConfig
from tformer_cli.models.seq2seq.model import Seq2Seq
from tformer_cli.models.token_heads import MaskedLanguageModel, SpanClassifier, TokenClassifier
from tformer_cli.models.vit import ViTConfig
from tformer_cli.models.vit.model import ViT
from tformer_cli.nn.grid import resized
from tformer_cli.runs.checkpoint import model_tensors, tensors_to_bytes
from tformer_cli.train.initial import (
    OUTPUT_NAMES,
    LoadedWeights,
    load_initial,
    output_names,
    thinned,
    with_architecture,
    with_inputs,
)

SMALL = {"dim": 8, "heads": 2, "ffn_dim": 12}


def written(model, folder):
    """A model whose block N holds N everywhere, as a checkpoint."""
    tensors = model_tensors(model)
    for name, value in tensors.items():
        parts = name.split(".blocks.")
        value.data.fill_(float(parts[1].split(".")[0]) if len(parts) > 1 else -1)
    (folder / "model.safetensors").write_bytes(tensors_to_bytes(tensors))
    return folder


@pytest.mark.parametrize(
    ("have", "want", "taken"),
    [(12, 6, [0, 2, 4, 7, 9, 11]), (6, 3, [0, 2, 5]), (4, 2, [0, 3]), (5, 1, [0]), (3, 3, [0, 1, 2])],
)
def test_a_shallower_encoder_takes_evenly_spaced_blocks(tmp_path, have, want, taken):
    folder = written(MaskedLanguageModel(BERT(BERTConfig(depth=have, **SMALL), 20), nsp=False), tmp_path)
    model = MaskedLanguageModel(BERT(BERTConfig(depth=want, **SMALL), 20), nsp=False)
    assert load_initial(model, folder).new == []
    for number, block in enumerate(model.encoder.stack.blocks):
        assert {float(value.detach().mean()) for value in block.parameters()} == {float(taken[number])}
    assert float(model.encoder.embedding.weight.detach().mean()) == -1


@pytest.mark.parametrize("kind", ["bert", "gpt", "seq2seq"])
def test_a_model_of_shorter_texts_takes_the_first_rows_of_the_positions(tmp_path, kind):
    def build(rows):
        if kind == "bert":
            return MaskedLanguageModel(BERT(BERTConfig(depth=1, max_length=rows, **SMALL), 20), nsp=False)
        if kind == "gpt":
            return GPT(GPTConfig(depth=1, max_length=rows, **SMALL), 20)
        shape = {"encoder_depth": 1, "decoder_depth": 1, "positions": Positions.learned, "max_length": rows, **SMALL}
        return Seq2Seq(Seq2SeqConfig(**shape), 20, 20)

    def tables(model):
        return {name: value for name, value in model_tensors(model).items() if name.endswith("positions.table")}

    long = build(12)
    for table in tables(long).values():
        torch.nn.init.normal_(table)
    tensors = {name: value.detach().clone() for name, value in model_tensors(long).items()}
    safetensors.torch.save_file(tensors, tmp_path / "model.safetensors")
    short = build(7)
    taken = load_initial(short, tmp_path)
    assert taken.shortened == sorted(tables(long)) and "shortened: " in str(taken)
    assert all(torch.equal(value, tables(long)[name][:7]) for name, value in tables(short).items())
    with pytest.raises(RunError, match=r"has 12 rows, the model needs 13: model\.max_length=12, or less"):
        load_initial(build(13), tmp_path)


def test_an_encoder_alone_and_one_with_other_heads_start_pretraining(tmp_path):
    encoder = MaskedLanguageModel(BERT(BERTConfig(depth=1, **SMALL), 20), nsp=True)
    tensors = {name: value.detach().clone() for name, value in model_tensors(encoder).items()}
    encoder_tensors = {name: value for name, value in tensors.items() if not name.startswith(("head", "next_sentence"))}
    safetensors.torch.save_file(encoder_tensors, tmp_path / "model.safetensors")
    model = MaskedLanguageModel(BERT(BERTConfig(depth=1, **SMALL), 20), nsp=False)
    assert load_initial(model, tmp_path) == LoadedWeights(["head"], ["pooler"], [])
    assert torch.equal(model.encoder.embedding.weight, encoder.encoder.embedding.weight)


def test_each_stack_by_itself(tmp_path):
    folder = written(Seq2Seq(Seq2SeqConfig(encoder_depth=4, decoder_depth=3, **SMALL), 20, 20), tmp_path)
    model = Seq2Seq(Seq2SeqConfig(encoder_depth=4, decoder_depth=2, **SMALL), 20, 20)
    load_initial(model, folder)
    values = {
        name: [float(next(block.parameters()).detach().mean()) for block in getattr(model, name).blocks]
        for name in ("encoder", "decoder")
    }
    assert values == {"encoder": [0, 1, 2, 3], "decoder": [0, 2]}


def test_a_deeper_model_is_refused(tmp_path):
    folder = written(MaskedLanguageModel(BERT(BERTConfig(depth=2, **SMALL), 20), nsp=False), tmp_path)
    with pytest.raises(RunError, match="missing weights: encoder.stack.blocks.2"):
        load_initial(MaskedLanguageModel(BERT(BERTConfig(depth=3, **SMALL), 20), nsp=False), folder)


@pytest.mark.parametrize(
    ("vocabulary", "depth", "fresh"),
    [(20, 1, []), (30, 1, ["ctc", "target_embedding"]), (30, 0, ["ctc"])],
)
def test_a_conformer_takes_the_encoder_and_begins_anew_where_the_vocabulary_is_another(
    tmp_path, vocabulary, depth, fresh
):
    checkpoint_model = Conformer(ConformerConfig(depth=2, decoder_depth=1, **SMALL), 10, 20)
    folder = written(checkpoint_model, tmp_path)
    model = Conformer(ConformerConfig(depth=2, decoder_depth=depth, **SMALL), 10, vocabulary)
    assert load_initial(model, folder).new == fresh
    weights, checkpoint_weights = model_tensors(model), model_tensors(checkpoint_model)
    taken = [name for name in weights if name.partition(".")[0] not in fresh]
    assert any(name.endswith("convolution.sublayer.norm.variance") for name in taken)
    assert all(torch.equal(weights[name], checkpoint_weights[name]) for name in taken)


def test_a_conformer_of_another_kind_of_features_is_refused(tmp_path):
    folder = written(Conformer(ConformerConfig(depth=1, **SMALL), 10, 20), tmp_path)
    with pytest.raises(RunError, match=r"encoder.subsampling.project.weight has shape"):
        load_initial(Conformer(ConformerConfig(depth=1, **SMALL), 40, 20), folder)


def test_weights_outside_of_stacks_stay_as_they_are():
    weights = {"a": torch.ones(1), "x.blocks.0.w": torch.ones(1), "x.blocks.1.w": torch.zeros(1)}
    assert thinned(weights, weights).keys() == weights.keys()


@torch.no_grad()
def test_a_model_of_pictures_starts_at_its_own_resolution(tmp_path):
    before = MaskedPatchModel(ViT(ViTConfig(depth=3, patch_size=4, **SMALL), 12, 3), 5)
    written(before, tmp_path)
    table = torch.nn.init.normal_(before.encoder.positions.table)
    tensors = {name: value.detach().clone() for name, value in model_tensors(before).items()}
    safetensors.torch.save_file(tensors, tmp_path / "model.safetensors")
    model = ImageClassifier(ViT(ViTConfig(depth=2, patch_size=4, **SMALL), 20, 3), ImageHeadConfig(), 4)
    assert load_initial(model, tmp_path) == LoadedWeights(["head"], ["mask", "output"], [])
    assert torch.equal(model.encoder.positions.table, resized(table, (5, 5)))
    assert [float(next(block.parameters()).mean()) for block in model.encoder.stack.blocks] == [0, 2]
    without = ViTConfig(depth=3, patch_size=4, class_token=False, **SMALL)
    safetensors.torch.save_file(model_tensors(MaskedPatchModel(ViT(without, 12, 3), 5)), tmp_path / "model.safetensors")
    with pytest.raises(RunError, match="no .class. token"):
        load_initial(model, tmp_path)


@pytest.mark.parametrize(("positions", "length"), [("t5", 64), ("rotary", 64), ("learned", 16)])
def test_the_length_is_the_recipes_where_no_weight_depends_on_it(positions, length):
    config = compose("text/classification", ["data.path=x", "model.max_length=64"])
    saved = BERTConfig(max_length=16, positions=Positions[positions], **SMALL)
    assert with_architecture(config, saved, "there", []).model.max_length == length
    assert with_architecture(config, saved, "there", ["model.max_length=32"]).model.max_length == 32


def test_pictures_are_coded_as_the_weights_know_them_and_the_hidden_layer_stays_behind():
    coding = ["data.channels=1", "data.mean=[0.1]", "data.std=[0.3]", "model.class_token=false"]
    initial = compose("vit/finetune", ["data.path=x", "head.pooling=mean", *coding])
    settings = ["data.path=y", "head.hidden=true"]
    changed = with_inputs(compose("vit/finetune", settings), initial)
    changed = with_architecture(changed, initial.model, "there", ["data.path=y"])
    assert (changed.data.channels, changed.data.mean, changed.data.std) == (1, [0.1], [0.3])
    assert changed.data.path == "y" and not changed.head.hidden
    assert changed.head.pooling is Pooling.mean and not changed.model.class_token
    config = with_inputs(compose("vit/finetune", settings), initial)
    config = with_architecture(config, initial.model, "there", ["data.channels=3", "head.hidden=true"])
    assert config.data.channels == 3 and config.head.hidden


def test_of_recordings_the_same_features_are_computed():
    initial = compose("conformer/digits", ["data.path=x", "features.bins=33", "model.depth=2"])
    config = compose("conformer/folder", ["data.path=y", "data.sample_rate=16000"])
    changed = with_architecture(with_inputs(config, initial), initial.model, "there", [])
    assert (changed.data.sample_rate, changed.features, changed.model.depth) == (8000, initial.features, 2)
    assert (changed.data.path, changed.augment) == ("y", config.augment)
    assert with_inputs(compose("vit/finetune", ["data.path=y"]), initial) == compose("vit/finetune", ["data.path=y"])


@pytest.mark.parametrize(("class_token", "pooling"), [("true", Pooling.cls), ("false", Pooling.mean)])
def test_a_head_pools_what_masked_patches_were_learnt_with(class_token, pooling):
    initial = compose("vit/masked_patches", ["data.path=x", f"model.class_token={class_token}"])
    for recipe in ("vit/folder", "vit/finetune", "vit/cifar10"):
        config = with_inputs(compose(recipe, ["data.path=y", "data.image_size=32"]), initial)
        assert with_architecture(config, initial.model, "there", []).head.pooling is pooling


UNNAMED_LABELS = ": all weights of its encoder; new, as the model does not name its labels: the output layer"


def test_parts_of_models_are_described_in_words():
    weights = LoadedWeights(["output", "pooler"], ["head"], [])
    assert str(weights) == ": all weights of its encoder; new: the output layer, the pooler; not used: the head"
    assert str(LoadedWeights([], [], [])) == ""


@pytest.mark.parametrize(
    ("labels", "initial", "rows", "message"),
    [
        (("O", "PER"), ("O", "PER"), [0, 1], ""),
        (("O", "PER"), ("PER", "O"), [1, 0], ""),
        (("O", "PER"), (), [0, 1], ""),
        (("O", "PER"), ("O", "LOC"), None, ": all weights of its encoder; new, as the labels differ: the output layer"),
        (("O", "PER"), None, None, ": all weights of its encoder; new: the output layer"),
    ],
)
def test_rows_of_the_output_layer_follow_the_names_of_labels(tmp_path, labels, initial, rows, message):
    """The same number of labels does not mean the same labels."""
    config = BERTConfig(depth=1, **SMALL)
    old = TokenClassifier(BERT(config, 20), HeadConfig(), 2)
    (tmp_path / "model.safetensors").write_bytes(tensors_to_bytes(model_tensors(old)))
    model = TokenClassifier(BERT(config, 20), HeadConfig(), 2)
    before = model.output.weight.detach().clone()
    taken = load_initial(model, tmp_path, labels, initial)
    assert torch.equal(model.output.weight, before if rows is None else old.output.weight[rows])
    assert torch.equal(model.encoder.embedding.weight, old.encoder.embedding.weight) and str(taken) == message


def test_a_head_of_another_task_with_as_many_outputs_begins_anew(tmp_path):
    config = BERTConfig(depth=1, **SMALL)
    (tmp_path / "model.safetensors").write_bytes(
        tensors_to_bytes(model_tensors(TokenClassifier(BERT(config, 20), HeadConfig(), 2)))
    )
    assert load_initial(SpanClassifier(BERT(config, 20), HeadConfig()), tmp_path, (), None).new == ["output"]


@pytest.mark.parametrize(
    ("labels", "foreign", "rows", "said"),
    [
        (("bad", "good"), ["good", "bad"], [1, 0], ""),
        (("bad", "good"), ["BAD", "GOOD"], [0, 1], ""),
        (("bad", "good"), ["Good", "Bad"], [1, 0], ""),
        (
            ("bad", "good"),
            ["bad", "fine"],
            None,
            ": all weights of its encoder; new, as the labels differ: the output layer",
        ),
        (("bad", "good"), ["LABEL_0", "LABEL_1"], None, UNNAMED_LABELS),
        (("0", "1"), ["LABEL_0", "LABEL_1"], [0, 1], ""),
        (("0", "1"), ["bad", "good"], [0, 1], "; labels are numbers of the model's outputs: 0 for bad, 1 for good"),
        (("0", "1"), ["1", "0"], [1, 0], ""),
        (("1", "2"), ["LABEL_0", "LABEL_1"], None, UNNAMED_LABELS),
        (
            ("Bad", "bad"),
            ["bad", "BAD"],
            None,
            ": all weights of its encoder; new, as the labels differ: the output layer",
        ),
        (
            ("bad", "fine", "good"),
            ["bad", "good"],
            None,
            ": all weights of its encoder; new, as the labels differ: the output layer",
        ),
        ((), ["LABEL_0", "LABEL_1"], [0, 1], ""),
    ],
)
def test_rows_of_another_librarys_head_go_to_labels_by_name(tmp_path, labels, foreign, rows, said):
    config = BERTConfig(depth=1, **SMALL)
    old = TokenClassifier(BERT(config, 20), HeadConfig(), len(foreign))
    (tmp_path / "model.safetensors").write_bytes(tensors_to_bytes(model_tensors(old)))
    (tmp_path / OUTPUT_NAMES).write_text(json.dumps(foreign))
    model = TokenClassifier(BERT(config, 20), HeadConfig(), len(labels) or 2)
    before = model.output.weight.detach().clone()
    taken = load_initial(model, tmp_path, labels, ())
    assert torch.equal(model.output.weight, before if rows is None else old.output.weight[rows])
    assert torch.equal(model.output.bias, model.output.bias if rows is None else old.output.bias[rows])
    assert str(taken) == said


def test_rows_of_a_head_of_pictures_follow_the_names_of_labels_too(tmp_path):
    config = ViTConfig(depth=1, patch_size=2, **SMALL)
    old = ImageClassifier(ViT(config, 4, 1), ImageHeadConfig(), 2)
    torch.nn.init.normal_(old.head.output.weight)
    (tmp_path / "model.safetensors").write_bytes(tensors_to_bytes(model_tensors(old)))
    for labels, rows in ((("b", "a"), [1, 0]), (("a", "b"), [0, 1]), (("a", "c"), None)):
        model = ImageClassifier(ViT(config, 4, 1), ImageHeadConfig(), 2)
        taken = load_initial(model, tmp_path, labels, ("a", "b"))
        expected = torch.zeros_like(old.head.output.weight) if rows is None else old.head.output.weight[rows]
        assert torch.equal(model.head.output.weight, expected)
        assert str(taken) == (
            ": all weights of its encoder; new, as the labels differ: the output layer" if rows is None else ""
        )


def test_damaged_names_of_outputs_are_named(tmp_path):
    for content in ("{", "3", "[" * 100_000):
        (tmp_path / OUTPUT_NAMES).write_text(content)
        with pytest.raises(RunError, match=rf"{OUTPUT_NAMES}: does not hold names"):
            output_names(tmp_path)
