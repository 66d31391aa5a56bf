package gormstore_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	mysqldriver "github.com/go-sql-driver/mysql"
	"gorm.io/driver/mysql"
	"gorm.io/gorm"

	"github.com/bearerkit/bearerkit/internal/throwaway"
	"github.com/bearerkit/bearerkit/storage/gormstore"
	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/throttle"
)

// A galeraReplica is a replica of a service at one node of a cluster.
type galeraReplica struct {
	store *gormstore.Store
	auth  *tokenauth.Service
	db    *gorm.DB
}

func openGalera(t *testing.T, nodes []*throwaway.Server, params string) (replicas []galeraReplica) {
	t.Helper()
	for _, s := range nodes {
		db := openDialector(t, mysql.Open(s.DSN()+params), nil)
		store := newStore(t, db, nil)
		replicas = append(replicas, galeraReplica{store, galeraService(t, store, store.Users()), db})
	}
	return replicas
}

func galeraService(t *testing.T, s *gormstore.Store, a tokenauth.Authenticator) *tokenauth.Service {
	t.Helper()
	auth, err := tokenauth.New(s, a, &tokenauth.Options{
		Timeout: 20 * time.Second, Throttle: tokenauth.ThrottleOptions{InsecureOff: true}, Logger: quiet,
	})
	if err != nil {
		t.Fatal(err)
	}
	return auth
}

// Replicas at two nodes of a Galera cluster have the same guarantees as with one server.
// Nodes do not share locks, and apply each other's commits a moment later.
func TestGaleraHasTheGuaranteesOfOneServer(t *testing.T) {
	t.Parallel()
	nodes := throwaway.StartGalera(t, 2)
	replicas := openGalera(t, nodes, "")
	t.Run("tokens", func(t *testing.T) { galeraTokens(t, replicas) })
	t.Run("changes of users", func(t *testing.T) { galeraUsers(t, replicas) })
	t.Run("sign-ins during a change", func(t *testing.T) { galeraSignsInMeanwhile(t, replicas) })
	t.Run("changes of clients", func(t *testing.T) { galeraClients(t, replicas) })
	t.Run("names", func(t *testing.T) { galeraNames(t, replicas) })
	t.Run("renames", func(t *testing.T) {
		concurrentRenames(t, []*gormstore.Store{replicas[0].store, replicas[1].store}, long(40))
	})
	t.Run("kept tokens", func(t *testing.T) { galeraKeeps(t, replicas) })
	t.Run("counters", func(t *testing.T) { galeraCounters(t, replicas) })
	t.Run("uses", func(t *testing.T) { recordMeanwhile(t, replicas[0].store, replicas[1].store) })
	t.Run("changes of the host's users", func(t *testing.T) { galeraChangeUser(t, replicas) })
	t.Run("a pool over both nodes", func(t *testing.T) {
		over := overNodes(t, nodes)
		exercise(t, over.store)
		both := []galeraReplica{over, over}
		galeraTokens(t, both)
		galeraUsers(t, both)
		galeraClients(t, both)
	})
	t.Run("New refuses", func(t *testing.T) { galeraRefuses(t, nodes[0].DSN()) })
	t.Run("a node without a majority", func(t *testing.T) { galeraAlone(t, nodes) })
}

// overNodes opens a store whose statements alternate between the nodes.
func overNodes(t *testing.T, nodes []*throwaway.Server) galeraReplica {
	t.Helper()
	b := new(balancer)
	for _, s := range nodes {
		config, err := mysqldriver.ParseDSN(s.DSN())
		if err != nil {
			t.Fatal(err)
		}
		connector, err := mysqldriver.NewConnector(config)
		if err != nil {
			t.Fatal(err)
		}
		b.nodes = append(b.nodes, connector)
	}
	pool := openConnector(t, b)
	db := openDialector(t, mysql.New(mysql.Config{Conn: pool}), nil)
	pool.SetMaxIdleConns(0)
	store := newStore(t, db, nil)
	return galeraReplica{store, galeraService(t, store, store.Users()), db}
}

// A noSetStatement is a server without SET STATEMENT, which only MariaDB has.
type noSetStatement struct{ *sql.DB }

func (p noSetStatement) GetDBConn() (*sql.DB, error) { return p.DB, nil }

