package password

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/internal/deadline"
	"github.com/bearerkit/bearerkit/tokenauth/internal/verified"
)

// An Account is a user of the host, as a [Lookup] returns it.
type Account struct {
	// UserID identifies the user. It never changes, even if the name does, and
	// is never given to another user.
	UserID string
	// UserName is the name as stored. [Lookup] must find the account by this
	// name, even if users type something else, such as an e-mail address.
	// Otherwise each sign-in is refused.
	UserName string
	// PasswordHash is a hash in a format of this package or of
	// [Options.Formats]. If it is empty or cannot be used, the account cannot
	// sign in by password.
	PasswordHash string
	// Roles and Attributes are copied to the [tokenauth.Principal].
	Roles      []string
	Attributes map[string]string
	// Disabled accounts cannot sign in.
	Disabled bool
	// Stamp is any text that changes whenever the user's tokens must end, such
	// as the SecurityStamp of ASP.NET Identity. It must also change with what
	// [Options.Check] reads, if that can end a user's right to sign in. It need
	// not change when Roles or UserName change, because such changes end the
	// tokens anyway.
	//
	// If Stamp is empty, PasswordHash takes its place, and [Options.Upgrade] is
	// never called for the account.
	Stamp string
	// Row is the host's own record of the user, such as the row that the Lookup
	// read. [Options.Check] gets it with the account, and Authenticate and
	// [Account.Principal] copy it to [tokenauth.Principal.Row]. It may change
	// without ending tokens.
	Row any
}

// A Lookup finds an account by the user name as typed. The host decides which
// spellings are the same name.
//
//   - For an unknown name it returns [tokenauth.ErrNotFound], possibly wrapped.
//   - For a user who may not sign in, it may return [tokenauth.ErrRejected],
//     possibly wrapped. The sign-in is then rejected like that of an unknown
//     user.
//   - Any other error means that the look-up failed. The token endpoint then
//     answers 503.
//   - It must read the latest committed data: from the primary database,
//     without a cache.
//   - It must be safe for concurrent use, and return soon after its context
//     ends.
type Lookup func(ctx context.Context, userName string) (Account, error)

