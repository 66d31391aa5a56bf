package failover

import (
	"os"
	"strings"
	"testing"

	"github.com/bearerkit/bearerkit/internal/throwaway"
)

func TestMain(m *testing.M) { os.Exit(throwaway.Main(m)) }

// While clients sign in, validate and revoke, a server goes away. They see right
// answers or 503, in time, and all works again soon after it is back, without a
// restart. The table is what the guides of the storages show.
func TestFailoverWhileUsersSignIn(t *testing.T) {
	if !throwaway.Long() {
		t.Skip("it takes minutes; TOKENAUTH_LONG=1 runs it")
	}
	rows := make([]string, len(setups))
	t.Cleanup(func() { t.Logf("\n%s%s", head, strings.Join(rows, "")) })
	for i, s := range setups {
		t.Run(s.engine+", "+s.fault, func(t *testing.T) {
			t.Parallel() // most of the time nothing happens
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
