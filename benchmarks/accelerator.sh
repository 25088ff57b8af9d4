#!/usr/bin/env bash
# All that wants an accelerator, measured in less than eight minutes: the training step in float32
# and half precision beside PyTorch's, the device's feed beside a bare lax.scan, 16 runs together
# beside one, CIFAR-10 to 90 %. Each part has its own time at most; see benchmarks/accelerator.py.
#
#     [CIFAR=/path/to/cifar10.tar.gz] bash benchmarks/accelerator.sh
#
# The results are JSON lines in $OUT, or else outputs/accelerator/, results.jsonl, with what each
# part has said beside them. Without an accelerator it runs small, and says what was not measured.
# It needs JAX, Keras, Hydra, pydantic and Pillow; where PyTorch is missing, its rows are.
set -u
cd "$(dirname "$0")/.."
out="${OUT:-outputs/accelerator}"
mkdir -p "$out"
results="$out/results.jsonl"
: > "$results"
export KERAS_BACKEND=jax PYTHONPATH="$PWD/src${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
python="${PYTHON:-python3}"

platform=$(timeout 30 "$python" -c 'import jax; print(jax.default_backend())' 2> "$out/start.log")
case "$platform" in
  "") echo '{"part": "all", "not_measured": "JAX does not start: see start.log"}' | tee -a "$results"; exit 1 ;;
  cpu) small=--small patience=4 ;;  # Processors compile slowly.
  *) small= patience=1 ;;
esac

part() {  # NAME SECONDS
  # What does not end in its time keeps the lines that it has written.
  local most=$(($2 * patience))
  timeout -k 5 "$most" "$python" benchmarks/accelerator.py "$1" $small 2> "$out/$1.log" | tee -a "$results"
  local status=${PIPESTATUS[0]}
  case "$status" in
    0) ;;
    124 | 137) echo "{\"part\": \"$1\", \"not_measured\": \"the rest of it: more than $most s\"}" | tee -a "$results" ;;
    *) echo "{\"part\": \"$1\", \"not_measured\": \"ended with $status: see $1.log\"}" | tee -a "$results" ;;
  esac
}

part machine 20
part step 70
part torch 100
part feed 80
part together 70
part cifar 100
if [ -n "$small" ]; then
  echo '{"part": "all", "not_measured": "no accelerator here: every figure above is of a small form on a processor, and says that it runs, not how fast"}' | tee -a "$results"
fi
