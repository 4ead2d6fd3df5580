"""Models to and from Hugging Face: the same logits, the same weights to the byte, the same translations."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from tests.interop.folders import export_seq2seq, import_model
from tformer_cli.config.schema import (
    Activation,
    Combine,
    DecodeConfig,
    Norm,
    Positions,
    Stopping,
    TieEmbeddings,
    TokenizerConfig,
    TokenizerKind,
)
from tformer_cli.decode.search import search
from tformer_cli.errors import ConfigError, DataError, RunError
from tformer_cli.interop.huggingface_weights import import_config
from tformer_cli.interop.reading import ACTIVATIONS
from tformer_cli.models.seq2seq import Seq2SeqConfig
from tformer_cli.models.seq2seq.model import Seq2Seq
from tformer_cli.runs.checkpoint import load_model_tensors
from tformer_cli.tokenizers.tokenizer import Tokenizer

transformers = pytest.importorskip("transformers", reason="Hugging Face transformers is not installed")

WORDS = [
    "the", "a", "red", "blue", "small", "dog", "cat", "bird", "sees", "hears", "finds", "and", "or", "not", "in",
    "under", "house", "tree", "water", "ball",
]  # fmt: skip


@pytest.fixture(scope="module")
def text() -> list[str]:
    generator = torch.Generator().manual_seed(2)
    return [
        " ".join(WORDS[i] for i in torch.randint(len(WORDS), (9,), generator=generator).tolist()) for _ in range(300)
    ]


@pytest.fixture(scope="module")
def joint(text: list[str]) -> Tokenizer:
    settings = TokenizerConfig(kind=TokenizerKind.unigram, vocab_size=75)
    return Tokenizer.train({"en": text, "xx": [line.upper() for line in text]}, settings)


@pytest.fixture(scope="module")
def separate(text: list[str]) -> Tokenizer:
    settings = TokenizerConfig(kind=TokenizerKind.bpe, vocab_size=100, joint=False)
    return Tokenizer.train({"en": text, "xx": [line.upper() + " X" for line in text]}, settings)


POST, PRE = {"norm": Norm.post}, {"norm": Norm.pre}
SHAPES = {
    "post": POST,
    "post-wide": POST | {"dim": 30, "heads": 5, "ffn_dim": 17, "encoder_depth": 1, "decoder_depth": 3},
    "post-gelu-bias": POST | {"activation": Activation.gelu, "final_bias": True},
    "post-decoder-tied": POST | {"tie_embeddings": TieEmbeddings.decoder, "activation": Activation.swish},
    "post-untied-bias": POST | {"tie_embeddings": TieEmbeddings.none, "final_bias": True},
    "post-unscaled": POST | {"scale_embeddings": False},
    "pre": PRE,
    "pre-one-head": PRE | {"dim": 14, "heads": 1, "ffn_dim": 50, "encoder_depth": 3, "decoder_depth": 1},
    "pre-gelu-bias": PRE | {"activation": Activation.gelu, "final_bias": True, "scale_embeddings": False},
}


def build(tokenizer: Tokenizer, languages: tuple[str, str] = ("en", "xx"), **settings) -> Seq2Seq:
    """A model in evaluation mode with every parameter random."""
    torch.manual_seed(3)
    values = {"dim": 16, "heads": 4, "ffn_dim": 24, "encoder_depth": 2, "decoder_depth": 2, "max_length": 40}
    sizes = (tokenizer.vocab_size_of(language) for language in languages)
    model = Seq2Seq(Seq2SeqConfig(**values | settings), *sizes).eval()
    for name, parameter in model.named_parameters():
        nn.init.normal_(parameter, mean=1.0 if name.endswith("norm.weight") else 0.0, std=0.3)
    return model


def padded_batch(model: Seq2Seq) -> tuple[Tensor, Tensor, Tensor]:
    lengths = torch.tensor([9, 4, 1])
    source = torch.randint(4, model.source_embedding.num_embeddings, (3, 9))
    target = torch.randint(4, model.target_embedding.num_embeddings, (3, 7))
    return source, lengths, target


def their_logits(model, source: Tensor, lengths: Tensor, target: Tensor) -> Tensor:
    mask = (torch.arange(source.shape[1]) < lengths[:, None]).long()
    return model(input_ids=source, attention_mask=mask, decoder_input_ids=target).logits


def reload(folder: Path) -> tuple[Seq2Seq, Tokenizer]:
    config, state, tokenizer = import_model(folder, ("en", "xx"))
    sizes = (tokenizer.vocab_size_of(language) for language in ("en", "xx"))
    model = Seq2Seq(config, *sizes).eval()
    load_model_tensors(model, state, str(folder))
    return model, tokenizer


@pytest.mark.parametrize("settings", SHAPES.values(), ids=SHAPES.keys())
@torch.no_grad()
def test_export_computes_the_same(
    tmp_path: Path, joint: Tokenizer, settings: dict, caplog: pytest.LogCaptureFixture
) -> None:
    ours = build(joint, **settings)
    export_seq2seq(ours, joint, tmp_path / "out", DecodeConfig())
    theirs, loading = transformers.AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "out", output_loading_info=True)
    wanted = "MarianMTModel" if settings["norm"] is Norm.post else "PegasusForConditionalGeneration"
    assert type(theirs).__name__ == wanted
    assert not any(loading[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    batch = padded_batch(ours)
    expected = ours.logits(ours(*batch))
    assert expected.std() > 0.1
    torch.testing.assert_close(their_logits(theirs.eval(), *batch), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("settings", SHAPES.values(), ids=SHAPES.keys())
@torch.no_grad()
def test_there_and_back_gives_the_same_bytes(tmp_path: Path, joint: Tokenizer, settings: dict) -> None:
    ours = build(joint, **settings)
    export_seq2seq(ours, joint, tmp_path / "out", DecodeConfig())
    back, tokenizer = reload(tmp_path / "out")
    assert tokenizer.hash == joint.hash
    assert {k: v for k, v in vars(back.config).items() if k != "dropout"} == {
        k: v for k, v in vars(ours.config).items() if k != "dropout"
    }
    for name, value in ours.state_dict().items():
        assert torch.equal(back.state_dict()[name], value), name


THEIRS = {
    "marian": ("marian", {}),
    "marian-silu-unscaled": (
        "marian",
        {"activation_function": "silu", "scale_embedding": False, "d_model": 20},
    ),
    "marian-decoder-tied": ("marian", {"share_encoder_decoder_embeddings": False, "decoder_vocab_size": 41}),
    "marian-untied": (
        "marian",
        {"share_encoder_decoder_embeddings": False, "decoder_vocab_size": 41, "tie_word_embeddings": False},
    ),
    "pegasus": ("pegasus", {"encoder_layers": 1, "decoder_layers": 3}),
}


def their_model(kind: str, **settings):
    values = {
        "vocab_size": 37, "d_model": 24, "encoder_layers": 2, "decoder_layers": 2, "encoder_ffn_dim": 40,
        "decoder_ffn_dim": 40, "encoder_attention_heads": 4, "decoder_attention_heads": 4,
        "scale_embedding": True,
        "max_position_embeddings": 50, "pad_token_id": 36, "eos_token_id": 0, "decoder_start_token_id": 36,
        "activation_function": "swish",
    }  # fmt: skip
    classes = {
        "marian": (transformers.MarianConfig, transformers.MarianMTModel),
        "pegasus": (transformers.PegasusConfig, transformers.PegasusForConditionalGeneration),
    }
    config, model = classes[kind]
    torch.manual_seed(5)
    made = model(config(**values | settings)).eval()
    for name, parameter in made.named_parameters():
        if "embed_positions" not in name:
            nn.init.normal_(parameter, mean=1.0 if "layer_norm.weight" in name else 0.0, std=0.3)
    nn.init.normal_(made.final_logits_bias)
    return made


def stand_in(monkeypatch: pytest.MonkeyPatch, source: int, target: int) -> None:
    """Weights only: a tokenizer of the right sizes and ids, which these tests do not look at."""

    class Stand:
        pad_id, eos_id, bos_id = 36, 0, 36
        languages = ("en", "xx")

        def vocab_size_of(self, language: str) -> int:
            return {"en": source, "xx": target}[language]

    monkeypatch.setattr("tformer_cli.interop.huggingface_seq2seq.from_marian", lambda *_: Stand())


@pytest.mark.parametrize(("kind", "settings"), THEIRS.values(), ids=THEIRS.keys())
@torch.no_grad()
def test_import_computes_the_same_and_returns_to_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, settings: dict
) -> None:
    theirs = their_model(kind, **settings)
    theirs.save_pretrained(tmp_path / "theirs")
    stand_in(monkeypatch, 37, settings.get("decoder_vocab_size", 37))
    ours, _ = reload(tmp_path / "theirs")
    batch = padded_batch(ours)
    torch.testing.assert_close(ours.logits(ours(*batch)), their_logits(theirs, *batch), atol=1e-5, rtol=1e-5)

    from tformer_cli.interop.huggingface_weights import export_weights

    returned = export_weights(ours.config, ours.state_dict(), ours.source_positions.table)
    saved = safetensors.torch.load_file(tmp_path / "theirs" / "model.safetensors")
    compared = saved.keys() & returned.keys()
    for name in compared:
        if "embed_positions" in name:
            torch.testing.assert_close(returned[name], saved[name], atol=1e-6, rtol=0)
        else:
            assert torch.equal(returned[name], saved[name]), name
    assert {name for name in saved.keys() ^ returned.keys() if "embed_positions" not in name} == set()


def test_shards_and_half_precision_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = their_model("marian")
    stand_in(monkeypatch, 37, 37)
    theirs.save_pretrained(tmp_path / "whole")
    theirs.save_pretrained(tmp_path / "shards", max_shard_size="20KB")
    assert (tmp_path / "shards" / "model.safetensors.index.json").is_file()
    whole, _ = reload(tmp_path / "whole")
    shards, _ = reload(tmp_path / "shards")
    for name, value in whole.state_dict().items():
        assert torch.equal(shards.state_dict()[name], value)
    theirs.half().save_pretrained(tmp_path / "half")
    half, _ = reload(tmp_path / "half")
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(half.state_dict()[name], value, atol=1e-3, rtol=1e-3)


# --- translations ---------------------------------------------------------------------------------------


def ours_of(model: Seq2Seq, tokenizer: Tokenizer, lines: list[str], decode: DecodeConfig) -> list:
    best = []
    for line in lines:
        source = torch.tensor([[*tokenizer.encode(line, "en"), tokenizer.eos_id]])
        memory = model.encode(source, torch.tensor([source.shape[1]]))
        limit = model.config.max_length - 1
        state = model.start(memory, decode.beam, limit + 1)
        (hypotheses,) = search(
            model, state, config=decode, bos_id=tokenizer.bos_id, eos_id=tokenizer.eos_id,
            forbidden=(tokenizer.pad_id, tokenizer.bos_id), max_lengths=torch.tensor([limit]),
        )  # fmt: skip
        best.append(hypotheses[0])
    return best


def translation(line: str) -> str:
    """What the models below learn, as it is soon learnt: the first word, in capitals, does something."""
    return f"{line.split()[0]} sees the ball".upper()


def trained(tokenizer: Tokenizer, lines: list[str], **settings) -> Seq2Seq:
    """A model that has learnt enough that its choices are not random, whatever the machine's last digits."""
    torch.manual_seed(1)
    values = {
        "dim": 32,
        "heads": 4,
        "ffn_dim": 64,
        "encoder_depth": 1,
        "decoder_depth": 1,
        "max_length": 80,
        "dropout": 0.0,
    }
    sizes = (tokenizer.vocab_size_of(language) for language in ("en", "xx"))
    model = Seq2Seq(Seq2SeqConfig(**values | settings), *sizes)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    pairs = [(tokenizer.encode(line, "en"), tokenizer.encode(translation(line), "xx")) for line in lines]
    for step in range(180):
        batch = pairs[step * 16 % 240 :][:16]
        pad, end = tokenizer.pad_id, tokenizer.eos_id
        sources = [torch.tensor([*source, end]) for source, _ in batch]
        source = nn.utils.rnn.pad_sequence(sources, batch_first=True, padding_value=pad)
        inputs = [torch.tensor([tokenizer.bos_id, *target]) for _, target in batch]
        outputs = [torch.tensor([*target, end]) for _, target in batch]
        inputs = nn.utils.rnn.pad_sequence(inputs, batch_first=True, padding_value=pad)
        outputs = nn.utils.rnn.pad_sequence(outputs, batch_first=True, padding_value=-100)
        logits = model.logits(model(source, torch.tensor([len(row) for row in sources]), inputs))
        nn.functional.cross_entropy(logits.transpose(1, 2), outputs).backward()
        optimizer.step()
        optimizer.zero_grad()
    return model.eval()


