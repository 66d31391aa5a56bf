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

// newAuth returns a Token API for the users that the service has. JWTs are good
// beside its tokens until they expire, and none is after fallbackUntil.
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
		s.logger.Warn("JWTs are taken without an end; -fallback-until sets one")
	}
	return tokenauth.New(store, users, &tokenauth.Options{
		Lifetime:  lifetime,
		Fallback:  s.jwtPrincipal,
		LiveCheck: s.check,
		Observers: []func(context.Context, tokenauth.Event){s.oldTokens.Observe},
		Logger:    s.logger,
	})
}

// account is a password.Lookup in the table of users.
func (s *service) account(ctx context.Context, name string) (password.Account, error) {
	u, err := s.findUser(ctx, "name", name)
	if errors.Is(err, gorm.ErrRecordNotFound) {
		return password.Account{}, tokenauth.ErrNotFound
	}
	return password.Account{
		UserID: u.ID, UserName: u.Name, PasswordHash: u.PasswordHash, Roles: roles(u.Role), Disabled: u.Disabled,
	}, err
}

// roles returns none for a user without a role: an empty one cannot be put into
// a token.
func roles(role string) []string {
	if role == "" {
		return nil
	}
	return []string{role}
}

// jwtPrincipal is the Fallback. It is asked about requests that have no token of
// ours.
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

// check is the LiveCheck: whoever is gone, disabled or in another role by now is
// shut out, also with a JWT, which cannot be revoked.
func (s *service) check(ctx context.Context, p tokenauth.Principal) error {
	u, err := s.findUser(ctx, "id", p.UserID)
	if errors.Is(err, gorm.ErrRecordNotFound) {
		return tokenauth.ErrRejected
	}
	if err == nil && (u.Disabled || !slices.Equal(p.Roles, roles(u.Role))) {
		return tokenauth.ErrRejected
	}
	return err
}

func principal(who caller) tokenauth.Principal {
	return tokenauth.Principal{UserID: who.ID, UserName: who.Name, Roles: roles(who.Role)}
}

// setCaller tells the handlers whom the guards found, in the service's words.
func setCaller(c *gin.Context) {
	token, _ := ginadapter.From(c)
	c.Set("caller", callerOf(token.Principal))
}

func callerOf(p tokenauth.Principal) caller {
	return caller{p.UserID, p.UserName, strings.Join(p.Roles, ",")}
}

// renderRefusal has the guards speak as the service did before.
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
