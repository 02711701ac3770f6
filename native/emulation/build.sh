#!/bin/sh
# Builds the CPU emulation of a CUDA device: build.sh OUT_DIR
# OUT_DIR gets libtorchflash-emulation.so (which stands in for libcuda and libnvrtc) and include/ (what it compiles kernels against).
set -eu
output=$1
source=$(cd "$(dirname "$0")" && pwd)

fail() { echo "$*" >&2; exit 1; }

command -v g++ >/dev/null || fail "error: g++ was not found. Install it: apt-get install g++"
mkdir -p "$output/include"
exec 9>"$output/emulation.lock"
flock 9 # two builds at the same time: the second one finds the first one's result

library=$output/libtorchflash-emulation.so
objects=$output/emulation.objects
mkdir -p "$objects"
newest() { [ -f "$1" ] && [ -z "$(find "$source" -newer "$1" \( -name '*.cpp' -o -name '*.h' -o -name build.sh \) -print -quit)" ]; }
if newest "$library"; then exit 0; fi

pids=
for file in "$source"/*.cpp; do
    g++ -c "$file" -o "$objects/$(basename "$file" .cpp).o" -std=c++20 -O2 -fPIC -fno-gnu-unique -ffp-contract=off -Wall -Wextra -Wno-psabi & pids="$pids $!"
done
for pid in $pids; do wait "$pid" || fail "error: libtorchflash-emulation.so did not compile"; done
g++ -shared -o "$library.new" "$objects"/*.o -Wl,-soname,libtorchflash-emulation.so -Wl,--no-undefined -pthread -ldl
rm -r "$objects"
cp "$source/emulation.h" "$source/host.h" "$output/include/"
[ ! -f "$source/emulation_hopper.h" ] || cp "$source/emulation_hopper.h" "$output/include/"
mv "$library.new" "$library"
