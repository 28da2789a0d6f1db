"""Names of the attacks that an evaluation can run. Imports nothing heavy."""

AUTOATTACK = "autoattack"
# The standard version of Croce & Hein 2020, in its order.
AUTOATTACK_MEMBERS: tuple[str, ...] = ("apgd-ce", "apgd-t", "fab-t", "square")
ATTACK_NAMES: tuple[str, ...] = ("pgd", "margin", "apgd-ce", "apgd-dlr", "apgd-t", "fab-t", "square")
# These come from the authors' own package, an extra.
NEED_AUTOATTACK_PACKAGE = frozenset(AUTOATTACK_MEMBERS) | {"apgd-dlr"}
