# `make check` is what CI runs. It expects the dev extra: pip install -e '.[dev]'

.PHONY: check lint types layers test coverage browser format package long

check: lint types layers package coverage test

lint:
	ruff check
	ruff format --check

types:
	pyright

layers:
	lint-imports

# The core's rules are held by tests of their own, to the last branch.
coverage:
	python -m pytest tests/unit/core --cov --cov-report=term-missing -q

test:
	python -m pytest

package:
	python -m pytest tests/e2e/test_package.py -q

browser:
	python -m pytest -m browser tests/e2e

# Minutes to hours: larger numbers of random trees, repeated runs of the command.
long:
	REGROW_LONG=1 python -m pytest -m "slow or not slow" tests/fuzz tests/e2e

format:
	ruff check --fix
	ruff format
