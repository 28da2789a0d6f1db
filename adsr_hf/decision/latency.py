"""What inference costs: the same by proof, or two networks timed in turn, in one process, on the same images."""

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from huggingface_hub import snapshot_download
from safetensors import SafetensorError
from transformers import PreTrainedModel

from adsr_hf.decision.arms import Member
from adsr_hf.decision.same_cost import same_cost
from adsr_hf.evaluation.model_files import MODEL_PATTERNS
from adsr_hf.measures.statistics import percentile_interval, resampling_weights
from adsr_hf.networks.pretrained import PretrainedError, load_classifier
from adsr_hf.records.machine import compute_device, describe_machine

BATCH_SIZE = 32
# Rounds double until they can tell, each time looking once more; an interval of 99% allows for five looks.
ROUNDS = 30
MOST_ROUNDS = 480
MOST_SECONDS = 120.0
_CONFIDENCE = 0.99
# Two timings of one network differ by a few percent: within these a ratio counts as the same.
SAME = (0.95, 1.05)


@dataclass(frozen=True)
class LatencyPair:
    """Time of a forward pass.

    Attributes:
        candidate_milliseconds, current_milliseconds: per image, medians; None where no clock was needed.
        ratio: candidate over current, median over rounds.
        interval: of the ratio, 99% bootstrap over rounds.
        rounds: in which both were timed; 0 where both are the same architecture with weights of the same shapes and
            types, so that they do the same operations and the ratio is 1.
        verdict: ``"the same"``, ``"slower"``, ``"faster"`` or ``"no evidence"``.
    """

    candidate_milliseconds: float | None
    current_milliseconds: float | None
    ratio: float
    interval: tuple[float, float]
    batch_size: int
    rounds: int
    machine: str
    verdict: str

    @property
    def proven(self) -> bool:
        """Whether both must cost the same, without a clock."""
        return self.rounds == 0

    def as_dict(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self) | {"interval": list(self.interval)}


def measure_latency(candidate: Member, current: Member, *, bound: float | None = None) -> LatencyPair:
    """What inference costs: equal by proof, or else timed.

    Both networks are timed one after the other in every round, the first of them in turn, so that what else the
    machine does hits both. There are 30 rounds, and twice as many as long as they cannot tell: at most 480, or two
    minutes.

    Args:
        candidate, current: evaluated models whose checkpoints are at hand.
        bound: of the ratio; the rounds go on until it is clear on which side of it the ratio lies. None: until there
            is a verdict.

    Raises:
        ValueError: when a checkpoint is not there to be loaded.
    """
    folders = [_folder(member) for member in (candidate, current)]
    shapes = [tuple(member.records.summary["data"]["image_shape"]) for member in (candidate, current)]
    try:
        same = shapes[0] == shapes[1] and same_cost(*folders)
    except (OSError, ValueError, SafetensorError) as error:
        raise ValueError(f"the checkpoints cannot be loaded to measure their latency: {error}") from error
    if same:
        return LatencyPair(None, None, 1.0, (1.0, 1.0), BATCH_SIZE, 0, describe_machine(), "the same")
    device = compute_device()
    models = [_load(folder).to(device).eval() for folder in folders]
    images = [
        torch.rand(BATCH_SIZE, *shape, generator=torch.Generator().manual_seed(0)).to(device) for shape in shapes
    ]
    taken, interval = _timed(list(zip(models, images, strict=True)), bound)
    milliseconds = 1000 * np.median(taken, axis=0) / BATCH_SIZE
    return LatencyPair(
        float(milliseconds[0]),
        float(milliseconds[1]),
        float(np.median(taken[:, 0] / taken[:, 1])),
        interval,
        BATCH_SIZE,
        len(taken),
        describe_machine(),
        _verdict(interval),
    )


def _timed(
    pair: list[tuple[PreTrainedModel, torch.Tensor]], bound: float | None
) -> tuple[np.ndarray, tuple[float, float]]:
    """Seconds of both in each round, (rounds, 2), and the interval of their ratio."""
    for model, pixels in pair:
        _seconds(model, pixels)
    started = time.perf_counter()
    taken: list[list[float]] = []
    wanted = ROUNDS
    while True:
        while len(taken) < wanted:
            order = (0, 1) if len(taken) % 2 else (1, 0)
            seconds = {side: _seconds(*pair[side]) for side in order}
            taken.append([seconds[0], seconds[1]])
        interval = _interval(np.array(taken))
        late = time.perf_counter() - started > MOST_SECONDS
        if late or wanted >= MOST_ROUNDS or _tells(interval, bound):
            return np.array(taken), interval
        wanted *= 2


def _interval(taken: np.ndarray) -> tuple[float, float]:
    ratios = np.sort(taken[:, 0] / taken[:, 1])
    # Each resample's median, from how many of its draws are among the smallest: (resamples, rounds).
    among = resampling_weights(len(ratios), seed=0).cumsum(axis=1)
    lower, upper = (2 * among >= len(ratios)).argmax(axis=1), (2 * among > len(ratios)).argmax(axis=1)
    return percentile_interval((ratios[lower] + ratios[upper]) / 2, _CONFIDENCE)


def _tells(interval: tuple[float, float], bound: float | None) -> bool:
    if bound is None:
        return _verdict(interval) != "no evidence"
    return interval[1] < bound or interval[0] > bound


def _verdict(interval: tuple[float, float]) -> str:
    low, high = interval
    if low >= SAME[0] and high <= SAME[1]:
        return "the same"
    if low > SAME[1]:
        return "slower"
    return "faster" if high < SAME[0] else "no evidence"


def _folder(member: Member) -> Path:
    if member.checkpoint is not None:
        return member.checkpoint
    model = member.records.summary["model"]
    if not model.get("revision"):
        raise ValueError(f"the checkpoint of {member.folder} is not at hand, so its latency cannot be measured")
    try:
        patterns = list(MODEL_PATTERNS)
        return Path(snapshot_download(model["source"], revision=model["revision"], allow_patterns=patterns))
    except (OSError, ValueError) as error:
        raise ValueError(f"the checkpoint {model['source']} cannot be had to measure its latency: {error}") from error


def _load(folder: Path) -> PreTrainedModel:
    try:
        return load_classifier(folder)
    except PretrainedError as error:
        raise ValueError(f"the checkpoint {folder} cannot be loaded to measure its latency: {error}") from error


@torch.inference_mode()
def _seconds(model: PreTrainedModel, pixels: torch.Tensor) -> float:
    started = time.perf_counter()
    model(pixel_values=pixels).logits.sum().item()
    return time.perf_counter() - started