@pytest.fixture(scope="module", params=["post", "pre", "separate"])
def pair(request: pytest.FixtureRequest, joint: Tokenizer, separate: Tokenizer, text: list[str], tmp_path_factory):
    """A trained model, its tokenizer and the folder it was exported to."""
    if request.param == "separate":
        tokenizer, settings = separate, {"norm": Norm.post, "tie_embeddings": TieEmbeddings.decoder}
    else:
        tokenizer, settings = joint, {"norm": Norm[request.param]}
    model = trained(tokenizer, text, final_bias=True, **settings)
    return model, tokenizer, tmp_path_factory.mktemp(request.param)


@pytest.mark.parametrize("stopping", Stopping, ids=lambda stopping: stopping.name)
@pytest.mark.parametrize("beam", [1, 4])
@torch.no_grad()
def test_generate_translates_the_same(pair, text: list[str], beam: int, stopping: Stopping) -> None:
    model, tokenizer, folder = pair
    decode = DecodeConfig(beam=beam, stopping=stopping)
    output = folder / f"{beam}-{stopping.name}"
    export_seq2seq(model, tokenizer, output, decode, ("en", "xx"))
    theirs = transformers.AutoModelForSeq2SeqLM.from_pretrained(output).eval()
    encoder = transformers.AutoTokenizer.from_pretrained(output)
    lines = [text[i] for i in range(250, 280)] + ["bird the cat", "dog", "a small bird sees the red ball"]
    batch = encoder(lines, return_tensors="pt", padding=True)
    assert set(batch) >= {"input_ids", "attention_mask"}
    batch.pop("token_type_ids", None)
    generated = theirs.generate(**batch, return_dict_in_generate=True, output_scores=True)
    translated = encoder.batch_decode(generated.sequences, skip_special_tokens=True)
    ours = ours_of(model, tokenizer, lines, decode)
    assert len({tuple(hypothesis.tokens) for hypothesis in ours}) > 5
    same = 0
    for row, (hypothesis, ids, line) in enumerate(zip(ours, generated.sequences.tolist(), translated, strict=True)):
        tokens = ids[1 : ids.index(tokenizer.eos_id)]
        if tokens == hypothesis.tokens:
            same += 1
            assert line == tokenizer.decode(tokens, "xx")
        else:  # theirs keeps looking until it has found as many hypotheses as it has beams
            assert beam > 1 and generated.sequences_scores[row] > hypothesis.score
        if beam > 1 and tokens == hypothesis.tokens and hypothesis.finished:
            assert abs(float(generated.sequences_scores[row]) - hypothesis.score) < 1e-4
    assert same >= 0.9 * len(lines), f"{same} of {len(lines)}"


