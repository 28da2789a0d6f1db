"""What the table is made of: networks, runs, rows, and the short schedule that all of them share."""

import os
from dataclasses import dataclass
from typing import Any

import torch

THREAT = "Linf 8/255"
ATTACKS = ("autoattack",)
PGD_STEPS = 20
# A whole number of the evaluation's blocks. Rows are attacked part by part, so that at any time all have been measured
# on the same images.
PART = 128

# Row of the table: the run it comes from, and which of its weights are measured.
ROWS: dict[str, tuple[str, str]] = {
    "AT": ("at", "student"),
    "AT+WA": ("at", "teacher"),
    "AT+WA+AWP": ("at_awp", "teacher"),
    "ADR": ("adr", "student"),
    "ADR+WA": ("adr", "teacher"),
    "ADR+WA+AWP": ("adr_awp", "teacher"),
}
# Each of ADR's rows with the row that it must beat.
PAIRS = (("ADR", "AT"), ("ADR+WA", "AT+WA"), ("ADR+WA+AWP", "AT+WA+AWP"), ("ADR+WA+AWP", "AT"))

# The authors' variant of AWP, and their temperatures and interpolations for CIFAR-10, with and without it.
_AWP = {"weight_perturbation": "layerwise_sam", "weight_perturbation_radius": 0.005}
_ADR = {"method": "adsr", "temperature_start": 2.5, "interpolation_start": 0.7}
RUNS: dict[str, dict[str, Any]] = {
    # publish decides whether a moving average is kept; both weights are saved in any case.
    "at": {"method": "pgd_at", "publish": "teacher"},
    "adr": _ADR | {"temperature_end": 2.0, "interpolation_end": 0.95},
    "adr_awp": _ADR | _AWP | {"temperature_end": 1.5, "interpolation_end": 0.85},
    "at_awp": _AWP | {"method": "pgd_at", "publish": "teacher"},
}

# Steep schedules of Wong et al. 2020 (arXiv 2001.03994, section 5): short runs want one rise and one fall.
NETWORKS: dict[str, dict[str, Any]] = {
    "resnet18": {
        "model_type": "adsr_cifar_resnet",
        "image_size": 32,
        "optim": "sgd",
        "optim_args": "momentum=0.9",
        "learning_rate": 0.2,
        "weight_decay": 5e-4,
        "lr_scheduler_type": "linear",
        "max_grad_norm": 0.0,
    },
    "vit_t": {
        "model_type": "vit",
        "image_size": 32,
        "model_config": {
            "patch_size": 4,
            "hidden_size": 192,
            "num_hidden_layers": 12,
            "num_attention_heads": 3,
            "intermediate_size": 768,
        },
        "learning_rate": 0.001,
        "weight_decay": 0.05,
        "lr_scheduler_type": "cosine",
        "max_grad_norm": 1.0,
    },
}
_SMOKE_NETWORKS: dict[str, dict[str, Any]] = {
    "resnet18": {"model_config": {"depths": [1, 1], "hidden_sizes": [4, 8], "strides": [2, 2]}},
    "vit_t": {
        "model_config": {
            "patch_size": 8,
            "hidden_size": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "intermediate_size": 32,
        }
    },
}
# Ten passes' work an image instead of PGD-10's 24, so that a minute holds more than twice as many epochs.
_COMMON: dict[str, Any] = {
    "norm": "Linf",
    "epsilon": "8/255",
    "attack_steps": 3,
    "attack_step_size": "4/255",
    "attack_precision": "bf16",
    "teacher_decay": 0.995,
    "eval_attack_steps": 10,
    "evaluate_weights": "both",
    "eval_strategy": "epoch",
    "validation_fraction": 0.1,
    "max_eval_images": 1000,
    "crop_padding": 4,
    "horizontal_flip": True,
    "per_device_train_batch_size": 256,
    "per_device_eval_batch_size": 500,
    "warmup_steps": 0.2,
    "bf16": True,
    "save_strategy": "epoch",
    "save_total_limit": 1,
    "logging_steps": 50,
    "report_to": "none",
    "disable_tqdm": True,
    "seed": 0,
}
_SMOKE: dict[str, Any] = {
    "attack_steps": 1,
    "attack_step_size": "8/255",
    "eval_attack_steps": 1,
    "max_train_images": 40,
    "max_eval_images": 20,
    "per_device_train_batch_size": 10,
    "logging_steps": 2,
}


@dataclass(frozen=True)
class Sizes:
    """What ``--smoke`` shrinks.

    Attributes:
        attacks: that end the table.
        images: of the test set that are measured, at most.
        part: images attacked at a time.
        smoke: whether networks and data are shrunk too.
    """

    attacks: tuple[str, ...] = ATTACKS
    images: int = 1000
    part: int = PART
    smoke: bool = False


SMOKE_SIZES = Sizes(attacks=("apgd-ce",), images=20, part=10, smoke=True)


def run_settings(network: str, run: str, *, epochs: int, data: str, sizes: Sizes) -> dict[str, Any]:
    """Fields of one run's recipe, but for ``output_dir``.

    Args:
        network, run: keys of NETWORKS and RUNS.
        epochs: at least 1.
        data: the data set to train on.
    """
    settings = _COMMON | NETWORKS[network] | RUNS[run] | {"dataset": data, "num_train_epochs": epochs}
    if network == "vit_t":
        settings["epsilon_ramp_epochs"] = 0.2 * epochs
    if not torch.accelerator.is_available():
        settings["use_cpu"] = True
    elif not sizes.smoke:
        workers = min(8, (os.cpu_count() or 2) - 1)
        settings |= {"dataloader_num_workers": workers, "dataloader_persistent_workers": workers > 0}
    return settings | (_SMOKE | _SMOKE_NETWORKS[network] if sizes.smoke else {})
