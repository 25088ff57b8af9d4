# `make repro` and `make test` are all that is needed; `make help` lists the rest.
VENV := .venv
BIN := $(VENV)/bin
# The stages of dvc.yaml run `python`: the environment's.
export PATH := $(CURDIR)/$(BIN):$(PATH)
# Telemetry stays off for everybody.
export DVC_NO_ANALYTICS := 1
export MLFLOW_DISABLE_TELEMETRY := true

.DEFAULT_GOAL := help
.PHONY: help repro test test-integration test-backends test-package test-lowest test-slow bench \
  bench-peers bench-pages schema site links lint ui clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

repro: $(VENV)/.installed | data ## compose, preprocess, train, evaluate whatever is out of date
	@$(WITHOUT_GIT)
	@$(BIN)/dvc repro
	@$(BIN)/convforge results

test: $(VENV)/.installed-dev | data ## the test suite
	$(PYTEST_ON_ALL_CORES)

test-integration: $(VENV)/.installed-dev | data ## whole commands in processes of their own, and runs that are compared
	$(PYTEST_ON_ALL_CORES) -m "integration and not slow and not backends and not package"

test-backends: $(VENV)/.installed-torch | data ## the layers' tests on JAX and PyTorch, and beside PyTorch's own
	$(BIN)/pytest -m backends

test-package: $(VENV)/.installed-dev ## the wheel in an environment with Keras, NumPy and JAX alone
	$(BIN)/pytest -m package

test-lowest: | data ## the lowest versions that pyproject.toml allows: of the library, of the pipeline
	$(call lowest,$(LIBRARY_LOWEST),jax testing)
	KERAS_BACKEND=jax $(LIBRARY_LOWEST)/bin/python -m pytest -m "not slow and not backends" \
	  --ignore tests/layers/test_documentation.py \
	  tests/layers tests/losses tests/optimizers tests/test_geometry.py
	$(call lowest,$(PIPELINE_LOWEST),pipeline testing)
	$(PIPELINE_LOWEST)/bin/python -m pytest -m "not slow and not backends and not package" \
	  tests/test_composition.py tests/test_training.py \
	  tests/tracking/test_runs.py tests/data/test_preparation.py tests/serving tests/prediction

test-slow: $(VENV)/.installed-dev | data ## the tests that take minutes, with what they count
	$(BIN)/pytest -m slow -s

bench: $(VENV)/.installed-dev | data ## all benchmarks, one table (BENCH=--help: options)
	@$(BIN)/python benchmarks/bench.py $(BENCH)

# Without constraints.txt: torchvision wants a PyTorch of its own.
bench-peers: ## PyTorch, torchvision, Albumentations, OpenCV to compare with, in .venv-bench
	@[ $(VENV_PEERS)/.installed -nt pyproject.toml ] || { rm -rf $(VENV_PEERS); $(FIND_PYTHON); \
	  "$$python" -m venv $(VENV_PEERS) && \
	  $(VENV_PEERS)/bin/python -m pip install --quiet --disable-pip-version-check -e '.[bench]' && \
	  touch $(VENV_PEERS)/.installed; }

bench-pages: $(VENV)/.installed-dev ## tables and plots of the pages, from benchmarks/results.json
	@$(BIN)/python benchmarks/bench.py --pages

# Anew each time, since pages are made of source that Sphinx does not look at. Every link is followed.
site: $(VENV)/.installed-docs ## the pages, in build/site/index.html
	$(BIN)/sphinx-build --fresh-env --fail-on-warning --keep-going --quiet docs build/site
	$(BIN)/python docs/site_pages/built_links.py build/site

# Of the site's pages and docstrings, then of README, CHANGELOG and .github/. Lists lie in build/links/.
links: $(VENV)/.installed-docs ## whether the addresses that pages link to answer; needs a network
	@$(LINKCHECK) docs build/links/site; site=$$?; \
	$(LINKCHECK) -c docs -t repository . build/links/repository && exit $$site

lint: $(VENV)/.installed-dev ## style and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

