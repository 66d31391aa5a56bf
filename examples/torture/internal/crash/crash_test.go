package crash

import (
	"crypto/sha256"
	"errors"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/examples/torture/internal/child"
	"github.com/bearerkit/bearerkit/examples/torture/internal/op"
	"github.com/bearerkit/bearerkit/examples/torture/internal/plant"
	"github.com/bearerkit/bearerkit/examples/torture/internal/report"
	"github.com/bearerkit/bearerkit/examples/torture/internal/trial"
	"github.com/bearerkit/bearerkit/examples/torture/internal/trial/trialtest"
	"github.com/bearerkit/bearerkit/internal/throwaway"
	"github.com/bearerkit/bearerkit/tokenauth"
)

func TestMain(m *testing.M) {
	child.Run(map[string]func() int{"crash": Child}) // returns unless a trial started this process
	os.Exit(throwaway.Main(m))
}

// runOn runs the trial, and skips the test if the server is not installed.
func runOn(t *testing.T, store, planted string, d time.Duration) *report.Tally {
	t.Helper()
	var e *trial.Env
	err := throwaway.Outside(t.Context(), func(tb testing.TB) {
		e = trialtest.Env(tb, trialtest.Open(tb, store), plant.Named(Plants, planted), d)
		Run(tb, e)
	})
	if errors.Is(err, throwaway.ErrMissing) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return e.Tally
}

func TestCorrectStorageSurvivesCrashes(t *testing.T) {
	t.Parallel()
	for _, store := range []string{"sqlite:", "postgres:", "redis:"} {
		t.Run(strings.TrimSuffix(store, ":"), func(t *testing.T) {
			t.Parallel()
			done := runOn(t, store, "", 4*time.Second)
			if broken := done.Broken(); len(broken) > 0 {
				t.Errorf("%d violations, the first: %s", len(broken), broken[0])
			}
			if done.Operations.Load() == 0 {
				t.Error("the trial made no request")
			}
		})
	}
}

// The trial must find each plant, with the right message.
func TestCrashesFindEachPlant(t *testing.T) {
	t.Parallel()
	for plant, want := range map[string]struct{ store, says string }{
		"write-behind":    {"sqlite:", "holds a token that it must not"},
		"revoke-behind":   {"sqlite:", "is answered 200, not 401"},
		"empty-first":     {"sqlite:", "is empty but held the token"},
		"two-steps":       {"sqlite:", "is torn"},
		"slot-by-slot":    {"sqlite:", "half of the revocation"},
		"outage-as-empty": {"postgres:", "is answered 401, not 200"},

		"unrepeatable-refresh": {"sqlite:", "(done: true) is answered 400"},
		"two-step-refresh":     {"sqlite:", "but it replaced"},
	} {
		t.Run(plant, func(t *testing.T) {
			t.Parallel()
			// A run ends with its first violation, which may be another effect of
			// the bug.
			for deadline := time.Now().Add(time.Minute); ; {
				broken := runOn(t, want.store, plant, 30*time.Second).Broken()
				if strings.Contains(strings.Join(broken, "\n"), want.says) {
					return
				}
				if time.Now().After(deadline) {
					t.Fatalf("got only the violations %q, want one with %q", broken, want.says)
				}
			}
		})
	}
}

// madeUpUser returns a user who holds the token "new" at client 0, which replaced
// "old", and the token "other" at client 1.
func madeUpUser() *user {
	u := newUser("alice", 1, new(counts))
	u.places[0].held = madeUp("new")
	u.places[0].held.replaced = madeUp("old").digest
	u.places[0].ended = []*issued{madeUp("old")}
	u.places[1].held = madeUp("other")
	return u
}

func madeUp(text string) *issued {
	return &issued{text: text, mark: "mark of " + text, digest: sha256.Sum256([]byte(text))}
}

func refreshInDoubt(u *user) *doubt {
	held := u.places[0].held
	return &doubt{kind: op.Refresh, place: u.places[0], mark: held.mark, used: held, began: time.Now()}
}

// refreshed returns a function that stores the token in the row of client 0. The row
// keeps the mark of its sign-in.
func refreshed(text, replaced string) func(u *user, rows map[tokenauth.Slot]tokenauth.Token) {
	return func(u *user, rows map[tokenauth.Slot]tokenauth.Token) {
		row := u.places[0].stored(text, replaced)
		row.Principal = rows[u.places[0].slot].Principal
		rows[u.places[0].slot] = row
	}
}

