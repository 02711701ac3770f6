@echo off
rem Everything this repository can do, by verb; without one, the list of verbs. The work is done by eng\Build.
setlocal
set DOTNET_NOLOGO=1
where dotnet >nul 2>nul
if errorlevel 1 (
  echo build.cmd: dotnet is not on the PATH; install the .NET SDK 10 1>&2
  exit /b 1
)
dotnet msbuild "%~dp0eng\Build" -restore -p:Configuration=Release -v:quiet -nologo || exit /b 1
dotnet "%~dp0eng\Build\bin\Release\net10.0\Build.dll" %*
exit /b %errorlevel%
