"""The programs of the item on sound train the same model on the same sound. Nothing is measured here."""

from __future__ import annotations

import argparse
import importlib.util
import io
import json
import sys
import wave
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.utils.rnn import pad_sequence

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
sys.path[:0] = [str(BENCHMARKS), str(BENCHMARKS / "peers")]

import corpora  # noqa: E402
import items  # noqa: E402
import measure  # noqa: E402
import ours  # noqa: E402
import run  # noqa: E402
import tables  # noqa: E402
import torchaudio_conformer as peer  # noqa: E402

for library in ("pyarrow", "espeakng_loader", "soxr"):
    pytest.importorskip(library)
import prepare_speech  # noqa: E402

ITEM = next(item for item in items.all_items() if item.name == "train-conformer")
COUNT = 24
needs_torchaudio = pytest.mark.skipif(importlib.util.find_spec("torchaudio") is None, reason="no torchaudio here")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few strings, prepared."""
    made = tmp_path_factory.mktemp("speech")
    prepare_speech.main(made, "spoken_numbers", train=COUNT, validation=2, spoken=12)
    return made


@pytest.fixture
def job(folder: Path, tmp_path: Path) -> dict:
    """The item's job on them."""
    facts = json.loads((folder / "facts.json").read_text())
    return {
        **ITEM.job,
        "shape": {**ITEM.job["shape"], "vocab_size": facts["vocab_size"]},
        "corpus": str(folder / ITEM.job["rows"]),
        "tokenizer": str(folder / "tokenizer.model"),
        "data": str(folder / "data.npz"),
        "work": str(tmp_path),
        "threads": 1,
        "seed": 1,
        "precision": "fp32",
    }


def test_both_read_the_same_strings(folder, job):
    import sentencepiece
    from pyarrow import parquet

    tokenizer = sentencepiece.SentencePieceProcessor(model_file=job["tokenizer"])
    utterances = measure.Utterances.load(job)
    rows = parquet.read_table(folder / "strings" / "train.parquet").to_pylist()
    assert len(rows) == len(utterances) == COUNT
    for index, row in enumerate(rows):
        with wave.open(io.BytesIO(row["audio"]["bytes"])) as file:
            assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (utterances.sample_rate, 1, 2)
            samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
        sound, ids = utterances.row(index)
        assert (sound.numpy() == samples).all()
        assert tokenizer.decode(ids.tolist()) == row["transcription"]
    assert not (utterances.ids <= measure.EOS).any()  # no padding, which is CTC's blank, and nothing unknown
    assert len(parquet.read_table(folder / "strings" / "validation.parquet")) == 2


def test_strings_hold_one_to_twelve_numbers():
    made = prepare_speech.strings(60, 12)
    words = [len(text.split()) for _, text in made]
    assert min(words) <= 4
    assert max(words) >= 20
    seconds = np.array([len(samples) for samples, _ in made]) / prepare_speech.SAMPLE_RATE
    assert (seconds > 0.2 * np.array(words)).all()
    assert (seconds < 2 * np.array(words)).all()


def test_facts_say_what_there_is(folder):
    facts = json.loads((folder / "facts.json").read_text())
    with np.load(folder / "data.npz") as arrays:
        seconds = np.diff(arrays["strings_sound_offsets"]) / arrays["sample_rate"]
    recorded = facts["strings"]["seconds"]
    computed = {"mean": seconds.mean(), "least": seconds.min(), "most": seconds.max()}
    assert recorded == {name: pytest.approx(value, abs=0.01) for name, value in computed.items()}
    assert tables._data({"data": facts, "job": ITEM.job}) == (
        f"Data: {COUNT} strings of spoken numbers, each of 1 to 12 (equally likely), {recorded['least']:.1f} to "
        f"{recorded['most']:.1f} seconds, {recorded['mean']:.1f} on average; vocabulary of "
        f"{facts['vocab_size']} characters."
    )


