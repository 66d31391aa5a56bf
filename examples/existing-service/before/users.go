package main

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/gin-gonic/gin"
	"github.com/google/uuid"
	"golang.org/x/crypto/bcrypt"
	"gorm.io/gorm"
)

// A User is a row of the users table.
type User struct {
	ID           string `gorm:"primaryKey" json:"id"`
	Email        string `gorm:"uniqueIndex" json:"email"` // in lower case
	PasswordHash string `gorm:"size:60" json:"-"`         // bcrypt
	Role         string `json:"role"`                     // clerk, manager or admin
	Disabled     bool   `json:"disabled"`
}

// A caller is the authenticated user of a request.
type caller struct{ UserID, Email, Role string }

// signedIn returns the authenticated user of a request. It panics on a route that
// has no guard.
func signedIn(c *gin.Context) caller { return c.MustGet("caller").(caller) }

// findUser returns the user with the email address. It ignores case.
func (s *service) findUser(ctx context.Context, email string) (u User, err error) {
	err = s.db.WithContext(ctx).Where("email = ?", strings.ToLower(email)).Take(&u).Error
	return u, err
}

func (s *service) listUsers(c *gin.Context) {
	var users []User
	if err := s.db.WithContext(c.Request.Context()).Order("email").Find(&users).Error; err != nil {
		s.internal(c, err)
		return
	}
	c.JSON(http.StatusOK, users)
}

// changePassword changes the caller's password and ends the caller's sessions.
func (s *service) changePassword(c *gin.Context) {
	var in struct{ Old, New string }
	if !readJSON(c, &in) {
		return
	}
	if len(in.New) < 12 || len(in.New) > 72 {
		problem(c, http.StatusBadRequest, "bad_password", "A password has 12 to 72 bytes.")
		return
	}
	var user User
	if err := s.db.WithContext(c.Request.Context()).Where("id = ?", signedIn(c).UserID).Take(&user).Error; err != nil {
		s.internal(c, err)
		return
	}
	if bcrypt.CompareHashAndPassword([]byte(user.PasswordHash), []byte(in.Old)) != nil {
		problem(c, http.StatusForbidden, "wrong_password", "The old password is another one.")
		return
	}
	hash, err := bcrypt.GenerateFromPassword([]byte(in.New), bcrypt.DefaultCost)
	if err != nil {
		s.internal(c, err)
		return
	}
	if err := s.change(c.Request.Context(), user.ID, "password_hash", string(hash)); err != nil {
		s.internal(c, err)
		return
	}
	c.Status(http.StatusNoContent)
}

// setDisabled disables or enables a user, and ends the user's sessions.
func (s *service) setDisabled(c *gin.Context) {
	var disabled bool
	if !readJSON(c, &disabled) {
		return
	}
	id := c.Param("id")
	err := s.change(c.Request.Context(), id, "disabled", disabled)
	if errors.Is(err, gorm.ErrRecordNotFound) {
		problem(c, http.StatusNotFound, "not_found", "There is no such user.")
		return
	}
	if err != nil {
		s.internal(c, err)
		return
	}
	c.Status(http.StatusNoContent)
}

// change changes a column of a user and ends the user's sessions.
func (s *service) change(ctx context.Context, userID, column string, value any) error {
	return s.db.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		changed := tx.Model(&User{}).Where("id = ?", userID).Update(column, value)
		if changed.Error != nil {
			return changed.Error
		}
		if changed.RowsAffected == 0 {
			return gorm.ErrRecordNotFound
		}
		return tx.Where("user_id = ?", userID).Delete(&Session{}).Error
	})
}

// trialUsers are inserted if the table is empty. Their password is in this file,
// so anyone can know it.
var trialUsers = []User{
	{Email: "alice@example.com", Role: "admin"},
	{Email: "bob@example.com", Role: "clerk"},
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
