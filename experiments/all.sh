#!/usr/bin/env bash
# Runs every experiment, task after task, and makes a page of them all:
#
#   experiments/all.sh [BUDGET [PROGRAM]]    BUDGET: smoke, short or full (default); PROGRAM: stpn
#
# Runs in the current folder and takes every experiments/*/reproduce.toml that is there. Called again after
# it was stopped, it continues. A task that fails does not stop the others; the exit code is then 1.
set -uo pipefail
budget=${1:-full}
program=${2:-build/bin/stpn}
page=runs/report.html
case $budget in
  full) suffix='' ;;
  smoke | short) suffix=_$budget page=runs/report_$budget.html ;;
  *)
    echo "experiments: BUDGET=$budget: must be smoke, short or full" >&2
    exit 2
    ;;
esac

failed=()
folders=()
for file in experiments/*/reproduce.toml; do
  task=$(basename "$(dirname "$file")")
  echo "experiments: $task, budget $budget" >&2
  "$program" reproduce "$task" --budget "$budget" || failed+=("$task")
  # A task of which no run has begun has nothing to show.
  if [[ -n $(find "runs/$task$suffix" -name metrics.jsonl -print -quit 2>/dev/null) ]]; then
    folders+=("runs/$task$suffix")
  fi
done
if ((${#folders[@]})); then
  "$program" report "${folders[@]}" --out "$page" || failed+=(report)
fi
if ((${#failed[@]})); then
  echo "experiments: failed: ${failed[*]}; call it again to continue" >&2
  exit 1
fi
