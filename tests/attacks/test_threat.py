"""Threat models: text, validation, projection, sampling."""

import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hypothesis_numpy

from adsr_hf.attacks import NORMS, ThreatModel

SHAPE = (2, 3, 2, 2)
FLOAT32_MAX = float(np.finfo(np.float32).max)

norms = st.sampled_from(NORMS)
radii = st.one_of(st.just(0.0), st.floats(1e-4, 1.0), st.integers(0, 255).map(lambda levels: levels / 255))
pixels = hypothesis_numpy.arrays(np.float32, SHAPE, elements=st.floats(0, 1, width=32)).map(torch.from_numpy)
anywhere = hypothesis_numpy.arrays(
    np.float32, SHAPE, elements=st.floats(-FLOAT32_MAX, FLOAT32_MAX, width=32) | st.floats(-2, 2, width=32)
).map(torch.from_numpy)


def distances(images: torch.Tensor, others: torch.Tensor, norm: str) -> np.ndarray:
    """Float64 distances, by numpy, of each pair of images."""
    difference = (others.double() - images.double()).flatten(1).numpy()
    return np.linalg.norm(difference, ord={"Linf": np.inf, "L2": 2}[norm], axis=1)


def project_l2_float64(images: torch.Tensor, perturbed: torch.Tensor, epsilon: float) -> np.ndarray:
    centre, point = images.double().numpy(), perturbed.double().numpy()
    projected = []
    for one_centre, one_point in zip(centre, point, strict=True):
        length = math.sqrt(math.fsum(((one_point - one_centre) ** 2).ravel()))
        share = min(1.0, epsilon / length) if length else 1.0
        projected.append(np.clip(one_centre + share * (one_point - one_centre), 0, 1))
    return np.stack(projected)


class TestText:
    @pytest.mark.parametrize(
        ("text", "norm", "epsilon"),
        [
            ("Linf 8/255", "Linf", 8 / 255),
            ("  Linf   8 / 255 ", "Linf", 8 / 255),
            ("L2 0.5", "L2", 0.5),
            ("L2 128/255", "L2", 128 / 255),
            ("L2 3", "L2", 3.0),
            ("Linf 1e-2", "Linf", 0.01),
            ("Linf 0", "Linf", 0.0),
        ],
    )
    def test_parse(self, text: str, norm: str, epsilon: float) -> None:
        assert ThreatModel.parse(text) == ThreatModel(norm, epsilon)

    @pytest.mark.parametrize(
        ("threat", "text"),
        [
            (ThreatModel("Linf", 8 / 255), "Linf 8/255"),
            (ThreatModel("L2", 128 / 255), "L2 128/255"),
            (ThreatModel("L2", 0.5), "L2 0.5"),
            (ThreatModel("L2", 1.0), "L2 1"),
            (ThreatModel("Linf", 0.0), "Linf 0"),
            (ThreatModel("Linf", np.float64(8 / 255)), "Linf 8/255"),
        ],
    )
    def test_str_is_what_a_person_writes(self, threat: ThreatModel, text: str) -> None:
        assert str(threat) == text

    @settings(deadline=None)
    @given(norm=norms, epsilon=st.floats(0, 1) | st.integers(0, 255).map(lambda levels: levels / 255))
    def test_str_parses_back_to_the_same_radius(self, norm: str, epsilon: float) -> None:
        threat = ThreatModel(norm, epsilon)
        assert ThreatModel.parse(str(threat)) == threat

    @settings(deadline=None)
    @given(epsilon=st.floats(0, 1e30))
    def test_str_of_large_l2_radii_parses_back(self, epsilon: float) -> None:
        threat = ThreatModel("L2", epsilon)
        assert ThreatModel.parse(str(threat)) == threat

    @pytest.mark.parametrize("text", ["", "Linf", "8/255", "Linf8/255"])
    def test_parse_rejects_text_without_norm_and_radius(self, text: str) -> None:
        with pytest.raises(ValueError, match="a norm and a radius, such as 'Linf 8/255'"):
            ThreatModel.parse(text)

    @pytest.mark.parametrize("norm", ["L1", "linf", "L∞", "2"])
    def test_parse_rejects_unknown_norms(self, norm: str) -> None:
        with pytest.raises(ValueError, match=f"norm='{norm}' is unknown; choose one of Linf, L2"):
            ThreatModel.parse(f"{norm} 8/255")


