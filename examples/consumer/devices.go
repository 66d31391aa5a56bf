package main

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/bearerkit/bearerkit/ginadapter"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// me handles GET /api/me.
func (s *service) me(c *gin.Context) {
	token, _ := ginadapter.From(c)
	c.JSON(http.StatusOK, gin.H{"id": token.Principal.UserID, "name": token.Principal.UserName, "roles": token.Principal.Roles})
}

// A device is one place where the user is signed in.
type device struct {
	ID       string    `json:"id"`
	Name     string    `json:"name"` // the client chose it: show it as text, never as HTML
	Issued   time.Time `json:"issued"`
	LastSeen time.Time `json:"lastSeen"` // accurate to an hour
	Current  bool      `json:"current"`  // the one that sent the request
}

// listDevices handles GET /api/devices.
func (s *service) listDevices(c *gin.Context) {
	current, _ := ginadapter.From(c)
	tokens, err := s.auth.Tokens(c.Request.Context(), current.Principal.UserID)
	if err != nil && !errors.Is(err, tokenauth.ErrCorrupt) {
		answer(c, err)
		return
	}
	devices := make([]device, len(tokens))
	for i, t := range tokens {
		devices[i] = device{t.SlotID(), t.DeviceName, t.IssuedAt.UTC(), t.LastSeen.UTC(), t.Slot == current.Slot}
	}
	c.JSON(http.StatusOK, devices)
}

// endDevice handles DELETE /api/devices/{id}. The ID of another user's device is
// unknown to RevokeDevice.
func (s *service) endDevice(c *gin.Context) {
	current, _ := ginadapter.From(c)
	answer(c, s.auth.RevokeDevice(c.Request.Context(), current.Principal.UserID, c.Param("id")))
}

// endOtherDevices handles DELETE /api/devices.
func (s *service) endOtherDevices(c *gin.Context) {
	current, _ := ginadapter.From(c)
	answer(c, s.auth.RevokeUser(c.Request.Context(), current.Principal.UserID, current))
}

// changePassword handles POST /api/password. A wrong current password counts as a
// failed sign-in, so a stolen token does not help to guess it.
func (s *service) changePassword(c *gin.Context) {
	if !readForm(c, "current") {
		return
	}
	token, _ := ginadapter.From(c)
	credentials := s.auth.RequestCredentials(c.Request)
	credentials.UserName = token.Principal.UserName
	credentials.Password = tokenauth.NewSecret(c.Request.PostForm.Get("current"))
	credentials.ClientID = passwordChange
	p, err := s.auth.VerifyPassword(c.Request.Context(), credentials)
	if err == nil && p.UserID != token.Principal.UserID { // another user has the name now
		err = tokenauth.ErrRejected
	}
	ctx := context.WithoutCancel(c.Request.Context()) // both steps run, even if the client disconnects
	if err == nil {
		err = s.users.SetPassword(ctx, p.UserID, tokenauth.NewSecret(c.Request.PostForm.Get("new")), token)
	}
	if err == nil {
		err = s.auth.RevokeUser(ctx, p.UserID, token) // also ends the streams of the others
	}
	answer(c, err)
}