// Options configures an [Authenticator]. Nil or the zero value selects the
// defaults.
type Options struct {
	// Timeout limits each call to the [Lookup], to Check and to Upgrade. Zero
	// means 2 seconds; the maximum is one minute.
	Timeout time.Duration

	// Formats parse stored hashes in the host's own formats, such as Django's
	// or one with a pepper. They are called in this order, before the formats
	// of this package. Each returns a func that reports whether a password
	// matches the hash. It returns nil for a hash in another format, and for
	// one that it cannot use.
	//
	//   - The format must check the cost of the hash before any work. Otherwise
	//     anyone who can write to the table could stall the service. The
	//     formats of this package allow about a second.
	//   - The func compares in constant time ([crypto/subtle]). Its argument is
	//     the password as sent: over HTTP, UTF-8 without NUL.
	//   - If the func cannot compute the hash, for example because of
	//     GODEBUG=fips140=only, it must panic. The sign-in then ends in a 500
	//     and does not count as a failure. If the func returned false instead,
	//     the password would count as wrong.
	//   - The format and the func must both be safe for concurrent use. Only
	//     the func may hash, because MaxHashing does not limit the format
	//     itself. The func may be called twice, for the NFC and the NFD form of
	//     the password.
	//   - The Authenticator keeps the funcs of up to 1,000 accounts in memory.
	//     It also calls them for unknown user names and ignores the result, so
	//     that a rejection takes the same time.
	Formats []func(stored string) (verify func(password string) bool)

	// Check decides whether a user whose password is right may sign in. It is
	// for second factors, and for reasons such as an e-mail address that is not
	// confirmed. The account is the one that the Lookup returned. If Check is
	// nil, the right password is enough.
	//
	//   - It is called by Authenticate, before Upgrade. It is never called for an
	//     unknown user, a wrong password or a disabled account, nor for a token
	//     that was issued before, or its refresh.
	//   - It is not called again after the token was stored. If Check refuses
	//     users by a column that can change, such as suspended accounts,
	//     [Account.Stamp] must change with the column. Otherwise a sign-in that
	//     is in progress during the change may still succeed.
	//   - If it returns an error, Authenticate returns that error. The client
	//     gets the reason of a [tokenauth.Rejection]. It gets the response to a
	//     wrong password for any other [tokenauth.ErrRejected], and a 503 for
	//     any other error.
	//   - It reads a one-time code with [tokenauth.Credentials.Code], which
	//     limits guesses, and returns an error of that method unchanged. It must
	//     itself make sure that each code works only once, on all replicas. If
	//     it sends codes, it must limit how many: requests with the right
	//     password and without a code are not limited.
	//   - It must return soon after its context ends. The context does not end
	//     when the client disconnects. Meanwhile the sign-in counts for
	//     MaxWaiting, but does not keep others from hashing.
	//   - If it panics, the sign-in ends in a 500 and does not count as a
	//     failure.
	//   - It must be safe for concurrent use.
	Check func(ctx context.Context, a Account, c tokenauth.Credentials) error

	// Upgrade stores newHash, which [Hash] made, in place of oldHash. It is
	// called after a successful sign-in if the stored hash is not Argon2id, or
	// is weaker than those that Hash makes. Weaker means less memory, fewer
	// passes for its memory, a shorter salt or a shorter hash. So a table moves
	// to Argon2id while its users sign in. If Upgrade is nil, stored hashes do
	// not change.
	//
	//   - It must compare and swap in one statement, UPDATE … SET hash =
	//     newHash WHERE id = userID AND hash = oldHash, so that it does not
	//     overwrite a password changed at the same time. If no row has oldHash
	//     any more, it returns nil.
	//   - It must change nothing else, and end no token.
	//   - The column must hold 128 bytes. A database that truncates longer
	//     values would lock the user out.
	//   - If it fails, the error is logged and the user is still signed in.
	//
	// Upgrade is called only for accounts with an [Account.Stamp]. Without one,
	// the hash stands in for the stamp, so a new hash would end the user's
	// tokens. A warning is logged for the first account without a Stamp.
	// Upgrade is not called while other sign-ins wait to hash; a later sign-in
	// calls it.
	Upgrade func(ctx context.Context, userID, oldHash, newHash string) error

	// KeepHashes turns Upgrade off. Set it while another application still
	// reads the hashes. For example, ASP.NET Identity 2 knows only its own
	// format.
	KeepHashes bool

	// MaxHashing is the maximum number of passwords hashed at once. Zero means
	// half of GOMAXPROCS, but at least 1, so that processors remain for other
	// requests. The maximum is 1,024.
	//
	// Each hash occupies one processor and 19 MiB of memory. The garbage
	// collector frees that memory only later: with Go's default GOGC, 50 to 60
	// MiB per hash were measured.
	MaxHashing int

	// MaxWaiting is the maximum number of other sign-ins in progress: sign-ins
	// that look up their account or wait for their turn to hash. Any further
	// sign-in gets [tokenauth.ErrBusy]. Zero means 256 times MaxHashing, but at
	// most 1,024; sign-ins then wait up to about six seconds. The maximum is
	// 65,536.
	//
	//   - Sources take turns. A source is the IPv4 address, or the IPv6 /64, of
	//     [tokenauth.Credentials.RemoteAddr]. All /64 of one /48 together get
	//     as many turns and places as one IPv4 address. Sign-ins from one
	//     source are served in the order of arrival. All unknown addresses are
	//     one source.
	//   - While no other source waits, one source may use all of MaxWaiting.
	//     While another source waits, one IPv4 address or IPv6 /48 may use at
	//     most an eighth.
	//   - If MaxWaiting is reached, a new sign-in from a source with fewer
	//     sign-ins replaces the newest one of the source with the most. The
	//     replaced sign-in gets ErrBusy.
	MaxWaiting int

	// Logger gets the warnings. Nil means [slog.Default]. For each account, it
	// gets each of these warnings at most once a minute:
	//
	//   - the hash cannot be used or computed,
	//   - an upgrade failed,
	//   - a password was refused because of bcrypt's limit of 72 bytes.
	//
	// If more than about 100 accounts cause warnings within a minute, the rest
	// share one warning of each kind. The warning that too many sign-ins are in
	// progress is also logged at most once a minute. The warning that an
	// account without a Stamp is not upgraded is logged once.
	Logger *slog.Logger
}

// errBusy means that too many sign-ins are in progress. The token endpoint
// answers 503.
var errBusy = fmt.Errorf("password: too many sign-ins at once: %w", tokenauth.ErrBusy)

