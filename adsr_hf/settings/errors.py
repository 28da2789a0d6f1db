"""Errors that more than one room raises. Imports nothing."""


class UsageError(Exception):
    """Words on the command line or in a recipe that cannot be understood."""


class RecordsError(ValueError):
    """Records that cannot be read: missing, cut short, damaged, of another kind or schema, or not of one run."""
