package tokenauth_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// A columnUsers is an Authenticator with one account, "alice", whose name equal
// compares like a database column. It counts attempts for that account. The
// password is "right".
type columnUsers struct {
	slowUsers
	equal func(typed string) bool // nil: no name has an account
	// counts reports whether an attempt is counted; nil: each is.
	counts func(typed string) bool
	// ignores makes Authenticate ignore the error of CountAttempt.
	ignores bool
	leaked  tokenauth.Credentials
}

func (a *columnUsers) Authenticate(ctx context.Context, c tokenauth.Credentials) (tokenauth.Principal, error) {
	id := ""
	if a.equal != nil && a.equal(c.UserName) {
		id = "17"
	}
	if a.counts == nil || a.counts(c.UserName) {
		if err := c.CountAttempt(ctx, id); err != nil && !a.ignores {
			return tokenauth.Principal{}, err
		}
	}
	if a.ignores {
		a.leaked = c
	}
	p, err := a.slowUsers.Authenticate(ctx, c)
	if err != nil || id == "" {
		return tokenauth.Principal{}, tokenauth.ErrRejected
	}
	p.UserID, p.UserName = id, "alice"
	return p, nil
}

// ignoringAccents compares like the default collation of MySQL.
func ignoringAccents(typed string) bool {
	typed = strings.ToLower(strings.TrimRight(typed, " "))
	return strings.NewReplacer("á", "a", "à", "a", "ä", "a", "í", "i", "é", "e").Replace(typed) == "alice"
}

func exactly(typed string) bool { return typed == "alice" }

var spellingsOfAlice = []string{"alice", "Alice", "ALICE", "álice", "àlice", "älice", "alíce", "alicé", "alice ", "alice  ", "Álicé", "alíce "}

func testThrottleOf(t *testing.T, a *columnUsers, o tokenauth.Options, test func(d *throttleTest)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		test(&throttleTest{T: t, slowUsers: &a.slowUsers, auth: newService(t, new(memory.Store), a, &o)})
	})
}

// All spellings of an account's name share its free failures, from one source
// and from many.
func TestSpellingsOfAnAccountShareItsTries(t *testing.T) {
	t.Parallel()
	t.Run("from one source", func(t *testing.T) {
		t.Parallel()
		testThrottleOf(t, &columnUsers{equal: ignoringAccents}, tokenauth.Options{}, func(d *throttleTest) {
			for _, spelling := range spellingsOfAlice {
				d.try(spelling, "wrong", here)
			}
			if n := d.hashed.Load(); n != 5 {
				d.Errorf("%d guesses were hashed, want 5", n)
			}
			d.expect("ALÍCE", "right", here, "1s")
			d.expect("ALÍCE", "right", there, "in")
		})
	})
	t.Run("from many sources", func(t *testing.T) {
		t.Parallel()
		testThrottleOf(t, &columnUsers{equal: ignoringAccents}, tokenauth.Options{}, func(d *throttleTest) {
			for i := range 14 {
				for _, spelling := range spellingsOfAlice {
					d.try(spelling, "wrong", fmt.Sprintf("203.0.113.%d", i))
				}
			}
			if n := d.hashed.Load(); n > 21 { // a hash takes as long as the first wait of a second, so one more may be hashed
				d.Errorf("%d guesses were hashed, want 20 or 21", n)
			}
		})
	})
	t.Run("by an alias", func(t *testing.T) {
		t.Parallel()
		names := func(typed string) bool { return typed == "alice" || typed == "alice@example.com" || typed == "17" }
		testThrottleOf(t, &columnUsers{equal: names}, tokenauth.Options{}, func(d *throttleTest) {
			for range 2 {
				for _, alias := range []string{"alice", "alice@example.com", "17"} {
					d.try(alias, "wrong", here)
				}
			}
			d.expect("17", "right", here, "1s")
			if n := d.hashed.Load(); n != 5 {
				d.Errorf("%d guesses were hashed, want 5", n)
			}
		})
	})
}

