"""A model that is not there is named first."""

from pathlib import Path

import pytest

from adsr_hf.cli.main import main
from adsr_hf.evaluation.places import refuse_missing_model


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where ``runs/adsr`` is a saved model, as far as one can see, and ``runs/stopped`` an unfinished run."""
    (tmp_path / "runs" / "adsr").mkdir(parents=True)
    (tmp_path / "runs" / "adsr" / "config.json").write_text("{}")
    for step in (20, 100):
        (tmp_path / "runs" / "stopped" / f"checkpoint-{step}").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("runs/adsrr", "runs/adsrr does not exist; did you mean runs/adsr?"),
        ("runs/typo", "runs/typo does not exist"),
        ("nowhere/at/all", "nowhere/at/all does not exist"),
        ("./typo", "./typo does not exist"),
        ("/nowhere", "/nowhere does not exist"),
        ("runs/adsr/config.json", "is a file; name the folder"),
        (
            "runs/stopped",
            "runs/stopped holds no config.json, so there is no saved model in it; its newest",
        ),
        ("runs", "runs holds no config.json"),
    ],
)
@pytest.mark.parametrize("flags", [[], ["--dataset", "nowhere", "--threat", "Linf 0.1"]])
def test_a_missing_model_is_named_before_anything_else(
    here: Path, capsys: pytest.CaptureFixture[str], name: str, message: str, flags: list[str]
) -> None:
    assert main(["evaluate", name, *flags]) == 1
    error = capsys.readouterr().err
    assert error.startswith("adsr: error: ")
    assert message in error
    assert "dataset" not in error
    assert "Errno" not in error


@pytest.mark.parametrize("name", ["adsr", "someone/model"])
def test_a_name_that_may_be_on_the_hub_is_looked_for_there(
    here: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def answer(name: str, file: str) -> str:
        asked.append((name, file))
        if len(asked) > 1:
            raise OSError("there is none\nmore")
        return file

    monkeypatch.setattr("adsr_hf.evaluation.places.cached_file", answer)
    refuse_missing_model(name)
    with pytest.raises(ValueError, match=f"{name} is no folder here, and the Hub gives no such model: there is none$"):
        refuse_missing_model(name)
    assert asked == [(name, "config.json")] * 2


def test_a_threat_that_no_run_names_is_asked_for(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "runs/adsr", "--dataset", "nowhere"]) == 1
    assert "--threat 'Linf 8/255'" in capsys.readouterr().err


def test_a_saved_model_is_taken(here: Path) -> None:
    refuse_missing_model("runs/adsr")
    refuse_missing_model(str(here / "runs" / "adsr"))