class TestValidation:
    @pytest.mark.parametrize("norm", NORMS)
    @pytest.mark.parametrize("epsilon", [-1e-9, -8 / 255, math.nan, math.inf, -math.inf])
    def test_radius_is_finite_and_not_negative(self, norm: str, epsilon: float) -> None:
        with pytest.raises(ValueError, match="must be a finite number of at least 0"):
            ThreatModel(norm, epsilon)

    @pytest.mark.parametrize("text", ["L2 -0.5", "Linf -8/255", "L2 1e999"])
    def test_parsed_radius_is_checked(self, text: str) -> None:
        with pytest.raises(ValueError, match="must be a finite number of at least 0"):
            ThreatModel.parse(text)

    def test_grey_levels_are_recognised(self) -> None:
        with pytest.raises(ValueError, match="if you meant 8 grey levels, write 8/255"):
            ThreatModel("Linf", 8)
        with pytest.raises(ValueError, match=r"write 4\.5/255"):
            ThreatModel.parse("Linf 4.5")

    def test_boundaries_are_allowed(self) -> None:
        assert ThreatModel("Linf", 1).epsilon == 1
        assert ThreatModel("L2", 8).epsilon == 8

    def test_unknown_norm(self) -> None:
        with pytest.raises(ValueError, match="norm='L1' is unknown"):
            ThreatModel("L1", 0.1)


class TestProject:
    @settings(deadline=None)
    @given(norm=norms, epsilon=radii, images=pixels, perturbed=anywhere)
    def test_lands_in_ball_and_box(
        self, norm: str, epsilon: float, images: torch.Tensor, perturbed: torch.Tensor
    ) -> None:
        threat = ThreatModel(norm, epsilon)
        projected = threat.project(images, perturbed)
        assert projected.dtype == torch.float32
        assert projected.min() >= 0
        assert projected.max() <= 1
        assert (distances(images, projected, norm) <= epsilon + 1e-6).all()
        assert threat.contains(images, projected).all()

    @settings(deadline=None)
    @given(norm=norms, epsilon=radii, images=pixels, perturbed=anywhere)
    def test_is_idempotent(self, norm: str, epsilon: float, images: torch.Tensor, perturbed: torch.Tensor) -> None:
        threat = ThreatModel(norm, epsilon)
        once = threat.project(images, perturbed)
        torch.testing.assert_close(threat.project(images, once), once, rtol=0, atol=2e-7)

    @settings(deadline=None)
    @given(norm=norms, epsilon=radii, images=pixels, candidate=pixels)
    def test_leaves_allowed_images_unchanged(
        self, norm: str, epsilon: float, images: torch.Tensor, candidate: torch.Tensor
    ) -> None:
        far = torch.from_numpy(distances(images, candidate, norm)).clamp_min(1e-12)
        share = (0.9 * epsilon / far).clamp_max(1).float().reshape(-1, 1, 1, 1)
        candidate = images + share * (candidate - images)
        # Bit for bit, so strictly inside: on the sphere itself rounding decides which side a point is on.
        inside = torch.from_numpy(distances(images, candidate, norm) < epsilon * (1 - 1e-6))
        assume(bool(inside.any()))
        projected = ThreatModel(norm, epsilon).project(images, candidate)
        assert torch.equal(projected[inside], candidate[inside])

    @settings(deadline=None)
    @given(epsilon=radii, images=pixels, perturbed=anywhere)
    def test_l2_equals_float64(self, epsilon: float, images: torch.Tensor, perturbed: torch.Tensor) -> None:
        projected = ThreatModel("L2", epsilon).project(images, perturbed)
        expected = project_l2_float64(images, perturbed, epsilon)
        np.testing.assert_allclose(projected.double().numpy(), expected, rtol=0, atol=1e-6)

    def test_linf_by_hand(self) -> None:
        images = torch.tensor([0.5, 0.5, 0.5, 0.05, 0.95]).reshape(1, 1, 1, 5)
        perturbed = torch.tensor([0.55, 0.9, -3.0, -1.0, 2.0]).reshape(1, 1, 1, 5)
        projected = ThreatModel("Linf", 0.1).project(images, perturbed)
        torch.testing.assert_close(projected.flatten(), torch.tensor([0.55, 0.6, 0.4, 0.0, 1.0]))

    def test_l2_by_hand(self) -> None:
        images = torch.full((1, 1, 1, 2), 0.5)
        perturbed = images + torch.tensor([3.0, 4.0]).reshape(1, 1, 1, 2)
        projected = ThreatModel("L2", 0.5).project(images, perturbed)
        torch.testing.assert_close(projected.flatten(), torch.tensor([0.8, 0.9]))

    def test_each_image_has_its_own_ball(self) -> None:
        images = torch.full((2, 1, 2, 2), 0.5)
        perturbed = images.clone()
        perturbed[0] += 100
        projected = ThreatModel("L2", 0.2).project(images, perturbed)
        assert torch.equal(projected[1], images[1])
        torch.testing.assert_close(projected[0], torch.full((1, 2, 2), 0.6))


