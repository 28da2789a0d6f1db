"""What inference costs: two networks timed in turn, in one process, on the same images."""

import time
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from transformers import AutoModelForImageClassification, PreTrainedModel

import adsr_hf.networks  # noqa: F401  (transformers knows its architectures from then on)
from adsr_hf.decision.arms import Member
from adsr_hf.evaluation.statistics import percentile_interval, resampling_weights
from adsr_hf.machine import describe_machine

BATCH_SIZE = 32
ROUNDS = 30
# Two timings of one network differ by a few percent: within these a ratio counts as the same.
SAME = (0.95, 1.05)


@dataclass(frozen=True)
class LatencyPair:
    """Time of a forward pass.

    Attributes:
        candidate_milliseconds, current_milliseconds: per image, medians.
        ratio: candidate over current, median over rounds.
        interval: of the ratio, 95% bootstrap over rounds.
        verdict: ``"the same"``, ``"slower"``, ``"faster"`` or ``"no evidence"``.
    """

    candidate_milliseconds: float
    current_milliseconds: float
    ratio: float
    interval: tuple[float, float]
    batch_size: int
    rounds: int
    machine: str
    verdict: str

    def as_dict(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self) | {"interval": list(self.interval)}


def measure_latency(candidate: Member, current: Member, *, rounds: int = ROUNDS) -> LatencyPair:
    """Time both networks, one after the other in every round, so that what else the machine does hits both.

    Raises:
        ValueError: when a checkpoint is not there to be loaded.
    """
    device = torch.accelerator.current_accelerator() or torch.device("cpu")
    models = [_load(member).to(device).eval() for member in (candidate, current)]
    shape = candidate.records.summary["data"]["image_shape"]
    pixels = torch.rand(BATCH_SIZE, *shape, generator=torch.Generator().manual_seed(0)).to(device)
    for model in models:
        _seconds(model, pixels)
    taken = np.array([[_seconds(model, pixels) for model in models] for _ in range(rounds)])
    ratios = taken[:, 0] / taken[:, 1]
    draws = resampling_weights(rounds, seed=0).astype(int)
    replicates = np.array([np.median(np.repeat(ratios, draw)) for draw in draws])
    interval = percentile_interval(replicates)
    milliseconds = 1000 * np.median(taken, axis=0) / BATCH_SIZE
    return LatencyPair(
        float(milliseconds[0]),
        float(milliseconds[1]),
        float(np.median(ratios)),
        interval,
        BATCH_SIZE,
        rounds,
        describe_machine(),
        _verdict(interval),
    )


def _verdict(interval: tuple[float, float]) -> str:
    low, high = interval
    if low >= SAME[0] and high <= SAME[1]:
        return "the same"
    if low > SAME[1]:
        return "slower"
    return "faster" if high < SAME[0] else "no evidence"


def _load(member: Member) -> PreTrainedModel:
    model = member.records.summary["model"]
    source = member.checkpoint or model["source"]
    if member.checkpoint is None and not model.get("revision"):
        raise ValueError(f"the checkpoint of {member.folder} is not at hand, so its latency cannot be measured")
    try:
        return AutoModelForImageClassification.from_pretrained(source, revision=model.get("revision") or "main")
    except (OSError, ValueError, SafetensorError) as error:
        raise ValueError(f"the checkpoint {source} cannot be loaded to measure its latency: {error}") from error


@torch.inference_mode()
def _seconds(model: PreTrainedModel, pixels: torch.Tensor) -> float:
    started = time.perf_counter()
    model(pixel_values=pixels).logits.sum().item()
    return time.perf_counter() - started
