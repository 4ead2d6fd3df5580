"""Import of heads, tied weights, vocabularies and tokenizers, and handling of malformed files."""

from __future__ import annotations

import contextlib
import json
import shutil
import warnings
from pathlib import Path

import pytest
import safetensors.torch
import torch
from tokenizers import AddedToken, decoders, models, pre_tokenizers, processors
from tokenizers import Tokenizer as Library

from tests.interop.drawing import generator, randomise
from tests.interop.folders import import_model
from tests.interop.test_huggingface_encoder import WORDS, wordpiece
from tests.interop.test_huggingface_gpt import byte_level
from tests.properties.families import family_named
from tformer_cli.config.schema import ClassifierHeadConfig, HeadConfig, ImageDataConfig, ImageHeadConfig
from tformer_cli.errors import ConfigError, DataError, TformerError
from tformer_cli.interop.foreign import read_foreign, write_checkpoint
from tformer_cli.interop.formats import Foreign
from tformer_cli.interop.huggingface_tokenizer import encoder_files
from tformer_cli.interop.picture_models import timm_files
from tformer_cli.interop.reading import Settings, label_names
from tformer_cli.models.bert.model import BERT
from tformer_cli.models.gpt.model import GPT
from tformer_cli.models.image_head import ImageClassifier
from tformer_cli.models.token_heads import MaskedLanguageModel, SequenceClassifier, SpanClassifier, TokenClassifier
from tformer_cli.models.vit import ViTConfig
from tformer_cli.models.vit.model import ViT
from tformer_cli.runs.checkpoint import load_model_tensors, tensors_to_bytes
from tformer_cli.tasks.settings.images import ImageClassificationExperiment
from tformer_cli.tokenizers.huggingface import JsonTokenizer
from tformer_cli.train.initial import load_initial

transformers = pytest.importorskip("transformers", reason="Hugging Face transformers is not installed")

SHAPE = {"hidden_size": 16, "num_attention_heads": 2, "num_hidden_layers": 1, "intermediate_size": 20,
         "max_position_embeddings": 14, "num_labels": 3}  # fmt: skip
DISTILBERT = {"dim": 16, "n_heads": 2, "n_layers": 1, "hidden_dim": 20, "max_position_embeddings": 14, "num_labels": 3}


def theirs_of(name: str, folder: Path, **changes):
    """Save a random model of a class of transformers with a tokenizer."""
    shape = dict(DISTILBERT if name.startswith("Distil") else SHAPE) | {"vocab_size": len(WORDS)} | changes
    if name.startswith("Roberta"):
        shape |= {"pad_token_id": 0}
    kind = getattr(transformers, name)
    torch.manual_seed(0)
    model = randomise(kind(kind.config_class(**shape)), generator(name))
    model.save_pretrained(folder)
    wordpiece(folder)
    return model


def batch() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    tokens = torch.randint(5, len(WORDS), (3, 9), generator=torch.Generator().manual_seed(3))
    lengths = torch.tensor([9, 4, 1])
    real_tokens = torch.arange(9) < lengths[:, None]
    return tokens.masked_fill(~real_tokens, 0), lengths, real_tokens


HEADS = [
    *((name, "sequence") for name in ("BertForSequenceClassification", "RobertaForSequenceClassification")),
    *((f"{kind}ForTokenClassification", "tokens") for kind in ("Bert", "Roberta", "DistilBert")),
    *((f"{kind}ForQuestionAnswering", "spans") for kind in ("Bert", "Roberta", "DistilBert")),
]


