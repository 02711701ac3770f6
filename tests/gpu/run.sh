#!/usr/bin/env bash
# The GPU run: checks and measurements of the CUDA engine on real hardware, from a build that tests/gpu/pack.sh made.
#
#   run.sh [PART...] [--out DIR] [--seconds S] [--device N] [--packed FILE] [--cache FILE] [--work DIR] [-- OPTION...]
#
# PART       conformance, precompile, bench, verify, end-to-end, tune; without one: all of these but tune, in this order
# --out      where reports (JSON) and log.txt go; $OUT, else artifacts/gpu-results
# --seconds  for all parts together; what does not fit is reported as not run (540)
# --device   number of the GPU (0)
# --packed   what pack.sh made; beside this script, else artifacts/gpu/torchflash-gpu.tar.xz
# --cache    cache.tar.xz of the results of a run before, whose kernels need not be compiled again; beside --packed, where there is one
# --work     where it is unpacked and built (a folder under /tmp that the next run finds again)
# --         options for the parts, such as --dim 128; give one part then
#
# Needed: an NVIDIA driver, NVRTC (a toolkit's or PyTorch's), and for bench, tune and end-to-end g++ and PyTorch (python3's, or LIBTORCH_DIR).
# No .NET, no network. A part that fails does not keep the others from running, but conformance: where a primitive is wrong nothing
# after it means anything (--keep-going runs the rest all the same). Each part leaves time for those after it. The results have cache.tar.xz.
# Exit code: 0 all parts passed, 1 one did not or was not run, 2 this script could not start them, 3 no GPU.
set -uo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)

fail() { echo "run.sh: $*" >&2; exit 2; }

parts=() options=() out=${OUT:-} seconds=540 device=0 packed= cache= work= keep_going=
while [[ $# -gt 0 ]]; do
  case $1 in
    conformance | precompile | bench | verify | end-to-end | tune) parts+=("$1") ;;
    --out) out=${2:?}; shift ;;
    --seconds) seconds=${2:?}; shift ;;
    --device) device=${2:?}; shift ;;
    --packed) packed=${2:?}; shift ;;
    --cache) cache=${2:?}; shift ;;
    --work) work=${2:?}; shift ;;
    --keep-going) keep_going=1 ;;
    --) shift; options=("$@"); break ;;
    -h | --help) sed -n '2,/^set -/p' "${BASH_SOURCE[0]}" | sed '$d; s/^# \{0,1\}//'; exit 0 ;;
    *) fail "unknown argument $1; see run.sh --help" ;;
  esac
  shift
