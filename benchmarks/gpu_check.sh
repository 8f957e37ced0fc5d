#!/usr/bin/env bash
# Everything that needs a GPU, in one run and one text file: builds the operators, runs their tests
# and compute-sanitizer, all benchmarks, and a short training.
# Usage: bash benchmarks/gpu_check.sh DATASET [REPORT, default gpu_check.txt]
# DATASET: prepared and in correspondence for configs/massm_r18_phantom.py (the quickstart makes one
# in work_dirs/quickstart/dataset). Needs torch with CUDA, nvcc, pytest and the pure-Python packages of
# requirements/runtime.txt; nothing here imports Open3D, pyvista, pyacvd or pymeshfix.
set -uo pipefail
cd "$(dirname "$0")/.."
DATASET=$(realpath "${1:?name a prepared dataset}")
REPORT=$(realpath -m "${2:-gpu_check.txt}")
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

check() {
  date -u +%FT%TZ
  nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader
  python -c 'import torch; print("torch", torch.__version__, "CUDA", torch.version.cuda)'
  export PYTHONPATH=$PWD
  section build python -c 'from massm.ops import extension; assert extension.is_compiled("cuda")'
  section correctness python -m pytest -q -p no:cacheprovider --noconftest tests/ops
  if command -v compute-sanitizer >/dev/null; then
    section sanitizer compute-sanitizer --error-exitcode 1 \
      python -m pytest -q -p no:cacheprovider --noconftest tests/ops/test_roi_pool3d_cuda.py -k 'not large'
  else
    echo 'compute-sanitizer: not installed, not run'
  fi
  section 'ROI pooling' python benchmarks/roi_pool3d.py --device cuda
  for size in '128 128 128' '256 224 448'; do
    # shellcheck disable=SC2086
    section "training step $size" python benchmarks/train_step.py --device cuda --amp --channels-last \
      --config configs/massm_r101_totalseg.py --volumes 4 --size $size
  done
  section 'training step, mixed sizes' python benchmarks/train_step.py --device cuda --amp
  section inference python benchmarks/inference.py configs/massm_r18_phantom.py 256 224 448 \
    --device cuda --cfg-options "data_root=$DATASET"
  section 'inference, ResNet-101' python benchmarks/inference.py configs/massm_r18_phantom.py \
    256 224 448 --device cuda --cfg-options "data_root=$DATASET" model.backbone.depth=101 \
    model.backbone.base_channels=64
  section training python tools/train.py configs/massm_r18_phantom.py --amp --channels-last \
    --work-dir "$WORK/run" --cfg-options "data_root=$DATASET" train_cfg.max_epochs=10
  printf '\n%d of the sections failed\n' "$FAILED"
}

check | tee "$REPORT"
grep -q '^0 of the sections failed' "$REPORT"