@pytest.mark.parametrize(("name", "kind"), HEADS)
@torch.no_grad()
def test_a_trained_head_comes_along(name, kind, tmp_path):
    reference = theirs_of(name, tmp_path, **({"num_labels": 2} if kind == "spans" else {}))
    foreign = read_foreign(tmp_path)
    assert foreign.head == kind
    head = ClassifierHeadConfig()
    ours = {"sequence": lambda: SequenceClassifier(BERT(foreign.model, len(WORDS)), head, 3),
            "tokens": lambda: TokenClassifier(BERT(foreign.model, len(WORDS)), HeadConfig(), 3),
            "spans": lambda: SpanClassifier(BERT(foreign.model, len(WORDS)), HeadConfig())}[kind]()  # fmt: skip
    (tmp_path / "ours").mkdir()
    (tmp_path / "ours" / "model.safetensors").write_bytes(tensors_to_bytes(foreign.weights))
    taken = load_initial(ours, tmp_path / "ours")
    assert taken.new == [] and taken.unused == ([] if kind != "tokens" else taken.unused)
    tokens, lengths, real_tokens = batch()
    outputs = reference(tokens, attention_mask=real_tokens.long())
    if kind == "sequence":
        torch.testing.assert_close(ours.eval()(tokens, lengths), outputs.logits, atol=1e-5, rtol=1e-5)
    elif kind == "tokens":
        places = real_tokens.flatten().nonzero()[:, 0]
        torch.testing.assert_close(
            ours.eval()(tokens, lengths, places), outputs.logits[real_tokens], atol=1e-5, rtol=1e-5
        )
    else:
        scores = ours.eval()(tokens, lengths, torch.zeros_like(tokens), torch.ones_like(real_tokens)).transpose(1, 2)[
            real_tokens
        ]
        expected = torch.stack((outputs.start_logits, outputs.end_logits), -1)[real_tokens]
        torch.testing.assert_close(scores, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "task"),
    [
        ("BertForSequenceClassification", "text classification"),
        ("RobertaForTokenClassification", "token tagging"),
        ("ViTForImageClassification", "vit"),
        ("timm", "vit"),
    ],
)
def test_rows_of_a_trained_head_are_those_of_the_labels_of_their_names(name, task, tmp_path):
    """Through the checkpoint that a run starts from: the names in `config.json`, in another order than the data's."""
    family = family_named(task)
    names = {"text classification": ("good", "bad"), "token tagging": ("O", "PER"), "vit": tuple("0918273645")}[task]
    named = {"id2label": dict(enumerate(names)), "label2id": {label: number for number, label in enumerate(names)}}
    if name == "timm":
        foreign = timm_folder(tmp_path, names)
    elif task == "vit":
        config = transformers.ViTConfig(hidden_size=8, num_attention_heads=2, num_hidden_layers=1, intermediate_size=16,
                                        image_size=8, patch_size=2, num_channels=1, **named)  # fmt: skip
        transformers.ViTForImageClassification(config).save_pretrained(tmp_path)
        foreign = read_foreign(tmp_path)
    else:
        theirs_of(name, tmp_path, num_labels=2, **named)
        foreign = read_foreign(tmp_path)
    assert foreign.labels == names
    write_checkpoint(foreign, tmp_path / "initial", family.config(tmp_path), "hf:it")
    labels = tuple(sorted(names))
    if task == "vit":
        head = ImageClassifier(ViT(foreign.model, 8, 1), ImageHeadConfig(), 10)
    elif task == "token tagging":
        head = TokenClassifier(BERT(foreign.model, len(WORDS)), HeadConfig(), 2)
    else:
        head = SequenceClassifier(BERT(foreign.model, len(WORDS)), ClassifierHeadConfig(), 2)
    taken = load_initial(head, tmp_path / "initial", labels, ())
    rows = [names.index(label) for label in labels]
    prefix = "head." if task == "vit" else ""
    assert torch.equal(head.state_dict()[f"{prefix}output.weight"], foreign.weights[f"{prefix}output.weight"][rows])
    assert not taken.new
    taken = load_initial(head, tmp_path / "initial", tuple(f"{label}!" for label in labels), ())
    assert taken.relabelled == "the labels differ"


def timm_folder(folder: Path, names: tuple[str, ...]) -> Foreign:
    """A random model of ours, as timm writes it, read again."""
    config = ViTConfig(dim=8, heads=2, ffn_dim=16, depth=1, patch_size=2)
    data = ImageDataConfig(path="x", image_size=8, channels=1, mean=[0.5], std=[0.5])
    model = ImageClassifier(ViT(config, 8, 1), ImageHeadConfig(), len(names))
    experiment = ImageClassificationExperiment(data=data, model=config)
    for name, content in timm_files(model, experiment, list(names)).items():
        (folder / name).write_bytes(content)
    return read_foreign(folder)


