#!/usr/bin/env bash
# Everything that needs a GPU, in one run and one text file: builds the operators, runs their tests
# and compute-sanitizer, the benchmarks, and short trainings. About five minutes on an H100.
# Usage: bash benchmarks/gpu_check.sh DATASET [REPORT [CONFIG [OPTION=VALUE ...]]]
# REPORT is gpu_check.txt, CONFIG configs/massm_r18_phantom.py unless given. DATASET: prepared and in
# correspondence for CONFIG (the quickstart makes one for the phantom with --train, work_dirs/quickstart/dataset).
# OPTIONs change CONFIG in the two trainings.
# Needs torch with CUDA, nvcc, pytest and the pure-Python packages of requirements/runtime.txt; of
# what follows only inference, which writes label maps, imports Open3D.
set -uo pipefail
cd "$(dirname "$0")/.."
DATASET=$(realpath "${1:?name a prepared dataset}")
REPORT=$(realpath -m "${2:-gpu_check.txt}")
CONFIG=${3:-configs/massm_r18_phantom.py}
OPTIONS=("${@:4}")
[ -f "$DATASET/dataset.json" ] || { echo "error: $DATASET: no dataset.json; prepare a dataset first" >&2; exit 1; }
WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT
FAILED=0

# section NAME COMMAND...: runs it, says how long it took and whether it passed.
section() {
  local name=$1 start=$SECONDS; shift
  printf '\n== %s\n$ %s\n' "$name" "$*"
  if "$@" 2>&1 | tail -n 40; then echo "-- passed, $((SECONDS - start)) s"
  else FAILED=$((FAILED + 1)); echo "-- FAILED, $((SECONDS - start)) s"; fi
}

# dataset_options: what of CONFIG another config must be told to read the same dataset.
dataset_options() {
  python - "$CONFIG" <<'PYTHON'
import sys

from massm.apis.config import load_config

config = load_config(sys.argv[1])
names = ','.join(config.anatomies)
print(f'anatomies=[{names}] num_particles={config.num_particles} spacing={config.spacing}')
PYTHON
}

check() {
  date -u +%FT%TZ
  nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader
  python -c 'import torch; print("torch", torch.__version__, "CUDA", torch.version.cuda)'
  export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH}
  section build python -c 'from massm.ops import extension; assert extension.is_compiled("cuda")'
  section correctness python -m pytest -q -p no:cacheprovider --noconftest \
    tests/ops/test_roi_pool3d.py tests/ops/test_roi_pool3d_cuda.py tests/ops/test_cells.py
  if command -v compute-sanitizer >/dev/null; then
    section sanitizer compute-sanitizer --error-exitcode 1 \
      python -m pytest -q -p no:cacheprovider --noconftest tests/ops/test_roi_pool3d_cuda.py -k deterministic
  else
    echo 'compute-sanitizer: not installed, not run'
  fi
  section 'ROI pooling' python benchmarks/roi_pool3d.py --device cuda
  local r101=configs/massm_r101_totalseg.py
  local step=(python benchmarks/train_step.py --device cuda --amp --channels-last)
  local large=("${step[@]}" --config "$r101" --volumes 4)
  section 'training step 128 128 128' "${large[@]}" --size 128 128 128 --repeat 3
  section 'training step 256 224 448' "${large[@]}" --size 256 224 448 --recompute
  section 'training step, mixed sizes' "${step[@]}"
  section inference python benchmarks/inference.py "$CONFIG" 256 224 448 --device cuda \
    --cfg-options "data_root=$DATASET"
  # shellcheck disable=SC2046
  section 'inference, ResNet-101' python benchmarks/inference.py $r101 256 224 448 --device cuda \
    --cfg-options "data_root=$DATASET" $(dataset_options)
  local train=(python tools/train.py "$CONFIG" --cfg-options "data_root=$DATASET" train_cfg.max_epochs=3 "${OPTIONS[@]}")
  section training "${train[@]}" --work-dir "$WORK/run"
  section 'training, bfloat16' "${train[@]}" --work-dir "$WORK/amp" --amp --channels-last
  printf '\n%d of the sections failed\n' "$FAILED"
}

check | tee "$REPORT"
grep -q '^0 of the sections failed' "$REPORT"
