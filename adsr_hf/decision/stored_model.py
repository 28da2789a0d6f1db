"""A model named by place and content: what a decision promotes, and what it would return to."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from huggingface_hub.utils import HFValidationError, validate_repo_id

from adsr_hf.decision.arms import Member
from adsr_hf.evaluation.model_files import (
    CONFIG,
    INDEX,
    MODEL_PATTERNS,
    WEIGHTS,
    ModelFilesError,
    is_model_file,
    model_files,
)

_SHA256 = re.compile(r"[0-9a-f]{64}")
_COMMIT = re.compile(r"[0-9a-f]{40}")


class StoredModelError(ValueError):
    """A model that is not where it should be, not what it should be, or not described as it should be."""


@dataclass(frozen=True)
class StoredModel:
    """A model's place and content.

    Attributes:
        path: absolute, of a local folder; None for a Hub model.
        hub_name, revision: of a Hub model, with its commit; None for a local one.
        sha256: of every file that inference needs, by name.
        fingerprint: sha256 over its weights, as in the records and the report
            (:func:`adsr_hf.evaluation.fingerprints.model_fingerprint`).
    """

    path: str | None
    hub_name: str | None
    revision: str | None
    sha256: Mapping[str, str]
    fingerprint: str

    def __post_init__(self) -> None:
        if self.path is not None:
            local = isinstance(self.path, str) and Path(self.path).is_absolute() and "\0" not in self.path
            if not local or self.hub_name is not None or self.revision is not None:
                raise StoredModelError(f"path={self.path!r} must be absolute, without hub_name and revision")
        else:
            _check_hub_name(self.hub_name)
            if not isinstance(self.revision, str) or not _COMMIT.fullmatch(self.revision):
                raise StoredModelError(f"revision={self.revision!r} must be a commit of 40 hexadecimal digits")
        _check_hashes(self.sha256)
        if not isinstance(self.fingerprint, str) or not _SHA256.fullmatch(self.fingerprint):
            raise StoredModelError(f"fingerprint={self.fingerprint!r} must be 64 hexadecimal digits")

    def as_dict(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self) | {"sha256": dict(self.sha256)}

    @classmethod
    def from_dict(cls, values: Any) -> "StoredModel":
        """Read back what :meth:`as_dict` gave.

        Raises:
            StoredModelError: when a key is missing or unknown, or a value is not what its attribute says.
        """
        wanted = set(cls.__dataclass_fields__)
        if not isinstance(values, dict) or set(values) != wanted:
            raise StoredModelError(f"a model is described by {', '.join(sorted(wanted))}, and by nothing else")
        return cls(**values)

    @property
    def name(self) -> str:
        """Place and content in words."""
        place = self.path if self.path is not None else f"{self.hub_name} at {self.revision}"
        return f"{place} (fingerprint {self.fingerprint[:16]})"

    def is_in(self, folder: Path) -> bool:
        """Whether ``folder`` holds this model, bit for bit."""
        try:
            return model_files(folder) == dict(self.sha256)
        except (ModelFilesError, OSError):
            return False

    def fetch(self) -> Path:
        """The folder that holds it, downloaded from the Hub where it is there.

        Raises:
            StoredModelError: when it is gone or has changed, naming the files.
        """
        folder = Path(self.path) if self.path is not None else self._downloaded()
        if not folder.is_dir():
            raise StoredModelError(f"the model's folder {folder} is gone; restore it from a backup")
        if not self.is_in(folder):
            raise StoredModelError(
                f"the model in {folder} has changed since it was measured: {self._differences(folder)}"
            )
        return folder

    def _downloaded(self) -> Path:
        assert self.hub_name is not None
        try:
            patterns = list(MODEL_PATTERNS)
            return Path(snapshot_download(self.hub_name, revision=self.revision, allow_patterns=patterns))
        except (OSError, ValueError) as error:
            raise StoredModelError(f"{self.hub_name} at {self.revision} cannot be had: {error}") from error

    def _differences(self, folder: Path) -> str:
        try:
            found = model_files(folder)
        except (ModelFilesError, OSError) as error:
            return str(error)
        differing = sorted(
            name for name in {*found, *self.sha256} if (found.get(name) or "") != (self.sha256.get(name) or "")
        )
        return f"{', '.join(differing)} do(es) not have the sha256 that was written down"


def stored_model(member: Member) -> StoredModel:
    """Where the model of an evaluation is, and what its files held when it was measured.

    Raises:
        StoredModelError: when the weights cannot be shipped, the records do not say what files were measured, or the
            model is neither in a folder nor on the Hub.
    """
    if member.why_not_shippable is not None:
        raise StoredModelError(member.why_not_shippable)
    model = member.records.summary["model"]
    if member.checkpoint is not None:
        place: tuple[str | None, str | None, str | None] = (str(member.checkpoint.resolve()), None, None)
    elif model.get("revision"):
        place = (None, model["source"], model["revision"])
    else:
        raise StoredModelError(
            f"the model of {member.folder} ({model['source']}) is neither in a folder that exists nor a Hub model of "
            "a known commit, so that there is nothing to ship or to return to; keep its checkpoint, or evaluate it "
            "from the Hub"
        )
    try:
        return StoredModel(*place, model["files"], model["fingerprint"])
    except StoredModelError as error:
        raise StoredModelError(
            f"the records in {member.folder} do not say completely which files were measured: {error}; evaluate again"
        ) from error


def _check_hub_name(name: Any) -> None:
    try:
        if not isinstance(name, str):
            raise StoredModelError(f"hub_name={name!r} must be a name such as owner/model, or path a folder")
        validate_repo_id(name)
    except HFValidationError as error:
        raise StoredModelError(f"hub_name={name!r} is no name of a model on the Hub: {error}") from error


def _check_hashes(hashes: Any) -> None:
    if not isinstance(hashes, Mapping):
        raise StoredModelError(f"sha256={hashes!r} must map file names to hashes")
    for name, value in hashes.items():
        if not isinstance(name, str) or not is_model_file(name):
            raise StoredModelError(f"sha256 names {name!r}, which is no file of a model's folder")
        if not isinstance(value, str) or not _SHA256.fullmatch(value):
            raise StoredModelError(f"sha256 of {name} is {value!r}, but must be 64 hexadecimal digits")
    if CONFIG not in hashes or not (WEIGHTS in hashes or INDEX in hashes):
        raise StoredModelError(f"sha256 names {sorted(hashes)}, but must have {CONFIG} with {WEIGHTS} or {INDEX}")
