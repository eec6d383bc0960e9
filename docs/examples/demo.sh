#!/usr/bin/env bash
# Draw a synthetic cohort and run lung.sh on it: no account, no download, no GPU, no real patients.
#
#   demo.sh DIR
set -euo pipefail

dir=${1:?usage: demo.sh DIR}
here=$(dirname "$0")

five demo cohort -o "$dir/cohort" --workers "${WORKERS:-2}"

# The language-model path, with a model of 135 million parameters. A model of this size invents quotes; answers
# whose quote is not in the report count as unknown. For real use: --backend vllm or openai, 7 billion or more.
printf '\nTwo reports through a small language model, to show that this path works (its answers are poor):\n'
five describe-reports "$dir/cohort/reports.csv" -o "$dir/descriptions_local" --questions lung --backend local --limit 2 \
  --model smollm2-135m-instruct

CLASSES=$here/demo-classes.yaml QUESTIONS=$here/demo-questions.yaml "$here/lung.sh" "$dir/cohort/cohort.csv" "$dir/cohort/reports.csv" "$dir"

cat <<END

Done in $((SECONDS / 60)) min $((SECONDS % 60)) s. SYNTHETIC data: the results show that the program works, and nothing about real tissue.

  $dir/cohort/           slides, reports, and the facts in the reports (truth.csv)
  $dir/tiles/qc/         overview of every slide: tissue, kept and rejected tiles
  $dir/descriptions/     answers to the questions, each with its quote
  $dir/finetuned/        the model, learning_curves.png
  $dir/predictions/      report.html (open it first), predictions.parquet, heatmaps/
END
