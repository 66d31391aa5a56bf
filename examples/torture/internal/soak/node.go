package soak

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"github.com/bearerkit/bearerkit/examples/torture/internal/child"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// A node is a replica as the trial sees it. It can end and start again.
type node struct {
	number int
	launch func(*samples) (runningNode, error)
	seen   *samples // of all its starts

	mu     sync.Mutex
	now    runningNode
	addr   string
	starts int
}

// A runningNode is a replica from one start to its end.
type runningNode interface {
	listensAt() string
	stop() error // completes requests in progress
	kill() error // interrupts requests in progress
}

func (n *node) start() error {
	now, err := n.launch(n.seen)
	if err != nil {
		return fmt.Errorf("replica %d: %w", n.number, err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.now, n.addr = now, now.listensAt()
	n.starts++
	return nil
}

// where returns the URL, and the number of the start.
func (n *node) where() (url string, start int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return "http://" + n.addr, n.starts
}

// end ends the replica if it runs.
func (n *node) end(by func(runningNode) error) error {
	n.mu.Lock()
	now := n.now
	n.now = nil
	n.mu.Unlock()
	if now == nil {
		return nil
	}
	if err := by(now); err != nil {
		return fmt.Errorf("replica %d: %w", n.number, err)
	}
	return nil
}

// inProcess returns a function that launches replicas in this process.
func inProcess(storage func() tokenauth.Storage, cached bool) func(*samples) (runningNode, error) {
	return func(*samples) (runningNode, error) { return startServer(storage(), cached) }
}

func (s *server) listensAt() string { return s.addr }

// A process is a replica in a process of its own.
type process struct {
	addr  string
	cmd   *exec.Cmd
	in    io.Closer
	ended chan struct{} // closed when the process has ended
	err   error         // the error with which it ended
}

// asProcess returns a function that launches replicas in processes of their own.
func asProcess(c config) func(*samples) (runningNode, error) {
	return func(seen *samples) (runningNode, error) {
		cmd, err := child.Command("soak")
		if err != nil {
			return nil, err
		}
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
		p := &process{cmd: cmd, in: in, ended: make(chan struct{})}
		lines := json.NewDecoder(bufio.NewReader(out))
		err = json.NewEncoder(in).Encode(c)
		var first message
		if err == nil {
			err = lines.Decode(&first)
		}
		go p.follow(lines, seen)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("the process did not start: %w", err), p.kill())
		}
		p.addr = first.Addr
		return p, nil
	}
}

// follow keeps the samples that the process writes, until it ends.
func (p *process) follow(lines *json.Decoder, seen *samples) {
	defer close(p.ended)
	for {
		var line message
		if err := lines.Decode(&line); err != nil {
			break
		}
		if line.Sample != nil {
			seen.add(*line.Sample)
		}
	}
	p.err = p.cmd.Wait()
}

func (p *process) listensAt() string { return p.addr }

func (p *process) stop() error {
	select {
	case <-p.ended:
		return fmt.Errorf("the process had already ended by itself: %w", p.err)
	default:
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	defer p.in.Close()
	select {
	case <-p.ended:
		return p.err
	case <-time.After(20 * time.Second):
		return errors.Join(errors.New("the process did not stop within 20 s of SIGTERM"), p.kill())
	}
}

func (p *process) kill() error {
	select {
	case <-p.ended:
		return fmt.Errorf("the process had already ended by itself: %w", p.err)
	default:
	}
	defer p.in.Close()
	err := p.cmd.Process.Kill()
	<-p.ended
	return err
}
