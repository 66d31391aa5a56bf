// Package child starts this program, or this test binary, again as a child process.
// A variable of the environment tells the child what to run.
package child

import (
	"fmt"
	"os"
	"os/exec"
)

// variable names the child that this process is.
const variable = "TORTURE_CHILD"

// Run runs the child that this process is, and exits with its exit code. It
// returns if this process is not a child. Main and TestMain call it first.
func Run(children map[string]func() int) {
	name := os.Getenv(variable)
	if name == "" {
		return
	}
	f := children[name]
	if f == nil {
		fmt.Fprintln(os.Stderr, "torture: there is no such child")
		os.Exit(2)
	}
	os.Exit(f())
}

// Command returns the command that starts the named child. The variables are added
// to its environment.
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
