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

// embedding are wrappers as hosts write them: each has the interface's methods only.
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

// ownClock is a storage with a clock of its own.
type ownClock struct{ memory.Store }

func (*ownClock) Now(context.Context) (time.Time, error) { return time.Now(), nil }

// purging passes on Purge, and not the clock.
type purging struct {
	tokenauth.Storage
	tokenauth.Purger
	tokenauth.Lister
	tokenauth.ClientRevoker
}

// liveUsers have all abilities of an Authenticator.
type liveUsers struct{ outbox }

func (*liveUsers) LiveCheck(context.Context, tokenauth.Principal) error { return nil }

// queuedClients are a registry that is a RevocationQueue.
type queuedClients struct {
	registered
	tokenauth.RevocationQueue
}

// A wrapper that hides an optional ability is named when the Service is made, with
// the ability, and no other part is.
func TestNewWarnsOfHiddenAbilities(t *testing.T) {
	t.Parallel()
	users, live, store := &staff{}, new(liveUsers), new(memory.Store)
	clients := &queuedClients{registered{}, new(outbox)}
	for _, test := range []struct {
		name          string
		storage       tokenauth.Storage
		authenticator tokenauth.Authenticator
		clients       tokenauth.ClientRegistry
		want          string // of the log; "" for nothing
	}{
		{"nothing wrapped", store, users, clients, ""},
		{"an embedded authenticator", store, embeddingAuthenticator{users}, nil, "methods=Recheck"},
		{"by a pointer", store, &embeddingAuthenticator{users}, nil, "methods=Recheck"},
		{"with all abilities", store, embeddingAuthenticator{live}, nil, "methods=Recheck methods=PendingRevocations,RemoveRevocation methods=LiveCheck"},
		{"in a field with a name", store, &namingAuthenticator{next: users}, nil, "methods=Recheck"},
		{"two deep", store, embeddingAuthenticator{&namingAuthenticator{next: users}}, nil, "methods=Recheck"},
		{"one of several", store, chain{asks(nil), users}, nil, "methods=Recheck"},
		{"one of several in a field", store, directories{sources: []tokenauth.Authenticator{asks(nil), users}}, nil, "methods=Recheck"},
		{"one of several in an array", store, &directories{further: [2]chain{1: {users}}}, nil, "methods=Recheck"},
		{"several without", store, directories{sources: []tokenauth.Authenticator{asks(nil), nil}}, nil, ""},
		{"that embeds the type", store, struct{ *staff }{users}, nil, ""},
		{"that passes them on", store, struct {
			tokenauth.Authenticator
			tokenauth.Rechecker
		}{users, users}, nil, ""},
		{"of one that has none", store, embeddingAuthenticator{asks(nil)}, nil, ""},
		{"of none", store, embeddingAuthenticator{}, nil, ""},
		{"of itself", store, func() tokenauth.Authenticator {
			n := new(namingAuthenticator)
			n.next = n
			return n
		}(), nil, ""},
		{"an embedded storage", embeddingStorage{store}, users, nil, "methods=List methods=Purge methods=RevokeClient"},
		{"that embeds the type of a storage", &scripted{}, users, nil, ""},
		{"a storage that passes on all but the clock", &purging{new(ownClock), store, store, store}, users, nil, "methods=Now"},
		{"a storage that finds batches, embedded", embeddingStorage{new(batching)}, users, nil, "methods=FindBatch methods=List methods=Purge methods=RevokeClient"},
		{"that embeds one that finds batches", &struct{ *batching }{new(batching)}, users, nil, ""},
		{"with its own Find", &findsItself{new(batching)}, users, nil, "wrapper=*tokenauth_test.findsItself"},
		{"with its own Find and FindBatch", &findsBoth{findsItself{new(batching)}}, users, nil, ""},
		{"an embedded registry", store, users, embeddingRegistry{clients}, "methods=PendingRevocations,RemoveRevocation"},
		{"the storage of tests", &tokenauthtest.FailingStorage{Storage: store}, users, nil, ""},
	} {
		logger, printed := logInto()
		if _, err := tokenauth.New(test.storage, test.authenticator, &tokenauth.Options{Clients: test.clients, Logger: logger}); err != nil {
			t.Errorf("%s: %v", test.name, err)
		}
		var got []string
		for line := range strings.Lines(printed.String()) {
			fields := strings.Fields(line)
			got = append(got, fields[len(fields)-1])
			if !strings.Contains(line, "level=WARN") || !strings.Contains(line, "wrapper=") {
				t.Errorf("%s: logged %s", test.name, line)
			}
		}
		if strings.Join(got, " ") != test.want {
			t.Errorf("%s: logged %q, want %q", test.name, got, test.want)
		}
	}
}