// An Authenticator verifies passwords against the hashes of accounts. It is a
// [tokenauth.Authenticator] and a [tokenauth.Rechecker], and is safe for
// concurrent use. Failed sign-ins count for the account that the [Lookup]
// finds, whichever of its names the user typed.
type Authenticator struct {
	lookup   Lookup
	timeout  *deadline.Timeout
	formats  []format
	check    func(context.Context, Account, tokenauth.Credentials) error      // or nil
	upgrade  func(ctx context.Context, userID, oldHash, newHash string) error // or nil
	gate     *gate
	usual    verifier // a dummy hash of the default cost
	dummies  *dummies
	warnings *warnings
}

// New returns an [Authenticator] for the accounts that lookup finds. Options
// may be nil. New returns an error if lookup is nil or a field of Options is
// invalid; the error names the field. It takes as long as one hash, because it
// makes a dummy hash for unknown users.
func New(lookup Lookup, o *Options) (*Authenticator, error) {
	if lookup == nil {
		return nil, errors.New("password: New: lookup must not be nil")
	}
	if o == nil {
		o = &Options{}
	}
	switch {
	case o.Timeout < 0 || o.Timeout > time.Minute:
		return nil, fmt.Errorf("password: Options.Timeout is %v, must be from 0 to 1m0s", o.Timeout)
	case o.MaxHashing < 0 || o.MaxHashing > mostHashing:
		return nil, fmt.Errorf("password: Options.MaxHashing is %d, must be from 0 to %d", o.MaxHashing, mostHashing)
	case o.MaxWaiting < 0 || o.MaxWaiting > mostWaiting:
		return nil, fmt.Errorf("password: Options.MaxWaiting is %d, must be from 0 to %d", o.MaxWaiting, mostWaiting)
	}
	for i, format := range o.Formats {
		if format == nil {
			return nil, fmt.Errorf("password: Options.Formats[%d] must not be nil", i)
		}
	}
	hashing := cmp.Or(o.MaxHashing, defaultHashing())
	u := &Authenticator{
		lookup:   lookup,
		timeout:  &deadline.Timeout{Duration: cmp.Or(o.Timeout, 2*time.Second)},
		formats:  slices.Clone(o.Formats),
		check:    o.Check,
		gate:     newGate(hashing, cmp.Or(o.MaxWaiting, defaultWaiting(hashing))),
		usual:    newArgon2id("a password that no account has"),
		warnings: newWarnings(cmp.Or(o.Logger, slog.Default())),
	}
	u.dummies = newDummies(u.usual)
	if !o.KeepHashes {
		u.upgrade = o.Upgrade
	}
	return u, nil
}

