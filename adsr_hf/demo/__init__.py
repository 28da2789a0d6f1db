"""``adsr demo``: three ways to train on handwritten digits, side by side."""