schema: $(VENV)/.installed-dev ## what editors check conf/ by, from the settings and the comments
	$(BIN)/python docs/config_schema.py

# Small nets leave a core idle: two runs at a time, and no more than two cores gain by it here.
claims-digits: export CLAIM_LAUNCHER ?= hydra/launcher=joblib hydra.launcher.n_jobs=2
claims-digits: $(VENV)/.installed-dev | data ## the lecture's claims on the bundled digits, and the pages about them
	$(BIN)/dvc repro claims/dvc.yaml:digits
	$(BIN)/convforge report

ui: $(VENV)/.installed ## MLflow's pages on http://127.0.0.1:5000
	@$(BIN)/convforge ui

clean: ## remove what the pipeline made, and keep data, runs and outputs/
	rm -rf build/data build/train build/evaluate build/site build/links dvc_plots outputs/data

# The first Python of 3.11 to 3.13 that works: a version manager's stand-in may be on the PATH and
# not run.
FIND_PYTHON = for python in $${PYTHON:-} python3 python3.12 python3.11 python3.13; do \
	"$$python" -c 'import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' \
	2>/dev/null && break; python=; done; \
	[ -n "$$python" ] || { echo "error: needs Python 3.11, 3.12 or 3.13 (PYTHON=… names one)"; exit 1; }

$(VENV)/bin/python:
	@$(FIND_PYTHON); echo "environment: $(VENV) with $$("$$python" --version)"; \
	if command -v uv >/dev/null; then uv venv --quiet --python "$$(command -v "$$python")" $(VENV); \
	else "$$python" -m venv $(VENV); fi

# pip compiles to byte code as it installs, uv when told to; without it every start is slower.
# Variables, since a comma would end the argument of `call`.
WITH_PIPELINE := .[pipeline]
WITH_EXTRAS := .[dev,sweep,cluster,postgresql]
WITH_DOCS := .[dev,docs]
WITH_TORCH := .[dev,torch]
LIBRARY_LOWEST := .venv-lowest-library
PIPELINE_LOWEST := .venv-lowest-pipeline
VENV_PEERS := .venv-bench
PYTEST_ON_ALL_CORES = $(BIN)/pytest -n auto --dist loadfile --no-loadscope-reorder
LINKCHECK = $(BIN)/sphinx-build --builder linkcheck --fresh-env --quiet

define install
if command -v uv >/dev/null; then \
	uv pip install --quiet --compile-bytecode --python $(BIN)/python -c constraints.txt $(1); \
else \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt $(1); \
fi
endef

$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "installing (once; some minutes)"
	@$(call install,-e '$(WITH_PIPELINE)')
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	@echo "installing what the tests need"
	@$(call install,-e '$(WITH_EXTRAS)')
	@touch $@

$(VENV)/.installed-docs: $(VENV)/.installed-dev
	@echo "installing what the pages need"
	@$(call install,-e '$(WITH_DOCS)')
	@touch $@

$(VENV)/.installed-torch: $(VENV)/.installed-dev
	@echo "installing PyTorch"
	@$(call install,-e '$(WITH_TORCH)')
	@touch $@

data: | $(VENV)/.installed
	@$(WITHOUT_GIT)
	@$(BIN)/dvc pull --quiet data.dvc

# A source archive has no Git, which DVC must be told.
WITHOUT_GIT = [ -e .git ] || $(BIN)/dvc config --local core.no_scm true

# An environment of its own with the extras $(2) at their lowest, made once for a pyproject.toml.
define lowest
@[ $(1)/.installed -nt pyproject.toml ] || { rm -rf $(1); $(FIND_PYTHON); "$$python" -m venv $(1) && \
  "$$python" tests/package/lowest.py $(2) >$(1)/lowest.txt && \
  $(1)/bin/python -m pip install --quiet --disable-pip-version-check -c $(1)/lowest.txt \
    -e ".[$$(echo $(2) | tr ' ' ',')]" && touch $(1)/.installed; }
endef
