package main

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"

	"github.com/gin-gonic/gin"
	"github.com/google/uuid"
	"golang.org/x/crypto/bcrypt"
	"gorm.io/gorm"
)

// A User is a row of the users table.
type User struct {
	ID           string `gorm:"primaryKey"`
	Name         string `gorm:"uniqueIndex"`
	PasswordHash string // bcrypt
	Role         string // reader or admin
	Disabled     bool
}

// A caller is the authenticated user of a request.
type caller struct {
	ID   string `json:"id"`
	Name string `json:"name"`
	Role string `json:"role"`
}

// signedIn returns the authenticated user of a request. It panics on a route that
// has no guard.
func signedIn(c *gin.Context) caller { return c.MustGet("caller").(caller) }

// findUser returns the user that has the value in the column.
func (s *service) findUser(ctx context.Context, column, value string) (u User, err error) {
	err = s.db.WithContext(ctx).Where(map[string]any{column: value}).Take(&u).Error
	return u, err
}

var errPassword = errors.New("wrong user name or password")

// noUser is a hash that matches no password. checkPassword uses it for unknown and
// disabled users, so that the response takes as long as for other users.
var noUser, _ = bcrypt.GenerateFromPassword([]byte(rand.Text()), bcrypt.DefaultCost)

func (s *service) checkPassword(ctx context.Context, name, password string) (User, error) {
	user, err := s.findUser(ctx, "name", name)
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

// setDisabled handles PUT /api/users/:id/disabled: it disables or enables a user.
func (s *service) setDisabled(c *gin.Context) {
	var disabled bool
	if !readJSON(c, &disabled) {
		return
	}
	id := c.Param("id")
	changed := s.db.WithContext(c.Request.Context()).Model(&User{}).Where("id = ?", id).Update("disabled", disabled)
	if changed.Error != nil {
		s.internal(c, changed.Error)
		return
	}
	if changed.RowsAffected == 0 {
		refuse(c, http.StatusNotFound, "no such user")
		return
	}
	c.Status(http.StatusNoContent)
}

// trialUsers are inserted if the table is empty. Their password is in this file,
// so anyone can know it.
var trialUsers = []User{
	{Name: "alice", Role: "admin"},
	{Name: "bob", Role: "reader"},
}

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
	for _, u := range trialUsers {
		u.ID, u.PasswordHash = uuid.NewString(), string(hash)
		if err := db.WithContext(ctx).Create(&u).Error; err != nil {
			return err
		}
	}
	return nil
}