done
[[ ${#parts[@]} -gt 0 ]] || parts=(conformance precompile bench verify end-to-end)
[[ ${#options[@]} -eq 0 || ${#parts[@]} -eq 1 ]] || fail "options behind -- go with one part"
out=${out:-$root/artifacts/gpu-results}
started=$SECONDS
mkdir -p "$out" || fail "cannot write to $out"
out=$(cd "$out" && pwd)
exec > >(tee -a "$out/log.txt") 2>&1
logger=$!
finish() { exec 1>&- 2>&-; wait "$logger" 2> /dev/null; exit "$1"; }

left() { echo $((seconds - (SECONDS - started))); }

# ---- the packed build
if [[ -d $here/program ]]; then
  folder=$here
else
  if [[ -z $packed ]]; then
    for candidate in "$here/torchflash-gpu.tar.xz" "$root/artifacts/gpu/torchflash-gpu.tar.xz"; do
      [[ ! -f $candidate ]] || { packed=$candidate; break; }
    done
  fi
  [[ -f $packed ]] || { echo "run.sh: there is no packed build; make one with tests/gpu/pack.sh where .NET is, and carry it here"; finish 2; }
  work=${work:-/tmp/torchflash-gpu-$(sha256sum "$packed" | cut -c1-12)}
  folder=$work/torchflash-gpu
  if [[ ! -f $work/unpacked ]]; then
    mkdir -p "$work" && tar -C "$work" -xf "$packed" && touch "$work/unpacked" || { echo "run.sh: $packed could not be unpacked"; finish 2; }
  fi
fi
program=$folder/program/TorchFlash.Gpu
work_log=$folder/build-libtorch.log
chmod +x "$program"
export DOTNET_SYSTEM_GLOBALIZATION_INVARIANT=1 DOTNET_EnableDiagnostics=0
export TORCHFLASH_CACHE=${TORCHFLASH_CACHE:-$folder/cache}

# ---- kernels that a run before has compiled
if [[ -z $cache ]]; then
  for candidate in "$(dirname "${packed:-$here/.}")/cache.tar.xz" "$root/artifacts/gpu/cache.tar.xz"; do
    [[ ! -f $candidate ]] || { cache=$candidate; break; }
  done
fi
mkdir -p "$TORCHFLASH_CACHE"
if [[ -n $cache ]]; then
  tar -C "$TORCHFLASH_CACHE" -xf "$cache" --no-same-owner --skip-old-files && echo "== kernels from $cache" || echo "== $cache could not be unpacked"
fi

echo "== TorchFlash $(cat "$folder/version.txt"), $(date -u +%FT%TZ), $(uname -srm), $(nproc) processors"
echo "== parts: ${parts[*]}; $seconds s; out: $out"
if command -v nvidia-smi > /dev/null; then
  nvidia-smi --query-gpu=index,name,driver_version,memory.total,clocks.sm,clocks.mem,power.draw,temperature.gpu --format=csv || true
else
  echo "nvidia-smi: not there"
fi

# ---- libtorch, for the parts that use its tensors
needs_torch=
for part in "${parts[@]}"; do [[ $part != conformance && $part != precompile && $part != verify ]] && needs_torch=1; done
python=$(command -v python3 || true)
if [[ -z ${LIBTORCH_DIR:-} && -n $python ]]; then
  LIBTORCH_DIR=$("$python" -c 'import importlib.util as u, os; s = u.find_spec("torch"); print(os.path.dirname(s.origin) if s else "")' 2> /dev/null || true)
fi
# PyTorch's wheels bring NVRTC and what libtorch_cuda needs in folders of their own beside torch.
if [[ -n ${LIBTORCH_DIR:-} ]]; then
  export LIBTORCH_DIR
  site=$(dirname "$LIBTORCH_DIR")
  wheels=$(find "$site/nvidia" -maxdepth 3 -type d -name lib 2> /dev/null | tr '\n' ':')
  export LD_LIBRARY_PATH=$LIBTORCH_DIR/lib:$wheels${LD_LIBRARY_PATH:-}
  # An NVRTC newer than the driver makes code that the driver does not load: PyTorch's own fits, the toolkit's may not.
  if [[ -z ${TORCHFLASH_NVRTC:-} ]]; then
    nvrtc=$(find "$site/nvidia" "$LIBTORCH_DIR/lib" -name 'libnvrtc*.so*' ! -name '*builtins*' ! -name '*.alt.*' 2> /dev/null | sort | head -1)
    [[ -z $nvrtc ]] || export TORCHFLASH_NVRTC=$nvrtc
  fi
fi
bridge=$folder/program/libLibTorchSharp.so building= torch_ready=

# Starts building the provider's library, in the background: the parts before do not need it.
start_bridge() {
  [[ -n $needs_torch && -z $building && -z $torch_ready ]] || return 0
  if [[ -z ${LIBTORCH_DIR:-} && ! -f /usr/include/ATen/ATen.h ]]; then
    echo "== NO PYTORCH: python3 has no torch and LIBTORCH_DIR is not set; bench, tune and end-to-end cannot run"
    needs_torch=
  elif [[ -f $bridge && -f $bridge.of && $(cat "$bridge.of") == "${LIBTORCH_DIR:-}" ]]; then
    torch_ready=1
  else
    echo "== building libLibTorchSharp.so against ${LIBTORCH_DIR:-the libtorch of the system}"
    sh "$folder/native/libtorch/build.sh" "$bridge" > "$work_log" 2>&1 &
    building=$!
  fi
}

# Waits for it; false where there is none.
have_bridge() {
  start_bridge
  if [[ -n $building ]]; then
    if wait "$building"; then
      echo "${LIBTORCH_DIR:-}" > "$bridge.of"
      torch_ready=1
    else
      cat "$work_log"
      echo "== libLibTorchSharp.so COULD NOT BE BUILT; bench, tune and end-to-end cannot run"
      needs_torch=
    fi
    building=
  fi
  [[ -n $torch_ready ]]
}

# Seconds that a part leaves for those after it.
reserve() {
  local seconds=0 part
  for part in "$@"; do
    case $part in
      precompile) seconds=$((seconds + 110)) ;;
      bench | tune) seconds=$((seconds + 120)) ;;
      verify) seconds=$((seconds + 130)) ;;
      end-to-end) seconds=$((seconds + 70)) ;;
    esac
  done
  echo "$seconds"
}

# ---- the parts
status=0 no_gpu=
for ((index = 0; index < ${#parts[@]}; index++)); do
  part=${parts[index]}
  echo
  echo "== $part ($(left) s left)"
  rm -f "$out/$part.json"
  arguments=("$part" --out "$out" --device "$device")
  if [[ -n $no_gpu ]]; then
    echo "== $part: NOT RUN, there is no GPU"
    continue
  fi
  case $part in
    conformance | precompile | verify) ;;
    *)
      have_bridge || { echo "== $part: NOT RUN, there is no libtorch"; [[ $status -ne 0 ]] || status=1; continue; }
      [[ $part != end-to-end ]] || arguments+=(--text "$folder/text.txt")
      ;;
  esac
  budget=$(($(left) - $(reserve "${parts[@]:index+1}")))
  if [[ $budget -lt 10 ]]; then
    echo "== $part: NOT RUN, the time is over"
    status=1
    continue
  fi
  timeout --kill-after=10 "$((budget + 20))" "$program" "${arguments[@]}" --seconds "$budget" ${options[@]+"${options[@]}"}
  code=$?
  [[ $code -eq 3 ]] || start_bridge
  case $code in
    0) ;;
    3) no_gpu=1 status=3 ;;
    *)
      [[ $status -ne 0 ]] || status=1
      echo "== $part: FAILED (exit code $code)"
      if [[ $part == conformance && -z $keep_going && ${#parts[@]} -gt 1 ]]; then
        echo "== the rest is NOT RUN: a device primitive does something else than the emulation, on which the kernels were tested"
        break
      fi
      ;;
  esac
done
[[ -z $building ]] || wait "$building"
[[ -z $(ls -A "$TORCHFLASH_CACHE") ]] || XZ_OPT='-T0 -2' tar -C "$TORCHFLASH_CACHE" -cJf "$out/cache.tar.xz" . || echo "== the cache could not be packed"
if [[ -z $no_gpu ]]; then
  "$program" summary "${parts[@]}" --out "$out" || { [[ $status -ne 0 ]] || status=1; }
fi
echo
echo "== $([[ $status -eq 0 ]] && echo PASSED || echo FAILED), $((SECONDS - started)) s"
finish "$status"
