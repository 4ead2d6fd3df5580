"""One recording: every kind gives the same sound; every fault is one line."""

from __future__ import annotations

import io
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest

from tformer_cli.config.schema import SpeechDataConfig
from tformer_cli.data.speech.audio import BadRecording, read_recording, read_sound, recording_files, to_sound, wav
from tformer_cli.data.speech.stored_features import read_features
from tformer_cli.errors import ConfigError, DataError

soundfile = pytest.importorskip("soundfile")
soxr = pytest.importorskip("soxr")
RATE = 16_000


def tone(seconds: float = 0.5, rate: int = RATE, hertz: float = 440.0, height: float = 0.4) -> np.ndarray:
    """A tone that grows louder, (N,) float64."""
    time = np.arange(round(seconds * rate)) / rate
    return height * np.sin(2 * np.pi * hertz * time) * (0.5 + 0.5 * time / seconds)


def encoded(samples: np.ndarray, kind: str = "WAV", sub: str | None = None, rate: int = RATE, **options) -> bytes:
    stream = io.BytesIO()
    soundfile.write(stream, samples, rate, format=kind, subtype=sub, **options)
    return stream.getvalue()


def decode(content: Path | bytes, rate: int = RATE) -> np.ndarray:
    return read_recording(content, SpeechDataConfig(sample_rate=rate), "it")


def fault(content: Path | bytes, name: str = "it") -> str:
    with pytest.raises(BadRecording) as caught:
        read_sound(content, RATE, name)
    assert "\n" not in str(caught.value) and "on_bad_sample=skip" in str(caught.value)
    return caught.value.reason


# --- kinds ---


