package main

import (
	"fmt"
	"os"
)

// childVariable says that this process is a part of a trial, and which.
const childVariable = "TORTURE_CHILD"

// children are the parts of trials that are processes of their own, by name.
// Each returns its exit code.
var children = map[string]func() int{}

func isChild() bool { return os.Getenv(childVariable) != "" }

func child() int {
	f := children[os.Getenv(childVariable)]
	if f == nil {
		fmt.Fprintln(os.Stderr, "torture: there is no such child")
		return 2
	}
	return f()
}
