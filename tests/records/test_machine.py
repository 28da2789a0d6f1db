"""Versions that a record states."""

from importlib.metadata import PackageNotFoundError

import pytest

from adsr_hf import __version__
from adsr_hf.records import machine


def test_this_package_needs_no_metadata(monkeypatch: pytest.MonkeyPatch) -> None:
    """From a checkout that was never installed, a run used to end in PackageNotFoundError after its training."""

    def missing(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(machine, "version", missing)
    assert machine.package_versions() == {"adsr_hf": __version__}
    monkeypatch.undo()
    assert set(machine.package_versions()) == {"adsr_hf", *machine.PACKAGES}
