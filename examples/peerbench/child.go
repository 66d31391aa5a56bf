package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"testing"

	"github.com/bearerkit/bearerkit/internal/throwaway"
)

// Some measurements need several processes. For these, the program starts itself as
//
//	peerbench child ROLE [ARGUMENT …]
//
// Such a child process writes a line of JSON when it is ready. It ends when its
// standard input is closed, which happens at the latest when its parent ends.
const childCommand = "child"

// roles maps each ROLE to the function that the child runs. The function gets the
// arguments after ROLE, and calls ready with each message for the parent.
var roles = map[string]func(tb testing.TB, args []string, ready func(any)){
	"serve":      serveContestant,
	"quickstart": serveQuickstart,
	"load":       loadServer,
	"replica":    replica,
	"writers":    signInOnAndOn,
}

func child(args []string) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	err := throwaway.Outside(ctx, func(tb testing.TB) {
		roles[args[0]](tb, args[1:], func(v any) {
			if err := json.NewEncoder(os.Stdout).Encode(v); err != nil {
				tb.Fatal(err)
			}
		})
	})
	if err != nil {
		fatal(args, err)
	}
}

// untilParentEnds waits until the parent ends, or closes the child's standard input.
func untilParentEnds() { io.Copy(io.Discard, os.Stdin) }

// A process is a running child, as its parent sees it.
type process struct {
	in   io.WriteCloser
	out  *bufio.Reader
	stop func() // closes the child's standard input and waits until the child has ended
}

// startChild starts a child, waits until it is ready, and decodes its message
// into ready.
func startChild(tb testing.TB, ready any, args ...string) *process {
	tb.Helper()
	program, err := os.Executable()
	if err != nil {
		tb.Fatal(err)
	}
	cmd := exec.Command(program, append([]string{childCommand}, args...)...)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		tb.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		tb.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	p := &process{in: in, out: bufio.NewReader(out), stop: sync.OnceFunc(func() { in.Close(); cmd.Wait() })}
	tb.Cleanup(p.stop)
	if err := p.receive(ready); err != nil {
		tb.Fatal(fmt.Sprint(args, " did not start: ", err))
	}
	return p
}

// receive waits for the child's next line of JSON, and decodes it into v.
func (p *process) receive(v any) error {
	line, err := p.out.ReadBytes('\n')
	if err != nil {
		return err
	}
	return json.Unmarshal(line, v)
}

// send sends v to the child as a line of JSON.
func (p *process) send(v any) error { return json.NewEncoder(p.in).Encode(v) }
