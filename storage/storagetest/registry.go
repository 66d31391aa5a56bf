package storagetest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// Registry is a [tokenauth.ClientRegistry] whose clients can be created,
// disabled and deleted. [RunClients] tests a Registry. One implementation is
// [github.com/bearerkit/bearerkit/storage/gormstore.Clients].
type Registry interface {
	tokenauth.ClientRegistry
	// CreatePublic adds a client without a secret.
	CreatePublic(ctx context.Context, client tokenauth.Client) error
	// SetDisabled disables or enables a client, and ends all its tokens.
	SetDisabled(ctx context.Context, clientID string, disabled bool) error
	// Delete removes a client, and ends all its tokens.
	Delete(ctx context.Context, clientID string) error
}

// RunClients tests a [Registry], together with its token storage, in parallel
// subtests of t. Each subtest creates a [tokenauth.Service] and calls its Run
// method. RunClients calls open once for each rule. Open must return a new,
// empty storage and a new, empty registry, and register their clean-up with
// [testing.T.Cleanup].
func RunClients(t *testing.T, open func(t *testing.T) (tokenauth.Storage, Registry)) {
	for _, rule := range clientRules {
		t.Run(rule.name, func(t *testing.T) {
			t.Parallel()
			s, r := open(t)
			if err := rule.run(t.Context(), s, r); err != nil {
				t.Errorf("%s\nbroken rule: %s", err, rule.says)
			}
		})
	}
}

// checkClients tests every rule, and returns the failures by rule name. It
// exists for this package's tests.
func checkClients(ctx context.Context, open func() (tokenauth.Storage, Registry)) map[string]error {
	var wg sync.WaitGroup
	var mu sync.Mutex
	broken := make(map[string]error)
	for _, rule := range clientRules {
		s, r := open()
		wg.Go(func() {
			if err := rule.run(ctx, s, r); err != nil {
				mu.Lock()
				defer mu.Unlock()
				broken[rule.name] = err
			}
		})
	}
	wg.Wait()
	return broken
}

// A clientRule is one rule that a [Registry] must follow, with its test.
type clientRule struct {
	name  string
	says  string
	check func(context.Context, *clientHost) error
}

var clientRules = []clientRule{
	{"ClientFound", "FindClient returns a client with its latest change, and ErrNotFound for a client that was deleted or never created.", clientFound},
	{"ClientEnds", "Disabling or deleting a client ends its tokens within 3 seconds, and no token of another client.", clientEnds},
	{"ClientDisableRace", "Disabling a client ends all its tokens, including those that are issued at the same moment.", clientDisableRace},
	{"ClientDeleteRace", "Deleting a client ends all its tokens, including those that are issued at the same moment.", clientDeleteRace},
}

func (r clientRule) run(ctx context.Context, s tokenauth.Storage, registry Registry) error {
	auth, err := tokenauth.New(s, anyone{}, &tokenauth.Options{
		Clients: registry, Timeout: time.Minute, // the machine may be busy
		Logger:   slog.New(slog.DiscardHandler),
		Throttle: tokenauth.ThrottleOptions{InsecureOff: true},
	})
	if err != nil {
		return err
	}
	running, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { auth.Run(running) })
	defer wg.Wait()
	defer cancel()
	return r.check(ctx, &clientHost{registry, auth})
}

// anyone is a [tokenauth.Authenticator] that accepts every user without a
// password.
type anyone struct{}

func (anyone) Authenticate(_ context.Context, c tokenauth.Credentials) (tokenauth.Principal, error) {
	return tokenauth.Principal{UserID: c.UserName, UserName: c.UserName}, nil
}

// A clientHost is a Service with the registry that a rule tests.
type clientHost struct {
	Registry
	auth *tokenauth.Service
}

func (h *clientHost) signIn(ctx context.Context, user, client string) (string, error) {
	issued, err := h.auth.SignIn(ctx, tokenauth.Credentials{UserName: user, ClientID: client})
	return issued.AccessToken.Reveal(), err
}

// create adds clients without secrets to the registry.
func (h *clientHost) create(ctx context.Context, ids ...string) error {
	for _, id := range ids {
		if err := h.CreatePublic(ctx, tokenauth.Client{ID: id}); err != nil {
			return fmt.Errorf("CreatePublic returned an error: %w", err)
		}
	}
	return nil
}

// disable disables a client.
func (h *clientHost) disable(ctx context.Context, id string) error {
	if err := h.SetDisabled(ctx, id, true); err != nil {
		return fmt.Errorf("SetDisabled returned an error: %w", err)
	}
	return nil
}

func (h *clientHost) remove(ctx context.Context, id string) error {
	if err := h.Delete(ctx, id); err != nil {
		return fmt.Errorf("Delete returned an error: %w", err)
	}
	return nil
}

