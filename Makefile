# Each target does all of its own set-up; the stamp makes the second time quick.
.PHONY: demo test test-all lint setup clean

STAMP := .venv/.installed
# The first interpreter that really starts: a name on the PATH may be an empty shim.
PYTHON ?= $(shell for p in python3.12 python3.13 python3; do \
	$$p -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
# One BLAS thread per process: two processes of two spinning threads each are many times slower on two cores.
PYTEST := OPENBLAS_NUM_THREADS=1 .venv/bin/python -m pytest -n 2 --dist worksteal

demo: $(STAMP)
	.venv/bin/meanforce demo

test: $(STAMP)
	$(PYTEST) -m "not long"

test-all: $(STAMP)
	$(PYTEST)

lint: $(STAMP)
	.venv/bin/ruff check src tests benchmarks
	.venv/bin/ruff format --check src tests benchmarks
	.venv/bin/mypy

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "meanforce needs Python 3.11 or newer: install it (on Debian: apt install python3 python3-venv), or say make PYTHON=/path/to/python3.12"; exit 1; }
	$(PYTHON) -m venv .venv || { echo "python's venv module is missing: on Debian, apt install python3-venv"; exit 1; }
	.venv/bin/python -m pip install --quiet --upgrade pip
	.venv/bin/python -m pip install --quiet -c constraints.txt -e ".[reference]" --group dev
	@touch $@

clean:
	rm -rf .venv build dist
