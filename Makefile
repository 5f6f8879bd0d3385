# Each target is one line over setup_course.py, which does the same where there is no make.
PYTHON ?= python3
.PHONY: course test grade reset notebooks record benchmark explore lock format

course:     ## set up, then open JupyterLab on the start page; OPEN=0: only set up
	@$(PYTHON) setup_course.py course $(if $(filter 0,$(OPEN)),--no-open)
test:       ## format, lint, types, all tests; ARGS='-k copies': only some
	@$(PYTHON) setup_course.py test $(ARGS)
grade:      ## grade the sample class; ME=1: your own work/; ARGS='CLASS --submissions FROM': a class
	@$(PYTHON) setup_course.py grade $(if $(ME),--me) $(ARGS)
reset:      ## NN=01_legacy_path: a fresh copy in work/, yours goes to work/backups/
	@$(PYTHON) setup_course.py reset $(NN)
notebooks:  ## exercises/ and the lessons from their scripts; ARGS=--check: only say what is stale
	@$(PYTHON) setup_course.py notebooks $(ARGS)
record:     ## run the recorded programs on QEMU and Bochs anew
	@$(PYTHON) setup_course.py record
benchmark:  ## measure how fast the model is
	@$(PYTHON) setup_course.py benchmark
explore:    ## every order of exits and events within large bounds, the matrix, every mutation
	@$(PYTHON) setup_course.py explore
lock:       ## resolve pyproject.toml anew; ARGS=--upgrade: to the newest versions
	@$(PYTHON) setup_course.py lock $(ARGS)
format:     ## what `make test` wants to find
	@.venv/bin/python -m ruff format