func (p noSetStatement) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	if strings.HasPrefix(query, "SET STATEMENT") {
		return nil, &mysqldriver.MySQLError{Number: 1064, SQLState: [5]byte([]byte("42000")), Message: "You have an error in your SQL syntax"}
	}
	return p.DB.ExecContext(ctx, query, args...)
}

func galeraRefuses(t *testing.T, dsn string) {
	other := func(params string) *gorm.DB {
		pool, err := openDialector(t, mysql.Open(dsn+params), nil).DB()
		if err != nil {
			t.Fatal(err)
		}
		return openDialector(t, mysql.New(mysql.Config{Conn: noSetStatement{pool}}), nil)
	}
	for name, test := range map[string]struct {
		db   *gorm.DB
		says []string // nothing if New accepts it
	}{
		"sessions that do not replicate": {openDialector(t, mysql.Open(dsn+"?wsrep_on=0"), nil), []string{"Galera", "wsrep_on is off"}},
		"no SET STATEMENT":               {other(""), []string{"Galera", "wsrep_sync_wait = 0", "wsrep_sync_wait=7&wsrep_dirty_reads=0"}},
		"reads that do not wait":         {other("?wsrep_sync_wait=6"), []string{"wsrep_sync_wait = 6"}},
		"dirty reads":                    {other("?wsrep_sync_wait=7&wsrep_dirty_reads=1"), []string{"wsrep_dirty_reads = ON"}},
		"all that waits":                 {other("?wsrep_sync_wait=15&wsrep_dirty_reads=0"), nil},
	} {
		_, err := gormstore.New(t.Context(), test.db, nil)
		if (err == nil) != (test.says == nil) {
			t.Errorf("%s: New returns %v", name, err)
		}
		for _, part := range test.says {
			if err != nil && !strings.Contains(err.Error(), part) {
				t.Errorf("%s: the error lacks %q: %v", name, part, err)
			}
		}
	}
}

// galeraAlone cuts a node off from the others. The store must not read there, even on
// connections with wsrep_dirty_reads.
func galeraAlone(t *testing.T, nodes []*throwaway.Server) {
	if !throwaway.Long() {
		t.Skip("a node detects after some seconds that it is alone; set TOKENAUTH_LONG=1")
	}
	dirty := openGalera(t, nodes, "?wsrep_dirty_reads=1")
	here, there := dirty[0], dirty[1]
	accessToken := issueTo(t, here.auth, "alice")
	if _, err := there.auth.Validate(t.Context(), accessToken); err != nil {
		t.Fatal(err)
	}
	isolate := func(n int) {
		t.Helper()
		if err := there.db.Exec(fmt.Sprintf("SET GLOBAL wsrep_provider_options = 'gmcast.isolate=%d'", n)).Error; err != nil {
			t.Fatal(err)
		}
	}
	isolate(1)
	await := func(status string) {
		t.Helper()
		eventually(t, "the node is "+status, func() bool {
			var name, value string
			if err := there.db.Raw("SHOW STATUS LIKE 'wsrep_cluster_status'").Row().Scan(&name, &value); err != nil {
				t.Fatal(err)
			}
			return value == status
		})
	}
	await("non-Primary")
	if _, err := there.auth.Validate(t.Context(), accessToken); !errors.Is(err, tokenauth.ErrUnavailable) {
		t.Errorf("Validate at a node without a majority: error %v, want ErrUnavailable", err)
	}
	isolate(0)
	await("Primary")
	eventually(t, "the token is valid", func() bool {
		_, err := there.auth.Validate(t.Context(), accessToken)
		if err != nil && !errors.Is(err, tokenauth.ErrUnavailable) {
			t.Fatal(err)
		}
		return err == nil
	})
}

var galeraNumber atomic.Uint64

// newName returns a name that no other call has returned.
func newName(kind string) string { return fmt.Sprint(kind, "-", galeraNumber.Add(1)) }