// answering returns a function that answers a refresh with the status and the first
// access token, and a further one with the next.
func answering(status int, texts ...string) func(client, refreshToken string) (int, pair) {
	return func(string, string) (int, pair) {
		text := texts[0]
		texts = texts[min(1, len(texts)-1):]
		return status, pair{text, "refresh of " + text}
	}
}

// stored returns the row of a token at the place.
func (p *place) stored(text, replaced string) tokenauth.Token {
	t := tokenauth.Token{
		Slot: p.slot, Digest: madeUp(text).digest, ClientID: p.client, Principal: markedPrincipal("alice", madeUp(text).mark),
		IssuedAt: time.Unix(1, 0), ExpiresAt: time.Unix(1, 0).Add(lifetime),
	}
	if replaced != "" {
		t.Replaced = madeUp(replaced).digest
	}
	return t
}

func TestJudgeFindsBrokenRows(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		doubt    func(u *user) *doubt
		rows     func(u *user, rows map[tokenauth.Slot]tokenauth.Token)
		refresh  func(client, refreshToken string) (int, pair)
		accepted string // tokens, accepted although no row has them; after "-": refused although a row has it
		broken   string // part of the violation; "" for none
	}{
		"nothing happened": {},
		"a sign-in in doubt was not done": {
			doubt: func(u *user) *doubt { return &doubt{kind: op.SignIn, place: u.places[0], mark: "mark of next"} },
		},
		"a sign-in in doubt was done": {
			doubt: func(u *user) *doubt { return &doubt{kind: op.SignIn, place: u.places[0], mark: "mark of next"} },
			rows: func(u *user, rows map[tokenauth.Slot]tokenauth.Token) {
				rows[u.places[0].slot] = u.places[0].stored("next", "new")
			},
		},
		"a sign-in in doubt left an empty slot": {
			doubt:  func(u *user) *doubt { return &doubt{kind: op.SignIn, place: u.places[0], mark: "mark of next"} },
			rows:   func(u *user, rows map[tokenauth.Slot]tokenauth.Token) { delete(rows, u.places[0].slot) },
			broken: "is empty but held",
		},
		"a sign-in in doubt was done at another client": {
			doubt: func(u *user) *doubt { return &doubt{kind: op.SignIn, place: u.places[1], mark: "mark of next"} },
			rows: func(u *user, rows map[tokenauth.Slot]tokenauth.Token) {
				rows[u.places[0].slot] = u.places[0].stored("next", "new")
			},
			broken: "holds a token that it must not",
		},
		"a sign-in stored the wrong replaced digest": {
			doubt: func(u *user) *doubt { return &doubt{kind: op.SignIn, place: u.places[0], mark: "mark of next"} },
			rows: func(u *user, rows map[tokenauth.Slot]tokenauth.Token) {
				rows[u.places[0].slot] = u.places[0].stored("next", "old")
			},
			broken: "but it replaced",
		},
		"a confirmed sign-in is lost": {
			rows: func(u *user, rows map[tokenauth.Slot]tokenauth.Token) {
				rows[u.places[0].slot] = u.places[0].stored("old", "")
			},
			broken: "holds a token that it must not",
		},
		"a refresh in doubt was not done, and is repeated": {
			doubt:    refreshInDoubt,
			refresh:  answering(http.StatusOK, "next"),
			accepted: "-new,next",
		},
		"a refresh in doubt was done, and is repeated": {
			doubt:   refreshInDoubt,
			rows:    refreshed("next", "new"),
			refresh: answering(http.StatusOK, "next"),
		},
		"a refresh in doubt left an empty slot": {
			doubt:  refreshInDoubt,
			rows:   func(u *user, rows map[tokenauth.Slot]tokenauth.Token) { delete(rows, u.places[0].slot) },
			broken: "is empty but held",
		},
		"a refresh in doubt that was done is refused when repeated": {
			doubt:   refreshInDoubt,
			rows:    refreshed("next", "new"),
			refresh: answering(http.StatusBadRequest, ""),
			broken:  "(done: true) is answered 400",
		},
		"a refresh in doubt returns another pair when repeated": {
			doubt:   refreshInDoubt,
			rows:    refreshed("next", "new"),
			refresh: answering(http.StatusOK, "another"),
			broken:  "returns another pair than the stored one",
		},
		"a refresh in doubt returns two pairs when repeated": {
			doubt:   refreshInDoubt,
			rows:    refreshed("next", "new"),
			refresh: answering(http.StatusOK, "next", "another"),
			broken:  "or returns another pair",
		},
		"a refresh in doubt left the principal of another sign-in": {
			doubt: refreshInDoubt,
			rows: func(u *user, rows map[tokenauth.Slot]tokenauth.Token) {
				row := u.places[0].stored("next", "new")
				row.Principal = markedPrincipal("alice", "mark of old")
				rows[u.places[0].slot] = row
			},
			refresh: answering(http.StatusOK, "next"),
			broken:  "holds a token that it must not",
		},
		"a revocation in doubt was done": {
			doubt: func(u *user) *doubt {
				return &doubt{kind: op.Revoke, place: u.places[0], token: u.places[0].held}
			},
			rows: func(u *user, rows map[tokenauth.Slot]tokenauth.Token) { delete(rows, u.places[0].slot) },
		},
		"a revocation of an old token ended a newer one": {
			doubt: func(u *user) *doubt {
				return &doubt{kind: op.Revoke, place: u.places[0], token: u.places[0].ended[0]}
			},
			rows:   func(u *user, rows map[tokenauth.Slot]tokenauth.Token) { delete(rows, u.places[0].slot) },
			broken: "is empty but held",
		},
		"a revocation of the user in doubt was done": {
			doubt: func(*user) *doubt { return &doubt{kind: op.RevokeUser} },
			rows:  func(_ *user, rows map[tokenauth.Slot]tokenauth.Token) { clear(rows) },
		},
		"a revocation of the user in doubt was half done": {
			doubt:  func(*user) *doubt { return &doubt{kind: op.RevokeUser} },
			rows:   func(u *user, rows map[tokenauth.Slot]tokenauth.Token) { delete(rows, u.places[1].slot) },
			broken: "half of the revocation",
		},
		"a row mixes two sign-ins": {
			rows: func(u *user, rows map[tokenauth.Slot]tokenauth.Token) {
				row := rows[u.places[0].slot]
				row.Principal.Roles = []string{"Reader", "mark of old"}
				rows[u.places[0].slot] = row
			},
			broken: "is torn",
		},
		"a row has the principal of another sign-in": {
			rows: func(u *user, rows map[tokenauth.Slot]tokenauth.Token) {
				row := rows[u.places[0].slot]
				row.Principal = markedPrincipal("alice", "mark of old")
				rows[u.places[0].slot] = row
			},
			broken: "is torn",
		},
		"two tokens are valid":     {accepted: "old", broken: "2 tokens are valid"},
		"a valid token is refused": {accepted: "-other", broken: "is answered 401, not 200"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u := madeUpUser()
			rows := map[tokenauth.Slot]tokenauth.Token{
				u.places[0].slot: u.places[0].stored("new", "old"),
				u.places[1].slot: u.places[1].stored("other", ""),
			}
			if test.doubt != nil {
				u.doubt = test.doubt(u)
			}
			if test.rows != nil {
				test.rows(u, rows)
			}
			u.judge(rows, test.refresh, func(text string) (status int) {
				valid := slices.Contains(strings.Split(test.accepted, ","), text)
				for _, row := range rows {
					valid = valid || row.Digest == madeUp(text).digest && !slices.Contains(strings.Split(test.accepted, ","), "-"+text)
				}
				if valid {
					return http.StatusOK
				}
				return http.StatusUnauthorized
			})
			broken := strings.Join(u.broken, "\n")
			if test.broken == "" && broken != "" || !strings.Contains(broken, test.broken) {
				t.Errorf("got the violations %q, want %q", broken, test.broken)
			}
			if u.doubt != nil {
				t.Error("a write is still in doubt after judge")
			}
		})
	}
}

func TestDifferReportsMissingAndExtraDigests(t *testing.T) {
	t.Parallel()
	a, b := tokenauth.SlotOf("alice", ""), tokenauth.SlotOf("bob", "")
	one, two := tokenauth.Digest{1}, tokenauth.Digest{2}
	want := digests{a: {one}}
	for i, got := range []digests{{}, {a: {two}}, {a: {one, one}}, {a: {one}, b: {two}}} {
		if broken := got.differ("the table", want); len(broken) != 1 {
			t.Errorf("%d: %v.differ(%v) returned %q, want one text", i, got, want, broken)
		}
	}
	if broken := (digests{a: {one}}).differ("the table", want); len(broken) != 0 {
		t.Errorf("differ of equal digests returned %q, want none", broken)
	}
}
