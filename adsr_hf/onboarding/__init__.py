"""The first steps with one's own photos: what is there, and a recipe for it."""
