"""A study file is checked as a whole: each cell's recipe, every name, every value."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from adsr_hf.settings.errors import UsageError
from adsr_hf.study.description import read_study
from tests.study.files import RECIPE, write_study

# Base recipes may lie beside them.
STUDIES = [
    path
    for path in sorted((Path(__file__).parents[2] / "recipes" / "studies").glob("*.yaml"))
    if "\narms:" in path.read_text(encoding="utf-8")
]


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_every_study_that_is_delivered_can_be_read(path: Path, tmp_path: Path) -> None:
    study = read_study(path, output_dir=tmp_path / "out")
    assert len(study.cells) == len(study.variants) * len(study.arms) * len(study.seeds)
    assert study.plan


@pytest.mark.parametrize(
    ("folder", "command"), [("", "adsr study study.yaml"), ("my photos", "adsr study 'my photos/study.yaml'")]
)
def test_the_command_names_the_file_from_the_working_directory(
    folder: str, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A table is published: it names no folder of the machine that made it."""
    path = write_study(tmp_path / folder)
    monkeypatch.chdir(tmp_path)
    assert read_study(path.absolute()).command == read_study(path.relative_to(tmp_path)).command == command
    assert read_study(path, command="make all").command == "make all"


def test_a_study_elsewhere_is_named_as_the_user_named_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_study(tmp_path / "there")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert read_study(Path("../there/study.yaml")).command == "adsr study ../there/study.yaml"
    assert read_study(path).command == f"adsr study {path}"


def test_cells_are_the_grid_with_every_arm_s_first_seed_first(tmp_path: Path) -> None:
    study = read_study(write_study(tmp_path, variants={"small": {}, "wide": {"image_size": 16}}))
    assert [(cell.seed, cell.variant, cell.arm) for cell in study.cells] == [
        (seed, variant, arm) for seed in (0, 1) for variant in ("small", "wide") for arm in ("AT", "AT + LS")
    ]
    assert study.cells[1].folder == tmp_path / "out" / "small" / "AT-+-LS" / "seed0"
    assert len({cell.folder for cell in study.cells}) == 8


def test_later_layers_win_and_null_takes_a_field_back(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "recipe.yaml").write_text(yaml.safe_dump(RECIPE | {"attack_steps": 7, "weight_decay": 0.3}))
    study = read_study(
        write_study(
            tmp_path / "study",
            settings={"learning_rate": 0.1, "max_steps": 3, "weight_decay": 0.1},
            variants={"v": {"max_steps": 4, "attack_steps": 2}},
            arms={"a": {"attack_steps": 3, "weight_decay": None}, "b": {"recipe": "../other/recipe.yaml"}},
            baseline=None,
            seeds=[5],
        )
    )
    a, b = (cell.settings for cell in study.cells)
    assert (a["learning_rate"], a["max_steps"], a["attack_steps"], a["seed"]) == (0.1, 4, 3, 5)
    assert "weight_decay" not in a
    assert (b["learning_rate"], b["max_steps"], b["attack_steps"], b["weight_decay"]) == (0.1, 4, 2, 0.1)


def test_the_trained_threat_is_measured_where_none_is_named(tmp_path: Path) -> None:
    assert {cell.evaluation["threat"][0] for cell in read_study(write_study(tmp_path)).cells} == {"Linf 0.1"}
    named = read_study(write_study(tmp_path, evaluation={"threat": "L2 0.5"}))
    assert named.cells[0].evaluation["threat"] == ["L2 0.5"]


@pytest.mark.parametrize(
    ("weights", "arm", "expected"),
    [
        ("published", {"method": "adsr"}, ("published",)),
        ("both", {"method": "adsr"}, ("published", "teacher")),
        ("both", {}, ("published",)),
        ("both", {"publish": "teacher"}, ("published",)),
        ("teacher", {"publish": "teacher"}, ("published",)),
        ("teacher", {"method": "adsr"}, ("teacher",)),
    ],
)
def test_only_weights_that_exist_are_measured(
    tmp_path: Path, weights: str, arm: dict[str, Any], expected: tuple[str, ...]
) -> None:
    evaluation = {"weights": weights}
    study = read_study(write_study(tmp_path, arms={"one": arm}, baseline=None, evaluation=evaluation))
    assert study.cells[0].weights == expected


