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

// unprivileged returns the account to run servers as, or nil for the current
// one: database servers refuse to run as root.
func unprivileged() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	nobody, err := user.Lookup("nobody")
	if err != nil {
		return nil, err
	}
	// They may be negative: on macOS both are -2.
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

// detached keeps a Ctrl-C in the terminal from a process. A group of its own
// would do for that, but the kernel hangs up on a group that has a paused
// process when its parent ends; it does not do so across sessions.
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

// pause stops the process and those it has started. They are looked for one by
// one, since every PostgreSQL backend leads a process group of its own.
func (p *process) pause() error {
	if err := stop(p.pid); err != nil {
		return err
	}
	// The process may have been about to start one more.
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

// stop returns once every thread has stopped: the kernel takes a moment, in
// which a server could answer yet.
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

// stopped is a guess of true where there is no /proc.
func stopped(pid int) bool {
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	return !slices.ContainsFunc(threads, func(file string) bool {
		stat, err := os.ReadFile(file)
		if err != nil {
			return false // it has ended
		}
		var state string
		fmt.Sscan(string(stat[strings.LastIndexByte(string(stat), ')')+1:]), &state)
		return !strings.Contains("TtZX", state)
	})
}

// kill ends the process and those it has started, none of which gets to know
// of the end of another.
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
	// A child that is not quite gone yet would keep the server from starting
	// again.
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

// children returns the processes that the process pid has started.
func children(pid int) ([]int, error) {
	var children []int
	if runtime.GOOS == "linux" { // where ps need not be installed
		stats, err := filepath.Glob("/proc/[0-9]*/stat")
		if err != nil {
			return nil, err
		}
		for _, file := range stats {
			stat, err := os.ReadFile(file)
			if err != nil {
				continue // it has ended
			}
			// "pid (name) state ppid …", and the name may contain anything.
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