// The results of failed sign-ins do not depend on which of several similar
// names have an account.
func TestThrottleDoesNotRevealWhichNamesExist(t *testing.T) {
	t.Parallel()
	sources := []string{here, there, "203.0.113.1", "2001:db8::1", "2001:db8:0:1::1"}
	for round := range uint64(40) {
		var want []string
		for name, equal := range map[string]func(string) bool{"none": nil, "exactly": exactly, "ignoring accents": ignoringAccents} {
			var got []string
			testThrottleOf(t, &columnUsers{equal: equal}, tokenauth.Options{}, func(d *throttleTest) {
				random := rand.New(rand.NewPCG(round, 0))
				for range 60 {
					spelling := spellingsOfAlice[random.IntN(len(spellingsOfAlice))]
					password := "wrong"
					if round%2 == 1 { // some passwords repeat
						password = fmt.Sprint("one of a few: ", random.IntN(5))
					}
					got = append(got, d.try(spelling, password, sources[random.IntN(len(sources))]))
					if random.IntN(10) == 0 {
						time.Sleep(time.Duration(random.IntN(60)) * time.Second)
					}
				}
			})
			if want == nil {
				want = got
			}
			if i := slices.IndexFunc(got, func(string) bool { return !slices.Equal(got, want) }); i >= 0 {
				t.Fatalf("round %d: with the comparison %q the results are\n%v, otherwise\n%v", round, name, got, want)
			}
		}
	}
}

// An attempt without CountAttempt counts by user name. It is counted before the
// result of the password is returned.
func TestUncountedAttemptsAreCountedByName(t *testing.T) {
	t.Parallel()
	sometimes := &columnUsers{equal: func(typed string) bool { return true }, counts: func(typed string) bool { return typed == "counted" }}
	testThrottleOf(t, sometimes, tokenauth.Options{}, func(d *throttleTest) {
		d.expect("counted", "right", here, "in")
		d.fail("alice", there, 10)
		for i := range 10 { // none is hashed, because a hash would take a second
			d.expect("Alice"+strings.Repeat(" ", i), "right", there, "32s")
		}
		time.Sleep(time.Minute)
		d.expect("alice", "right", there, "in")
	})
	// Of concurrent attempts more are hashed than there are free failures. The
	// others are all answered as throttled.
	testThrottleOf(t, sometimes, tokenauth.Options{}, func(d *throttleTest) {
		d.expect("counted", "right", here, "in")
		results := make(chan string)
		for i := range 100 {
			go func() { results <- d.try("alice", map[bool]string{true: "right", false: "wrong"}[i >= 50], there) }()
			synctest.Wait()
		}
		told := map[string]int{}
		for range 100 {
			told[<-results]++
		}
		if told["rejected"] > 5 {
			d.Errorf("the results are %v, want at most 5 rejected", told)
		}
	})
}

func TestThrottledAttemptIsRefusedWhateverTheAuthenticatorReturns(t *testing.T) {
	t.Parallel()
	deaf := &columnUsers{equal: exactly, ignores: true}
	testThrottleOf(t, deaf, tokenauth.Options{}, func(d *throttleTest) {
		d.fail("alice", here, 10)
		for _, spelling := range spellingsOfAlice { // during the wait
			if got := d.try(spelling, "right", here); got == "in" || got == "rejected" {
				d.Errorf("%s: got %s, want throttled", spelling, got)
			}
		}
		// Credentials used after their sign-in count nothing.
		if err := deaf.leaked.CountAttempt(d.Context(), "17"); err != nil && !errors.Is(err, tokenauth.ErrThrottled) {
			d.Errorf("CountAttempt after the sign-in: error %v", err)
		}
		time.Sleep(time.Minute)
		d.expect("alice", "right", here, "in")
	})
	if err := (tokenauth.Credentials{}).CountAttempt(t.Context(), "17"); err != nil {
		t.Errorf("CountAttempt outside a sign-in: error %v", err)
	}
}

