"""Recordings to text: what is heard, what is left out, what is said of both."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torch.nn import functional

from tformer_cli import tasks
from tformer_cli.config.compose import compose
from tformer_cli.config.experiments import check_together
from tformer_cli.data.speech.cutting import quiet_pieces
from tformer_cli.draw import HeatMap, Sound, Spectrogram
from tformer_cli.errors import ConfigError, DataError
from tformer_cli.evaluators.base import Scoring
from tformer_cli.predictors.base import Prediction
from tformer_cli.predictors.transcription import concatenate
from tformer_cli.tasks.task import Task
from tformer_cli.train.launch import launch
from tformer_cli.trained.opening import open_run

RATE = 8000
WORDS = {"low": 300, "high": 1500}
SMALL = [
    "data.sample_rate=8000", "data.batch_seconds=8", "features.margin=15", "features.bins=16", "model=conformer_tiny",
    "model.dim=16", "model.heads=2", "model.ffn_dim=32", "model.depth=1", "model.subsampling_dim=4",
    "model.kernel_size=7", "model.dropout=0", "augment.frequency_mask_bins=3", "trainer.steps=2", "trainer.threads=1",
    "trainer.device=cpu", "trainer.precision=fp32", "trainer.attention=explicit",
]  # fmt: skip


def tone(word: str, seconds: float, seed: int = 0) -> np.ndarray:
    """A word: noise all the time, and a tone but for 0.1 seconds before and after it."""
    time = np.arange(int(seconds * RATE)) / RATE
    noise = np.random.default_rng(seed).standard_normal(len(time))
    loud = 0.3 * (np.abs(time - seconds / 2) < seconds / 2 - 0.1)
    return (loud * np.sin(2 * np.pi * WORDS[word] * time) + 0.01 * noise).astype(np.float32)


def recordings(folder: Path, count: int = 12) -> Path:
    """Tones of two heights, with their names."""
    folder.mkdir(parents=True)
    lines = ["file_name,transcription"]
    for number in range(count):
        word = list(WORDS)[number % 2]
        soundfile.write(folder / f"{number}.wav", tone(word, 0.4 + 0.05 * (number % 12), number), RATE)
        lines.append(f"{number}.wav,{word}")
    (folder / "metadata.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def config_of(folder: Path, *more: str, data: Path | None = None, count: int = 12):
    data = recordings(folder / "recordings", count) if data is None else data
    return compose("conformer/folder", [*SMALL, f"data.path={data}", f"data.cache={folder / 'cache'}", *more])


def prepared(folder: Path, *more: str, data: Path | None = None) -> Task:
    task = tasks.build(config_of(folder, *more, data=data))
    task.require()
    task.prepare(folder)
    return task


@pytest.mark.parametrize("depth", [0, 1])
def test_loss_is_ctc_and_cross_entropy_of_each_utterance(tmp_path, depth):
    smoothing = ["optim.label_smoothing=0.1"] if depth else []
    task = prepared(tmp_path, f"model.decoder_depth={depth}", "objective.ctc_weight=0.4", *smoothing)
    torch.manual_seed(0)
    model = task.model().eval()
    batch = task.view("train").collate(0, np.arange(5))
    expected = torch.zeros(())
    for row in range(5):
        single = task.view("train").collate(0, np.arange(row, row + 1))
        memory = model.encode(*task.data.inputs(single, training=False))
        ids = task.data.tokenizer.encode(task.data.split("train").texts[row])
        log_probs = model.ctc_logits(memory.states[0]).log_softmax(-1)
        target = torch.tensor(ids)
        ctc = functional.ctc_loss(log_probs, target, (len(log_probs),), (len(ids),), reduction="sum")
        if depth:
            start = torch.tensor([[task.data.tokenizer.bos_id, *ids]])
            scores = model.logits(model.decode(memory, start))[0]
            written = functional.cross_entropy(
                scores, torch.tensor([*ids, task.data.tokenizer.eos_id]), reduction="sum"
            )
            ctc = 0.4 * ctc + 0.6 * written
        expected = expected + ctc
    loss = task.loss(model, batch)
    torch.testing.assert_close(loss.total, expected, rtol=1e-4, atol=1e-4)
    assert int(loss.count) == sum(
        len(task.data.tokenizer.encode(text)) + 1 for text in task.data.split("train").texts[:5]
    )


def test_a_transcript_that_does_not_fit_stops_training_and_counts_for_nothing_in_evaluation(tmp_path):
    """Training leaves such recordings out; if one comes all the same, the loop must see that the loss is not finite."""
    task = prepared(tmp_path)
    model = task.model()
    sounds, texts = [np.zeros(800, np.int16), np.zeros(8000, np.int16)], ["low high low high low high", "low"]
    batch = task.data.collate(sounds, texts, np.arange(2))
    assert task.loss(model.train(), batch).total.isinf()
    fits = task.data.collate(sounds[1:], texts[1:], np.arange(1))
    both, single = task.loss(model.eval(), batch).total, task.loss(model, fits).total
    torch.testing.assert_close(both, single)


def test_the_worst_utterances_come_first_and_samples_say_which_is_which(tmp_path, monkeypatch):
    task = prepared(tmp_path)
    view = task.data.view("train")
    monkeypatch.setattr(view, "transcripts", lambda epoch, rows: [f"one two three {row}" for row in rows])
    heard = {row: f"one two three {row}" for row in range(12)}
    heard |= {3: "one two", 5: "one two three", 7: "nothing of all this"}
    calls = []

    def transcribe(model, batch, memory):
        calls.extend(batch.sample_ids.tolist())
        return [Prediction(heard[row], {"words": []}) for row in batch.sample_ids.tolist()]

    monkeypatch.setattr(task.predictor, "transcribe", transcribe)
    with torch.inference_mode():
        evaluation = task.evaluate(task.model().eval(), "train", Scoring(samples=3))
        (_, header, rows), *_ = evaluation.tables
        assert header == ["WER", "reference", "transcript", "recording"]
        assert [row[:3] for row in rows] == [
            ["100.0", "one two three 7", "nothing of all this"],
            ["50.0", "one two three 3", "one two"],
            ["25.0", "one two three 5", "one two three"],
        ]
        assert [row[3] for row in rows] == [view.name(row) for row in (7, 3, 5)]
        size = len(task.data.split("train"))
        assert [sample.reference for sample in evaluation.samples] == [
            f"one two three {row}" for row in (0, 5, size - 1)
        ]
        assert evaluation.samples[1].prediction == "one two three"
        calls.clear()
        few = task.evaluate(task.model().eval(), "train", Scoring(thorough=False, limit=1))
    assert few.scores["wer"] == 0 and 0 in calls and len(calls) < size


def test_evaluation_encodes_each_utterance_once(tmp_path, monkeypatch):
    """The loss and the transcripts come from one encoding; only the picture encodes its utterance again."""
    task = prepared(tmp_path, "model.decoder_depth=1")
    model = task.model().eval()
    encode, encoded = model.encode, []
    monkeypatch.setattr(model, "encode", lambda source, lengths: encoded.append(len(source)) or encode(source, lengths))
    with torch.inference_mode():
        task.evaluate(model, "train", Scoring(thorough=False))
        assert sum(encoded) == len(task.data.split("train")) and len(encoded) == task.data.view("train").num_batches
        task.evaluate(model, "train", Scoring())
    assert encoded[-1] == 1 and sum(encoded) == 2 * len(task.data.split("train")) + 1


def test_it_learns_and_says_when_each_word_was_said(tmp_path):
    """Strings of tones, learnt from tones alone and joined ones."""
    config = config_of(
        tmp_path, "trainer.steps=200", "trainer.evaluate_every=0", "trainer.log_every=100", "augment.time_masks=0",
        "augment.frequency_masks=0", "augment.speeds=[1.0]", "augment.join=0.5", "augment.join_most=3",
        "data.join_high=3", "data.validation_share=0.25", "features.normalise=corpus", "optim.lr=0.01",
        "optim.warmup_steps=10", "model.dim=32", "model.convolution_norm=layer", "tokenizer.kind=bpe",
        "tokenizer.vocab_size=14", count=36,
    )  # fmt: skip
    launch(config, tmp_path / "run", quiet=True)
    opened = open_run(tmp_path / "run")
    with torch.inference_mode():
        evaluation = opened.task.evaluate(opened.model, "validation", Scoring())
    assert evaluation.scores["wer"] < 10 and evaluation.scores["words"] == 9
    assert isinstance(evaluation.pictures["alignment"], Spectrogram)
    samples = np.concatenate([tone("low", 0.9, 1), tone("high", 0.9, 2)])
    soundfile.write(tmp_path / "said.wav", samples, RATE)
    (answer,) = opened.task.predict(opened.model, [str(tmp_path / "said.wav")])
    assert answer.text == "low high"
    first, second = answer.details["words"]
    assert first["start_seconds"] < 0.9 < second["start_seconds"] < second["end_seconds"] <= 1.8
    assert 0.3 < answer.details["confidence"] <= 1


def test_times_are_those_of_the_recording_and_marks_those_of_the_spectrogram(tmp_path, monkeypatch):
    task = prepared(tmp_path)
    assert task.config.features.margin == 15 and task.config.model.subsampling == 4
    times = task.predictor.transcriber.times
    assert times == pytest.approx((0.04, -0.15 + 0.0225))  # the margin is no part of the recording
    word = {"text": "low", "start_seconds": 0.2, "end_seconds": 0.3, "confidence": 1.0}
    monkeypatch.setattr(task.predictor, "transcribe_batch", lambda model, batch: [Prediction("low", {"words": [word]})])
    picture = task.evaluator.alignment(task.model(), task.view("validation"))
    assert picture.marks == [(15 + 20, "low")] and len(picture.values) > 2 * 15 + 20
    assert picture.begin_seconds == pytest.approx(-0.15)


@pytest.mark.parametrize("more", [[], ["data.sample_rate=11025"], ["model.subsampling=8"], ["features.margin=0"]])
def test_the_middle_of_an_output_frame_is_that_of_the_sound_that_it_depends_on(more, tmp_path):
    task = prepared(tmp_path, *more)
    config, times = task.config, task.predictor.transcriber.times
    subsampling = task.model().eval().encoder.subsampling
    hop, window = (int(config.data.sample_rate * seconds) for seconds in (0.01, 0.025))
    features = torch.randn(1, 150, config.features.bins, requires_grad=True)
    outputs, _ = subsampling(features, torch.tensor([150]))
    outputs[0, 5].square().sum().backward()
    frames = features.grad.abs().sum(2)[0].nonzero()[:, 0] - config.features.margin
    middle = (int(frames[0]) * hop + int(frames[-1]) * hop + window) / 2 / config.data.sample_rate
    assert times.begin_seconds + 5.5 * times.frame_seconds == pytest.approx(middle)
    assert times.frame_seconds == pytest.approx(config.model.subsampling * hop / config.data.sample_rate)


@pytest.mark.parametrize("more", [["decode.method=prefix"], ["decode.method=joint"], ["decode.method=attention"]])
def test_every_search_answers(tmp_path, more):
    decoder = [] if "prefix" in more[0] else ["model.decoder_depth=1"]
    task = prepared(tmp_path, *more, *decoder, "model.max_length=6", "decode.n_best=2")
    model = task.model().eval()
    paths = [str(tmp_path / "recordings" / f"{number}.wav") for number in (0, 11)]
    answers = list(task.predict(model, paths))
    assert len(answers) == 2
    for answer in answers:
        assert answer.text == answer.details["hypotheses"][0]["text"]
        assert len(answer.details["hypotheses"]) == 2
        words = "".join(word["text"] for word in answer.details["words"])
        assert words == "".join(c for c in answer.text if c not in " \u2047")  # the sign of an unknown piece


def test_a_language_model_takes_part(tmp_path):
    path = tmp_path / "words.arpa"
    path.write_text("\\data\\\nngram 1=3\n\n\\1-grams:\n-0.1\tlow\n-0.1\t</s>\n-99\t<s>\n\n\\end\\\n", encoding="utf-8")
    task = prepared(tmp_path)
    model = task.model().eval()
    recording = str(tmp_path / "recordings" / "1.wav")
    scores = []
    for weight in (0, 2):
        settings = [f"decode.language_model={path}", f"decode.language_model_weight={weight}"]
        other = prepared(tmp_path, *settings, data=tmp_path / "recordings")
        (answer,) = other.predict(model, [recording])
        scores.append(answer.details["hypotheses"][0]["score"])
    assert scores[1] < scores[0]
    with pytest.raises(ConfigError, match="greedy decoding does not use a language model"):
        next(iter(prepared(tmp_path, f"decode.language_model={path}", "decode.method=greedy",
                           data=tmp_path / "recordings").predict(model, [recording])))  # fmt: skip
    with pytest.raises(ConfigError, match="needs a decoder"):
        next(iter(prepared(tmp_path, "decode.method=joint", data=tmp_path / "recordings").predict(model, [recording])))


def test_a_run_of_a_language_model_is_opened_and_heard(tmp_path):
    (tmp_path / "train.txt").write_text("low high low\nhigh low\n" * 40, encoding="utf-8")
    settings = [
        f"data.path={tmp_path / 'train.txt'}", f"data.cache={tmp_path / 'cache'}", "data.documents=line",
        "data.validation_share=0.1", "data.batch_tokens=64", "tokenizer.kind=char", "tokenizer.vocab_size=30",
        "tokenizer.lossless=false", "model.max_length=16", "model.dim=16", "model.heads=2", "model.ffn_dim=32",
        "model.depth=1", "trainer.steps=2", "trainer.threads=1",
    ]  # fmt: skip
    launch(compose("gpt/files", settings), tmp_path / "gpt", quiet=True)
    launch(config_of(tmp_path), tmp_path / "run", quiet=True)
    recording = str(tmp_path / "recordings" / "3.wav")
    scores = []
    for weight in (0, 1):
        more = [f"decode.language_model={tmp_path / 'gpt'}", f"decode.language_model_weight={weight}"]
        opened = open_run(tmp_path / "run", overrides=more)
        (answer,) = opened.task.predict(opened.model, [recording])
        scores.append(answer.details["hypotheses"][0]["score"])
    assert scores[1] < scores[0]
    # while training, too; and a run of another task is refused
    data = tmp_path / "recordings"
    launch(config_of(tmp_path, f"decode.language_model={tmp_path / 'gpt'}", data=data), tmp_path / "with", quiet=True)
    with pytest.raises(ConfigError, match="run is a run of speech_recognition"):
        open_run(tmp_path / "run", overrides=[f"decode.language_model={tmp_path / 'run'}"])


def test_a_model_in_use_is_scored_on_training_recordings_as_they_are(tmp_path):
    more = ["augment.join=1", "augment.speeds=[0.8]", "augment.shift_ms=50"]
    task = prepared(tmp_path / "training", *more)
    train = task.data.split("train")
    rows = np.arange(len(train))
    changed = task.view("train").collate(0, rows)
    view = task.data.view("train")
    for epoch in (0, 1):
        batch = view.collate(epoch, rows)
        assert batch.lengths.tolist() == train.lengths.tolist() != changed.lengths.tolist()
        assert view.transcripts(epoch, rows.tolist()) == train.texts


def test_long_recordings_and_long_transcripts(tmp_path):
    folder = recordings(tmp_path / "recordings")
    with (folder / "metadata.csv").open("a", encoding="utf-8") as file:
        file.write("long.wav,low low\nshort.wav,loow high low high low high low high\n")
    soundfile.write(folder / "long.wav", tone("low", 9.0), RATE)
    soundfile.write(folder / "short.wav", tone("low", 0.2), RATE)
    more = ["data.max_seconds=5", "data.validation_share=0", "data.validation=metadata"]
    # 36 characters, one before them, and a blank between the two o
    with pytest.raises(DataError, match=r"short.wav: its transcript needs 38 frames, and there are \d+ after"):
        prepared(tmp_path, *more, data=folder)
    task = prepared(tmp_path, *more, "trainer.on_bad_sample=skip", data=folder)
    facts = " | ".join(value for _, value in task.describe())
    assert "1 recordings longer than 5 seconds" in facts and "1 recordings with too long a transcript" in facts
    assert len(task.data.split("train")) == 12
    with pytest.raises(DataError, match="every recording is longer than data.max_seconds 0.1"):
        prepared(tmp_path, "data.max_seconds=0.1", data=folder)


def test_joined_transcripts_have_spaces_only_if_others_do(tmp_path):
    for number, spaces in enumerate(("single", "remove")):
        task = prepared(tmp_path / spaces, "augment.join=1", "augment.speeds=[1.0]", f"transcripts.spaces={spaces}")
        view, rows = task.data.view("train", training=True), range(4)
        parts = view.utterances_of(0).parts[:4]
        assert (parts[:, 1] >= 0).any()
        has_spaces = [" " in text for text in view.transcripts(0, rows)]
        assert any(has_spaces) is (number == 0)
        pieces = [Prediction(text, {"words": []}) for text in ("low ", " ", " high")]
        joined = concatenate(pieces, [0.0, 1.0, 2.0], task.data.texts.separator)
        assert joined.text == ("low high", "lowhigh")[number]


def test_joined_recordings_fit_their_transcripts_too(tmp_path):
    folder = tmp_path / "recordings"
    folder.mkdir()
    lines = ["file_name,transcription"]
    for number in range(12):  # each fits with its margins, and two of the short ones with the margins of one do not
        soundfile.write(folder / f"{number}.wav", tone("low", 0.1 if number < 8 else 1.0, number), RATE)
        lines.append(f"{number}.wav,low low")
    (folder / "metadata.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    more = ["augment.join=1", "augment.join_most=3", "augment.speeds=[1.0]", "features.margin=20"]
    task = prepared(tmp_path, *more, data=folder)
    model, joined = task.model().train(), 0
    for epoch in range(3):
        rows = np.arange(len(task.data.split("train")))
        assert task.loss(model, task.view("train").collate(epoch, rows)).total.isfinite()
        utterances = task.view("train").utterances_of(epoch)
        joined += int((utterances.parts[:, 1] >= 0).sum())
        sounds = [utterances.sound(row, task.data.split("train").sound.gather) for row in rows.tolist()]
        assert [len(sound) for sound in sounds] == utterances.lengths.tolist()
    assert joined  # those that fit stay


@pytest.mark.parametrize(("spaces", "separator"), [("single", " "), ("remove", "")])
def test_a_recording_longer_than_the_model_takes_is_heard_in_pieces(spaces, separator, tmp_path):
    task = prepared(tmp_path, "data.max_seconds=2", f"transcripts.spaces={spaces}")
    model = task.model().eval()
    sound = (8000 * np.concatenate([tone("low", 1.5), np.zeros(800, np.float32), tone("high", 1.9)])).astype(np.int16)
    (transcript,) = task.predictor.answers(model, [sound])
    pieces = quiet_pieces(sound, 2 * RATE)
    assert len(pieces) == 2 and 1.5 * RATE < pieces[0][1] < 1.6 * RATE
    parts = list(task.predictor.answers(model, [sound[start:stop] for start, stop in pieces]))
    assert all(part.text for part in parts)
    assert transcript.text == separator.join(part.text.strip() for part in parts)
    expected = [word["start_seconds"] for word in parts[1].details["words"]]
    starts = [word["start_seconds"] for word in transcript.details["words"][-len(expected) :]]
    assert starts == pytest.approx([time + pieces[1][0] / RATE for time in expected])


def test_a_long_recording_is_scored_as_it_is_predicted(tmp_path, monkeypatch):
    task = prepared(tmp_path, "data.max_seconds=0.6", "data.validation_share=0.5")
    torch.manual_seed(0)
    model = task.model().eval()
    decoded, transcribe = [], task.predictor.transcribe

    def counted(model, batch, memory):
        decoded.extend(batch.lengths.tolist())
        return transcribe(model, batch, memory)

    monkeypatch.setattr(task.predictor, "transcribe", counted)
    evaluation = task.evaluate(model, "validation", Scoring(predictions=True))
    assert max(decoded) <= 0.6 * RATE  # no recording is decoded whole as well as in pieces
    sound = task.data.split("validation").sound
    sounds = [sound[row] for row in range(len(evaluation.predictions))]
    assert max(map(len, sounds)) > 0.6 * RATE
    answers = task.predictor.answers(model, sounds)
    for row, answer in zip(evaluation.predictions, answers, strict=True):
        assert row["prediction"] == answer.text
        assert row["confidence"] == pytest.approx(answer.details["confidence"])


def test_recordings_that_cannot_be_read_are_named_or_skipped(tmp_path):
    (tmp_path / "bad.wav").write_bytes(b"RIFF")
    good = tmp_path / "recordings" / "1.wav"
    task = prepared(tmp_path)
    with pytest.raises(DataError, match=r"bad\.wav"):
        list(task.predict(task.model().eval(), [str(tmp_path / "bad.wav")]))
    task = prepared(tmp_path, "trainer.on_bad_sample=skip", data=good.parent)
    bad, fine = task.predict(task.model().eval(), [str(tmp_path / "bad.wav"), str(good)])
    assert "bad.wav" in bad.details["error"] and "on_bad_sample" not in bad.details["error"]
    assert "error" not in fine.details


def test_finetuning_keeps_a_vocabulary_that_serves_and_makes_a_new_one_else(tmp_path):
    data = recordings(tmp_path / "recordings")
    launch(config_of(tmp_path, data=data), tmp_path / "first", quiet=True)
    launch(config_of(tmp_path, data=data), tmp_path / "same", initial=tmp_path / "first", quiet=True)
    with (data / "metadata.csv").open("a", encoding="utf-8") as file:
        file.write("zoo.wav,zoo\n")
    soundfile.write(data / "zoo.wav", tone("low", 0.7), RATE)
    more = ["data.validation=metadata"]
    launch(config_of(tmp_path, *more, data=data), tmp_path / "other", initial=tmp_path / "first", quiet=True)
    first, same, other = (open_run(tmp_path / name).task.data.tokenizer for name in ("first", "same", "other"))
    assert first.hash == same.hash != other.hash
    assert other.decode(other.encode("zoo")) == "zoo"
    with pytest.raises(DataError, match=r"zoo.wav: 'z' is in no piece"):
        prepared(tmp_path, *more, f"tokenizer.path={tmp_path / 'first'}", data=data)


def test_features_of_the_whole_corpus_are_kept_with_the_run(tmp_path):
    settings = ["features.normalise=corpus", "augment.speeds=[1.0]"]
    config = config_of(tmp_path, *settings)
    launch(config, tmp_path / "run", quiet=True)
    opened = open_run(tmp_path / "run")
    train = prepared(tmp_path, *settings, data=tmp_path / "recordings")
    assert opened.task.data.front_end.statistics == train.data.front_end.statistics
    batch = train.view("train").collate(0, np.arange(len(train.data.split("train"))))
    values, frames = train.data.inputs(batch, training=False)
    margin = config.features.margin
    inner = torch.cat([row[margin : count - margin] for row, count in zip(values, frames.tolist(), strict=True)])
    assert inner.mean(0).abs().max() < 1e-3 and (inner.std(0, correction=0) - 1).abs().max() < 1e-3


def test_pictures_and_sounds(tmp_path):
    task = prepared(tmp_path, "model.decoder_depth=1")
    pictures = task.evaluator.pictures(task.model().eval())
    sound = pictures["training/sound"]
    assert isinstance(sound, Sound) and sound.rate == RATE and 0.1 < np.abs(sound.samples).max() <= 1
    assert isinstance(pictures["attention"], HeatMap) and "0" in pictures["attention"].rows
    for name in ("training/plain", "training/augmented", "alignment"):
        picture = pictures[name]
        assert isinstance(picture, Spectrogram) and np.isfinite(picture.values).all()
    assert pictures["attention"].values.shape[0] == pictures["attention"].values.shape[1]
    assert (pictures["training/plain"].values != pictures["training/augmented"].values).any()


def written(folder: Path, texts: list[str]) -> Path:
    """Write recordings with the given transcripts."""
    place = recordings(folder, len(texts))
    lines = ["file_name\ttranscription", *(f"{number}.wav\t{text}" for number, text in enumerate(texts))]
    (place / "metadata.csv").unlink()
    (place / "metadata.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return place


FORM = ["case=lower", "punctuation=remove", "numbers=words", "language=en"]


def test_transcripts_are_learnt_and_scored_in_the_form_that_is_asked_for(tmp_path, monkeypatch):
    data = written(tmp_path / "odd", ["Low!", "LOW, 2", "don't low", "low."] * 3)
    task = prepared(tmp_path, *(f"transcripts.{setting}" for setting in FORM), data=data)
    texts = {text for split in ("train", "validation") for text in task.data.split(split).texts}
    assert texts == {"low", "low two", "don't low"}
    tokenizer = task.data.tokenizer
    assert tokenizer.unk_id in tokenizer.encode("L2!") and tokenizer.unk_id not in tokenizer.encode("two")
    evaluation = scored(task, monkeypatch, lambda reference: reference.upper().replace("TWO", "2") + "?!")
    assert evaluation.scores["wer"] == 0 and evaluation.scores["cer"] == 0
    assert evaluation.signatures["wer"].startswith(
        "case:lower|punct:remove|num:words-en|space:single|form:keep|tok:space|"
    )
    assert evaluation.signatures["cer"].startswith(
        "case:lower|punct:remove|num:words-en|space:single|form:keep|tok:char|"
    )
    assert "version:jiwer-" in evaluation.signatures["wer"]
    counted = ("sentence_errors", "substitutions", "insertions", "deletions", "words")
    assert {evaluation.signatures.get(name) for name in counted} == {evaluation.signatures["wer"]}
    assert evaluation.samples[0].reference in texts


def scored(task: Task, monkeypatch, answer):
    view = task.view("validation")
    references = view.transcripts(0, range(len(view.utterances_of(0))))

    def transcribe(model, batch, memory):
        return [Prediction(answer(references[row]), {"words": []}) for row in batch.sample_ids.tolist()]

    monkeypatch.setattr(task.predictor, "transcribe", transcribe)
    monkeypatch.setattr(task.evaluator, "alignment", lambda *_: Spectrogram(np.zeros((1, 1))))
    with torch.inference_mode():
        return task.evaluate(task.model().eval(), "validation", Scoring(samples=1))


def test_scoring_alone_may_pass_over_what_is_learnt(tmp_path, monkeypatch):
    data = written(tmp_path / "odd", ["Low, 2!", "High."] * 6)
    plain = prepared(tmp_path / "plain", data=data)
    unnormalised = scored(plain, monkeypatch, str.lower)
    assert unnormalised.scores["wer"] > 0 and unnormalised.signatures["wer"].startswith(
        "case:keep|punct:keep|num:keep|space:single|"
    )
    task = prepared(tmp_path / "scored", *(f"scoring.{setting}" for setting in FORM), data=data)
    assert "Low, 2!" in task.data.split("train").texts + task.data.split("validation").texts
    assert scored(task, monkeypatch, str.lower).scores["wer"] == 0
    assert task.data.split("train").hash == plain.data.split("train").hash


def test_only_the_number_of_words_is_no_error(tmp_path, monkeypatch):
    """Checkpoints would be chosen by the most errors."""
    task = prepared(tmp_path)
    scores = scored(task, monkeypatch, str).scores
    assert {"wer", "sentence_errors", "insertions"} < set(scores) - {"words"} <= task.evaluator.lower_is_better


def test_the_old_setting_of_lower_case_is_in_the_signature(tmp_path, monkeypatch):
    task = prepared(tmp_path, "data.lower_case=true", data=written(tmp_path / "odd", ["Low", "HIGH"] * 6))
    evaluation = scored(task, monkeypatch, str.lower)
    assert evaluation.scores["wer"] == 0 and evaluation.signatures["wer"].startswith("case:lower|punct:keep|")


def test_a_transcript_of_which_nothing_is_left_is_as_none(tmp_path):
    data = written(tmp_path / "odd", ["low", "...", "high", "?!", "low high"] * 3)
    with pytest.raises(DataError, match=r"1\.wav: its transcript '\.\.\.' is empty after normalisation.*6 such"):
        prepared(
            tmp_path, "transcripts.punctuation=remove", "data.validation_share=0", f"data.validation={data}", data=data
        )
    task = prepared(tmp_path, "transcripts.punctuation=remove", "trainer.on_bad_sample=skip", data=data)
    sizes = [len(task.data.split(split)) for split in ("train", "validation")]
    assert sum(sizes) == 9
    notes = [note for name, note in task.describe() if name == "note"]
    assert any("whose transcript is empty after normalisation" in note for note in notes)


@pytest.mark.parametrize(
    "zeros", ["features.margin=3", "augment.time_masks=1", "augment.adaptive_masks=0.1", "augment.frequency_masks=1"]
)
def test_frames_of_zeros_need_normalised_features(zeros):
    none = [
        *SMALL, "data.path=x", "features.normalise=none", "features.margin=0", "augment.time_masks=0",
        "augment.frequency_masks=0",
    ]  # fmt: skip
    compose("conformer/folder", none)
    compose("conformer/folder", [*none, zeros, "features.normalise=corpus"])
    compose("conformer/folder", [*none, zeros, "features.kind=stored", "augment.speeds=[1.0]"])  # may be normalised
    name = zeros.split("=")[0]
    with pytest.raises(ConfigError, match=f"{name}: sets features to 0.*features.normalise=utterance, or {name}=0"):
        compose("conformer/folder", [*none, zeros])
    config = compose("conformer/folder", none)
    config.features.margin = 3
    check_together(config, training=False)  # a run that exists is opened as before


def test_a_wrong_form_is_noticed_before_anything_is_read(tmp_path):
    for settings, message in (
        (["transcripts.numbers=words"], "transcripts.numbers=words needs a language"),
        (["scoring.numbers=words", "scoring.language=xx"], "scoring.language=xx: numbers cannot be written in words"),
    ):
        with pytest.raises(ConfigError, match=message):
            prepared(tmp_path, *settings, data=tmp_path / "nowhere")


def test_a_word_error_rate_of_text_without_spaces_is_not_to_be_gone_by(tmp_path, monkeypatch):
    task = prepared(tmp_path, data=written(tmp_path / "odd", ["今天天气", "很好"] * 6))
    assert any("use cer" in note for note in scored(task, monkeypatch, str).notes)
    task = prepared(tmp_path / "korean", data=written(tmp_path / "two", ["오늘 날씨", "좋다"] * 6))
    assert not scored(task, monkeypatch, str).notes


def test_samples_do_not_depend_on_the_batch(tmp_path):
    settings = ["model.decoder_depth=1", "decode.sample=true", "decode.temperature=5"]
    task = prepared(tmp_path, *settings, "decode.method=attention")
    model, view = task.model().eval(), task.data.view("train")
    rows = [view.rows(0, 0)[-1]]
    together = task.predictor.transcribe_batch(model, view.batch(0, 0))
    (alone,) = task.predictor.transcribe_batch(model, view.collate(0, np.array(rows)))
    assert len(together) > 1 and together[0].text != together[-1].text == alone.text


@pytest.mark.parametrize("method", ["joint", "greedy", "prefix"])
def test_only_the_decoder_samples(method, tmp_path):
    settings = ["model.decoder_depth=1", "decode.sample=true", f"decode.method={method}"]
    with pytest.raises(ConfigError, match="decode.sample: sampling needs decode.method=attention"):
        prepared(tmp_path, *settings)


def transcribed(task: Task, model) -> list[Prediction]:
    return task.predictor.transcribe_batch(model, task.view("train").batch(0, 0))


@pytest.mark.parametrize(("weight", "method"), [(1, "greedy"), (0, "attention"), (0.5, "joint")])
def test_the_default_search_uses_only_what_is_trained(weight, method, tmp_path):
    """With CTC alone, an untrained decoder does not score; with the decoder alone, an untrained CTC does not."""
    settings = ["model.decoder_depth=1", f"objective.ctc_weight={weight}", "model.max_length=8"]
    settings += ["decode.beam=2"] if method != "greedy" else []
    data = recordings(tmp_path / "recordings")
    default, explicit = (
        prepared(tmp_path / name, *settings, *more, data=data)
        for name, more in (("default", []), ("explicit", [f"decode.method={method}"]))
    )
    torch.manual_seed(1)
    model = default.model().eval()
    for value in model.parameters():
        value.data.add_(0.3 * torch.randn_like(value))
    answers = transcribed(default, model)
    assert len({answer.text for answer in answers}) > 1 and answers == transcribed(explicit, model)
    for name, layer in (("ctc", model.ctc), ("decoder", model.decoder)):
        trained = weight > 0 if name == "ctc" else weight < 1
        before = {key: value.clone() for key, value in layer.state_dict().items()}
        for value in layer.parameters():
            value.data.add_(torch.randn_like(value))
        assert ([answer.details["hypotheses"] for answer in transcribed(default, model)]
                != [answer.details["hypotheses"] for answer in answers]) == trained  # fmt: skip
        layer.load_state_dict(before)


def test_only_a_trained_ctc_says_when_words_are_said(tmp_path):
    """Without a CTC loss, transcripts have neither times nor confidences, also those of the parts of a recording."""
    task = prepared(tmp_path, "model.decoder_depth=1", "objective.ctc_weight=0", "model.max_length=8")
    model = task.model().eval()
    answers = transcribed(task, model)
    assert any(answer.text for answer in answers)
    assert all(answer.details["words"] == [] and answer.details["confidence"] is None for answer in answers)
    assert concatenate(answers[:2], [0.0, 1.0]).details["confidence"] is None
    (example,) = task.inspector.of_split(model, "validation", 1)
    assert example.emissions is None and not example.words and example.outputs
    other = prepared(tmp_path, "model.decoder_depth=1", "objective.ctc_weight=1", data=tmp_path / "recordings")
    (example,) = other.inspector.of_split(model, "validation", 1)
    assert example.emissions is not None and not example.outputs and other.inspector.lens(model) is None


def test_a_trained_run_does_not_search_with_what_is_not_trained(tmp_path):
    settings = ["model.decoder_depth=1", "objective.ctc_weight=1"]
    launch(config_of(tmp_path, *settings), tmp_path / "run", quiet=True)
    for more, message in (
        (["decode.method=joint"], "joint needs the decoder, which objective.ctc_weight=1 does not train"),
        (["objective.ctc_weight=0.3"], "objective.ctc_weight: this run was trained with 1"),
    ):
        with pytest.raises(ConfigError, match=message):
            opened = open_run(tmp_path / "run", overrides=more)
            list(opened.task.predict(opened.model, [str(tmp_path / "recordings" / "1.wav")]))
