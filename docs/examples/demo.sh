#!/usr/bin/env bash
# Draw a synthetic cohort and run lung.sh on it: no account, no download, no GPU. No patient is behind it.
#
#   demo.sh DIR
set -euo pipefail

dir=${1:?usage: demo.sh DIR}
here=$(dirname "$0")

five demo cohort -o "$dir/cohort" --workers "${WORKERS:-2}"

# The way through a language model, with one of 135 million parameters. A model of this size makes quotes up;
# answers whose quote is not in the report count as unknown. Real use: --backend vllm or openai, 7 billion or more.
printf '\nTwo reports through a small language model, to see that way work (its answers are poor):\n'
five describe-reports "$dir/cohort/reports.csv" -o "$dir/descriptions_local" --questions lung --backend local --limit 2 \
  --model smollm2-135m-instruct

CLASSES=$here/demo-classes.yaml "$here/lung.sh" "$dir/cohort/cohort.csv" "$dir/cohort/reports.csv" "$dir"

cat <<END

Done in $((SECONDS / 60)) min $((SECONDS % 60)) s. SYNTHETIC data: the figures say that the program works, nothing about real tissue.

  $dir/cohort/           slides, reports, and what the reports state (truth.csv)
  $dir/tiles/qc/         picture of every slide: what is tissue, which tiles are kept
  $dir/descriptions/     answers to the questions, each with its quote
  $dir/finetuned/        the model, learning_curves.png
  $dir/predictions/      report.html to look at, predictions.parquet, heatmaps/
END
