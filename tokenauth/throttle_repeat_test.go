package tokenauth_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/password"
	"golang.org/x/crypto/bcrypt"
)

// newReplicas returns a throttleTest for each of the given number of Services.
// Several Services share their counters. Each user name has an account.
func newReplicas(t *testing.T, replicas int) (replicaTests []*throttleTest) {
	storage := new(sharedCounters)
	for range replicas {
		g := new(slowUsers)
		var o tokenauth.Options
		if replicas > 1 {
			o.Throttle.Key = tokenauth.NewSecret("the same thirty-two bytes or more on all replicas")
		}
		replicaTests = append(replicaTests, &throttleTest{T: t, slowUsers: g, auth: newService(t, storage, anyName{g}, &o)})
	}
	return replicaTests
}

// During a day, a device at the owner's address retries an old password every
// three minutes. Every half hour the owner signs in from there with the right
// one.
func TestDeviceWithAnOldPasswordDoesNotThrottleItsOwner(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		replicas int
		siege    bool // other sources guess all the time
		beside   bool // an attacker at the address repeats two passwords all the time
		from     func(minute int) string
		owner    string
		signsIn  func(halfHour int) string // returns the user name
	}{
		"alone":                           {},
		"during an attack":                {siege: true},
		"with an attacker at the address": {beside: true},
		"with three replicas":             {replicas: 3, siege: true},
		"from changing addresses":         {from: func(minute int) string { return fmt.Sprintf("198.18.%d.%d", minute/250, minute%250) }},
		"with colleagues there":           {signsIn: func(halfHour int) string { return fmt.Sprint("colleague", halfHour) }},
		"with the owner elsewhere":        {owner: there, from: func(minute int) string { return fmt.Sprintf("198.18.0.%d", minute%250) }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				replicaTests, turn := newReplicas(t, max(1, test.replicas)), 0
				next := func() *throttleTest { turn++; return replicaTests[turn%len(replicaTests)] }
				if test.owner == "" {
					test.owner = here
					next().expect("alice", "right", here, "in")
				}
				refused, signedIn := 0, 0
				for minute := range 24 * 60 {
					from := here
					if test.from != nil {
						from = test.from(minute)
					}
					switch {
					case test.siege:
						next().try("alice", "wrong", fmt.Sprintf("203.0.%d.%d", minute/250, minute%250))
					case test.beside:
						for i := range 10 {
							next().try("alice", fmt.Sprint("another password ", i%2), here)
						}
					}
					if minute%3 == 0 {
						if next().try("alice", "the old password", from) != "rejected" {
							refused++
						}
					}
					if minute%30 == 29 {
						who := "alice"
						if test.signsIn != nil {
							who = test.signsIn(minute / 30)
						}
						if next().try(who, "right", test.owner) == "in" {
							signedIn++
						}
					}
					time.Sleep(time.Minute - 7*time.Second)
				}
				if signedIn != 48 {
					t.Errorf("%d of 48 sign-ins with the right password succeeded", signedIn)
				}
				if refused > 1 && !test.beside {
					t.Errorf("%d attempts of the device were throttled, want at most 1", refused)
				}
			})
		})
	}
}

// The last three wrong passwords do not count again. An older one does.
func TestLastThreeWrongPasswordsDoNotCountAgain(t *testing.T) {
	t.Parallel()
	fails := func(d *throttleTest, password string) {
		d.Helper()
		d.expect("alice", password, here, "rejected")
		time.Sleep(time.Second)
	}
	t.Run("three", func(t *testing.T) {
		testThrottle(t, tokenauth.Options{}, func(d *throttleTest) {
			for range 50 {
				for _, password := range []string{"a", "b", "c"} {
					fails(d, password)
				}
			}
			fails(d, "d") // the fourth failure
			fails(d, "d")
			d.expect("alice", "a", here, "rejected") // a is no longer one of the last three
			d.expect("alice", "right", here, "1s")
		})
	})
	t.Run("a success resets none of them", func(t *testing.T) {
		testThrottle(t, tokenauth.Options{}, func(d *throttleTest) {
			fails(d, "a")
			d.expect("alice", "right", here, "in")
			for range 50 {
				fails(d, "a")
			}
			for range 5 {
				d.expect("alice", "wrong", here, "rejected")
			}
			d.expect("alice", "right", here, "1s")
		})
	})
	t.Run("a repetition resets nothing", func(t *testing.T) {
		testThrottle(t, tokenauth.Options{}, func(d *throttleTest) {
			d.fail("alice", here, 7)
			time.Sleep(4 * time.Second)
			fails(d, "a") // the eighth failure, after which the wait is 8 seconds
			for range 3 {
				d.expect("alice", "a", here, "7s")
			}
			time.Sleep(7 * time.Second)
			for range 10 {
				fails(d, "a") // a repetition starts no new wait
			}
			d.expect("alice", "wrong", here, "rejected")
			d.expect("alice", "a", here, "16s")
		})
	})
	// A password that was wrong, and that the user then sets, is accepted at
	// once.
	t.Run("wrong password becomes right", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			users := &settable{password: "old"}
			d := &throttleTest{T: t, slowUsers: new(slowUsers), auth: newService(t, new(memory.Store), users, nil)}
			d.expect("alice", "new", here, "rejected")
			users.password = "new"
			for range 20 {
				d.expect("alice", "new", here, "in")
			}
		})
	})
}

