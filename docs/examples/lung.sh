#!/usr/bin/env bash
# From slides and reports to predictions on held-out patients: copy this file and change it.
#
#   lung.sh COHORT REPORTS OUT
#
# COHORT   table of slides: slide_id, path, patient_id, label
# REPORTS  table of reports: report_id, patient_id, text
# OUT      folder for everything that is made; a second run keeps what is done
#
# What stands below can be set in front of the command, as can every option of every command:
#   WORKERS=16 BACKEND=vllm MODEL=Qwen/Qwen2.5-7B-Instruct FIVE_TRAIN_EPOCHS=100 ./lung.sh cohort.csv reports.csv out
set -euo pipefail

ENCODER=${ENCODER:-efficientnet-lite0-imagenet}  # five embed --list-encoders shows more
QUESTIONS=${QUESTIONS:-lung-histology}           # what is asked of every report
CLASSES=${CLASSES:-$(dirname "$0")/lung-classes.yaml}  # the classes, in words
BACKEND=${BACKEND:-rules}                        # what answers the questions: rules, local, openai, vllm
MODEL=${MODEL:-}                                 # the language model of that backend
WORKERS=${WORKERS:-2}                            # processes

if [[ $# -ne 3 ]]; then
  echo "usage: $0 COHORT REPORTS OUT" >&2
  exit 2
fi
cohort=$1 reports=$2 out=$3
some_failed=0

# Run one command. Exit code 3 says that some slides or reports failed, each with its reason in the
# tables: go on with the others, and leave with 3 at the end. Any other failure stops here.
step() {
  local code=0
  printf '\n[%dm%02ds] %s\n' $((SECONDS / 60)) $((SECONDS % 60)) "$*"
  "$@" || code=$?
  case $code in
    0) ;;
    3) some_failed=1 ;;
    *) exit "$code" ;;
  esac
}

step five tile "$cohort" -o "$out/tiles" --workers "$WORKERS"
step five embed "$out/tiles" -o "$out/features" --encoder "$ENCODER" --workers "$WORKERS"
step five describe-reports "$reports" -o "$out/descriptions" --questions "$QUESTIONS" --backend "$BACKEND" ${MODEL:+--model "$MODEL"}

# Learn from the descriptions alone, then predict classes that the model has only read about.
step five train "$out/features" --descriptions "$out/descriptions" --cohort "$cohort" -o "$out/pretrained"
step five predict "$out/features" --run "$out/pretrained" --classes "$CLASSES" --cohort "$cohort" --split test -o "$out/zero_shot"
step five evaluate "$out/zero_shot"

# Go on with the labels of the same training patients, and predict the same held-out ones.
step five train "$out/features" --regime finetune --init "$out/pretrained" --classes "$CLASSES" --cohort "$cohort" -o "$out/finetuned"
step five predict "$out/features" --run "$out/finetuned" --cohort "$cohort" --split test --heatmaps -o "$out/predictions"
step five evaluate "$out/predictions" --show

if ((some_failed)); then
  echo "some slides or reports failed; the slides.parquet and reports.parquet in $out say why" >&2
  exit 3
fi
