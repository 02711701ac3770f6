#!/bin/sh
# Builds the CPU emulation of a CUDA device, which stands in for libcuda and libnvrtc: build.sh OUTPUT.so
set -eu
output=$1
case $output in *.so) ;; *) output=$output/libtorchflash-emulation.so ;; esac
source=$(cd "$(dirname "$0")" && pwd)

fail() { echo "$*" >&2; exit 1; }

command -v g++ >/dev/null || fail "error: g++ was not found. Install it: apt-get install g++"

mkdir -p "$(dirname "$output")"
output=$(cd "$(dirname "$output")" && pwd)/$(basename "$output")
exec 9>"$output.lock"
flock 9 # two builds at the same time: the second one finds the first one's result

if [ -f "$output" ] && [ -z "$(find "$source" -newer "$output" -print -quit)" ]; then exit 0; fi

objects=$output.objects
rm -rf "$objects"
mkdir "$objects"

# -ffp-contract=off: a product is rounded before it is added, as far as the emulation's own sums go.
pids=
cd "$source" # where .incbin finds the embedded headers: -Wa,-I takes no path with a comma
for file in *.cpp; do
    g++ -c "$file" -o "$objects/${file%.cpp}.o" -std=c++20 -O2 -fPIC -fno-gnu-unique -ffp-contract=off -Wall -Wextra -Wno-psabi &
    pids="$pids $!"
done
for pid in $pids; do wait "$pid" || fail "error: libtorchflash-emulation.so did not compile"; done
g++ -shared -o "$output.new" "$objects"/*.o -Wl,-soname,libtorchflash-emulation.so -Wl,--no-undefined -pthread -ldl
rm -rf "$objects"
mv "$output.new" "$output"
