#!/usr/bin/env bash
# Draw a synthetic cohort and run lung.sh on it: no account, no download, no GPU. No patient is behind it.
#
#   demo.sh DIR
set -euo pipefail

dir=${1:?usage: demo.sh DIR}
here=$(dirname "$0")

five demo cohort -o "$dir/cohort" --workers "${WORKERS:-2}"
CLASSES=$here/demo-classes.yaml "$here/lung.sh" "$dir/cohort/cohort.csv" "$dir/cohort/reports.csv" "$dir"

# The same questions, put to a small language model on this machine. It shows the way only: models of
# this size answer worse than the rules above. Real use: --backend vllm or openai, 7 billion parameters or more.
printf '\nTwo reports through a language model:\n'
five describe-reports "$dir/cohort/reports.csv" -o "$dir/descriptions_local" --questions lung --backend local --limit 2

cat <<END

Done in $((SECONDS / 60)) min $((SECONDS % 60)) s. SYNTHETIC data: the figures say that the program works, nothing about real tissue.

  $dir/cohort/           slides, reports, and what the reports state (truth.csv)
  $dir/tiles/qc/         picture of every slide: what is tissue, which tiles are kept
  $dir/descriptions/     answers to the questions, each with its quote
  $dir/predictions/      predictions.parquet, heatmaps/
END
