# Two commands do everything on a fresh machine: `make demo` and `make test`.
# All paths are relative, so the checkout may live anywhere, also where a path has spaces.

PYTHON := .venv/bin/python
# More arguments for pytest: make test ARGS='-x -k namespaces'
ARGS :=

.PHONY: help demo test test-vm unit lint format bench clean

help:
	@echo 'make demo    install minirun here and run a model in a container'
	@echo 'make test    install the test tools too, run the whole test suite'
	@echo 'make test-vm the tests that need cgroup v2 or systemd, in an emulated machine'
	@echo 'make unit    only the tests that ask the host for nothing and start no server'
	@echo 'make lint    ruff check, ruff format --check, mypy'
	@echo 'make format  let ruff put the source into shape'
	@echo 'make bench   the benchmark table, side by side with other runtimes'
	@echo 'make clean   remove what these commands made in this folder'

demo:
	@sh scripts/setup run
	@sh scripts/demo

test:
	@sh scripts/setup test
	@$(PYTHON) -m pytest $(ARGS)

test-vm:
	@scripts/vm test $(ARGS)

unit:
	@sh scripts/setup lint
	@$(PYTHON) -m pytest -m 'not requires' --ignore tests/images $(ARGS)

lint:
	@sh scripts/setup lint
	@$(PYTHON) -m ruff check .
	@$(PYTHON) -m ruff format --check .
	@$(PYTHON) -m mypy

format:
	@$(PYTHON) -m ruff check --fix .
	@$(PYTHON) -m ruff format .

bench:
	@sh scripts/setup test
	@$(PYTHON) -c 'import aiohttp, matplotlib' 2>/dev/null || \
	    { $(PYTHON) -m pip install -q -c constraints.txt -e '.[bench]' && $(PYTHON) scripts/entries.py; }
	@$(PYTHON) -m benchmarks $(ARGS)

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis
