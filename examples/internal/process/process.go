// Package process builds and runs the programs of the examples, for their tests.
package process

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sync"
	"time"
)

// Build builds the given main packages, and writes the programs to a folder. It
// omits debug symbols, because linking is faster without them.
func Build(folder string, packages ...string) error {
	args := append([]string{"build", "-ldflags=-s -w", "-o", folder + string(filepath.Separator)}, packages...)
	if out, err := exec.Command("go", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("building the programs: %w: %s", err, out)
	}
	return nil
}

// A Process is a running program that listens on an address.
type Process struct {
	// Addr is the host and port that the program logged.
	Addr string

	cmd    *exec.Cmd
	output output
	ended  chan struct{}
	err    error // how the process ended; set before the channel ended is closed
}

// output collects the standard output and standard error of a process.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

var listening = regexp.MustCompile(`url=http://([0-9.:]+)`)

// Start starts a program and waits until it logs its URL in the form url=http://….
func Start(program string, args ...string) (*Process, error) {
	p := &Process{cmd: exec.Command(program, args...), ended: make(chan struct{})}
	pipe, err := p.cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	p.cmd.Stdout = &p.output
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	lines := bufio.NewReader(pipe)
	for p.Addr == "" && err == nil {
		var line string
		line, err = lines.ReadString('\n')
		io.WriteString(&p.output, line)
		if found := listening.FindStringSubmatch(line); found != nil {
			p.Addr = found[1]
		}
	}
	go func() {
		io.Copy(&p.output, lines)
		p.err = p.cmd.Wait()
		close(p.ended)
	}()
	if p.Addr == "" {
		out, err := p.Stop(os.Kill)
		return nil, fmt.Errorf("process: %s did not log its URL: %v: %s", program, err, out)
	}
	return p, nil
}

// Output returns the output of the process so far.
func (p *Process) Output() string { return p.output.String() }

// Signal sends a signal to the process and does not wait.
func (p *Process) Signal(s os.Signal) { p.cmd.Process.Signal(s) }

// Stop sends a signal, waits until the process has ended, and returns its output
// and its error. It kills a process that has not ended after 20 seconds. It may be
// called more than once.
func (p *Process) Stop(s os.Signal) (string, error) {
	p.Signal(s)
	select {
	case <-p.ended:
		return p.output.String(), p.err
	case <-time.After(20 * time.Second):
		p.Signal(os.Kill)
		<-p.ended
		return p.output.String(), fmt.Errorf("process: killed the program, which still ran 20 seconds after the signal %v", s)
	}
}
