# Environments, checks, the demo and the extension's zip. `make env`, `make test`, `make demo`.

# A Python of the version asked for that can make environments: on the path, else among pyenv's.
python = $(shell for p in python$(1) python3 "$$(pyenv root 2>/dev/null)"/versions/$(1).*/bin/python; do \
	"$$p" -c 'import ensurepip, sys; sys.exit("%d.%d" % sys.version_info[:2] != "$(1)")' 2>/dev/null \
	&& "$$p" -c 'import sys; print(sys.executable)' && break; done)
ifndef PYTHON311
PYTHON311 := $(call python,3.11)
endif
ifndef PYTHON313
PYTHON313 := $(call python,3.13)
endif

# The newest and the oldest: what changed between them, they differ in. BLENDERS=... names others.
# Blender 5.1 and later need Python 3.13; where none is found, 5.0 is tested in place of 5.2.
BLENDERS = $(if $(PYTHON313),5.2,5.0) 4.2
PYTHON_OF_5.2 = $(PYTHON313)
# The Blender that builds the extension and runs the demo.
BLENDER = 4.5

BACKEND_PYTHON = $(CURDIR)/.venv/bin/python
TYPED = $(wildcard __init__.py preferences.py properties.py operators panels scene jobs vmr_backend wheels demo benchmarks)
FAMILIES = bird quadruped
BPY_TESTS = tests/extension tests/scene tests/operators tests/panels

# Environments are made from nothing where they are missing, and left alone while their requirements stay the same.
.PHONY: help env skipped test lint types test-backend test-blender demo models templates features mask-network extension clean
# Else make would remove an environment's stamp as an intermediate file.
.SECONDARY:

help:
	@echo "make env        prepare the Python environments"
	@echo "make test       style, types and tests, in the backend's environment and in each Blender"
	@echo "make demo       the sample clip through Blender, results in demo_out/"
	@echo "make models     the category models that are included, trained from scratch, in models/"
	@echo "make templates  the rigged templates that are included, from scratch, in vmr_backend/templates/"
	@echo "make mask-network   the networks that segment clips, trained from scratch, in vmr_backend/segmentation/"
	@echo "make features   the features by which parts are propagated, trained from scratch, in vmr_backend/segmentation/"
	@echo "make extension  the extension's zip, in dist/"
	@echo "make clean      remove everything that make made"

env: .venv/ready $(BLENDERS:%=.venv-bpy-%/ready) skipped

skipped:
ifeq ($(PYTHON313),)
	@echo "== skipped: Blender 5.2, for which no Python 3.13 is found (PYTHON313=... names one)"
endif

.venv/ready: requirements/backend.txt requirements/test.txt
	$(call environment,.venv,$(PYTHON311))

.venv-bpy-%/ready: requirements/bpy-%.txt
	$(call environment,.venv-bpy-$*,$(or $(PYTHON_OF_$*),$(PYTHON311)))

# environment(folder, python): an environment holding the requirement files that the target depends on.
define environment
	@test -n "$(2)" || { echo "make env needs Python 3.11 with venv; none found (PYTHON311=... names one)"; exit 1; }
	@echo "Preparing $(1) with $$($(2) --version) ..."
	@test -x $(1)/bin/pip || $(2) -m venv $(1)
	@$(1)/bin/python -m pip install -qq --no-compile --disable-pip-version-check $(patsubst %,-r %,$^)
	@touch $@
endef

test: skipped lint types test-backend test-blender

lint: .venv/ready
	.venv/bin/ruff check

# The root is a package of any folder name; its types are checked under the extension's own.
types: .venv/ready
	@mkdir -p build/types && ln -sfn ../.. build/types/video_mesh_reconstruction
	cd build/types && $(CURDIR)/.venv/bin/mypy --config-file $(CURDIR)/pyproject.toml \
		$(TYPED:%=video_mesh_reconstruction/%)

# By two processes, since each test computes on one thread; those of a file share its fixtures, fits that take seconds.
test-backend: .venv/ready
	@echo "== tests in .venv"
	.venv/bin/python -m pytest -rs --durations=15 --numprocesses=2 --dist=loadfile

# All at once, also on two cores: half of a suite's time is spent waiting for processes it starts.
test-blender: $(BLENDERS:%=.venv-bpy-%/ready) .venv/ready
	+$(MAKE) --jobs=$(words $(BLENDERS)) $(if $(filter output-sync,$(.FEATURES)),--output-sync=target) $(BLENDERS:%=test-blender-%)

test-blender-%: .venv-bpy-%/ready .venv/ready
	@echo "== tests in Blender $*"
	VMR_BACKEND_PYTHON=$(BACKEND_PYTHON) .venv-bpy-$*/bin/python -m pytest -rs $(BPY_TESTS)

demo: .venv/ready .venv-bpy-$(BLENDER)/ready
	.venv-bpy-$(BLENDER)/bin/python demo/demo.py --backend-python $(BACKEND_PYTHON) --out demo_out

# The category models that are included, from scratch: hours on two cores. Interrupted, it resumes.
models: $(FAMILIES:%=model-%)

model-%: .venv/ready
	@test -e build/families/$*/annotations.json || \
		.venv/bin/python -m samples.families build/families/$* --family $* --count 4000 --seed 7
	.venv/bin/python -m vmr_backend train build/families/$* --out build/models/$* \
		$$(test ! -e build/models/$*/request.json || echo --resume)
	@mkdir -p models
	cp build/models/$*/model.safetensors models/$*.safetensors

# The rigged templates that are included, from scratch: a quarter of an hour on two cores. Blender unwraps their UV map.
templates: .venv/ready .venv-bpy-$(BLENDER)/ready
	.venv/bin/python -m samples.templates vmr_backend/templates/quadruped.safetensors \
		--blender-python .venv-bpy-$(BLENDER)/bin/python --sheet docs/images/quadruped_template.jpg

# The features by which labels are propagated, from scratch, on the same images: half an hour on two cores.
features: .venv/ready
	@for family in $(FAMILIES); do test -e build/families/$$family/annotations.json || \
		.venv/bin/python -m samples.families build/families/$$family --family $$family --count 4000 --seed 7; done
	.venv/bin/python -m samples.features $(FAMILIES:%=build/families/%/images)

# The networks that find masks, from scratch: hours on two cores. Existing examples are kept.
mask-network: .venv/ready
	.venv/bin/python -m samples.segmenter build/mask-examples
	.venv/bin/python -m samples.edges build/edge-examples

extension: .venv-bpy-$(BLENDER)/ready
	.venv-bpy-$(BLENDER)/bin/python wheels/build.py --out dist

clean:
	rm -rf .venv .venv-bpy-* build dist demo_out .pytest_cache .ruff_cache .mypy_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