// galeraTokens changes tokens at one node and immediately reads them at the other.
func galeraTokens(t *testing.T, replicas []galeraReplica) {
	var unknown, accepted, listed int
	n := long(300)
	for i := range n {
		here, there := replicas[i%2], replicas[(i+1)%2]
		user := newName("tokens")
		accessToken := issueTo(t, here.auth, user)
		if _, err := there.auth.Validate(t.Context(), accessToken); errors.Is(err, tokenauth.ErrInvalidToken) {
			unknown++
		} else if err != nil {
			t.Error(err)
		}
		if tokens, err := there.store.List(t.Context(), tokenauth.UserKeyOf(user)); err != nil || len(tokens) != 1 {
			listed++
		}
		// Revoke a new token at the other node, which may not have applied it yet.
		accessToken = issueTo(t, here.auth, user)
		end := func() error { return there.auth.Revoke(t.Context(), accessToken) }
		if i%4 < 2 {
			end = func() error { return there.auth.RevokeUser(t.Context(), user) }
		}
		if err := end(); err != nil {
			t.Fatal(err)
		}
		for _, at := range replicas {
			if _, err := at.auth.Validate(t.Context(), accessToken); err == nil {
				accepted++
			} else if !errors.Is(err, tokenauth.ErrInvalidToken) {
				t.Error(err)
			}
		}
	}
	if unknown+accepted+listed > 0 {
		t.Errorf("of %d tokens, the other node did not find %d new ones, did not list %d, and accepted %d ended ones", n, unknown, listed, accepted)
	}
}

// A knownUser authenticates without checking the password, so that no time passes between
// the look-up and the new token. It still has the Recheck of Users.
type knownUser struct {
	*gormstore.Users
	principal tokenauth.Principal
}

func (k knownUser) Authenticate(context.Context, tokenauth.Credentials) (tokenauth.Principal, error) {
	return k.principal, nil
}

// galeraUsers changes users at one node while they sign in at the other node.
func galeraUsers(t *testing.T, replicas []galeraReplica) {
	changes := map[string]func(u *gormstore.Users, ctx context.Context, id string) error{
		"SetDisabled": func(u *gormstore.Users, ctx context.Context, id string) error { return u.SetDisabled(ctx, id, true) },
		"SetRoles":    func(u *gormstore.Users, ctx context.Context, id string) error { return u.SetRoles(ctx, id, "Auditor") },
		"Delete":      func(u *gormstore.Users, ctx context.Context, id string) error { return u.Delete(ctx, id) },
	}
	for name, change := range changes {
		kept := 0
		n := long(160)
		for i := range n {
			here, there := replicas[i%2], replicas[(i+1)%2]
			user := create(t, here.store, newName("user"))
			principal, err := there.store.Users().Authenticate(t.Context(), tokenauth.Credentials{UserName: user.Name, Password: tokenauth.NewSecret("password")})
			if err != nil {
				t.Fatal(err)
			}
			auth := galeraService(t, there.store, knownUser{there.store.Users(), principal})
			tokens := make([]string, 3)
			var wg sync.WaitGroup
			for j := range tokens {
				wg.Go(func() {
					time.Sleep(time.Duration(i%8+j) * 400 * time.Microsecond) // spreads the sign-ins over the duration of the change
					issued, err := auth.SignIn(t.Context(), tokenauth.Credentials{UserName: user.Name, Password: tokenauth.NewSecret("any")})
					if err != nil && !errors.Is(err, tokenauth.ErrRejected) {
						t.Error(err)
					}
					tokens[j] = issued.AccessToken.Reveal()
				})
			}
			if err := change(here.store.Users(), t.Context(), user.ID); err != nil {
				t.Error(err)
			}
			wg.Wait()
			for _, accessToken := range tokens {
				for _, at := range replicas {
					if _, err := at.auth.Validate(t.Context(), accessToken); err == nil {
						kept++
					}
				}
			}
		}
		if kept > 0 {
			t.Errorf("%s: of %d users, %d kept a token from before the change", name, n, kept)
		}
	}
}

