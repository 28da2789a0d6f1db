"""The rules by which counts and margins become verdicts, on numbers made by hand."""

import json
import math

import pytest
import torch
from scipy.stats import binom
from torch import Tensor

from adsr_hf.evaluation.sanity import decisions
from adsr_hf.evaluation.verdicts import FEWEST_IMAGES, RISES_WITH_STEPS, SanityCheck, exceeds
from adsr_hf.records.sentences import worded


def broken(count: int, total: int = 100, start: int = 0) -> Tensor:
    rows = torch.zeros(total, dtype=torch.bool)
    rows[start : start + count] = True
    return rows


@pytest.mark.parametrize(("count", "total", "share"), [(5, 100, 0.01), (4, 100, 0.01), (8, 8, 0.5), (6, 6, 0.5)])
def test_what_chance_explains_at_the_level_does_not_exceed(count: int, total: int, share: float) -> None:
    """Against the tail summed by hand, term by term."""
    tail = sum(math.comb(total, k) * share**k * (1 - share) ** (total - k) for k in range(count, total + 1))
    assert exceeds(count, total, share) is (tail < 0.01)


def test_no_images_show_nothing() -> None:
    assert not exceeds(0, 0, 0.5)


def test_accuracy_that_falls_or_wobbles_passes_and_accuracy_that_rises_fails() -> None:
    def verdict(*counts: Tensor) -> SanityCheck:
        return decisions.never_rises(RISES_WITH_STEPS, [str(place) for place in range(len(counts))], counts, 200)

    falling = verdict(broken(10), broken(40), broken(90))
    assert falling.outcome == "pass"
    assert falling.figures == {"accuracy at 0": 0.45, "accuracy at 1": 0.3, "accuracy at 2": 0.05, "images": 200}
    # 7 of 7 differing images lost: 1/128 = 0.8%, above 1% shared by two pairs; 8 of 8: 0.4%.
    assert verdict(broken(40), broken(40), broken(33)).outcome == "pass"
    assert verdict(broken(40), broken(40), broken(32)).outcome == "fail"
    assert verdict(broken(40), broken(32), broken(90)).outcome == "fail"
    # 20 lost and 20 others gained is a wobble.
    assert verdict(broken(40), broken(40, start=20)).outcome == "pass"
    assert verdict(broken(100), broken(100), broken(100)).outcome == "pass"


@pytest.mark.parametrize(("right", "classes", "outcome"), [(0, 10, "pass"), (18, 10, "pass"), (19, 10, "fail")])
def test_chance_is_one_in_k_beyond_its_interval(right: int, classes: int, outcome: str) -> None:
    # P(X >= 18) = 1.0002%, P(X >= 19) = 0.46% for 100 images of 10 classes.
    assert decisions.reaches_chance(broken(100 - right), 100, classes).outcome == outcome


def test_two_classes_have_a_chance_of_one_half() -> None:
    assert decisions.reaches_chance(broken(40), 100, 2).outcome == "pass"
    assert decisions.reaches_chance(broken(20), 100, 2).outcome == "fail"


def test_pgd_must_lead_noise_on_most_images_even_where_nothing_breaks() -> None:
    noise = torch.full((20,), -5.0)
    ahead = torch.where(torch.arange(20) < 17, -4.0, -6.0)
    level = torch.where(torch.arange(20) < 12, -4.0, -6.0)
    assert decisions.beats_noise(ahead, noise, 20).outcome == "pass"
    assert decisions.beats_noise(level, noise, 20).outcome == "fail"
    assert decisions.beats_noise(noise, noise, 20).outcome == "fail"
    assert decisions.beats_noise(ahead[:19], noise[:19], 20).outcome == "not applicable"


def test_an_honest_model_fails_no_check_that_it_must_show_something_for() -> None:
    """PGD leads noise on 94% of a small ViT's images, a quarter of a network's slopes bend: each fails below 1%."""
    for images in range(FEWEST_IMAGES, 101):
        noise, straight = torch.zeros(images), torch.zeros(images)
        leads = [torch.where(torch.arange(images) < wins, 1.0, -1.0) for wins in range(images + 1)]
        passing = [decisions.beats_noise(pgd, noise, images).outcome == "pass" for pgd in leads]
        assert binom.cdf(passing.index(True) - 1, images, 0.94) < 0.01
        bent = [torch.where(torch.arange(images) < count, 0.9, 0.0) for count in range(images + 1)]
        failing = [decisions.gradients_hold(broken(0, images), one, straight).outcome == "fail" for one in bent]
        assert binom.sf(failing.index(True) - 1, images, 0.25) < 0.01


