"""How to get the same again: recipe, commands, versions, fingerprints, seeds."""

import shlex
from dataclasses import fields
from typing import Any

import yaml

from adsr_hf.decision.arms import Member
from adsr_hf.report.markup import Html, element, table
from adsr_hf.report.report_data import ReportData
from adsr_hf.report.wording import missing
from adsr_hf.settings.calibration import CalibrationArguments
from adsr_hf.settings.data import DataArguments
from adsr_hf.settings.fine_tuning import FineTuningArguments
from adsr_hf.settings.method import MethodArguments
from adsr_hf.settings.model import ModelArguments

_ALWAYS = ("method", "norm", "epsilon", "attack_steps")

# Of transformers.TrainingArguments: what changes the weights.
_TRAINING = (
    "num_train_epochs",
    "max_steps",
    "per_device_train_batch_size",
    "per_device_eval_batch_size",
    "gradient_accumulation_steps",
    "learning_rate",
    "weight_decay",
    "warmup_steps",
    "lr_scheduler_type",
    "lr_scheduler_kwargs",
    "optim",
    "optim_args",
    "max_grad_norm",
    "label_smoothing_factor",
    "bf16",
    "fp16",
    "seed",
    "data_seed",
    "eval_strategy",
    "eval_steps",
    "load_best_model_at_end",
    "metric_for_best_model",
)


def reproduction(data: ReportData) -> Html:
    """For each run the recipe and the commands, then one table of versions and fingerprints."""
    texts = data.texts
    parts = [element("h2", texts("reproduction.title")), element("p", texts("reproduction.intro"))]
    for _, name, member in data.members:
        if len(data.members) > 1:
            parts.append(element("h3", name))
        if member.run is None:
            parts.append(missing(texts("trained.no_record", name=name)))
        else:
            parts.append(element("p", texts("reproduction.recipe")))
            parts.append(element("pre", recipe_text(member.run)))
        commands = [] if member.run is None else ["adsr train recipe.yaml"]
        parts.append(element("pre", "\n".join([*commands, evaluate_command(member)])))
    rows = _facts(data)
    head = ["", *(name for _, name, _ in data.members)]
    parts.append(element("div", table(head, rows, label=texts("reproduction.title")), css="codes"))
    return element("section", *parts)


def recipe_text(run: dict[str, Any]) -> str:
    """The run as a recipe that ``adsr train`` reads: what differs from the defaults, and all that shapes training."""
    settings = _chosen(MethodArguments, run["config"])
    settings |= _chosen(FineTuningArguments, run["config"]) | _chosen(CalibrationArguments, run["config"])
    settings |= {name: run["config"][name] for name in _TRAINING if run["config"].get(name) is not None}
    settings |= _chosen(DataArguments, run["data"]) | _chosen(ModelArguments, run["model"])
    return yaml.safe_dump(settings, sort_keys=False, allow_unicode=True).rstrip()


def _chosen(kind: type, recorded: dict[str, Any]) -> dict[str, Any]:
    """The recorded fields of a class of arguments that are not at their defaults, or that lead a recipe."""
    known = {item.name: item.default for item in fields(kind)}
    return {
        name: recorded[name]
        for name, default in known.items()
        if recorded.get(name) is not None and (name in _ALWAYS or recorded[name] != default)
    }


def evaluate_command(member: Member) -> str:
    """The command that measured a run, as one line."""
    summary = member.records.summary
    words = ["adsr", "evaluate", summary["model"]["source"]]
    if summary["threats"]:
        words += ["--threat", *summary["threats"], "--attacks", *member.records.attacks]
    pgd: dict[str, Any] = next((attack for attack in summary["attacks"] if attack["name"] in ("pgd", "margin")), {})
    square: dict[str, Any] = next((attack for attack in summary["attacks"] if attack["name"] == "square"), {})
    settings = {
        "attack_steps": pgd.get("num_steps"),
        "attack_restarts": pgd.get("restarts"),
        "square_queries": square.get("queries"),
        "split": summary["data"]["split"],
        "weights": "published" if summary["model"]["published"] else "teacher",
        "stability": "true" if "noise/accuracy" in summary["figures"] else None,
        "sanity": "true" if summary["sanity"] else None,
        "seed": summary["seed"],
        "dataset": summary["data"]["source"],
        "max_eval_images": summary["data"].get("drawn"),
    }
    words += [word for name, value in settings.items() if value is not None for word in (f"--{name}", str(value))]
    return shlex.join(words)


def _facts(data: ReportData) -> list[list[str]]:
    texts = data.texts
    summaries = [member.records.summary for _, _, member in data.members]
    runs = [member.run or {} for _, _, member in data.members]
    rows = [
        [texts("reproduction.model"), *(summary["model"]["fingerprint"] for summary in summaries)],
        [texts("reproduction.data"), *(summary["data"]["fingerprint"] for summary in summaries)],
        [
            texts("reproduction.training_seed"),
            *(str(run.get("config", {}).get("seed", texts("missing.record"))) for run in runs),
        ],
        [texts("reproduction.seed"), *(str(summary["seed"]) for summary in summaries)],
        [texts("reproduction.training_versions"), *(_versions(run.get("versions"), data) for run in runs)],
        [texts("reproduction.versions"), *(_versions(summary["versions"], data) for summary in summaries)],
    ]
    return [[row[0], *(element("code", cell) for cell in row[1:])] for row in rows]


def _versions(versions: dict[str, str] | None, data: ReportData) -> str:
    if not versions:
        return data.texts("missing.record")
    return ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))