class TestContainsAndDistance:
    @settings(deadline=None)
    @given(norm=norms, images=pixels, others=pixels)
    def test_distance_equals_float64(self, norm: str, images: torch.Tensor, others: torch.Tensor) -> None:
        distance = ThreatModel(norm, 0.1).distance(images, others)
        np.testing.assert_allclose(distance.numpy(), distances(images, others, norm), rtol=1e-6, atol=1e-7)

    def test_contains_is_per_image(self) -> None:
        images = torch.full((4, 1, 2, 2), 0.98)
        perturbed = images.clone()
        perturbed[1] -= 0.2
        perturbed[2] += 0.05
        perturbed[3] = math.nan
        assert ThreatModel("Linf", 0.1).contains(images, perturbed).tolist() == [True, False, False, False]


class TestSample:
    @settings(deadline=None)
    @given(norm=norms, epsilon=radii, images=pixels, seed=st.integers(0, 2**31))
    def test_stays_in_ball_and_box(self, norm: str, epsilon: float, images: torch.Tensor, seed: int) -> None:
        drawn = ThreatModel(norm, epsilon).sample(images, torch.Generator().manual_seed(seed))
        assert drawn.min() >= 0
        assert drawn.max() <= 1
        assert (distances(images, drawn, norm) <= epsilon + 1e-6).all()

    def test_linf_is_uniform_in_the_cube(self) -> None:
        images = torch.full((20_000, 1, 1, 2), 0.5)
        noise = (ThreatModel("Linf", 0.2).sample(images, torch.Generator().manual_seed(0)) - images).flatten(1) / 0.2
        # Uniform on [-1, 1]: mean 0, variance 1/3, largest coordinate r has P(r ≤ t) = t².
        assert noise.mean().abs() < 0.02
        assert noise.var().item() == pytest.approx(1 / 3, abs=0.01)
        assert (noise.abs().amax(1) <= math.sqrt(0.5)).float().mean().item() == pytest.approx(0.5, abs=0.015)
        assert (noise[:, 0] * noise[:, 1]).mean().abs() < 0.01

    @pytest.mark.parametrize("dimension", [1, 2, 12])
    def test_l2_is_uniform_in_the_ball(self, dimension: int) -> None:
        images = torch.full((20_000, 1, 1, dimension), 0.5)
        noise = (ThreatModel("L2", 0.2).sample(images, torch.Generator().manual_seed(0)) - images).flatten(1) / 0.2
        # Uniform in the unit ball of d dimensions: P(‖z‖ ≤ t) = t^d, and no direction is preferred.
        volumes = noise.norm(dim=1) ** dimension
        for share in (0.1, 0.5, 0.9):
            assert (volumes <= share).float().mean().item() == pytest.approx(share, abs=0.015)
        covariance = noise.T.cov().reshape(dimension, dimension)
        expected = torch.eye(dimension) / (dimension + 2)
        torch.testing.assert_close(covariance, expected, rtol=0, atol=0.012)
        assert noise.mean(0).abs().max() < 0.02

    @pytest.mark.parametrize("norm", NORMS)
    def test_generator_decides_and_advances(self, norm: str) -> None:
        threat, images = ThreatModel(norm, 0.1), torch.full(SHAPE, 0.5)
        generator = torch.Generator().manual_seed(3)
        first, second = threat.sample(images, generator), threat.sample(images, generator)
        assert not torch.equal(first, second)
        assert torch.equal(first, threat.sample(images, torch.Generator().manual_seed(3)))

    def test_images_of_a_batch_are_drawn_independently(self) -> None:
        drawn = ThreatModel("L2", 0.1).sample(torch.full((2, 3, 4, 4), 0.5), torch.Generator().manual_seed(0))
        assert not torch.equal(drawn[0], drawn[1])


class TestAscentStep:
    def test_linf_moves_by_the_sign(self) -> None:
        gradient = torch.tensor([3.0, -1e-30, 0.0, 2e20]).reshape(1, 1, 2, 2)
        step = ThreatModel("Linf", 0.1).ascent_step(gradient, 0.01)
        assert torch.equal(step.flatten(), torch.tensor([0.01, -0.01, 0.0, 0.01]))

    @pytest.mark.parametrize("size", [1e-43, 1e-30, 1e-22, 1.0, 1e22, 1e37])
    def test_l2_has_the_step_length_at_every_gradient_scale(self, size: float) -> None:
        gradient = torch.tensor([3.0, 0.0, -4.0, 0.0]).reshape(1, 1, 2, 2) * size
        step = ThreatModel("L2", 0.5).ascent_step(gradient, 0.1)
        expected = torch.tensor([0.06, 0.0, -0.08, 0.0])
        torch.testing.assert_close(step.flatten(), expected, rtol=0.02 if size < 1e-40 else 1e-6, atol=0)

    def test_zero_gradient_moves_nothing(self) -> None:
        for norm in NORMS:
            assert torch.equal(ThreatModel(norm, 0.5).ascent_step(torch.zeros(SHAPE), 0.1), torch.zeros(SHAPE))
