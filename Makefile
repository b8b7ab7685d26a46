# Two commands: `make book` and `make test`. Everything is installed into .venv.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --quiet
BROWSERS := chromium chromium-browser google-chrome

.PHONY: help book run full test coverage chaos oracle bench colab deepspeed browser clean
.DEFAULT_GOAL := help

help:  ## show these lines
	@sed -nE 's/^([a-z]+):.*## (.*)/  make \1: \2/p' Makefile

book: run  ## install, run the cpu tier, build the book, print where it is
	@$(BIN)/prefbook build

run: .venv/book.stamp  ## run the stages of the cpu tier that are stale
	@$(BIN)/prefbook run --tier cpu --pages

full: .venv/book.stamp  ## as book, with all that it compares: the full tier
	@$(BIN)/prefbook run --tier full --pages
	@$(BIN)/prefbook build --run full

test: .venv/test.stamp browser  ## install what the tests need and run them all
	@$(BIN)/ruff check . && $(BIN)/ruff format --check --quiet .
	@$(BIN)/python -m pytest --numprocesses 2 --dist loadfile

coverage: .venv/test.stamp  ## simulate how often each interval of the book holds the truth
	@$(BIN)/python -m tests.coverage

chaos: .venv/test.stamp  ## break runs on purpose: kills, damage, races, bad input, odd machines
	@$(BIN)/python -m tests.chaos

oracle: .venv/test.stamp .venv-oracle/oracle.stamp  ## compare PPO with TRL 1.12.0's, tensor by tensor
	@.venv-oracle/bin/python tests/oracle/record.py .venv-oracle/recorded
	@$(BIN)/python -m pytest tests/oracle/parity.py

bench: .venv/book.stamp .venv-oracle/oracle.stamp  ## measure the trainers against stock ones
	@$(BIN)/python benchmarks/pairs.py compare
	@$(BIN)/python benchmarks/ppo.py compare --oracle-python .venv-oracle/bin/python

colab: .venv/test.stamp .venv-colab/colab.stamp  ## run the notebooks as Colab would, with its packages
	@$(BIN)/python -m pytest tests/colab

deepspeed: .venv-deepspeed/deepspeed.stamp  ## train on two processes with DeepSpeed
	@.venv-deepspeed/bin/python -m pytest tests/unit/runs/test_launched.py

clean:  ## remove the environment, all runs and their books
	rm -rf .venv .venv-oracle .venv-colab .venv-deepspeed runs

.venv/bin/python:
	$(PYTHON) -m venv .venv
	$(PIP) install --upgrade pip

.venv/%.stamp: pyproject.toml constraints.txt | .venv/bin/python
	$(PIP) install -e '.[$(EXTRAS)]' -c constraints.txt
	@touch $@

# TRL 1.12.0 is the last that has PPO; all else is as in the environment of the book.
.venv-oracle/oracle.stamp: constraints.txt
	$(PYTHON) -m venv .venv-oracle
	grep -v '^trl==' constraints.txt >.venv-oracle/constraints.txt
	.venv-oracle/bin/python -m pip --quiet install trl==1.12.0 \
	  -c .venv-oracle/constraints.txt
	@touch $@

# What Colab has before the first cell; not TRL, not Papermill.
.venv-colab/colab.stamp: tests/colab/preinstalled.txt
	$(PYTHON) -m venv .venv-colab
	.venv-colab/bin/python -m pip --quiet install -r tests/colab/preinstalled.txt
	@touch $@

# Apart from the environment of the book, since libraries load DeepSpeed where it is.
.venv-deepspeed/deepspeed.stamp: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-deepspeed
	.venv-deepspeed/bin/python -m pip --quiet install -e '.[deepspeed,test]' -c constraints.txt
	@touch $@

.venv/book.stamp: EXTRAS := book,sweep,weights
.venv/test.stamp: EXTRAS := book,sweep,weights,test

# The tests of the book use the browser that is there, or else get one, or else skip.
browser: .venv/test.stamp
	@for name in $(BROWSERS); do command -v $$name >/dev/null && exit 0; done; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  apt-get update -qq && apt-get install -qq -y --no-install-recommends chromium; \
	fi >/dev/null && command -v chromium >/dev/null \
	|| $(BIN)/python -m playwright install chromium \
	|| echo "no browser could be installed: the tests that need one are skipped"
