package tokenauth_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/tokenauthtest"
)

// Wrappers as hosts write them, with the methods of the embedded interface
// only.
type (
	embeddingAuthenticator struct{ tokenauth.Authenticator }
	embeddingStorage       struct{ tokenauth.Storage }
	embeddingRegistry      struct{ tokenauth.ClientRegistry }

	namingAuthenticator struct{ next tokenauth.Authenticator }
	chain               []tokenauth.Authenticator
	directories         struct {
		embeddingAuthenticator
		further [2]chain
		sources []tokenauth.Authenticator
	}
)

func (n *namingAuthenticator) Authenticate(ctx context.Context, c tokenauth.Credentials) (tokenauth.Principal, error) {
	return n.next.Authenticate(ctx, c)
}

func (c chain) Authenticate(ctx context.Context, credentials tokenauth.Credentials) (tokenauth.Principal, error) {
	return c[0].Authenticate(ctx, credentials)
}

// ownClock is a storage with its own clock.
type ownClock struct{ memory.Store }

func (*ownClock) Now(context.Context) (time.Time, error) { return time.Now(), nil }

// purging passes on all optional methods except Now.
type purging struct {
	tokenauth.Storage
	tokenauth.Purger
	tokenauth.Lister
	tokenauth.BulkRevoker
}

// liveUsers has all optional methods of an Authenticator.
type liveUsers struct{ outbox }

func (*liveUsers) LiveCheck(context.Context, tokenauth.Token) error { return nil }

// queuedClients is a registry with a RevocationQueue.
type queuedClients struct {
	registered
	tokenauth.RevocationQueue
}

// Wrappers that override some of the methods of a Refresher.
type (
	refindsItself   struct{ *memory.Store }
	replacesItself  struct{ *memory.Store }
	refreshesItself struct{ replacesItself }
)

func (r *refindsItself) Find(ctx context.Context, slot tokenauth.Slot) (tokenauth.Token, error) {
	return r.Store.Find(ctx, slot)
}

func (r *replacesItself) Replace(ctx context.Context, t tokenauth.Token) error {
	return r.Store.Replace(ctx, t)
}

func (r *refreshesItself) Refresh(ctx context.Context, was, t tokenauth.Token) (bool, error) {
	return r.Store.Refresh(ctx, was, t)
}

// New refuses refresh tokens if a wrapper hides the methods for them.
func TestNewRefusesRefreshTokensWithHiddenMethods(t *testing.T) {
	t.Parallel()
	store := new(memory.Store)
	for _, test := range []struct {
		storage       tokenauth.Storage
		authenticator tokenauth.Authenticator
		says          string
	}{
		{embeddingStorage{store}, new(reloading), "Refresher"},
		{store, embeddingAuthenticator{new(reloading)}, "Reloader"},
	} {
		_, err := tokenauth.New(test.storage, test.authenticator, &tokenauth.Options{Refresh: new(tokenauth.RefreshOptions)})
		if err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("New with %T and %T: error %v, want one with %q", test.storage, test.authenticator, err, test.says)
		}
	}
}

