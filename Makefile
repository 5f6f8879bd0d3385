# Each target is one line over setup_course.py, which does the same where there is no make.
PYTHON ?= python3
.PHONY: course test grade reset lock format

course:     ## set up, then open JupyterLab on the start page; OPEN=0: only set up
	@$(PYTHON) setup_course.py course $(if $(filter 0,$(OPEN)),--no-open)
test:       ## format, lint, types, all tests; ARGS='-k copies': only some
	@$(PYTHON) setup_course.py test $(ARGS)
grade:      ## grade the sample class; ME=1: your own work/
	@$(PYTHON) setup_course.py grade $(if $(ME),--me)
reset:      ## NN=01_legacy_path: a fresh copy in work/, yours goes to work/backups/
	@$(PYTHON) setup_course.py reset $(NN)
lock:       ## resolve pyproject.toml anew; ARGS=--upgrade: to the newest versions
	@$(PYTHON) setup_course.py lock $(ARGS)
format:     ## what `make test` wants to find
	@.venv/bin/python -m ruff format