// For each account and source a repeated password is hashed at most once a
// second. One attempt waits for that, and others are throttled.
func TestRepeatedPasswordsHashOnceASecond(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		users := &settable{password: "right"}
		d := &throttleTest{T: t, slowUsers: new(slowUsers), auth: newService(t, new(memory.Store), users, nil)}
		for _, from := range []string{here, there} {
			d.expect("alice", "old", from, "rejected")
			began := time.Now()
			for range 10 {
				d.expect("alice", "old", from, "rejected")
				d.expect("alice", "right", from, "in") // does not wait for the repetitions
			}
			if took := time.Since(began); took != 9*time.Second {
				t.Errorf("10 repetitions took %v, want 9s", took)
			}
			time.Sleep(time.Second)
			began = time.Now()
			hashed := users.hashed.Load()
			outcomes := atOnce(1000, func(int) string {
				got := d.try("alice", "old", from)
				if got != "rejected" && got != "2s" {
					t.Errorf("a concurrent repetition: %s, want rejected or 2s", got)
				}
				return got
			})
			if n := users.hashed.Load() - hashed; n != 2 || outcomes["throttled"] != 998 || time.Since(began) != time.Second {
				t.Errorf("%d of 1000 repetitions were hashed in %v, want 2 in 1s: %v", n, time.Since(began), outcomes)
			}
		}
	})
}

// Many clients that repeat a few wrong passwords are throttled like clients
// that guess different ones, whether they use many sources or many names.
func TestManyClientsRepeatingPasswordsAreThrottled(t *testing.T) {
	t.Parallel()
	const attackers, seconds = 90, 40
	address := func(i int) string { return fmt.Sprint("198.18.0.", i) }
	for name, at := range map[string]func(i int) (userName, from string){
		"one name":     func(i int) (string, string) { return "alice", address(i) },
		"one address":  func(i int) (string, string) { return fmt.Sprint("user", i), address(0) },
		"one network":  func(i int) (string, string) { return fmt.Sprint("user", i), fmt.Sprintf("2001:db8:0:%x::1", i) },
		"twenty names": func(i int) (string, string) { return fmt.Sprint("user", i%20), address(i) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			hashed := func(guess func(i, second int) string) (n int64) {
				synctest.Test(t, func(t *testing.T) {
					users := &settable{password: "right"}
					d := &throttleTest{T: t, slowUsers: new(slowUsers), auth: newService(t, new(memory.Store), users, nil)}
					d.expect("owner", "right", here, "in")
					for second := range seconds {
						atOnce(attackers, func(i int) string {
							userName, from := at(i)
							return d.try(userName, guess(i, second), from)
						})
						time.Sleep(time.Second)
					}
					d.expect("owner", "right", here, "in")
					n = users.hashed.Load()
				})
				return n
			}
			different := hashed(func(i, second int) string { return fmt.Sprint("guess ", i, " ", second) })
			for passwords := 1; passwords <= 3; passwords++ {
				repeated := hashed(func(i, _ int) string { return fmt.Sprint("wrong ", i%passwords) })
				t.Logf("hashed %d guesses of different passwords, and %d of %d repeated ones", different, repeated, passwords)
				// A repetition for a name or a network does not count once a
				// second.
				if repeated > 2*different+seconds {
					t.Errorf("with %d repeated passwords %d guesses were hashed, want at most %d", passwords, repeated, 2*different+seconds)
				}
			}
		})
	}
}

// When a client leaves while its repetition waits, the next one takes its
// place.
func TestRepetitionThatWaitsEndsWithItsClient(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		users := &settable{password: "right"}
		d := &throttleTest{T: t, slowUsers: new(slowUsers), auth: newService(t, new(memory.Store), users, nil)}
		d.expect("alice", "old", here, "rejected")
		d.expect("alice", "old", here, "rejected")
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		began := time.Now()
		_, err := d.auth.SignIn(ctx, credentials("alice", "old", here))
		if took := time.Since(began); !errors.Is(err, tokenauth.ErrUnavailable) || took != 100*time.Millisecond {
			t.Errorf("the client that leaves: after %v, error %v", took, err)
		}
		d.expect("alice", "old", here, "rejected")
		if took := time.Since(began); took != time.Second || users.hashed.Load() != 3 {
			t.Errorf("the next repetition took %v, and %d passwords were hashed", took, users.hashed.Load())
		}
	})
}

// Accounts with similar names have separate lists of wrong passwords. So an
// attacker with one of them cannot make a guess at the other count as a
// repetition.
func TestSimilarNamesShareNoWrongPasswords(t *testing.T) {
	t.Parallel()
	for name, counts := range map[string]bool{"by account": true, "by name": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				users := &exactNames{counts: counts}
				d := &throttleTest{T: t, slowUsers: &users.slowUsers, auth: newService(t, new(memory.Store), users, nil)}
				guesses := 0
				for i := range 500 {
					password := fmt.Sprint("guess", i)
					d.try("alicé", password, here)
					if d.try("alice", password, here) == "rejected" {
						guesses++
					}
					d.try("alicé", "right", here)
					time.Sleep(2 * time.Second)
				}
				if guesses > 15 {
					t.Errorf("%d guesses at alice were hashed, want at most 15", guesses)
				}
			})
		})
	}
}

