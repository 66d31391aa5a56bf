package tokenauth_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
)

type usersFunc func()

func (f usersFunc) Authenticate(context.Context, tokenauth.Credentials) (tokenauth.Principal, error) {
	f()
	return alice(), nil
}

// New rejects a typed nil pointer, as a constructor returns it with an error
// that the host ignored. Otherwise the first request would fail.
func TestNewRefusesTypedNils(t *testing.T) {
	t.Parallel()
	good := new(memory.Store)
	for says, make := range map[string]func() (*tokenauth.Service, error){
		"the storage is nil":        func() (*tokenauth.Service, error) { return tokenauth.New(nil, &staff{}, nil) },
		"nil (of type *memory.Sto":  func() (*tokenauth.Service, error) { return tokenauth.New((*memory.Store)(nil), &staff{}, nil) },
		"nil (of type *tokenauth_t": func() (*tokenauth.Service, error) { return tokenauth.New(good, (*staff)(nil), nil) },
		"pass nil without a type":   func() (*tokenauth.Service, error) { return tokenauth.New(good, usersFunc(nil), nil) },
		"Options.Observers contains nil": func() (*tokenauth.Service, error) {
			return tokenauth.New(good, &staff{}, &tokenauth.Options{Observers: []func(context.Context, tokenauth.Event){nil}})
		},
		"Options.Clients is nil": func() (*tokenauth.Service, error) {
			return tokenauth.New(good, &staff{}, &tokenauth.Options{Clients: (*nobody)(nil)})
		},
	} {
		if auth, err := make(); auth != nil || err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("error %v, want one with %q", err, says)
		}
	}
	// A nil map with methods is a valid registry without clients.
	if _, err := tokenauth.New(good, &staff{}, &tokenauth.Options{Clients: registered(nil)}); err != nil {
		t.Error(err)
	}
}

type nobody struct{}

func (*nobody) FindClient(context.Context, string) (tokenauth.Client, error) {
	return tokenauth.Client{}, tokenauth.ErrNotFound
}

// A nil Service panics when the host mounts it, not at the first request.
func TestNilServicePanicsAtMount(t *testing.T) {
	t.Parallel()
	var auth *tokenauth.Service
	next := http.NotFoundHandler()
	for name, make := range map[string]func(){
		"TokenHandler":  func() { auth.TokenHandler() },
		"Handlers":      func() { auth.Handlers("") },
		"Authorizer":    func() { auth.Authorizer(tokenauth.Requirement{}) },
		"Mount":         func() { auth.Mount(http.NewServeMux()) },
		"RequireBearer": func() { auth.RequireBearer(next) },
		"RequireRole":   func() { auth.RequireRole("Staff") },
		"RequireClient": func() { auth.RequireClient("web") },
		"Optional":      func() { auth.Optional(next) },
		"Guard":         func() { tokenauth.Requirement{Guests: true}.Guard(auth) },
	} {
		func() {
			defer func() {
				if p := recover(); !strings.Contains(fmt.Sprint(p), "check the error that tokenauth.New returned") {
					t.Errorf("%s: panicked with %v, want a question about the error of New", name, p)
				}
			}()
			make()
		}()
	}
}

// If the storage lacks an optional method, the error names it and the stores
// that have it.
func TestErrorNamesTheMissingStorageMethod(t *testing.T) {
	t.Parallel()
	plain := struct{ tokenauth.Storage }{new(memory.Store)}
	auth := newService(t, plain, &staff{}, nil)
	for says, try := range map[string]func() error{
		"gormstore.WithFeed on PostgreSQL, or redisstore.WithFeed": func() error {
			_, err := tokenauth.New(plain, &staff{}, &tokenauth.Options{Cache: new(tokenauth.CacheOptions)})
			return err
		},
		"(a throttle.Storage), and struct": func() error {
			key := tokenauth.NewSecret(strings.Repeat("k", 32))
			_, err := tokenauth.New(plain, &staff{}, &tokenauth.Options{Throttle: tokenauth.ThrottleOptions{Key: key}})
			return err
		},
		"is not a Lister; the stores of": func() error {
			_, err := auth.Tokens(t.Context(), "17")
			return err
		},
		"is not a BulkRevoker; the stores of": func() error { return auth.RevokeClient(t.Context(), "web") },
	} {
		if err := try(); err == nil || !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), "redisstore") {
			t.Errorf("error %v, want one with %q", err, says)
		}
	}
}

// An empty user ID is an error, not a user without tokens.
func TestRevokeUserRefusesAnEmptyID(t *testing.T) {
	t.Parallel()
	storage, w := new(scripted), new(eventRecorder)
	auth := newService(t, storage, &staff{}, &tokenauth.Options{Observers: []func(context.Context, tokenauth.Event){w.Observe}})
	storage.before = func(_ context.Context, method string) error {
		t.Errorf("the storage method %s was called", method)
		return nil
	}
	if err := auth.RevokeUser(t.Context(), ""); !errors.Is(err, tokenauth.ErrInvalidPrincipal) || !strings.Contains(err.Error(), "UserID") {
		t.Error(err)
	}
	w.expect(t)
	storage.before = nil
	if err := auth.RevokeUser(t.Context(), "unknown"); err != nil {
		t.Error(err)
	}
}
