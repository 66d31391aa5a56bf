package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
)

// replicaCommand is the argument that makes this program run as a replica.
const replicaCommand = "replica"

// A process is a running replica, as its parent process sees it.
type process struct {
	address
	name string
	cmd  *exec.Cmd
	in   io.Closer
	wait func() // waits until the process has ended
}

// startReplica starts a replica and waits until it listens.
func startReplica(c replicaConfig) (*process, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(program, replicaCommand)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &process{name: c.Name, cmd: cmd, in: in, wait: sync.OnceFunc(func() { cmd.Wait() })}
	if err := json.NewEncoder(in).Encode(c); err != nil {
		p.stop()
		return nil, fmt.Errorf("%s did not start: %w", c.Name, err)
	}
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &p.address)
	}
	if err != nil {
		p.stop()
		return nil, fmt.Errorf("%s did not start: %w", c.Name, err)
	}
	return p, nil
}

// stop stops the replica. It waits for the requests in progress and for the end of
// the process.
func (p *process) stop() {
	p.in.Close()
	p.wait()
}

// kill ends the replica without a shutdown, as a power failure would.
func (p *process) kill() error {
	err := p.cmd.Process.Kill()
	p.wait()
	return err
}

func (p *process) url() string { return "http://" + p.Addr }
