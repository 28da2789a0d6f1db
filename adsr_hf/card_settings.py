"""What of a run's settings a model card tells."""

from adsr_hf.card_facts import EvaluationAttack
from adsr_hf.config import ADSRConfig

METHODS_IN_WORDS = {
    "clean": "It was trained on clean images, without any attack.",
    "pgd_at": "It was trained on attacked images (PGD adversarial training: Madry et al. 2018, arXiv 1706.06083).",
    "adsr": "It was trained on attacked images, against labels that its own moving average rectifies (ADR: Wu, Wang & "
    "Chen, ICLR 2024, arXiv 2305.12118).",
}


def evaluation_attack(config: ADSRConfig) -> EvaluationAttack | None:
    """The attack behind the robust figures; None where robustness is not measured."""
    if config.eval_attack_steps == 0:
        return None
    attack = config.evaluation_attack
    return EvaluationAttack(str(attack.threat), attack.num_steps, attack.restarts, attack.resolved_step_size)


def recipe_settings(config: ADSRConfig, *, total_steps: int) -> dict[str, str]:
    """The settings that act in this run, name to value, without paths, names of machines or secrets."""
    settings: dict[str, str] = {"method": config.method}
    if config.attacks:
        attack = config.training_attack()
        settings["threat model in training"] = str(config.threat)
        settings["attack in training"] = (
            f"PGD-{attack.num_steps}, step {attack.resolved_step_size:.4g}, "
            f"{'random' if attack.random_start else 'no random'} start, model in {config.attack_mode} mode, "
            f"{config.attack_precision}"
        )
        settings["epsilon_ramp_epochs"] = f"{config.epsilon_ramp_epochs:g}"
    if config.method == "adsr":
        for name in ("temperature", "interpolation"):
            start, end = getattr(config, f"{name}_start"), getattr(config, f"{name}_end")
            settings[name] = f"{start:g} → {end:g}, half cosine over the run"
    if config.keeps_teacher:
        settings["teacher_decay"] = f"{config.teacher_decay:g}"
    if config.method != "adsr":
        settings["label_smoothing_factor"] = f"{config.label_smoothing_factor:g}"
    batch = config.train_batch_size * config.gradient_accumulation_steps * config.world_size
    return settings | {
        "optimizer": f"{getattr(config.optim, 'value', config.optim)}, weight decay {config.weight_decay}",
        "learning rate": f"{config.learning_rate}, {getattr(config.lr_scheduler_type, 'value', 'custom')} schedule, "
        f"warm-up {config.warmup_steps}",
        "max_grad_norm": f"{config.max_grad_norm}",
        "length": f"{total_steps:,} optimizer steps of {batch} images",
        "precision": "bf16" if config.bf16 else "fp16" if config.fp16 else "float32",
        "seed": str(config.seed),
    }
