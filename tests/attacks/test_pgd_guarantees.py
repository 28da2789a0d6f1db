"""What PGD promises around the search: ball and box, untouched state, diagnostics, errors."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from adsr_hf.attacks import NORMS, PGD, ThreatModel

SHAPE = (4, 3, 4, 4)
CLASSES = 5
LINF, L2 = ThreatModel("Linf", 8 / 255), ThreatModel("L2", 0.5)
THREATS = pytest.mark.parametrize("threat", [LINF, L2], ids=NORMS)
DTYPES = [torch.float32, torch.bfloat16, torch.float16, torch.float64]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def model() -> nn.Module:
    network = nn.Sequential(nn.Flatten(), nn.Linear(48, 16), nn.Tanh(), nn.Linear(16, CLASSES))
    for index, parameter in enumerate(network.parameters()):
        parameter.data.copy_(torch.randn(parameter.shape, generator=seeded(index)) / 3)
    return network


@pytest.fixture
def images() -> Tensor:
    """Black, white and everything between: the box is in reach of every image."""
    return (torch.rand(SHAPE, generator=seeded(10)) * 1.4 - 0.2).clamp(0, 1)


@pytest.fixture
def labels() -> Tensor:
    return torch.arange(SHAPE[0]) % CLASSES


class TestBallAndBox:
    @THREATS
    @pytest.mark.parametrize("image_dtype", DTYPES)
    @pytest.mark.parametrize("model_dtype", DTYPES)
    @pytest.mark.parametrize("settings", [{}, {"keep": "worst", "restarts": 2}, {"step_size": 5.0}], ids=str)
    def test_in_every_dtype(
        self,
        threat: ThreatModel,
        image_dtype: torch.dtype,
        model_dtype: torch.dtype,
        settings: dict[str, Any],
        model: nn.Module,
        images: Tensor,
        labels: Tensor,
    ) -> None:
        model, images = model.to(model_dtype), images.to(image_dtype)
        attack = PGD(threat, num_steps=3, **settings)
        found = attack.attack(lambda pixels: model(pixels.to(model_dtype)), images, labels, generator=seeded())
        assert found.dtype == torch.float32
        assert found.shape == images.shape
        assert found.min() >= 0
        assert found.max() <= 1
        difference = (found.double() - images.double()).flatten(1)
        length = difference.abs().amax(1) if threat.norm == "Linf" else difference.norm(dim=1)
        assert (length <= threat.epsilon + 1e-6).all()
        assert (length > 0.5 * threat.epsilon).all()

    @THREATS
    def test_image_arithmetic_stays_float32_under_autocast(
        self, threat: ThreatModel, model: nn.Module, images: Tensor, labels: Tensor
    ) -> None:
        with torch.autocast("cpu", torch.bfloat16):
            found = PGD(threat, num_steps=3).attack(model, images, labels, generator=seeded())
        assert found.dtype == torch.float32
        assert threat.contains(images, found).all()
        assert not torch.equal(found, found.bfloat16().float())

    @THREATS
    def test_radius_zero_returns_the_images(
        self, threat: ThreatModel, model: nn.Module, images: Tensor, labels: Tensor
    ) -> None:
        found = PGD(ThreatModel(threat.norm, 0.0)).attack(model, images, labels)
        assert torch.equal(found, images)


class TestLeavesAlone:
    def test_parameter_gradients(self, model: nn.Module, images: Tensor, labels: Tensor) -> None:
        parameters = dict(model.named_parameters())
        parameters["1.weight"].grad = torch.randn(16, 48)
        parameters["3.bias"].grad = torch.randn(CLASSES)
        parameters["1.bias"].requires_grad_(False)
        grads = {name: None if p.grad is None else p.grad.clone() for name, p in parameters.items()}
        flags = {name: p.requires_grad for name, p in parameters.items()}
        PGD(LINF, num_steps=3, restarts=2, keep="worst").attack(model, images, labels)
        assert {name: p.requires_grad for name, p in parameters.items()} == flags
        for name, parameter in parameters.items():
            before, after = grads[name], parameter.grad
            assert after is None if before is None else after is not None and torch.equal(after, before)

    @pytest.mark.parametrize("random_start", [False, True])
    @pytest.mark.parametrize("keep", ["last", "worst"])
    def test_inputs(self, random_start: bool, keep: Any, model: nn.Module, images: Tensor, labels: Tensor) -> None:
        images[0, 0, 0, 0], images[0, 0, 0, 1] = 1.0005, -0.0005  # within the tolerance: the copy is clipped, not this
        before_images, before_labels = images.clone(), labels.clone()
        images.requires_grad_(True)
        found = PGD(LINF, num_steps=2, random_start=random_start, keep=keep).attack(model, images, labels)
        assert torch.equal(images, before_images)
        assert torch.equal(labels, before_labels)
        assert images.grad is None
        assert images.requires_grad
        assert not found.requires_grad
        assert found.grad_fn is None
        assert found.untyped_storage().data_ptr() != images.untyped_storage().data_ptr()

    @THREATS
    @pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
    def test_gradient_mode_of_the_caller_changes_nothing(
        self, threat: ThreatModel, mode: Any, model: nn.Module, images: Tensor, labels: Tensor
    ) -> None:
        attack = PGD(threat, num_steps=3, restarts=2, keep="worst")
        expected = attack.attack(model, images, labels, generator=seeded())
        with mode():
            found = attack.attack(model, images.clone(), labels.clone(), generator=seeded())
            assert not torch.is_grad_enabled()
        assert torch.equal(found, expected)
        assert not found.is_inference()


class TestZeroGradientShare:
    @THREATS
    def test_generic_model_has_none(
        self, threat: ThreatModel, model: nn.Module, images: Tensor, labels: Tensor
    ) -> None:
        assert PGD(threat, num_steps=3).run(model, images, labels).zero_gradient_share.item() == 0

    @THREATS
    @pytest.mark.parametrize("restarts", [1, 3])
    def test_constant_model_has_nothing_else(
        self, threat: ThreatModel, restarts: int, model: nn.Module, images: Tensor, labels: Tensor
    ) -> None:
        model[1].weight.data.zero_()
        result = PGD(threat, num_steps=3, restarts=restarts).run(model, images, labels)
        assert result.zero_gradient_share.item() == pytest.approx(1)
        assert threat.contains(images, result.images).all()

    def test_is_the_share_of_dead_pixels(self, model: nn.Module, images: Tensor, labels: Tensor) -> None:
        model[1].weight.data[:, :12] = 0
        result = PGD(LINF, num_steps=3, restarts=2).run(model, images, labels)
        assert result.zero_gradient_share.item() == pytest.approx(12 / 48)

    def test_nan_gradients_move_nothing_and_count(self, model: nn.Module, images: Tensor, labels: Tensor) -> None:
        result = PGD(LINF, num_steps=3).run(lambda pixels: model(pixels) * math.nan, images, labels)
        assert result.zero_gradient_share.item() == pytest.approx(1)


class TestErrors:
    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"num_steps": 0}, "num_steps=0 must be at least 1"),
            ({"step_size": 0.0}, "step_size=0.0 must be positive"),
            ({"step_size": -0.1}, "step_size=-0.1 must be positive"),
            ({"step_size": math.nan}, "step_size=nan must be positive"),
            ({"step_size": math.inf}, "step_size=inf must be positive and finite"),
            ({"restarts": 0}, "restarts=0 must be at least 1"),
            ({"restarts": 2, "random_start": False}, "restarts=2 needs random_start=True"),
            ({"loss": "dlr"}, "loss='dlr' is unknown; choose one of cross_entropy, margin"),
            ({"keep": "best"}, "keep='best' is unknown; choose 'last' or 'worst'"),
        ],
    )
    def test_settings(self, settings: dict[str, Any], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            PGD(LINF, **settings)

    @pytest.mark.parametrize(
        ("broken", "message"),
        [
            (torch.full(SHAPE, -0.01), "must be pixels in .* normalise them inside logits_fn"),
            (torch.full(SHAPE, 1.01), "got values from 1.010 to 1.010"),
            (torch.full(SHAPE, math.nan), "must be pixels in"),
            (torch.zeros(4, 48), r"shape \(B, C, H, W\) and at least one pixel, got \(4, 48\)"),
            (torch.zeros(0, 3, 4, 4), r"at least one pixel, got \(0, 3, 4, 4\)"),
        ],
    )
    def test_images(self, broken: Tensor, message: str, model: nn.Module) -> None:
        with pytest.raises(ValueError, match=message):
            PGD(LINF).attack(model, broken, torch.zeros(len(broken), dtype=torch.int64))

    def test_one_normalised_image_in_the_batch_is_found(
        self, model: nn.Module, images: Tensor, labels: Tensor
    ) -> None:
        images[2] = (images[2] - 0.5) / 0.5
        with pytest.raises(ValueError, match="attack pixels, and normalise them inside logits_fn"):
            PGD(LINF).attack(model, images, labels)

    @pytest.mark.parametrize(
        ("targets", "message"),
        [
            (torch.zeros(4), "must be int64 class indices, got torch.float32"),
            (torch.zeros(4, dtype=torch.int32), "must be int64 class indices, got torch.int32"),
            (torch.zeros(4, CLASSES, dtype=torch.int64), "must be float probabilities, got torch.int64"),
            (torch.zeros(3, dtype=torch.int64), r"for B=4 images, got shape \(3,\)"),
            (torch.zeros(4, CLASSES, 1), r"got shape \(4, 5, 1\)"),
            (torch.tensor(1), r"got shape \(\)"),
            (torch.tensor([0, 1, -100, 2]), "must not be negative, got -100"),
            (torch.full((4, CLASSES + 1), 1 / 6), r"fit targets of shape \(4, 6\), got \(4, 5\)"),
        ],
    )
    def test_targets(self, targets: Tensor, message: str, model: nn.Module, images: Tensor) -> None:
        with pytest.raises(ValueError, match=message):
            PGD(LINF).attack(model, images, targets)

    def test_margin_refuses_soft_targets(self, model: nn.Module, images: Tensor) -> None:
        with pytest.raises(ValueError, match="loss='margin' needs class indices"):
            PGD(LINF, loss="margin").attack(model, images, torch.full((4, CLASSES), 0.2))

    def test_logits_of_another_shape(self, model: nn.Module, images: Tensor, labels: Tensor) -> None:
        with pytest.raises(ValueError, match=r"must return logits of shape \(B, K\) .*, got \(4, 5, 1\)"):
            PGD(LINF).attack(lambda pixels: model(pixels)[..., None], images, labels)

    def test_logits_without_a_gradient(self, model: nn.Module, images: Tensor, labels: Tensor) -> None:
        with pytest.raises(ValueError, match="logits_fn returned logits without a gradient"):
            PGD(LINF).attack(lambda pixels: model(pixels).detach(), images, labels)