@pytest.mark.parametrize(
    ("kind", "sub", "error"),
    [
        ("WAV", "PCM_16", 4e-5), ("WAV", "PCM_24", 2e-5), ("WAV", "PCM_32", 2e-5), ("WAV", "FLOAT", 2e-5),
        ("WAV", "DOUBLE", 2e-5), ("WAV", "PCM_U8", 0.01), ("WAV", "ULAW", 0.02), ("WAVEX", "PCM_16", 4e-5),
        ("RF64", "PCM_16", 4e-5), ("W64", "PCM_24", 2e-5), ("AIFF", "PCM_16", 4e-5), ("AIFF", "FLOAT", 2e-5),
        ("CAF", "PCM_16", 4e-5), ("AU", "PCM_16", 4e-5), ("NIST", "PCM_16", 4e-5), ("WAV", "ALAW", 0.02),
        ("FLAC", "PCM_16", 2e-5), ("FLAC", "PCM_24", 2e-5), ("OGG", "VORBIS", 0.05), ("OGG", "OPUS", 0.3),
        ("MP3", None, 0.05),
    ],
)  # fmt: skip
def test_kinds_of_files(tmp_path, kind, sub, error):
    content = encoded(tone(), kind, sub)
    decoded = decode(content)
    assert decoded.dtype == np.float32 and decoded.shape == (RATE // 2,)
    assert np.abs(decoded - tone()).max() < error
    file = tmp_path / "named.txt"
    file.write_bytes(content)
    assert (decode(file) == decoded).all()


def test_sixteen_bits_stay_as_they_are():
    samples = np.random.default_rng(0).integers(-32768, 32768, 5000).astype(np.int16)
    for content in (encoded(samples), encoded(samples, "FLAC"), wav(samples, RATE)):
        decoded = read_sound(content, RATE)
        assert decoded.dtype == np.int16 and (decoded == samples).all()
    assert (decode(encoded(samples)) == samples / 32768).all()


def test_channels_are_averaged():
    left, right = tone(), tone(hertz=700)
    assert np.abs(decode(encoded(np.stack([left, right], 1))) - (left + right) / 2).max() < 5e-5
    many = np.stack([left, right, 0 * left, left + 0, right, left], 1)
    assert np.abs(decode(encoded(many, "FLAC")) - many.mean(1)).max() < 5e-5


@pytest.mark.parametrize("rate", [8000, 22_050, 44_100, 48_000])
def test_other_rates_are_resampled(rate):
    samples = tone(rate=rate)
    decoded, direct = decode(encoded(samples, sub="FLOAT", rate=rate)), tone()
    assert abs(len(decoded) - RATE // 2) <= 1
    middle = slice(400, 7600)  # the ends ring
    assert np.abs(decoded[middle] - direct[middle]).max() < 2e-3
    expected = soxr.resample(samples.astype(np.float32), rate, RATE)
    assert np.abs(decoded - expected).max() < 2e-5


def test_what_is_louder_than_full_scale_is_scaled_down_as_a_whole():
    decoded = decode(encoded(5 * tone(), sub="FLOAT"))
    assert np.abs(decoded - tone() / np.abs(tone()).max()).max() < 5e-5
    assert to_sound(np.array([1.0, -1.0])).tolist() == [32767, -32768] and to_sound(np.zeros(0)).tolist() == []


def test_blocks_make_no_difference(monkeypatch):
    samples = np.stack([tone(2, 22_050), tone(2, 22_050, 900)], 1)
    for kind in ("WAV", "FLAC", "OGG", "MP3"):
        content = encoded(samples, kind, rate=22_050)
        expected = decode(content)
        with monkeypatch.context() as patch:
            patch.setattr("tformer_cli.data.speech.audio.BLOCK_VALUES", 1000)
            assert (decode(content) == expected).all(), kind


def test_half_an_hour():
    samples = np.tile((tone(1, 8000) * 32767).astype(np.int16), 1800)
    decoded = read_sound(wav(samples, 8000), 8000)
    assert (decoded == samples).all() and len(decoded) == 1800 * 8000
    assert fault(wav(np.zeros(14_401 * 1000, np.int16), 1000)) == "longer than 4 hours: cut it into utterances"


def test_a_wav_from_a_pipe_does_not_know_its_length():
    content = bytearray(encoded(tone()))
    position = content.find(b"data") + 4
    for size in (0xFFFFFFFF, 0x7FFFF000):
        content[4:8] = content[position : position + 4] = struct.pack("<I", size)
        assert len(decode(bytes(content))) == RATE // 2


# --- faults ---


@pytest.mark.parametrize(
    ("kind", "sub"),
    [("WAV", "PCM_16"), ("WAV", "PCM_24"), ("WAV", "FLOAT"), ("FLAC", None), ("OGG", "VORBIS"), ("OGG", "OPUS"),
     ("MP3", None)],
)  # fmt: skip
def test_cut_files(kind, sub):
    content = encoded(tone(3), kind, sub)
    for part in (0.98, 0.9, 0.5):
        message = fault(content[: int(part * len(content))])
        assert message.startswith("damaged: " if kind == "FLAC" else "cut off: ")
    assert fault(content[: len(content) // 100]).split(":")[0] in ("cut off", "damaged")
    message = fault(encoded(tone())[:-3])
    assert message == "cut off: its header declares 16,000 bytes of sound, but it has 15,997"
    tagged = b"ID3\4\0\0\0\0\1\0" + bytes(128) + encoded(tone(3), "MP3")
    assert len(decode(tagged)) == 3 * RATE and fault(tagged[:-5]).startswith("cut off: its header declares 4,")


def test_files_that_are_no_recordings(tmp_path):
    text = tmp_path / "text.wav"
    text.write_text("these are words, not sound\n" * 40)
    assert fault(text, "").startswith("not a recording in a supported format (WAV, AIFF,")
    assert fault(encoded(tone(), "VOC")).startswith("VOC is not a supported format (WAV, AIFF,")
    assert fault(b"") == "empty (0 bytes)"
    (tmp_path / "empty.wav").touch()
    assert fault(tmp_path / "empty.wav") == "empty (0 bytes)"
    assert fault(tmp_path / "none.wav") == "No such file or directory"
    assert fault(tmp_path) == "not a file"
    with pytest.raises(BadRecording, match=str(tmp_path / "none.wav")):
        read_sound(tmp_path / "none.wav", RATE)


def test_nothing_in_it():
    assert fault(encoded(tone()[:0])) == "no samples"
    assert fault(encoded(tone(rate=48_000)[:1], rate=48_000)) == "no samples"


def test_rates_that_cannot_be():
    content = bytearray(encoded(tone()))
    content[24:28] = bytes(4)
    assert fault(bytes(content)) == "a rate of 0 samples a second"
    content[24:28] = struct.pack("<I", 7)
    assert fault(bytes(content)).startswith("a rate of 7 samples a second: must be 1,000 to 768,000")


def test_numbers_that_are_not_finite():
    for value in (np.nan, np.inf):
        samples = tone()
        samples[7] = value
        assert fault(encoded(samples, sub="FLOAT")) == "samples that are not finite"


def test_an_mp3_without_a_table_of_its_bit_rates():
    samples = np.tile(np.concatenate([tone(1), np.zeros(RATE)]), 10)
    for mode in ("CONSTANT", "VARIABLE"):
        content = encoded(samples, "MP3", bitrate_mode=mode, compression_level=0.5)
        assert len(decode(content)) == len(samples)
        assert len(decode(content + b"TAG" + bytes(125))) == len(samples)
        bare = content[content.find(content[:2], 4) :]  # without the frame that holds the table
        assert abs(len(decode(bare)) - len(samples)) < 3 * 1152


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG", "MP3", "AIFF", "CAF", "AU", "W64", "RF64", "NIST"])
def test_damage_anywhere_is_one_line_or_sound(kind):
    content, random = encoded(tone(0.2), kind), np.random.default_rng(1)
    for _ in range(30):
        damaged = np.frombuffer(content, np.uint8).copy()
        damaged[random.integers(0, min(200, len(content)), 4)] = random.integers(0, 256, 4)
        try:
            assert np.isfinite(decode(damaged.tobytes())).all()
        except BadRecording as error:
            assert "\n" not in str(error)


def test_faults_go_to_other_processes():
    error = pickle.loads(pickle.dumps(BadRecording("a.wav", "cut off")))
    assert isinstance(error, BadRecording) and str(error).startswith("a.wav: cut off: repair or remove it")


@pytest.mark.parametrize("module", ["soundfile", "soxr"])
def test_a_missing_package_names_its_extra(monkeypatch, module):
    content = encoded(tone(rate=8000), rate=8000)
    monkeypatch.setitem(__import__("sys").modules, module, None)
    with pytest.raises(ConfigError, match=rf"this needs {module}, .*pip install"):
        read_sound(content, RATE)


def test_recording_files(tmp_path):
    (tmp_path / "deep").mkdir()
    for name in ("b.wav", "a.FLAC", "notes.txt", ".hidden.wav", "deep/c.mp3"):
        (tmp_path / name).touch()
    assert [path.name for path in recording_files(tmp_path)] == ["a.FLAC", "b.wav", "c.mp3"]
    assert recording_files(tmp_path / "b.wav") == [tmp_path / "b.wav"]
    with pytest.raises(DataError, match="no such folder or file"):
        recording_files(tmp_path / "none")
    (tmp_path / "bare").mkdir()
    with pytest.raises(DataError, match="no recording: expected files that end with one of .wav, "):
        recording_files(tmp_path / "bare")


# --- stored features ---


def sphinx(frames: np.ndarray, order: str = ">") -> bytes:
    return struct.pack(f"{order}i", frames.size) + frames.astype(f"{order}f4").tobytes()


def npy(frames: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, frames)
    return stream.getvalue()


def test_features(tmp_path):
    frames = np.random.default_rng(0).standard_normal((7, 13)).astype(np.float32)
    for content in (sphinx(frames), sphinx(frames, "<"), npy(frames), npy(frames.astype(np.float64))):
        features = read_features(content, 13)
        assert features.dtype == np.float32 and (features == frames).all()
        (tmp_path / "a.mfc").write_bytes(content)
        assert (read_features(tmp_path / "a.mfc", 13) == frames).all()


def test_faults_of_features(tmp_path):
    frames = np.ones((7, 13), np.float32)

    def fault_of(content, bins: int = 13) -> str:
        with pytest.raises(BadRecording) as caught:
            read_features(content, bins, "it")
        assert "\n" not in str(caught.value)
        return caught.value.reason

    assert (
        fault_of(sphinx(frames)[:-4])
        == "cut off, or not a file of features: its header declares 91 numbers, but it has 90"
    )
    assert fault_of(sphinx(frames), 12) == "91 numbers are not a multiple of features.bins=12"
    assert fault_of(sphinx(frames[:0])) == "no frames" and fault_of(b"") == "empty (0 bytes)"
    assert fault_of(b"abc") == "cut off, or not a file of features: it has no header"
    assert fault_of(tmp_path / "none.mfc") == "No such file or directory"
    assert fault_of(npy(frames)[:-4]) == "cut off: its header declares 7 frames"
    assert fault_of(npy(frames)[:20]).startswith("damaged: ")
    for other in (frames.astype(int), frames[0], np.asfortranarray(frames), np.array([None, "x"], object)):
        assert "must be floats of shape (frames, 13)" in fault_of(npy(other))
    frames[3, 3] = np.nan
    assert fault_of(sphinx(frames)) == "numbers that are not finite"