// All spellings of an account's name share one list of wrong passwords. So do
// all spellings of a name without an account.
func TestSpellingsShareTheLastWrongPasswords(t *testing.T) {
	t.Parallel()
	for name, equal := range map[string]func(string) bool{"no account": nil, "ignoring accents": ignoringAccents} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			testThrottleOf(t, &columnUsers{equal: equal}, tokenauth.Options{}, func(d *throttleTest) {
				for range 5 {
					for _, spelling := range spellingsOfAlice {
						d.expect(spelling, "the old password", here, "rejected")
						time.Sleep(time.Second)
					}
				}
			})
		})
	}
}

// Attempts at other names do not evict a password that a device repeats, and
// the memory is bounded.
func TestOtherNamesEvictNoRepeatedPassword(t *testing.T) {
	testThrottle(t, tokenauth.Options{Throttle: tokenauth.ThrottleOptions{MaxCounters: 1000}}, func(d *throttleTest) {
		for i := range 5000 {
			d.try(fmt.Sprint("user", i), "wrong", fmt.Sprintf("203.%d.%d.1", i/250, i%250))
			if i%10 == 0 {
				d.expect("alice", "the old password", here, "rejected")
			}
		}
		if n := tokenauth.LocalCounters(d.auth); n > 2*1000 {
			d.Errorf("%d counters and lists are kept, want at most 2000", n)
		}
	})
}

// settable is an Authenticator with one password for all users. Checking it
// takes no time.
type settable struct {
	slowUsers
	password string
}

func (s *settable) Authenticate(ctx context.Context, c tokenauth.Credentials) (tokenauth.Principal, error) {
	if err := c.CountAttempt(ctx, c.UserName); err != nil {
		return tokenauth.Principal{}, err
	}
	s.hashed.Add(1)
	if c.Password.Reveal() != s.password {
		return tokenauth.Principal{}, tokenauth.ErrRejected
	}
	return tokenauth.Principal{UserID: c.UserName, UserName: c.UserName}, nil
}

// While a source is throttled, a repeated password gets the same answer as any
// other, and as fast. So the answer does not reveal which passwords were tried.
func TestThrottledAnswerDoesNotRevealRepetitions(t *testing.T) {
	t.Parallel()
	for name, replicas := range map[string]int{"in memory": 1, "counting together": 2} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				d := newReplicas(t, replicas)[0]
				d.fail("alice", here, 12)
				if wait, err := time.ParseDuration(d.try("alice", "wrong", here)); err == nil {
					time.Sleep(wait)
				}
				d.expect("alice", "a typo", here, "rejected")
				for range 3 {
					time.Sleep(6 * time.Second) // so that the replica reads the counters again
					for _, password := range []string{"a typo", "wrong"} {
						began := time.Now()
						atOnce(4, func(int) string {
							got := d.try("alice", password, here)
							if took := time.Since(began); !minutes(got) || took > 100*time.Millisecond {
								t.Errorf("%s: %s after %v, want a wait of minutes at once", password, got, took)
							}
							return got
						})
					}
				}
			})
		})
	}
}

// withCode also requires a one-time code, and refuses each code as wrong.
type withCode struct{ *password.Authenticator }

func (a withCode) Authenticate(ctx context.Context, c tokenauth.Credentials) (tokenauth.Principal, error) {
	if p, err := a.Authenticator.Authenticate(ctx, c); err != nil {
		return p, err
	}
	return tokenauth.Principal{}, tokenauth.ErrRejected // each code is wrong
}

// A client with the right password that guesses codes repeats a password, but
// each attempt counts.
func TestFailureAfterTheRightPasswordAlwaysCounts(t *testing.T) {
	t.Parallel()
	hash, err := bcrypt.GenerateFromPassword([]byte("right"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	users, err := password.New(func(context.Context, string) (password.Account, error) {
		return password.Account{UserID: "17", UserName: "alice", PasswordHash: string(hash), Stamp: "1"}, nil
	}, &password.Options{KeepHashes: true})
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		d := &throttleTest{T: t, auth: newService(t, new(memory.Store), withCode{users}, nil), slowUsers: new(slowUsers)}
		for range 5 {
			d.expect("alice", "right", here, "rejected")
		}
		if got := d.try("alice", "right", here); got == "rejected" {
			t.Error("a sixth code from one source was tried")
		}
		tries := 5
		for i := range 40 {
			if d.try("alice", "right", fmt.Sprintf("203.0.113.%d", i)) == "rejected" {
				tries++
			}
			time.Sleep(time.Second)
		}
		if tries > 25 {
			t.Errorf("%d codes from all sources were tried within a minute, want at most 25", tries)
		}
	})
}
