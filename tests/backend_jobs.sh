# The jobs that take a backend, on a small project: for tests that source this with $cyclotomo set, in an empty folder.
fail() { echo "FAIL: $*" >&2; [ ! -e log ] || tail -n 20 log >&2; exit 1; }
make_project() {
	"$cyclotomo" simulate --series 2 --particles 8 --tilts 9 --size 200 --size-y 180 --box 48 --pixel-size 4 --sym O --o p --quiet >/dev/null
}
# A job of the project: its output, then its command.
job() {
	local out=$1 command=$2
	shift 2
	"$cyclotomo" "$command" --root p --o "$out" "$@" -q >/dev/null 2>log || fail "$command --o $out"
}
# All jobs with one backend, into folders of that name; the first time into cpu.
jobs_of() {
	local to=$1
	shift
	job "$to/R" reconstruct --i optimisation_set.star --b 48 --sym O --taper 3 "$@"
	job "$to/C" ctfrefine --i cpu/R/optimisation_set.star --mask mask_align.mrc --b 48 "$@"
	job "$to/P" polish --i cpu/R/optimisation_set.star --mask mask_align.mrc --b 48 --motion "$@"
	job "$to/X" extract --i optimisation_set.star --stacks --b 48 --crop 40 "$@"
	job "$to/F" refine --i cpu/R/optimisation_set.star --mask mask_align.mrc --b 48 --sym O --iterations 1 "$@"
}
# STAR files and maps, without those that hold the command; the name of the backend's folder is left out of them.
fingerprint() {
	(cd "p/$1" && find . \( -name '*.star' -o -name '*.mrc*' \) ! -name job.star ! -name job_pipeline.star | sort |
		while read -r file; do echo "$file $(sed "s#$1/#OUT/#g" "$file" | sha256sum)"; done)
}
# A reconstruction that is refused before anything is computed: exit code, words of the error, options.
refused() {
	local code=$1 text=$2 got=0
	shift 2
	"$cyclotomo" reconstruct --root p --i optimisation_set.star --b 48 --o no "$@" >/dev/null 2>log || got=$?
	[ $got = "$code" ] || fail "exit code $got, not $code, for $*"
	grep -q "$text" log || fail "no '$text' for $*"
	[ -e p/no/RELION_JOB_EXIT_FAILURE ] || fail "the job is not marked as failed for $*"
	[ -z "$(find p/no -name '*.mrc*' -o -name '*particles*' -o -name run.json)" ] || fail "something was computed for $*"
	rm -r p/no
}
