# One command per chore, the same here and in CI. Needs Python 3.11+ and make, nothing else.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/installed

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow test-cluster check format bench leaderboard attack mutants figures pictures docs site notebooks messages audit sbom clean

help:  ## list the chores
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(STAMP): pyproject.toml requirements/lock.txt requirements/torch.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Penchant needs Python 3.11 or newer; set PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements/lock.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps -r requirements/torch.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $(STAMP)

demo: $(STAMP)  ## set up, run the whole flow on the built-in world, write its report
	$(BIN)/penchant demo

test: $(STAMP)  ## set up, run the tests, a process for each core
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --dist loadfile

test-slow: $(STAMP)  ## the tests that take minutes
	$(BIN)/pytest -m slow

test-cluster: $(STAMP)  ## runs on a Ray cluster of three nodes on this machine: equal results, lost nodes, memory, faults (minutes)
	OMP_NUM_THREADS=1 $(BIN)/pytest -m slow tests/cluster

check: $(STAMP)  ## format, lint, types, import layers
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP)  ## mend formatting and what lint can mend
	$(BIN)/ruff check --fix src tests benchmarks
	$(BIN)/ruff format src tests benchmarks

messages: $(STAMP)  ## collect the messages for translation and compile the catalogs
	PYTHONPATH=tests $(BIN)/python tests/message_catalogs.py

docs: $(STAMP)  ## write docs/configuration.md from the settings' own docstrings
	(printf '# Every setting\n\nWritten by `make docs` from the docstrings of the settings themselves.\n\nNames without a prefix are those of a run. `learner:` are those of a `[learning]` table, `streams.` of the file of `--streams`, `language.` of the file of `--engine`, `trial:` of the file of `--trial`; `compress:` are keywords of `penchant.compress`.\n\n'; $(BIN)/penchant list settings --markdown) > docs/configuration.md

DOCS := .venv-docs

$(DOCS)/installed: requirements/docs.txt
	$(PYTHON) -m venv $(DOCS)
	$(DOCS)/bin/pip install --quiet --disable-pip-version-check --no-deps -r requirements/docs.txt
	@touch $@

site: $(STAMP) $(DOCS)/installed  ## the documentation as a site in site/, with the reference from docstrings
	mkdir -p .build
	$(BIN)/python -m typer penchant.cli utils docs --name penchant --title "The command line" --output .build/cli.md
	NO_MKDOCS_2_WARNING=1 $(DOCS)/bin/mkdocs build --strict --quiet
	@echo "written site/index.html"

notebooks: $(STAMP)  ## write the .ipynb files from the scripts in notebooks/
	PYTHONPATH=tests $(BIN)/python tests/notebook_files.py

bench: $(STAMP)  ## measure quality and speed on real data (set PENCHANT_DATA), see benchmarks/README.md
	$(BIN)/python benchmarks/run.py

attack: $(STAMP)  ## attack a service of one's own on loopback, see docs/threat-model.md (ATTACK="kills --kills 20")
	$(BIN)/python benchmarks/attack.py $(ATTACK)

figures: $(STAMP)  ## write the figures of the READMEs from the reports in runs/ (FIGURES=--check: compare only)
	$(BIN)/python benchmarks/figures.py $(FIGURES)

pictures: $(STAMP)  ## write the pictures of the READMEs from the sample world; needs Chromium and a Chinese font
	$(BIN)/penchant demo
	$(BIN)/penchant demo --language zh --output runs/demo-zh
	$(BIN)/python benchmarks/pictures.py runs/demo --chinese runs/demo-zh

mutants: $(STAMP)  ## mutation testing, see benchmarks/MUTANTS.md (MUTANTS="experiment/pool.py metrics" SAMPLE=100 SEED=0)
	$(BIN)/python benchmarks/mutants.py $(MUTANTS) $(if $(SAMPLE),--sample $(SAMPLE)) $(if $(SEED),--seed $(SEED)) $(if $(AGAIN),--again)

PEERS := .venv-peers

$(PEERS)/installed: requirements/peers.txt
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/pip install --quiet --disable-pip-version-check --no-deps -r requirements/peers.txt
	@touch $@

leaderboard: $(STAMP) $(PEERS)/installed  ## every peer and Penchant on one split, see benchmarks/RESULTS.md (LEADERBOARD="--set steam --seeds 0 1 2 ...")
	$(BIN)/python benchmarks/leaderboard.py $(LEADERBOARD)

AUDIT := .venv-audit

$(AUDIT)/installed: requirements/audit.txt
	$(PYTHON) -m venv $(AUDIT)
	$(AUDIT)/bin/pip install --quiet --disable-pip-version-check -r requirements/audit.txt
	@touch $@

audit: $(AUDIT)/installed  ## known vulnerabilities of the locked packages (needs the index's own advisories)
	$(AUDIT)/bin/pip-audit --strict --disable-pip --no-deps -r requirements/lock.txt

sbom: $(AUDIT)/installed  ## software bill of materials of the locked packages: dist/sbom.json (CycloneDX)
	mkdir -p dist
	$(AUDIT)/bin/cyclonedx-py requirements --pyproject pyproject.toml --of JSON -o dist/sbom.json requirements/lock.txt

clean:  ## remove what the chores made
	rm -rf $(VENV) $(PEERS) $(AUDIT) $(DOCS) .build site runs .mypy_cache .ruff_cache .pytest_cache
