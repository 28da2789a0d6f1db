"""A study as its file describes it, checked as a whole before anything runs."""

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adsr_hf.attacks import ThreatModel
from adsr_hf.attacks.registry import named_attacks
from adsr_hf.config import ADSRConfig
from adsr_hf.evaluation.plan import Plan
from adsr_hf.runs.recipe import recipe_from_settings
from adsr_hf.settings.errors import UsageError
from adsr_hf.settings.flags import check_known, parse_flags
from adsr_hf.settings.yaml_files import read_settings
from adsr_hf.study.arguments import KEYS, StudyEvaluation
from adsr_hf.study.cells import Cell
from adsr_hf.study.reading import StudyReader, slug


@dataclass(frozen=True)
class Study:
    """A grid of variants, arms and seeds.

    Attributes:
        command: what makes the study, for who wants to make it again.
        variants: names; one that is "" in a study without any.
        launch: arguments of ``accelerate launch``; None for plain processes.
        cells: all of them, every arm's first seed before any second.
        notes: a line for each setting that an arm does not inherit.
    """

    command: str
    title: str
    plan: str
    arms: tuple[str, ...]
    variants: tuple[str, ...]
    seeds: tuple[int, ...]
    baseline: str | None
    output_dir: Path
    parallel: int
    threads: int | None
    launch: tuple[str, ...] | None
    cells: tuple[Cell, ...]
    notes: tuple[str, ...]


def read_study(
    path: Path, *, output_dir: Path | None = None, parallel: int | None = None, command: str | None = None
) -> Study:
    """Read a study file and check every cell's recipe.

    Args:
        path: the file.
        output_dir, parallel: win over the file.
        command: what makes the study; ``adsr study`` with the file by default.

    Raises:
        UsageError: for an unknown key, a missing recipe, a value that is not allowed, or names that clash.
    """
    content = read_settings(path, kind="study", example="recipes/studies/digits.yaml")
    for key in content:
        check_known(key, KEYS, where=str(path))
    reader = StudyReader(path, content)
    arms = reader.overrides("arms", required=True)
    variants = reader.overrides("variants", required=False) or {"": {}}
    seeds = reader.seeds()
    baseline = reader.text("baseline")
    if baseline is not None and baseline not in arms:
        raise UsageError(f"baseline={baseline!r} in {path} is no arm; choose one of {', '.join(arms)}")
    folder = output_dir or Path(reader.text("output_dir") or f"runs/{path.stem}")
    plan = (reader.text("plan") or "").strip()
    parallel = parallel if parallel is not None else reader.count("parallel")
    cells, notes = _cells(reader, arms, variants, seeds, folder, plan)
    return Study(
        command=f"adsr study {shlex.quote(_from_here(path))}" if command is None else command,
        title=reader.text("title") or path.stem,
        plan=plan,
        arms=tuple(arms),
        variants=tuple(variants),
        seeds=seeds,
        baseline=baseline,
        output_dir=folder,
        parallel=1 if parallel is None else parallel,
        threads=reader.count("threads"),
        launch=reader.words("launch"),
        cells=tuple(cells),
        notes=tuple(notes),
    )


def _from_here(path: Path) -> str:
    """The path as it reads from the working directory, so that what is published names no folder of a machine."""
    absolute, here = path.absolute(), Path.cwd()
    return str(absolute.relative_to(here)) if absolute.is_relative_to(here) else str(path)