// galeraKeeps changes a user's password at one node and keeps a token. Requests with it
// at another node never fail. If the user's roles change at the same moment, the token
// ends.
func galeraKeeps(t *testing.T, replicas []galeraReplica) {
	for i := range long(80) {
		here, there := replicas[i%2], replicas[(i+1)%2]
		user := create(t, here.store, newName("keeps"))
		live := liveService(t, there.store, there.store, tokenauth.Options{})
		held := issueFor(t, live, here.store, user.ID, "phone")
		other := issueFor(t, live, here.store, user.ID, "laptop")
		var over atomic.Bool
		var wg sync.WaitGroup
		wg.Go(func() {
			for !over.Load() {
				if !isValid(t, live, held) {
					t.Error("the kept token was refused")
					return
				}
			}
		})
		for range 2 {
			if err := here.store.Users().SetPassword(t.Context(), user.ID, tokenauth.NewSecret("another"), held.Token); err != nil {
				t.Error(err)
			}
			if isValid(t, live, other) {
				t.Error("another token outlived the new password")
			}
		}
		over.Store(true)
		wg.Wait()

		var kept, changed error
		wg.Go(func() {
			kept = here.store.Users().SetPassword(t.Context(), user.ID, tokenauth.NewSecret("third"), held.Token)
		})
		wg.Go(func() { changed = there.store.Users().SetRoles(t.Context(), user.ID, "Auditor") })
		wg.Wait()
		if kept != nil && !errors.Is(kept, tokenauth.ErrInvalidToken) || changed != nil {
			t.Errorf("errors %v, %v", kept, changed)
		}
		if isValid(t, live, held) { // the roles changed last, or the token could not be kept
			t.Error("the token outlived the change of the roles")
		}
	}
}

