// Package child runs parts of a trial as processes of their own. The program, or
// the test binary, starts itself again with a variable that names the part.
package child

import (
	"fmt"
	"os"
	"os/exec"
)

// variable says that this process is a part of a trial, and which.
const variable = "TORTURE_CHILD"

// Run ends this process with the exit code of the part of a trial that it
// is, if it is one. It returns in others.
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

// Command is this program as a part of a trial, with more variables in its
// environment.
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
