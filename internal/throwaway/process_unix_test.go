//go:build unix

package throwaway

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// childVariable is set in the environment of a process that a test has started: a
// child.
const childVariable = "THROWAWAY_TEST_CHILD"

// child returns the command that runs only the test t, in another process.
func child(ctx context.Context, t *testing.T) *exec.Cmd {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	pattern := "^" + strings.ReplaceAll(regexp.QuoteMeta(t.Name()), "/", "$/^") + "$"
	cmd := exec.CommandContext(ctx, program, "-test.run="+pattern, "-test.count=1", "-test.timeout=5m")
	cmd.Env = append(os.Environ(), childVariable+"=1")
	for _, k := range kinds {
		cmd.Env = append(cmd.Env, k.variable+"=") // the child must start its own servers
	}
	cmd.Stderr = os.Stderr
	return cmd
}

// tell prints the process and the folder of a server that a child has started.
func tell(s *Server) { fmt.Printf("started %d %s\n", s.process.pid, s.supervisor.dir) }

// told reads the output of tell.
func told(r io.Reader) (pid int, dir string, err error) {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		if n, _ := fmt.Sscanf(lines.Text(), "started %d %s", &pid, &dir); n == 2 {
			return pid, dir, nil
		}
	}
	return 0, "", fmt.Errorf("the child has not started a server: %v", lines.Err())
}

// alive reports whether the process runs. A process that has ended but whose
// parent has not waited for it does not count.
func alive(pid int) bool {
	if err := syscall.Kill(pid, 0); errors.Is(err, syscall.ESRCH) {
		return false
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil || !strings.Contains(string(stat), ") Z ")
}

// remains describes the process and the folder of a server, if they still exist.
func remains(pid int, dir string) (what []string) {
	if alive(pid) {
		what = append(what, fmt.Sprintf("process %d", pid))
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		what = append(what, fmt.Sprintf("folder %s (%v)", dir, err))
	}
	return what
}

// A test process that is killed cannot clean up. Its servers are removed
// nevertheless, even paused ones.
func TestServerIsRemovedAfterItsProcessIsKilled(t *testing.T) {
	onEach(t, func(t *testing.T, k kind) {
		for _, state := range map[bool][]string{false: {"paused"}, true: {"paused", "running"}}[Long()] {
			t.Run(state, func(t *testing.T) {
				if os.Getenv(childVariable) != "" {
					waitToBeKilled(t, k, state == "paused")
					return
				}
				k.needs(t)
				cmd := child(t.Context(), t)
				stdin, err := cmd.StdinPipe() // closing it ends the child, also if this process is killed
				if err != nil {
					t.Fatal(err)
				}
				defer stdin.Close()
				stdout, err := cmd.StdoutPipe()
				if err != nil {
					t.Fatal(err)
				}
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				pid, dir, err := told(stdout)
				if err == nil && len(remains(pid, dir)) != 2 {
					err = fmt.Errorf("the child reported process %d and folder %s, but there is only %v", pid, dir, remains(pid, dir))
				}
				cmd.Process.Kill()
				cmd.Wait()
				if err != nil {
					t.Fatal(err)
				}
				// PostgreSQL waits five seconds for paused processes.
				deadline := time.Now().Add(30 * time.Second)
				for len(remains(pid, dir)) > 0 {
					if time.Now().After(deadline) {
						t.Fatalf("after the child was killed, these remain: %v", remains(pid, dir))
					}
					time.Sleep(20 * time.Millisecond)
				}
			})
		}
	})
}

func waitToBeKilled(t *testing.T, k kind, pause bool) {
	s := k.start(t)
	db := k.open(t, s.DSN()) // with PostgreSQL, each connection is another process
	get[int](t, db, "SELECT 1")
	if pause {
		s.Pause(t)
	}
	tell(s)
	io.Copy(io.Discard, os.Stdin)
}

// The kernel stops the threads of a process one after the other. Pause must
// wait for all of them, because a running thread could still answer a query.
func TestPauseReturnsWhenEveryThreadHasStopped(t *testing.T) {
	if os.Getenv(childVariable) != "" {
		for range 2 {
			go func() {
				runtime.LockOSThread()
				for n := new(atomic.Int64); ; {
					n.Add(1)
				}
			}()
		}
		fmt.Println("started 0 nothing")
		io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}
	if runtime.GOOS != "linux" {
		t.Skip("needs /proc")
	}
	t.Parallel()
	cmd := child(t.Context(), t)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		cmd.Process.Kill()
		cmd.Wait()
	}()
	if _, _, err := told(stdout); err != nil {
		t.Fatal(err)
	}
	p := &process{pid: cmd.Process.Pid}
	for range map[bool]int{false: 40, true: 150}[Long()] {
		if err := p.pause(); err != nil {
			t.Fatal(err)
		}
		stats, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", p.pid))
		if len(stats) == 0 {
			t.Fatal("the process has no threads")
		}
		for _, file := range stats {
			if stat, err := os.ReadFile(file); err == nil && !strings.Contains(string(stat), ") T ") {
				t.Fatalf("a thread has not stopped: %s", stat)
			}
		}
		if err := p.resume(); err != nil {
			t.Fatal(err)
		}
	}
}

// Main stops the shared servers and removes their folders.
func TestMainEndsTheSharedServers(t *testing.T) {
	onEach(t, func(t *testing.T, k kind) {
		if os.Getenv(childVariable) != "" {
			k.fresh(t)
			tell(k.shared.server)
			return
		}
		k.needs(t)
		out, err := child(t.Context(), t).Output()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		pid, dir, err := told(strings.NewReader(string(out)))
		if err != nil {
			t.Fatal(err)
		}
		if what := remains(pid, dir); len(what) > 0 {
			t.Errorf("after Main, these remain: %v", what)
		}
	})
}

