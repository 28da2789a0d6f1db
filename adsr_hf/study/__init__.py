"""Grids of recipes and seeds: read, checked as a whole, run cell by cell, and told in one table."""
