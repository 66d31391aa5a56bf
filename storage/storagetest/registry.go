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

// A Registry is a tokenauth.ClientRegistry whose clients can be disabled and
// deleted, such as gormstore.Clients.
type Registry interface {
	tokenauth.ClientRegistry
	// CreatePublic adds a client without a secret.
	CreatePublic(ctx context.Context, client tokenauth.Client) error
	// SetDisabled disables or enables a client, and ends its tokens.
	SetDisabled(ctx context.Context, clientID string, disabled bool) error
	// Delete removes a client and ends its tokens.
	Delete(ctx context.Context, clientID string) error
}

// RunClients runs the rules for a registry and the storage of the tokens as
// parallel subtests, with a Service whose Run runs. Open is called for each and
// returns both, empty; what it needs to close goes into t.Cleanup.
func RunClients(t *testing.T, open func(t *testing.T) (tokenauth.Storage, Registry)) {
	for _, rule := range clientRules {
		t.Run(rule.name, func(t *testing.T) {
			t.Parallel()
			s, r := open(t)
			if err := rule.run(t.Context(), s, r); err != nil {
				t.Errorf("%s\nrule: %s", err, rule.says)
			}
		})
	}
}

// checkClients runs every rule and returns the failures by the rule's name, for
// the tests of this package.
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

// A clientRule is a sentence of the contract and how to find out.
type clientRule struct {
	name  string
	says  string
	check func(context.Context, *clientHost) error
}

var clientRules = []clientRule{
	{"ClientFound", "FindClient returns a client as it was last changed, and ErrNotFound for one that is deleted or was never there.", clientFound},
	{"ClientEnds", "Disabling or deleting a client ends its tokens within 3 seconds, and no other's.", clientEnds},
	{"ClientDisableRace", "No token outlives the disabling of its client, whenever it was issued.", clientDisableRace},
	{"ClientDeleteRace", "No token outlives the deletion of its client, whenever it was issued.", clientDeleteRace},
}

func (r clientRule) run(ctx context.Context, s tokenauth.Storage, registry Registry) error {
	auth, err := tokenauth.New(s, anyone{}, &tokenauth.Options{
		Clients: registry, Timeout: time.Minute, // a machine may be busy
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

// anyone is an Authenticator that asks for no password.
type anyone struct{}

func (anyone) Authenticate(_ context.Context, c tokenauth.Credentials) (tokenauth.Principal, error) {
	return tokenauth.Principal{UserID: c.UserName, UserName: c.UserName}, nil
}

// A clientHost is what the rules check.
type clientHost struct {
	Registry
	auth *tokenauth.Service
}

func (h *clientHost) signIn(ctx context.Context, user, client string) (string, error) {
	issued, err := h.auth.SignIn(ctx, tokenauth.Credentials{UserName: user, ClientID: client})
	return issued.AccessToken.Reveal(), err
}

// create adds clients.
func (h *clientHost) create(ctx context.Context, ids ...string) error {
	for _, id := range ids {
		if err := h.CreatePublic(ctx, tokenauth.Client{ID: id}); err != nil {
			return fmt.Errorf("call of CreatePublic: %w", err)
		}
	}
	return nil
}

// disable disables a client.
func (h *clientHost) disable(ctx context.Context, id string) error {
	if err := h.SetDisabled(ctx, id, true); err != nil {
		return fmt.Errorf("call of SetDisabled: %w", err)
	}
	return nil
}

func (h *clientHost) remove(ctx context.Context, id string) error {
	if err := h.Delete(ctx, id); err != nil {
		return fmt.Errorf("call of Delete: %w", err)
	}
	return nil
}

// ended waits until the tokens are invalid.
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
				return fmt.Errorf("call of Validate: %w", err)
			}
			if time.Now().After(deadline) {
				return fmt.Errorf("a token is valid %v after its client was disabled or deleted", limit)
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
	return nil
}

// refused returns an error unless the client is refused.
func (h *clientHost) refused(ctx context.Context, client string) error {
	if _, err := h.signIn(ctx, "alice", client); !errors.Is(err, tokenauth.ErrInvalidClient) {
		return fmt.Errorf("a sign-in at a client that is disabled or deleted returned error %w", err)
	}
	return nil
}

func clientFound(ctx context.Context, h *clientHost) error {
	unknown := func(id string) error {
		if c, err := h.FindClient(ctx, id); !errors.Is(err, tokenauth.ErrNotFound) {
			return fmt.Errorf("call of FindClient returned client %q and error %v, want ErrNotFound", c.ID, err)
		}
		return nil
	}
	is := func(disabled bool) error {
		c, err := h.FindClient(ctx, "web")
		if err != nil || c.ID != "web" || c.Disabled != disabled {
			return fmt.Errorf("call of FindClient returned %+v and error %w, want client web with Disabled %v", c, err, disabled)
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
			return fmt.Errorf("sign-in at client %s: %w", client, err)
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
				return fmt.Errorf("the token of another client: %w", err)
			}
			return nil
		},
	)
}

func clientDisableRace(ctx context.Context, h *clientHost) error { return h.race(ctx, h.disable) }

func clientDeleteRace(ctx context.Context, h *clientHost) error { return h.race(ctx, h.remove) }

// race ends clients while their users sign in, old ones and new ones.
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
		return fmt.Errorf("%d users signed in meanwhile: %w", len(all), err)
	}
	return nil
}

// signInUntil signs users in until the client has ended, and returns the tokens.
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
				return errors.New("a user signed in at a client that had been disabled or deleted")
			case err == nil:
				mu.Lock()
				tokens = append(tokens, accessToken)
				mu.Unlock()
			case errors.Is(err, tokenauth.ErrInvalidClient):
				return nil
			case !errors.Is(err, tokenauth.ErrRejected): // which the second look returns
				failed.Add(1)
				return fmt.Errorf("sign-in: %w", err)
			}
		}
	})
	return tokens, err
}
