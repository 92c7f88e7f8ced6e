# `make check` is what CI runs. It expects the dev extra: pip install -e '.[dev]'

.PHONY: check static lint types layers coverage package test browser long format docs bench

check: static test

static: lint types layers coverage

lint:
	ruff check
	ruff format --check

types:
	pyright

layers:
	lint-imports

# The core's rules are held by tests of their own, to the last branch.
coverage:
	python -m pytest -q -n 2 tests/unit/core -k 'not in_proportion' --cov --cov-report=term-missing

test:
	python -m pytest -n 2

# The Web UI in a real browser; part of `make test` where Chromium is installed.
browser:
	python -m pytest -m browser

# Ten times the random trees, trees of up to 10,000 tasks with a worker killed, and each extra in an environment of its own.
long:
	REGROW_LONG=1 python -m pytest --timeout=7200 tests/fuzz tests/conformance tests/scale tests/workflow/test_large_trees.py tests/e2e/test_extras.py

format:
	ruff check --fix
	ruff format

# The reference is written out of the code; then the site, into site/.
docs:
	python -m docs.generate
	NO_MKDOCS_2_WARNING=1 python -m mkdocs build --strict

# Every figure of docs/performance.md but those of foreign systems; about an hour on a quiet machine.
RESULTS = benchmarks/results
bench:
	rm -f $(RESULTS)/replay.jsonl
	python -m benchmarks.replay --jsonl $(RESULTS)/replay.jsonl
	python -m benchmarks.end_to_end --jsonl $(RESULTS)/end_to_end.jsonl
	python -m benchmarks.end_to_end --versus-stock --repetitions 15 --jsonl $(RESULTS)/stock.jsonl
	python -m benchmarks.end_to_end --sizes 1000,10000,100000 --repetitions 3 --jsonl $(RESULTS)/sizes.jsonl
	python -m benchmarks.end_to_end --local --jsonl $(RESULTS)/local.jsonl
	python -m benchmarks.latency --local --jsonl $(RESULTS)/latency.jsonl
	python -m benchmarks.recovery --jsonl $(RESULTS)/recovery.jsonl
	python -m benchmarks.page
