#!/usr/bin/env bash
# From slides and reports to predictions on held-out patients: copy this file and change it.
#
#   lung.sh COHORT REPORTS OUT
#
# COHORT   table of slides: slide_id, path, patient_id, label
# REPORTS  table of reports: report_id, patient_id, text
# OUT      output folder; a second run keeps what is done
#
# Set the variables below, and any option of any command, in the environment:
#   WORKERS=16 BACKEND=vllm MODEL=Qwen/Qwen2.5-7B-Instruct FIVE_TRAIN_EPOCHS=100 ./lung.sh cohort.csv reports.csv out
set -euo pipefail

ENCODER=${ENCODER:-efficientnet-lite0-imagenet}  # five embed --list-encoders shows more
QUESTIONS=${QUESTIONS:-lung-histology}           # question set
CLASSES=${CLASSES:-$(dirname "$0")/lung-classes.yaml}  # one or more sentences per class
BACKEND=${BACKEND:-rules}                        # rules, local, openai or vllm
MODEL=${MODEL:-}                                 # language model of the backend
WORKERS=${WORKERS:-2}                            # processes (five tile), reading threads (five embed)

if [[ $# -ne 3 ]]; then
  echo "usage: $0 COHORT REPORTS OUT" >&2
  exit 2
fi
cohort=$1 reports=$2 out=$3
some_failed=0

# Run one command. Exit code 3 means that some slides or reports failed; the tables give the reasons.
# Continue with the others and exit with 3 at the end. Any other failure stops the script.
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

# Learn from the descriptions alone, then predict classes that the model knows only from their texts.
step five train "$out/features" --descriptions "$out/descriptions" --cohort "$cohort" -o "$out/pretrained"
step five predict "$out/features" --run "$out/pretrained" --classes "$CLASSES" --cohort "$cohort" --split test -o "$out/zero_shot"
step five evaluate "$out/zero_shot"

# Fine-tune on the labels of the same training patients, and predict the same held-out patients.
step five train "$out/features" --regime finetune --init "$out/pretrained" --classes "$CLASSES" --cohort "$cohort" -o "$out/finetuned"
step five predict "$out/features" --run "$out/finetuned" --cohort "$cohort" --split test --heatmaps -o "$out/predictions"
step five evaluate "$out/predictions" --show

if ((some_failed)); then
  echo "some slides or reports failed; the slides.parquet and reports.parquet in $out say why" >&2
  exit 3
fi
