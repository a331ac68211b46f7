# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
OUT    ?= demo-output
LAYERS ?= core mrml render gui packaging
PIP    := $(BIN)/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt

.PHONY: help demo test lint setup setup-demo clean

help:
	@echo "make demo   install what the demonstration needs into $(VENV), run it, print the path of its report"
	@echo "make test   install everything into $(VENV), check style and types, run every test that needs no Slicer"
	@echo "            (some of them: make test LAYERS=\"core packaging\")"
	@echo "make lint   style and types only        make clean   remove $(VENV) and the demonstration's output"

demo: setup-demo
	$(BIN)/ctrestoration demo --out $(OUT)

test: setup lint
	$(BIN)/python Testing/run_layers.py $(LAYERS)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/mypy

setup-demo: $(VENV)/.demo
setup: $(VENV)/.all

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 10) <= v <= (3, 13) else \
	  f"CTRestoration needs Python 3.10 to 3.13, {sys.executable} is {v[0]}.{v[1]}: make PYTHON=python3.12")'
	@$(PYTHON) -m venv $(VENV) || { echo "Cannot create $(VENV). On Debian and Ubuntu: apt-get install python3-venv"; exit 1; }

$(VENV)/.demo: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Installing into $(VENV) (once) ..."
	@$(PIP) --editable ".[fast,imaging]"
	@touch $@

$(VENV)/.all: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Installing into $(VENV) (once; PyTorch, Qt and Slicer's core take a few minutes) ..."
	@$(PIP) --editable ".[fast,imaging,torch,surgery,slicer,dev]"
	@touch $@ $(VENV)/.demo

clean:
	rm -rf $(VENV) $(OUT)
