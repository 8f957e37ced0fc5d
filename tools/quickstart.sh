#!/usr/bin/env bash
# From nothing to a trained and tested model on a synthetic cohort, in about a quarter of an hour.
# Usage: bash tools/quickstart.sh [--subjects 48] [--spacing 4] [--particles 512] [--epochs N]
#          [--work-dir work_dirs/quickstart] [KEY=VALUE ...]
# KEY=VALUE as after --cfg-options, for training, test and export. What is done is not done again.
set -euo pipefail
CALLED_FROM=$PWD
# shellcheck source=tools/environment.sh
. "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

SUBJECTS=48 SPACING=4 PARTICLES=512 WORK=work_dirs/quickstart OPTIONS=() AGREED=()
while [ $# -gt 0 ]; do
  case $1 in
    [!-]*=*) AGREED+=("$1"); shift; continue ;;
    --subjects) SUBJECTS=$2 ;;
    --spacing) SPACING=$2 ;;
    --particles) PARTICLES=$2 ;;
    --epochs) OPTIONS+=("train_cfg.max_epochs=$2") ;;
    --work-dir) case $2 in /*) WORK=$2 ;; *) WORK=$CALLED_FROM/$2 ;; esac ;;
    *) fail "unknown option $1; see the head of tools/quickstart.sh" ;;
  esac
  shift 2 || fail "option $1 needs a value"
done
SOURCE=$WORK/source DATA=$WORK/dataset CONFIG=configs/massm_r18_phantom.py
ANATOMIES="heart_ventricle_left heart_ventricle_right heart_atrium_left heart_atrium_right
  lung_upper_lobe_left lung_upper_lobe_right spleen"

step() { printf '\n== %s (%d s so far)\n' "$1" "$SECONDS"; }

step "1/7 environment"
make_environment ""
step "2/7 phantom cohort of $SUBJECTS subjects"
if [ "$({ wc -l <"$SOURCE/meta.csv"; } 2>/dev/null || echo 0)" != $((SUBJECTS + 1)) ]; then
  rm -rf "$SOURCE"
  python tools/make_phantom.py "$SOURCE" --subjects "$SUBJECTS" --spacing "$SPACING" --seed 0
fi
step "3/7 dataset"
# shellcheck disable=SC2086
python tools/prepare_dataset.py "$SOURCE" "$DATA" --anatomies $ANATOMIES --spacing "$SPACING"
step "4/7 correspondences"
python tools/build_pdm.py "$DATA" --particles "$PARTICLES"
step "5/7 training"
AGREED+=("data_root=$DATA" "spacing=$SPACING" "num_particles=$PARTICLES")
SHARED=(--work-dir "$WORK" --cfg-options "${AGREED[@]}")
python tools/train.py $CONFIG --resume "${SHARED[@]}" ${OPTIONS[@]+"${OPTIONS[@]}"}
step "6/7 test"
BEST=$(ls -t "$WORK"/best_*.pth | head -n 1)
if [ "$WORK/report/report.html" -nt "$BEST" ]; then
  echo "tested before: $WORK/test/metrics.json"
else
  python tools/test.py $CONFIG --report "${SHARED[@]}"
fi
step "7/7 export, and inference on one CT"
if [ "$WORK/inferred/ct/result.json" -nt "$BEST" ]; then
  echo "inferred before: $WORK/inferred/ct"
else
  LAST=$(tail -n 1 "$SOURCE/meta.csv" | cut -d ';' -f 1)
  python tools/export_model.py $CONFIG "$BEST" --out "$WORK/model" --data "synthetic thorax" \
    --licence Apache-2.0 --cfg-options "${AGREED[@]}"
  python tools/infer.py "$SOURCE/$LAST/ct.nii.gz" --model "$WORK/model" --out "$WORK/inferred" --report
fi

cat <<END

Done in $SECONDS s. Where to look:
  $WORK/test/metrics.json    the table above; cases.csv has a row per case and anatomy
  $WORK/report/report.html   box plots, heat maps, best and worst case
  $WORK/model/               the model as a folder: massm infer --model $WORK/model ct.nii.gz --out out
  $WORK/inferred/ct/         particles, meshes, label map and report.html of one CT
  tensorboard --logdir $WORK
END
