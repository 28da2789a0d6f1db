"""The worst image found is the same in training and in evaluation, measured by either on the same model and images."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn
from transformers.modeling_outputs import ImageClassifierOutput

from adsr_hf.attacks import ThreatModel
from adsr_hf.evaluation.plan import Plan
from adsr_hf.evaluation.suite import evaluate
from tests.evaluation.subjects import SPACE
from tests.tiny import SIZE, TinyImages, tiny_trainer

EPSILON = 0.02


class TwoSlopes(nn.Module):
    """A linear classifier of two classes: wherever an attack starts, it ends in the same corner of the ball."""

    def __init__(self) -> None:
        super().__init__()
        self.config = SimpleNamespace(num_labels=2, problem_type=None)
        generator = torch.Generator().manual_seed(0)
        self.weight = nn.Parameter(0.1 * torch.randn(3 * SIZE * SIZE, generator=generator))

    def forward(self, pixel_values: Tensor, labels: Tensor | None = None) -> ImageClassifierOutput:
        score = pixel_values.flatten(1) @ self.weight
        logits = torch.stack([score, -score], dim=1)
        loss = None if labels is None else nn.functional.cross_entropy(logits, labels)
        return ImageClassifierOutput(loss=loss, logits=logits)


class HalfWrong(TinyImages):
    """Labels that the linear classifier gets right about two times in three."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__(40, seed=3, noise=0.3)
        with torch.no_grad():
            self.labels = model(self.pixel_values).logits.argmax(1)
        self.labels[::3] = 1 - self.labels[::3]


def test_training_and_evaluation_measure_the_same(tmp_path: Path) -> None:
    model = TwoSlopes()
    images = HalfWrong(model)
    attack = {"norm": "Linf", "epsilon": EPSILON, "eval_attack_steps": 10}
    found = tiny_trainer(tmp_path, model=model, eval_dataset=images, method="pgd_at", **attack).evaluate()
    plan = Plan([ThreatModel("Linf", EPSILON)], num_steps=10)
    records = evaluate(model, images, plan, pixel_space=SPACE, show_progress=False)
    for name in ("accuracy", "ece", "mean_confidence"):
        assert found[f"eval_{name}"] == pytest.approx(records.figure(name), abs=1e-6)
        assert found[f"eval_robust_{name}"] == pytest.approx(
            records.figure(f"{plan.threats[0]}/robust_{name}"), abs=1e-6
        )
    assert found["eval_robust_loss"] == pytest.approx(
        records.figure("Linf 0.02/robust_negative_log_likelihood"), abs=1e-5
    )
    assert 0 < found["eval_robust_accuracy"] < found["eval_accuracy"] < 1
