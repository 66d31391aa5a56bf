package throwaway

import (
	"bufio"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

//go:embed supervisor.sh
var script string

// A supervisor runs commands in a folder, one at a time. It is a process of
// its own, so that it can end the command and remove the folder when this
// process no longer can: after a panic, a timeout, or a SIGKILL.
type supervisor struct {
	dir     string
	cmd     *exec.Cmd
	orders  io.WriteCloser
	replies *bufio.Reader
	last    *process
}

// supervise makes the folder dir and a supervisor for it. The signal kill ends
// its commands at once. They run as the account of this process if sameAccount
// is set; otherwise, not as root.
func supervise(dir string, kill syscall.Signal, sameAccount bool) (*supervisor, error) {
	account, err := unprivileged()
	if err != nil {
		return nil, err
	}
	if sameAccount {
		account = nil
	}
	cmd := exec.Command("/bin/sh", "-c", script, "supervisor.sh", dir, strconv.Itoa(int(kill)))
	cmd.SysProcAttr = detached(account)
	cmd.Dir = "/" // the current folder may be closed to the account
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH") + ":/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
		"HOME=" + dir,
		"TMPDIR=" + dir,
		"LC_ALL=C",
	}
	orders, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	replies, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	s := &supervisor{dir: dir, cmd: cmd, orders: orders, replies: bufio.NewReader(replies)}
	// Made only now, the folder never is without somebody to remove it.
	if err := makeFolder(dir, account); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *supervisor) log() string { return filepath.Join(s.dir, "log") }

// run starts a command. The one before must have ended.
func (s *supervisor) run(command []string) (*process, error) {
	quoted := make([]string, len(command))
	for i, arg := range command {
		quoted[i] = "'" + strings.ReplaceAll(arg, "'", `'\''`) + "'"
	}
	if _, err := fmt.Fprintln(s.orders, strings.Join(quoted, " ")); err != nil {
		return nil, err
	}
	pid, err := s.reply()
	if err != nil {
		return nil, err
	}
	p := &process{pid: pid, done: make(chan struct{})}
	s.last = p
	go func() {
		defer close(p.done)
		if status, err := s.reply(); err != nil {
			p.err = err
		} else if status != 0 {
			p.err = fmt.Errorf("exit status %d", status)
		}
	}()
	return p, nil
}

func (s *supervisor) reply() (int, error) {
	line, err := s.replies.ReadString('\n')
	if errors.Is(err, io.EOF) {
		return 0, errors.New("the supervisor is gone")
	}
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(line))
}

// close ends the command that runs, and removes the folder.
func (s *supervisor) close() {
	s.orders.Close()
	if s.last != nil {
		<-s.last.done
	}
	s.cmd.Wait()
	// The account may lack the right to remove it from the folder it is in.
	os.RemoveAll(s.dir)
}

// A process is a command that a supervisor runs.
type process struct {
	pid  int
	done chan struct{} // closed when it has ended
	err  error         // set then
}

func (p *process) exited() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}
