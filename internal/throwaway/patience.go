package throwaway

import (
	"crypto/rand"
	"strings"
	"time"
)

// patience is how long a server may take for anything. It is long, because a
// busy machine is no reason for a test to fail.
const patience = time.Minute

// random returns a name that nobody else has and that needs no quoting.
func random() string {
	return strings.ToLower(rand.Text()[:12])
}
