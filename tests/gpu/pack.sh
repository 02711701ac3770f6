#!/usr/bin/env bash
# Packs all that tests/gpu/run.sh needs on a machine without .NET and without a network: pack.sh [OUTPUT.tar.xz]
# A self-contained build of tests/TorchFlash.Gpu, the sources of eng/SystemLibTorch/native (which are built there, against that machine's
# libtorch), those of the emulated GPU for a rehearsal, and a text for the GPT-2 sample.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
output=$(realpath -m "${1:-$root/artifacts/gpu/torchflash-gpu.tar.xz}")
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT

folder=$stage/torchflash-gpu
mkdir -p "$folder/native" "$(dirname "$output")"
dotnet publish "$root/tests/TorchFlash.Gpu" -c Release -r linux-x64 --self-contained -p:TorchSharpProvider=SystemLibTorch \
  -p:DebugType=none -p:GenerateDocumentationFile=false -o "$folder/program" -v:quiet -nologo
rm -f "$folder"/program/libLibTorchSharp.so # of this machine's libtorch: run.sh builds its own
cp -r "$root/native/emulation" "$folder/native/"
cp -r "$root/eng/SystemLibTorch/native" "$folder/native/libtorch"
cp "$root/tests/gpu/run.sh" "$folder/"
git -C "$root" describe --always --dirty > "$folder/version.txt" 2> /dev/null || echo unknown > "$folder/version.txt"

# English for the sample to learn: the documentation and the comments of the source.
cat "$root"/README.md "$root"/CHANGELOG.md > "$folder/text.txt"
find "$root/src" "$root/samples" "$root/native" \( -name '*.cs' -o -name '*.cuh' -o -name '*.cu' \) ! -path '*/obj/*' -print0 \
  | sort -z | xargs -0 cat >> "$folder/text.txt"

tar -C "$stage" -cJf "$output" torchflash-gpu
echo "$output: $(du -h "$output" | cut -f1), unpacked $(du -sh "$folder" | cut -f1), version $(cat "$folder/version.txt")"