def test_rows_that_a_config_does_not_name_have_no_names_of_labels(tmp_path):
    weights = {"output.weight": torch.zeros(3, 4)}
    unnamed = ("LABEL_0", "LABEL_1", "LABEL_2")
    for settings in ({}, {"id2label": {"0": "a", "1": "b"}}, {"id2label": {"0": "a", "1": "a", "2": "b"}},
                  {"label_names": ["a", "b"]}, {"id2label": 3}, {"label_names": "abc"}):  # fmt: skip
        assert label_names(settings, weights) == unnamed
    for settings in ({"id2label": {"2": "c", "0": "a", "1": 7}}, {"label_names": ["a", 7, "c"]},
                  {"pretrained_cfg": {"label_names": ["a", 7, "c"]}}):  # fmt: skip
        assert label_names(settings, weights) == ("a", "7", "c")
    assert label_names({"id2label": {"0": "a"}}, {}) == ()


def test_a_head_that_computes_something_else_is_left_out_and_said(tmp_path):
    theirs_of("DistilBertForSequenceClassification", tmp_path)
    messages: list[str] = []
    foreign = read_foreign(tmp_path, say=messages.append)
    assert not [name for name in foreign.weights if not name.startswith("encoder.")]
    assert len(messages) == 1 and "no counterpart of classifier, pre_classifier" in messages[0]


def test_a_head_for_another_task_is_left_out_and_said(tmp_path):
    theirs_of("BertForQuestionAnswering", tmp_path, num_labels=2)
    messages: list[str] = []
    foreign = read_foreign(tmp_path)
    assert foreign.for_task("question_answering", messages.append) is foreign and not messages
    assert foreign.for_task("masked_language_model", messages.append) is foreign
    other = foreign.for_task("text_classification", messages.append)
    assert not [name for name in other.weights if name.startswith("output.")] and "is for spans" in messages[0]


def test_a_pooler_and_other_heads_do_not_keep_pretraining_from_starting(tmp_path):
    for name in ("BertModel", "BertForSequenceClassification", "BertForPreTraining"):
        theirs_of(name, tmp_path / name)
        foreign = read_foreign(tmp_path / name)
        (tmp_path / name / "model.safetensors").write_bytes(tensors_to_bytes(foreign.weights))
        ours = MaskedLanguageModel(BERT(foreign.model, len(WORDS)), nsp=False)
        taken = load_initial(ours, tmp_path / name)
        assert taken.new == ([] if name.endswith("PreTraining") else ["head"]) and "pooler" in taken.unused


@pytest.mark.parametrize("name", ["BertForMaskedLM", "RobertaForMaskedLM", "DistilBertForMaskedLM"])
def test_output_weights_of_their_own_are_refused(name, tmp_path):
    theirs_of(name, tmp_path, tie_word_embeddings=False)
    with pytest.raises(ConfigError, match=r"decoder\.weight differs from the embedding.*save its base model alone"):
        import_model(tmp_path)
    model = getattr(transformers, name).from_pretrained(tmp_path)
    model.base_model.save_pretrained(tmp_path / "base")
    wordpiece(tmp_path / "base")
    import_model(tmp_path / "base")


def test_copies_of_tied_weights_pass_and_others_do_not(tmp_path):
    for kind, name, copy, of in (
        ("bert", "BertForMaskedLM", "cls.predictions.decoder.weight", "bert.embeddings.word_embeddings.weight"),
        ("bert", "BertForMaskedLM", "cls.predictions.decoder.bias", "cls.predictions.bias"),
        ("gpt2", "GPT2LMHeadModel", "lm_head.weight", "transformer.wte.weight"),
    ):
        folder = tmp_path / copy
        if kind == "bert":
            theirs_of(name, folder)
        else:
            folder.mkdir()
            byte_level(folder)
            size = Library.from_file(str(folder / "tokenizer.json")).get_vocab_size()
            shape = {"n_embd": 8, "n_head": 2, "n_layer": 1, "n_positions": 12, "vocab_size": size}
            transformers.GPT2LMHeadModel(transformers.GPT2Config(**shape)).save_pretrained(folder)
        tensors = safetensors.torch.load_file(folder / "model.safetensors")
        tensors[copy] = tensors[of].clone()
        safetensors.torch.save_file(tensors, folder / "model.safetensors")
        import_model(folder)
        tensors[copy] = tensors[of] + 1
        safetensors.torch.save_file(tensors, folder / "model.safetensors")
        with pytest.raises(ConfigError, match="differs from"):
            import_model(folder)


