"""What is measured on what, in the words of the records."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Provenance:
    """Where model and images come from.

    Attributes:
        model_source: folder or Hub name.
        revision: commit of a Hub model.
        model_files: sha256 of each file that the model was loaded from; None for one in memory.
        weights: ``"student"`` or ``"teacher"``, whose they are; None where no run's record says.
        published: whether they are what ``from_pretrained`` loads, and not those kept beside it.
        data_source: name of the data set.
        split: ``"test"`` or ``"validation"``.
        drawn: how many images were drawn from a larger split; None = it was measured whole.
        class_names: in the model's order, each once; None numbers them.
        positive_class: of two classes the one to be found, such as ``"defective"``; None = neither.
    """

    model_source: str = "in memory"
    revision: str | None = None
    model_files: Mapping[str, str] | None = None
    weights: str | None = None
    published: bool = True
    data_source: str = "in memory"
    split: str = "test"
    drawn: int | None = None
    class_names: Sequence[str] | None = None
    positive_class: str | None = None
