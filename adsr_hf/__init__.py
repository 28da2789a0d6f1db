"""Adversarially robust, calibrated image classifiers with the Hugging Face Trainer."""

from adsr_hf._version import __version__

__all__ = ["__version__"]
