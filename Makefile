PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
# Two halves that take about as long.
EXPERIMENTS := table branches denoising strength router layers
OTHERS := ablation details granularity several
HALF := OMP_NUM_THREADS=$(shell $(PYTHON) -c 'import os; print(max(1, (os.cpu_count() or 1) // 2))')

.PHONY: demo test lint evidence experiments others

demo: $(READY)
	$(BIN)/dynaip demo

test: $(READY)
	$(BIN)/python -m pytest -n 2

# Tables and figures of docs/evidence, from the checkpoints in models/. Side by side, each half on
# half of the cores, is quicker than one after the other on all of them.
evidence: $(READY)
	$(MAKE) -j2 experiments others
	$(BIN)/dynaip evaluate evidence

experiments: $(READY)
	$(HALF) $(BIN)/dynaip evaluate experiment $(EXPERIMENTS) --count 64

others: $(READY)
	@mkdir -p out; echo 'The other half of the experiments tells of itself in out/others.log.'
	@$(HALF) $(BIN)/dynaip evaluate experiment $(OTHERS) --count 64 > out/others.log 2>&1 \
		|| { tail -n 5 out/others.log; exit 1; }

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/basedpyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports

# torch goes first and alone, so that nothing else chooses its build.
$(READY): pyproject.toml constraints.txt
	@echo 'Setting up .venv, once: torch, then dynaip and its tools; a few minutes.'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -c constraints.txt torch==2.13.0
	$(BIN)/python -m pip install -c constraints.txt -e '.[dev]'
	touch $@
