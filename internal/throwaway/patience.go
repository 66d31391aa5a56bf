package throwaway

import (
	"crypto/rand"
	"strings"
	"time"
)

// patience is the time limit for each operation on a server. It is long so that
// a test does not fail because the machine is busy.
const patience = time.Minute

// random returns a unique name that needs no quoting in a shell or in SQL.
func random() string {
	return strings.ToLower(rand.Text()[:12])
}
