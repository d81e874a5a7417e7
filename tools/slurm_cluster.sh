#!/usr/bin/env bash
# A Slurm cluster of two nodes on one machine, for tests: Debian's slurm-wlm and munge (tools/install-deps.sh --cluster), as root, without
# systemd. Each node has its own /tmp, /dev/shm and host name, as two machines would (unshare).
#   slurm_cluster.sh start DIR [FOLDER...]   in DIR, which is made; FOLDERs under /tmp are seen by the nodes too (DIR is, too)
#   slurm_cluster.sh node DIR n1|n2          start a node again
#   slurm_cluster.sh kill DIR n1|n2          end a node as a power failure would: its daemon and all that runs on it
#   slurm_cluster.sh stop DIR
#   slurm_cluster.sh can                     can it run here? If not it says why, and ends with 1
# Commands of Slurm reach the cluster with: export SLURM_CONF=DIR/slurm.conf
set -euo pipefail
fail() { echo "slurm_cluster.sh: $*" >&2; exit 1; }

can_run() {
	local name
	for name in slurmctld slurmd munged sbatch; do
		command -v $name >/dev/null || { echo "$name is not installed (tools/install-deps.sh --cluster)"; return 1; }
	done
	[ "$(id -u)" = 0 ] || { echo "it has to be started by root"; return 1; }
	unshare -m -u --propagation private sh -c 'hostname other && d=$(mktemp -d) && mount -t tmpfs tmpfs "$d" && umount "$d" && rmdir "$d"' 2>/dev/null ||
		{ echo "this machine allows no namespaces of mounts and host names (unshare)"; return 1; }
}

write_configuration() { # DIR
	local dir=$1 port=$((20000 + $$ % 20000)) cpus memory
	cpus=$(nproc)
	memory=$(awk '/MemTotal/ { print int($2 / 1024 * 0.9) }' /proc/meminfo)
	mkdir -p "$dir/run" "$dir/state" "$dir/log" "$dir/spool-n1" "$dir/spool-n2" "$dir/nodes/n1" "$dir/nodes/n2"
	cat >"$dir/slurm.conf" <<-EOF
	ClusterName=loop
	SlurmctldHost=$(hostname)(127.0.0.1)
	SlurmUser=root
	SlurmdUser=root
	AuthType=auth/munge
	AuthInfo=socket=$dir/run/munge.socket
	CredType=cred/munge
	SlurmctldPort=$port
	StateSaveLocation=$dir/state
	SlurmdSpoolDir=$dir/spool-%n
	SlurmctldPidFile=$dir/run/slurmctld.pid
	SlurmdPidFile=$dir/run/slurmd-%n.pid
	SlurmctldLogFile=$dir/log/slurmctld.log
	SlurmdLogFile=$dir/log/slurmd-%n.log
	ProctrackType=proctrack/linuxproc
	TaskPlugin=task/none
	JobAcctGatherType=jobacct_gather/none
	AccountingStorageType=accounting_storage/none
	SelectType=select/cons_tres
	SelectTypeParameters=CR_Core
	MpiDefault=none
	ReturnToService=2
	SlurmdTimeout=10
	SchedulerParameters=batch_sched_delay=0,sched_interval=2,bf_interval=2,sched_min_interval=0
	KillWait=5
	NodeName=n1 NodeHostname=$(hostname) NodeAddr=127.0.0.1 Port=$((port + 1)) CPUs=$cpus RealMemory=$memory State=UNKNOWN
	NodeName=n2 NodeHostname=$(hostname) NodeAddr=127.0.0.1 Port=$((port + 2)) CPUs=$cpus RealMemory=$memory State=UNKNOWN
	PartitionName=all Nodes=n1,n2 Default=YES MaxTime=INFINITE State=UP
	EOF
}

