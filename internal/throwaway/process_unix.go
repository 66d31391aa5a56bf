//go:build unix

package throwaway

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const supported = true

// unprivileged returns the account that runs the servers, or nil for the
// current account. If the current account is root, it returns an account
// without privileges, because database servers refuse to run as root.
func unprivileged() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	nobody, err := user.Lookup("nobody")
	if err != nil {
		return nil, err
	}
	// The IDs may be negative: on macOS both are -2.
	uid, err := strconv.ParseInt(nobody.Uid, 10, 64)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.ParseInt(nobody.Gid, 10, 64)
	if err != nil {
		return nil, err
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
}

// detached gives a process a session of its own, which protects it from a
// Ctrl-C in the terminal. A process group of its own does not suffice. When the
// parent ends, the kernel sends SIGHUP to a group with a paused process, unless
// the group is in another session.
func detached(account *syscall.Credential) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setsid: true, Credential: account}
}

func makeFolder(dir string, account *syscall.Credential) error {
	if err := os.Mkdir(dir, 0o700); err != nil || account == nil {
		return err
	}
	return os.Chown(dir, int(account.Uid), int(account.Gid))
}

func (p *process) signal(signal syscall.Signal) error {
	return syscall.Kill(p.pid, signal)
}

// pause stops the process and its children until resume is called. It signals
// each child separately, because every PostgreSQL backend has its own process
// group.
func (p *process) pause() error {
	if err := stop(p.pid); err != nil {
		return err
	}
	// Repeat until there is no new child: the process may have started one
	// before it stopped.
	for paused := []int{}; ; {
		pids, err := children(p.pid)
		if err != nil {
			return err
		}
		pids = slices.DeleteFunc(pids, func(pid int) bool { return slices.Contains(paused, pid) })
		if len(pids) == 0 {
			return nil
		}
		if err := stop(pids...); err != nil {
			return err
		}
		paused = append(paused, pids...)
	}
}

// stop stops the processes and waits until all their threads have stopped.
// Until then a thread could still answer a query.
func stop(pids ...int) error {
	if err := signalAll(pids, syscall.SIGSTOP); err != nil {
		return err
	}
	for _, pid := range pids {
		for deadline := time.Now().Add(patience); !stopped(pid); time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				return context.DeadlineExceeded
			}
		}
	}
	return nil
}

// stopped reports whether all threads of the process have stopped. On a system
// without /proc it returns true.
func stopped(pid int) bool {
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	return !slices.ContainsFunc(threads, func(file string) bool {
		stat, err := os.ReadFile(file)
		if err != nil {
			return false // the thread has ended
		}
		var state string
		fmt.Sscan(string(stat[strings.LastIndexByte(string(stat), ')')+1:]), &state)
		return !strings.Contains("TtZX", state)
	})
}

// kill ends the process and its children. It pauses all of them first, so that
// none can react to the end of another.
func (p *process) kill() error {
	if err := p.pause(); err != nil {
		return err
	}
	pids, err := children(p.pid)
	if err != nil {
		return err
	}
	if err := signalAll(append(pids, p.pid), syscall.SIGKILL); err != nil {
		return err
	}
	// Wait for the children, because a server does not start again while one of
	// them still runs.
	for _, pid := range pids {
		for deadline := time.Now().Add(patience); syscall.Kill(pid, 0) == nil; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				return context.DeadlineExceeded
			}
		}
	}
	return nil
}

func (p *process) resume() error {
	pids, err := children(p.pid)
	if err != nil {
		return err
	}
	return signalAll(append(pids, p.pid), syscall.SIGCONT)
}

func signalAll(pids []int, signal syscall.Signal) error {
	for _, pid := range pids {
		if err := syscall.Kill(pid, signal); err != nil && err != syscall.ESRCH {
			return err
		}
	}
	return nil
}

// children returns the IDs of the child processes of pid.
func children(pid int) ([]int, error) {
	var children []int
	if runtime.GOOS == "linux" { // ps may not be installed there
		stats, err := filepath.Glob("/proc/[0-9]*/stat")
		if err != nil {
			return nil, err
		}
		for _, file := range stats {
			stat, err := os.ReadFile(file)
			if err != nil {
				continue // the process has ended
			}
			// The format is "pid (name) state ppid …". The name may contain
			// spaces and parentheses.
			var child, parent int
			var state string
			fmt.Sscan(string(stat), &child)
			fmt.Sscan(string(stat[strings.LastIndexByte(string(stat), ')')+1:]), &state, &parent)
			if parent == pid {
				children = append(children, child)
			}
		}
		return children, nil
	}
	out, err := exec.Command("ps", "-A", "-o", "pid=,ppid=").Output()
	if err != nil {
		return nil, fmt.Errorf("ps: %w", err)
	}
	for line := range strings.Lines(string(out)) {
		var child, parent int
		fmt.Sscan(line, &child, &parent)
		if parent == pid {
			children = append(children, child)
		}
	}
	return children, nil
}
