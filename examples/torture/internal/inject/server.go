package inject

import (
	"context"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/internal/throwaway"
)

// whileItLasts is how long most faults last. It is longer than a lease, and about as
// long as the default of [github.com/bearerkit/bearerkit/tokenauth.Options.Timeout].
const whileItLasts = 2 * time.Second

// serverFaults returns each [Fault] that any server can have. Well returns when the
// server works again. It is nil for a server that works when it has started.
func serverFaults(tb testing.TB, s *throwaway.Server, well func() error) []*Fault {
	if well == nil {
		well = func() error { return nil }
	}
	start := func() error {
		s.Start(tb)
		return well()
	}
	return []*Fault{
		{Name: "server paused", Lasts: 5 * time.Second, Strike: func(context.Context) (func() error, error) {
			s.Pause(tb)
			return func() error { s.Resume(tb); return well() }, nil
		}},
		{Name: "server stopped", Lasts: whileItLasts, Strike: func(context.Context) (func() error, error) {
			s.Stop(tb)
			return start, nil
		}},
		{Name: "server killed", Lasts: whileItLasts, Strike: func(context.Context) (func() error, error) {
			s.Kill(tb)
			return start, nil
		}},
		{Name: "server restarted twice", Strike: func(context.Context) (func() error, error) {
			for range 2 {
				s.Stop(tb)
				s.Start(tb)
			}
			return well, nil
		}},
	}
}
