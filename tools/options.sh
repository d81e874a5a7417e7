#!/usr/bin/env bash
# The tables of docs/options.md, from the program's own.   options.sh BINARY [--update]
# Without --update they are printed; with it the part of the page below its marker is replaced.
set -euo pipefail
binary=$(realpath "$1") root=$(cd "$(dirname "$0")/.." && pwd)
page=$root/docs/options.md marker='<!-- From here on made by tools/options.sh -->'
tables() {
	sed -n 's/^CYC_COMMAND(\([a-z0-9-]*\),.*/\1/p' "$root/src/cli/commands.def" | while read -r command; do
		"$binary" "$command" --help-markdown
	done
}
if [ "${2:-}" = --update ]; then
	new=$(tables)
	head=$(awk -v marker="$marker" '{ print } $0 == marker { exit }' "$page")
	printf '%s\n%s\n' "$head" "$new" >"$page"
else
	tables
fi
