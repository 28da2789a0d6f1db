"""What of a run's settings a model card tells."""

import json

from adsr_hf.attacks import AutoPGD
from adsr_hf.config import ADSRConfig
from adsr_hf.publishing.card_facts import EvaluationAttack

_OBJECTIVES_IN_WORDS = {
    "clean": "It was trained on clean images, without any attack",
    "pgd_at": "It was trained on attacked images (PGD adversarial training: Madry et al. 2018, arXiv 1706.06083)",
    "trades": "It was trained on clean and attacked images together (TRADES: Zhang et al. 2019, arXiv 1901.08573)",
    "mart": "It was trained on clean and attacked images together (MART: Wang et al., ICLR 2020)",
    "ikl": "It was trained on clean and attacked images together (IKL-AT: Cui et al., NeurIPS 2024, arXiv 2305.13948)",
}
_WEIGHTS = {
    "trades": ("trades_beta",),
    "mart": ("mart_beta",),
    "ikl": ("ikl_alpha", "ikl_beta", "ikl_temperature"),
}
_LABELS_IN_WORDS = {
    "onehot": "",
    "label_smoothing": ", against smoothed labels",
    "adsr": ", against labels that its own moving average rectifies (ADR: Wu, Wang & Chen, ICLR 2024, arXiv "
    "2305.12118)",
}


def method_in_words(config: ADSRConfig) -> str:
    """One sentence: the objective, and where the labels came from."""
    labels = _LABELS_IN_WORDS[config.settled_labels]
    if config.fixed_teacher is not None:
        labels = ", against labels that another, fixed model rectifies (Wu, Wang & Chen, ICLR 2024, arXiv 2305.12118)"
    return f"{_OBJECTIVES_IN_WORDS[config.settled_objective]}{labels}."


def evaluation_attack(config: ADSRConfig) -> EvaluationAttack | None:
    """The attack behind the robust figures; None where robustness is not measured."""
    if config.eval_attack_steps == 0:
        return None
    attack = config.evaluation_attack
    return EvaluationAttack(str(attack.threat), attack.num_steps, attack.restarts, attack.resolved_step_size)


def recipe_settings(config: ADSRConfig, *, total_steps: int) -> dict[str, str]:
    """The settings that act in this run, name to value, without paths, names of machines or secrets."""
    settings = {"objective": config.settled_objective, "labels": config.settled_labels}
    settings |= {name: f"{getattr(config, name):g}" for name in _WEIGHTS.get(config.settled_objective, ())}
    settings |= _attack_settings(config) if config.attacks else {}
    if config.rectifies:
        for name in ("temperature", "interpolation"):
            start, end = getattr(config, f"{name}_start"), getattr(config, f"{name}_end")
            settings[name] = f"{start:g} → {end:g}, half cosine over the run"
        if config.labels_follow == "teacher":
            settings["labels_follow"] = "teacher: both bounded by how good it is on the images of the run"
    if config.keeps_teacher:
        settings |= _memory(config)
    if config.settled_labels == "label_smoothing":
        settings["label_smoothing_factor"] = f"{config.label_smoothing_factor:g}"
    settings |= _regularization_settings(config)
    if config.calibrate != "none":
        settings["calibrate"] = config.calibrate
    batch = config.train_batch_size * config.gradient_accumulation_steps * config.world_size
    return settings | {
        "optimizer": f"{getattr(config.optim, 'value', config.optim)}, weight decay {config.weight_decay}",
        "learning rate": f"{config.learning_rate}, {getattr(config.lr_scheduler_type, 'value', 'custom')} schedule, "
        f"warm-up {config.warmup_steps}{_drops(config)}",
        "max_grad_norm": f"{config.max_grad_norm}",
        "length": f"{total_steps:,} optimizer steps of {batch} images",
        "precision": "bf16" if config.bf16 else "fp16" if config.fp16 else "float32",
        "seed": str(config.seed),
    }


def _attack_settings(config: ADSRConfig) -> dict[str, str]:
    attack = config.attack_at(epoch=float("inf"))
    kind = "APGD" if isinstance(attack, AutoPGD) else "PGD"
    step = "" if isinstance(attack, AutoPGD) else f" step {attack.resolved_step_size:.4g},"
    restarts = f" {attack.restarts} restarts," if attack.restarts > 1 else ""
    settings = {
        "threat model in training": str(config.threat),
        "attack in training": f"{kind}-{attack.num_steps},{step}{restarts} "
        f"{'random' if attack.random_start else 'no random'} start, model in {config.attack_mode} mode, "
        f"{config.attack_precision}",
        **_radius_schedule(config),
    }
    if config.attack_schedule:
        settings["attack_schedule"] = json.dumps(config.attack_schedule)
    if config.collapse_guard != "off":
        settings["collapse_guard"] = config.collapse_guard
    return settings


def _radius_schedule(config: ADSRConfig) -> dict[str, str]:
    if not config.has_hinge:
        return {"epsilon_ramp_epochs": f"{config.epsilon_ramp_epochs:g} ({config.epsilon_ramp})"}
    shares = f"0 for {config.epsilon_zero_share:.0%} of it, rising over {config.epsilon_ramp_share:.0%}"
    return {"radius along the run": f"{shares} ({config.epsilon_ramp})"}


def _memory(config: ADSRConfig) -> dict[str, str]:
    warm = ", warmed up" if config.teacher_decay_warmup else ""
    if config.teacher_memory is None:
        return {"teacher_decay": f"{config.teacher_decay:g}{warm}"}
    return {"teacher_memory": f"{config.teacher_memory:g} of the run{warm}"}


def _drops(config: ADSRConfig) -> str:
    shares = ", ".join(f"{share:.0%}" for share in config.learning_rate_drops or ())
    return f", divided by 10 at {shares} of the run" if shares else ""


def _regularization_settings(config: ADSRConfig) -> dict[str, str]:
    settings = {}
    if config.weight_perturbation != "none":
        settings["weight_perturbation"] = (
            f"{config.weight_perturbation}, radius {config.weight_perturbation_radius:g}, after "
            f"{config.weight_perturbation_warmup_epochs:g} epochs"
        )
    return settings | {name: f"{getattr(config, name):g}" for name in ("mixup", "cutmix") if getattr(config, name)}
