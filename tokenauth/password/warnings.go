package password

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// warnings writes to [Options.Logger]. Anyone who signs in can cause warnings,
// so it logs each message at most once a minute for each account. Each record
// of a message says how many were suppressed since the last record of that
// message.
type warnings struct {
	logger *slog.Logger

	mu         sync.Mutex
	told       map[warning]time.Time // when each was last logged; at most mostWarnings entries, and one more for each message
	suppressed map[string]int        // by message, how many were not logged since its last record

	stampless sync.Once
}

type warning struct{ message, userID string }

const (
	warningInterval = time.Minute
	// mostWarnings is the maximum number of pairs of message and account in
	// told. If more pairs cause warnings within a minute, the additional pairs
	// share one record of each message.
	mostWarnings = 100
)

func newWarnings(logger *slog.Logger) *warnings {
	return &warnings{logger: logger, told: make(map[warning]time.Time), suppressed: make(map[string]int)}
}

// warn logs a constant message. The userID is "" if the message is not about an
// account.
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

// notUpgraded warns once, for the first account that is not upgraded because it
// has no [Account.Stamp]. Without the warning, a host whose accounts all lack a
// Stamp would wait for upgrades that never come.
func (w *warnings) notUpgraded(ctx context.Context, userID string) {
	w.stampless.Do(func() {
		w.logger.WarnContext(ctx, "password: Options.Upgrade is not called for accounts without an Account.Stamp, so their hashes stay as they are: set Stamp, or set Options.KeepHashes if that is intended", "user_id", userID)
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