// galeraChangeUser changes a user in the host's table at one node while the user signs in
// at the other, and while both nodes change the user at once.
func galeraChangeUser(t *testing.T, replicas []galeraReplica) {
	users := newStaff(t, replicas[0].db)
	n, kept := long(160), 0
	for i := range n {
		here, there := replicas[i%2], replicas[(i+1)%2]
		auth := galeraService(t, there.store, staff{there.db})
		tokens := make([]string, 3)
		var wg sync.WaitGroup
		for j := range tokens {
			wg.Go(func() {
				time.Sleep(time.Duration(i%8+j) * 400 * time.Microsecond) // spreads the sign-ins over the duration of the change
				principal, err := users.Authenticate(t.Context(), tokenauth.Credentials{UserName: "alice"})
				if err != nil {
					t.Error(err)
				}
				issued, err := auth.Issue(t.Context(), principal, &tokenauth.IssueOptions{ClientID: fmt.Sprint("client", i, j), Recheck: true})
				if err != nil && !errors.Is(err, tokenauth.ErrRejected) {
					t.Error(err)
				}
				if issued.Token.Principal.Stamp == fmt.Sprint(1+2*i) { // from before both changes
					tokens[j] = issued.AccessToken.Reveal()
				}
			})
		}
		for _, s := range []*gormstore.Store{here.store, there.store} {
			wg.Go(func() {
				err := s.ChangeUser(t.Context(), "alice", func(tx *gorm.DB) error {
					return tx.Exec(`UPDATE staff SET version = version + 1 WHERE id = 'alice'`).Error
				})
				if err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		for _, accessToken := range tokens {
			if accessToken == "" {
				continue
			}
			for _, at := range replicas {
				if _, err := at.auth.Validate(t.Context(), accessToken); err == nil {
					kept++
				}
			}
		}
	}
	var version int
	if err := replicas[0].db.Raw(`SET STATEMENT wsrep_sync_wait = 7 FOR SELECT version FROM staff`).Scan(&version).Error; err != nil || version != 1+2*n {
		t.Errorf("the version is %d, error %v, want %d: a change was lost or made twice", version, err, 1+2*n)
	}
	if kept > 0 {
		t.Errorf("of %d changed users, %d kept a token from before the change", n, kept)
	}
}

// galeraSignsInMeanwhile changes a user's roles at one node while the user keeps signing
// in at another. A token with the new roles must stay valid.
func galeraSignsInMeanwhile(t *testing.T, replicas []galeraReplica) {
	lost, after := 0, 0
	for i := range long(80) {
		here, there := replicas[i%2], replicas[(i+1)%2]
		user := create(t, here.store, newName("meanwhile"))
		var changed atomic.Bool
		var last tokenauth.IssuedToken
		var wg sync.WaitGroup
		wg.Go(func() {
			for over := false; !over; {
				over = changed.Load()
				issued, err := signIn(t.Context(), there.auth, user.Name, "password")
				if err != nil && !errors.Is(err, tokenauth.ErrRejected) {
					t.Error(err)
				}
				if err == nil {
					last = issued
				}
				if issued.Token.Principal.HasRole("Auditor") {
					break
				}
			}
		})
		if err := here.store.Users().SetRoles(t.Context(), user.ID, "Auditor"); err != nil {
			t.Error(err)
		}
		changed.Store(true)
		wg.Wait()
		if !last.Token.Principal.HasRole("Auditor") {
			continue
		}
		after++
		if _, err := here.auth.Validate(t.Context(), last.AccessToken.Reveal()); err != nil {
			lost++
		}
	}
	if lost > 0 || after == 0 {
		t.Errorf("%d of %d tokens with the new roles were lost", lost, after)
	}
}

// galeraClients disables clients at one node while users sign in at these clients through
// the other node.
func galeraClients(t *testing.T, replicas []galeraReplica) {
	var at []*tokenauth.Service
	for _, r := range replicas {
		auth, err := tokenauth.New(r.store, anyone{}, &tokenauth.Options{
			Clients: r.store.Clients(), Throttle: tokenauth.ThrottleOptions{InsecureOff: true}, Timeout: 20 * time.Second, Logger: quiet,
		})
		if err != nil {
			t.Fatal(err)
		}
		at = append(at, auth)
	}
	kept, n := 0, long(60)
	for i := range n {
		here, there := i%2, (i+1)%2
		id := newName("client")
		if err := replicas[there].store.Clients().CreatePublic(t.Context(), tokenauth.Client{ID: id}); err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		tokens := make([]tokenauth.IssuedToken, 4)
		for j := range tokens {
			wg.Go(func() {
				time.Sleep(time.Duration(j) * 2 * time.Millisecond)
				tokens[j], _ = at[there].SignIn(t.Context(), tokenauth.Credentials{UserName: fmt.Sprint(id, "user", j), Password: tokenauth.NewSecret("x"), ClientID: id})
			})
		}
		if err := replicas[here].store.Clients().SetDisabled(t.Context(), id, true); err != nil {
			t.Error(err)
		}
		wg.Wait()
		for _, issued := range tokens {
			for _, auth := range at {
				if _, err := auth.Validate(t.Context(), issued.AccessToken.Reveal()); err == nil {
					kept++
				}
			}
		}
	}
	if kept > 0 {
		t.Errorf("of %d disabled clients, %d tokens are still valid", n, kept)
	}
}

// galeraNames creates the same user, and the same client, at both nodes at once.
func galeraNames(t *testing.T, replicas []galeraReplica) {
	for i := range long(40) {
		var wg sync.WaitGroup
		users, clients := make([]error, len(replicas)), make([]error, len(replicas))
		for j, r := range replicas {
			wg.Go(func() {
				_, users[j] = r.store.Users().Import(t.Context(), gormstore.User{Name: fmt.Sprint("name", i)}, cheapHash())
				clients[j] = r.store.Clients().CreatePublic(t.Context(), tokenauth.Client{ID: fmt.Sprint("name", i)})
			})
		}
		wg.Wait()
		for _, errs := range [][]error{users, clients} {
			one := errs[0]
			if one == nil {
				one = errs[1]
			}
			if (errs[0] == nil) == (errs[1] == nil) || !errors.Is(one, gormstore.ErrExists) {
				t.Errorf("two concurrent creations of one name return %v", errs)
			}
		}
	}
}

// galeraCounters increments counters at both nodes at once. No increment may be lost.
func galeraCounters(t *testing.T, replicas []galeraReplica) {
	keys := []throttle.Key{{1}, {2}}
	const workers, each = 4, 10
	var wg sync.WaitGroup
	for _, r := range replicas {
		for range workers {
			wg.Go(func() {
				for range each {
					err := r.store.UpdateCounters(t.Context(), keys, func(counters []throttle.Counter) {
						for i := range counters {
							counters[i].Failures++
							counters[i].FailedAt = time.Now().UnixMilli()
						}
					})
					if err != nil {
						t.Error(err)
					}
				}
			})
		}
	}
	wg.Wait()
	for _, r := range replicas {
		err := r.store.UpdateCounters(t.Context(), keys, func(counters []throttle.Counter) {
			for i, c := range counters {
				if c.Failures != 2*workers*each {
					t.Errorf("counter %d is %v, want %d", i, c.Failures, 2*workers*each)
				}
			}
		})
		if err != nil {
			t.Error(err)
		}
	}
}