def _cells(
    reader: StudyReader,
    arms: Mapping[str, dict[str, Any]],
    variants: Mapping[str, dict[str, Any]],
    seeds: tuple[int, ...],
    folder: Path,
    plan: str,
) -> tuple[list[Cell], list[str]]:
    evaluation = _evaluation(reader)
    described, notes = {}, list[str]()
    for variant, of_variant in variants.items():
        threats = {}
        for arm, of_arm in arms.items():
            where = f"{reader.path}, arm {arm!r}" + (f" of variant {variant!r}" if variant else "")
            settings, not_inherited = reader.cell_settings(where, of_variant, of_arm)
            notes += not_inherited
            config = _checked(settings | {"seed": seeds[0]}, where)
            threats[arm] = evaluation.threat or [str(ThreatModel(config.norm, float(config.epsilon)))]
            described[variant, arm] = settings, _measured_weights(evaluation.weights, config, where), threats[arm]
        _check_same_threats(threats, variant, reader.path)
    cells = [
        Cell(
            variant,
            arm,
            seed,
            folder / slug(variant) / slug(arm) / f"seed{seed}",
            _as_json(settings | {"seed": seed}),
            _as_json(reader.mapping("evaluation") | {"threat": threat}),
            weights,
            plan,
        )
        for seed in seeds
        for (variant, arm), (settings, weights, threat) in described.items()
    ]
    _check_rows(cells[: len(described)], reader.path)
    return cells, notes


def _evaluation(reader: StudyReader) -> StudyEvaluation:
    where = f"evaluation of {reader.path}"
    try:
        (evaluation,) = parse_flags((StudyEvaluation,), reader.mapping("evaluation"), [], where=where)
        Plan(
            [ThreatModel.parse(text) for text in evaluation.threat],
            num_steps=evaluation.attack_steps,
            seed=evaluation.seed,
        )
        # Of a data set with many classes: how few there are is known once it is read.
        named_attacks(evaluation.attacks, num_classes=1000)
    except (ValueError, ImportError) as error:
        raise UsageError(f"{where}: {error}") from error
    checked: StudyEvaluation = evaluation
    return checked


def _checked(settings: dict[str, Any], where: str) -> ADSRConfig:
    try:
        return recipe_from_settings(settings | {"output_dir": "unused"}).config
    except (UsageError, ValueError, TypeError, ImportError) as error:
        raise UsageError(f"{where}: {error}") from error


def _measured_weights(wanted: str, config: ADSRConfig, where: str) -> tuple[str, ...]:
    """What there is to measure: a run that publishes its teacher has no other weights than those."""
    if wanted == "teacher" and not config.keeps_teacher:
        raise UsageError(
            f"{where}: evaluation has weights='teacher', but this arm keeps none; use weights: both, which measures "
            "the teacher where there is one, or publish: teacher"
        )
    if wanted == "both":
        return ("published", "teacher") if config.keeps_teacher and config.publish == "student" else ("published",)
    return ("published",) if config.publish == "teacher" else (wanted,)


def _check_same_threats(threats: Mapping[str, list[str]], variant: str, path: Path) -> None:
    if len(set(map(tuple, threats.values()))) > 1:
        threats_in_words = "; ".join(f"{arm}: {', '.join(threat)}" for arm, threat in threats.items())
        raise UsageError(
            f"the arms of {path}{f', variant {variant!r},' if variant else ''} are trained against different threats "
            f"({threats_in_words}), so they cannot be compared under their own; name one or several in evaluation, "
            "such as threat: [Linf 8/255]"
        )


def _check_rows(cells: Sequence[Cell], path: Path) -> None:
    """Refuse an arm that is called like the row of another one's teacher: a table knows its rows by their names.

    Args:
        cells: one of each arm and variant.
    """
    taken: dict[tuple[str, str], str] = {}
    for cell in cells:
        for name in map(cell.row_name, cell.weights):
            other = taken.setdefault((cell.variant, name), cell.arm)
            if other != cell.arm:
                raise UsageError(
                    f"two rows of the table of {path} would be called {name!r}: one of the arm {other!r}, one of "
                    f"{cell.arm!r}; rename one of these arms"
                )


def _as_json(settings: dict[str, Any]) -> dict[str, Any]:
    """As it will be read back from cell.json, where every key is text."""
    content: dict[str, Any] = json.loads(json.dumps(settings, default=str))
    return content
