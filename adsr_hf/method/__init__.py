"""The papers: labels, schedules, losses, teachers and guards, each a function or an object without a trainer."""

from typing import TYPE_CHECKING

from adsr_hf.settings.lazy_names import fetched

if TYPE_CHECKING:
    from adsr_hf.method.collapse_guard import CollapseGuard
    from adsr_hf.method.ikl import ClassMeans, improved_divergence
    from adsr_hf.method.mixing import mix_batch
    from adsr_hf.method.objectives import Objective
    from adsr_hf.method.schedules import cosine_anneal, linear_ramp, sine_ramp, warmed_up_decay
    from adsr_hf.method.targets import rectify_labels, smooth_labels
    from adsr_hf.method.teacher import EMATeacher
    from adsr_hf.method.weight_perturbation import WeightPerturbation

# Imported on first use, since most of them need torch.
_HOMES = {
    "ClassMeans": "adsr_hf.method.ikl",
    "CollapseGuard": "adsr_hf.method.collapse_guard",
    "EMATeacher": "adsr_hf.method.teacher",
    "Objective": "adsr_hf.method.objectives",
    "WeightPerturbation": "adsr_hf.method.weight_perturbation",
    "cosine_anneal": "adsr_hf.method.schedules",
    "improved_divergence": "adsr_hf.method.ikl",
    "linear_ramp": "adsr_hf.method.schedules",
    "mix_batch": "adsr_hf.method.mixing",
    "rectify_labels": "adsr_hf.method.targets",
    "sine_ramp": "adsr_hf.method.schedules",
    "smooth_labels": "adsr_hf.method.targets",
    "warmed_up_decay": "adsr_hf.method.schedules",
}

__all__ = [
    "ClassMeans",
    "CollapseGuard",
    "EMATeacher",
    "Objective",
    "WeightPerturbation",
    "cosine_anneal",
    "improved_divergence",
    "linear_ramp",
    "mix_batch",
    "rectify_labels",
    "sine_ramp",
    "smooth_labels",
    "warmed_up_decay",
]

__getattr__ = fetched(__name__, _HOMES)