// A guesser at a known source of the account has at most 100 attempts in a row,
// over any number of days.
func TestKnownSourceIsLimitedByTheCeiling(t *testing.T) {
	t.Parallel()
	for name, pause := range map[string]time.Duration{"waiting as required": 0, "with pauses of a day": 25 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			testThrottleOf(t, &columnUsers{equal: exactly}, tokenauth.Options{}, func(d *throttleTest) {
				d.expect("alice", "right", here, "in")
				hashed := d.hashed.Load()
				for end := time.Now().Add(30 * 24 * time.Hour); time.Now().Before(end); {
					got := d.try("alice", "wrong", here)
					switch wait, err := time.ParseDuration(got); {
					case err == nil:
						time.Sleep(wait + pause)
					case got != "rejected":
						d.Fatal(got)
					}
				}
				if n := d.hashed.Load() - hashed; n > 100 {
					d.Errorf("%d guesses were hashed in 30 days, want at most 100", n)
				}
				// The owner can still sign in from another known source.
			})
		})
	}
}

// A guesser that pauses longer than required reaches no more accounts than one
// that waits exactly as long as required.
func TestPausesDoNotHelpAGuesser(t *testing.T) {
	t.Parallel()
	const days = 7
	reach := func(t *testing.T, pause time.Duration) (accounts int) {
		testThrottleOf(t, &columnUsers{}, tokenauth.Options{}, func(d *throttleTest) {
			for end := time.Now().Add(days * 24 * time.Hour); time.Now().Before(end); {
				got := d.try(fmt.Sprint("user", accounts), "wrong", here)
				if wait, err := time.ParseDuration(got); err == nil {
					time.Sleep(max(wait, pause))
					continue
				}
				accounts++
			}
		})
		return accounts
	}
	asTold := reach(t, 0)
	for _, pause := range []time.Duration{time.Hour, 61 * time.Minute, 6 * time.Hour, 25 * time.Hour} {
		if n := reach(t, pause); n > asTold*11/10 {
			t.Errorf("with pauses of %v: %d accounts in %d days, want about %d as with the required waits", pause, n, days, asTold)
		}
	}
	if asTold > days*96+110 {
		t.Errorf("waiting as required: %d accounts in %d days, want fewer", asTold, days)
	}
}

// Attempts that a browser marks as cross-site count as a source of their own.
// They throttle neither the owner nor other users at the same address.
func TestCrossSiteAttemptsCountApart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		users := &columnUsers{equal: exactly}
		auth := newService(t, new(memory.Store), users, nil)
		guesses := 0
		wrong := func() string { guesses++; return fmt.Sprint("wrong", guesses) }
		try := func(userName, password string, crossSite bool) string {
			if password == "wrong" {
				password = wrong()
			}
			_, err := auth.SignIn(t.Context(), tokenauth.Credentials{
				UserName: userName, Password: tokenauth.NewSecret(password),
				RemoteAddr: netip.MustParseAddr(here), CrossSite: crossSite,
			})
			if errors.Is(err, tokenauth.ErrThrottled) {
				return "throttled"
			}
			return reason(err)
		}
		hashed := 0
		for i := range 300 {
			for _, name := range []string{"alice", fmt.Sprint("user", i)} {
				if try(name, "wrong", true) != "throttled" {
					hashed++
				}
			}
		}
		if hashed > 105 {
			t.Errorf("%d cross-site attempts were hashed, want at most 105", hashed)
		}
		if got := try("alice", "right", false); got != "valid" {
			t.Errorf("the owner at the same address: %s, want valid", got)
		}
		if got := try("somebody", "wrong", false); got != "rejected" {
			t.Errorf("another user at the same address: %s, want rejected", got)
		}
		if got := try("alice", "right", true); got != "throttled" {
			t.Errorf("the cross-site attempt: %s, want throttled", got)
		}
		// Cross-site attempts count for the account like all others.
		for i := range 20 {
			d := tokenauth.Credentials{UserName: "alice", Password: tokenauth.NewSecret(wrong()), RemoteAddr: netip.AddrFrom4([4]byte{203, 0, 113, byte(i)}), CrossSite: true}
			auth.SignIn(t.Context(), d)
		}
		if _, err := auth.SignIn(t.Context(), tokenauth.Credentials{UserName: "alice", Password: tokenauth.NewSecret("right"), RemoteAddr: netip.MustParseAddr(there)}); !errors.Is(err, tokenauth.ErrThrottled) {
			t.Errorf("from an unknown source: error %v, want ErrThrottled", err)
		}
		if got := try("alice", "right", false); got != "valid" {
			t.Errorf("the owner: %s, want valid", got)
		}
	})
}

