#!/bin/sh
# Builds libLibTorchSharp.so: build.sh OUTPUT.so
# libtorch is the one in $LIBTORCH_DIR (a libtorch download or the `torch` folder of a PyTorch wheel), else the system's.
set -eu
output=$1
source=$(cd "$(dirname "$0")" && pwd)

fail() { echo "$*" >&2; exit 1; }

command -v g++ >/dev/null || fail "error: g++ was not found. Install it: apt-get install g++"
# The arguments of this script become the compiler's, then the linker's: a list that keeps a path with a space whole.
if [ -n "${LIBTORCH_DIR:-}" ]; then
    include=$LIBTORCH_DIR/include
    set -- -isystem "$include" -isystem "$include/torch/csrc/api/include"
    lib=$LIBTORCH_DIR/lib
    [ -f "$include/ATen/ATen.h" ] || fail "error: LIBTORCH_DIR=$LIBTORCH_DIR has no include/ATen/ATen.h: it must be a libtorch download or the torch folder of a PyTorch wheel"
else
    include=/usr/include
    set -- -isystem "$include/torch/csrc/api/include"
    [ -f "$include/ATen/ATen.h" ] || fail "error: libtorch was not found. Install it: apt-get install libtorch-dev libopenblas0-openmp (or set LIBTORCH_DIR)"
    lib=$(dirname "$(g++ -print-file-name=libtorch_cpu.so)")
fi

# PyTorch's own wheels used the old std::string until 2.6; Debian and later wheels use the new one.
if grep -q __cxx11 "$lib/libc10.so"; then abi=1; else abi=0; fi

objects=$output.objects
mkdir -p "$(dirname "$output")"
exec 9>"$output.lock"
flock 9 # two builds at the same time: the second one finds the first one's result replaced, never half written
rm -rf "$objects"
mkdir "$objects"

# C++20: what libtorch 2.14 needs and 1.13 allows.
pids=
for file in "$source"/*.cpp; do
    g++ -c "$file" -o "$objects/$(basename "$file" .cpp).o" -std=c++20 -O2 -fPIC -fvisibility=hidden \
        -Wall -Wextra -Wno-unused-parameter -D_GLIBCXX_USE_CXX11_ABI=$abi "$@" &
    pids="$pids $!"
done
for pid in $pids; do wait "$pid" || fail "error: libLibTorchSharp.so did not compile"; done

# The CUDA half registers its operators when it is loaded, and nothing here refers to it: --no-as-needed keeps it. What it
# needs itself lies where the loader will look, not necessarily the linker.
set -- -Wl,--no-as-needed -ltorch -ltorch_cpu
[ ! -f "$lib/libtorch_cuda.so" ] || set -- "$@" -ltorch_cuda -lc10_cuda
set -- "$@" -lc10 -Wl,--no-undefined -Wl,--allow-shlib-undefined
[ -z "${LIBTORCH_DIR:-}" ] || set -- "$@" -Xlinker -rpath -Xlinker "$lib"
g++ -shared -o "$output.new" "$objects"/*.o -L"$lib" "$@"
rm -rf "$objects"
mv "$output.new" "$output"