def test_features_are_kaldis():
    fbank = pytest.importorskip("kaldi_native_fbank")
    options = fbank.FbankOptions()
    options.frame_opts.dither = 0
    options.mel_opts.num_bins = 80
    waves = [torch.randn(count) * 0.1 for count in (9_000, 16_000, 4_321)]
    front = peer.LogMel(16_000, 80)
    batch, counts = front(pad_sequence(waves, batch_first=True), torch.tensor([len(wave) for wave in waves]))
    for wave_, features, count in zip(waves, batch, counts.tolist(), strict=True):
        other = fbank.OnlineFbank(options)
        other.accept_waveform(16_000, wave_.tolist())
        expected = torch.stack([torch.tensor(other.get_frame(i)) for i in range(other.num_frames_ready)])
        assert len(expected) == count
        expected = (expected - expected.mean(0)) / expected.std(0, unbiased=False)
        torch.testing.assert_close(features[:count], expected, atol=2e-2, rtol=0)
        assert not features[count:].any()


@needs_torchaudio
def test_the_peer_is_torchaudios(job):
    shape = job["shape"]
    dim, ffn_dim, kernel = shape["dim"], shape["ffn_dim"], shape["kernel_size"]
    model = peer.Recogniser(shape)
    linear = 2 * (2 * dim * ffn_dim + ffn_dim + dim) + 4 * (dim * dim + dim) + 3 * (dim * dim + dim)
    block = linear + dim * kernel + dim + 6 * 2 * dim  # the depthwise convolution, five LayerNorms, a BatchNorm
    front = 9 * dim + dim + 9 * dim * dim + dim + 20 * dim * dim + dim
    expected = front + shape["depth"] * block + (dim + 1) * shape["vocab_size"]
    assert sum(p.numel() for p in model.parameters()) == expected
    assert type(model.conformer).__module__ == "torchaudio_conformer_file"


@needs_torchaudio
def test_frames_of_the_peer(job):
    model = peer.Recogniser(job["shape"] | {"depth": 1}).eval()
    with torch.no_grad():
        logits, counts = model(torch.randn(2, 103, 80), torch.tensor([103, 7]))
    assert logits.shape == (2, 25, job["shape"]["vocab_size"])
    assert counts.tolist() == [25, 1]


