#!/bin/bash
# Made by 'cyclotomo slurm': submits the jobs of a run, each after the one before it, and notes their numbers in the file "jobs".
#   bash submit.sh            submit them; not while earlier ones are queued or running
#   bash submit.sh --status   what became of those that were submitted
set -euo pipefail
cd "$(dirname "$0")"
command -v sbatch >/dev/null || { echo "sbatch was not found: submit where Slurm is, or load its module first" >&2; exit 3; }

# Lines "state number" of the tasks that Slurm still knows, by the number of the job.
states() { squeue --noheader --array --format='%F %T %r' | awk -v id="$1" '$1 == id { n[$2 ($2 == "PENDING" && $3 == "BeginTime" ? "(queued again)" : "")]++ } END { for (s in n) print n[s], tolower(s) }'; }

status() {
	local id name found
	[ -s jobs ] || { echo "nothing was submitted yet"; return; }
	while read -r id name; do
		found=$(states "$id" | paste -sd, | sed 's/,/, /g')
		printf '  %-24s %8s  %s\n' "$name" "$id" "${found:-has ended}"
	done <jobs
}

if [ "${1:-}" = --status ]; then
	status
	exit
fi

while read -r id name; do
	[ -z "$(states "$id")" ] || { echo "job $id ($name) of this run is still queued or running: wait for it, or end the jobs with scancel" >&2; exit 2; }
done < <(cat jobs 2>/dev/null)

ids=() names=() before=
give_up() { [ ${#ids[@]} = 0 ] || { scancel "${ids[@]}"; echo "the jobs that had been submitted were cancelled" >&2; }; exit 3; }
submit() { # NAME [--array=1-N]
	local name=$1 id after=()
	shift
	[ -z "$before" ] || after=("--dependency=afterok:$before" --kill-on-invalid-dep=yes)
	id=$(sbatch --parsable "${after[@]}" "$@" "$name.sh") || give_up
	id=${id%%;*}
	ids+=("$id")
	names+=("$name")
	before=$id
}
