"""The named attacks: inside the ball, independent of the batch, as strong as their authors' own code."""

import pytest
import torch
from torch import Tensor, nn

from adsr_hf.attacks import ThreatModel
from adsr_hf.attacks.batch_invariance import ROWS, row_independent
from adsr_hf.attacks.names import ATTACK_NAMES
from adsr_hf.attacks.registry import named_attacks
from adsr_hf.records.sentences import worded

SIDE = 6


def network(num_classes: int, seed: int = 0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layers = [nn.Conv2d(1, 8, 3), nn.GELU(), nn.Flatten(), nn.Linear(8 * (SIDE - 2) ** 2, num_classes)]
        return nn.Sequential(*layers).requires_grad_(False).eval()


def images_of(model: nn.Module, count: int) -> tuple[Tensor, Tensor]:
    pixels = torch.rand(count, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(3))
    return pixels, model(pixels).argmax(1)


@pytest.mark.parametrize(("norm", "epsilon"), [("Linf", 0.05), ("L2", 0.3)])
@pytest.mark.parametrize("num_classes", [2, 3, 4, pytest.param(12, marks=pytest.mark.slow)])
def test_every_attack_stays_inside_and_finds_something(norm: str, epsilon: float, num_classes: int) -> None:
    model = network(num_classes)
    pixels, labels = images_of(model, 40)
    threat = ThreatModel(norm, epsilon)  # type: ignore[arg-type]
    names = [name for name in ATTACK_NAMES if name != "apgd-dlr" or num_classes > 2]
    state = torch.random.get_rng_state()
    for attack in named_attacks(names, num_classes=num_classes, num_steps=10, square_queries=200):
        found = attack.attack(
            row_independent(model), pixels, labels, threat=threat, seed=0, indices=range(len(pixels))
        )
        assert threat.contains(pixels, found).all()
        assert (model(found).argmax(1) != labels).float().mean() > 0.02, attack.name
    assert torch.equal(state, torch.random.get_rng_state())


@pytest.mark.parametrize(("norm", "epsilon"), [("Linf", 0.05), pytest.param("L2", 0.3, marks=pytest.mark.slow)])
def test_a_row_does_not_depend_on_its_batch(norm: str, epsilon: float) -> None:
    model = network(5)
    pixels, labels = images_of(model, 70)
    threat = ThreatModel(norm, epsilon)  # type: ignore[arg-type]
    order = torch.randperm(70, generator=torch.Generator().manual_seed(1))
    for attack in named_attacks(ATTACK_NAMES, num_classes=5, num_steps=5, square_queries=60):
        together = attack.attack(row_independent(model), pixels, labels, threat=threat, seed=4, indices=range(70))
        for part in order.split(29):
            alone = attack.attack(
                row_independent(model), pixels[part], labels[part], threat=threat, seed=4, indices=part.tolist()
            )
            assert torch.equal(alone, together[part]), attack.name


def test_rows_of_a_transformer_are_bit_equal_wherever_they_stand() -> None:
    from transformers import ViTConfig, ViTForImageClassification

    torch.manual_seed(0)
    config = ViTConfig(hidden_size=48, num_hidden_layers=2, num_attention_heads=3, intermediate_size=96, image_size=32,
                       patch_size=4, num_labels=10)  # fmt: skip
    model = ViTForImageClassification(config).eval().requires_grad_(False)

    def logits_fn(pixels: Tensor) -> Tensor:
        return model(pixel_values=pixels).logits

    fixed = row_independent(logits_fn)
    pixels = torch.rand(75, 3, 32, 32)
    leaf = pixels.clone().requires_grad_()
    logits = fixed(leaf)
    (gradient,) = torch.autograd.grad(logits.logsumexp(1).sum(), leaf)
    for part in torch.randperm(75).split(20):
        own = pixels[part].clone().requires_grad_()
        part_logits = fixed(own)
        (part_gradient,) = torch.autograd.grad(part_logits.logsumexp(1).sum(), own)
        assert torch.equal(part_logits, logits[part])
        assert torch.equal(part_gradient, gradient[part])


@pytest.mark.parametrize(("norm", "epsilon"), [("Linf", 0.03), pytest.param("L2", 0.2, marks=pytest.mark.slow)])
def test_autopgd_and_fab_equal_the_authors_own_run(norm: str, epsilon: float) -> None:
    """Without randomness (FAB), image by image; with it (APGD, Square), in what they reach."""
    from pyautoattack.autopgd_base import APGDAttack, APGDAttack_targeted
    from pyautoattack.fab_pt import FABAttack_PT
    from pyautoattack.square import SquareAttack

    model = network(5)
    pixels, labels = images_of(model, 192)
    threat = ThreatModel(norm, epsilon)  # type: ignore[arg-type]
    theirs = {
        "apgd-ce": APGDAttack(model, norm=norm, eps=epsilon),
        "apgd-t": APGDAttack_targeted(model, norm=norm, eps=epsilon, n_target_classes=4),
        "fab-t": FABAttack_PT(model, norm=norm, eps=epsilon, targeted=True, n_target_classes=4),
        "square": SquareAttack(model, norm=norm, eps=epsilon, n_queries=300),
    }
    for attack in named_attacks(list(theirs), num_classes=5, square_queries=300):
        ours = attack.attack(row_independent(model), pixels, labels, threat=threat, seed=0, indices=range(192))
        fell = model(ours).argmax(1) != labels
        reference = model(theirs[attack.name].perturb(pixels.clone(), labels)).argmax(1) != labels
        assert 0.05 < reference.float().mean() < 0.95
        if attack.name == "square":
            assert abs(fell.float().mean() - reference.float().mean()) < 0.05
        else:
            assert (fell != reference).sum() <= (0 if attack.name == "fab-t" else 2), attack.name


def test_fewer_targets_and_the_margin_are_noted() -> None:
    settings = {
        attack.name: attack.settings for attack in named_attacks(["autoattack"], num_classes=3, square_queries=9)
    }
    assert settings["apgd-t"]["targets"] == settings["fab-t"]["targets"] == 2
    assert settings["apgd-t"]["loss"] == "targeted margin"
    assert "needs 4 classes" in worded(settings["apgd-t"]["note"])
    many = {attack.name: attack.settings for attack in named_attacks(["autoattack"], num_classes=200)}
    assert many["apgd-t"] == {"loss": "targeted dlr", "num_steps": 100, "restarts": 1, "targets": 9}
    assert many["square"]["queries"] == 5000


def test_names() -> None:
    names = [attack.name for attack in named_attacks(["pgd", "autoattack", "square"], num_classes=10)]
    assert names == ["pgd", "apgd-ce", "apgd-t", "fab-t", "square"]
    with pytest.raises(ValueError, match=r"'apgd_ce' is unknown; did you mean 'apgd-ce'"):
        named_attacks(["apgd_ce"], num_classes=10)
    with pytest.raises(ValueError, match=r"'apgd-dlr' needs 3 classes.*has 2"):
        named_attacks(["apgd-dlr"], num_classes=2)
    with pytest.raises(ValueError, match="attacks is empty"):
        named_attacks([], num_classes=2)


def test_the_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adsr_hf.attacks.registry.find_spec", lambda name: None)
    assert [attack.name for attack in named_attacks(["pgd"], num_classes=10)] == ["pgd"]
    with pytest.raises(ImportError, match=r"pip install 'adsr_hf\[autoattack\]'"):
        named_attacks(["autoattack"], num_classes=10)


def test_silence(capfd: pytest.CaptureFixture[str]) -> None:
    model = network(5)
    pixels, labels = images_of(model, ROWS)
    for attack in named_attacks(["autoattack"], num_classes=5, square_queries=20):
        attack.attack(
            row_independent(model), pixels, labels, threat=ThreatModel("Linf", 0.1), seed=0, indices=range(ROWS)
        )
    out, error = capfd.readouterr()
    assert out == error == ""
