# Runs commands for a test process, and cleans up when the test process has ended.
#
#   supervisor.sh FOLDER SIGNAL
#
# Each line of stdin is a command. The script runs it, and prints its process ID and,
# when it has ended, its exit status. When the test process ends in any way, stdin is
# closed. The script then ends the command with the signal, and removes the folder.

# After the test process has ended, writing an answer must not end this script.
trap '' PIPE

# The shell redirects stdin of background commands from /dev/null, so copy it to 3.
exec 3<&0

while read -r command; do
	eval "exec $command" </dev/null >>"$1/log" 2>&1 3<&- &
	child=$!
	# The test process sends no line while the command runs, so this read returns
	# at the end of stdin. A paused process must continue to handle the signal.
	{ read -r _ <&3; kill -s CONT "$child"; kill "-$2" "$child"; } &
	watch=$!
	echo "$child"
	wait "$child"
	status=$?
	kill "$watch"
	wait "$watch"
	echo "$status"
done

# End the processes that the command has left running, such as those of a pipeline.
trap '' TERM
kill -s TERM 0

for _ in 1 2 3 4 5 6 7 8 9 10; do
	rm -rf "$1" && break
	sleep 0.2
done
