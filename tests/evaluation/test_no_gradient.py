"""A model without any gradient to its input is attacked to the end, and fails where it says so."""

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from adsr_hf.attacks import PGD, ThreatModel
from adsr_hf.attacks.gradient_path import has_gradient_path, with_gradient_path
from adsr_hf.evaluation import verdicts as names
from adsr_hf.evaluation.plan import Plan
from adsr_hf.evaluation.suite import evaluate
from adsr_hf.records.sentences import worded
from tests.evaluation.subjects import SPACE, images, trained_model

THREAT = ThreatModel("Linf", 0.1)
ATTACKS = ("pgd", "margin", "apgd-ce", "apgd-dlr", "apgd-t", "fab-t", "square")


class Blocked(nn.Module):
    """A model whose gradient is cut, by one of three ways."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.model, self.way = trained_model(), way
        self.config = self.model.config

    def forward(self, pixel_values: Tensor) -> SimpleNamespace:
        if self.way == "detached":
            return SimpleNamespace(logits=self.model(pixel_values=pixel_values.detach()).logits)
        with torch.no_grad() if self.way == "no grad" else torch.inference_mode():
            return SimpleNamespace(logits=self.model(pixel_values=pixel_values).logits)


@pytest.mark.parametrize("way", ["detached", "no grad", "inference mode"])
def test_the_evaluation_says_so_and_goes_on(way: str) -> None:
    plan = Plan([THREAT], num_steps=2)
    with pytest.warns(UserWarning, match="carry no gradient to its input"):
        records = evaluate(Blocked(way), images(12), plan, pixel_space=SPACE, show_progress=False)
    assert any("carry no gradient" in worded(note) for note in records.summary["notes"])


@pytest.mark.slow
def test_every_attack_runs_to_the_end() -> None:
    plan = Plan([THREAT], attacks=ATTACKS, num_steps=3, square_queries=200)
    with pytest.warns(UserWarning, match="carry no gradient to its input"):
        records = evaluate(Blocked("inference mode"), images(12), plan, pixel_space=SPACE, show_progress=False)
    # Random starts break some images, gradients none: Square, which needs none, breaks more than all before it.
    assert records.figure(f"{THREAT}/robust_accuracy") < records.figure(f"{THREAT}/fab-t/robust_accuracy")


def test_the_verdicts_fail() -> None:
    plan = Plan([THREAT], attacks=("apgd-t", "square"), square_queries=10, sanity=True)
    with pytest.warns(UserWarning, match="carry no gradient to its input"):
        records = evaluate(Blocked("detached"), images(28), plan, pixel_space=SPACE, show_progress=False)
    outcomes = {one["name"]: one["outcome"] for one in records.summary["sanity"]}
    assert outcomes[names.ZERO_GRADIENT] == outcomes[names.GRADIENT_BLOCKING] == outcomes[names.RANDOM_NOISE] == "fail"


def test_an_honest_model_is_not_said_to_have_none(recwarn: pytest.WarningsRecorder) -> None:
    records = evaluate(trained_model(), images(8), Plan([THREAT], num_steps=1), pixel_space=SPACE, show_progress=False)
    assert not any("gradient" in worded(note) for note in records.summary["notes"])
    assert not [one for one in recwarn if "gradient" in str(one.message)]


def test_the_path_is_found_and_put_in() -> None:
    pixels = torch.rand(5, 3, 4, 4, generator=torch.Generator().manual_seed(0))

    def honest(images: Tensor) -> Tensor:
        return images.flatten(1)[:, :3]

    def elsewhere(images: Tensor) -> Tensor:
        """A graph that leads to something else than the pixels."""
        return images.detach().flatten(1)[:, :3] * torch.ones(1, requires_grad=True)

    assert has_gradient_path(honest, pixels)
    for cut in (lambda images: honest(images).detach(), elsewhere):
        assert not has_gradient_path(cut, pixels)
        assert has_gradient_path(with_gradient_path(cut), pixels)
        assert torch.equal(with_gradient_path(cut)(pixels), honest(pixels))
        attack = PGD(THREAT, num_steps=3, random_start=False)
        result = attack.run(with_gradient_path(cut), pixels, torch.zeros(5, dtype=torch.int64))
        assert result.zero_gradient_share == 1
        assert torch.equal(result.images, pixels)


def test_the_path_changes_nothing_where_there_is_one() -> None:
    pixels = torch.rand(5, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    weight = torch.randn(48, 3, generator=torch.Generator().manual_seed(1))
    targets = torch.tensor([0, 1, 2, 0, 1])
    attack = PGD(THREAT, num_steps=3, random_start=False, keep="worst")
    logits_fn = lambda images: images.flatten(1) @ weight  # noqa: E731
    found, again = (attack.attack(one, pixels, targets) for one in (logits_fn, with_gradient_path(logits_fn)))
    assert torch.equal(found, again)
    half = with_gradient_path(lambda images: logits_fn(images).bfloat16())(pixels.requires_grad_())
    assert half.dtype == torch.bfloat16
