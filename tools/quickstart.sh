#!/usr/bin/env bash
# From nothing to the shapes of a real patient, in minutes. With --train further: to a network
# trained and tested on a synthetic cohort, in fifteen to twenty minutes.
# Usage: bash tools/quickstart.sh [--work-dir work_dirs/quickstart]
#          [--train [--subjects 48] [--spacing 4] [--particles 512] [--epochs N] [KEY=VALUE ...]]
# KEY=VALUE as after --cfg-options, for training, test and export. What is done is not done again.
set -euo pipefail
CALLED_FROM=$PWD
# shellcheck source=tools/environment.sh
. "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

SUBJECTS=48 SPACING=4 PARTICLES=512 WORK=work_dirs/quickstart OPTIONS=() AGREED=() TRAIN= OF_TRAINING=
while [ $# -gt 0 ]; do
  case $1 in
    [!-]*=*) AGREED+=("$1"); OF_TRAINING=$1; shift; continue ;;
    --train) TRAIN=1; shift; continue ;;
    --subjects) SUBJECTS=${2:-} OF_TRAINING=$1 ;;
    --spacing) SPACING=${2:-} OF_TRAINING=$1 ;;
    --particles) PARTICLES=${2:-} OF_TRAINING=$1 ;;
    --epochs) OPTIONS+=("train_cfg.max_epochs=${2:-}"); OF_TRAINING=$1 ;;
    --work-dir) case ${2:-} in /*) WORK=$2 ;; *) WORK=$CALLED_FROM/${2:-} ;; esac ;;
    *) fail "unknown option $1; see the head of tools/quickstart.sh" ;;
  esac
  shift 2 || fail "option $1 needs a value"
done
[ -n "$TRAIN" ] || [ -z "$OF_TRAINING" ] || fail "$OF_TRAINING is of the training; add --train"
SOURCE=$WORK/source DATA=$WORK/dataset CONFIG=configs/massm_r18_phantom.py
ANATOMIES="heart_ventricle_left heart_ventricle_right heart_atrium_left heart_atrium_right
  lung_upper_lobe_left lung_upper_lobe_right spleen"

step() { printf '\n== %s (%d s so far)\n' "$1" "$SECONDS"; }

step "environment"
make_environment ""
step "shapes of a patient"
if [ -e "$WORK/patient/headneck_ct/report.html" ]; then
  echo "inferred before: $WORK/patient/headneck_ct"
else
  python tools/infer.py examples/headneck_ct.nii.gz --model headneck_ct --out "$WORK/patient" --report
fi
if [ -z "$TRAIN" ]; then
  cat <<END

Done in $SECONDS s. Where to look:
  $WORK/patient/headneck_ct/report.html   the surfaces in the scan, and against the population
  $WORK/patient/headneck_ct/              particles, meshes, label map, result.json
Your own scan: massm infer ct.nii.gz --out out --report; your own cohort: see the README.
END
  tell_environment
  exit
fi
step "1/6 phantom cohort of $SUBJECTS subjects"
if [ "$({ wc -l <"$SOURCE/meta.csv"; } 2>/dev/null || echo 0)" -ne $((SUBJECTS + 1)) ] \
  || ! grep -qE "\"spacing\": $SPACING(\.0)?[,}]" "$SOURCE/canonical/cohort.json" 2>/dev/null; then
  python tools/make_phantom.py "$SOURCE" --subjects "$SUBJECTS" --spacing "$SPACING" --seed 0
fi
step "2/6 dataset"
# shellcheck disable=SC2086
python tools/prepare_dataset.py "$SOURCE" "$DATA" --anatomies $ANATOMIES --spacing "$SPACING"
step "3/6 correspondences"
python tools/build_pdm.py "$DATA" --particles "$PARTICLES"
step "4/6 training"
AGREED+=("data_root=$DATA" "spacing=$SPACING" "num_particles=$PARTICLES")
SHARED=(--work-dir "$WORK" --cfg-options "${AGREED[@]}")
python tools/train.py $CONFIG --resume "${SHARED[@]}" ${OPTIONS[@]+"${OPTIONS[@]}"}
step "5/6 test"
BEST=$(ls -t "$WORK"/best_*.pth | head -n 1)
if [ "$WORK/report/report.html" -nt "$BEST" ]; then
  echo "tested before: $WORK/test/metrics.json"
else
  python tools/test.py $CONFIG --report "${SHARED[@]}"
fi
step "6/6 export, and inference on one CT"
if [ "$WORK/inferred/ct/result.json" -nt "$BEST" ]; then
  echo "inferred before: $WORK/inferred/ct"
else
  LAST=$(tail -n 1 "$SOURCE/meta.csv" | cut -d ';' -f 1)
  python tools/export_model.py $CONFIG "$BEST" --out "$WORK/model" --data "synthetic thorax" \
    --licence Apache-2.0 --cfg-options "${AGREED[@]}"
  [ ! -f "$WORK/inferred/ct/result.json" ] || rm -rf "$WORK/inferred/ct"  # of another cohort
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
tell_environment
