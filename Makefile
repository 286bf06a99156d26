.DEFAULT_GOAL := help
.PHONY: help demo test test-all soak chaos fuzz check format bench clean

VENV := .venv
PY := $(VENV)/bin/python
VERSIONS := 3.11 3.12 3.13
WORKERS ?= 2
STORE ?= sqlite
HOURS ?= 1
MINUTES ?= 10

help:  ## show what can be done
	@echo "usage: make TARGET"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/$(if $(filter postgres,$(STORE)),.dev,.ready)  ## process 500 orders while engines are killed, then prove that nothing was lost (STORE=postgres)
	@$(PY) -m examples.orders.demo --store $(STORE) $(ARGS)

test: $(VENV)/.dev  ## run all tests (ARGS="-k word" narrows them down, WORKERS=8 spreads them)
	$(PY) -m pytest -n $(WORKERS) --durations=15 $(ARGS)

test-all:  ## run all tests on each supported Python that is installed
	@set -e; for version in $(VERSIONS); do \
		found=; for each in python$$version $(HOME)/.pyenv/versions/$$version.*/bin/python; do \
			if [ -z "$$found" ] && "$$each" -c '' 2>/dev/null; then found=$$each; fi; \
		done; \
		if [ -n "$$found" ]; then \
			echo "Python $$version"; $(MAKE) --no-print-directory test VENV=.venvs/$$version PYTHON=$$found; \
		else \
			echo "Python $$version is not installed: skipped"; \
		fi; \
	done

soak: $(VENV)/.dev  ## simulate for HOURS=1 on WORKERS=2 processes, then run the long versions of tests that have one
	$(PY) -m perdure.testing.simulation --minutes $$(($(HOURS) * 60)) --workers $(WORKERS) --json .soak.json
	$(PY) -m tests.disks --lives 1000000 --minutes $$(($(HOURS) * 6))
	$(PY) -m tests.growth --store postgres --minutes $$(($(HOURS) * 30))
	$(PY) -m tests.growth --store sqlite --minutes $$(($(HOURS) * 15))
	PERDURE_SOAK=1 $(PY) -m pytest -n $(WORKERS) --durations=15 $$(grep -rl --include='*.py' PERDURE_SOAK tests)

chaos: $(VENV)/.dev  ## kill, freeze and starve real processes for three minutes (STORE=postgres, ARGS="--minutes 10 --seed 7"), and look what is left
	@$(PY) -m tests.chaos --store $(STORE) $(ARGS)

fuzz: $(VENV)/.dev  ## feed damaged and odd input to every parser and decoder at a border (MINUTES=30)
	@$(PY) -m tests.fuzz $(MINUTES)

check: $(VENV)/.dev  ## format, lint, types, and the rules of the house
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .
	$(PY) -m pyright --threads $(WORKERS)
	$(PY) -m pytest tests/tidy

format: $(VENV)/.dev  ## format, and mend what the linter can mend
	$(PY) -m ruff format .
	$(PY) -m ruff check --fix .

bench: $(VENV)/.bench  ## measure speed, beside bare commits of the same bytes
	@$(PY) -m bench

clean:  ## remove what the targets above have made
	rm -rf $(VENV) .venvs .demo .soak.json .pytest_cache .ruff_cache .hypothesis

# An environment of our own. Tools are installed only for the targets that need them; stamps make the next run quick.

$(VENV)/.ready: pyproject.toml
	@$(find_python); $(make_venv); $(install) -e .
	@touch $@

$(VENV)/.server: $(VENV)/.ready
	@$(find_python); $(install) -e ".[server,postgres]"
	@touch $@

$(VENV)/.dev: $(VENV)/.server
	@$(PY) -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["dependency-groups"]["dev"], sep="\n")' \
		> $(VENV)/dev.txt
	@$(find_python); $(install) -r $(VENV)/dev.txt
	@touch $@

# What speed is compared with: another engine, for `make bench` alone.
$(VENV)/.bench: $(VENV)/.dev
	@$(PY) -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["dependency-groups"]["bench"], sep="\n")' \
		> $(VENV)/bench.txt
	@$(find_python); $(install) -r $(VENV)/bench.txt
	@touch $@

# The first interpreter that is supported and can make environments; PYTHON=... names it.
define find_python
usable() { "$$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null \
	&& { command -v uv >/dev/null || "$$1" -c 'import ensurepip, venv' 2>/dev/null; }; }; \
python=; for each in $(or $(PYTHON),python3 python3.13 python3.12 python3.11); do \
	if usable $$each; then python=$$each; break; fi; \
done; \
if [ -z "$$python" ]; then \
	echo "Python 3.11, 3.12 or 3.13 with its venv module is needed and was not found; install one, or: make PYTHON=/path/to/python" >&2; \
	exit 1; \
fi
endef

define make_venv
if ! $(PY) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; then \
	echo "making $(VENV) with $$($$python --version)"; rm -rf $(VENV); \
	if command -v uv >/dev/null; then uv venv --quiet --python "$$python" $(VENV); else $$python -m venv $(VENV); fi; \
fi
endef

# uv makes environments without pip, pip environments without uv: install with whatever is there.
define install
set -e; if command -v uv >/dev/null; then set -- uv pip install --quiet --python $(PY); \
else set -- $(PY) -m pip install --quiet --disable-pip-version-check --no-warn-script-location; fi; \
echo "installing into $(VENV)"; "$$@"
endef
