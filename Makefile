# Every target calls tools/run.py; without make: python tools/run.py TASK
PYTHON ?= python3
ARGS ?=

.PHONY: help review test lab check bench notebooks lock

help review test lab check bench notebooks lock:
	@$(PYTHON) tools/run.py $@ $(ARGS)

.DEFAULT_GOAL := help
