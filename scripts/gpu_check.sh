#!/usr/bin/env bash
# What can only be shown on a GPU, in at most eight minutes, as one table:
#     bash scripts/gpu_check.sh
#     bash scripts/gpu_check.sh --dry_run     # the same steps on the CPU, on less data
# It needs what README installs for the tests. DATASET and GLOVE name other reviews and vectors than those of the Hub;
# what the steps print goes to OUT (gpu_check), the table to OUT/table.md as well.
set -uo pipefail
cd "$(dirname "$0")/.."
export PYTHONPATH=$PWD HF_HUB_DISABLE_PROGRESS_BARS=1 TOKENIZERS_PARALLELISM=false
out=${OUT:-gpu_check}
dataset=${DATASET:-stanfordnlp/imdb}
glove=${GLOVE:-stanfordnlp/glove}
processes=$(python -c 'import torch; print(max(torch.cuda.device_count(), 1))')
precision=(--bf16 true)
limits=()
device=cuda
if [ "${1:-}" = --dry_run ]; then
  device=cpu processes=2
  limits=(--max_train_samples 640 --max_validation_samples 128 --max_test_samples 128 --num_train_epochs 1 --use_cpu true)
elif [ $# -gt 0 ]; then
  echo "error: $1 is not known; allowed: --dry_run" >&2
  exit 2
elif ! python -c 'import torch, sys; sys.exit(not torch.cuda.is_available())'; then
  echo "error: torch finds no CUDA device; --dry_run tries the steps on the CPU" >&2
  exit 1
fi
rm -rf "$out"
mkdir -p "$out"
failed=0
printf '| step | result | seconds |\n| --- | --- | --- |\n' > "$out/table.md"

# A step: its name, its limit in seconds, and a command whose last line is its result.
step() {
  local name=$1 limit=$2 start=$SECONDS result
  shift 2
  echo "== $name" >&2
  if timeout "$limit" "$@" > "$out/step.log" 2>&1; then
    result=$(grep -v '^$' "$out/step.log" | tail -n 1)
  else
    result="FAILED ($?): $(grep -v '^$' "$out/step.log" | tail -n 1)"
    failed=1
  fi
  cat "$out/step.log" >> "$out/log.txt"
  printf '| %s | %s | %s |\n' "$name" "${result//|//}" "$((SECONDS - start))" >> "$out/table.md"
}

train() {
  local run=$1
  shift
  "$@" scripts/train.py --preset v2_glove --dataset "$dataset" --glove "$glove" --output_dir "$out/$run" \
    --disable_tqdm true "${precision[@]}" "${limits[@]}" || return
  python scripts/gpu_check.py result "$out/$run"
}
same_weights() {
  cmp "$out/one/model.safetensors" "$out/two/model.safetensors" && echo "the same weights, bit for bit"
}
export -f train same_weights
export out dataset glove

step "CUDA tests" 120 env GPU_CHECK_DEVICE=$device python -m pytest -q -n 0 -p no:cacheprovider tests/model/test_cuda.py
step "training step: ours, packed nn.LSTM, the CPU" 120 python scripts/gpu_check.py speed --device $device
short=(--max_train_samples 2000 --max_validation_samples 500 --max_test_samples 500 --num_train_epochs 1)
[ $device = cpu ] || { kept=("${limits[@]}"); limits=("${short[@]}"); }
step "a short training, bfloat16" 60 bash -c "$(declare -p precision limits); train one python"
step "the same again" 60 bash -c "$(declare -p precision limits); train two python"
step "determinism" 10 bash -c same_weights
step "DDP, $processes processes" 90 bash -c "$(declare -p precision limits); train ddp torchrun --nproc_per_node $processes"
[ $device = cpu ] || { limits=("${kept[@]}"); step "v2_glove, bfloat16, whole" 180 bash -c "$(declare -p precision limits); train whole python"; }
cat "$out/table.md"
exit $failed
