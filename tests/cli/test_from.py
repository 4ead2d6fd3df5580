"""The option `--from` with runs and with folders of other libraries."""

import json

import pytest

from tformer_cli.cli.start import Start
from tformer_cli.errors import RunError


@pytest.mark.parametrize("content", [{"model_type": "bert"}, {"architecture": "vit_tiny_patch16_224"}, {}])
def test_a_folder_of_another_library_is_named_with_its_prefix(content, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(content))
    with pytest.raises(
        RunError, match=rf"not a run, but a model in the format of another library: --from hf:{tmp_path}$"
    ):
        Start.find(str(tmp_path))
    start = Start.find(f"hf:{tmp_path}")
    assert (start.folder, start.foreign) == (tmp_path, True)


@pytest.mark.parametrize("name", ["config.yaml", "checkpoints", "manifest.json"])
def test_a_run_with_a_stray_file_is_a_run(name, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / name).mkdir()
    assert not Start.find(str(tmp_path)).foreign


def test_no_folder_is_said(tmp_path):
    with pytest.raises(RunError, match="no such run folder"):
        Start.find(str(tmp_path / "nothing"))


def test_the_hub_is_asked_aloud_and_its_retries_stay_silent(monkeypatch, capsys, caplog):
    import logging

    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    def offline(*_, **__):
        logging.getLogger("huggingface_hub.utils").warning("Retrying in 1s [Retry 1/5].")
        raise LocalEntryNotFoundError("no network")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    with pytest.raises(RunError, match="neither a folder nor an accessible model of the hub"):
        Start.find("hf:owner/absent")
    assert capsys.readouterr().err == "owner/absent is not a folder here: looking for it on the Hugging Face hub\n"
    assert "Retrying" not in caplog.text
    logging.getLogger("huggingface_hub.utils").warning("later")
    assert "later" in caplog.text
