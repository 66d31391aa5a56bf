package throwaway

import (
	"bytes"
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"
)

// A program is a kind of server, such as Redis or nginx.
type program interface {
	name() string

	// commands returns two commands: setup fills the folder dir, and serve runs
	// a server in that folder. The method returns an errMissing if the program
	// is not installed.
	commands(dir string) (setup, serve []string, err error)

	// signals returns two signals: stop shuts the server down cleanly, and kill
	// ends it at once.
	signals() (stop, kill syscall.Signal)

	// admin returns the DSN of the database that a new server in dir has, or
	// the URL of a server without databases.
	admin(dir string) string

	// connect returns a connection with which the caller can ping the server.
	connect(dsn string) (connection, error)
}

// A connection pings a server. One implementation is [sql.DB].
type connection interface {
	PingContext(context.Context) error
	Close() error
}

// An engine is a kind of SQL database server.
type engine interface {
	program

	// database returns the DSN of another database on the same server.
	database(dsn, name string) (string, error)

	open(dsn string) (*sql.DB, error)

	// drop removes a database, even one that has open connections.
	drop(ctx context.Context, db *sql.DB, name string) error
}

// Server is a server that only one test uses, so that the test may stop it. It
// is safe for concurrent use.
type Server struct {
	engine     program
	supervisor *supervisor
	serve      []string
	admin, dsn string

	mu      sync.Mutex
	process *process // the process of the last start
	asked   bool     // whether end asked that process to end
}

// newServer sets a server up in a folder of its own, and starts it.
func newServer(e program) (*Server, error) {
	// The name is short because the path of a Unix socket is limited to about
	// 100 bytes.
	dir := filepath.Join(os.TempDir(), "throwaway-"+random())
	setup, serve, err := e.commands(dir)
	if err != nil {
		return nil, err
	}
	_, kill := e.signals()
	_, sameAccount := e.(interface{ sameAccount() })
	supervisor, err := supervise(dir, kill, sameAccount)
	if err != nil {
		return nil, fmt.Errorf("throwaway: %s: cannot start the supervisor: %w", e.name(), err)
	}
	s := &Server{engine: e, supervisor: supervisor, serve: serve, admin: e.admin(dir)}
	if err := s.setup(setup); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *Server) setup(command []string) error {
	p, err := s.supervisor.run(command)
	if err != nil {
		return s.failure("set up", err)
	}
	select {
	case <-p.done:
	case <-time.After(patience):
		return s.failure("set up", context.DeadlineExceeded)
	}
	if p.err != nil {
		return s.failure("set up", p.err)
	}
	return s.start()
}

// start starts the server, and returns once it answers.
func (s *Server) start() error {
	db, err := s.engine.connect(s.admin)
	if err != nil {
		return s.failure("start", err)
	}
	defer db.Close()
	if s.process, err = s.supervisor.run(s.serve); err != nil {
		return s.failure("start", err)
	}
	s.asked = false
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for {
		err := db.PingContext(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-s.process.done:
			return s.failure("start", errors.Join(s.process.err, err))
		case <-ctx.Done():
			return s.failure("start", err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// failure wraps the error, and adds the operation that failed and the end of
// the server's log.
func (s *Server) failure(doing string, err error) error {
	const tail = 2 << 10
	log, _ := os.ReadFile(s.supervisor.log())
	return fmt.Errorf("throwaway: %s: %s: %w\n%s", s.engine.name(), doing, err, bytes.TrimSpace(log[max(0, len(log)-tail):]))
}

// report logs the end of the server's log if the server ended although the test did
// not ask for it.
func (s *Server) report(tb testing.TB) {
	tb.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process != nil && s.process.exited() && !s.asked {
		tb.Log(s.failure("it ended by itself", cmp.Or(s.process.err, errors.New("exit status 0"))))
	}
}

func (s *Server) running() bool {
	return s.process != nil && !s.process.exited()
}

// close ends the server and removes its folder.
func (s *Server) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running() {
		s.process.resume()
	} else if r, ok := s.engine.(interface{ release(dir string) }); ok {
		r.release(s.supervisor.dir)
	}
	s.supervisor.close()
}

// DSN returns the DSN of a database on the server, or the URL of a server
// without databases. The server was empty when it was first started.
// [Server.Stop] and [Server.Start] do not change the DSN.
func (s *Server) DSN() string { return s.dsn }

// Stop shuts the server down cleanly, without waiting for its clients. It returns
// when the process has ended.
func (s *Server) Stop(tb testing.TB) {
	tb.Helper()
	stop, _ := s.engine.signals()
	s.end(tb, func(p *process) error {
		// A paused process does not handle the signal.
		return errors.Join(p.resume(), p.signal(stop))
	})
}

// Kill ends all processes of the server with SIGKILL, like a crash. It returns
// when they have ended. After [Server.Start] the server still has all committed
// data.
func (s *Server) Kill(tb testing.TB) {
	tb.Helper()
	s.end(tb, (*process).kill)
}

func (s *Server) end(tb testing.TB, by func(*process) error) {
	tb.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.running() {
		return
	}
	s.asked = true
	if err := by(s.process); err != nil {
		tb.Fatal(s.failure("end", err))
	}
	select {
	case <-s.process.done:
	case <-time.After(patience):
		tb.Fatal(s.failure("end", context.DeadlineExceeded))
	}
}

// Start starts a stopped server again, with its data and at the same address. It
// returns once the server answers.
func (s *Server) Start(tb testing.TB) {
	tb.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running() {
		return
	}
	if err := s.start(); err != nil {
		tb.Fatal(err)
	}
}

// Pause makes the server hang. It keeps its connections and accepts new ones, but
// does not answer, until [Server.Resume].
func (s *Server) Pause(tb testing.TB) {
	tb.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.running() {
		tb.Fatal(s.failure("pause", os.ErrProcessDone))
	}
	if err := s.process.pause(); err != nil {
		tb.Fatal(s.failure("pause", err))
	}
}

// Resume makes a server answer again after [Server.Pause].
func (s *Server) Resume(tb testing.TB) {
	tb.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.running() {
		tb.Fatal(s.failure("resume", os.ErrProcessDone))
	}
	if err := s.process.resume(); err != nil {
		tb.Fatal(s.failure("resume", err))
	}
}
