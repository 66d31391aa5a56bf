// Package child starts this program, or this test binary, again as a child process.
// An environment variable selects what the child runs.
package child

import (
	"fmt"
	"os"
	"os/exec"
)

// variable is the environment variable with the name of the child. See [Command].
const variable = "TORTURE_CHILD"

// Run must be called first in main and in TestMain. If [Command] started this
// process, Run runs the child's function and exits with its result. Otherwise it
// returns. Children are the functions by name.
func Run(children map[string]func() int) {
	name := os.Getenv(variable)
	if name == "" {
		return
	}
	f := children[name]
	if f == nil {
		fmt.Fprintln(os.Stderr, "torture: child:", variable, "names no child:", name)
		os.Exit(2)
	}
	os.Exit(f())
}

// Command returns the command that starts the named child. The child's environment
// is that of this process and the variables, each of the form "NAME=value".
func Command(name string, variables ...string) (*exec.Cmd, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	command := exec.Command(program)
	command.Env = append(append(os.Environ(), variable+"="+name), variables...)
	command.Stderr = os.Stderr
	return command, nil
}