// Authenticate returns the principal of the account with this user name and
// password. It returns
//
//   - [tokenauth.ErrRejected] for an unknown user, a wrong password, a disabled
//     account and an unusable hash,
//   - [tokenauth.ErrBusy], wrapped, if [Options.MaxWaiting] is reached, or if
//     another source takes the place of this sign-in,
//   - the error of the [Lookup] if it failed,
//   - the error of [tokenauth.Credentials.CountAttempt] if the sign-in is
//     throttled or could not be counted,
//   - the error of [Options.Check], unchanged,
//   - the error of ctx if it ended before the password was hashed, or before
//     Check was called,
//   - an error if this process cannot compute the hash, for example because of
//     GODEBUG=fips140=only. An unknown user gets the same error if this process
//     cannot compute the dummy hash.
//
// Every rejection takes at least as long as one hash of the default cost:
//
//   - For a wrong password and a disabled account, the password is verified
//     against the stored hash. If the stored hash is cheaper than the default
//     cost, a hash of the default cost follows.
//   - If the password has another Unicode form, NFC or NFD, that form is
//     verified, too, unless the first one matches (RFC 8265 §4.2). The two
//     forms count as one attempt.
//   - For an unknown user and an unusable hash, the same is done with a dummy
//     hash. The dummy hash costs as much as the hash of one account, which is
//     chosen from a sample of up to 1,000 accounts that were looked up. Until
//     an account is found, the dummy hash has the default cost.
//
// SECURITY.md lists what the response time can still reveal.
func (u *Authenticator) Authenticate(ctx context.Context, c tokenauth.Credentials) (tokenauth.Principal, error) {
	var none tokenauth.Principal
	ctx, stop := deadline.Waiting(ctx)
	defer stop()
	ticket := u.gate.enter(c.RemoteAddr)
	if ticket == nil {
		return none, u.busy(ctx)
	}
	defer u.gate.leave(ticket)

	account, err := u.find(ctx, c.UserName)
	found := !errors.Is(err, tokenauth.ErrNotFound) && !errors.Is(err, tokenauth.ErrRejected)
	if err != nil && found {
		return none, err
	}
	if !found {
		account = Account{}
	}
	if err := c.CountAttempt(ctx, account.UserID); err != nil {
		return none, err
	}
	stored, usable := u.dummies.of(c.UserName), false
	if found {
		if v, ok := parseWith(u.formats, account.PasswordHash); ok {
			u.dummies.learn(account.UserID, v)
			stored, usable = v, !account.Disabled
		} else if !account.Disabled {
			u.warnings.warn(ctx, "password: an account has a hash that cannot be used: its format is unknown, or it is too costly to verify", account.UserID)
		}
	}

	var failure error
	password, matches, tooLong := c.Password.Reveal(), false, false
	err = u.gate.hash(ctx, ticket, func() {
		for _, form := range forms(password) {
			same, cut, err := verify(stored, form)
			if failure = err; failure != nil {
				break
			}
			tooLong = tooLong || cut && usable
			if matches = same && usable; matches {
				return
			}
		}
		if stored.cheap() {
			u.usual.verify(password)
		}
	})
	if errors.Is(err, errBusy) {
		return none, u.busy(ctx)
	}
	if err != nil {
		return none, err
	}
	if failure != nil { // also for a dummy: the answer must not reveal which users exist
		u.warnings.warn(ctx, "password: a hash cannot be computed in this process, so the password was not checked", account.UserID, "error", failure)
		return none, fmt.Errorf("password: a hash cannot be computed in this process: %w", failure)
	}
	if !matches {
		if tooLong {
			u.warnings.warn(ctx, tooLongForBcrypt, account.UserID)
		}
		return none, tokenauth.ErrRejected
	}
	verified.Report(ctx) // the password matched, even if Check or a wrapper rejects the sign-in
	if err := u.checkFurther(ctx, account, c); err != nil {
		return none, err
	}
	if u.upgrade != nil && outdated(stored) {
		if account.Stamp != "" {
			u.replaceHash(ctx, account, password)
		} else {
			u.warnings.notUpgraded(ctx, account.UserID)
		}
	}
	return account.Principal(), nil
}

