"""The sides of a comparison: one or several runs each, and whether they can be compared at all."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from statistics import median
from typing import Any

from adsr_hf.evaluation.model_files import ModelFilesError, model_files
from adsr_hf.evaluation.reading import read_evaluation
from adsr_hf.evaluation.records import EvaluationRecords
from adsr_hf.records.run_record import find_run_record, published_weights, read_run_record
from adsr_hf.records.sentences import Sentence, sentence, worded
from adsr_hf.settings.errors import RecordsError


@dataclass(frozen=True)
class Member:
    """One evaluated run of an arm, usually one seed.

    Attributes:
        folder: as it was named.
        records: of its evaluation.
        run: run.json beside it, where it was trained by us.
        checkpoint: folder of the model's files, where there is one.
    """

    folder: Path
    records: EvaluationRecords
    run: dict[str, Any] | None
    checkpoint: Path | None

    @property
    def overfitting(self) -> dict[str, float] | None:
        """Best and last robust validation accuracy of the weights that the records are of, and the gap between them.

        None where the run did not measure those weights while training, or left no run.json.
        """
        if self.run is None:
            return None
        weights = self.records.summary["model"]["weights"] or published_weights(self.run)
        found: dict[str, float] | None = (self.run.get("robust_overfitting") or {}).get(weights)
        return found

    @property
    def why_not_shippable(self) -> str | None:
        """Why the weights that were measured cannot be shipped; None where they can."""
        model = self.records.summary["model"]
        if not model["published"]:
            return (
                f"{self.folder} measured the teacher that is kept beside the model, which no model.safetensors holds; "
                "train with publish: teacher and evaluate that checkpoint, so that there is a model to ship and to "
                "return to"
            )
        if not model.get("files"):
            return (
                f"the records in {self.folder} do not say which files were measured, so that any weights could be "
                "shipped in their name; measure a saved checkpoint with adsr evaluate"
            )
        return None

    @property
    def images_per_second(self) -> float | None:
        """Training speed: the median over the log lines, whose clock stands still during evaluations.

        Trainer's own ``train_samples_per_second`` counts the images of the whole run but the seconds of its last part
        where a run was continued. None where the run left no run.json.
        """
        history = (self.run or {}).get("log_history", [])
        logged = [entry["images_per_second"] for entry in history if "images_per_second" in entry]
        return float(median(logged)) if logged else None


class DifferentConditionsError(RecordsError):
    """Two evaluations that did not measure the same, and so cannot be compared; ``reason`` says what differs."""

    def __init__(self, reason: Sentence) -> None:
        super().__init__(worded(reason))
        self.reason = reason


@dataclass(frozen=True)
class Arm:
    """Runs that differ in nothing but their seed."""

    name: str
    members: tuple[Member, ...]


def read_arm(paths: Sequence[str]) -> Arm:
    """Read evaluation folders, or run folders that hold one.

    Raises:
        RecordsError: when records are missing or damaged, a model changed since it was measured, a model is there
            twice, or the members do not measure the same.
    """
    places = [Path(path).resolve() for path in paths]
    for path, place in zip(paths, places, strict=True):
        if not path or not place.is_dir():
            raise RecordsError(f"there is no folder {path!r}; name one that adsr evaluate or adsr train wrote")
        if places.count(place) > 1:
            raise RecordsError(f"{path} is named twice in one arm; a run counts as one seed")
    members = tuple(_member(Path(path)) for path in paths)
    for latter in members[1:]:
        check_same_conditions(members[0], latter)
    for former, latter in combinations(members, 2):
        _check_another_run(former, latter)
    return Arm(", ".join(paths), members)


def check_same_conditions(first: Member, second: Member) -> None:
    """Refuse to compare what was measured under different conditions.

    Raises:
        DifferentConditionsError: naming what differs, and both values.
    """
    former, latter = first.records.summary, second.records.summary
    conditions = [
        ("class names", former["model"]["class_names"], latter["model"]["class_names"]),
        ("split", former["data"]["split"], latter["data"]["split"]),
        ("number of images", former["data"]["images"], latter["data"]["images"]),
        ("test images (fingerprint)", former["data"]["fingerprint"][:16], latter["data"]["fingerprint"][:16]),
        ("threats", former["threats"], latter["threats"]),
        ("attacks", _attacks(first), _attacks(second)),
    ]
    # These are compared where both have them.
    noises = _noises(first), _noises(second)
    if all(noises):
        conditions.append(("kinds of noise", *noises))
        conditions.append(("severities of noise", former.get("noise_severities"), latter.get("noise_severities")))
    positives = former.get("positive_class"), latter.get("positive_class")
    if None not in positives:
        conditions.append(("positive class", *positives))
    for name, wanted, given in conditions:
        if wanted != given:
            names = {"first": str(first.folder), "second": str(second.folder), "condition": name}
            reason = sentence("not_compared.other_conditions", **names, wanted=str(wanted), given=str(given))
            raise DifferentConditionsError(reason)


def _check_another_run(former: Member, latter: Member) -> None:
    """Refuse as two runs of an arm what would make its scatter between seeds meaningless."""
    first, second = former.records.summary["model"], latter.records.summary["model"]
    if first["fingerprint"] == second["fingerprint"]:
        raise RecordsError(
            f"{former.folder} and {latter.folder} measured the same weights (fingerprint "
            f"{first['fingerprint'][:16]}), so that they are not two runs; a run counts as one seed: name it once"
        )
    if first["weights"] != second["weights"]:
        raise RecordsError(
            f"{former.folder} measured the weights of the {first['weights'] or 'unknown network'} and {latter.folder} "
            f"those of the {second['weights'] or 'unknown network'}; runs of one arm differ in nothing but their "
            "seed: name one evaluation of each"
        )


def _member(folder: Path) -> Member:
    records = read_evaluation(folder)
    run = find_run_record(folder, folder.parent)
    return Member(folder, records, None if run is None else read_run_record(run), _checkpoint(folder, records))


def _checkpoint(folder: Path, records: EvaluationRecords) -> Path | None:
    """The folder that holds the very model that was measured; None where there is no model's folder at all."""
    source = Path(records.summary["model"]["source"])
    places = [place for place in (folder, folder.parent, source) if (place / "config.json").is_file()]
    measured = records.summary["model"].get("files")
    if not measured or not places:
        return places[0] if places else None
    reasons = []
    for place in places:
        try:
            if model_files(place) == measured:
                return place
            reasons.append(f"the model in {place} is not the one that was measured: its files have changed since")
        except ModelFilesError as error:
            reasons.append(f"the model in {place} cannot be the one that was measured: {error}")
    raise RecordsError(f"{reasons[0]}; evaluate again")


def _attacks(member: Member) -> list[dict[str, Any]]:
    """Without their notes, which say in words what the settings say, and which earlier versions recorded otherwise."""
    attacks = member.records.summary["attacks"]
    return [{key: value for key, value in attack.items() if key != "note"} for attack in attacks]


def _noises(member: Member) -> list[str]:
    names = member.records.table.column_names
    return [name for name in names if name.startswith("noise.") and name.endswith(".prediction")]
