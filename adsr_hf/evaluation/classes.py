"""What an average hides: each class by itself, what is taken for what, and what the most frequent class would give."""

from typing import Any

import numpy as np

from adsr_hf.evaluation.figure_names import CLEAN, attacked_name, class_figure
from adsr_hf.evaluation.records import EvaluationRecords
from adsr_hf.evaluation.vectors import ERROR_RATES, figure_vector, predictions_under, right_under
from adsr_hf.measures.intervals import FigureEntry, share_entry
from adsr_hf.records.sentences import Sentence, sentence

# A matrix of more classes would outgrow the rest of a summary many times.
CONFUSION_CLASSES = 100


def class_figures(records: EvaluationRecords) -> dict[str, FigureEntry]:
    """Figures of one class's images each, with Wilson's interval; ``images`` counts those.

    ``class_accuracy/{class}`` and, for each threat T, ``T/class_robust_accuracy/{class}``, without the classes of
    which there is no image. Where a positive class is named also ``missed_rate`` (share of its images that are taken
    for the other class), ``false_alarm_rate`` (share of the other's that are taken for it), and both as
    ``T/robust_…``. And of all images ``majority_share``, the accuracy of a model that always says the most frequent
    class.
    """
    conditions, labels, names = [CLEAN, *records.threats], records.labels, _class_names(records)
    totals = np.bincount(labels, minlength=len(names)).tolist()
    figures = {"majority_share": share_entry(max(totals), len(labels))}
    for condition in conditions:
        right = np.bincount(labels[right_under(records, condition)], minlength=len(names)).tolist()
        figures |= {
            class_figure(name, condition): share_entry(hits, total)
            for name, hits, total in zip(names, right, totals, strict=True)
            if total > 0
        }
    rates = [attacked_name(rate, condition) for condition in conditions for rate in ERROR_RATES]
    vectors = {rate: figure_vector(records, rate) for rate in rates}
    return figures | {name: share_entry(int(v.sum()), len(v)) for name, v in vectors.items() if v is not None}


def confusion_matrix(records: EvaluationRecords, condition: str) -> np.ndarray:
    """(K, K) int64 numbers of images: rows are the true classes, columns the predicted ones.

    Args:
        condition: ``"clean"``, or a threat for the worst images found inside it.
    """
    classes = len(_class_names(records))
    cells = records.labels * classes + predictions_under(records, condition)
    return np.bincount(cells, minlength=classes**2).reshape(classes, classes)


def confusion_of(records: EvaluationRecords) -> dict[str, list[list[int]]] | None:
    """The confusion matrix, clean and under each threat; None where there are more than CONFUSION_CLASSES classes."""
    if len(_class_names(records)) > CONFUSION_CLASSES:
        return None
    return {condition: confusion_matrix(records, condition).tolist() for condition in (CLEAN, *records.threats)}


def majority_of(records: EvaluationRecords) -> dict[str, Any]:
    """The most frequent class (of several the first), its ``share`` of the images, and whether it is ``beaten``.

    A condition (``"clean"`` or a threat) counts as beaten where the 95% interval of the accuracy lies above the share;
    otherwise nothing shows that the model does better than one that always says that class. Needs the figures.
    """
    figures = records.summary["figures"]
    share = figures["majority_share"]["value"]
    beaten = {
        condition: figures[attacked_name("accuracy", condition)]["interval"][0] > share
        for condition in (CLEAN, *records.threats)
    }
    return {"class": _class_names(records)[_majority_class(records)], "share": share, "beaten": beaten}


def class_notes(records: EvaluationRecords) -> list[Sentence]:
    """Sentences that say which of these figures there are not, and why."""
    names = _class_names(records)
    counts = np.bincount(records.labels, minlength=len(names))
    absent = [name for name, count in zip(names, counts, strict=True) if count == 0]
    notes = []
    if absent:
        shown = ", ".join(repr(name) for name in absent[:10]) + (", ..." if len(absent) > 10 else "")
        notes.append(sentence("note.absent_classes", absent=len(absent), classes=len(names), names=shown))
    if len(names) > CONFUSION_CLASSES:
        notes.append(sentence("note.no_confusion", classes=len(names), most=CONFUSION_CLASSES))
    return notes


def _class_names(records: EvaluationRecords) -> list[str]:
    return list(records.summary["model"]["class_names"])


def _majority_class(records: EvaluationRecords) -> int:
    return int(np.bincount(records.labels).argmax())
