"""Honest models pass every sanity check; models that mask their gradients are caught."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import pytest
import torch
from torch import Tensor, nn

from adsr_hf.attacks import ThreatModel
from adsr_hf.attacks.batch_invariance import FEWEST_ROWS
from adsr_hf.evaluation import verdicts as names
from adsr_hf.evaluation.progress import Passes
from adsr_hf.evaluation.sanity import (
    FORWARDS_PER_IMAGE,
    GRADIENTS_PER_IMAGE,
    SANITY_IMAGES,
    sanity_positions,
    verdicts,
)
from adsr_hf.evaluation.verdicts import CHECKS
from adsr_hf.networks.classifier import pixels_to_logits
from adsr_hf.records.sentences import worded
from tests.evaluation.digits import (
    PIXEL_SPACE,
    THREAT,
    Convolutional,
    Digits,
    Masked,
    digits,
    quantised,
    straight_through,
    trained,
    vision_transformer,
)

TRAIN = slice(0, 1297)
FAMILIES: dict[str, Callable[[int], nn.Module]] = {"cnn": Convolutional, "vit": vision_transformer}


@cache
def model_of(family: str, *, defended: bool = True, seed: int = 0) -> nn.Module:
    """A ViT of 8 px needs longer to learn than a convolutional network."""
    epochs = 14 if family == "vit" else 8
    return trained(FAMILIES[family], digits()[TRAIN], threat=THREAT if defended else None, epochs=epochs, seed=seed)


def images(seed: int = 0, number: int = 100) -> Digits:
    start = 1297 + 100 * seed
    return digits()[start : start + number]


def check(model: nn.Module, data: Digits, **options) -> dict[str, names.SanityCheck]:
    settings = {"threat": THREAT, "seed": 0, "show_progress": False} | options
    return {one.name: one for one in verdicts(model, PIXEL_SPACE, data.pixels, data.labels, **settings)}


def outcomes(found: dict[str, names.SanityCheck], outcome: str) -> set[str]:
    return {name for name, one in found.items() if one.outcome == outcome}


def test_an_honest_defended_model_passes_every_check_and_is_left_as_it_was() -> None:
    model, undefended = model_of("cnn"), model_of("cnn", defended=False, seed=1)
    model.layers[1].train()
    model.layers[0].weight.requires_grad_(False)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    gradients = [parameter.grad.clone() for parameter in model.parameters()]
    random_state = torch.random.get_rng_state()
    try:
        found = check(model, images(), undefended=pixels_to_logits(undefended, PIXEL_SPACE, 10))
        assert [module.training for module in model.modules()].count(True) == 1
        assert not model.layers[0].weight.requires_grad
        assert all(parameter.requires_grad for parameter in model.layers[1:].parameters())
        assert all(map(torch.equal, gradients, [parameter.grad for parameter in model.parameters()]))
    finally:
        model.eval()
        model.layers[0].weight.requires_grad_(True)
    assert list(found) == list(CHECKS)
    assert outcomes(found, "pass") == set(CHECKS), [worded(one.words) for one in found.values()]
    assert torch.equal(random_state, torch.random.get_rng_state())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize(
    ("family", "seed", "threat"),
    [
        pytest.param("vit", 1, THREAT, marks=pytest.mark.slow),
        ("cnn", 0, ThreatModel("Linf", 1 / 255)),
        *(
            pytest.param(family, seed, threat, marks=pytest.mark.slow)
            for family in FAMILIES
            for seed in (0, 1, 2, 3, 4)
            for threat in (THREAT, ThreatModel("L2", 0.5), ThreatModel("Linf", 2 / 255))
        ),
    ],
)
def test_no_seed_norm_or_radius_alarms_for_an_honest_defended_model(
    family: str, seed: int, threat: ThreatModel
) -> None:
    model, data = model_of(family, seed=seed % 3), images(seed, number=64)
    with torch.no_grad():
        right = pixels_to_logits(model, PIXEL_SPACE, 10)(data.pixels).argmax(1) == data.labels
    assert right.float().mean() > 0.4, "too bad a model to say anything about"
    found = check(model, data, threat=threat, seed=seed)
    assert outcomes(found, "fail") == set(), [worded(one.words) for one in found.values() if one.outcome == "fail"]
    assert outcomes(found, "not applicable") == {names.TRANSFER}


@pytest.mark.parametrize("epsilon", [0.15, *(pytest.param(large, marks=pytest.mark.slow) for large in (0.6, 1.0))])
def test_an_honest_model_without_a_defence_passes_also_at_zero_accuracy(epsilon: float) -> None:
    found = check(model_of("cnn", defended=False), images(1), threat=ThreatModel("Linf", epsilon))
    assert outcomes(found, "fail") == set(), [worded(one.words) for one in found.values() if one.outcome == "fail"]
    assert epsilon < 0.5 or found[names.RISES_WITH_STEPS].figures["accuracy at 100 steps"] == 0


@pytest.mark.slow
def test_two_classes_pass_when_honest_and_fail_when_saturated() -> None:
    data = digits(2)
    model = trained(Convolutional, data[:200], threat=ThreatModel("Linf", 0.3), epochs=15)
    held_out, threat = data[260:], ThreatModel("Linf", 0.3)
    assert outcomes(check(model, held_out, threat=threat), "fail") == set()
    saturated = Masked(model, after=lambda logits: 1e5 * logits)
    assert names.ZERO_GRADIENT in outcomes(check(saturated, held_out, threat=threat, only_square=(0, 90)), "fail")


@dataclass(frozen=True)
class Masking:
    """A way to hide gradients, and the checks that must see it."""

    before: Callable[[Tensor], Tensor] = lambda values: values
    after: Callable[[Tensor], Tensor] = lambda logits: logits
    caught_by: frozenset[str] = frozenset()


BLIND = frozenset({names.ZERO_GRADIENT, names.UNBOUNDED, names.RANDOM_NOISE})
NO_GRADIENT = BLIND | {names.GRADIENT_BLOCKING, names.SQUARE}
MASKINGS = {
    "quantised": Masking(before=quantised, caught_by=NO_GRADIENT),
    "detached": Masking(before=torch.Tensor.detach, caught_by=NO_GRADIENT),
    "straight through": Masking(before=straight_through, caught_by=frozenset({names.GRADIENT_BLOCKING})),
    "saturated": Masking(after=lambda logits: 1e4 * logits, caught_by=BLIND),
    "very saturated": Masking(after=lambda logits: 1e6 * logits, caught_by=BLIND),
    "random": Masking(
        before=lambda values: values + 0.3 * torch.randn_like(values),
        caught_by=frozenset({names.DETERMINISTIC, names.GRADIENT_BLOCKING}),
    ),
}


# "quantised" has no gradient either.
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if name == "detached" else []) for name in MASKINGS]
)
def test_a_model_that_masks_its_gradients_is_caught(name: str) -> None:
    masking = MASKINGS[name]
    model = Masked(model_of("cnn"), before=masking.before, after=masking.after)
    # Square costs most of the time, and is needed for those alone that it must catch.
    square = None if names.SQUARE in masking.caught_by else (0, 64)
    found = check(model, images(number=64), only_square=square)
    assert masking.caught_by <= outcomes(found, "fail"), [worded(one.words) for one in found.values()]


def test_a_transfer_attack_beats_the_own_gradients_of_a_blind_model() -> None:
    # Trained without a defence, the same weights are seen through by the attack on the bare model.
    model = model_of("cnn", defended=False)
    bare = pixels_to_logits(model, PIXEL_SPACE, 10)
    found = check(Masked(model, before=quantised), images(number=40), undefended=bare, only_square=(0, 40))
    assert found[names.TRANSFER].outcome == "fail"
    assert found[names.SQUARE].outcome == "pass"


@pytest.mark.slow
def test_outcomes_do_not_depend_on_the_batch_size() -> None:
    first, second = (check(model_of("cnn"), images(number=30), batch_size=size) for size in (11, 30))
    assert first == second


def test_the_estimate_of_passes_is_that_of_images_that_never_fall(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = {"gradients": 0, "forwards": 0}
    counted = Passes.counted

    def recording(self: Passes, logits_fn):
        inner = counted(self, logits_fn)

        def count(pixels: Tensor) -> Tensor:
            logits = inner(pixels)
            seen["gradients" if logits.requires_grad else "forwards"] += len(pixels)
            return logits

        return count

    monkeypatch.setattr(Passes, "counted", recording)
    data = images(number=32)
    model = model_of("cnn")
    with torch.no_grad():
        right = pixels_to_logits(model, PIXEL_SPACE, 10)(data.pixels).argmax(1) == data.labels
    standing = Digits(data.pixels[right], data.labels[right], 10)
    check(model, standing, threat=ThreatModel("Linf", 1e-4))
    assert seen["gradients"] == GRADIENTS_PER_IMAGE * len(standing.labels)
    # Square runs on whole blocks of rows.
    padding = -len(standing.labels) % FEWEST_ROWS
    assert seen["forwards"] == pytest.approx(FORWARDS_PER_IMAGE * len(standing.labels) + 1000 * padding, rel=0.005)


def test_without_one_right_image_only_randomness_can_be_judged() -> None:
    data = images(number=20)
    wrong = Digits(data.pixels, (data.labels + 1) % 10, 10)
    with torch.no_grad():
        guesses = pixels_to_logits(model_of("cnn"), PIXEL_SPACE, 10)(wrong.pixels).argmax(1)
    wrong = Digits(wrong.pixels[guesses != wrong.labels], wrong.labels[guesses != wrong.labels], 10)
    found = check(model_of("cnn"), wrong)
    assert outcomes(found, "pass") == {names.DETERMINISTIC}
    assert outcomes(found, "not applicable") == set(CHECKS) - {names.DETERMINISTIC}


def test_a_constant_answer_is_no_unbroken_attack() -> None:
    constant = Masked(model_of("cnn"), after=lambda logits: 0 * logits + torch.arange(10.0))
    nines = images(number=100)
    found = check(constant, nines)
    assert found[names.UNBOUNDED].outcome == "not applicable"
    assert names.GRADIENT_BLOCKING in outcomes(found, "fail")


def test_square_is_not_applicable_without_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adsr_hf.attacks.registry.find_spec", lambda name: None)
    found = check(model_of("cnn"), images(number=10))
    assert found[names.SQUARE].outcome == "not applicable"
    assert "pip install 'adsr_hf[autoattack]'" in worded(found[names.SQUARE].words)


def test_half_precision_is_too_coarse_for_slopes_alone() -> None:
    model = trained(Convolutional, digits()[TRAIN], threat=None, epochs=3).to(torch.bfloat16)
    found = check(model, images(number=32), only_square=(0, 32))
    assert outcomes(found, "not applicable") == {names.GRADIENT_BLOCKING, names.TRANSFER}
    assert outcomes(found, "fail") == set(), [worded(one.words) for one in found.values()]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"threat": ThreatModel("Linf", 0.0)}, "has radius 0"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"pixels": 3 * images(number=4).pixels}, r"pixels must lie in \[0, 1\], got values from 0.000 to 3.000"),
        ({"labels": torch.tensor([0, 1, 2, 10])}, r"labels must lie in \[0, 10\), got values from 0 to 10"),
        ({"labels": torch.tensor([0, 1])}, r"got \(4, 1, 8, 8\) and \(2,\)"),
    ],
)
def test_wrong_arguments_are_named(change: dict, message: str) -> None:
    data = images(number=4)
    arguments = {"pixels": data.pixels, "labels": data.labels, "threat": THREAT, "seed": 0, "show_progress": False}
    with pytest.raises(ValueError, match=message):
        verdicts(Convolutional(10).eval(), PIXEL_SPACE, **(arguments | change))


def test_logits_that_are_not_numbers_are_refused() -> None:
    model = Masked(model_of("cnn"), after=lambda logits: logits / 0)
    with pytest.raises(ValueError, match="NaN or infinity"):
        check(model, images(number=4))


def test_positions_are_a_fixed_random_sample() -> None:
    positions = sanity_positions(1000, seed=3)
    assert positions == sanity_positions(1000, seed=3) == sorted(set(positions))
    assert len(positions) == SANITY_IMAGES
    assert positions != sanity_positions(1000, seed=4)
    # A sample from the whole split, not its beginning: data sets are often sorted by class.
    assert min(positions) < 200
    assert max(positions) > 800
    assert sanity_positions(7, seed=0) == list(range(7))
    with pytest.raises(ValueError, match="total=0"):
        sanity_positions(0, seed=0)
