package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"
	"golang.org/x/crypto/bcrypt"
	"gorm.io/gorm"
)

// A Session is a row of the sessions table.
type Session struct {
	Digest  string `gorm:"primaryKey"` // hash of the cookie's value
	UserID  string `gorm:"index"`
	Expires int64  // Unix seconds
}

const (
	sessionCookie   = "session"
	sessionLifetime = 12 * time.Hour
)

// errNoSession means that a request has no valid session.
var errNoSession = errors.New("no session")

// sessionCaller returns the user of the session that the request's cookie
// identifies. It returns errNoSession if there is no valid session.
func (s *service) sessionCaller(r *http.Request) (caller, error) {
	cookie, err := r.Cookie(sessionCookie)
	if err != nil {
		return caller{}, errNoSession
	}
	var u User
	err = s.db.WithContext(r.Context()).
		Joins("JOIN sessions ON sessions.user_id = users.id AND sessions.digest = ? AND sessions.expires > ?", digest(cookie.Value), time.Now().Unix()).
		Where("NOT users.disabled").Take(&u).Error
	if errors.Is(err, gorm.ErrRecordNotFound) {
		return caller{}, errNoSession
	}
	return caller{u.ID, u.Email, u.Role}, err
}

func digest(cookie string) string {
	sum := sha256.Sum256([]byte(cookie))
	return hex.EncodeToString(sum[:])
}

// login handles POST /login: it checks a password and starts a session.
func (s *service) login(c *gin.Context) {
	c.Request.Body = http.MaxBytesReader(c.Writer, c.Request.Body, 64<<10)
	user, err := s.checkPassword(c.Request.Context(), c.PostForm("email"), c.PostForm("password"))
	if errors.Is(err, errPassword) {
		showPage(c, http.StatusUnauthorized, loginTemplate, "The email or the password is wrong.")
		return
	}
	if err != nil {
		s.internal(c, err)
		return
	}
	value := rand.Text()
	session := Session{Digest: digest(value), UserID: user.ID, Expires: time.Now().Add(sessionLifetime).Unix()}
	if err := s.db.WithContext(c.Request.Context()).Create(&session).Error; err != nil {
		s.internal(c, err)
		return
	}
	setCookie(c, value, int(sessionLifetime/time.Second))
	c.Redirect(http.StatusSeeOther, "/")
}

var errPassword = errors.New("wrong email or password")

// noUser is a hash that matches no password. checkPassword uses it for unknown and
// disabled users, so that the response takes as long as for other users.
var noUser, _ = bcrypt.GenerateFromPassword([]byte(rand.Text()), bcrypt.DefaultCost)

func (s *service) checkPassword(ctx context.Context, email, password string) (User, error) {
	user, err := s.findUser(ctx, email)
	if err != nil && !errors.Is(err, gorm.ErrRecordNotFound) {
		return User{}, err
	}
	hash := []byte(user.PasswordHash)
	if err != nil || user.Disabled {
		hash = noUser
	}
	if bcrypt.CompareHashAndPassword(hash, []byte(password)) != nil {
		return User{}, errPassword
	}
	return user, nil
}

// logout handles POST /logout: it ends the session.
func (s *service) logout(c *gin.Context) {
	if cookie, err := c.Request.Cookie(sessionCookie); err == nil {
		if err := s.db.WithContext(c.Request.Context()).Delete(&Session{Digest: digest(cookie.Value)}).Error; err != nil {
			s.internal(c, err)
			return
		}
	}
	setCookie(c, "", -1)
	c.Redirect(http.StatusSeeOther, "/login")
}

// setCookie sets the session cookie. A service with TLS must also set the cookie's
// attribute Secure. This example has no TLS.
func setCookie(c *gin.Context, value string, maxAge int) {
	c.SetSameSite(http.SameSiteStrictMode)
	c.SetCookie(sessionCookie, value, maxAge, "/", "", false, true)
}