// checkFurther calls [Options.Check], if there is one. It does not call it if
// ctx has ended, so that a client that disconnected does not use up its code.
func (u *Authenticator) checkFurther(ctx context.Context, a Account, c tokenauth.Credentials) error {
	if u.check == nil {
		return nil
	}
	call, cancel, err := u.timeout.Call(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	return u.check(call, a, c)
}

// busy logs that too many sign-ins are in progress, and returns errBusy.
func (u *Authenticator) busy(ctx context.Context) error {
	u.warnings.warn(ctx, "password: a sign-in was refused because too many sign-ins are in progress", "")
	return errBusy
}

// replaceHash makes a new hash of the password and passes it to
// [Options.Upgrade]. If no hashing slot is free, it does nothing. The caller
// must have verified the password.
func (u *Authenticator) replaceHash(ctx context.Context, a Account, password string) {
	var hash string
	var err error
	if !u.gate.hashIfFree(func() { hash, err = Hash(password) }) || err != nil {
		return // no hashing slot is free, or the Service will reject the password
	}
	call, cancel, err := u.timeout.Call(ctx)
	if err != nil {
		return
	}
	defer cancel()
	if err := u.upgrade(call, a.UserID, a.PasswordHash, hash); err != nil && !deadline.Ended(ctx) {
		// A database error may contain the hashes.
		text := strings.NewReplacer(a.PasswordHash, "[redacted]", hash, "[redacted]").Replace(err.Error())
		u.warnings.warn(ctx, "password: a hash could not be upgraded, so the old one stays", a.UserID, "error", text)
	}
}

// errLost means that the [Lookup] found no account with the principal's name
// and ID. The Service then logs a hint, because a user who has just signed in
// has rarely been deleted. The usual cause is a Lookup that does not find
// [Account.UserName].
var errLost = fmt.Errorf("%w: %w", tokenauth.ErrRejected, tokenauth.ErrNotFound)

// Recheck checks that the account of a principal has not changed since the
// sign-in. It returns
//
//   - nil if the [Lookup] finds the same user by the principal's name, and the
//     user may sign in and has not changed since,
//   - [tokenauth.ErrRejected] if the user is disabled or has changed,
//   - an error that is both [tokenauth.ErrRejected] and [tokenauth.ErrNotFound]
//     if the name is unknown or belongs to another user,
//   - the error of the Lookup if it failed.
//
// To call it on each request, set [tokenauth.Options.LiveCheck] to a func that
// passes Token.Principal on.
func (u *Authenticator) Recheck(ctx context.Context, p tokenauth.Principal) error {
	account, err := u.find(ctx, p.UserName)
	if errors.Is(err, tokenauth.ErrNotFound) || err == nil && account.UserID != p.UserID {
		return errLost
	}
	if err != nil {
		return err
	}
	if !account.StillValid(p) {
		return tokenauth.ErrRejected
	}
	return nil
}

// Reload implements [tokenauth.Reloader], for [tokenauth.Options.Refresh]. It returns
// the errors of [Authenticator.Recheck], but accepts a change of the roles alone: the
// principal then has the new ones.
func (u *Authenticator) Reload(ctx context.Context, p tokenauth.Principal) (tokenauth.Principal, error) {
	account, err := u.find(ctx, p.UserName)
	switch {
	case errors.Is(err, tokenauth.ErrNotFound), err == nil && account.UserID != p.UserID:
		return tokenauth.Principal{}, errLost
	case err != nil:
		return tokenauth.Principal{}, err
	}
	return account.Reload(p)
}

func (u *Authenticator) find(ctx context.Context, userName string) (Account, error) {
	call, cancel, err := u.timeout.Call(ctx)
	if err != nil {
		return Account{}, err
	}
	defer cancel()
	return u.lookup(call, userName)
}

// Principal returns the principal of the account, with the
// [tokenauth.Principal.Stamp] that a sign-in gives it. It is for
// [tokenauth.Service.Issue], after the host authenticated the user in its own
// way, for example by single sign-on. The token then passes
// [Authenticator.Recheck] until the account changes.
//
// Principal does not check Disabled. Call Issue with
// [tokenauth.IssueOptions.Recheck], which rejects a disabled account.
func (a *Account) Principal() tokenauth.Principal {
	return tokenauth.Principal{
		UserID:     a.UserID,
		UserName:   a.UserName,
		Roles:      slices.Clone(a.Roles),
		Attributes: maps.Clone(a.Attributes),
		Stamp:      a.stamp(),
		Row:        a.Row,
	}
}

// CanVerify reports whether the hash has an acceptable cost and a known format,
// of this package or of [Options.Formats]. Hosts can call it when they import
// users.
func (u *Authenticator) CanVerify(passwordHash string) bool {
	_, ok := parseWith(u.formats, passwordHash)
	return ok
}

// StillValid reports whether the account may still sign in and has not changed
// since p was made from it. It is for hosts that look up accounts themselves,
// for example by ID.
func (a *Account) StillValid(p tokenauth.Principal) bool {
	return !a.Disabled && a.UserID == p.UserID && a.stamp() == p.Stamp
}

// Reload returns the account's principal if the account may still sign in and only its
// roles, attributes or Row have changed since p was made from it. Otherwise it returns
// [tokenauth.ErrRejected]. It is for a [tokenauth.Reloader] of a host that looks up
// accounts itself, for example by ID.
//
// If p has only a UserID and a UserName, as for the owner of an API key
// ([tokenauth.Options.Keys]), Reload accepts every change.
func (a *Account) Reload(p tokenauth.Principal) (tokenauth.Principal, error) {
	ofKey := p.Stamp == "" && p.Roles == nil
	if a.Disabled || a.UserID != p.UserID || !ofKey && a.stampWith(p.Roles) != p.Stamp {
		return tokenauth.Principal{}, tokenauth.ErrRejected
	}
	return a.Principal(), nil
}

// stamp returns a digest of the fields whose changes end the user's tokens. The
// digest becomes the [tokenauth.Principal.Stamp].
func (a *Account) stamp() string { return a.stampWith(a.Roles) }

// stampWith returns the stamp that the account would have with the given roles.
func (a *Account) stampWith(roles []string) string {
	change := a.Stamp
	if change == "" {
		change = a.PasswordHash
	}
	h := sha256.New()
	for _, field := range append([]string{a.UserID, a.UserName, change}, slices.Sorted(slices.Values(roles))...) {
		var length [8]byte
		binary.BigEndian.PutUint64(length[:], uint64(len(field)))
		h.Write(length[:])
		h.Write([]byte(field))
	}
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil)[:16])
}
