"""From a journal's units to the records' columns."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow
import torch

from adsr_hf.attacks import ThreatModel
from adsr_hf.attacks.interface import NamedAttack
from adsr_hf.evaluation.driver import CLEAN, NOISE, stage_of
from adsr_hf.evaluation.journal import Journal
from adsr_hf.measures.figures import worst_case_logits

Columns = dict[str, Any]


def record_table(
    journal: Journal, labels: np.ndarray, threats: Sequence[ThreatModel], attacks: Sequence[NamedAttack]
) -> pyarrow.Table:
    """A row for each image, by index.

    An image that is wrong without any attack, or has fallen to an earlier one, is not attacked (again): its columns
    of that attack are null. The worst outcome is the one that broke it, or that of highest cross-entropy.

    Args:
        labels: (N,), int64.
    """
    clean = journal.read(CLEAN)["logits"]
    columns: Columns = {"index": np.arange(len(labels)), "label": labels}
    columns |= _outcome(CLEAN, clean)
    for threat in threats:
        columns |= _under(journal, threat, attacks, clean, labels)
    columns |= {name: values for name, values in journal.read(NOISE).items() if name != "index"}
    return pyarrow.table(columns)


def cross_entropy(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """−log softmax(logits)[label] of each row, (N,), float64."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    return np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(labels)), labels]


def _under(
    journal: Journal, threat: ThreatModel, attacks: Sequence[NamedAttack], clean: np.ndarray, labels: np.ndarray
) -> Columns:
    columns: Columns = {}
    right = clean.argmax(1) == labels
    broken_by = np.full(len(labels), None, dtype=object)
    broken_by[~right] = CLEAN
    attacked, distance = clean.copy(), np.zeros(len(labels))
    highest = np.full(len(labels), -np.inf)
    for attack in attacks:
        rows = journal.read(stage_of(threat, attack))
        index = rows["index"] if rows else np.empty(0, dtype=np.int64)
        logits = rows["logits"] if rows else np.empty((0, clean.shape[1]), dtype=np.float32)
        distances = rows["distance"] if rows else np.empty(0)
        fell = logits.argmax(1) != labels[index]
        broken_by[index[fell]] = attack.name
        score = np.where(fell, np.inf, cross_entropy(logits, labels[index]))
        worse = score > highest[index]
        attacked[index[worse]], distance[index[worse]] = logits[worse], distances[worse]
        highest[index[worse]] = score[worse]
        columns |= _sparse(f"{threat}.{attack.name}", index, logits, distances, len(labels))
    worst = worst_case_logits(torch.from_numpy(clean), torch.from_numpy(attacked), torch.from_numpy(labels))
    columns |= _outcome(f"{threat}.worst", worst.numpy())
    columns[f"{threat}.worst.distance"] = distance
    columns[f"{threat}.broken_by"] = pyarrow.array(broken_by.tolist(), pyarrow.string())
    return columns


def confidence_of(logits: np.ndarray) -> np.ndarray:
    """Highest probability of each row, (N,), float64."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    return 1 / np.exp(shifted).sum(axis=1)


def _outcome(name: str, logits: np.ndarray) -> Columns:
    return {
        f"{name}.prediction": logits.argmax(1).astype(np.int64),
        f"{name}.confidence": confidence_of(logits),
        f"{name}.logits": pyarrow.array(list(logits.astype(np.float32)), pyarrow.list_(pyarrow.float32())),
    }


def _sparse(name: str, index: np.ndarray, logits: np.ndarray, distance: np.ndarray, total: int) -> Columns:
    """Columns with nulls where an image was not attacked."""
    absent = np.ones(total, dtype=bool)
    absent[index] = False
    prediction, confidence, length = np.zeros(total, dtype=np.int64), np.zeros(total), np.zeros(total)
    prediction[index], confidence[index], length[index] = logits.argmax(1), confidence_of(logits), distance
    return {
        f"{name}.prediction": pyarrow.array(prediction, mask=absent),
        f"{name}.confidence": pyarrow.array(confidence, mask=absent),
        f"{name}.distance": pyarrow.array(length, mask=absent),
    }
