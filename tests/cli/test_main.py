"""The command line as a user meets it: help without waiting, errors with a status, a run from recipe to figures."""

import json
import re
import shutil
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
from PIL import Image
from transformers import TrainingArguments

from adsr_hf import ADSRConfig
from adsr_hf.cli.main import main
from adsr_hf.settings.data import DataArguments
from adsr_hf.settings.evaluation import EvaluateArguments
from adsr_hf.settings.model import ModelArguments
from adsr_hf.study.arguments import StudyEvaluation

ROOT = Path(__file__).parents[2]
DIGITS = str(ROOT / "recipes" / "digits" / "vit_adsr.yaml")


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["train", "--help"], ["evaluate", "--help"]])
def test_help_imports_nothing_heavy(words: list[str]) -> None:
    code = (
        "import sys; from adsr_hf.cli.main import main; status = main(sys.argv[1:]); "
        "heavy = {'torch', 'transformers', 'datasets', 'numpy'} & set(sys.modules); "
        "assert not heavy, heavy; sys.exit(status)"
    )
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_import_of_the_package_is_lazy() -> None:
    code = "import sys, adsr_hf; assert 'torch' not in sys.modules; adsr_hf.ADSRConfig; assert 'torch' in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], timeout=120).returncode == 0


def names(*kinds: type) -> set[str]:
    return {field.name for kind in kinds for field in fields(kind)}


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("train", names(ADSRConfig, DataArguments, ModelArguments) - names(TrainingArguments)),
        ("evaluate", names(EvaluateArguments, DataArguments)),
        ("study", names(StudyEvaluation)),
    ],
)
def test_help_names_every_setting_once_and_no_other(
    command: str, expected: set[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, "--help"]) == 0
    found = re.findall(r"^  (\w+) \(default: ", capsys.readouterr().out, flags=re.MULTILINE)
    assert sorted(found) == sorted(expected)


def test_help_all_names_every_setting_that_a_recipe_takes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--help-all"]) == 0
    found = set(re.findall(r"--(\w+)", capsys.readouterr().out))
    assert names(ADSRConfig, DataArguments, ModelArguments) <= found


