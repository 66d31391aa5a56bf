package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/gin-gonic/gin"
	"gorm.io/gorm"

	"github.com/bearerkit/bearerkit/ginadapter"
	"github.com/bearerkit/bearerkit/storage/gormstore"
	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/password"
)

// newAuth returns a Token API for the users of the service. Its guards also
// accept a JWT until it expires, or until fallbackUntil.
func (s *service) newAuth(ctx context.Context) (*tokenauth.Service, error) {
	if err := gormstore.Migrate(ctx, s.db, nil); err != nil {
		return nil, err
	}
	store, err := gormstore.New(ctx, s.db, nil)
	if err != nil {
		return nil, err
	}
	users, err := password.New(s.account, &password.Options{Logger: s.logger})
	if err != nil {
		return nil, err
	}
	if s.fallbackUntil.IsZero() {
		s.logger.Warn("there is no date after which JWTs are refused; set one with -fallback-until")
	}
	return tokenauth.New(store, users, &tokenauth.Options{
		Lifetime:    lifetime,
		MaxLifetime: 365 * 24 * time.Hour,
		Fallback:    s.jwtPrincipal,
		LiveCheck:   s.check,
		Observers:   []func(context.Context, tokenauth.Event){s.oldTokens.Observe},
		Logger:      s.logger,
	})
}

// account is a [password.Lookup] that reads the users table.
func (s *service) account(ctx context.Context, name string) (password.Account, error) {
	u, err := s.findUser(ctx, "name", name)
	if errors.Is(err, gorm.ErrRecordNotFound) {
		return password.Account{}, tokenauth.ErrNotFound
	}
	return password.Account{
		UserID: u.ID, UserName: u.Name, PasswordHash: u.PasswordHash, Roles: roles(u.Role), Disabled: u.Disabled,
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

// jwtPrincipal is the [tokenauth.Options.Fallback]: it authenticates requests by
// their JWT. The guards call it for each request without a token of the Token
// API.
//
// The handlers of such a request get a [tokenauth.Token] that has only a Principal.
// Its ExpiresAt is zero, not the expiry of the JWT. Code that renews a token when
// ExpiresAt is near must check for zero. Otherwise it treats each JWT as expired.
func (s *service) jwtPrincipal(r *http.Request) (tokenauth.Principal, error) {
	if !s.fallbackUntil.IsZero() && !time.Now().Before(s.fallbackUntil) {
		return tokenauth.Principal{}, tokenauth.ErrRejected
	}
	who, err := s.jwtCaller(r)
	if err != nil {
		return tokenauth.Principal{}, fmt.Errorf("%w: %w", tokenauth.ErrRejected, err)
	}
	return principal(who), nil
}

// check is the [tokenauth.Options.LiveCheck]. On each request it rejects a user
// who was deleted, disabled or moved to another role. No other check can end a JWT
// before its expiry or fallbackUntil.
func (s *service) check(ctx context.Context, t tokenauth.Token) error {
	u, err := s.findUser(ctx, "id", t.Principal.UserID)
	if errors.Is(err, gorm.ErrRecordNotFound) {
		return tokenauth.ErrRejected
	}
	if err == nil && (u.Disabled || !slices.Equal(t.Principal.Roles, roles(u.Role))) {
		return tokenauth.ErrRejected
	}
	return err
}

// principal converts a caller to the type of user that the Token API uses.
func principal(who caller) tokenauth.Principal {
	return tokenauth.Principal{UserID: who.ID, UserName: who.Name, Roles: roles(who.Role)}
}

// setCaller converts the authenticated user to a caller, which the handlers of the
// service use.
func setCaller(c *gin.Context) {
	token, _ := ginadapter.From(c)
	c.Set("caller", callerOf(token.Principal))
}

func callerOf(p tokenauth.Principal) caller {
	return caller{p.UserID, p.UserName, strings.Join(p.Roles, ",")}
}

// renderRefusal writes an error response of a guard in the form that existing
// clients expect.
func renderRefusal(c *gin.Context, f *tokenauth.ErrorResponse) {
	switch f.Status {
	case http.StatusUnauthorized, http.StatusBadRequest:
		refuse(c, http.StatusUnauthorized, "unauthorized")
	case http.StatusForbidden:
		refuse(c, f.Status, "forbidden")
	default:
		refuse(c, f.Status, "try again later")
	}
}
