#!/usr/bin/env bash
# Everything this repository can do, by verb; without one, the list of verbs. The work is done by eng/Build.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

if ! command -v dotnet > /dev/null; then
  echo "build.sh: 'dotnet' is not on the PATH; install the .NET SDK 10" >&2
  exit 1
fi

# Without ICU .NET does not start unless it is told to do without cultures, which this repository never needs.
if ! ldconfig -p 2> /dev/null | grep -q libicuuc; then
  export DOTNET_SYSTEM_GLOBALIZATION_INVARIANT=1
fi
export DOTNET_NOLOGO=1

stamp=$root/eng/Build/obj/built
if [[ ! -f $stamp || -n $(find "$root"/eng/Build/*.cs* "$root"/Directory.{Build,Packages}.{props,targets} "$root"/global.json \
  -newer "$stamp" 2> /dev/null) ]]; then
  dotnet msbuild "$root/eng/Build" -restore -p:Configuration=Release -v:quiet -nologo
  touch "$stamp"
fi
exec dotnet "$root/eng/Build/bin/Release/net10.0/Build.dll" "$@"
