# Two commands do everything: `make run` and `make test`. Each sets up what it needs, and is quick the second time.
SHELL := /bin/bash
.DELETE_ON_ERROR:
PYTHON ?= python3
BIN := .venv/bin
SOURCES := $(wildcard native/*.pyx native/*.pxd) $(shell find aaa policy -name '*.py' -o -name '*.pxd') setup.py

.PHONY: run test lint bench fuzz peers clean build check-tools

run: build run/store.key run/admin.token
	@$(BIN)/python -m aaa.server.sample conf/sample.toml conf/sample.ndjson

test: build peers lint
	$(BIN)/python -m pytest
	$(MAKE) --no-print-directory fuzz FUZZ_SECONDS=3

build: .venv/.built

lint: build
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: build peers
	$(BIN)/python -m bench.run $(BENCH_OPTIONS)
	$(BIN)/python -m bench.diameter $(filter --quick,$(BENCH_OPTIONS))
	$(BIN)/python -m bench.sync
	$(BIN)/python -m bench.policy
	$(BIN)/python -m bench.dynamic
	$(BIN)/python -m bench.enforce

# Seconds for each of the eleven harnesses; hours are welcome.
FUZZ_SECONDS ?= 20
fuzz: build peers
	$(BIN)/python native/fuzz/run.py --seconds $(FUZZ_SECONDS)

peers:
	@tests/peers.sh

.venv/.installed: pyproject.toml | check-tools
	@echo "==> Python environment in .venv"
	@$(PYTHON) -m venv .venv
	@$(BIN)/pip install --quiet --upgrade pip
	@$(BIN)/python -c 'import tomllib; p = tomllib.load(open("pyproject.toml", "rb"))["project"]; print(*p["dependencies"], *p["optional-dependencies"]["dev"], sep="\n")' > .venv/requirements.txt
	@$(BIN)/pip install --quiet -r .venv/requirements.txt
	@touch $@

.venv/.built: .venv/.installed $(SOURCES)
	@echo "==> Building native code"
	@$(BIN)/python setup.py --quiet build_ext --inplace
	@echo "$(CURDIR)" > $$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/aaa.pth
	@printf '#!%s\nimport sys\nfrom aaa.cli import main\nsys.exit(main())\n' "$(CURDIR)/$(BIN)/python" > $(BIN)/aaa
	@chmod +x $(BIN)/aaa
	@touch $@

check-tools:
	@tests/tools.sh $(PYTHON)

run/store.key run/admin.token: | build
	@$(BIN)/python -c 'import secrets, sys; from pathlib import Path; from aaa.config.template import write_private; Path("run").mkdir(exist_ok=True); write_private(Path(sys.argv[1]), secrets.token_hex(32))' $@

clean:
	rm -rf build .venv run
	find . -name '*.so' -not -path './.venv/*' -delete
