package inject

import (
	"context"
	"os"
	"strings"
	"time"
)

// cannotSave returns a [Fault] in which the server cannot save its snapshot. Redis then
// refuses all writes.
func (s *redisServer) cannotSave() *Fault {
	return &Fault{Name: "snapshots fail", Lasts: whileItLasts, Strike: func(ctx context.Context) (func() error, error) {
		m, err := s.ask(ctx, s.admin, "CONFIG", "GET", "dir")
		if err != nil {
			return nil, err
		}
		settings, err := m.AsStrMap()
		if err != nil {
			return nil, err
		}
		folder := settings["dir"]
		save := func(status string) error {
			if err := s.do("BGSAVE")(ctx); err != nil {
				return err
			}
			for {
				m, err := s.ask(ctx, s.admin, "INFO", "persistence")
				if err != nil {
					return err
				}
				text, _ := m.ToString()
				if strings.Contains(text, "rdb_bgsave_in_progress:0") && strings.Contains(text, "rdb_last_bgsave_status:"+status) {
					return nil
				}
				if Wait(ctx, 10*time.Millisecond); ctx.Err() != nil {
					return ctx.Err()
				}
			}
		}
		if err := os.Chmod(folder, 0o500); err != nil {
			return nil, err
		}
		if _, err := s.ask(ctx, s.admin, "CONFIG", "SET", "save", "3600 1000000"); err != nil {
			return nil, err
		}
		return func() error {
			if err := os.Chmod(folder, 0o700); err != nil {
				return err
			}
			if err := save("ok"); err != nil {
				return err
			}
			_, err := s.ask(ctx, s.admin, "CONFIG", "SET", "save", "")
			return err
		}, save("err")
	}}
}