# --- what cannot be -------------------------------------------------------------------------------------


THEIRS = set(ACTIVATIONS.values())


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        *(({"positions": kind}, f"model.positions: {kind.name}") for kind in Positions if kind.name != "sinusoidal"),
        *(({"activation": kind}, f"model.activation: {kind.name}") for kind in Activation if kind not in THEIRS),
        ({"combine": Combine.concatenate}, "model.combine: concatenate"),
        ({"bias": False}, "model.bias: false"),
        ({"norm": Norm.pre, "tie_embeddings": TieEmbeddings.none}, "model.tie_embeddings: none"),
    ],
)  # fmt: skip
def test_what_cannot_be_expressed_is_named(tmp_path: Path, joint: Tokenizer, settings: dict, named: str) -> None:
    with pytest.raises(ConfigError) as error:
        export_seq2seq(build(joint, **{"norm": Norm.post} | settings), joint, tmp_path / "out", DecodeConfig())
    assert named in str(error.value) and "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_a_full_folder_is_left_alone(tmp_path: Path, joint: Tokenizer) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("mine")
    with pytest.raises(RunError, match="already exists"):
        export_seq2seq(build(joint), joint, tmp_path / "out", DecodeConfig())
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine"]
    (tmp_path / "out" / "mine").unlink()
    export_seq2seq(build(joint), joint, tmp_path / "out", DecodeConfig())
    assert {path.name for path in tmp_path.iterdir()} == {"out"}


