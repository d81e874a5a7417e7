#!/usr/bin/env bash
# The tables of docs/formats/relion-commands.md, from the program's own.   relion_commands.sh BINARY [--update]
# Without --update they are printed; with it the part of the page below its marker is replaced.
set -euo pipefail
binary=$(realpath "$1") page=$(cd "$(dirname "$0")/.." && pwd)/docs/formats/relion-commands.md
marker='<!-- From here on made by tools/relion_commands.sh -->'
names=$(mktemp -d)
trap 'rm -rf "$names"' EXIT
tables() {
	"$binary" relion-names -q "$names" | grep -v '_mpi$' | while read -r name; do
		echo
		"$name" --help-markdown
	done
}
if [ "${2:-}" = --update ]; then
	tables >"$names/tables"
	awk -v marker="$marker" '{ print } $0 == marker { exit }' "$page" >"$names/page"
	cat "$names/page" "$names/tables" >"$page"
else
	tables
fi