# --- vocabularies -----------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_rows_that_pad_a_vocabulary_are_cut_from_the_weights_that_have_a_row_a_piece(tmp_path):
    rows = 16  # equal to the width, the number of positions and the inner width
    shape = {"vocab_size": rows, "hidden_size": 16, "intermediate_size": 16, "max_position_embeddings": 16}
    reference = theirs_of("BertForPreTraining", tmp_path, **shape)
    config, weights, tokenizer = import_model(tmp_path)
    assert tokenizer.vocab_size == len(WORDS) < rows
    ours = MaskedLanguageModel(BERT(config, tokenizer.vocab_size), nsp=True).eval()
    load_model_tensors(ours, weights, "imported")
    tokens, lengths, real_tokens = batch()
    chosen, _ = ours(tokens, lengths, torch.zeros_like(tokens), real_tokens.flatten().nonzero()[:, 0])
    expected = reference(tokens, attention_mask=real_tokens.long()).prediction_logits[real_tokens][:, : len(WORDS)]
    torch.testing.assert_close(ours.logits(chosen), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("tied", [True, False])
@torch.no_grad()
def test_a_language_model_loses_the_rows_that_pad_its_vocabulary(tied, tmp_path):
    byte_level(tmp_path)
    size = Library.from_file(str(tmp_path / "tokenizer.json")).get_vocab_size()
    rows = size + 5
    shape = {"n_embd": 8, "n_head": 2, "n_layer": 1, "n_positions": rows, "n_inner": rows, "vocab_size": rows}
    reference = transformers.GPT2LMHeadModel(transformers.GPT2Config(**shape, tie_word_embeddings=tied))
    randomise(reference, generator("padded", tied)).save_pretrained(tmp_path)
    config, weights, tokenizer = import_model(tmp_path)
    ours = GPT(config, tokenizer.vocab_size).eval()
    load_model_tensors(ours, weights, "imported")
    tokens = torch.randint(size, (2, 7), generator=torch.Generator().manual_seed(1))
    expected = reference(tokens).logits[..., :size]
    torch.testing.assert_close(ours.logits(ours(tokens)), expected, atol=1e-5, rtol=1e-5)


def test_a_classifier_with_as_many_labels_as_pieces_keeps_them(tmp_path):
    theirs_of("BertForSequenceClassification", tmp_path, num_labels=16, vocab_size=16)
    _, weights, _ = import_model(tmp_path)
    assert weights["output.weight"].shape == (16, 16) and weights["output.bias"].shape == (16,)
    assert weights["encoder.embedding.weight"].shape == (len(WORDS), 16)


# --- tokenizers -------------------------------------------------------------------------------------------------------


def roberta_tokenizer(folder: Path) -> Library:
    """Return a byte-level tokenizer like RoBERTa's, whose <mask> includes the space before it."""
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    pieces = [*special, *sorted(pre_tokenizers.ByteLevel.alphabet()), "th", "\u0120th", "<mask>"]
    library = Library(models.BPE({piece: i for i, piece in enumerate(pieces)}, [("t", "h"), ("\u0120", "th")]))
    library.pre_tokenizer, library.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    library.add_special_tokens([AddedToken(piece, normalized=True) for piece in special])
    library.add_special_tokens([AddedToken("<mask>", lstrip=True, normalized=False)])
    library.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    folder.mkdir(parents=True, exist_ok=True)
    library.save(str(folder / "tokenizer.json"))
    mask = {"__type": "AddedToken", "content": "<mask>", "lstrip": True, "rstrip": False, "normalized": False}
    named = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "sep_token": "</s>", "cls_token": "<s>",
             "pad_token": "<pad>", "mask_token": {**mask, "single_word": False, "special": True}}  # fmt: skip
    (folder / "tokenizer_config.json").write_text(json.dumps(named))
    return library