def test_nothing_is_pickled(tmp_path: Path, joint: Tokenizer) -> None:
    export_seq2seq(build(joint), joint, tmp_path / "out", DecodeConfig())
    assert {path.suffix for path in (tmp_path / "out").rglob("*") if path.is_file()} == {
        ".json",
        ".safetensors",
        ".model",
    }


def damaged(folder: Path, change) -> None:
    settings = json.loads((folder / "config.json").read_text())
    change(settings)
    (folder / "config.json").write_text(json.dumps(settings))


@pytest.fixture
def exported(tmp_path: Path, joint: Tokenizer) -> Path:
    export_seq2seq(build(joint, norm=Norm.post), joint, tmp_path / "out", DecodeConfig())
    return tmp_path / "out"


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        ({"model_type": "t5", "architectures": ["T5Model"]}, ConfigError, "T5Model is not supported"),
        ({"model_type": None, "architectures": None}, ConfigError, "an unnamed architecture is not"),
        ({"activation_function": "mish"}, ConfigError, "activation_function 'mish'"),
        ({"decoder_attention_heads": 2}, ConfigError, "decoder_attention_heads \\(2\\) differ"),
        ({"d_model": "16"}, ConfigError, "d_model is '16'"),
        ({"d_model": 18}, ConfigError, "no multiple of 4 heads"),
        ({"d_model": 32}, ConfigError, "has shape"),
        ({"encoder_layers": 3}, ConfigError, "model.encoder.layers.2.self_attn.q_proj.weight are missing"),
        ({"encoder_layers": 1}, ConfigError, "have no place"),
        ({"model_type": "pegasus"}, ConfigError, "model.encoder.layer_norm.weight are missing"),
        ({"dropout": 1.5}, ConfigError, "dropout is 1.5"),
        ({"tie_word_embeddings": False}, ConfigError, "tie_word_embeddings"),
        ({"eos_token_id": 9}, ConfigError, "eos_token_id is 9 in config.json, 3 in the tokenizer"),
    ],
)  # fmt: skip
def test_a_foreign_config_is_checked(exported: Path, change: dict, kind: type, message: str) -> None:
    damaged(exported, lambda settings: settings.update(change))
    with pytest.raises(kind, match=message) as error:
        import_model(exported)
    assert "\n" not in str(error.value)


