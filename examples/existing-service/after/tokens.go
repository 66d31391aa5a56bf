package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"
	"gorm.io/gorm"

	"github.com/bearerkit/bearerkit/ginadapter"
	"github.com/bearerkit/bearerkit/storage/gormstore"
	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/password"
	"github.com/bearerkit/bearerkit/tokenauth/prommetrics"
)

// newAuth returns a Token API for the users of the service. It creates its own
// tables in the same database.
func (s *service) newAuth(ctx context.Context) (*tokenauth.Service, error) {
	if err := gormstore.Migrate(ctx, s.db, nil); err != nil {
		return nil, err
	}
	store, err := gormstore.New(ctx, s.db, nil)
	if err != nil {
		return nil, err
	}
	users, err := password.New(s.account, &password.Options{
		KeepHashes: true, // the login page also reads the hashes, and supports only bcrypt
		Logger:     s.logger,
	})
	if err != nil {
		return nil, err
	}
	metrics := prommetrics.New()
	if err := prometheus.Register(metrics); err != nil {
		return nil, err
	}
	return tokenauth.New(store, users, &tokenauth.Options{
		Fallback:  s.sessionPrincipal,
		Observers: []func(context.Context, tokenauth.Event){metrics.Observe},
		Logger:    s.logger,
	})
}

// account is a [password.Lookup] that reads the users table.
func (s *service) account(ctx context.Context, email string) (password.Account, error) {
	u, err := s.findUser(ctx, email)
	if errors.Is(err, gorm.ErrRecordNotFound) {
		return password.Account{}, tokenauth.ErrNotFound
	}
	return password.Account{
		UserID: u.ID, UserName: u.Email, PasswordHash: u.PasswordHash, Roles: roles(u.Role), Disabled: u.Disabled,
	}, err
}

// roles returns the roles of a user as a list. The list is empty for a user without
// a role, since a token cannot have an empty role.
func roles(role string) []string {
	if role == "" {
		return nil
	}
	return []string{role}
}

// sessionPrincipal is the [tokenauth.Options.Fallback]: it authenticates requests
// without a token by their session, so that the web pages can call the API.
//
// The handlers of such a request get a [tokenauth.Token] that has only a Principal.
// Its ExpiresAt is zero.
func (s *service) sessionPrincipal(r *http.Request) (tokenauth.Principal, error) {
	who, err := s.sessionCaller(r)
	if errors.Is(err, errNoSession) {
		return tokenauth.Principal{}, fmt.Errorf("%w: %w", tokenauth.ErrRejected, err)
	}
	return tokenauth.Principal{UserID: who.UserID, UserName: who.Email, Roles: roles(who.Role)}, err
}

// setCaller converts the authenticated user to a caller, which the handlers of the
// service use.
func setCaller(c *gin.Context) {
	token, _ := ginadapter.From(c)
	p := token.Principal
	c.Set("caller", caller{p.UserID, p.UserName, strings.Join(p.Roles, ",")})
}

// renderRefusal writes an error response of a guard in the service's own format.
func renderRefusal(c *gin.Context, f *tokenauth.ErrorResponse) {
	switch f.Code {
	case "": // no token, and no session
		problem(c, f.Status, "unauthenticated", "Sign in first.")
	case "insufficient_scope":
		problem(c, f.Status, "forbidden", "Your role does not allow this.")
	default:
		problem(c, f.Status, f.Code, f.Description)
	}
}

// endTokens ends the access tokens of a user after a change was committed. If that
// fails, the tokens may still be valid, and endTokens answers 503 and returns
// false. It continues if the client disconnects.
func (s *service) endTokens(c *gin.Context, userID string) bool {
	if err := s.auth.RevokeUser(context.WithoutCancel(c.Request.Context()), userID); err != nil {
		problem(c, http.StatusServiceUnavailable, "tokens_not_ended", "The change was saved, but earlier access tokens may still be valid. An administrator can end them.")
		return false
	}
	return true
}
