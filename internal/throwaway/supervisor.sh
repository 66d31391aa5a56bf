# Runs commands for a test process, and cleans up when that is gone.
#
#   supervisor.sh FOLDER SIGNAL
#
# Each line of stdin is a command to run; it is answered with the process id
# and, when the process has ended, its exit status. The end of stdin means that
# the test process has ended, and there is no way to end that would not close
# it: the signal then ends the command, and the folder is removed.

# A test process that is gone reads no answers; that must not be the end here.
trap '' PIPE

# The stdin of a background command is /dev/null, so it needs another name.
exec 3<&0

while read -r command; do
	eval "exec $command" </dev/null >>"$1/log" 2>&1 3<&- &
	child=$!
	# No line comes while the command runs, so this waits for the end.
	# A process that hangs because it is stopped has to go on to get the signal.
	{ read -r _ <&3; kill -s CONT "$child"; kill "-$2" "$child"; } &
	watch=$!
	echo "$child"
	wait "$child"
	status=$?
	kill "$watch"
	wait "$watch"
	echo "$status"
done

# What the command has left behind, such as the rest of a pipeline.
trap '' TERM
kill -s TERM 0

for _ in 1 2 3 4 5 6 7 8 9 10; do
	rm -rf "$1" && break
	sleep 0.2
done