SIZES = {
    "d_model": 16, "encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 32,
    "decoder_ffn_dim": 32, "encoder_layers": 1, "decoder_layers": 1, "max_position_embeddings": 40,
}  # fmt: skip


def test_each_rate_of_a_foreign_config_is_read_from_its_own_setting() -> None:
    rates = {"dropout": 0.1, "attention_dropout": 0.2, "activation_dropout": 0.3}
    content = transformers.MarianConfig(**SIZES, **rates, scale_embedding=True, activation_function="relu").to_dict()
    config = import_config(content, "config.json", final_bias=False)
    assert (config.dropout, config.attention_dropout, config.ffn_dropout) == (0.1, 0.2, 0.3)
    assert (config.max_length, config.scale_embeddings, config.activation) == (40, True, Activation.relu)


@pytest.mark.parametrize(
    "name", ["activation_function", "scale_embedding", "tie_word_embeddings", "share_encoder_decoder_embeddings"]
)
def test_a_setting_that_a_foreign_config_leaves_out_has_the_default_of_its_class(name: str) -> None:
    default = transformers.MarianConfig()
    content = transformers.MarianConfig(**SIZES).to_dict() | {name: getattr(default, name)}
    complete = import_config(content, "config.json", final_bias=False)
    del content[name]
    assert import_config(content, "config.json", final_bias=False) == complete


