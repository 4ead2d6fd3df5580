"""Damaged checkpoint folders are refused with an error of one line, without blocking or following links."""

from __future__ import annotations

import hashlib
import json
import os
import random

import pytest

from tformer_cli.errors import RunError
from tformer_cli.runs.checkpoint import Checkpoints, damage, read_state, write_folder

STATE = {
    "step": 4, "seconds": 1.5, "score": 3.0, "loss": 0.5, "best": 3.0, "best_loss": 0.5, "best_step": 4,
    "without_better": 0, "window": {"loss": 1.0}, "finished": False, "offsets": {"metrics.jsonl": 7},
    "metric": "bleu", "fingerprint": {"data.train": "ab"}, "machine": {"precision": "fp32", "attention": "fused"},
}  # fmt: skip
FILES = {"model.safetensors": b"w" * 50, "tokenizer/joint.model": b"p", "config.yaml": b"x"}


@pytest.fixture
def folder(tmp_path):
    write_folder(tmp_path / "step-00000004", {**FILES, "state.json": json.dumps(STATE).encode()})
    return tmp_path / "step-00000004"


@pytest.mark.parametrize(
    "manifest",
    [
        "[]", "null", "1", '"x"', "{", "{}", pytest.param("[" * 100_000, id="nested"), '{"format_version": 1}',
        '{"format_version": 1, "files": []}', '{"format_version": 1, "files": {}}',
        '{"format_version": "1", "files": {}}', '{"format_version": 1.5, "files": {}}',
        '{"format_version": true, "files": {}}', '{"format_version": null, "files": {}}',
        '{"format_version": 1, "files": {"model.safetensors": 5}}', '{"format_version": 1, "files": {"a": []}}',
        '{"format_version": 1, "files": {"a": {"bytes": "5", "sha256": 7}}}', "\x00", "", "NaN",
    ],
)  # fmt: skip
def test_malformed_manifests_are_damage(folder, manifest):
    (folder / "manifest.json").write_text(manifest)
    assert "manifest.json" in damage(folder)


def test_every_bit_of_the_manifest_counts(folder):
    file = folder / "manifest.json"
    content = file.read_bytes()
    for bit in range(8 * len(content)):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        file.write_bytes(flipped)
        fault = damage(folder)
        assert fault or json.loads(flipped)["files"].keys() >= FILES.keys()  # such as a space replaced by another


@pytest.mark.parametrize("name", ["manifest.json", "state.json", "model.safetensors", "tokenizer/joint.model"])
@pytest.mark.parametrize("how", ["fifo", "/dev/zero", "link", "folder"])
def test_other_things_in_place_of_a_file_are_damage(folder, name, how):
    file = folder / name
    content = file.read_bytes()
    file.unlink()
    if how == "fifo":
        os.mkfifo(file)
    elif how == "folder":
        file.mkdir()
    elif how == "link":
        (folder.parent / "elsewhere").write_bytes(content)
        file.symlink_to(folder.parent / "elsewhere")
    else:
        file.symlink_to(how)
    assert damage(folder) != ""


def test_a_linked_folder_leads_outside(folder, tmp_path):
    os.rename(folder / "tokenizer", tmp_path / "elsewhere")
    (folder / "tokenizer").symlink_to(tmp_path / "elsewhere")
    assert "outside" in damage(folder)


@pytest.mark.parametrize("name", sorted(STATE))
@pytest.mark.parametrize(
    "value", [None, "x", [], {}, -1, True, 1.5, float("nan"), pytest.param(10**400, id="huge"), {"a": []}, [[1]]]
)
def test_a_state_of_other_types_is_a_line(folder, name, value):
    """The manifest agrees with the state, as after a manual edit of both."""
    write_folder(folder, {**FILES, "state.json": json.dumps({**STATE, name: value}).encode()})
    messages: list[str] = []
    checkpoints = Checkpoints(folder.parent)
    try:
        read_state(folder, resumable=True)
    except RunError as error:
        assert name in str(error)
    for work in (lambda: checkpoints.newest(messages.append), checkpoints.ranked, checkpoints.best):
        try:
            work()
        except RunError as error:
            assert "\n" not in str(error)


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"null", b"{", b"\xff", pytest.param(b"[" * 100_000, id="nested"), b"{}", b'{"step": 4}']
)
def test_a_state_that_is_none_is_a_line(folder, content):
    write_folder(folder, {**FILES, "state.json": content})
    with pytest.raises(RunError, match=r"state\.json"):
        read_state(folder, resumable=True)


def test_mutated_folders_never_surprise(folder):
    rng = random.Random(1)
    seeds = {name: (folder / name).read_bytes() for name in ("state.json", "manifest.json")}
    for _ in range(300):
        name = rng.choice(sorted(seeds))
        content = bytearray(seeds[name])
        for _ in range(rng.randint(1, 4)):
            position = rng.randrange(len(content))
            content[position : position + rng.randint(0, 3)] = rng.choice(
                [b"", b"null", b"[", b"9" * 30, b"\xed\xa0\x80", b"-1"]
            )
        (folder / name).write_bytes(content)
        if name == "state.json":
            manifest = json.loads(seeds["manifest.json"])
            manifest["files"][name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
            (folder / "manifest.json").write_text(json.dumps(manifest))
        checkpoints = Checkpoints(folder.parent)
        for work in ("newest", "ranked", "best", "interrupted"):
            try:
                getattr(checkpoints, work)(*([print] if work == "newest" else []))
            except RunError as error:
                assert "\n" not in str(error)
        for other, original in seeds.items():
            (folder / other).write_bytes(original)
