"""From records to a decision: compare two models on the same images, gate the new one, roll back to the old."""
