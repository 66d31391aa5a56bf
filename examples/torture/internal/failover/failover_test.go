package failover

import (
	"os"
	"strings"
	"testing"

	"github.com/bearerkit/bearerkit/internal/throwaway"
)

func TestMain(m *testing.M) { os.Exit(throwaway.Main(m)) }

// While clients sign in, validate and revoke, a server fails. The clients must get
// right answers or 503, in time. Soon after the server is back, all must work again
// without a restart. The test logs the table that storage/README.md shows.
func TestFailoverWhileUsersSignIn(t *testing.T) {
	if !throwaway.Long() {
		t.Skip("it takes minutes; TOKENAUTH_LONG=1 runs it")
	}
	rows := make([]string, len(setups))
	t.Cleanup(func() { t.Logf("\n%s%s", head, strings.Join(rows, "")) })
	for i, s := range setups {
		t.Run(s.engine+", "+s.fault, func(t *testing.T) {
			t.Parallel() // each setup mostly waits
			row, wrong := measure(t, s)
			t.Logf("\n%s%s", head, row)
			rows[i] = row
			for i, w := range wrong {
				if i < 20 {
					t.Error(w)
				}
			}
		})
	}
}