TEXTS = [
    "the <mask> th", "the  <mask>  th", "<mask>", " <mask> ", "th<mask>th", "th <mask>.", "<mask> <mask>",
    "<mask><mask>", "a\t<mask>\n<mask>", "no mask", "", "   ", "</s> th <s>", "<unk><pad>",
    "th\u00e9 <mask>\u3000<mask>", "< mask >",
]  # fmt: skip


def test_a_mask_that_takes_the_space_before_it_adds_no_piece(tmp_path):
    library = roberta_tokenizer(tmp_path)
    tokenizer = JsonTokenizer.from_folder(tmp_path)
    for text in TEXTS:
        assert tokenizer.encode(text) == library.encode(text, add_special_tokens=False).ids, text
    assert tokenizer.encode_batch(TEXTS) == [tokenizer.encode(text) for text in TEXTS]
    assert "\u0120" not in tokenizer.pieces(tokenizer.encode("th <mask>"))
    library_tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert [library_tokenizer(text, add_special_tokens=False)["input_ids"] for text in TEXTS] == tokenizer.encode_batch(
        TEXTS
    )
    (tmp_path / "out").mkdir()
    for name, content in encoder_files(tokenizer, 99, 1).items():
        (tmp_path / "out" / name).write_bytes(content)
    again = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    for text in TEXTS:
        encoded = again(text, "th")
        expected = [tokenizer.bos_id, *tokenizer.encode(text), *[tokenizer.eos_id] * 2]
        assert encoded["input_ids"] == [*expected, *tokenizer.encode("th"), tokenizer.eos_id]
        assert not text or encoded["input_ids"] == library_tokenizer(text, "th")["input_ids"]
        assert "token_type_ids" not in encoded  # the model has one segment


@pytest.mark.parametrize("how", [{}, {"lstrip": True}, {"rstrip": True}, {"single_word": True}])
def test_special_pieces_are_found_as_their_file_says(how, tmp_path):
    wordpiece(tmp_path)
    library = Library.from_file(str(tmp_path / "tokenizer.json"))
    library.no_padding()
    library.no_truncation()
    library.add_tokens([AddedToken("[MASK]", **how)])  # not special there
    library.save(str(tmp_path / "tokenizer.json"))
    tokenizer = JsonTokenizer.from_folder(tmp_path)
    for text in ("the [MASK] sat", "the[MASK]sat", "[MASK][MASK]", " [MASK] "):
        assert tokenizer.encode(text) == library.encode(text, add_special_tokens=False).ids


@pytest.mark.parametrize("architecture", ["GPT2LMHeadModel", "BertForMaskedLM"])
def test_texts_end_in_the_token_of_their_architecture(architecture, folders, tmp_path):
    """A folder may name the tokens of both: [CLS] and [SEP] of an encoder, and those of a causal language model."""
    shutil.copytree(folders[architecture], tmp_path, dirs_exist_ok=True)
    pieces = {"cls": "t", "sep": "h"} if architecture.startswith("GPT2") else {"bos": "the", "eos": "cat"}
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    first, last = (config[f"{role}_token"] for role in (("bos", "eos") if "cls" in pieces else ("cls", "sep")))
    config |= {f"{role}_token": piece for role, piece in pieces.items()}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    tokenizer = import_model(tmp_path)[2]
    assert tokenizer.pieces([tokenizer.bos_id, tokenizer.eos_id]) == [first, last]


# --- bad files --------------------------------------------------------------------------------------------------------