// Sign-ins to an account with a similar name do not reset the failures of
// another account, and do not make a source known to it. This also holds if
// failures count by name.
func TestSimilarNamesDoNotResetEachOther(t *testing.T) {
	t.Parallel()
	for name, counts := range map[string]bool{"by account": true, "by name": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				users := new(exactNames)
				users.counts = counts
				auth := newService(t, new(memory.Store), users, nil)
				d := &throttleTest{T: t, slowUsers: &users.slowUsers, auth: auth}
				d.expect("alicé", "right", there, "in")
				began := time.Now()
				guesses := 0
				for range 500 {
					for range 4 {
						if d.try("alice", "wrong", here) == "rejected" {
							guesses++
						}
					}
					d.try("alicé", "right", here)
				}
				if most := 5 + int(time.Since(began)/(15*time.Minute)) + 10; guesses > most {
					t.Errorf("%d guesses in %v, want at most %d", guesses, time.Since(began), most)
				}
				// Others attack alice. The guesser's source is not a known one
				// of alice.
				for i := range 30 {
					d.try("alice", "wrong", fmt.Sprintf("203.0.113.%d", i))
				}
				if got := d.try("alice", "wrong", there); got == "rejected" {
					t.Error("the guesser's source counts as known to alice")
				}
			})
		})
	}
}

// exactNames is an Authenticator in which each exact name has an account of its
// own.
type exactNames struct {
	slowUsers
	counts bool
}

func (a *exactNames) Authenticate(ctx context.Context, c tokenauth.Credentials) (tokenauth.Principal, error) {
	if a.counts {
		if err := c.CountAttempt(ctx, "id of "+c.UserName); err != nil {
			return tokenauth.Principal{}, err
		}
	}
	return a.slowUsers.Authenticate(ctx, c)
}

// If one Authenticator asks two tables, an attempt counts for the account in
// each.
func TestGuessCountsForEachAccountThatWasAsked(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		users := new(twoTables)
		d := &throttleTest{T: t, slowUsers: &users.slowUsers, auth: newService(t, new(memory.Store), users, nil)}
		began := time.Now()
		for i := range 60 {
			d.try(fmt.Sprint("alias", i), "wrong", here)
		}
		if n := users.staff; n > 5+int(time.Since(began)/time.Second) {
			t.Errorf("%d guesses at the account in the first table in %v, want about one a second", n, time.Since(began))
		}
		if users.staff > 20 {
			t.Errorf("%d guesses at the account in the first table, want at most 20", users.staff)
		}
		time.Sleep(time.Hour)
		d.expect("alias0", "right", here, "in")
		if got := d.try("alias1", "right", there); got != "in" {
			t.Errorf("from another source: %s, want in", got)
		}
	})
}

// twoTables asks a table with one account that has many names. Then it asks a
// table in which each name is an account.
type twoTables struct {
	slowUsers
	staff int
}

func (a *twoTables) Authenticate(ctx context.Context, c tokenauth.Credentials) (tokenauth.Principal, error) {
	if err := c.CountAttempt(ctx, "staff 1"); err != nil {
		return tokenauth.Principal{}, err
	}
	a.staff++
	if err := c.CountAttempt(ctx, "customer "+c.UserName); err != nil {
		return tokenauth.Principal{}, err
	}
	return a.slowUsers.Authenticate(ctx, c)
}

// An account that signs in from very many sources does not evict the known
// sources of other accounts.
func TestSuccessesEvictNoOtherKnownSources(t *testing.T) {
	testThrottle(t, tokenauth.Options{Throttle: tokenauth.ThrottleOptions{MaxCounters: 1000}}, func(d *throttleTest) {
		for i := range 20 {
			d.expect(fmt.Sprint("owner", i), "right", fmt.Sprintf("198.51.100.%d", i), "in")
		}
		atOnce(3000, func(i int) string { return d.try("mallory", "right", fmt.Sprintf("2001:db8:%x:%x::1", i/100, i%100)) })
		for i := range 20 {
			for j := range 25 {
				d.try(fmt.Sprint("owner", i), "wrong", fmt.Sprintf("203.0.%d.%d", i, j))
			}
			d.expect(fmt.Sprint("owner", i), "right", fmt.Sprintf("198.51.100.%d", i), "in")
		}
	})
}
