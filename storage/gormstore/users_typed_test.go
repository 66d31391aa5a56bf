package gormstore_test

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"testing"

	"github.com/bearerkit/bearerkit/storage/gormstore"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// White space around a name, as users type or paste it, is ignored.
func TestWhiteSpaceAroundANameIsDropped(t *testing.T) {
	onEach(t, func(t *testing.T, e engine) {
		s, _ := e.store(t)
		user := create(t, s, "Alice")
		auth := service(t, s, s.Users())
		for _, typed := range []string{" alice", "ALICE ", "\u00a0Alice\u3000", "\talice\r\n", "\u2028alice\u2029", "\u2003\uff21lice"} {
			issued, err := signIn(t.Context(), auth, typed, "password")
			if err != nil || issued.Token.Principal.UserID != user.ID || issued.Token.Principal.UserName != "Alice" {
				t.Errorf("%+q: %+v, %v", typed, issued.Token.Principal, err)
			}
			if found, err := s.Users().FindByName(t.Context(), typed); err != nil || found.ID != user.ID {
				t.Errorf("%+q is found as %+v, %v", typed, found, err)
			}
			if got := s.Users().NormalizeUserName(typed); got != "alice" {
				t.Errorf("%+q is the name %+q", typed, got)
			}
		}
		for _, other := range []string{"", "  ", "a lice", "alice\u200b", "\u200balice", "alice\u0301"} {
			if _, err := signIn(t.Context(), auth, other, "password"); !errors.Is(err, tokenauth.ErrRejected) {
				t.Errorf("%+q: error %v, want ErrRejected", other, err)
			}
		}
		// A name to store must have no white space.
		for _, name := range []string{" bob", "bob ", "\u00a0bob", "bob\n"} {
			if _, err := s.Users().Create(t.Context(), gormstore.User{Name: name}, tokenauth.NewSecret("password")); !errors.Is(err, gormstore.ErrInvalid) {
				t.Errorf("%+q was created: error %v, want ErrInvalid", name, err)
			}
		}
	})
}

// Names that differ by white space around them share the attempts of one account. So do
// names of unknown users.
func TestWhiteSpaceAroundANameGivesNoAttempts(t *testing.T) {
	t.Parallel()
	s, _ := engines[0].store(t)
	create(t, s, "alice")
	auth, err := tokenauth.New(s, s.Users(), &tokenauth.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"alice", "nobody"} {
		throttled := 0
		for i, typed := range []string{name, " " + name, name + "\u00a0", "\u2028" + name, name + "\u2029 ", "\t" + name, "\u3000" + name + "\u3000"} {
			_, err := auth.SignIn(t.Context(), tokenauth.Credentials{
				UserName: typed, Password: tokenauth.NewSecret(fmt.Sprint("guess", i)), RemoteAddr: netip.MustParseAddr("192.0.2.1"),
			})
			if errors.Is(err, tokenauth.ErrThrottled) {
				throttled++
			}
		}
		if throttled != 2 {
			t.Errorf("%s: %d of 7 were throttled, want 2", name, throttled)
		}
	}
}

// A password works on a machine that sends accents in another Unicode form (NFC, NFD).
func TestPasswordWorksInBothUnicodeForms(t *testing.T) {
	t.Parallel()
	s, _ := engines[0].store(t)
	user := create(t, s, "alice")
	auth := service(t, s, s.Users())
	for _, set := range []string{"caf\u00e9 au lait", "cafe\u0301 au lait"} {
		if err := s.Users().SetPassword(t.Context(), user.ID, tokenauth.NewSecret(set)); err != nil {
			t.Fatal(err)
		}
		for _, typed := range []string{"caf\u00e9 au lait", "cafe\u0301 au lait"} {
			if _, err := signIn(t.Context(), auth, "alice", typed); err != nil {
				t.Errorf("set as %+q, typed %+q: %v", set, typed, err)
			}
		}
	}
}
