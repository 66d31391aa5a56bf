package main

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/gin-gonic/gin"
	"golang.org/x/crypto/bcrypt"
	"gorm.io/gorm"

	"github.com/bearerkit/bearerkit/ginadapter"
	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/password"
)

// A User is a row of the users table.
type User struct {
	ID           uint64 `gorm:"primaryKey" json:"id"`
	Email        string `gorm:"uniqueIndex" json:"email"` // in lower case
	PasswordHash string `json:"-"`                        // bcrypt
	Admin        bool   `json:"admin"`
}

// account is a [password.Lookup] that reads the users table.
func (s *service) account(ctx context.Context, email string) (password.Account, error) {
	var u User
	err := s.db.WithContext(ctx).Where("email = ?", strings.ToLower(email)).Take(&u).Error
	if errors.Is(err, gorm.ErrRecordNotFound) {
		return password.Account{}, tokenauth.ErrNotFound
	}
	account := password.Account{UserID: userID(u.ID), UserName: u.Email, PasswordHash: u.PasswordHash}
	if u.Admin {
		account.Roles = []string{"admin"}
	}
	return account, err
}

// userID returns the ID of a user as the Token API keeps it. The opposite is
// [tokenauth.Principal.NumericID].
func userID(id uint64) string { return strconv.FormatUint(id, 10) }

// setUserID sets the ID of the authenticated user, which the handlers of the
// service read.
func (s *service) setUserID(c *gin.Context) {
	token, _ := ginadapter.From(c)
	id, err := token.Principal.NumericID()
	if err != nil {
		s.internal(c, err)
		return
	}
	c.Set("userID", id)
}

// showUser handles GET /api/user.
func (s *service) showUser(c *gin.Context) {
	var u User
	if err := s.db.WithContext(c.Request.Context()).Take(&u, c.GetUint64("userID")).Error; err != nil {
		s.internal(c, err)
		return
	}
	c.JSON(http.StatusOK, envelope{Data: u})
}

// logout handles POST /api/users/logout: it ends the token of the request.
func (s *service) logout(c *gin.Context) {
	token, _ := ginadapter.From(c)
	answer(c, s.auth.RevokeToken(c.Request.Context(), token))
}

// endTokens handles DELETE /api/users/:id/tokens: it ends all tokens of a user.
func (s *service) endTokens(c *gin.Context) {
	id, err := strconv.ParseUint(c.Param("id"), 10, 64)
	if err != nil {
		c.JSON(http.StatusOK, envelope{Code: failed, Msg: "There is no such user."})
		return
	}
	answer(c, s.auth.RevokeUser(c.Request.Context(), userID(id)))
}

// answer writes the response to a call of the Token API that returns no data.
func answer(c *gin.Context, err error) {
	if err != nil {
		refuse(c, err)
		return
	}
	c.JSON(http.StatusOK, envelope{})
}

// internal logs an error that the client did not cause.
func (s *service) internal(c *gin.Context, err error) {
	s.logger.ErrorContext(c.Request.Context(), "request failed", "route", c.FullPath(), "error", err)
	c.AbortWithStatusJSON(http.StatusInternalServerError, envelope{Code: failed, Msg: "Something went wrong."})
}

// trialPassword is the password of the users that the service creates if it has
// none. It is public.
const trialPassword = "correct horse battery staple"

func createTrialUsers(ctx context.Context, db *gorm.DB) error {
	var n int64
	if err := db.WithContext(ctx).Model(&User{}).Count(&n).Error; err != nil || n > 0 {
		return err
	}
	hash, err := bcrypt.GenerateFromPassword([]byte(trialPassword), bcrypt.DefaultCost)
	if err != nil {
		return err
	}
	return db.WithContext(ctx).Create([]User{
		{Email: "alice@example.com", PasswordHash: string(hash), Admin: true},
		{Email: "bob@example.com", PasswordHash: string(hash)},
	}).Error
}
