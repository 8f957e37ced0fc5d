#!/usr/bin/env bash
# From the public OpenKBP files to the model that comes with the package.
# Usage: bash projects/headneck/train.sh PROVIDED_DATA [--processes 2] [--work-dir work_dirs/headneck]
#          [--out massm/zoo/headneck_ct] [KEY=VALUE ...]
# PROVIDED_DATA is provided-data of a clone of https://github.com/ababier/open-kbp. KEY=VALUE as after
# --cfg-options, for training, test and export. An interrupted run goes on where it was.
set -euo pipefail
CALLED_FROM=$PWD
# shellcheck source=tools/environment.sh
. "$(dirname "${BASH_SOURCE[0]}")/../../tools/environment.sh"

from_caller() { case $1 in /*) echo "$1" ;; *) echo "$CALLED_FROM/$1" ;; esac; }

PUBLIC="" PROCESSES=2 WORK=work_dirs/headneck OUT=massm/zoo/headneck_ct OPTIONS=()
while [ $# -gt 0 ]; do
  case $1 in
    [!-]*=*) OPTIONS+=("$1"); shift; continue ;;
    [!-]*) PUBLIC=$(from_caller "$1"); shift; continue ;;
    --processes) PROCESSES=${2:-} ;;
    --work-dir) WORK=$(from_caller "${2:-}") ;;
    --out) OUT=$(from_caller "${2:-}") ;;
    *) fail "unknown option $1; see the head of projects/headneck/train.sh" ;;
  esac
  shift 2 || fail "option $1 needs a value"
done
[ -n "$PUBLIC" ] || fail "name provided-data of a clone of https://github.com/ababier/open-kbp"
SOURCE=$WORK/source DATA=$WORK/dataset CONFIG=configs/massm_fit_headneck.py
ANATOMIES="brainstem parotid_gland_left parotid_gland_right larynx mandible"
CITED="planning CTs of OpenKBP (Babier et al., Medical Physics 48, 2021; github.com/ababier/open-kbp, MIT), \
patients with cancer of the head and neck, voxels of 2.7 to 5.1 x 2.7 to 5.1 x 1.5 to 3.3 mm (median 3.9 x 3.9 x 2.5), organs as clinics \
contoured them; those kept for validation also chose checkpoint, threshold and calibration"
LIMITS="organs of which the scan shows less than half are misplaced; brainstems and larynges are contoured \
differently from clinic to clinic; diagnostic scans, children and healthy people were never seen."

# or_made FILE COMMAND...: a command that left something out ends with CODE 1, and made the rest.
or_made() {
  local made=$1; shift
  CODE=0
  "$@" || CODE=$?
  [ "$CODE" = 0 ] && return
  [ "$CODE" = 1 ] && [ -e "$made" ] || exit "$CODE"  # Ctrl-C, or nothing to go on with
  echo "note: going on without what was left out"
}

step() { printf '\n== %s (%d s so far)\n' "$1" "$SECONDS"; }

step "1/7 environment"
make_environment ""
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH}
step "2/7 CSV files to NIfTI"
# Who was left out may have been mended since: only a whole conversion is not done again.
CONVERTED=$WORK/converted.txt
if [ ! -f "$SOURCE/meta.csv" ] || [ "$(cat "$CONVERTED" 2>/dev/null)" != "$PUBLIC" ]; then
  or_made "$SOURCE/meta.csv" python projects/headneck/from_openkbp.py "$PUBLIC" "$SOURCE" --crop
  mkdir -p "$WORK"
  [ "$CODE" != 0 ] || echo "$PUBLIC" >"$CONVERTED"
fi
step "3/7 dataset"
# shellcheck disable=SC2086
or_made "$DATA/dataset.json" \
  python tools/prepare_dataset.py "$SOURCE" "$DATA" --anatomies $ANATOMIES --spacing 4
step "4/7 correspondences"
or_made "$DATA/shapes/mandible/template.particles" \
  python tools/build_pdm.py "$DATA" --particles 512
step "5/7 training on $PROCESSES processes"
SHARED=(--work-dir "$WORK" --cfg-options "data_root=$DATA" ${OPTIONS[@]+"${OPTIONS[@]}"})
bash tools/dist_train.sh $CONFIG "$PROCESSES" --resume "${SHARED[@]}"
step "6/7 test"
BEST=$(ls -t "$WORK"/best_*.pth | head -n 1)
python tools/test.py $CONFIG "$BEST" --report "${SHARED[@]}"
step "7/7 export"
python tools/export_model.py $CONFIG "$BEST" --out "$OUT" --small --data "$CITED" --limits "$LIMITS" \
  --licence Apache-2.0 --cfg-options "data_root=$DATA" ${OPTIONS[@]+"${OPTIONS[@]}"}
[ "$(du -sk "$OUT" | cut -f 1)" -le 12288 ] \
  || echo "note: $OUT is larger than the 12 MB that a model of the package may have"
printf '\nDone in %d s: %s, %s; its accuracy is in model_card.md, the report in %s\n' \
  "$SECONDS" "$OUT" "$(du -sh "$OUT" | cut -f 1)" "$WORK/report/report.html"