start_node() { # DIR NAME
	local dir=$1 name=$2
	rm -f "$dir/run/slurmd-$name.pid"
	# /tmp of its own, with the folders that both nodes and this machine share.
	DIR=$dir NAME=$name setsid unshare -m -u --propagation private bash -c '
		set -e
		hostname "$NAME"
		mount -t tmpfs tmpfs /dev/shm
		while IFS= read -r folder; do
			case $folder in /tmp/*) mkdir -p "$DIR/nodes/$NAME$folder" && mount --bind "$folder" "$DIR/nodes/$NAME$folder" ;; esac
		done <"$DIR/shared"
		mount --rbind "$DIR/nodes/$NAME/tmp" /tmp
		exec slurmd -D -f "$DIR/slurm.conf" -N "$NAME"' >"$dir/log/$name.out" 2>&1 </dev/null &
	echo $! >"$dir/run/$name.pid"
}

wait_for() { # SECONDS WHAT COMMAND...
	local seconds=$1 what=$2
	shift 2
	for ((i = 0; i < 5 * seconds; i++)); do
		! "$@" >/dev/null 2>&1 || return 0
		sleep 0.2
	done
	fail "$what (see the files in $dir/log)"
}

both_idle() { [ "$(sinfo -h -N -o '%N %T' | grep -cE '^n[12] (idle|mixed|allocated)$')" = 2 ]; }

start() {
	local reason
	reason=$(can_run) || fail "no cluster here: $reason"
	[ ! -e "$dir/slurm.conf" ] || fail "$dir has a cluster already"
	write_configuration "$dir"
	{ echo "$dir"; [ $# = 0 ] || realpath "$@"; } >"$dir/shared"
	mkdir -p "$dir/nodes/n1/tmp" "$dir/nodes/n2/tmp"
	(umask 077; dd if=/dev/urandom of="$dir/munge.key" bs=1024 count=1 2>/dev/null)
	munged --force --key-file="$dir/munge.key" --socket="$dir/run/munge.socket" --pid-file="$dir/run/munged.pid" \
		--log-file="$dir/log/munged.log" --seed-file="$dir/run/munge.seed" >"$dir/log/munged.out" 2>&1
	slurmctld -f "$dir/slurm.conf" >"$dir/log/slurmctld.out" 2>&1 </dev/null
	start_node "$dir" n1
	start_node "$dir" n2
	export SLURM_CONF=$dir/slurm.conf
	wait_for 60 "the nodes do not answer" both_idle
	echo "export SLURM_CONF=$dir/slurm.conf"
}

# The process and all below it, by their numbers.
end_tree() { # SIGNAL PID
	local child
	for child in $(ps -o pid= --ppid "$2" 2>/dev/null); do end_tree "$1" "$child"; done
	kill "-$1" "$2" 2>/dev/null || true
}

kill_node() { # NAME: slurmd, and the steps, which have left it
	local pid
	end_tree KILL "$(cat "$dir/run/$1.pid")"
	for pid in $(ps -eo pid=,args= | awk -v spool="slurmstepd: " 'index($0, spool) { print $1 }'); do
		# A step of this node has its host name.
		[ "$(nsenter -t "$pid" -u hostname 2>/dev/null)" = "$1" ] && grep -qz "SLURM_CONF=$dir/slurm.conf\|$dir" "/proc/$pid/environ" "/proc/$pid/mountinfo" 2>/dev/null || continue
		end_tree KILL "$pid"
	done
}

stop() {
	export SLURM_CONF=$dir/slurm.conf
	scancel --user=root >/dev/null 2>&1 || true
	for name in n1 n2; do kill_node $name; done
	for name in slurmctld munged; do
		[ ! -e "$dir/run/$name.pid" ] || kill "$(cat "$dir/run/$name.pid")" 2>/dev/null || true
	done
	for ((i = 0; i < 50; i++)); do
		[ -e "$dir/run/slurmctld.pid" ] && kill -0 "$(cat "$dir/run/slurmctld.pid")" 2>/dev/null || break
		sleep 0.1
	done
	rm -f "$dir/slurm.conf"
}

action=${1:-}
if [ $# -gt 0 ]; then shift; fi
case $action in can) can_run; exit ;; esac
[ -n "${1:-}" ] || { sed -n '2,9s/^# \{0,1\}//p' "$0" >&2; exit 2; }
mkdir -p "$1"
dir=$(realpath "$1")
shift
case $action in
start) start "$@" ;;
node) start_node "$dir" "$1" ;;
kill) kill_node "$1" ;;
stop) stop ;;
*) fail "unknown action '$action'" ;;
esac
