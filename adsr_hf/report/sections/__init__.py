"""The parts of the page, one module each: a function from what is shown to its markup."""