def test_python_dash_m_is_the_command() -> None:
    done = subprocess.run([sys.executable, "-m", "adsr_hf", "--help"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert done.stdout.startswith("usage: adsr COMMAND")


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        ([], 2, ""),
        (["trian"], 2, "unknown command 'trian'; choose one of init, threat, train"),
        (["train"], 2, "needs a recipe"),
        (["train", "none.yaml"], 2, "recipe none.yaml does not exist"),
        (["train", DIGITS, "--epsilom", "1"], 2, "did you mean 'epsilon'"),
        (["train", DIGITS, "--epsilon", "8"], 1, "write 8/255"),
        (["train", DIGITS, "--epsilon", "-0.1"], 1, "epsilon=-0.1 must be"),
        (["train", DIGITS, "--epsilon", "0"], 1, "nothing to attack"),
        (["train", DIGITS, "--epsilon", "0.5"], 1, "stay below 0.5 for Linf"),
        (["train", DIGITS, "--max_grad_norm", "nan"], 1, "max_grad_norm=nan must be a finite number"),
        (["train", DIGITS, "--num_train_epochs", "nan"], 1, "num_train_epochs=nan must be a finite number"),
        (["train", DIGITS, "--per_device_train_batch_size", "0"], 1, "per_device_train_batch_size=0 must be"),
        (["train", DIGITS, "--validation_fraction", "nan"], 1, "validation_fraction=nan must be"),
        (["train", DIGITS, "--norm", "L1"], 2, "invalid choice: 'L1'"),
        (["train", DIGITS, "--attack_steps", "0"], 1, "attack_steps=0 must be"),
        (["train", DIGITS, "--temperature_end", "0"], 1, "temperature_end=0"),
        (["train", DIGITS, "--interpolation_end", "1.2"], 1, "interpolation_end=1.2 must lie in [0, 1]"),
        (["train", DIGITS, "--teacher_decay", "1"], 1, "teacher_decay=1"),
        (["train", DIGITS, "--fp16", "true"], 1, "use bf16"),
        (["train", DIGITS, "--dataset", "no-such-folder"], 1, "no-such-folder"),
        (["train", DIGITS, "--model", "x"], 1, "give exactly one"),
        (["train", DIGITS, "--model_config", "{"], 1, "not valid JSON"),
        (["train", DIGITS, "--model_config", '{"hiden_size": 8}'], 1, "does not know: hiden_size"),
        (["train", DIGITS, "--model_type", "vitt"], 1, "model_type='vitt'"),
        (["train", DIGITS, "--resume_from_checkpoint", "true"], 1, "holds no finished checkpoint"),
        (["evaluate", "--threat", "Linf 8/255"], 2, "needs a checkpoint first"),
        (["evaluate", "no-such-folder", "--dataset", "digits"], 1, "no-such-folder is no folder here"),
        (["demo", "--workers", "0"], 2, "--workers=0"),
        (["demo", "--wrkers", "1"], 2, "--wrkers"),
    ],
)
def test_mistakes_get_a_message_and_a_status(
    words: list[str], status: int, message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    if words[:1] == ["train"] and len(words) > 2:
        words = [*words, "--output_dir", str(tmp_path)]
    assert main(words) == status
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of plain colour in a folder, trained for a few steps through the command line."""
    data = tmp_path_factory.mktemp("data")
    for split, count in (("train", 20), ("test", 6)):
        for name, color in (("dark", 40), ("bright", 210)):
            folder = data / split / name
            folder.mkdir(parents=True)
            for index in range(count):
                Image.new("RGB", (16, 16), (color, color + index % 7, color)).save(folder / f"{index:02}.png")
    run = tmp_path_factory.mktemp("runs") / "run"
    recipe = data / "recipe.yaml"
    recipe.write_text(
        f"method: adsr\nepsilon: 8/255\nattack_steps: 2\neval_attack_steps: 2\ndataset: {data}\n"
        "model_type: vit\nimage_size: 16\n"
        "model_config: {patch_size: 8, hidden_size: 16, num_hidden_layers: 1, num_attention_heads: 2, "
        "intermediate_size: 16}\n"
        "num_train_epochs: 3\nper_device_train_batch_size: 12\nsave_strategy: epoch\neval_strategy: epoch\n"
        "load_best_model_at_end: true\nreport_to: none\ndisable_tqdm: true\nlearning_rate: 0.01\n"
    )
    assert main(["train", str(recipe), "--output_dir", str(run)]) == 0
    return run


def test_a_run_leaves_an_ordinary_checkpoint_and_its_record(finished_run: Path) -> None:
    record = json.loads((finished_run / "run.json").read_text())
    assert record["images"] == {"train": 36, "validation": 4, "test": 12}
    drop = record["robust_overfitting"]["student"]
    assert drop["gap"] == pytest.approx(drop["best"] - drop["last"])
    config = json.loads((finished_run / "config.json").read_text())
    assert config["id2label"] == {"0": "bright", "1": "dark"}


def test_a_used_folder_is_refused_and_left_as_it_is(finished_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished_run.rglob("*")}
    assert main(["train", str(finished_run.parent / "r.yaml")]) == 2
    assert main(["train", DIGITS, "--output_dir", str(finished_run)]) == 1
    assert "holds another run" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in finished_run.rglob("*")} == before


@pytest.mark.parametrize("resume", ["false", "true"])
@pytest.mark.parametrize("record", ["", "{", "{}", "[]"])
def test_a_damaged_record_in_the_folder_is_a_used_folder(
    record: str, resume: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run.json").write_text(record)
    words = ["train", DIGITS, "--output_dir", str(tmp_path), "--resume_from_checkpoint", resume]
    assert main(words) == 1
    assert "results (run.json) and nothing to continue; choose another output_dir" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


def test_evaluate_takes_data_and_threat_from_the_run(finished_run: Path, tmp_path: Path) -> None:
    words = ["evaluate", str(finished_run), "--attack_steps", "3", "--output_dir"]
    assert main([*words, str(tmp_path / "a"), "--batch_size", "5"]) == 0
    assert main([*words, str(tmp_path / "b"), "--batch_size", "12"]) == 0
    first, second = (json.loads((tmp_path / name / "summary.json").read_text()) for name in "ab")
    assert first["data"]["images"] == 12
    assert first["threats"] == ["Linf 8/255"]
    assert first["figures"] == second["figures"]
    assert (tmp_path / "a" / "records.parquet").is_file()


@pytest.mark.parametrize(
    ("layout", "flags", "note"),
    [
        ({"Dark": 40, "BRIGHT": 210}, [], "test: the split 'train'"),
        ({"test/Dark": 40, "test/bright ": 210}, [], ""),
        (
            {"new/dark": 40, "new/bright": 210, "more/dark": 3},
            ["--test_split", "new"],
            "test: the split 'new'",
        ),
        ({"dark": 40}, [], "no image of 1 of the model's 2 classes: 'bright'"),
    ],
)
def test_evaluate_takes_any_labelled_photos(
    finished_run: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    layout: dict[str, int],
    flags: list[str],
    note: str,
) -> None:
    """Classes are the model's by name, whatever their order is; nothing of the run's own splits is asked for."""
    for place, color in layout.items():
        folder = tmp_path / "photos" / place
        folder.mkdir(parents=True)
        for index in range(5):
            Image.new("RGB", (16, 16), (color, color + index, color)).save(folder / f"{index}.png")
    words = [
        "evaluate",
        str(finished_run),
        "--dataset",
        str(tmp_path / "photos"),
        "--output_dir",
        str(tmp_path / "out"),
    ]
    assert main([*words, "--attack_steps", "2", "--stability", "false", *flags]) == 0
    assert note in capsys.readouterr().out
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    measured = [place for place in layout if not place.startswith("more")]
    assert summary["data"]["images"] == 5 * len(measured)
    assert summary["figures"]["accuracy"]["value"] == 1.0
    assert summary["data"]["class_names"] == ["bright", "dark"]


def test_evaluate_of_images_that_were_trained_on_needs_to_be_asked_for(
    finished_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = json.loads((finished_run / "run.json").read_text())
    moved = tmp_path / "run"
    shutil.copytree(finished_run, moved)
    record["data"]["dataset"] = str(Path(record["data"]["dataset"]) / "train")
    (moved / "run.json").write_text(json.dumps(record))
    assert main(["evaluate", str(moved)]) == 1
    assert "the model was trained on the others: train" in capsys.readouterr().err
    words = ["evaluate", str(moved), "--test_split", "train", "--attack_steps", "2", "--stability", "false"]
    assert main([*words, "--output_dir", str(tmp_path / "out")]) == 0
    assert "the model was trained on these images" in capsys.readouterr().out


def test_evaluate_refuses_other_classes_and_cut_weights(
    finished_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(finished_run), "--dataset", "digits"]) == 1
    assert "which the model does not know; its classes are 'bright', 'dark'" in capsys.readouterr().err
    cut = tmp_path / "cut"
    cut.mkdir()
    for name in ("config.json", "preprocessor_config.json", "run.json", "model.safetensors"):
        content = (finished_run / name).read_bytes()
        (cut / name).write_bytes(content[: len(content) // 2] if name.endswith("safetensors") else content)
    assert main(["evaluate", str(cut)]) == 1
    assert "cannot be loaded as an image classifier" in capsys.readouterr().err