def test_pickled_weights_are_refused_with_a_hint(exported: Path) -> None:
    (exported / "model.safetensors").rename(exported / "pytorch_model.bin")
    with pytest.raises(DataError, match=r"only pytorch_model.bin.*does not read pickled weights.*save_pretrained"):
        import_model(exported)
    (exported / "pytorch_model.bin").unlink()
    with pytest.raises(DataError, match="no model.safetensors"):
        import_model(exported)


def test_damaged_files_are_named(exported: Path) -> None:
    (exported / "model.safetensors").write_bytes(b"junk")
    with pytest.raises(DataError, match="not a readable safetensors file"):
        import_model(exported)
    (exported / "config.json").write_text("{")
    with pytest.raises(DataError, match="config.json: not JSON"):
        import_model(exported)
    (exported / "config.json").write_text("[]")
    with pytest.raises(DataError, match="not a JSON object"):
        import_model(exported)
    with pytest.raises(DataError, match="No such file"):
        import_model(exported / "nowhere")


def test_shards_stay_in_the_folder(exported: Path) -> None:
    (exported / "model.safetensors").rename(exported.parent / "model.safetensors")
    index = {"weight_map": {"model.shared.weight": "../model.safetensors"}}
    (exported / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(DataError, match="no safetensors file beside it"):
        import_model(exported)


def test_learned_tables_in_place_of_sinusoids_are_refused(exported: Path) -> None:
    tensors = safetensors.torch.load_file(exported / "model.safetensors")
    tensors["model.encoder.embed_positions.weight"] += 0.1
    safetensors.torch.save_file(tensors, exported / "model.safetensors")
    with pytest.raises(ConfigError, match="encoder.embed_positions.weight are not the sinusoids"):
        import_model(exported)


def test_a_tokenizer_of_another_model_is_refused(exported: Path, text: list[str]) -> None:
    other = Tokenizer.train({"en": text}, TokenizerConfig(kind=TokenizerKind.char, vocab_size=40))
    for name, content in other.files().items():
        (exported / "tokenizer" / name).write_bytes(content)
    with pytest.raises(ConfigError, match=f"75 embeddings, {other.vocab_size} pieces"):
        import_model(exported)
    shutil.rmtree(exported / "tokenizer")
    with pytest.raises(DataError, match="no source.spm"):
        import_model(exported)


def test_search_settings_are_exported(tmp_path: Path, joint: Tokenizer) -> None:
    model = build(joint)
    decode = DecodeConfig(beam=7, length_penalty=0.6, max_length=11)
    export_seq2seq(model, joint, tmp_path / "beam", decode)
    exported = json.loads((tmp_path / "beam" / "generation_config.json").read_text())
    assert (exported["num_beams"], exported["length_penalty"], exported["max_length"], exported["do_sample"]) == (
        7,
        0.6,
        13,
        False,
    )
    assert exported["suppress_tokens"] == [joint.pad_id, joint.bos_id]
    export_seq2seq(model, joint, tmp_path / "sample", replace(decode, sample=True, temperature=0.7, top_k=5, top_p=0.9))
    exported = json.loads((tmp_path / "sample" / "generation_config.json").read_text())
    assert (exported["num_beams"], exported["temperature"], exported["top_k"], exported["top_p"]) == (1, 0.7, 5, 0.9)
    transformers.GenerationConfig.from_pretrained(tmp_path / "sample")
