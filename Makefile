# make quickstart: the whole life of a model, from nothing, on two CPU cores
# make test:       the tests
.PHONY: quickstart smoke install browser test test-slow test-gpu test-oldest test-plugins test-plugins-oldest screenshots lint format clean

VENV := .venv
PYTHON ?= python3
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

quickstart: install
	$(BIN)/telechat quickstart

smoke: install
	$(BIN)/telechat quickstart --smoke

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "telechat needs Python 3.11 or newer: make PYTHON=python3.12"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt torch==2.13.0
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[test,bench,dev]"
	@touch $(STAMP)

# The playground is tested in a real browser, pages are checked in a lighter one; without them those tests are skipped.
APT_GET := test "$$(id -u)" = 0 && command -v apt-get >/dev/null && apt-get update -qq && apt-get install -y -qq --no-install-recommends
browser:
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null \
	|| { $(APT_GET) chromium >/dev/null; } || echo "no Chromium here, and it cannot be installed: browser tests are skipped"
	@command -v chromium-headless-shell >/dev/null || { $(APT_GET) chromium-headless-shell >/dev/null 2>&1; } || true

test: install lint browser
	$(BIN)/python -m pytest -m "not slow and not gpu and not network"

test-slow: install
	$(BIN)/python -m pytest -m "slow and not gpu and not network"

# On a machine with a CUDA device and a torch built for it.
test-gpu: install
	$(BIN)/python -m pytest -m "gpu and not network"

# The pictures of the playground in the README, as its tests see it. Chinese needs a font: apt-get install fonts-wqy-zenhei
screenshots: install browser
	TELECHAT_SCREENSHOTS=$(CURDIR)/docs $(BIN)/python -m pytest -q tests/serve/test_screenshots.py
	rm -f docs/phone.png

# What touches transformers and numba, on the oldest versions that pyproject.toml allows; `make test` has the newest.
OLD := .venv-oldest
test-oldest:
	$(PYTHON) -m venv $(OLD)
	sed 's/^transformers==.*/transformers==5.16.1/; s/^numba==.*/numba==0.65.0/; /^llvmlite==/d; /^tokenizers==/d; /^huggingface_hub==/d' constraints.txt > $(OLD)/constraints.txt
	$(OLD)/bin/python -m pip install --quiet --disable-pip-version-check --constraint $(OLD)/constraints.txt torch==2.13.0
	$(OLD)/bin/python -m pip install --quiet --disable-pip-version-check --constraint $(OLD)/constraints.txt --editable ".[test]"
	$(OLD)/bin/python -m pytest -m "not slow and not gpu and not network" tests/models tests/chat tests/engine tests/test_examples.py

# The plugins against the real vLLM and SGLang, without their GPU packages; each in an environment of its own. vLLM's
# models do not run without a GPU; SGLang runs whole, on the CPU.
test-plugins:
	PYTHON=$(PYTHON) tests/plugins/run.sh vllm
	PYTHON=$(PYTHON) tests/plugins/run.sh sglang

# The same with the oldest vLLM that the plugin is made for: earlier ones pass over YaRN's attention factor.
test-plugins-oldest:
	PYTHON=$(PYTHON) tests/plugins/run.sh vllm 0.30.0

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) .venv-oldest .venv-vllm* .venv-sglang* build dist src/*.egg-info