// Database servers refuse to run as root, so a test that runs as root starts them
// with another account.
func TestServersDoNotRunAsRoot(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs /proc")
	}
	onEach(t, func(t *testing.T, k kind) {
		k.fresh(t)
		if k.shared.server == nil {
			t.Skip("the environment variable selects a server that this process did not start")
		}
		for _, path := range []string{fmt.Sprintf("/proc/%d", k.shared.server.process.pid), k.shared.server.supervisor.dir} {
			info, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			if owner := info.Sys().(*syscall.Stat_t).Uid; owner == 0 {
				t.Errorf("%s belongs to root", path)
			} else if self := os.Geteuid(); self != 0 && int(owner) != self {
				t.Errorf("%s belongs to user %d, want %d", path, owner, self)
			}
		}
		info, err := os.Stat(k.shared.server.supervisor.dir)
		if err != nil {
			t.Fatal(err)
		}
		if mode := info.Mode().Perm(); mode != 0o700 {
			t.Errorf("the folder has mode %v, want 0700", mode)
		}
	})
}

// A shell is an engine whose commands are shell scripts.
type shell struct {
	postgres
	setup, serve string
}

func (s shell) commands(string) (setup, serve []string, err error) {
	return []string{"/bin/sh", "-c", s.setup}, []string{"/bin/sh", "-c", s.serve}, nil
}

// If a server cannot be started, newServer returns at once, with the output of
// the server in the error.
func TestFailureContainsTheOutputOfTheServer(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		engine shell
		want   []string
	}{
		{"setup fails", shell{setup: `echo "it's broken" >&2; exit 3`}, []string{"postgres", "set up", "exit status 3", "it's broken"}},
		{"serve ends", shell{setup: "true", serve: `echo "the 'port' is taken"; exit 4`}, []string{"postgres", "start", "exit status 4", "the 'port' is taken"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			began := time.Now()
			s, err := newServer(test.engine)
			if err == nil {
				s.close()
				t.Fatal("newServer returned no error")
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("the error does not contain %q: %v", want, err)
				}
			}
			if took := time.Since(began); took > patience/2 {
				t.Errorf("newServer returned after %v, want at once", took)
			}
		})
	}
}

// If a server ends although the test did not ask for it, the test's log has the end of
// the server's log. It would otherwise be removed together with the server.
func TestServerThatEndedByItselfIsReported(t *testing.T) {
	t.Parallel()
	s := StartPgBouncer(t, Postgres(t))
	log := func() string {
		r := record(t, func(tb testing.TB) { s.report(tb) })
		return r.logged
	}
	if got := log(); got != "" {
		t.Errorf("the report on a running server is %q, want none", got)
	}
	s.Stop(t)
	if got := log(); got != "" {
		t.Errorf("the report on a stopped server is %q, want none", got)
	}
	s.Start(t)
	if err := s.process.signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	<-s.process.done
	if got := log(); !strings.Contains(got, "pgbouncer: it ended by itself") || !strings.Contains(got, "SIGTERM") {
		t.Errorf("the report is %q, want one with the end of PgBouncer's log", got)
	}
}

func newSupervisor(t *testing.T) *supervisor {
	t.Helper()
	s, err := supervise(filepath.Join(os.TempDir(), "throwaway-"+random()), syscall.SIGKILL, false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.close)
	return s
}

func TestSupervisorPassesArgumentsUnchanged(t *testing.T) {
	t.Parallel()
	s := newSupervisor(t)
	file := filepath.Join(s.dir, "argument")
	for _, arg := range []string{"plain", "", " two words ", `it's`, `''`, `"$HOME" $(id) \n ;&|<>*\`} {
		p, err := s.run([]string{"/bin/sh", "-c", `printf '%s' "$1" >"$2"`, "sh", arg, file})
		if err != nil {
			t.Fatal(err)
		}
		if <-p.done; p.err != nil {
			t.Fatal(p.err)
		}
		if got, err := os.ReadFile(file); string(got) != arg {
			t.Errorf("the argument %q arrived as %q, error %v", arg, got, err)
		}
	}
}

// The supervisor also ends the processes that a command has started.
func TestSupervisorEndsChildProcesses(t *testing.T) {
	t.Parallel()
	s := newSupervisor(t)
	file := filepath.Join(s.dir, "pid")
	p, err := s.run([]string{"/bin/sh", "-c", `sleep 600 & echo $! >"$1"; exec sleep 600`, "sh", file})
	if err != nil {
		t.Fatal(err)
	}
	var other int
	for deadline := time.Now().Add(patience); other == 0; time.Sleep(10 * time.Millisecond) {
		text, _ := os.ReadFile(file)
		if fmt.Sscanf(string(text), "%d\n", &other); time.Now().After(deadline) {
			t.Fatalf("the command has not started within %v", patience)
		}
	}
	if p.exited() {
		t.Errorf("the command ended by itself: %v", p.err)
	}
	s.close()
	if !p.exited() || p.err == nil {
		t.Errorf("after close: exited is %v, error is %v, want true and an error", p.exited(), p.err)
	}
	if what := remains(p.pid, s.dir); len(what) > 0 {
		t.Errorf("after close, these remain: %v", what)
	}
	for deadline := time.Now().Add(10 * time.Second); alive(other); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			syscall.Kill(other, syscall.SIGKILL)
			t.Fatal("the process that the command started still runs")
		}
	}
}
