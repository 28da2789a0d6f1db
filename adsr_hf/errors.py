"""Errors that more than one room raises. Imports nothing."""


class UsageError(Exception):
    """Words on the command line or in a recipe that cannot be understood."""