// ended waits until the access tokens are invalid. It returns an error if a
// time limit passes first.
func (h *clientHost) ended(ctx context.Context, accessTokens ...string) error {
	const limit = 2 * patience // the machine may be busy
	deadline := time.Now().Add(limit)
	for _, accessToken := range accessTokens {
		for {
			_, err := h.auth.Validate(ctx, accessToken)
			if errors.Is(err, tokenauth.ErrInvalidToken) {
				break
			}
			if err != nil {
				return fmt.Errorf("Validate returned an error: %w", err)
			}
			if time.Now().After(deadline) {
				return fmt.Errorf("a token is still valid %v after its client was disabled or deleted", limit)
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
	return nil
}

// refused returns an error unless a sign-in at the client fails with
// [tokenauth.ErrInvalidClient].
func (h *clientHost) refused(ctx context.Context, client string) error {
	if _, err := h.signIn(ctx, "alice", client); !errors.Is(err, tokenauth.ErrInvalidClient) {
		return fmt.Errorf("a sign-in at a disabled or deleted client returned error %v, want tokenauth.ErrInvalidClient", err)
	}
	return nil
}

func clientFound(ctx context.Context, h *clientHost) error {
	unknown := func(id string) error {
		if c, err := h.FindClient(ctx, id); !errors.Is(err, tokenauth.ErrNotFound) {
			return fmt.Errorf("FindClient returned client %q and error %v, want ErrNotFound", c.ID, err)
		}
		return nil
	}
	is := func(disabled bool) error {
		c, err := h.FindClient(ctx, "web")
		if err != nil || c.ID != "web" || c.Disabled != disabled {
			return fmt.Errorf("FindClient returned %+v and error %w, want client web with Disabled %v", c, err, disabled)
		}
		return nil
	}
	return first(
		func() error { return unknown("web") },
		func() error { return h.create(ctx, "web") },
		func() error { return is(false) },
		func() error { return unknown("WEB") },
		func() error { return h.disable(ctx, "web") },
		func() error { return is(true) },
		func() error { return h.SetDisabled(ctx, "web", false) },
		func() error { return is(false) },
		func() error { return h.remove(ctx, "web") },
		func() error { return unknown("web") },
	)
}

func clientEnds(ctx context.Context, h *clientHost) error {
	if err := h.create(ctx, "web", "mobile", "desk"); err != nil {
		return err
	}
	tokens := make(map[string]string)
	for _, client := range []string{"web", "mobile", "desk"} {
		accessToken, err := h.signIn(ctx, "alice", client)
		if err != nil {
			return fmt.Errorf("the sign-in at client %s failed: %w", client, err)
		}
		tokens[client] = accessToken
	}
	return first(
		func() error { return h.disable(ctx, "web") },
		func() error { return h.refused(ctx, "web") },
		func() error { return h.ended(ctx, tokens["web"]) },
		func() error { return h.remove(ctx, "mobile") },
		func() error { return h.refused(ctx, "mobile") },
		func() error { return h.ended(ctx, tokens["mobile"]) },
		func() error {
			if _, err := h.auth.Validate(ctx, tokens["desk"]); err != nil {
				return fmt.Errorf("the token of a client that was neither disabled nor deleted is not valid: %w", err)
			}
			return nil
		},
	)
}

func clientDisableRace(ctx context.Context, h *clientHost) error { return h.race(ctx, h.disable) }

func clientDeleteRace(ctx context.Context, h *clientHost) error { return h.race(ctx, h.remove) }

// race creates clients one after another, and calls end for each client while
// users sign in there. Some of these users already have a token at the client,
// and others do not.
func (h *clientHost) race(ctx context.Context, end func(context.Context, string) error) error {
	const rounds = 10
	var all []string
	for round := range rounds {
		client := fmt.Sprint("client", round)
		if err := h.create(ctx, client); err != nil {
			return err
		}
		tokens, err := h.signInUntil(ctx, client, end)
		if err != nil {
			return err
		}
		all = append(all, tokens...)
	}
	if err := h.ended(ctx, all...); err != nil {
		return fmt.Errorf("after %d concurrent sign-ins: %w", len(all), err)
	}
	return nil
}

// signInUntil signs users in at the client until end has disabled or deleted
// it. It returns the tokens that were issued.
func (h *clientHost) signInUntil(ctx context.Context, client string, end func(context.Context, string) error) (tokens []string, err error) {
	const workers, some = 4, 12
	var mu sync.Mutex
	var began, failed atomic.Int64
	var over atomic.Bool
	err = together(workers+1, func(worker int) error {
		if worker == workers {
			for began.Load() < some && failed.Load() == 0 {
				time.Sleep(100 * time.Microsecond)
			}
			defer over.Store(true)
			return end(ctx, client)
		}
		for n := 0; ; n++ {
			last := over.Load()
			began.Add(1)
			user := fmt.Sprint("user", worker)
			if n%2 == 1 {
				user = fmt.Sprint("new", worker, "-", n)
			}
			accessToken, err := h.signIn(ctx, user, client)
			switch {
			case err == nil && last:
				return errors.New("a user signed in at a client that was already disabled or deleted")
			case err == nil:
				mu.Lock()
				tokens = append(tokens, accessToken)
				mu.Unlock()
			case errors.Is(err, tokenauth.ErrInvalidClient):
				return nil
			case !errors.Is(err, tokenauth.ErrRejected): // ErrRejected means that the client was disabled or deleted during the sign-in
				failed.Add(1)
				return fmt.Errorf("a sign-in failed: %w", err)
			}
		}
	})
	return tokens, err
}