ODD = [None, True, False, 0, -1, 1, 7, 1.5, 10**30, 1e300, float("nan"), float("inf"), "", "x", "128", [], [1, 2], {},
       {"a": 1}, [[]], ["relu"]]  # fmt: skip


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    """Return a folder of each architecture."""
    made = {}
    for name in ("BertForMaskedLM", "RobertaForMaskedLM", "DistilBertForMaskedLM"):
        made[name] = tmp_path_factory.mktemp(name)
        theirs_of(name, made[name])
    made["GPT2LMHeadModel"] = folder = tmp_path_factory.mktemp("gpt")
    byte_level(folder)
    size = Library.from_file(str(folder / "tokenizer.json")).get_vocab_size()
    shape = {"n_embd": 8, "n_head": 2, "n_layer": 1, "n_positions": 12, "vocab_size": size}
    transformers.GPT2LMHeadModel(transformers.GPT2Config(**shape)).save_pretrained(folder)
    made["MarianMTModel"] = folder = tmp_path_factory.mktemp("marian")
    shape = {"d_model": 8, "encoder_layers": 1, "decoder_layers": 1, "vocab_size": 20, "encoder_ffn_dim": 6,
             "decoder_ffn_dim": 6, "encoder_attention_heads": 2, "decoder_attention_heads": 2, "pad_token_id": 19,
             "decoder_start_token_id": 19, "max_position_embeddings": 12}  # fmt: skip
    transformers.MarianMTModel(transformers.MarianConfig(**shape)).save_pretrained(folder)
    made["ViTForImageClassification"] = folder = tmp_path_factory.mktemp("vit")
    shape = {**SHAPE, "image_size": 8, "patch_size": 4}
    transformers.ViTForImageClassification(transformers.ViTConfig(**shape)).save_pretrained(folder)
    coding = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3, "do_rescale": True, "rescale_factor": 1 / 255,
              "do_normalize": True, "size": {"height": 8, "width": 8}}  # fmt: skip
    (folder / "preprocessor_config.json").write_text(json.dumps(coding))
    return made


def files_of(folder: Path) -> list[Path]:
    return [place for place in sorted(folder.glob("*.json")) if place.name != "tokenizer.json"]


@pytest.mark.parametrize("share", [0.1, pytest.param(1.0, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", ["BertForMaskedLM", "RobertaForMaskedLM", "DistilBertForMaskedLM", "GPT2LMHeadModel",
                                  "MarianMTModel", "ViTForImageClassification"])  # fmt: skip
def test_an_odd_value_of_any_setting_is_an_error_of_ours_or_none(name, share, folders, tmp_path):
    source, rng = folders[name], generator("odd", name)
    for place in source.iterdir():
        (tmp_path / place.name).write_bytes(place.read_bytes())
    for place in files_of(source):
        whole = json.loads(place.read_bytes())
        for setting in whole:
            for value in (*ODD, ...):
                if rng.random() > share:
                    continue
                changed = {key: one for key, one in whole.items() if key != setting}
                changed |= {} if value is ... else {setting: value}
                (tmp_path / place.name).write_text(json.dumps(changed))
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    try:
                        read_foreign(tmp_path)
                    except TformerError as error:
                        assert "\n" not in str(error) and str(error).count(str(tmp_path)) >= 1
        for text in ("", "[]", "3", "{", "[" * 100_000, '"x"', '{"a": ' + "9" * 5000 + "}", "\x00", "{}"):
            (tmp_path / place.name).write_text(text)
            with warnings.catch_warnings(), contextlib.suppress(TformerError):
                warnings.simplefilter("ignore")
                read_foreign(tmp_path)
        (tmp_path / place.name).write_bytes(place.read_bytes())


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"version": "1.0"}', '{"model": {"type": "BPE"}}', "\x00\x01"])
def test_a_damaged_tokenizer_is_named(text, tmp_path):
    theirs_of("BertForMaskedLM", tmp_path)
    (tmp_path / "tokenizer.json").write_text(text)
    with pytest.raises(DataError, match=r"tokenizer\.json: not a tokenizer's file|has no piece"):
        import_model(tmp_path)


@pytest.mark.parametrize(
    ("value", "wanted"),
    [(0, "of at least 1"), ("3", "of at least 1"), (True, "of at least 1"), (10**12, "below 2,147,483,648")],
)
def test_a_size_that_cannot_be_is_told_from_one_that_is_too_large(value, wanted):
    with pytest.raises(ConfigError, match=f"depth is {value!r}, not a whole number {wanted}"):
        Settings({"depth": value}, "config.json").number("depth")
