# Compiles and runs the C# program in $1.
set -e
mcs -out:"$1.exe" -r:System.Net.Http -r:System.Runtime.Serialization "$1" "$(dirname "$0")/csharp_json.cs"
exec mono "$1.exe"