def test_few_images_decide_nothing_but_a_gradient_that_is_not_there() -> None:
    bent = torch.full((19,), 0.9)
    undecided = decisions.gradients_hold(broken(0, 19), bent, bent)
    assert undecided.outcome == "not applicable"
    assert worded(undecided.words) == "19 rightly classified images are too few; 20 are needed."
    assert decisions.gradients_hold(broken(19, 19), bent, bent).outcome == "fail"


@pytest.mark.parametrize(
    ("alone", "attacked", "outcome"),
    [(0, 100, "pass"), (2, 100, "pass"), (3, 100, "fail"), (6, 1000, "pass"), (7, 1000, "fail"), (1, 40, "pass")],
)
def test_square_may_gain_what_chance_makes_of_a_fifth_of_a_point(alone: int, attacked: int, outcome: str) -> None:
    assert decisions.square_adds_little(alone, attacked).outcome == outcome


def test_square_on_no_image_says_nothing() -> None:
    assert decisions.square_adds_little(0, 0).outcome == "not applicable"


def test_a_few_images_without_gradient_are_let_through() -> None:
    assert decisions.gradients_exist(broken(4), 0.3).outcome == "pass"
    assert decisions.gradients_exist(broken(5), 0.3).outcome == "fail"


def test_rounding_is_not_randomness() -> None:
    logits = torch.tensor([[100.0, -3.0], [4.0, 5.0]], dtype=torch.float64)
    assert decisions.deterministic(logits, logits + 1e-4).outcome == "pass"
    random = decisions.deterministic(logits, logits + torch.tensor([[0.0, 0.0], [2.0, 0.0]]))
    assert random.outcome == "fail"
    assert random.figures == {"largest difference": 2.0, "changed predictions": 1.0, "images": 2}


def test_slopes_are_judged_by_their_median_and_not_at_all_in_half_precision() -> None:
    good, bad = torch.full((100,), 0.01), torch.full((100,), 0.9)
    assert decisions.gradients_hold(broken(0), good, good).outcome == "pass"
    assert decisions.gradients_hold(broken(0), good, bad).outcome == "fail"
    assert decisions.gradients_hold(broken(0), bad, good).outcome == "fail"
    assert decisions.gradients_hold(broken(0), None, None).outcome == "not applicable"
    assert decisions.gradients_hold(broken(60), None, None).outcome == "fail"


def test_loss_counts_up_to_the_boundary_alone() -> None:
    clean = torch.tensor([-4.0, -4.0])
    # Of 4 + 2 gained in 100 steps, 10 steps miss 1; beyond the boundary nothing counts.
    verdict = decisions.converged(clean, torch.tensor([10.0, -3.0]), torch.tensor([50.0, -2.0]))
    assert verdict.outcome == "pass"
    assert verdict.figures["share of the loss gained after step 10"] == pytest.approx(1 / 6)
    assert decisions.converged(clean, torch.tensor([-3.0, -3.0]), torch.tensor([50.0, -2.0])).outcome == "fail"
    assert decisions.converged(clean, clean, clean).outcome == "not applicable"


def test_transfer_may_find_other_images_but_not_more() -> None:
    assert decisions.transfer_is_weaker(broken(50), broken(20, start=40), 100).outcome == "pass"
    assert decisions.transfer_is_weaker(broken(20), broken(20, start=20), 100).outcome == "pass"
    assert decisions.transfer_is_weaker(broken(20), broken(60), 100).outcome == "fail"
    assert decisions.transfer_is_weaker(broken(100), broken(100), 100).outcome == "pass"


def test_a_verdict_is_json() -> None:
    verdict = decisions.reaches_chance(broken(100), 100, 10)
    assert json.loads(json.dumps(verdict.as_dict())) == {
        "name": "an unbounded attack reaches chance",
        "outcome": "pass",
        "figures": {"accuracy": 0.0, "chance": 0.1, "images": 100},
        "words": {"code": "sanity.unbounded.pass", "values": {"accuracy": 0.0, "chance": 0.1}},
    }
    assert worded(verdict.words) == "Under an attack without bounds accuracy is 0.0%; chance is 10.0%."