def test_an_arm_may_be_called_like_a_row_that_is_not_there(tmp_path: Path) -> None:
    arms = {"ADSR": {"method": "adsr"}, "ADSR (teacher)": {"method": "adsr", "publish": "teacher"}}
    study = read_study(write_study(tmp_path, arms=arms, baseline=None, evaluation={"weights": "published"}))
    assert [cell.arm for cell in study.cells[:2]] == list(arms)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sedes": [0]}, "unknown key 'sedes'.*did you mean 'seeds'"),
        ({"seeds": None}, r"seeds=None .* must be a list of whole numbers"),
        ({"seeds": [0, 0]}, "different numbers"),
        ({"seeds": [-1]}, "whole numbers from 0 on"),
        ({"seeds": [True]}, "whole numbers from 0 on"),
        ({"arms": None}, "arms=None .* must be a mapping of names to fields"),
        ({"arms": {1: {}}}, "the name 1 of arms.* must be text"),
        ({"arms": {"a": ["method"]}}, r"arms\.a=\['method'\] .* must be a mapping"),
        ({"arms": {"a b": {}, "a-b": {}}, "baseline": None}, "'a b' and 'a-b' .* share a folder"),
        ({"arms": {"a": {}, "A": {}}, "baseline": None}, "'a' and 'A' .* share a folder"),
        ({"baseline": "ADSR"}, "baseline='ADSR' .* is no arm; choose one of AT, AT"),
        ({"recipe": "gone.yaml"}, r"arm 'AT': recipe .*gone\.yaml does not exist"),
        ({"recipe": 3}, "recipe=3 must be a path"),
        ({"arms": {"AT": {}, "b": {"epsilom": 0.1}}}, "arm 'b': unknown key 'epsilom'.*did you mean 'epsilon'"),
        ({"arms": {"AT": {}, "b": {"attack_steps": 0}}}, "arm 'b': attack_steps=0 must be"),
        ({"arms": {"AT": {}, "b": {"attack_steps": "many"}}}, "arm 'b': .*attack_steps"),
        ({"arms": {"AT": {"seed": 3}}}, "arm 'AT': seed does not go into the arm; list it in seeds"),
        ({"settings": {"output_dir": "x"}}, "output_dir does not go into settings"),
        ({"settings": ["x"]}, r"settings=\['x'\] .* must be a mapping"),
        ({"arms": {"AT": {"recipe": "recipe.yaml"}}, "variants": {"v": {"recipe": "recipe.yaml"}}}, "both name"),
        ({"arms": {"AT": {}, "b": {"epsilon": 0.2}}}, "different threats .*AT: Linf 0.1; b: Linf 0.2"),
        ({"evaluation": {"atacks": ["pgd"]}}, "unknown key 'atacks' in evaluation.*did you mean 'attacks'"),
        ({"evaluation": {"attacks": ["pdg"]}}, "evaluation.*pdg"),
        ({"evaluation": {"threat": ["Linf 0"]}}, "radius 0"),
        ({"evaluation": {"output_dir": "x"}}, "output_dir='x' does not go into a study's evaluation"),
        ({"evaluation": {"max_eval_images": 0}}, "max_eval_images=0 must be at least 1"),
        ({"evaluation": {"weights": "teacher"}}, "arm 'AT': .*keeps none"),
        (
            {
                "arms": {"AT": {}, "ADSR": {"method": "adsr"}, "ADSR (teacher)": {}},
                "evaluation": {"weights": "both"},
            },
            r"two rows .*'ADSR \(teacher\)'.*rename",
        ),
        ({"parallel": 0}, "parallel=0 .* must be a whole number"),
        ({"threads": 1.5}, r"threads=1\.5 .* must be a whole number"),
        ({"launch": "--cpu"}, "launch='--cpu' .* must be a list of words"),
        ({"title": 3}, "title=3 .* must be text"),
    ],
)
def test_a_wrong_study_is_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read_study(write_study(tmp_path, **changes))


def test_an_arm_that_is_given_twice_is_refused(tmp_path: Path) -> None:
    path = write_study(tmp_path)
    path.write_text(path.read_text().replace("AT + LS:", "AT:"))
    with pytest.raises(UsageError, match="key 'AT' is given twice"):
        read_study(path)
