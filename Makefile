# `make demo` and `make test` do all of their own set-up: a virtual environment in .venv, and the pinned packages.
PYTHON ?= python3
VENV := .venv
# Tests run on one thread each, so two cores take two at a time.
PYTEST := python -m pytest --numprocesses 2 --dist loadfile
BIN := $(VENV)/bin

.PHONY: demo test check slow lower-bounds benchmarks clean

demo: $(VENV)/.ready
	$(BIN)/adsr demo

# torch comes first and alone: once it is there, no other package can pull in another build.
$(VENV)/.ready: setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "Python 3.11 or newer is needed; run: make PYTHON=python3.11 ..."'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet "$$(grep '^torch==' constraints.txt)"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test,lint]'
	touch $@

check: $(VENV)/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: check
	$(BIN)/$(PYTEST)

slow: $(VENV)/.ready
	$(BIN)/$(PYTEST) -m slow

# The oldest supported versions, as far as they install beside the pinned torch.
lower-bounds:
	$(PYTHON) -m venv .venv-lower-bounds
	.venv-lower-bounds/bin/python -m pip install --quiet "$$(grep '^torch==' constraints.txt)"
	.venv-lower-bounds/bin/python -m pip install --quiet --constraint constraints-lower-bounds.txt --editable '.[test]'
	.venv-lower-bounds/bin/$(PYTEST)

benchmarks: $(VENV)/.ready
	for name in step_cost attack_precision import_time data_loading peak_memory evaluation_estimate autoattack; do \
		$(BIN)/python -m benchmarks.$$name --output docs/results/$$name.json || exit 1; done

clean:
	rm -rf $(VENV) .venv-lower-bounds build dist *.egg-info demo-output