// New warns of each wrapper that hides optional methods of the wrapped value,
// and names the methods.
func TestNewWarnsOfHiddenMethods(t *testing.T) {
	t.Parallel()
	users, live, store := &staff{}, new(liveUsers), new(memory.Store)
	clients := &queuedClients{registered{}, new(outbox)}
	for _, test := range []struct {
		name          string
		storage       tokenauth.Storage
		authenticator tokenauth.Authenticator
		clients       tokenauth.ClientRegistry
		want          string // the methods logged; "" for no warning
	}{
		{"nothing wrapped", store, users, clients, ""},
		{"embedded authenticator", store, embeddingAuthenticator{users}, nil, "methods=Recheck"},
		{"pointer to a wrapper", store, &embeddingAuthenticator{users}, nil, "methods=Recheck"},
		{"all optional methods", store, embeddingAuthenticator{live}, nil, "methods=Recheck methods=PendingRevocations,RemoveRevocation methods=LiveCheck"},
		{"authenticator in a named field", store, &namingAuthenticator{next: users}, nil, "methods=Recheck"},
		{"wrapper in a wrapper", store, embeddingAuthenticator{&namingAuthenticator{next: users}}, nil, "methods=Recheck"},
		{"one authenticator of a list", store, chain{authenticatorFunc(nil), users}, nil, "methods=Recheck"},
		{"one authenticator of a list in a field", store, directories{sources: []tokenauth.Authenticator{authenticatorFunc(nil), users}}, nil, "methods=Recheck"},
		{"one authenticator of a list in an array", store, &directories{further: [2]chain{1: {users}}}, nil, "methods=Recheck"},
		{"list without optional methods", store, directories{sources: []tokenauth.Authenticator{authenticatorFunc(nil), nil}}, nil, ""},
		{"struct that embeds the concrete type", store, struct{ *staff }{users}, nil, ""},
		{"struct that embeds the optional interface", store, struct {
			tokenauth.Authenticator
			tokenauth.Rechecker
		}{users, users}, nil, ""},
		{"nothing to hide", store, embeddingAuthenticator{authenticatorFunc(nil)}, nil, ""},
		{"nil authenticator", store, embeddingAuthenticator{}, nil, ""},
		{"wrapper that contains itself", store, func() tokenauth.Authenticator {
			n := new(namingAuthenticator)
			n.next = n
			return n
		}(), nil, ""},
		{"embedded storage", embeddingStorage{store}, users, nil, "methods=List methods=Purge methods=RevokeAll,RevokeClient"},
		{"struct that embeds the concrete storage", &scripted{}, users, nil, ""},
		{"storage that hides only Now", &purging{new(ownClock), store, store, store}, users, nil, "methods=Now"},
		{"embedded storage with FindBatch", embeddingStorage{new(batching)}, users, nil, "methods=FindBatch methods=List methods=Purge methods=RevokeAll,RevokeClient"},
		{"struct that embeds a concrete storage with FindBatch", &struct{ *batching }{new(batching)}, users, nil, ""},
		{"wrapper that overrides Find only", &findsItself{new(batching)}, users, nil, "wrapper=*tokenauth_test.findsItself"},
		{"wrapper that overrides Find and FindBatch", &findsBoth{findsItself{new(batching)}}, users, nil, ""},
		{"embedded registry", store, users, embeddingRegistry{clients}, "methods=PendingRevocations,RemoveRevocation"},
		{"tokenauthtest.FailingStorage", &tokenauthtest.FailingStorage{Storage: store}, users, nil, ""},
		{"embedded storage, with devices", struct {
			tokenauth.Storage
			tokenauth.Lister
			tokenauth.Purger
			tokenauth.BulkRevoker
		}{store, store, store, store}, users, nil, "methods=RecordUses,RevokeUnused"},
		{"nothing wrapped, with keys", store, newOwners(), nil, ""},
		{"wrapper of interfaces, with keys", struct {
			tokenauth.Storage
			tokenauth.Lister
			tokenauth.Purger
			tokenauth.BulkRevoker
			tokenauth.UseRecorder
		}{store, store, store, store, store}, newOwners(), nil, "methods=Rename"},
		{"nothing wrapped, with refresh", store, new(reloading), nil, ""},
		{"struct that embeds the concrete storage, with refresh", &struct{ *memory.Store }{store}, new(reloading), nil, ""},
		{"wrapper that overrides Find only, without options", &refindsItself{store}, users, nil, ""},
		{"wrapper that overrides Find only, with refresh", &refindsItself{store}, new(reloading), nil, "wrapper=*tokenauth_test.refindsItself"},
		{"wrapper that overrides Replace only, with refresh", &replacesItself{store}, new(reloading), nil, "wrapper=*tokenauth_test.replacesItself"},
		{"wrapper that overrides both, with refresh", &refreshesItself{replacesItself{store}}, new(reloading), nil, ""},
		{"wrapper of interfaces, with refresh", struct {
			tokenauth.Storage
			tokenauth.Refresher
			tokenauth.Lister
			tokenauth.Purger
			tokenauth.BulkRevoker
		}{store, store, store, store, store}, new(reloading), nil, ""},
		{"tokenauthtest.FailingStorage, with refresh", &tokenauthtest.FailingStorage{Storage: store}, new(reloading), nil, ""},
	} {
		logger, printed := logInto()
		o := &tokenauth.Options{Clients: test.clients, Logger: logger}
		if strings.Contains(test.name, "with refresh") {
			o.Refresh = new(tokenauth.RefreshOptions)
		}
		if strings.Contains(test.name, "with keys") {
			o.Keys = new(tokenauth.KeyOptions)
		}
		if strings.Contains(test.name, "with devices") {
			o.Devices = new(tokenauth.DeviceOptions)
		}
		if _, err := tokenauth.New(test.storage, test.authenticator, o); err != nil {
			t.Errorf("%s: error %v, want none", test.name, err)
		}
		var got []string
		for line := range strings.Lines(printed.String()) {
			fields := strings.Fields(line)
			got = append(got, fields[len(fields)-1])
			if !strings.Contains(line, "level=WARN") || !strings.Contains(line, "wrapper=") {
				t.Errorf("%s: logged %s, want a warning with the wrapper", test.name, line)
			}
		}
		if strings.Join(got, " ") != test.want {
			t.Errorf("%s: logged %q, want %q", test.name, got, test.want)
		}
	}
}
