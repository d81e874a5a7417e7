#!/bin/bash
# A job of a cycle, for sbatch. In a template {words} are filled in by cyclotomo slurm; lines of #SBATCH whose word is empty are left out.
#SBATCH --job-name={name}
#SBATCH --chdir={directory}
#SBATCH --output={log}
#SBATCH --open-mode=append
#SBATCH --nodes={nodes}
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task={threads}
#SBATCH --mem={memory_MB}M
#SBATCH --time={time}
#SBATCH --partition={partition}
#SBATCH --account={account}
#SBATCH --requeue
#SBATCH --signal=B:USR1@120

# Here a site loads what the program needs, as in: module load openmpi
echo "$(date '+%F %T') {name} on $(hostname), start ${SLURM_RESTART_COUNT:-0}"

# Two minutes before the time limit the program is told to stop, which loses nothing, and the job is queued again.
stop_for=
tell() { stop_for=$1; kill -TERM "$program" 2>/dev/null; }
trap 'tell time' USR1
trap 'tell end' TERM
{launcher} {command} &
program=$!
wait "$program"
code=$?
while kill -0 "$program" 2>/dev/null; do
	wait "$program"
	code=$?
done
if [ "$stop_for" = time ] && [ "$code" != 0 ] && [ "${SLURM_RESTART_COUNT:-0}" -lt 50 ]; then
	scontrol requeue "$SLURM_JOB_ID" && sleep 60
fi
exit "$code"
