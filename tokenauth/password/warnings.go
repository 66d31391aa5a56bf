package password

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// warnings writes warnings to the host's log and bounds them, since anybody who
// signs in can cause them: one a minute of each message about each account. The
// next record of a message says how many were suppressed.
type warnings struct {
	logger *slog.Logger

	mu         sync.Mutex
	told       map[warning]time.Time // at most mostWarnings, and one more of each message
	suppressed map[string]int        // by message

	stampless sync.Once
}

type warning struct{ message, userID string }

const (
	warningInterval = time.Minute
	// mostWarnings is of how many accounts one is kept. If more accounts than
	// that have warnings within a minute, the others share one of each message.
	mostWarnings = 100
)

func newWarnings(logger *slog.Logger) *warnings {
	return &warnings{logger: logger, told: make(map[warning]time.Time), suppressed: make(map[string]int)}
}

// warn logs a constant message. The account is empty where it is about none.
func (w *warnings) warn(ctx context.Context, message, userID string, attrs ...any) {
	suppressed, ok := w.admit(warning{message, userID})
	if !ok {
		return
	}
	if userID != "" {
		attrs = append(attrs, "user_id", userID)
	}
	w.logger.WarnContext(ctx, message, append(attrs, "suppressed", suppressed)...)
}

// notUpgraded warns, once, of an account that is not upgraded because it has no
// stamp. A host that has none in its table would wait for all of them in vain.
func (w *warnings) notUpgraded(ctx context.Context, userID string) {
	w.stampless.Do(func() {
		w.logger.WarnContext(ctx, "password: Options.Upgrade is not called for accounts without an Account.Stamp, and their hashes stay as they are: set one, or Options.KeepHashes if that is intended", "user_id", userID)
	})
}

func (w *warnings) admit(about warning) (suppressed int, ok bool) {
	now := time.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	last, known := w.told[about]
	if !known && len(w.told) >= mostWarnings {
		for other, at := range w.told {
			if now.Sub(at) >= warningInterval {
				delete(w.told, other)
			}
		}
		if len(w.told) >= mostWarnings {
			about.userID = ""
			last, known = w.told[about]
		}
	}
	if known && now.Sub(last) < warningInterval {
		w.suppressed[about.message]++
		return 0, false
	}
	w.told[about] = now
	suppressed = w.suppressed[about.message]
	delete(w.suppressed, about.message)
	return suppressed, true
}