def test_batches_of_like_lengths(job):
    utterances = measure.Utterances.load(job)
    job = job | {"batch_seconds": 40.0, "batch_utterances": 5}
    padding = {}
    for grouped in (True, False):
        batches = list(peer.loader_of(job | {"grouped": grouped}, utterances))
        cells = [waves.numel() for waves, *_ in batches]
        padding[grouped] = 1 - sum(int(lengths.sum()) for _, lengths, *_ in batches) / sum(cells)
        if grouped:
            assert max(cells) <= 40 * utterances.sample_rate
            seen = [row for batch in peer.SimilarLengths(utterances.lengths, 40 * 16_000) for row in batch]
            assert sorted(seen) == list(range(COUNT))
        else:
            assert [len(lengths) for _, lengths, *_ in batches] == [5] * (COUNT // 5)
    assert padding[True] < 0.5 * padding[False]
    lone = peer.SimilarLengths(np.array([3, 90, 5]), 10)
    assert sorted(map(sorted, lone)) == [[0, 2], [1]]


def test_a_batch_of_the_peer(job):
    utterances = measure.Utterances.load(job)
    rows = [utterances.row(index) for index in (0, 1)]
    waves, lengths, targets, target_lengths = peer.collate(rows)
    for row, (sound, ids) in enumerate(rows):
        assert (waves[row, : len(sound)] * 2**15 == sound).all()
        assert not waves[row, len(sound) :].any()
        assert lengths[row] == len(sound)
        assert target_lengths[row] == len(ids)
    assert targets.tolist() == torch.cat([ids for _, ids in rows]).tolist()


@needs_torchaudio
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_peer_learns(job, precision):
    shape = job["shape"] | {"depth": 1, "dim": 32, "ffn_dim": 64, "dropout": 0.0}
    torch.manual_seed(1)
    job = job | {"shape": shape, "precision": precision, "grouped": True, "seconds": 0.0, "warm_up": 10}
    job |= {"batch_seconds": 12.0, "learning_rate": 3e-3}
    result = peer.train(job)
    assert result["unit"] == "utterance-seconds/s"
    assert 0 <= result["padding_percent"] < 30
    assert result["loss_curve"][-1][1] < 0.7 * result["first_loss"]


def test_tformer_is_given_the_same_shape(job):
    config = ours.experiment(job)
    assert config.task == "speech_recognition"
    for name in ("dim", "heads", "ffn_dim", "depth", "kernel_size", "dropout"):
        assert getattr(config.model, name) == job["shape"][name]
    assert config.model.attention_dropout == job["shape"]["dropout"]
    assert config.model.positions.name == "none"
    assert config.features.bins == job["shape"]["bins"]
    assert config.data.batch_seconds == job["batch_seconds"]
    assert config.data.sample_rate == prepare_speech.SAMPLE_RATE
    assert config.tokenizer.path == job["tokenizer"]
    assert (config.features.window_ms, config.features.hop_ms) == (peer.WINDOW_MS, peer.HOP_MS)
    assert (config.features.low_hz, config.features.preemphasis) == (peer.LOW_HZ, peer.PREEMPHASIS)
    assert config.features.normalise.name == "utterance"


def test_a_plain_loop_in_the_environment_of_tformer_is_compared_with_it():
    item = next(item for item in items.all_items() if item.name == "train-recurrent")
    assert {program.environment for program in item.programs} == {"ours"}
    runs = {
        program.name: [{"rate": float(place), "gemm_gflops": [1.0], "busy_percent_before": None}]
        for place, program in enumerate(item.programs, 1)
    }
    first, *others = run.collect(item, item.programs, runs, {}, {})
    assert "ratio" not in first
    assert [entry["ratio"]["of_medians"] for entry in others] == [1 / place for place in range(2, len(runs) + 1)]


def test_each_precision_is_compared_with_the_same(job):
    runs = {
        program.name: [{"rate": float(place), "gemm_gflops": [1.0], "busy_percent_before": None}]
        for place, program in enumerate(ITEM.programs, 1)
    }
    entries = {entry["name"]: entry for entry in run.collect(ITEM, ITEM.programs, runs, {}, {})}
    precisions = {program.name: program.options.get("precision", "fp32") for program in ITEM.programs}
    for name, entry in entries.items():
        if name.startswith("tformer"):
            assert "ratio" not in entry
        elif entry["against"]:
            assert precisions[entry["against"]] == precisions[name]
            expected = runs[entry["against"]][0]["rate"] / runs[name][0]["rate"]
            assert entry["ratio"]["of_medians"] == pytest.approx(expected)
        else:
            assert entry["ratio"]["of_medians"] == pytest.approx(1 / runs[name][0]["rate"])
    assert {entries[f"torchaudio, {name}, grouped"]["goal"] for name in ("fp32", "bf16")} == {1.5}
    kind = {"utterances": 1, "most_numbers": 2, "seconds": dict.fromkeys(("mean", "least", "most"), 1.0)}
    measured = {"unit": "utterance-seconds/s", "tokens_per_step": 90.4, "padding_percent": 4.2, "first_loss": 9.0}
    for name, entry in entries.items():
        entry["runs"] = [runs[name][0] | measured | {"loss_curve": [(500, 2.5)]}]
    facts = {"name": "x", "vocab_size": 9, "strings": kind}
    item = {"title": "T", "rule": "R", "data": facts, "job": ITEM.job, "programs": [*entries.values()]}
    lines = tables.item_lines(item)
    assert "- torchaudio, bf16, grouped is compared with tformer, bf16." in lines
    note = "- torchaudio, defaults: 90 utterance-seconds per step, padding 4.2 %, loss 2.50 at 500 utterance-seconds."
    assert note in lines
    assert run.rule(ITEM, False).startswith(
        "Seconds of audio without padding, in batches of at most 100 with padding ("
    )


def test_nothing_must_be_there(tmp_path):
    parser = argparse.ArgumentParser()
    corpora.add_options(parser)
    options = parser.parse_args([])
    assert corpora.folder_of("spoken_numbers", options) == corpora.WORK / "spoken_numbers"
