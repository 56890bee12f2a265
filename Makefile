PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
# Held-out subjects of each experiment; tables and the page are of 64.
COUNT ?= 64
EXPERIMENTS := table branches denoising intra details strength granularity router layers several
VARIANTS := full add concat low mid high image-branch ip-adapter
# Where `dynaip train` puts a variant; full is in the runs' own folder.
trained = runs/ablation/$(if $(filter-out full,$(1)),$(1)/)stage2/export/adapter

.PHONY: demo test lint evidence ablation methods

demo: $(READY)
	$(BIN)/dynaip demo

test: $(READY)
	$(BIN)/python -m pytest -n 2

# Tables and figures of docs/evidence, but for earlier, from the checkpoints in models/.
evidence: $(READY)
	$(BIN)/dynaip evaluate experiment $(EXPERIMENTS) --count $(COUNT)
	$(BIN)/dynaip evaluate evidence

# Trains the ablation's adapters, which are not in models/, and puts them into the evidence. Runs
# over another base, or by another recipe, are refused: delete runs/ablation then.
ablation: $(READY)
	for name in $(VARIANTS); do for stage in 1 2; do \
		$(BIN)/dynaip train --recipe miniature-ablation --runs runs/ablation \
			--variant $$name --stage $$stage || exit 1; \
	done; done
	$(BIN)/dynaip evaluate experiment ablation --count 64 \
		$(foreach name,$(VARIANTS),--variant $(name)=$(call trained,$(name)))
	$(BIN)/dynaip evaluate evidence

# Trains for each of twelve subjects anew, in three ways, and puts what that gives into the evidence.
methods: $(READY)
	$(BIN)/dynaip evaluate experiment methods --count 48
	$(BIN)/dynaip evaluate evidence

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
