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

// A supervisor runs commands in a folder, one at a time. It is a separate
// process. So even if a panic, a timeout or SIGKILL ends the test process, the
// supervisor can end the running command and remove the folder.
type supervisor struct {
	dir     string
	cmd     *exec.Cmd
	orders  io.WriteCloser
	replies *bufio.Reader
	last    *process
}

// supervise makes the folder dir and starts a supervisor for it. When the test
// process has ended, the supervisor ends the running command with the signal in
// kill. If sameAccount is set, commands run as the account of the test process.
// Otherwise they do not run as root, even if the test does.
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
	cmd.Dir = "/" // the account may not be able to read the current folder
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
	// The folder is made after the supervisor has started, so that there is
	// always a process that removes it.
	if err := makeFolder(dir, account); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *supervisor) log() string { return filepath.Join(s.dir, "log") }

// run starts a command. The previous command must have ended.
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
		return 0, errors.New("the supervisor has ended unexpectedly")
	}
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(line))
}

// close ends the running command and removes the folder.
func (s *supervisor) close() {
	s.orders.Close()
	if s.last != nil {
		<-s.last.done
	}
	s.cmd.Wait()
	// Remove the folder here, too, because the supervisor's account may not
	// have the right to remove it.
	os.RemoveAll(s.dir)
}

// A process is a command that a supervisor runs.
type process struct {
	pid  int
	done chan struct{} // closed when the process has ended
	err  error         // set before done is closed
}

func (p *process) exited() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}
